// Operators of one operand, element by element.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

namespace {

const std::vector<Reuse> kOverwrite = {{0, 0, Reuse::Overwrite}};

/// Applies `f` to float and double elements.
template <typename F> absl::Status floatMap(EvalContext &ctx, F f) {
  absl::Status status;
  if (!dispatchFloat(ctx.in(0).type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        status = mapUnary<T>(ctx, [&](T x) { return T(f(x)); });
      }))
    return unsupportedType(ctx, ctx.in(0).type());
  return status;
}
/// Applies `f` to elements of every numeric type.
template <typename F> absl::Status numericMap(EvalContext &ctx, F f) {
  absl::Status status;
  if (!dispatchNumeric(ctx.in(0).type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        status = mapUnary<T>(ctx, [&](T x) { return T(f(x)); });
      }))
    return unsupportedType(ctx, ctx.in(0).type());
  return status;
}

OpFacts unary(EvalFn eval, bool idempotent = false) {
  return {.infer = sameAs<0>,
          .eval = eval,
          .total = true,
          .elementwise = true,
          .idempotent = idempotent,
          .reuse = kOverwrite};
}
/// For operators that change integers: the tracked value does not carry over.
OpFacts changing(EvalFn eval, bool idempotent = false) {
  OpFacts f = unary(eval, idempotent);
  f.infer = sameType;
  return f;
}

template <typename T> T roundEven(T x) { return std::nearbyint(x); }

} // namespace

#define FLOAT_UNARY(name, expr)                                                                                        \
  static absl::Status eval##name(EvalContext &ctx) {                                                                   \
    return floatMap(ctx, [](auto x) { return expr; });                                                                 \
  }

FLOAT_UNARY(Exp, std::exp(x))
ONNXOPT_DEFINE_OP(Exp) { op.since(1, changing(evalExp)); }
FLOAT_UNARY(Log, std::log(x))
ONNXOPT_DEFINE_OP(Log) { op.since(1, changing(evalLog)); }
FLOAT_UNARY(Sqrt, std::sqrt(x))
ONNXOPT_DEFINE_OP(Sqrt) { op.since(1, changing(evalSqrt)); }
FLOAT_UNARY(Reciprocal, decltype(x)(1) / x)
ONNXOPT_DEFINE_OP(Reciprocal) { op.since(1, changing(evalReciprocal)); }
FLOAT_UNARY(Sin, std::sin(x))
ONNXOPT_DEFINE_OP(Sin) { op.since(7, changing(evalSin)); }
FLOAT_UNARY(Cos, std::cos(x))
ONNXOPT_DEFINE_OP(Cos) { op.since(7, changing(evalCos)); }
FLOAT_UNARY(Tan, std::tan(x))
ONNXOPT_DEFINE_OP(Tan) { op.since(7, changing(evalTan)); }
FLOAT_UNARY(Asin, std::asin(x))
ONNXOPT_DEFINE_OP(Asin) { op.since(7, changing(evalAsin)); }
FLOAT_UNARY(Acos, std::acos(x))
ONNXOPT_DEFINE_OP(Acos) { op.since(7, changing(evalAcos)); }
FLOAT_UNARY(Atan, std::atan(x))
ONNXOPT_DEFINE_OP(Atan) { op.since(7, changing(evalAtan)); }
FLOAT_UNARY(Sinh, std::sinh(x))
ONNXOPT_DEFINE_OP(Sinh) { op.since(9, changing(evalSinh)); }
FLOAT_UNARY(Cosh, std::cosh(x))
ONNXOPT_DEFINE_OP(Cosh) { op.since(9, changing(evalCosh)); }
FLOAT_UNARY(Asinh, std::asinh(x))
ONNXOPT_DEFINE_OP(Asinh) { op.since(9, changing(evalAsinh)); }
FLOAT_UNARY(Acosh, std::acosh(x))
ONNXOPT_DEFINE_OP(Acosh) { op.since(9, changing(evalAcosh)); }
FLOAT_UNARY(Atanh, std::atanh(x))
ONNXOPT_DEFINE_OP(Atanh) { op.since(9, changing(evalAtanh)); }
FLOAT_UNARY(Tanh, std::tanh(x))
ONNXOPT_DEFINE_OP(Tanh) { op.since(1, changing(evalTanh)); }
static absl::Status evalErf(EvalContext &ctx) {
  return numericMap(ctx, [](auto x) { return std::erf(x); });
}
ONNXOPT_DEFINE_OP(Erf) { op.since(9, changing(evalErf)); }
FLOAT_UNARY(Ceil, std::ceil(x))
ONNXOPT_DEFINE_OP(Ceil) { op.since(1, unary(evalCeil, true)); }
FLOAT_UNARY(Floor, std::floor(x))
ONNXOPT_DEFINE_OP(Floor) { op.since(1, unary(evalFloor, true)); }
// Halves go to the even neighbour.
FLOAT_UNARY(Round, roundEven(x))
ONNXOPT_DEFINE_OP(Round) { op.since(11, unary(evalRound, true)); }
FLOAT_UNARY(Sigmoid, x >= 0 ? decltype(x)(1) / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)))
ONNXOPT_DEFINE_OP(Sigmoid) { op.since(1, changing(evalSigmoid)); }
FLOAT_UNARY(Softplus, std::log(std::exp(x) + 1))
ONNXOPT_DEFINE_OP(Softplus) { op.since(1, changing(evalSoftplus)); }
FLOAT_UNARY(Softsign, x / (1 + std::fabs(x)))
ONNXOPT_DEFINE_OP(Softsign) { op.since(1, changing(evalSoftsign)); }
FLOAT_UNARY(HardSwish, x *std::fmax(decltype(x)(0), std::fmin(decltype(x)(1), x / 6 + decltype(x)(0.5))))
ONNXOPT_DEFINE_OP(HardSwish) { op.since(14, changing(evalHardSwish)); }
FLOAT_UNARY(Mish, x *std::tanh(std::log1p(std::exp(x))))
ONNXOPT_DEFINE_OP(Mish) { op.since(18, changing(evalMish)); }

