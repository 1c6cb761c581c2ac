// Reading models: .onnx files and bytes, .onnxtxt text.
#pragma once

#include "onnxopt/ir/Graph.h"

namespace onnxopt {

/// Reads a binary model without touching its weights. Fails on bytes that are no ModelProto; faults of the model itself
/// go to Model::importErrors. `path` "-" reads standard input.
absl::StatusOr<std::unique_ptr<Model>> importModel(Context &context, const std::string &path);
/// The same from a source; `directory` is where external data is looked for ('' forbids it).
absl::StatusOr<std::unique_ptr<Model>> importModel(Context &context, std::shared_ptr<FileSource> source,
                                                   const std::string &path);
/// Reads `path` as text when it ends in .onnxtxt, else as binary.
absl::StatusOr<std::unique_ptr<Model>> readModel(Context &context, const std::string &path);
/// One TensorProto from bytes.
absl::StatusOr<Tensor> parseTensorProto(Context &context, const std::string &bytes);

} // namespace onnxopt
