// Normalization and dropout.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>
#include <random>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

// BatchNormalization

static absl::Status evalBatchNormalization(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  if (x.rank() < 1)
    return invalid(ctx, "needs rank 1 or more");
  int64_t channels = x.rank() > 1 ? x.dim(1) : 1;
  Tensor scale = toDouble(ctx.in(1)), bias = toDouble(ctx.in(2)), mean = toDouble(ctx.in(3)), var = toDouble(ctx.in(4));
  if (scale.size() != channels || bias.size() != channels || mean.size() != channels || var.size() != channels)
    return invalid(ctx, "scale, bias, mean and variance need one element for each channel");
  double epsilon = ctx.getFloat("epsilon", 1e-5f), momentum = ctx.getFloat("momentum", 0.9f);
  int64_t inner = 1;
  for (size_t i = 2; i < x.rank(); ++i)
    inner *= x.dim(i);
  bool training = ctx.version() >= 14 && ctx.getInt("training_mode");
  if (training) {
    Tensor newMean(ElementType::Double, mean.dims()), newVar(ElementType::Double, var.dims());
    Tensor xd = toDouble(x);
    int64_t n = x.dim(0) * inner;
    for (int64_t c = 0; c < channels; ++c) {
      double m = 0, v = 0;
      for (int64_t b = 0; b < x.dim(0); ++b)
        for (int64_t i = 0; i < inner; ++i)
          m += xd.data<double>()[(b * channels + c) * inner + i];
      m /= double(n);
      for (int64_t b = 0; b < x.dim(0); ++b)
        for (int64_t i = 0; i < inner; ++i) {
          double d = xd.data<double>()[(b * channels + c) * inner + i] - m;
          v += d * d;
        }
      v /= double(n);
      newMean.mutableData<double>()[c] = m;
      newVar.mutableData<double>()[c] = v;
    }
    Tensor runningMean(ctx.in(3).type(), mean.dims()), runningVar(ctx.in(4).type(), var.dims());
    for (int64_t c = 0; c < channels; ++c) {
      double m = mean.data<double>()[c] * momentum + newMean.data<double>()[c] * (1 - momentum);
      double v = var.data<double>()[c] * momentum + newVar.data<double>()[c] * (1 - momentum);
      dispatchFloat(runningMean.type(),
                    [&](auto tag) { runningMean.mutableData<typename decltype(tag)::type>()[c] = m; });
      dispatchFloat(runningVar.type(),
                    [&](auto tag) { runningVar.mutableData<typename decltype(tag)::type>()[c] = v; });
    }
    mean = newMean;
    var = newVar;
    ctx.set(1, std::move(runningMean));
    ctx.set(2, std::move(runningVar));
  }
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), x.dims()));
  if (!dispatchFloat(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        const T *p = x.template data<T>();
        T *q = y.template mutableData<T>();
        for (int64_t b = 0; b < x.dim(0); ++b)
          for (int64_t c = 0; c < channels; ++c) {
            double k = scale.data<double>()[c] / std::sqrt(var.data<double>()[c] + epsilon);
            double m = mean.data<double>()[c], s = bias.data<double>()[c];
            int64_t at = (b * channels + c) * inner;
            for (int64_t i = 0; i < inner; ++i)
              q[at + i] = T((p[at + i] - m) * k + s);
          }
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferBatchNormalization(InferContext &ctx) {
  ctx.setType(0, ctx.type(0));
  if (ctx.version() >= 14 && ctx.numResults() > 1 && !ctx.getInt("training_mode"))
    ctx.fail("statistics are results of training only (training_mode = 1)");
  if (ctx.isRanked(0) && ctx.rank(0) > 1)
    for (unsigned i = 1; i < 5; ++i)
      if (ctx.isRanked(i)) {
        if (ctx.rank(i) != 1)
          ctx.fail("scale, bias, mean and variance need rank 1");
        else
          ctx.requireEqual(ctx.shape(0)[1], ctx.shape(i)[0],
                           "operand " + std::to_string(i) + " does not match the channels");
      }
  for (unsigned i = 1; i < ctx.numResults(); ++i)
    ctx.setType(i, ctx.type(i <= 2 ? i + 2 : i));
}
ONNXOPT_DEFINE_OP(BatchNormalization) {
  op.since(1, {.infer = inferBatchNormalization, .eval = evalBatchNormalization});
}

// LayerNormalization and relatives over the trailing dimensions

namespace {

/// Normalizes rows of `count` elements; `f(row, mean, inverse deviation)`.
struct RowStats {
  double mean = 0, inverse = 0;
};
template <typename T> RowStats rowStats(const T *p, int64_t n, double epsilon, bool center) {
  double m = 0, v = 0;
  if (center) {
    for (int64_t i = 0; i < n; ++i)
      m += p[i];
    m /= double(n);
  }
  for (int64_t i = 0; i < n; ++i)
    v += (p[i] - m) * (p[i] - m);
  return {m, 1 / std::sqrt(v / double(n) + epsilon)};
}

absl::Status layerNorm(EvalContext &ctx, const Tensor &x, int64_t axis, const Tensor *scale, const Tensor *bias,
                       double epsilon, bool center, int meanResult, int inverseResult) {
  if (!axisInRange(axis, x.rank()))
    return invalid(ctx, "axis out of range");
  axis = normalizeAxis(axis, x.rank());
  int64_t rows = 1, n = 1;
  Dims statDims(x.dims().begin(), x.dims().end()), normDims;
  for (size_t i = 0; i < x.rank(); ++i) {
    (int64_t(i) < axis ? rows : n) *= x.dim(i);
    if (int64_t(i) >= axis) {
      statDims[i] = 1;
      normDims.push_back(x.dim(i));
    }
  }
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), x.dims()));
  Tensor means(ElementType::Float, statDims), inverses(ElementType::Float, statDims);
  Tensor s, b;
  if (scale) {
    ONNXOPT_ASSIGN(t, broadcastTo(ctx, *scale,
                                  scale->rank() > normDims.size() ? Dims(x.dims().begin(), x.dims().end()) : normDims));
    s = t.type() == x.type() ? t : x.type() == ElementType::Double ? toDouble(t) : toFloat(t);
  }
  if (bias) {
    ONNXOPT_ASSIGN(
        t, broadcastTo(ctx, *bias, bias->rank() > normDims.size() ? Dims(x.dims().begin(), x.dims().end()) : normDims));
    b = t;
  }
  if (!dispatchFloat(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        for (int64_t r = 0; r < rows; ++r) {
          const T *p = x.template data<T>() + r * n;
          T *q = y.template mutableData<T>() + r * n;
          RowStats st = rowStats(p, n, epsilon, center);
          means.mutableData<float>()[r] = float(st.mean);
          inverses.mutableData<float>()[r] = float(st.inverse);
          for (int64_t i = 0; i < n; ++i) {
            T v = T((p[i] - st.mean) * st.inverse);
            if (scale)
              v *= s.template data<T>()[s.size() == n ? i : r * n + i];
            if (bias)
              v += b.template data<T>()[b.size() == n ? i : r * n + i];
            q[i] = v;
          }
        }
      }))
    return unsupportedType(ctx, x.type());
  // Where the scale has a type of its own, the result has it too.
  if (scale && scale->type() != y.type())
    y = scale->type() == ElementType::Double ? toDouble(y) : toFloat(y);
  ctx.set(0, std::move(y));
  if (meanResult > 0)
    ctx.set(meanResult, std::move(means));
  if (inverseResult > 0)
    ctx.set(inverseResult, std::move(inverses));
  return absl::OkStatus();
}