// NaN passes through, as does the sign of zero.
static absl::Status evalRelu(EvalContext &ctx) {
  return numericMap(ctx, [](auto x) { return x < 0 ? decltype(x)(0) : x; });
}
ONNXOPT_DEFINE_OP(Relu) { op.since(1, changing(evalRelu, true)); }

static absl::Status evalAbs(EvalContext &ctx) {
  return numericMap(ctx, [](auto x) {
    using T = decltype(x);
    if constexpr (std::is_floating_point_v<T>)
      return std::fabs(x);
    else if constexpr (std::is_signed_v<T>)
      return T(x < 0 ? std::make_unsigned_t<T>(0) - std::make_unsigned_t<T>(x) : x);
    else
      return x;
  });
}
ONNXOPT_DEFINE_OP(Abs) { op.since(1, changing(evalAbs, true)); }

static absl::Status evalNeg(EvalContext &ctx) {
  return numericMap(ctx, [](auto x) {
    using T = decltype(x);
    if constexpr (std::is_floating_point_v<T>)
      return -x;
    else
      return T(std::make_unsigned_t<T>(0) - std::make_unsigned_t<T>(x));
  });
}
static void inferNeg(InferContext &ctx) {
  ctx.setType(0, ctx.type(0));
  if (const SymTensor *v = ctx.value(0)) {
    SymTensor out{v->dims, {}};
    for (Dim d : v->elements)
      out.elements.push_back(d ? ctx.dims().mul(d, ctx.constantDim(-1)) : d);
    ctx.setValue(0, std::move(out));
  }
}
ONNXOPT_DEFINE_OP(Neg) {
  op.since(1, {.infer = inferNeg, .eval = evalNeg, .total = true, .elementwise = true, .reuse = kOverwrite});
}

