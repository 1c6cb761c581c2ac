// Classifiers and regressors: rows of features are scored, the scores transformed as attribute post_transform says.
#pragma once

#include "onnxopt/ops/ml/Labels.h"

namespace onnxopt::ml {

enum class PostTransform : uint8_t { None, Softmax, Logistic, SoftmaxZero, Probit };

/// What the one score of a two-class model says of the class that has none.
enum class OtherClass : uint8_t {
  Absent,    ///< nothing: the score stays alone
  Remainder, ///< it has the rest to 1, without any transform but LOGISTIC, which takes the negated score
  Opposite,  ///< it has the negated score
};

/// What is scored: the rows of operand 0, a matrix or one row.
struct Scoring {
  int64_t rows, features;
  PostTransform transform;
  /// An error where operand 0 has another rank, or attribute post_transform a name that the standard lacks.
  static absl::StatusOr<Scoring> of(const EvalContext &ctx);
};

using Scores = llvm::SmallVectorImpl<double>;

/// Result 0 [rows,width] of `type`: what `score` appends for each row, transformed.
absl::Status regress(EvalContext &ctx, const Scoring &scoring, ElementType type, int64_t width,
                     llvm::function_ref<absl::Status(int64_t row, Scores &scores)> score);

struct Verdict {
  size_t label;
  OtherClass other = OtherClass::Absent;
};
/// Results 0 [rows], the labels, and 1 [rows,width], the scores that `score` appends for each row, transformed. Scores
/// fewer than `width` are followed by zeros.
absl::Status classify(EvalContext &ctx, const Scoring &scoring, const Labels &labels, int64_t width,
                      llvm::function_ref<absl::StatusOr<Verdict>(int64_t row, Scores &scores)> score);

/// The rows of operand 0 as a size.
Dim rowsOf(InferContext &ctx);
/// The type of a regressor's result, with `targets` scores for each row.
void inferRegressor(InferContext &ctx, int64_t targets);
/// Types of a classifier's results: labels [rows] and scores [rows,`scores`].
void inferClassifier(InferContext &ctx, const Labels &labels, Dim scores);

/// Index of the largest of some scores or votes, the first of equal ones.
template <typename Range> size_t largest(const Range &range) {
  return std::max_element(range.begin(), range.end()) - range.begin();
}

} // namespace onnxopt::ml
