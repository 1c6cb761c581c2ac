// The transforms of post_transform, and labels of classes.
#include "onnxopt/ops/ml/Scores.h"

#include "onnxopt/ops/support/Kernels.h"

#include <cmath>

namespace onnxopt::ml {

absl::StatusOr<PostTransform> postTransformOf(const EvalContext &ctx) {
  const std::string name = ctx.getString("post_transform", "NONE");
  if (name == "NONE")
    return PostTransform::None;
  if (name == "LOGISTIC")
    return PostTransform::Logistic;
  if (name == "SOFTMAX")
    return PostTransform::Softmax;
  if (name == "SOFTMAX_ZERO")
    return PostTransform::SoftmaxZero;
  if (name == "PROBIT")
    return PostTransform::Probit;
  return kernels::invalid(ctx, "attribute 'post_transform' is '" + name +
                                   "', NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT is expected");
}

static double logistic(double x) {
  const double v = 1 / (1 + std::exp(-std::fabs(x)));
  return x < 0 ? 1 - v : v;
}

/// The quantile of the normal distribution, by Winitzki's approximation of the inverse error function.
static double probit(double p) {
  double x = 2 * p - 1;
  const double sign = x < 0 ? -1 : 1;
  x = (1 - x) * (1 + x);
  if (x == 0)
    return 0;
  const double log = std::log(x), v = 2 / (M_PI * 0.147) + 0.5 * log;
  return 1.41421356 * sign * std::sqrt(std::sqrt(v * v - log / 0.147) - v);
}

/// `keepZeros`: scores of zero stay so, and count for the sum by what they are.
static void softmax(llvm::MutableArrayRef<double> scores, bool keepZeros) {
  const double largest = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double &s : scores) {
    const bool isZero = keepZeros && std::fabs(s) <= 1e-7;
    s = isZero ? s * std::exp(-largest) : std::exp(s - largest);
    sum += s;
  }
  for (double &s : scores)
    s /= sum;
}

void transformScores(llvm::SmallVectorImpl<double> &scores, PostTransform transform, OtherClass other) {
  if (scores.empty())
    return;
  if (scores.size() == 1) {
    if (transform == PostTransform::Probit) {
      scores[0] = probit(scores[0]);
      return;
    }
    if (other == OtherClass::Absent)
      return;
    if (other == OtherClass::Remainder && transform != PostTransform::Logistic) {
      scores.insert(scores.begin(), 1 - scores[0]);
      return;
    }
    scores.insert(scores.begin(), -scores[0]);
  }
  switch (transform) {
  case PostTransform::None:
    return;
  case PostTransform::Logistic:
    for (double &s : scores)
      s = logistic(s);
    return;
  case PostTransform::Softmax:
    return softmax(scores, false);
  case PostTransform::SoftmaxZero:
    return softmax(scores, true);
  case PostTransform::Probit:
    for (double &s : scores)
      s = probit(s);
  }
}

ClassLabels::ClassLabels(const NodeView &node, llvm::StringRef numbers, llvm::StringRef names)
    : numbers(node.getInts(numbers)), names(node.getStrings(names)) {}

void ClassLabels::write(size_t label, Tensor &labels, int64_t at) const {
  if (type() == ElementType::String)
    labels.mutableStrings()[at] = label < names.size() ? names[label] : std::to_string(label);
  else
    labels.mutableData<int64_t>()[at] = label < numbers.size() ? numbers[label] : int64_t(label);
}

bool checkLabels(InferContext &ctx, llvm::StringRef numbers, llvm::StringRef names) {
  if (ctx.hasAttribute(numbers) != ctx.hasAttribute(names))
    return true;
  ctx.fail("needs one of attributes '" + numbers.str() + "' and '" + names.str() + "', it has " +
           (ctx.hasAttribute(names) ? "both" : "none"));
  return false;
}

absl::StatusOr<Rows> rowsOf(const EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  if (x.rank() == 1)
    return Rows{1, x.dim(0)};
  if (x.rank() == 2)
    return Rows{x.dim(0), x.dim(1)};
  return kernels::invalid(ctx, "operand 0 has rank " + std::to_string(x.rank()) + ", 1 or 2 is expected");
}

Dim rowsOf(InferContext &ctx) {
  if (!ctx.isRanked(0))
    return ctx.freshDim();
  if (ctx.rank(0) == 1)
    return ctx.constantDim(1);
  if (ctx.rank(0) == 2)
    return ctx.shape(0)[0];
  ctx.fail("operand 0 has rank " + std::to_string(ctx.rank(0)) + ", 1 or 2 is expected");
  return {};
}

void inferClassifier(InferContext &ctx, const ClassLabels &labels, Dim scores) {
  const Dim rows = rowsOf(ctx);
  ctx.setTensor(0, labels.type(), {rows});
  ctx.setTensor(1, ElementType::Float, {rows, scores});
}

} // namespace onnxopt::ml