void inferLayerNorm(InferContext &ctx) {
  auto stash = static_cast<ElementType>(ctx.getInt("stash_type", 1));
  ctx.setType(0, ctx.type(0));
  ctx.setUnranked(1, stash);
  ctx.setUnranked(2, stash);
  if (!ctx.isRanked(0))
    return;
  auto axis = normalizeAxis(ctx, ctx.getInt("axis", -1), ctx.rank(0));
  if (!axis)
    return;
  llvm::SmallVector<Dim, 4> stat(ctx.shape(0).begin(), ctx.shape(0).end());
  for (size_t i = *axis; i < stat.size(); ++i)
    stat[i] = ctx.constantDim(1);
  ctx.setTensor(1, stash, stat);
  ctx.setTensor(2, stash, stat);
}

} // namespace

static absl::Status evalLayerNormalization(EvalContext &ctx) {
  return layerNorm(ctx, ctx.in(0), ctx.getInt("axis", -1), ctx.has(1) ? &ctx.in(1) : nullptr,
                   ctx.has(2) ? &ctx.in(2) : nullptr, ctx.getFloat("epsilon", 1e-5f), true, 1, 2);
}
ONNXOPT_DEFINE_OP(LayerNormalization) { op.since(1, {.infer = inferLayerNorm, .eval = evalLayerNormalization}); }

