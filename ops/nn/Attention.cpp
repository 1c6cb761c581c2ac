// Attention and what goes with it in transformers.
#include "onnxopt/ops/support/FastMath.h"
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

namespace {

/// [B, S, H*D] as [B, H, S, D]; tensors of rank 4 stay.
absl::StatusOr<Tensor> toHeads(EvalContext &ctx, const Tensor &t, int64_t heads) {
  if (t.rank() == 4)
    return t;
  if (t.rank() != 3 || heads <= 0 || t.dim(2) % heads)
    return invalid(ctx, "an operand does not split into heads");
  int64_t b = t.dim(0), s = t.dim(1), d = t.dim(2) / heads;
  return stridedCopy(ctx, t, {b, heads, s, d}, {s * heads * d, d, heads * d, 1});
}
absl::StatusOr<Tensor> fromHeads(EvalContext &ctx, const Tensor &t) {
  int64_t b = t.dim(0), h = t.dim(1), s = t.dim(2), d = t.dim(3);
  auto y = stridedCopy(ctx, t, {b, s, h, d}, {h * s * d, d, s * d, 1});
  if (!y.ok())
    return y;
  return y->reshaped({b, s, h * d});
}
absl::StatusOr<Tensor> append(EvalContext &ctx, const Tensor &past, const Tensor &now) {
  if (past.rank() != 4 || now.rank() != 4 || past.dim(0) != now.dim(0) || past.dim(1) != now.dim(1) ||
      past.dim(3) != now.dim(3))
    return invalid(ctx, "the cache does not fit");
  auto y = ctx.allocate(now.type(), {now.dim(0), now.dim(1), past.dim(2) + now.dim(2), now.dim(3)});
  if (!y.ok())
    return y;
  int64_t a = past.dim(2) * past.dim(3), b = now.dim(2) * now.dim(3);
  for (int64_t i = 0; i < now.dim(0) * now.dim(1); ++i) {
    if (a)
      copyElements(past, i * a, *y, i * (a + b), a);
    if (b)
      copyElements(now, i * b, *y, i * (a + b) + a, b);
  }
  return y;
}

struct AttentionCase {
  double scale, softcap;
  bool causal;
  int64_t left, right;  // sliding window, -1: open
  int64_t offset;       // position of the first query
  const Tensor *nonpad; // valid keys of each batch element, or null
  int mode;             // what the fourth result shows
};

template <typename T>
void attend(const Tensor &q, const Tensor &k, const Tensor &v, const Tensor *mask, const AttentionCase &c, Tensor &y,
            Tensor &shown) {
  int64_t B = q.dim(0), H = q.dim(1), S = q.dim(2), D = q.dim(3), KH = k.dim(1), L = k.dim(2), DV = v.dim(3);
  int64_t repeat = std::max<int64_t>(1, H / std::max<int64_t>(1, KH));
  Dims maskStrides;
  int64_t maskLength = L;
  if (mask) {
    // Masks broadcast from the right; a short one masks what it does not reach.
    maskLength = mask->dim(mask->rank() - 1);
    Dims target{B, H, S, maskLength};
    maskStrides = broadcastStrides(mask->dims(), target);
  }
  T root = T(std::sqrt(c.scale));
  std::vector<double> bias(L), logits(L);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t i = 0; i < S; ++i) {
        const T *pq = q.data<T>() + ((b * H + h) * S + i) * D;
        const T *pk = k.data<T>() + (b * KH + h / repeat) * L * D;
        const T *pv = v.data<T>() + (b * KH + h / repeat) * L * DV;
        int64_t position = i + (c.nonpad ? c.nonpad->intAt(b) - S : c.offset);
        bool any = false;
        double top = -INFINITY;
        T *show = shown.size() ? shown.mutableData<T>() + ((b * H + h) * S + i) * L : nullptr;
        for (int64_t j = 0; j < L; ++j) {
          double x = 0;
          if (mask) {
            if (j >= maskLength)
              x = -INFINITY;
            else {
              int64_t at = b * maskStrides[0] + h * maskStrides[1] + i * maskStrides[2] + j * maskStrides[3];
              x = mask->type() == ElementType::Bool ? (mask->data<uint8_t>()[at] ? 0 : -INFINITY) : mask->floatAt(at);
            }
          }
          if ((c.causal && j > position) || (c.left >= 0 && position - j > c.left) ||
              (c.right >= 0 && j - position > c.right) || (c.nonpad && j >= c.nonpad->intAt(b)))
            x = -INFINITY;
          bias[j] = x;
          any |= x != -INFINITY;
          T dot = 0;
          for (int64_t d = 0; d < D; ++d)
            dot += (pq[d] * root) * (pk[j * D + d] * root);
          double s = dot;
          if (c.mode == 0 && show)
            show[j] = T(s);
          if (c.softcap > 0)
            s = std::tanh(s / c.softcap) * c.softcap;
          if (c.mode == 1 && show)
            show[j] = T(s);
          logits[j] = s + x;
          if (c.mode == 2 && show)
            show[j] = T(logits[j]);
          if (x != -INFINITY)
            top = std::max(top, logits[j]);
        }
        double sum = 0;
        for (int64_t j = 0; j < L; ++j) {
          logits[j] = bias[j] == -INFINITY ? 0 : std::exp(logits[j] - top);
          sum += logits[j];
        }
        T *py = y.mutableData<T>() + ((b * H + h) * S + i) * DV;
        std::vector<double> acc(DV, 0);
        for (int64_t j = 0; j < L; ++j) {
          double p = any && sum != 0 ? logits[j] / sum : 0;
          if (c.mode == 3 && show)
            show[j] = T(p);
          if (p != 0)
            for (int64_t d = 0; d < DV; ++d)
              acc[d] += p * pv[j * DV + d];
        }
        for (int64_t d = 0; d < DV; ++d)
          py[d] = T(acc[d]);
      }
}

} // namespace

