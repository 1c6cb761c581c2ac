// The transforms of post_transform, and the loops over rows.
#include "onnxopt/ops/ml/Scores.h"

#include "onnxopt/ops/support/Kernels.h"

#include <cmath>

namespace onnxopt::ml {

static absl::StatusOr<PostTransform> postTransformOf(const EvalContext &ctx) {
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
  const double most = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double &s : scores) {
    const bool isZero = keepZeros && std::fabs(s) <= 1e-7;
    s = isZero ? s * std::exp(-most) : std::exp(s - most);
    sum += s;
  }
  for (double &s : scores)
    s /= sum;
}

/// Applies the transform to one row of scores. A single score becomes two where `other` says so, else it stays as it
/// is, but for PROBIT. Source: onnxruntime's ml_common.h, which the standard's text leaves the details to.
static void transformScores(Scores &scores, PostTransform transform, OtherClass other) {
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

absl::StatusOr<Scoring> Scoring::of(const EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  if (x.rank() != 1 && x.rank() != 2)
    return kernels::invalid(ctx, "operand 0 has rank " + std::to_string(x.rank()) + ", 1 or 2 is expected");
  auto transform = postTransformOf(ctx);
  if (!transform.ok())
    return transform.status();
  return Scoring{x.rank() == 1 ? 1 : x.dim(0), x.dim(x.rank() - 1), *transform};
}

absl::Status regress(EvalContext &ctx, const Scoring &scoring, ElementType type, int64_t width,
                     llvm::function_ref<absl::Status(int64_t row, Scores &scores)> score) {
  ONNXOPT_ASSIGN(y, ctx.allocate(type, {scoring.rows, width}));
  for (int64_t r = 0; r < scoring.rows; ++r) {
    llvm::SmallVector<double, 8> scores;
    if (absl::Status s = score(r, scores); !s.ok())
      return s;
    transformScores(scores, scoring.transform, OtherClass::Absent);
    kernels::dispatchFloat(type, [&](auto tag) {
      std::copy(scores.begin(), scores.end(), y.mutableData<typename decltype(tag)::type>() + r * width);
    });
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}

absl::Status classify(EvalContext &ctx, const Scoring &scoring, const Labels &labels, int64_t width,
                      llvm::function_ref<absl::StatusOr<Verdict>(int64_t row, Scores &scores)> score) {
  ONNXOPT_ASSIGN(y, ctx.allocate(labels.type(), {scoring.rows}));
  ONNXOPT_ASSIGN(z, ctx.allocate(ElementType::Float, {scoring.rows, width}));
  for (int64_t r = 0; r < scoring.rows; ++r) {
    llvm::SmallVector<double, 8> scores;
    auto verdict = score(r, scores);
    if (!verdict.ok())
      return verdict.status();
    labels.write(verdict->label, y, r);
    transformScores(scores, scoring.transform, verdict->other);
    std::copy_n(scores.begin(), std::min<int64_t>(width, scores.size()), z.mutableData<float>() + r * width);
  }
  ctx.set(0, std::move(y));
  ctx.set(1, std::move(z));
  return absl::OkStatus();
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

void inferRegressor(InferContext &ctx, int64_t targets) {
  if (targets < 1)
    return ctx.fail(std::to_string(targets) + " targets, 1 or more are expected");
  ctx.setTensor(0, ElementType::Float, {rowsOf(ctx), ctx.constantDim(targets)});
}

void inferClassifier(InferContext &ctx, const Labels &labels, Dim scores) {
  const Dim rows = rowsOf(ctx);
  ctx.setTensor(0, labels.type(), {rows});
  ctx.setTensor(1, ElementType::Float, {rows, scores});
}

} // namespace onnxopt::ml