static absl::Status evalRMSNormalization(EvalContext &ctx) {
  return layerNorm(ctx, ctx.in(0), ctx.getInt("axis", -1), ctx.has(1) ? &ctx.in(1) : nullptr, nullptr,
                   ctx.getFloat("epsilon", 1e-5f), false, -1, -1);
}
static void inferRMSNormalization(InferContext &ctx) {
  inferLayerNorm(ctx);
  Type t = ctx.results[0].type.isTensor() ? ctx.results[0].type : Type::tensor(ElementType::Undefined);
  t.element = elementOr(ctx, 1);
  ctx.setType(0, std::move(t));
}
ONNXOPT_DEFINE_OP(RMSNormalization) { op.since(23, {.infer = inferRMSNormalization, .eval = evalRMSNormalization}); }
// onnxruntime's, in the default domain.
static absl::Status evalSimplifiedLayerNormalization(EvalContext &ctx) {
  const absl::Status status = layerNorm(ctx, ctx.in(0), ctx.getInt("axis", -1), &ctx.in(1), nullptr,
                                        ctx.getFloat("epsilon", 1e-5f), false, -1, 1);
  if (status.ok() && ctx.wants(1) && ctx.getInt("stash_type", 1) == int64_t(ElementType::Double))
    ctx.set(1, toDouble(ctx.results[1].tensor));
  return status;
}
ONNXOPT_DEFINE_OP(SimplifiedLayerNormalization) {
  op.since(1, {.infer = inferRMSNormalization, .eval = evalSimplifiedLayerNormalization});
}

static absl::Status skipNorm(EvalContext &ctx, bool center) {
  // y = norm(input + skip + bias); the sum is result 3.
  const Tensor &x = ctx.in(0), &skip = ctx.in(1);
  const Tensor *beta = center && ctx.has(3) ? &ctx.in(3) : nullptr;
  unsigned biasAt = center ? 4 : 3;
  ONNXOPT_ASSIGN(sum, ctx.allocate(x.type(), x.dims()));
  if (!broadcastsTo(skip.dims(), x.dims()) || (ctx.has(biasAt) && !broadcastsTo(ctx.in(biasAt).dims(), x.dims())))
    return invalid(ctx, "skip or bias does not broadcast to the input");
  absl::Status status;
  if (!dispatchFloat(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        mapBroadcast<T, T>(x, x.dims(), skip, skip.dims(), sum, [](T a, T b) { return a + b; });
        if (ctx.has(biasAt)) {
          Tensor again = sum;
          Tensor out(x.type(), x.dims());
          mapBroadcast<T, T>(again, x.dims(), ctx.in(biasAt), ctx.in(biasAt).dims(), out,
                             [](T a, T b) { return a + b; });
          sum = out;
        }
      }))
    return unsupportedType(ctx, x.type());
  status = layerNorm(ctx, sum, -1, &ctx.in(2), beta, ctx.getFloat("epsilon", 1e-12f), center, 1, 2);
  ctx.set(3, sum);
  return status;
}
static absl::Status evalSkipLayerNormalization(EvalContext &ctx) { return skipNorm(ctx, true); }
static absl::Status evalSkipSimplifiedLayerNormalization(EvalContext &ctx) { return skipNorm(ctx, false); }
static void inferSkipNorm(InferContext &ctx) {
  ctx.setType(0, ctx.type(0));
  if (ctx.isRanked(0) && ctx.rank(0) >= 1) {
    llvm::SmallVector<Dim, 4> stat(ctx.shape(0).begin(), ctx.shape(0).end());
    stat.back() = ctx.constantDim(1);
    ctx.setTensor(1, ElementType::Float, stat);
    ctx.setTensor(2, ElementType::Float, stat);
  }
  ctx.setType(3, ctx.type(0));
}
ONNXOPT_DEFINE_MS_OP(SkipLayerNormalization) {
  op.since(1, {.infer = inferSkipNorm, .eval = evalSkipLayerNormalization});
}
ONNXOPT_DEFINE_MS_OP(SkipSimplifiedLayerNormalization) {
  op.since(1, {.infer = inferSkipNorm, .eval = evalSkipSimplifiedLayerNormalization});
}

// InstanceNormalization, GroupNormalization: statistics over a batch element's channels