static absl::Status evalAttention(EvalContext &ctx) {
  bool flat = ctx.in(0).rank() == 3;
  ONNXOPT_ASSIGN(q, toHeads(ctx, ctx.in(0), ctx.getInt("q_num_heads")));
  ONNXOPT_ASSIGN(k, toHeads(ctx, ctx.in(1), ctx.getInt("kv_num_heads")));
  ONNXOPT_ASSIGN(v, toHeads(ctx, ctx.in(2), ctx.getInt("kv_num_heads")));
  AttentionCase c;
  c.offset = 0;
  if (ctx.has(4)) {
    c.offset = ctx.in(4).rank() == 4 ? ctx.in(4).dim(2) : 0;
    ONNXOPT_ASSIGN(pk, append(ctx, ctx.in(4), k));
    k = pk;
    if (!ctx.has(5))
      return invalid(ctx, "past_key and past_value come together");
    ONNXOPT_ASSIGN(pv, append(ctx, ctx.in(5), v));
    v = pv;
  }
  if (q.rank() != 4 || k.rank() != 4 || v.rank() != 4 || q.dim(0) != k.dim(0) || q.dim(0) != v.dim(0) ||
      q.dim(3) != k.dim(3) || k.dim(2) != v.dim(2) || k.dim(1) != v.dim(1) || k.dim(1) == 0 || q.dim(1) % k.dim(1))
    return invalid(ctx, "Q, K and V do not fit");
  c.scale = ctx.hasAttribute("scale") ? ctx.getFloat("scale") : 1 / std::sqrt(double(q.dim(3)));
  c.softcap = ctx.getFloat("softcap", 0);
  c.causal = ctx.getInt("is_causal", 0);
  c.left = ctx.getInt("left_window_size", -1);
  c.right = ctx.getInt("right_window_size", -1);
  c.nonpad = ctx.has(6) ? &ctx.in(6) : nullptr;
  c.mode = int(ctx.getInt("qk_matmul_output_mode", 0));
  const Tensor *mask = ctx.has(3) ? &ctx.in(3) : nullptr;
  if (mask && (mask->rank() < 1 || mask->rank() > 4 ||
               !broadcastsTo(mask->dims(), {q.dim(0), q.dim(1), q.dim(2), mask->dim(mask->rank() - 1)})))
    return invalid(ctx, "the mask does not broadcast to the scores");
  if (c.nonpad && c.nonpad->size() != q.dim(0))
    return invalid(ctx, "nonpad_kv_seqlen needs one element for each batch");
  if (c.nonpad && llvm::any_of(c.nonpad->ints(), [&](int64_t n) { return n < 0 || n > k.dim(2); }))
    return invalid(ctx, "nonpad_kv_seqlen is out of range");
  // V may have a type of its own, the result has that of Q.
  Tensor values = v.type() == q.type() ? v : q.type() == ElementType::Double ? toDouble(v) : toFloat(v);
  ONNXOPT_ASSIGN(y, ctx.allocate(q.type(), {q.dim(0), q.dim(1), q.dim(2), v.dim(3)}));
  Dims none{0}, all{q.dim(0), q.dim(1), q.dim(2), k.dim(2)};
  ONNXOPT_ASSIGN(shown, ctx.allocate(q.type(), ctx.numResults() > 3 ? all : none));
  if (!dispatchFloat(q.type(),
                     [&](auto tag) { attend<typename decltype(tag)::type>(q, k, values, mask, c, y, shown); }))
    return unsupportedType(ctx, q.type());
  if (flat) {
    ONNXOPT_ASSIGN(merged, fromHeads(ctx, y));
    y = merged;
  }
  ctx.set(0, std::move(y));
  ctx.set(1, std::move(k));
  ctx.set(2, std::move(v));
  if (ctx.numResults() > 3)
    ctx.set(3, std::move(shown));
  return absl::OkStatus();
}
static void inferAttention(InferContext &ctx) {
  if (ctx.hasOperand(4) != ctx.hasOperand(5))
    return ctx.fail("past_key and past_value come together");
  ElementType e = elementOr(ctx, 0), ve = elementOr(ctx, 2), ke = elementOr(ctx, 1);
  DimContext &d = ctx.dims();
  if (!ctx.isRanked(0) || !ctx.isRanked(1) || !ctx.isRanked(2)) {
    ctx.setUnranked(0, e);
    ctx.setUnranked(1, ke);
    ctx.setUnranked(2, ve);
    return ctx.setUnranked(3, e);
  }
  bool flat = ctx.rank(0) == 3;
  if ((ctx.rank(0) != 3 && ctx.rank(0) != 4) || ctx.rank(1) != ctx.rank(0) || ctx.rank(2) != ctx.rank(0))
    return ctx.fail("Q, K and V need the same rank, 3 or 4");
  llvm::ArrayRef<Dim> q = ctx.shape(0), k = ctx.shape(1), v = ctx.shape(2);
  Dim heads = flat ? d.constant(ctx.getInt("q_num_heads")) : q[1],
      kvHeads = flat ? d.constant(ctx.getInt("kv_num_heads")) : k[1];
  Dim S = flat ? q[1] : q[2], L = flat ? k[1] : k[2];
  if (flat && (!ctx.hasAttribute("q_num_heads") || !ctx.hasAttribute("kv_num_heads") ||
               ctx.getInt("kv_num_heads") <= 0 || ctx.getInt("q_num_heads") <= 0))
    return ctx.fail("operands of rank 3 need q_num_heads and kv_num_heads");
  Dim dk = flat ? d.floorDiv(k[2], kvHeads) : k[3], dv = flat ? d.floorDiv(v[2], kvHeads) : v[3];
  Dim total = L, totalV = flat ? v[1] : v[2];
  if (ctx.hasOperand(4)) {
    Dim past = ctx.isRanked(4) && ctx.rank(4) == 4 ? ctx.shape(4)[2] : Dim();
    total = past ? d.add(past, L) : Dim();
    totalV = total;
  }
  ctx.requireEqual(L, flat ? v[1] : v[2], "K and V differ in length");
  // Batch, heads and width of what is attended to are those of what comes before it.
  auto continues = [&](unsigned past, Dim batch, Dim width) {
    if (!ctx.isRanked(past) || ctx.rank(past) != 4)
      return;
    const Dim present[] = {batch, kvHeads, Dim(), width};
    for (unsigned i : {0, 1, 3})
      ctx.requireEqual(present[i], ctx.shape(past)[i],
                       "operand " + std::to_string(past) + " does not continue the keys or values");
  };
  if (ctx.hasOperand(4))
    continues(4, k[0], dk);
  if (ctx.hasOperand(5))
    continues(5, v[0], dv);
  if (flat)
    ctx.setTensor(0, e, {q[0], q[1], d.mul(heads, dv)});
  else
    ctx.setTensor(0, e, {q[0], heads, S, dv});
  if (!total)
    total = totalV = ctx.freshDim();
  ctx.setTensor(1, ke, {k[0], kvHeads, total, dk});
  ctx.setTensor(2, ve, {v[0], kvHeads, totalV, dv});
  ctx.setTensor(3, e, {q[0], heads, S, total});
}
ONNXOPT_DEFINE_OP(Attention) { op.since(23, {.infer = inferAttention, .eval = evalAttention}).ranks({{4, 4}, {5, 4}}); }

