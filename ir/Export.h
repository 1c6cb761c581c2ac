// Writing models: files with spliced weights, bytes.
#pragma once

#include "onnxopt/ir/Graph.h"

namespace onnxopt {

enum class ExternalDataMode {
  Keep,   ///< data files in the output's folder stay and are referred to; others are copied beside the output
  Copy,   ///< external tensors go to a new data file beside the output
  Inline, ///< external tensors go into the model file
};

struct ExportOptions {
  ExternalDataMode external = ExternalDataMode::Keep;
};

/// Writes `path` as text when it ends in .onnxtxt, else as binary. The file appears whole or not at all.
absl::Status writeModel(const Model &model, const std::string &path, const ExportOptions &options = {});
/// The serialized model, weights included.
absl::StatusOr<std::string> serializeModel(const Model &model);
/// A hash of what export would write, weights by reference.
uint64_t contentHash(const Model &model);
/// Replaces `path` by `text`, whole or not at all.
absl::Status writeFileAtomically(const std::string &path, llvm::StringRef text);

} // namespace onnxopt