static absl::Status evalSign(EvalContext &ctx) {
  return numericMap(ctx, [](auto x) { return x > 0 ? decltype(x)(1) : x < 0 ? decltype(x)(-1) : x; });
}
ONNXOPT_DEFINE_OP(Sign) { op.since(9, changing(evalSign, true)); }

static absl::Status evalLeakyRelu(EvalContext &ctx) {
  float alpha = ctx.getFloat("alpha", 0.01f);
  return floatMap(ctx, [=](auto x) { return x < 0 ? decltype(x)(alpha) * x : x; });
}
ONNXOPT_DEFINE_OP(LeakyRelu) { op.since(1, changing(evalLeakyRelu)); }

static absl::Status evalElu(EvalContext &ctx) {
  float alpha = ctx.getFloat("alpha", 1);
  return floatMap(ctx, [=](auto x) { return x < 0 ? decltype(x)(alpha) * (std::exp(x) - 1) : x; });
}
ONNXOPT_DEFINE_OP(Elu) { op.since(1, changing(evalElu)); }

static absl::Status evalCelu(EvalContext &ctx) {
  float alpha = ctx.getFloat("alpha", 1);
  return floatMap(ctx, [=](auto x) {
    using T = decltype(x);
    return std::fmax(T(0), x) + std::fmin(T(0), T(alpha) * (std::exp(x / T(alpha)) - 1));
  });
}
ONNXOPT_DEFINE_OP(Celu) { op.since(12, changing(evalCelu)); }

static absl::Status evalSelu(EvalContext &ctx) {
  float alpha = ctx.getFloat("alpha", 1.67326319217681884765625f),
        gamma = ctx.getFloat("gamma", 1.05070102214813232421875f);
  return floatMap(ctx, [=](auto x) {
    using T = decltype(x);
    return x > 0 ? T(gamma) * x : T(gamma) * (T(alpha) * std::exp(x) - T(alpha));
  });
}
ONNXOPT_DEFINE_OP(Selu) { op.since(1, changing(evalSelu)); }

static absl::Status evalHardSigmoid(EvalContext &ctx) {
  float alpha = ctx.getFloat("alpha", 0.2f), beta = ctx.getFloat("beta", 0.5f);
  return floatMap(ctx, [=](auto x) {
    using T = decltype(x);
    T y = T(alpha) * x + T(beta);
    return y < 0 ? T(0) : y > 1 ? T(1) : y;
  });
}
ONNXOPT_DEFINE_OP(HardSigmoid) { op.since(1, changing(evalHardSigmoid)); }

static absl::Status evalThresholdedRelu(EvalContext &ctx) {
  float alpha = ctx.getFloat("alpha", 1);
  return floatMap(ctx, [=](auto x) { return x > alpha ? x : decltype(x)(0); });
}
ONNXOPT_DEFINE_OP(ThresholdedRelu) { op.since(1, changing(evalThresholdedRelu)); }

static absl::Status evalShrink(EvalContext &ctx) {
  float bias = ctx.getFloat("bias"), lambd = ctx.getFloat("lambd", 0.5f);
  return numericMap(ctx, [=](auto x) {
    using T = decltype(x);
    if constexpr (std::is_floating_point_v<T>)
      return x < -T(lambd) ? x + T(bias) : x > T(lambd) ? x - T(bias) : T(0);
    else
      return saturateTo<T>(double(x) < -lambd ? double(x) + bias : double(x) > lambd ? double(x) - bias : 0);
  });
}
ONNXOPT_DEFINE_OP(Shrink) { op.since(9, changing(evalShrink)); }

static absl::Status evalSwish(EvalContext &ctx) {
  float alpha = ctx.getFloat("alpha", 1);
  return floatMap(ctx, [=](auto x) { return x / (1 + std::exp(-decltype(x)(alpha) * x)); });
}
ONNXOPT_DEFINE_OP(Swish) { op.since(24, changing(evalSwish)); }