static absl::Status groupedNorm(EvalContext &ctx, int64_t groups) {
  const Tensor &x = ctx.in(0), &scale = ctx.in(1), &bias = ctx.in(2);
  if (x.rank() < 2 || groups <= 0 || x.dim(1) % groups)
    return invalid(ctx, "groups do not divide the channels");
  int64_t inner = 1, channels = x.dim(1), perGroup = channels / groups;
  for (size_t i = 2; i < x.rank(); ++i)
    inner *= x.dim(i);
  if ((scale.size() != channels && scale.size() != groups) || bias.size() != scale.size())
    return invalid(ctx, "scale and bias do not match the channels");
  double epsilon = ctx.getFloat("epsilon", 1e-5f);
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), x.dims()));
  if (!dispatchFloat(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        for (int64_t g = 0; g < x.dim(0) * groups; ++g) {
          const T *p = x.template data<T>() + g * perGroup * inner;
          T *q = y.template mutableData<T>() + g * perGroup * inner;
          RowStats st = rowStats(p, perGroup * inner, epsilon, true);
          for (int64_t c = 0; c < perGroup; ++c) {
            int64_t channel = g % groups * perGroup + c, k = scale.size() == channels ? channel : g % groups;
            T s = scale.template data<T>()[k], b = bias.template data<T>()[k];
            for (int64_t i = 0; i < inner; ++i)
              q[c * inner + i] = T((p[c * inner + i] - st.mean) * st.inverse) * s + b;
          }
        }
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static absl::Status evalInstanceNormalization(EvalContext &ctx) {
  return groupedNorm(ctx, ctx.in(0).rank() > 1 ? ctx.in(0).dim(1) : 1);
}
static absl::Status evalGroupNormalization(EvalContext &ctx) { return groupedNorm(ctx, ctx.getInt("num_groups", 1)); }
ONNXOPT_DEFINE_OP(InstanceNormalization) { op.since(1, {.infer = sameType, .eval = evalInstanceNormalization}); }
ONNXOPT_DEFINE_OP(GroupNormalization) { op.since(18, {.infer = sameType, .eval = evalGroupNormalization}); }

// MeanVarianceNormalization, LpNormalization, LRN

static absl::Status evalMeanVarianceNormalization(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  std::vector<int64_t> axes = ctx.getInts("axes");
  if (!ctx.hasAttribute("axes"))
    axes = {0, 2, 3};
  Dims kept(x.dims().begin(), x.dims().end());
  for (int64_t a : axes) {
    if (!axisInRange(a, x.rank()))
      return invalid(ctx, "axis out of range");
    kept[normalizeAxis(a, x.rank())] = 1;
  }
  Dims strides = broadcastStrides(kept, x.dims());
  int64_t n = elementCount(kept).value_or(0);
  std::vector<double> sum(n), square(n), count(n);
  Tensor xd = toDouble(x);
  Dims own = stridesOf(x.dims());
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), x.dims()));
  auto each = [&](auto f) {
    if (x.size())
      forBroadcastRuns(x.dims(), own, strides, [&](int64_t, int64_t a, int64_t ra, int64_t b, int64_t rb, int64_t m) {
        for (int64_t i = 0; i < m; ++i)
          f(a + i * ra, b + i * rb);
      });
  };
  each([&](int64_t i, int64_t g) {
    sum[g] += xd.data<double>()[i];
    count[g] += 1;
  });
  each([&](int64_t i, int64_t g) {
    double d = xd.data<double>()[i] - sum[g] / count[g];
    square[g] += d * d;
  });
  if (!dispatchFloat(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        each([&](int64_t i, int64_t g) {
          y.template mutableData<T>()[i] =
              T((xd.data<double>()[i] - sum[g] / count[g]) / (std::sqrt(square[g] / count[g]) + 1e-9));
        });
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_OP(MeanVarianceNormalization) {
  op.since(9, {.infer = sameType, .eval = evalMeanVarianceNormalization});
}

static absl::Status evalLpNormalization(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  int64_t axis = ctx.getInt("axis", -1), p = ctx.getInt("p", 2);
  if (!axisInRange(axis, x.rank()))
    return invalid(ctx, "axis out of range");
  AxisSplit s(x.dims(), normalizeAxis(axis, x.rank()));
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), x.dims()));
  if (!dispatchFloat(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        for (int64_t o = 0; o < s.outer; ++o)
          for (int64_t i = 0; i < s.inner; ++i) {
            double norm = 0;
            auto at = [&](int64_t k) { return (o * s.axis + k) * s.inner + i; };
            for (int64_t k = 0; k < s.axis; ++k) {
              double v = x.template data<T>()[at(k)];
              norm += p == 1 ? std::fabs(v) : v * v;
            }
            if (p == 2)
              norm = std::sqrt(norm);
            for (int64_t k = 0; k < s.axis; ++k)
              y.template mutableData<T>()[at(k)] = norm == 0 ? T(0) : T(x.template data<T>()[at(k)] / norm);
          }
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_OP(LpNormalization) { op.since(1, {.infer = sameType, .eval = evalLpNormalization}); }

static absl::Status evalLRN(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  if (x.rank() < 2)
    return invalid(ctx, "needs rank 2 or more");
  int64_t size = ctx.getInt("size"), inner = 1, channels = x.dim(1);
  double alpha = ctx.getFloat("alpha", 1e-4f), beta = ctx.getFloat("beta", 0.75f), bias = ctx.getFloat("bias", 1);
  for (size_t i = 2; i < x.rank(); ++i)
    inner *= x.dim(i);
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), x.dims()));
  if (!dispatchFloat(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        const T *p = x.template data<T>();
        for (int64_t b = 0; b < x.dim(0); ++b)
          for (int64_t c = 0; c < channels; ++c)
            for (int64_t i = 0; i < inner; ++i) {
              double sum = 0;
              for (int64_t k = std::max<int64_t>(0, c - (size - 1) / 2); k <= std::min(channels - 1, c + size / 2);
                   ++k) {
                double v = p[(b * channels + k) * inner + i];
                sum += v * v;
              }
              int64_t at = (b * channels + c) * inner + i;
              y.template mutableData<T>()[at] = T(p[at] / std::pow(bias + alpha / double(size) * sum, beta));
            }
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_OP(LRN) { op.since(1, {.infer = sameType, .eval = evalLRN}); }

// Dropout

static bool dropsNothing(EvalContext &ctx) { return ctx.version() < 12 ? true : !ctx.has(2) || !ctx.in(2).intAt(0); }
static absl::Status evalDropout(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  ElementType maskType = ctx.version() >= 10 ? ElementType::Bool : x.type();
  double ratio = ctx.version() >= 12 ? (ctx.has(1) ? ctx.in(1).floatAt(0) : 0.5) : ctx.getFloat("ratio", 0.5f);
  bool training = !dropsNothing(ctx) && ratio != 0;
  Tensor y = x;
  ONNXOPT_ASSIGN(mask, ctx.allocate(maskType, x.dims()));
  if (!training) {
    for (int64_t i = 0; i < mask.size(); ++i)
      if (maskType == ElementType::Bool)
        mask.mutableData<uint8_t>()[i] = 1;
      else
        dispatchFloat(maskType, [&](auto tag) { mask.mutableData<typename decltype(tag)::type>()[i] = 1; });
  } else {
    // numpy's RandomState(seed).uniform: MT19937, 53 bits from two draws.
    std::mt19937 generator(uint32_t(ctx.hasAttribute("seed") ? ctx.getInt("seed") : int64_t(ctx.randomSeed())));
    if (!dispatchFloat(x.type(), [&](auto tag) {
          using T = typename decltype(tag)::type;
          T *p = y.template mutableData<T>();
          for (int64_t i = 0; i < x.size(); ++i) {
            uint32_t a = generator() >> 5, b = generator() >> 6;
            bool keep = (a * 67108864.0 + b) / 9007199254740992.0 >= ratio;
            mask.mutableData<uint8_t>()[i] = keep;
            p[i] = keep ? T(p[i] * (1 / (1 - ratio))) : T(0);
          }
        }))
      return unsupportedType(ctx, x.type());
  }
  ctx.set(0, std::move(y));
  ctx.set(1, std::move(mask));
  return absl::OkStatus();
}
static void inferDropout(InferContext &ctx) {
  ctx.setType(0, ctx.type(0));
  Type mask = ctx.type(0);
  if (ctx.version() >= 10 && mask.isTensor())
    mask.element = ElementType::Bool;
  ctx.setType(1, mask);
}
ONNXOPT_DEFINE_OP(Dropout) {
  op.since(1, {.infer = inferDropout, .eval = evalDropout, .reuse = {{0, 0, Reuse::View}}});
  op.since(12, {.infer = inferDropout, .eval = evalDropout, .deterministic = false})
      .single({1, 2})
      .ranks({{1, 0}, {2, 0}});
}
