// Drawing inputs for a model: values that its operators can be run on.
#pragma once

#include "onnxopt/ops/Datum.h"

#include "onnxopt/ir/Graph.h"

#include <map>

namespace onnxopt::exec {

struct InputOptions {
  uint64_t seed = 0;
  std::map<std::string, int64_t> dims; ///< values of symbolic dims; others get one of `defaultDim`
  int64_t defaultDim = 0;              ///< 0: chosen by the seed among small sizes
};

/// Adds a value for each input that `inputs` lacks and that has no default. Whole numbers and bools are drawn from
/// what their consumers imply: indices, lengths, sizes, masks.
absl::Status drawInputs(const Model &model, const InputOptions &options, std::map<std::string, Datum> &inputs);

/// The sizes that these inputs, or their defaults, give to the symbols of the model's inputs.
DimBindings bindingsOf(const Model &model, const std::map<std::string, Datum> &inputs);

} // namespace onnxopt::exec
