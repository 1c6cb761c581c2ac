// Labels, categories and vocabularies: lists of numbers or of strings that attributes hold.
#pragma once

#include "onnxopt/ops/Operator.h"

namespace onnxopt::ml {

/// One of two attributes holds the labels: numbers or strings.
struct Labels {
  std::vector<int64_t> numbers;
  std::vector<std::string> names;
  Labels(const NodeView &node, llvm::StringRef numbers, llvm::StringRef names)
      : numbers(node.getInts(numbers)), names(node.getStrings(names)) {}
  size_t size() const { return std::max(numbers.size(), names.size()); }
  ElementType type() const { return names.empty() ? ElementType::Int64 : ElementType::String; }
  Tensor tensor() const { return names.empty() ? Tensor::vector(numbers) : Tensor::stringVector(names); }
  /// Where element `i` of a tensor stands, among the strings or the numbers as its type says; nullopt where it does
  /// not.
  std::optional<size_t> find(const Tensor &tensor, int64_t i) const;
  /// Writes a label to element `at`. Without a label for it, its number stands for itself.
  void write(size_t label, Tensor &labels, int64_t at) const;
};

/// Reports labels in both attributes, or in none.
bool checkLabels(InferContext &ctx, llvm::StringRef numbers, llvm::StringRef names);

} // namespace onnxopt::ml
