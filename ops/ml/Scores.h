// Scores of classifiers and regressors: the transforms of attribute post_transform, and labels.
#pragma once

#include "onnxopt/ops/Operator.h"

namespace onnxopt::ml {

enum class PostTransform : uint8_t { None, Logistic, Softmax, SoftmaxZero, Probit };

/// Attribute post_transform; an error for a name that the standard lacks.
absl::StatusOr<PostTransform> postTransformOf(const EvalContext &ctx);

/// What the one score of a two-class model says of the class that has none.
enum class OtherClass : uint8_t {
  Absent,    ///< nothing: the score stays alone
  Remainder, ///< it has the rest to 1, without any transform but LOGISTIC, which takes the negated score
  Opposite,  ///< it has the negated score
};

/// Applies the transform to one row of scores. A single score becomes two where `other` says so, else it stays as it
/// is, but for PROBIT. Source: onnxruntime's ml_common.h, which the standard's text leaves the details to.
void transformScores(llvm::SmallVectorImpl<double> &scores, PostTransform transform, OtherClass other);

/// Labels of the classes, numbers or strings, from whichever attribute holds them.
struct ClassLabels {
  std::vector<int64_t> numbers;
  std::vector<std::string> names;
  ClassLabels(const NodeView &node, llvm::StringRef numbers, llvm::StringRef names);
  size_t size() const { return std::max(numbers.size(), names.size()); }
  ElementType type() const { return names.empty() ? ElementType::Int64 : ElementType::String; }
  /// Writes the label of a class to element `at`. Without a label for it, its number stands for itself.
  void write(size_t label, Tensor &labels, int64_t at) const;
};

/// Types of a classifier's results for operand 0 [N,F] (or [F], one row): labels [N] and scores [N,`scores`].
void inferClassifier(InferContext &ctx, const ClassLabels &labels, Dim scores);
/// Reports classes labelled by both attributes, or by none.
bool checkLabels(InferContext &ctx, llvm::StringRef numbers, llvm::StringRef names);

/// Rows and columns of operand 0, a matrix or one row.
struct Rows {
  int64_t count, features;
};
absl::StatusOr<Rows> rowsOf(const EvalContext &ctx);
/// The rows of operand 0 as a size.
Dim rowsOf(InferContext &ctx);

} // namespace onnxopt::ml
