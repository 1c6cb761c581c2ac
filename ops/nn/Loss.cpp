// Losses over class scores.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

/// `logProb` is [N, C, ...]; the loss of each place is -w * logProb[target].
static absl::Status negativeLogLikelihood(EvalContext &ctx, const Tensor &logProb, const Tensor &target,
                                          const Tensor *weight) {
  if (logProb.rank() < 2 || target.rank() + 1 != logProb.rank())
    return invalid(ctx, "scores and labels do not fit");
  int64_t N = logProb.dim(0), C = logProb.dim(1), inner = 1;
  for (size_t i = 2; i < logProb.rank(); ++i)
    inner *= logProb.dim(i);
  if (target.size() != N * inner || (weight && weight->size() != C))
    return invalid(ctx, "scores, labels and weights do not fit");
  bool ignores = ctx.hasAttribute("ignore_index");
  int64_t ignored = ctx.getInt("ignore_index");
  std::string reduction = ctx.getString("reduction", "mean");
  Tensor losses(ElementType::Double, target.dims());
  double sum = 0, weights = 0;
  for (int64_t n = 0; n < N; ++n)
    for (int64_t i = 0; i < inner; ++i) {
      int64_t at = n * inner + i, t = target.intAt(at);
      double loss = 0, w = 0;
      if (!(ignores && t == ignored)) {
        if (t < 0 || t >= C)
          return invalid(ctx, absl::StrCat("label ", t, " is out of range for ", C, " classes"));
        w = weight ? weight->floatAt(t) : 1;
        loss = -w * logProb.floatAt((n * C + t) * inner + i);
      }
      losses.mutableData<double>()[at] = loss;
      sum += loss;
      weights += w;
    }
  Dims dims = reduction == "none" ? Dims(target.dims().begin(), target.dims().end()) : Dims();
  ONNXOPT_ASSIGN(y, ctx.allocate(logProb.type(), dims));
  dispatchFloat(y.type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T *p = y.mutableData<T>();
    if (reduction == "none")
      for (int64_t i = 0; i < y.size(); ++i)
        p[i] = T(losses.data<double>()[i]);
    else
      p[0] = T(reduction == "sum" ? sum : sum / weights);
  });
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}

static void inferLoss(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  // (N, C, d1, ...) and (N, d1, ...), weights (C).
  if (ctx.isRanked(0) && ctx.rank(0) < 2)
    return ctx.fail("operand 0 needs a batch and a class axis");
  if (ctx.isRanked(0) && ctx.isRanked(1)) {
    if (ctx.rank(1) + 1 != ctx.rank(0))
      return ctx.fail("the target has rank " + std::to_string(ctx.rank(1)) + ", " + std::to_string(ctx.rank(0) - 1) +
                      " is needed");
    for (size_t i = 0; i < ctx.rank(1); ++i)
      ctx.requireEqual(ctx.shape(0)[i ? i + 1 : 0], ctx.shape(1)[i], "the target does not match operand 0");
  }
  if (ctx.hasOperand(2) && ctx.isRanked(2) && ctx.rank(2) == 1 && ctx.isRanked(0))
    ctx.requireEqual(ctx.shape(0)[1], ctx.shape(2)[0], "one weight for each class is needed");
  if (ctx.getString("reduction", "mean") != "none")
    ctx.setTensor(0, e, {});
  else if (ctx.isRanked(1))
    ctx.setTensor(0, e, ctx.shape(1));
  else
    ctx.setUnranked(0, e);
  if (ctx.numResults() > 1)
    ctx.setType(1, ctx.type(0));
}

static absl::Status evalNegativeLogLikelihoodLoss(EvalContext &ctx) {
  return negativeLogLikelihood(ctx, ctx.in(0), ctx.in(1), ctx.has(2) ? &ctx.in(2) : nullptr);
}
ONNXOPT_DEFINE_OP(NegativeLogLikelihoodLoss) {
  op.since(12, {.infer = inferLoss, .eval = evalNegativeLogLikelihoodLoss}).ranks({{2, 1}});
}

static absl::Status evalSoftmaxCrossEntropyLoss(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  if (x.rank() < 2)
    return invalid(ctx, "scores need rank 2 or more");
  AxisSplit s(x.dims(), 1);
  ONNXOPT_ASSIGN(logProb, ctx.allocate(x.type(), x.dims()));
  if (!dispatchFloat(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        for (int64_t o = 0; o < s.outer; ++o)
          for (int64_t i = 0; i < s.inner; ++i) {
            auto at = [&](int64_t c) { return (o * s.axis + c) * s.inner + i; };
            double top = -INFINITY, sum = 0;
            for (int64_t c = 0; c < s.axis; ++c)
              top = std::max(top, double(x.template data<T>()[at(c)]));
            for (int64_t c = 0; c < s.axis; ++c)
              sum += std::exp(double(x.template data<T>()[at(c)]) - top);
            for (int64_t c = 0; c < s.axis; ++c)
              logProb.template mutableData<T>()[at(c)] = T(double(x.template data<T>()[at(c)]) - top - std::log(sum));
          }
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(1, logProb);
  return negativeLogLikelihood(ctx, logProb, ctx.in(1), ctx.has(2) ? &ctx.in(2) : nullptr);
}
ONNXOPT_DEFINE_OP(SoftmaxCrossEntropyLoss) {
  op.since(12, {.infer = inferLoss, .eval = evalSoftmaxCrossEntropyLoss}).ranks({{2, 1}});
}
