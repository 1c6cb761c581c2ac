// The ways in which a random model grows.
#pragma once

#include "onnxopt/tools/differential/Seeds.h"

namespace onnxopt::differential {

/// What became of each operator: for --statistics.
struct Coverage {
  std::map<std::string, unsigned> kept;                           ///< nodes in finished models
  std::map<std::string, std::map<std::string, unsigned>> refused; ///< by reason
};

/// A node of any operator with a kernel: operands of the types that its schema admits, random attributes.
bool addOperator(Builder &b, Coverage &coverage);
/// The graph of a seed; its inputs come from values of the pool that look alike, or from leaves in disguise.
bool addSeed(Builder &b, const Seeds &seeds);
/// Moves a node into a branch, a loop body or a function, without a change of what it gives.
bool wrap(Builder &b);

struct GeneratorOptions {
  uint64_t seed = 0;
  unsigned steps = 10;
  /// As Builder's: what is known of a crash is the number of its trial.
  std::function<bool(unsigned)> beforeTrial = {};
};

/// A valid model that the executor runs. The same seed gives the same model.
absl::StatusOr<Example> generate(Context &context, const GeneratorOptions &options, const Seeds &seeds,
                                 Coverage &coverage);

} // namespace onnxopt::differential
