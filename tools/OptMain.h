// The onnx-opt command line as a function, for tools with passes and operators of their own.
#pragma once

#include "onnxopt/passes/Pass.h"

namespace onnxopt {

/// Exit codes: 0 done; 1 an error, or the result differs from the original; 2 not validated.
/// `addOperators` adds definitions to each context that the tool makes.
int onnxOptMain(int argc, char **argv, const PassRegistry &registry,
                const std::function<void(OpRegistry &)> &addOperators = {});

} // namespace onnxopt
