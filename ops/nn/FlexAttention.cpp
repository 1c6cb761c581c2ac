// FlexAttention: attention whose scores and probabilities pass through bodies of the model's.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include "onnxopt/ir/SmallFloat.h"

#include <cmath>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

static Tensor as(const Tensor &t, ElementType e) {
  return e == ElementType::Double ? toDouble(t) : isSmallFloat(e) ? fromFloat(toFloat(t), e) : toFloat(t);
}

static absl::Status evalFlexAttention(EvalContext &ctx) {
  const Tensor &q = ctx.in(0), &k = ctx.in(1), &v = ctx.in(2);
  if (q.rank() != 4 || k.rank() != 4 || v.rank() != 4 || k.dim(0) != q.dim(0) || v.dim(0) != q.dim(0) ||
      k.dim(1) == 0 || q.dim(1) % k.dim(1) || k.dim(1) != v.dim(1) || k.dim(2) != v.dim(2) || k.dim(3) != q.dim(3))
    return invalid(ctx, "Q, K and V do not fit");
  int64_t B = q.dim(0), H = q.dim(1), L = q.dim(2), E = q.dim(3), S = k.dim(2), DV = v.dim(3), repeat = H / k.dim(1);
  double scale = ctx.hasAttribute("scale") ? ctx.getFloat("scale") : 1 / std::sqrt(double(E));
  double root = std::sqrt(float(scale));
  if (isSmallFloat(q.type())) // the factor has the operands' precision
    root = decodeSmallFloat(q.type(), encodeSmallFloat(q.type(), float(root)));
  ElementType compute = q.type() == ElementType::Double ? ElementType::Double : ElementType::Float;
  if (ctx.hasAttribute("softmax_precision"))
    compute = static_cast<ElementType>(ctx.getInt("softmax_precision"));
  ONNXOPT_ASSIGN(scores, ctx.allocate(ElementType::Double, {B, H, L, S}));
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t i = 0; i < L; ++i)
        for (int64_t j = 0; j < S; ++j) {
          double dot = 0;
          for (int64_t d = 0; d < E; ++d)
            dot += q.floatAt(((b * H + h) * L + i) * E + d) * root *
                   k.floatAt(((b * k.dim(1) + h / repeat) * S + j) * E + d) * root;
          scores.mutableData<double>()[((b * H + h) * L + i) * S + j] = dot;
        }
  auto modify = [&](llvm::StringRef body, Tensor &t) -> absl::Status {
    Graph *g = ctx.getGraph(body);
    if (!g)
      return absl::OkStatus();
    std::vector<Datum> out;
    if (absl::Status s = ctx.runRegion(*g, {as(toFloat(t), compute)}, out); !s.ok())
      return s;
    if (out.size() != 1 || !out[0].isTensor() || out[0].tensor.size() != t.size())
      return invalid(ctx, "a body must give one tensor of the scores' shape");
    t = toDouble(out[0].tensor);
    return absl::OkStatus();
  };
  if (absl::Status s = modify("score_mod", scores); !s.ok())
    return s;
  double *p = scores.mutableData<double>();
  for (int64_t r = 0; r < B * H * L && S; ++r) {
    double top = *std::max_element(p + r * S, p + r * S + S), sum = 0;
    for (int64_t j = 0; j < S; ++j)
      sum += p[r * S + j] = std::exp(p[r * S + j] - top);
    for (int64_t j = 0; j < S; ++j)
      p[r * S + j] /= sum;
  }
  if (absl::Status s = modify("prob_mod", scores); !s.ok())
    return s;
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Double, {B, H, L, DV}));
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t i = 0; i < L; ++i)
        for (int64_t j = 0; j < S; ++j) {
          double w = scores.data<double>()[((b * H + h) * L + i) * S + j];
          for (int64_t d = 0; d < DV; ++d)
            y.mutableData<double>()[((b * H + h) * L + i) * DV + d] +=
                w * v.floatAt(((b * v.dim(1) + h / repeat) * S + j) * DV + d);
        }
  ctx.set(0, as(y, v.type()));
  return absl::OkStatus();
}
static void inferFlexAttention(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (!ctx.isRanked(0) || !ctx.isRanked(2) || ctx.rank(0) != 4 || ctx.rank(2) != 4)
    return ctx.setUnranked(0, e);
  if (ctx.isRanked(1) && ctx.rank(1) == 4) {
    ctx.requireEqual(ctx.shape(0)[3], ctx.shape(1)[3], "Q and K differ in width");
    ctx.requireEqual(ctx.shape(1)[2], ctx.shape(2)[2], "K and V differ in length");
    ctx.requireEqual(ctx.shape(1)[1], ctx.shape(2)[1], "K and V differ in heads");
    for (unsigned i : {1, 2})
      ctx.requireEqual(ctx.shape(0)[0], ctx.shape(i)[0], "operands differ in their batch");
  }
  ctx.setTensor(0, e, {ctx.shape(0)[0], ctx.shape(0)[1], ctx.shape(0)[2], ctx.shape(2)[3]});
}
ONNXOPT_DEFINE_PREVIEW_OP(FlexAttention) {
  op.since(1, {.infer = inferFlexAttention, .eval = evalFlexAttention, .storage = Storage::Native})
      .ranks({{0, 4}, {1, 4}, {2, 4}});
}
