// The text form of models: the official ONNX text syntax, extended where it would lose something.
#pragma once

#include "onnxopt/ir/Graph.h"

namespace onnxopt {

struct TextOptions {
  /// Only what the official syntax has; what was dropped goes to `dropped`.
  bool official = false;
  /// Also the spelling of the file (payload fields, presence of defaults), so that text -> proto is exact.
  bool exact = false;
  /// Tensors of more elements print as `...` (and cannot be executed); -1: never.
  int64_t elideAbove = -1;
  std::vector<std::string> *dropped = nullptr;
};

absl::StatusOr<std::string> printText(const Model &model, const TextOptions &options = {});

} // namespace onnxopt
