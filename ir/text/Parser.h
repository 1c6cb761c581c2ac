// Reading the text form.
#pragma once

#include "onnxopt/ir/Graph.h"

namespace onnxopt {

/// Errors give line and column and what was expected.
absl::StatusOr<std::unique_ptr<Model>> parseText(Context &context, llvm::StringRef text, const std::string &path = "");
absl::StatusOr<std::unique_ptr<Model>> parseTextFile(Context &context, const std::string &path);

} // namespace onnxopt