static absl::Status evalQuickGelu(EvalContext &ctx) {
  float alpha = ctx.getFloat("alpha", 1.702f);
  return floatMap(ctx, [=](auto x) { return x / (1 + std::exp(-decltype(x)(alpha) * x)); });
}
ONNXOPT_DEFINE_MS_OP(QuickGelu) { op.since(1, changing(evalQuickGelu)); }

static absl::Status evalGelu(EvalContext &ctx) {
  bool tanhForm = ctx.getString("approximate", "none") == "tanh";
  return floatMap(ctx, [=](auto x) {
    using T = decltype(x);
    if (tanhForm)
      return T(0.5) * x * (1 + std::tanh(T(0.7978845608028654) * (x + T(0.044715) * x * x * x)));
    return T(0.5) * x * (1 + std::erf(x * T(0.7071067811865476)));
  });
}
ONNXOPT_DEFINE_OP(Gelu) { op.since(20, changing(evalGelu)); }
ONNXOPT_DEFINE_MS_OP(Gelu) { op.since(1, changing(evalGelu)); }

static absl::Status evalIsNaN(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Bool, x.dims()));
  auto *q = y.mutableData<uint8_t>();
  for (int64_t i = 0; i < x.size(); ++i)
    q[i] = std::isnan(x.floatAt(i));
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_OP(IsNaN) {
  op.since(9, {.infer = sameShape<ElementType::Bool>,
               .eval = evalIsNaN,
               .total = true,
               .elementwise = true,
               .storage = Storage::Native});
}

static absl::Status evalIsInf(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  bool negative = ctx.getInt("detect_negative", 1), positive = ctx.getInt("detect_positive", 1);
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Bool, x.dims()));
  auto *q = y.mutableData<uint8_t>();
  for (int64_t i = 0; i < x.size(); ++i) {
    double v = x.floatAt(i);
    q[i] = std::isinf(v) && (v > 0 ? positive : negative);
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_OP(IsInf) {
  op.since(10, {.infer = sameShape<ElementType::Bool>,
                .eval = evalIsInf,
                .total = true,
                .elementwise = true,
                .storage = Storage::Native});
}

static absl::Status evalNot(EvalContext &ctx) {
  return mapUnary<uint8_t>(ctx, [](uint8_t x) -> uint8_t { return !x; });
}
static void inferNot(InferContext &ctx) {
  ctx.setType(0, ctx.type(0));
  if (const SymTensor *v = ctx.value(0)) {
    SymTensor out{v->dims, {}};
    for (Dim d : v->elements)
      out.elements.push_back(d.isConstant() ? ctx.constantDim(!d.constant()) : Dim());
    ctx.setValue(0, std::move(out));
  }
}
ONNXOPT_DEFINE_OP(Not) {
  op.since(1, {.infer = inferNot, .eval = evalNot, .total = true, .elementwise = true, .reuse = kOverwrite});
}

static absl::Status evalBitwiseNot(EvalContext &ctx) {
  absl::Status status;
  if (!dispatchInteger(ctx.in(0).type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        if constexpr (std::is_integral_v<T>)
          status = mapUnary<T>(ctx, [](T x) { return T(~x); });
      }))
    return unsupportedType(ctx, ctx.in(0).type());
  return status;
}
ONNXOPT_DEFINE_OP(BitwiseNot) { op.since(18, changing(evalBitwiseNot)); }

