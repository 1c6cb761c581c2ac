// External tensor data: which files a model may name, and which range of them.
#pragma once

#include "onnxopt/ir/Tensor.h"

#include "llvm/ADT/StringMap.h"

namespace onnxopt {

/// Resolves external_data entries of the model at `modelPath`. Opens each file once. The rules are DESIGN section 8.
class ExternalFiles {
public:
  explicit ExternalFiles(std::string modelPath) : modelPath_(std::move(modelPath)) {}
  absl::StatusOr<Payload> resolve(llvm::ArrayRef<ExternalEntry> entries, uint64_t expectedBytes);

private:
  absl::StatusOr<std::shared_ptr<FileSource>> open(const std::string &location);
  std::string modelPath_;
  llvm::StringMap<std::shared_ptr<FileSource>> files_;
};

} // namespace onnxopt
