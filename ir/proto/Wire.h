// Skeletons of serialized models: the same message with large tensor payloads left in their file.
#pragma once

#include "onnxopt/ir/Tensor.h"

#include "absl/status/statusor.h"

#include <string>

namespace onnxopt::wire {

/// A payload that stays where it is: stands in TensorProto.onnxopt_blob.
struct Blob {
  uint32_t field;  ///< of TensorProto: 9 raw_data, 4, 5, 7, 10 or 11
  uint32_t source; ///< index into the sources of the expansion; 0 is the model file
  uint64_t offset, size;
  std::string encode() const;
  static Blob decode(const std::string &bytes);
};

/// Walks the wire format of a ModelProto and copies it, except payloads of at least `threshold` bytes that occur once
/// in their tensor. Errors: truncated or malformed input, nesting over 100, a result over 2 GiB, the private field.
absl::StatusOr<std::string> makeSkeleton(const FileSource &file, uint64_t threshold = 1024);

/// A serialized message whose payloads are ranges of files.
struct Piece {
  std::string bytes;                        ///< written as they are
  std::shared_ptr<const FileSource> source; ///< or `size` bytes from `offset` of this
  uint64_t offset = 0, size = 0;
};
struct Rope {
  std::vector<Piece> pieces;
  uint64_t size = 0;
  void append(llvm::StringRef bytes);
  void append(Rope other);
};
/// Puts the payloads back where a skeleton refers to them.
Rope expand(std::string skeleton, llvm::ArrayRef<std::shared_ptr<const FileSource>> sources);

} // namespace onnxopt::wire