// LinearAttention

static absl::Status evalLinearAttention(EvalContext &ctx) {
  std::string rule = ctx.getString("update_rule", "gated_delta");
  bool gating = rule == "gated" || rule == "gated_delta", delta = rule == "delta" || rule == "gated_delta";
  int64_t qh = ctx.getInt("q_num_heads"), kh = ctx.getInt("kv_num_heads");
  if (qh <= 0 || kh <= 0 || qh % kh || gating != ctx.has(4) || delta != ctx.has(5))
    return invalid(ctx, "heads, decay or beta do not fit the update rule");
  ONNXOPT_ASSIGN(q, toHeads(ctx, toFloat(ctx.in(0)), qh));
  ONNXOPT_ASSIGN(k, toHeads(ctx, toFloat(ctx.in(1)), kh));
  ONNXOPT_ASSIGN(v, toHeads(ctx, toFloat(ctx.in(2)), kh));
  int64_t B = q.dim(0), T = q.dim(2), DK = q.dim(3), DV = v.dim(3), group = qh / kh;
  if (k.dim(3) != DK || k.dim(2) != T || v.dim(2) != T)
    return invalid(ctx, "query, key and value do not fit");
  if (k.dim(0) != B || v.dim(0) != B || q.dim(1) != qh || k.dim(1) != kh || v.dim(1) != kh)
    return invalid(ctx, "query, key and value differ in their batch or heads");
  auto fits = [&](unsigned i, int64_t one, int64_t other) {
    const Tensor &t = ctx.in(i);
    return t.rank() == 3 && t.dim(0) == B && t.dim(1) == T && (t.dim(2) == one || t.dim(2) == other);
  };
  if ((gating && !fits(4, kh, kh * DK)) || (delta && !fits(5, 1, kh)))
    return invalid(ctx, "decay or beta do not fit");
  ElementType stateType = ctx.has(3) ? ctx.in(3).type() : ctx.in(0).type();
  Tensor state = ctx.has(3) ? toFloat(ctx.in(3)) : Tensor(ElementType::Float, {B, kh, DK, DV});
  if (state.size() != B * kh * DK * DV)
    return invalid(ctx, "past_state does not fit");
  Tensor decay = gating ? toFloat(ctx.in(4)) : Tensor(), beta = delta ? toFloat(ctx.in(5)) : Tensor();
  int64_t decayLast = gating ? decay.dim(2) : 0, betaLast = delta ? beta.dim(2) : 0;
  float scale = ctx.getFloat("scale", 0);
  if (scale == 0)
    scale = float(1 / std::sqrt(double(DK)));
  Tensor y(ElementType::Float, {B, qh, T, DV});
  float *s = state.mutableData<float>();
  std::vector<float> value(DV);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < kh; ++h) {
      float *S = s + (b * kh + h) * DK * DV;
      for (int64_t t = 0; t < T; ++t) {
        const float *pk = k.data<float>() + ((b * kh + h) * T + t) * DK,
                    *pv = v.data<float>() + ((b * kh + h) * T + t) * DV;
        if (gating)
          for (int64_t i = 0; i < DK; ++i) {
            float g = decay.data<float>()[(b * T + t) * decayLast + (decayLast == kh ? h : h * DK + i)];
            for (int64_t m = 0; m < DV; ++m)
              S[i * DV + m] *= std::exp(g);
          }
        for (int64_t m = 0; m < DV; ++m) {
          value[m] = pv[m];
          if (delta) {
            float got = 0;
            for (int64_t i = 0; i < DK; ++i)
              got += S[i * DV + m] * pk[i];
            value[m] = beta.data<float>()[(b * T + t) * betaLast + (betaLast == 1 ? 0 : h)] * (pv[m] - got);
          }
        }
        for (int64_t i = 0; i < DK; ++i)
          for (int64_t m = 0; m < DV; ++m)
            S[i * DV + m] += pk[i] * value[m];
        for (int64_t r = 0; r < group; ++r) {
          int64_t head = h * group + r;
          const float *pq = q.data<float>() + ((b * qh + head) * T + t) * DK;
          float *out = y.mutableData<float>() + ((b * qh + head) * T + t) * DV;
          for (int64_t m = 0; m < DV; ++m) {
            float o = 0;
            for (int64_t i = 0; i < DK; ++i)
              o += pq[i] * S[i * DV + m];
            out[m] = o * scale;
          }
        }
      }
    }
  ONNXOPT_ASSIGN(merged, fromHeads(ctx, y));
  auto as = [](const Tensor &t, ElementType e) {
    return isSmallFloat(e) ? fromFloat(t, e) : e == ElementType::Double ? toDouble(t) : t;
  };
  ctx.set(0, as(merged, ctx.in(0).type()));
  ctx.set(1, as(state, stateType));
  return absl::OkStatus();
}
static void inferLinearAttention(InferContext &ctx) {
  const std::string rule = ctx.getString("update_rule", "gated_delta");
  if (rule != "linear" && rule != "gated" && rule != "delta" && rule != "gated_delta")
    return ctx.fail("update_rule '" + rule + "' is unknown");
  if (ctx.getInt("kv_num_heads") <= 0 || ctx.getInt("q_num_heads") <= 0)
    return ctx.fail("q_num_heads and kv_num_heads must be positive");
  const bool gated = rule == "gated" || rule == "gated_delta", delta = rule == "delta" || rule == "gated_delta";
  if (gated != ctx.hasOperand(4) || delta != ctx.hasOperand(5))
    return ctx.fail("update_rule '" + rule + "' takes " + (gated ? "a decay" : "no decay") + " and " +
                    (delta ? "a beta" : "no beta"));
  ElementType e = elementOr(ctx, 0), se = ctx.hasOperand(3) ? elementOr(ctx, 3) : e;
  if (!ctx.isRanked(0) || !ctx.isRanked(2) || ctx.rank(0) != 3 || ctx.rank(2) != 3) {
    ctx.setUnranked(0, e);
    return ctx.setUnranked(1, se);
  }
  DimContext &d = ctx.dims();
  Dim qh = d.constant(ctx.getInt("q_num_heads")), kh = d.constant(ctx.getInt("kv_num_heads"));
  Dim dv = d.floorDiv(ctx.shape(2)[2], kh), dk = d.floorDiv(ctx.shape(0)[2], qh);
  auto lastIs = [&](unsigned i, Dim one, Dim other, llvm::StringRef what) {
    auto last = ctx.isRanked(i) && ctx.rank(i) == 3 ? ctx.shape(i)[2].maybeConstant() : std::nullopt;
    if (last && one.isConstant() && other.isConstant() && *last != one.constant() && *last != other.constant())
      ctx.fail("operand " + std::to_string(i) + " ends in " + std::to_string(*last) + ", " + what.str() + " is needed");
  };
  if (ctx.hasOperand(4))
    lastIs(4, kh, d.mul(kh, dk), "the number of heads, or that times their width,");
  if (ctx.hasOperand(5))
    lastIs(5, d.constant(1), kh, "1 or the number of heads");
  ctx.setTensor(0, e, {ctx.shape(0)[0], ctx.shape(0)[1], d.mul(qh, dv)});
  ctx.setTensor(1, se, {ctx.shape(0)[0], kh, dk, dv});
}
ONNXOPT_DEFINE_OP(LinearAttention) {
  op.since(27, {.infer = inferLinearAttention, .eval = evalLinearAttention, .storage = Storage::Native})
      .ranks({{0, 3}, {1, 3}, {2, 3}, {3, 4}, {4, 3}, {5, 3}});
}

