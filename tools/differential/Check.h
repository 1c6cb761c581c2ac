// What must hold for a model and its inputs, before and after any passes.
#pragma once

#include "onnxopt/passes/PassManager.h"
#include "onnxopt/tools/differential/Builder.h"

namespace onnxopt::differential {

/// Something that does not hold.
struct Finding {
  std::string kind; ///< a stable word: "different", "pass-error", "shape", ...
  std::string pipeline;
  std::string what;
};

struct CheckOptions {
  std::vector<std::string> pipelines; ///< each is run on a fresh copy
  bool otherSizes = true;             ///< also with other sizes for symbolic dims
};

/// Each pass by itself, and the standard pipelines.
std::vector<std::string> standardPipelines(const PassRegistry &registry);

/// Checks, in this order: the verifier accepts the model; it round-trips as bytes and as text; it runs; what inference
/// says of its values is true; after each pipeline it is valid, round-trips, and gives the same outputs (bit for bit,
/// but for rounding where `fuse` may reorder), in its planned arena if there is a plan, and on other sizes.
std::optional<Finding> check(const Example &example, const CheckOptions &options, const PassRegistry &registry);

} // namespace onnxopt::differential
