// Shrinking a model that shows a fault while it still shows it.
#pragma once

#include "onnxopt/tools/differential/Builder.h"

#include <functional>

namespace onnxopt::differential {

/// Whether a candidate still shows the fault. It may crash or hang only in a process of its own.
using Interesting = std::function<bool(const Example &)>;

struct Reduction {
  unsigned tried = 0, kept = 0;
};

/// Tries, until nothing helps: fewer outputs; nodes replaced by recorded values or by one of their operands; nodes,
/// attributes, optional operands, inputs, functions dropped; simpler elements; inputs that carry their values as
/// defaults. `example` must be interesting; what is left of it is, too.
Reduction reduce(Example &example, const Interesting &isInteresting);

/// A copy that shares nothing but the context.
absl::StatusOr<Example> cloneExample(const Example &e);

} // namespace onnxopt::differential
