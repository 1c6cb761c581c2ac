// Do two models give the same answers? Both run on the reference executor.
#pragma once

#include "onnxopt/exec/Inputs.h"
#include "onnxopt/exec/MemoryPlan.h"

#include <functional>

namespace onnxopt {

struct ValidationOptions {
  exec::InputOptions inputs;               ///< seed, and sizes of symbolic dims
  std::map<std::string, Datum> given;      ///< inputs of the user's
  unsigned runs = 3;                       ///< successful runs that are wanted, for different bindings
  double relative = 1e-3, absolute = 1e-6; ///< of the largest element of an output
  uint64_t memoryBytes = uint64_t(4) << 30;
  /// Gives the arena plan of the optimized model for a binding; empty: none is checked.
  std::function<std::optional<MemoryPlan>(const DimBindings &)> plan;
};

struct Validation {
  enum Verdict { Validated, Different, NotValidated } verdict = NotValidated;
  std::string reason;           ///< what differs, or why nothing could be said
  unsigned runs = 0;            ///< runs that counted
  double largestDifference = 0; ///< relative to the largest element of the output
};

/// A run in which the original fails counts for nothing. Floats may differ by `relative` of the output's largest
/// element; whole numbers, shapes and types must be equal.
Validation validate(const Model &original, const Model &optimized, const ValidationOptions &options);

} // namespace onnxopt