// CausalConvWithState

static absl::Status evalCausalConv(EvalContext &ctx) {
  const Tensor &x = ctx.in(0), &w = ctx.in(1);
  if (x.rank() != 3 || w.rank() != 3 || w.dim(0) != x.dim(1))
    return invalid(ctx, "input and weight do not fit");
  int64_t B = x.dim(0), C = x.dim(1), L = x.dim(2), K = w.dim(2);
  if (w.dim(1) != 1 || K < 1 || (ctx.has(2) && ctx.in(2).size() != C) ||
      (ctx.has(3) && ctx.in(3).dims() != llvm::ArrayRef<int64_t>({B, C, K - 1})))
    return invalid(ctx, "weight, bias or past state do not fit");
  ONNXOPT_ASSIGN(padded, ctx.allocate(x.type(), {B, C, L + K - 1}));
  for (int64_t i = 0; i < B * C; ++i) {
    if (ctx.has(3) && K > 1)
      copyElements(ctx.in(3), i * (K - 1), padded, i * (L + K - 1), K - 1);
    if (L)
      copyElements(x, i * L, padded, i * (L + K - 1) + K - 1, L);
  }
  std::string activation = ctx.getString("activation", "none");
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), x.dims()));
  if (!dispatchFloat(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        for (int64_t b = 0; b < B; ++b)
          for (int64_t c = 0; c < C; ++c)
            for (int64_t t = 0; t < L; ++t) {
              T v = ctx.has(2) ? ctx.in(2).template data<T>()[c] : T(0);
              for (int64_t k = 0; k < K; ++k)
                v += padded.template data<T>()[(b * C + c) * (L + K - 1) + t + k] * w.template data<T>()[c * K + k];
              y.template mutableData<T>()[(b * C + c) * L + t] = activation == "none" ? v : v / (1 + std::exp(-v));
            }
      }))
    return unsupportedType(ctx, x.type());
  ONNXOPT_ASSIGN(state, stridedCopy(ctx, padded, {B, C, K - 1}, stridesOf(padded.dims()), L));
  ctx.set(0, std::move(y));
  ctx.set(1, std::move(state));
  return absl::OkStatus();
}
static void inferCausalConv(InferContext &ctx) {
  if (std::string f = ctx.getString("activation", "none"); f != "none" && f != "silu" && f != "swish")
    ctx.fail("activation '" + f + "' is unknown");
  ctx.setType(0, ctx.type(0));
  if (ctx.isRanked(0) && ctx.rank(0) == 3 && ctx.isRanked(1) && ctx.rank(1) == 3)
    ctx.setTensor(1, elementOr(ctx, 0),
                  {ctx.shape(0)[0], ctx.shape(0)[1], ctx.dims().sub(ctx.shape(1)[2], ctx.constantDim(1))});
  else
    ctx.setUnranked(1, elementOr(ctx, 0));
}
ONNXOPT_DEFINE_OP(CausalConvWithState) {
  op.since(27, {.infer = inferCausalConv, .eval = evalCausalConv}).ranks({{0, 3}, {1, 3}, {2, 1}, {3, 3}});
}

