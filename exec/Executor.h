// The reference executor: runs a model with the kernels of its operators.
#pragma once

#include "onnxopt/exec/MemoryPlan.h"
#include "onnxopt/ops/Operator.h"

#include <functional>

namespace onnxopt::exec {

struct RunOptions {
  uint64_t memoryBytes = uint64_t(8) << 30; ///< of one tensor
  uint64_t steps = uint64_t(1) << 24;       ///< node executions and loop trips
  /// Called with each value of the main graph once it is computed (and with those of bodies when `observeBodies`).
  std::function<absl::Status(const Value &, const Datum &)> observe;
  bool observeBodies = false;
  /// Runs the main graph's planned values in one arena, poisoned and guarded; a wrong plan is an error.
  const MemoryPlan *plan = nullptr;
};

/// Prepared once, runs many times. Holds references into the model, which must not be edited meanwhile.
class Executor {
public:
  explicit Executor(const Model &model, RunOptions options = {});
  ~Executor();
  /// `inputs` by name; inputs with a default may be absent. Gives the outputs in order.
  absl::StatusOr<std::vector<Datum>> run(const std::map<std::string, Datum> &inputs);
  /// Largest total of live tensor bytes of the last run, constants not counted.
  uint64_t peakBytes() const;

private:
  class Engine;
  std::unique_ptr<Engine> engine_;
};

} // namespace onnxopt::exec