static absl::Status evalIdentity(EvalContext &ctx) {
  ctx.set(0, ctx.datum(0));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_OP(Identity) {
  op.since(1, {.infer = sameAs<0>,
               .eval = evalIdentity,
               .total = true,
               .elementwise = true,
               .idempotent = true,
               .storage = Storage::Native,
               .reuse = {{0, 0, Reuse::View}}});
}

static absl::Status evalPRelu(EvalContext &ctx) {
  const Tensor &x = ctx.in(0), &slope = ctx.in(1);
  Dims slopeDims(slope.dims().begin(), slope.dims().end());
  // Before opset 7 a slope of rank 1 runs along the channels.
  if (ctx.version() < 7 && slope.rank() == 1 && x.rank() > 1 && slope.size() > 1)
    for (size_t i = 2; i < x.rank(); ++i)
      slopeDims.push_back(1);
  auto dims = broadcastDims(x.dims(), slopeDims);
  if (!dims || llvm::ArrayRef<int64_t>(*dims) != x.dims())
    return invalid(ctx, "the slope does not broadcast to the input");
  ONNXOPT_ASSIGN(y, ctx.allocateResult(0, x.type(), x.dims()));
  if (!dispatchNumeric(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        mapBroadcast<T, T>(x, x.dims(), slope, slopeDims, y, [](T a, T b) { return a < 0 ? wrappingMul(a, b) : a; });
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_OP(PRelu) {
  op.since(1, {.infer = sameType, .eval = evalPRelu, .elementwise = true, .reuse = kOverwrite});
}

static absl::Status evalClip(EvalContext &ctx) {
  absl::Status status;
  if (!dispatchNumeric(ctx.in(0).type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        T lo = std::numeric_limits<T>::lowest(), hi = std::numeric_limits<T>::max();
        if constexpr (std::is_floating_point_v<T>) {
          lo = -std::numeric_limits<T>::infinity();
          hi = std::numeric_limits<T>::infinity();
        }
        if (ctx.version() < 11) { // bounds are attributes
          if (ctx.hasAttribute("min"))
            lo = T(ctx.getFloat("min"));
          if (ctx.hasAttribute("max"))
            hi = T(ctx.getFloat("max"));
        } else {
          if (ctx.has(1))
            lo = ctx.in(1).template data<T>()[0];
          if (ctx.has(2))
            hi = ctx.in(2).template data<T>()[0];
        }
        // Clip-13: where min > max, all is max.
        status = mapUnary<T>(ctx, [=](T x) {
          T y = x < lo ? lo : x;
          return y > hi ? hi : y;
        });
      }))
    return unsupportedType(ctx, ctx.in(0).type());
  return status;
}
static void inferClip(InferContext &ctx) {
  ctx.setType(0, ctx.type(0));
  const SymTensor *v = ctx.value(0);
  if (!v)
    return;
  SymTensor out = *v;
  for (unsigned k : {1u, 2u})
    if (ctx.hasOperand(k)) {
      const SymTensor *b = ctx.value(k);
      if (!b || b->elements.size() != 1)
        return;
      for (Dim &d : out.elements)
        d = k == 1 ? ctx.dims().max(d, b->elements[0]) : ctx.dims().min(d, b->elements[0]);
    }
  ctx.setValue(0, std::move(out));
}
ONNXOPT_DEFINE_OP(Clip) {
  op.since(1, {.infer = inferClip, .eval = evalClip, .total = true, .elementwise = true, .reuse = kOverwrite})
      .single({1, 2});
}

// Biased forms of com.microsoft: the bias is added along the last axis first.
static absl::Status evalBiasGelu(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  if (ctx.has(1) && !broadcastsTo(ctx.in(1).dims(), x.dims()))
    return invalid(ctx, "the bias does not broadcast to the input");
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), x.dims()));
  bool fast = ctx.node().opType() == "FastGelu";
  if (!dispatchFloat(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        auto gelu = [fast](T v) {
          return fast ? T(0.5) * v * (1 + std::tanh(T(0.7978845608028654) * (v + T(0.044715) * v * v * v)))
                      : T(0.5) * v * (1 + std::erf(v * T(0.7071067811865476)));
        };
        if (ctx.has(1)) {
          mapBroadcast<T, T>(x, x.dims(), ctx.in(1), ctx.in(1).dims(), y, [&](T a, T b) { return gelu(a + b); });
        } else {
          for (int64_t i = 0; i < x.size(); ++i)
            y.template mutableData<T>()[i] = gelu(x.template data<T>()[i]);
        }
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_MS_OP(BiasGelu) { op.since(1, {.infer = sameType, .eval = evalBiasGelu}); }
ONNXOPT_DEFINE_MS_OP(FastGelu) { op.since(1, {.infer = sameType, .eval = evalBiasGelu}); }