// RotaryEmbedding

static absl::Status evalRotary(EvalContext &ctx) {
  const Tensor &x = ctx.in(0), &cosCache = ctx.in(1), &sinCache = ctx.in(2);
  bool four = x.rank() == 4;
  int64_t heads = four ? x.dim(1) : ctx.getInt("num_heads");
  if ((x.rank() != 3 && !four) || heads <= 0)
    return invalid(ctx, "needs rank 4, or rank 3 and num_heads");
  int64_t B = x.dim(0), S = four ? x.dim(2) : x.dim(1), D = four ? x.dim(3) : x.dim(2) / heads;
  int64_t rotary = ctx.getInt("rotary_embedding_dim", 0);
  rotary = rotary ? rotary : D;
  int64_t half = rotary / 2;
  bool interleaved = ctx.getInt("interleaved"), positions = ctx.has(3);
  if (cosCache.rank() == 0 || cosCache.dim(cosCache.rank() - 1) != half || sinCache.dims() != cosCache.dims() ||
      rotary > D)
    return invalid(ctx, "the caches do not fit");
  if (positions && ctx.in(3).size() != B * S)
    return invalid(ctx, "position_ids needs one element for each position");
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), x.dims()));
  absl::Status status;
  if (!dispatchFloat(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        for (int64_t b = 0; b < B; ++b)
          for (int64_t s = 0; s < S; ++s) {
            int64_t row = positions ? ctx.in(3).intAt(b * S + s) : b * S + s;
            if (row < 0 || row >= cosCache.size() / std::max<int64_t>(half, 1)) {
              status = invalid(ctx, "position out of range");
              return;
            }
            const T *pc = cosCache.template data<T>() + row * half, *ps = sinCache.template data<T>() + row * half;
            for (int64_t h = 0; h < heads; ++h) {
              int64_t at = four ? ((b * heads + h) * S + s) * D : ((b * S + s) * heads + h) * D;
              const T *p = x.template data<T>() + at;
              T *q = y.template mutableData<T>() + at;
              for (int64_t i = 0; i < half; ++i) {
                int64_t i1 = interleaved ? 2 * i : i, i2 = interleaved ? 2 * i + 1 : i + half;
                q[i1] = pc[i] * p[i1] - ps[i] * p[i2];
                q[i2] = ps[i] * p[i1] + pc[i] * p[i2];
              }
              std::copy(p + rotary, p + D, q + rotary);
            }
          }
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return status;
}
static void inferRotary(InferContext &ctx) {
  ctx.setType(0, ctx.type(0));
  if (!ctx.isRanked(0))
    return;
  if (ctx.rank(0) != 3 && ctx.rank(0) != 4)
    ctx.fail("operand 0 must have rank 3 or 4, it has rank " + std::to_string(ctx.rank(0)));
  else if (ctx.rank(0) == 3 && ctx.getInt("num_heads") <= 0)
    ctx.fail("an operand of rank 3 needs num_heads");
}
ONNXOPT_DEFINE_OP(RotaryEmbedding) { op.since(23, {.infer = inferRotary, .eval = evalRotary}); }

// SwiGLU

static absl::Status evalSwiGlu(EvalContext &ctx) {
  const Tensor &a = ctx.in(0), &b = ctx.in(1);
  if (a.dims() != b.dims())
    return invalid(ctx, "operands differ in shape");
  float alpha = ctx.getFloat("alpha", 1);
  ONNXOPT_ASSIGN(y, ctx.allocate(a.type(), a.dims()));
  if (!dispatchFloat(a.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        for (int64_t i = 0; i < a.size(); ++i) {
          T x = a.template data<T>()[i];
          y.template mutableData<T>()[i] = x / (1 + std::exp(-T(alpha) * x)) * b.template data<T>()[i];
        }
      }))
    return unsupportedType(ctx, a.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferSwiGlu(InferContext &ctx) {
  ctx.setType(0, ctx.type(0));
  if (!ctx.isRanked(0) || !ctx.isRanked(1))
    return;
  if (ctx.rank(0) != ctx.rank(1))
    return ctx.fail("operands of different rank");
  for (size_t i = 0; i < ctx.rank(0); ++i)
    ctx.requireEqual(ctx.shape(0)[i], ctx.shape(1)[i], "operands differ in shape");
}
ONNXOPT_DEFINE_OP(SwiGLU) { op.since(28, {.infer = inferSwiGlu, .eval = evalSwiGlu, .elementwise = true}); }
