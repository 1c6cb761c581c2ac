// Findings as text that other programs read.
#pragma once

#include "onnxopt/ir/Context.h"

#include "llvm/ADT/ArrayRef.h"

namespace onnxopt {

/// A JSON array of objects with severity, code, path and message.
std::string toJson(llvm::ArrayRef<Diagnostic> diagnostics);
/// A SARIF 2.1.0 log with one run, as code review tools show it. `file` is the model's path.
std::string toSarif(llvm::ArrayRef<Diagnostic> diagnostics, const std::string &file);

} // namespace onnxopt
