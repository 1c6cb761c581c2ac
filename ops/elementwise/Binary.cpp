// Arithmetic, comparison, logic and selection, element by element under broadcasting.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>
#include <complex>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

namespace {

/// Result dims and those of operand 1 under the rule of the version.
struct Shapes {
  Dims out, b;
};
absl::StatusOr<Shapes> shapes(EvalContext &ctx) {
  Shapes s;
  s.b = ctx.version() < 7 ? legacyBroadcastDims(ctx, ctx.in(0).dims(), ctx.in(1).dims())
                          : Dims(ctx.in(1).dims().begin(), ctx.in(1).dims().end());
  auto out = broadcastDims(ctx.in(0).dims(), s.b);
  if (!out)
    return invalid(ctx, "operands do not broadcast");
  s.out = *out;
  return s;
}

template <typename F> absl::Status arithmetic(EvalContext &ctx, F f) {
  auto s = shapes(ctx);
  if (!s.ok())
    return s.status();
  const Tensor &a = ctx.in(0), &b = ctx.in(1);
  if (a.type() != b.type())
    return invalid(ctx, "operands differ in element type");
  ONNXOPT_ASSIGN(y, ctx.allocateResult(0, a.type(), s->out));
  absl::Status status;
  if (!dispatchNumeric(a.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        mapBroadcast<T, T>(a, a.dims(), b, s->b, y, [&](T x, T z) { return f(x, z); });
      }))
    return unsupportedType(ctx, a.type());
  ctx.set(0, std::move(y));
  return status;
}

template <typename F> absl::Status compare(EvalContext &ctx, F f) {
  auto s = shapes(ctx);
  if (!s.ok())
    return s.status();
  const Tensor &a = ctx.in(0), &b = ctx.in(1);
  if (a.type() != b.type())
    return invalid(ctx, "operands differ in element type");
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Bool, s->out));
  if (a.isString()) { // Equal-19
    Dims sa = broadcastStrides(a.dims(), s->out), sb = broadcastStrides(s->b, s->out);
    forBroadcastRuns(s->out, sa, sb, [&](int64_t o, int64_t i, int64_t ri, int64_t j, int64_t rj, int64_t n) {
      for (int64_t k = 0; k < n && y.size(); ++k)
        y.mutableData<uint8_t>()[o + k] = a.strings()[i + k * ri] == b.strings()[j + k * rj];
    });
  } else if (a.type() == ElementType::Bool) {
    mapBroadcast<uint8_t, uint8_t>(a, a.dims(), b, s->b, y, [&](uint8_t x, uint8_t z) -> uint8_t { return f(x, z); });
  } else if (!dispatchNumeric(a.type(), [&](auto tag) {
               using T = typename decltype(tag)::type;
               mapBroadcast<T, uint8_t>(a, a.dims(), b, s->b, y, [&](T x, T z) -> uint8_t { return f(x, z); });
             })) {
    return unsupportedType(ctx, a.type());
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}

template <typename F> absl::Status logic(EvalContext &ctx, F f) {
  auto s = shapes(ctx);
  if (!s.ok())
    return s.status();
  ONNXOPT_ASSIGN(y, ctx.allocateResult(0, ElementType::Bool, s->out));
  mapBroadcast<uint8_t, uint8_t>(ctx.in(0), ctx.in(0).dims(), ctx.in(1), s->b, y,
                                 [&](uint8_t a, uint8_t b) -> uint8_t { return f(bool(a), bool(b)); });
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}

template <typename F> absl::Status bitwise(EvalContext &ctx, F f) {
  auto s = shapes(ctx);
  if (!s.ok())
    return s.status();
  ONNXOPT_ASSIGN(y, ctx.allocateResult(0, ctx.in(0).type(), s->out));
  if (!dispatchInteger(ctx.in(0).type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        if constexpr (std::is_integral_v<T>)
          mapBroadcast<T, T>(ctx.in(0), ctx.in(0).dims(), ctx.in(1), s->b, y, [&](T a, T b) { return T(f(a, b)); });
      }))
    return unsupportedType(ctx, ctx.in(0).type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}

const std::vector<Reuse> kEither = {{0, 0, Reuse::Overwrite}, {0, 1, Reuse::Overwrite}};

OpFacts binary(InferFn infer, EvalFn eval, bool commutative = false, bool total = true) {
  // Not idempotent: that is a word for one operand.
  return {
      .infer = infer, .eval = eval, .total = total, .elementwise = true, .commutative = commutative, .reuse = kEither};
}

template <Dim (DimContext::*F)(Dim, Dim)> void inferArithmetic(InferContext &ctx) {
  broadcast(ctx);
  mapValues(ctx, [&](Dim a, Dim b) { return (ctx.dims().*F)(a, b); });
}

Dim boolDim(InferContext &ctx, std::optional<bool> b) { return b ? ctx.constantDim(*b) : Dim(); }

} // namespace

static absl::Status evalAdd(EvalContext &ctx) {
  return arithmetic(ctx, [](auto a, auto b) { return wrapping(a, b, [](auto x, auto y) { return x + y; }); });
}
ONNXOPT_DEFINE_OP(Add) { op.since(1, binary(inferArithmetic<&DimContext::add>, evalAdd, true)); }

static absl::Status evalSub(EvalContext &ctx) {
  return arithmetic(ctx, [](auto a, auto b) { return wrapping(a, b, [](auto x, auto y) { return x - y; }); });
}
ONNXOPT_DEFINE_OP(Sub) { op.since(1, binary(inferArithmetic<&DimContext::sub>, evalSub)); }

static absl::Status evalMul(EvalContext &ctx) {
  return arithmetic(ctx, [](auto a, auto b) { return wrapping(a, b, [](auto x, auto y) { return x * y; }); });
}
ONNXOPT_DEFINE_OP(Mul) { op.since(1, binary(inferArithmetic<&DimContext::mul>, evalMul, true)); }

static absl::Status evalDiv(EvalContext &ctx) {
  if (!isFloating(ctx.in(0).type()))
    for (int64_t i = 0; i < ctx.in(1).size(); ++i)
      if (ctx.in(1).intAt(i) == 0)
        return invalid(ctx, "division of integers by 0");
  return arithmetic(ctx, [](auto a, auto b) {
    using T = decltype(a);
    if constexpr (std::is_signed_v<T> && std::is_integral_v<T>)
      return b == -1 ? T(std::make_unsigned_t<T>(0) - std::make_unsigned_t<T>(a)) : T(a / b);
    else
      return T(a / b);
  });
}
// Integer division rounds towards zero; symbolic division towards minus infinity: they agree where nothing is negative.
static void inferDiv(InferContext &ctx) {
  broadcast(ctx);
  if (ctx.type(0).isTensor() && isFloating(ctx.element(0)))
    return;
  mapValues(ctx, [&](Dim a, Dim b) -> Dim {
    if (a.isConstant() && b.isConstant() && b.constant() != 0 && !(a.constant() == INT64_MIN && b.constant() == -1))
      return ctx.constantDim(a.constant() / b.constant());
    if (ctx.dims().range(a).lo >= 0 && ctx.dims().range(b).lo > 0)
      return ctx.dims().floorDiv(a, b);
    if (ctx.dims().range(b).lo > 0 || ctx.dims().range(b).hi < 0)
      if (auto q = ctx.dims().exactDiv(a, b))
        return *q;
    // Towards zero: the positive and the negative part by themselves.
    if (b.isConstant() && b.constant() > 0) {
      DimContext &d = ctx.dims();
      Dim zero = d.constant(0), negative = d.mul(a, d.constant(-1));
      return d.sub(d.floorDiv(d.max(a, zero), b), d.floorDiv(d.max(negative, zero), b));
    }
    return Dim();
  });
}
ONNXOPT_DEFINE_OP(Div) { op.since(1, binary(inferDiv, evalDiv, false, false)); }

static absl::Status evalMod(EvalContext &ctx) {
  bool fmod = ctx.getInt("fmod");
  if (!isFloating(ctx.in(0).type()))
    for (int64_t i = 0; i < ctx.in(1).size(); ++i)
      if (ctx.in(1).intAt(i) == 0)
        return invalid(ctx, "remainder of a division by 0");
  return arithmetic(ctx, [=](auto a, auto b) {
    using T = decltype(a);
    if constexpr (std::is_floating_point_v<T>) {
      T r = std::fmod(a, b);
      if (!fmod && r != 0 && (r < 0) != (b < 0))
        r += b;
      return r;
    } else if constexpr (std::is_signed_v<T>) {
      if (b == -1)
        return T(0);
      T r = a % b;
      if (!fmod && r != 0 && (r < 0) != (b < 0))
        r += b;
      return r;
    } else {
      return T(a % b);
    }
  });
}
static void inferMod(InferContext &ctx) {
  broadcast(ctx);
  if (ctx.getInt("fmod"))
    return;
  mapValues(ctx, [&](Dim a, Dim b) { return ctx.dims().range(b).lo > 0 ? ctx.dims().mod(a, b) : Dim(); });
}
ONNXOPT_DEFINE_OP(Mod) { op.since(10, binary(inferMod, evalMod, false, false)); }

static absl::Status evalPow(EvalContext &ctx) {
  const Tensor &a = ctx.in(0), &b = ctx.in(1);
  Dims bd = ctx.version() < 7 ? legacyBroadcastDims(ctx, a.dims(), b.dims()) : Dims(b.dims().begin(), b.dims().end());
  auto out = broadcastDims(a.dims(), bd);
  if (!out)
    return invalid(ctx, "operands do not broadcast");
  ONNXOPT_ASSIGN(y, ctx.allocateResult(0, a.type(), *out));
  Tensor exponent = toDouble(b);
  if (!dispatchNumeric(a.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        Dims sa = broadcastStrides(a.dims(), *out), sb = broadcastStrides(bd, *out);
        const T *x = a.template data<T>();
        const double *e = exponent.data<double>();
        T *z = y.template mutableData<T>();
        forBroadcastRuns(*out, sa, sb, [&](int64_t o, int64_t i, int64_t ri, int64_t j, int64_t rj, int64_t n) {
          for (int64_t k = 0; k < n && y.size(); ++k) {
            T base = x[i + k * ri];
            double p = e[j + k * rj];
            if constexpr (std::is_same_v<T, float>)
              z[o + k] = p == 2 ? base * base : std::pow(base, float(p));
            else if constexpr (std::is_floating_point_v<T>)
              z[o + k] = std::pow(base, p);
            else if (p >= 0 && p == std::floor(p) && p < 64) { // whole powers of integers are exact and wrap
              std::make_unsigned_t<T> r = 1;
              for (int m = 0; m < int(p); ++m)
                r *= std::make_unsigned_t<T>(base);
              z[o + k] = T(r);
            } else
              z[o + k] = saturateTo<T>(std::pow(double(base), p));
          }
        });
      }))
    return unsupportedType(ctx, a.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
// Pow-12: operands may differ in type; the result has that of the base.
static void inferPow(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (ctx.version() < 7) {
    ctx.setType(0, ctx.type(0));
    return;
  }
  if (auto s = broadcastShapes(ctx, {0, 1}))
    ctx.setTensor(0, e, *s);
  else
    ctx.setUnranked(0, e);
}
ONNXOPT_DEFINE_OP(Pow) { op.since(1, binary(inferPow, evalPow)); }

static absl::Status evalBitShift(EvalContext &ctx) {
  bool left = ctx.getString("direction") == "LEFT";
  return bitwise(ctx, [=](auto a, auto b) {
    using T = decltype(a);
    if (uint64_t(b) >= sizeof(T) * 8) // all bits go; the sign stays
      return !left && std::is_signed_v<T> && a < 0 ? T(-1) : T(0);
    return left ? T(a << b) : T(a >> b);
  });
}
ONNXOPT_DEFINE_OP(BitShift) { op.since(11, binary(broadcast, evalBitShift)); }
static absl::Status evalBitwiseAnd(EvalContext &ctx) {
  return bitwise(ctx, [](auto a, auto b) { return a & b; });
}
ONNXOPT_DEFINE_OP(BitwiseAnd) { op.since(18, binary(broadcast, evalBitwiseAnd, true)); }
static absl::Status evalBitwiseOr(EvalContext &ctx) {
  return bitwise(ctx, [](auto a, auto b) { return a | b; });
}
ONNXOPT_DEFINE_OP(BitwiseOr) { op.since(18, binary(broadcast, evalBitwiseOr, true)); }
static absl::Status evalBitwiseXor(EvalContext &ctx) {
  return bitwise(ctx, [](auto a, auto b) { return a ^ b; });
}
ONNXOPT_DEFINE_OP(BitwiseXor) { op.since(18, binary(broadcast, evalBitwiseXor, true)); }

#define COMPARISON(name, expr, known)                                                                                  \
  static absl::Status eval##name(EvalContext &ctx) {                                                                   \
    return compare(ctx, [](auto a, auto b) { return expr; });                                                          \
  }                                                                                                                    \
  static void infer##name(InferContext &ctx) {                                                                         \
    broadcastToBool(ctx);                                                                                              \
    DimContext &d = ctx.dims();                                                                                        \
    (void)d;                                                                                                           \
    mapValues(ctx, [&](Dim a, Dim b) { return boolDim(ctx, known); });                                                 \
  }

static std::optional<bool> knownLess(DimContext &d, Dim a, Dim b) {
  if (d.proveLe(d.add(a, d.constant(1)), b))
    return true;
  return d.proveLe(b, a) ? std::optional(false) : std::nullopt;
}
static std::optional<bool> knownEqual(DimContext &d, Dim a, Dim b) {
  if (d.proveEqual(a, b))
    return true;
  return d.proveDifferent(a, b) ? std::optional(false) : std::nullopt;
}
static std::optional<bool> negated(std::optional<bool> b) { return b ? std::optional(!*b) : b; }

COMPARISON(Equal, a == b, knownEqual(d, a, b))
ONNXOPT_DEFINE_OP(Equal) { op.since(1, binary(inferEqual, evalEqual, true)); }
COMPARISON(Less, a < b, knownLess(d, a, b))
ONNXOPT_DEFINE_OP(Less) { op.since(1, binary(inferLess, evalLess)); }
COMPARISON(Greater, a > b, knownLess(d, b, a))
ONNXOPT_DEFINE_OP(Greater) { op.since(1, binary(inferGreater, evalGreater)); }
COMPARISON(LessOrEqual, a <= b, negated(knownLess(d, b, a)))
ONNXOPT_DEFINE_OP(LessOrEqual) { op.since(12, binary(inferLessOrEqual, evalLessOrEqual)); }
COMPARISON(GreaterOrEqual, a >= b, negated(knownLess(d, a, b)))
ONNXOPT_DEFINE_OP(GreaterOrEqual) { op.since(12, binary(inferGreaterOrEqual, evalGreaterOrEqual)); }

#define LOGIC(name, expr, known)                                                                                       \
  static absl::Status eval##name(EvalContext &ctx) {                                                                   \
    return logic(ctx, [](bool a, bool b) { return expr; });                                                            \
  }                                                                                                                    \
  static void infer##name(InferContext &ctx) {                                                                         \
    broadcastToBool(ctx);                                                                                              \
    mapValues(ctx, [&](Dim x, Dim y) -> Dim {                                                                          \
      if (!x.isConstant() || !y.isConstant())                                                                          \
        return Dim();                                                                                                  \
      bool a = x.constant(), b = y.constant();                                                                         \
      return ctx.constantDim(known);                                                                                   \
    });                                                                                                                \
  }
LOGIC(And, a &&b, a &&b)
ONNXOPT_DEFINE_OP(And) { op.since(1, binary(inferAnd, evalAnd, true)); }
LOGIC(Or, a || b, a || b)
ONNXOPT_DEFINE_OP(Or) { op.since(1, binary(inferOr, evalOr, true)); }
LOGIC(Xor, a != b, a != b)
ONNXOPT_DEFINE_OP(Xor) { op.since(1, binary(inferXor, evalXor, true)); }

// Max, Min, Sum, Mean: any number of operands.
template <typename F> static absl::Status variadic(EvalContext &ctx, F f, bool mean = false) {
  Tensor acc = ctx.in(0);
  for (unsigned k = 1; k < ctx.numOperands(); ++k) {
    const Tensor &b = ctx.in(k);
    auto dims = broadcastDims(acc.dims(), b.dims());
    if (!dims || b.type() != acc.type())
      return invalid(ctx, "operands do not broadcast");
    ONNXOPT_ASSIGN(y, ctx.allocate(acc.type(), *dims));
    if (!dispatchNumeric(acc.type(), [&](auto tag) {
          using T = typename decltype(tag)::type;
          mapBroadcast<T, T>(acc, acc.dims(), b, b.dims(), y, [&](T x, T z) { return f(x, z); });
        }))
      return unsupportedType(ctx, acc.type());
    acc = std::move(y);
  }
  if (mean) {
    dispatchFloat(acc.type(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      T *p = acc.template mutableData<T>();
      for (int64_t i = 0; i < acc.size(); ++i)
        p[i] /= T(ctx.numOperands());
    });
  }
  ctx.set(0, std::move(acc));
  return absl::OkStatus();
}
static absl::Status evalMax(EvalContext &ctx) { // NaN wins, as in numpy
  return variadic(ctx, [](auto a, auto b) { return a != a ? a : (b != b || b > a) ? b : a; });
}
static absl::Status evalMin(EvalContext &ctx) {
  return variadic(ctx, [](auto a, auto b) { return a != a ? a : (b != b || b < a) ? b : a; });
}
static absl::Status evalSum(EvalContext &ctx) {
  return variadic(ctx, [](auto a, auto b) { return decltype(a)(a + b); });
}
static absl::Status evalMean(EvalContext &ctx) {
  return variadic(ctx, [](auto a, auto b) { return decltype(a)(a + b); }, true);
}
template <Dim (DimContext::*F)(Dim, Dim)> static void inferExtreme(InferContext &ctx) {
  broadcast(ctx);
  if (ctx.numOperands() == 2)
    mapValues(ctx, [&](Dim a, Dim b) { return (ctx.dims().*F)(a, b); });
}
ONNXOPT_DEFINE_OP(Max) { op.since(1, binary(inferExtreme<&DimContext::max>, evalMax)); }
ONNXOPT_DEFINE_OP(Min) { op.since(1, binary(inferExtreme<&DimContext::min>, evalMin)); }
ONNXOPT_DEFINE_OP(Sum) { op.since(1, binary(broadcast, evalSum)); }
ONNXOPT_DEFINE_OP(Mean) { op.since(1, binary(broadcast, evalMean)); }

static absl::Status evalWhere(EvalContext &ctx) {
  const Tensor &c = ctx.in(0), &a = ctx.in(1), &b = ctx.in(2);
  auto ab = broadcastDims(a.dims(), b.dims());
  auto dims = ab ? broadcastDims(c.dims(), *ab) : std::nullopt;
  if (!dims || a.type() != b.type())
    return invalid(ctx, "operands do not broadcast");
  ONNXOPT_ASSIGN(x, broadcastTo(ctx, a, *dims));
  ONNXOPT_ASSIGN(y, broadcastTo(ctx, b, *dims));
  ONNXOPT_ASSIGN(k, broadcastTo(ctx, c, *dims));
  const auto *cond = k.data<uint8_t>();
  if (x.isString()) {
    auto &out = y.mutableStrings();
    for (int64_t i = 0; i < x.size(); ++i)
      if (cond[i])
        out[i] = x.strings()[i];
  } else {
    auto select = [&](auto tag) {
      using T = typename decltype(tag)::type;
      const T *p = x.data<T>();
      T *q = y.mutableData<T>();
      for (int64_t i = 0; i < x.size(); ++i)
        q[i] = cond[i] ? p[i] : q[i];
    };
    switch (bitWidth(x.type())) {
    case 8:
      select(TypeTag<uint8_t>());
      break;
    case 16:
      select(TypeTag<uint16_t>());
      break;
    case 32:
      select(TypeTag<uint32_t>());
      break;
    case 64:
      select(TypeTag<uint64_t>());
      break;
    case 128:
      select(TypeTag<std::complex<double>>());
      break;
    default:
      return unsupportedType(ctx, x.type());
    }
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferWhere(InferContext &ctx) {
  ElementType e = elementOr(ctx, 1);
  if (e == ElementType::Undefined)
    e = elementOr(ctx, 2);
  if (auto s = broadcastShapes(ctx, {0, 1, 2}))
    ctx.setTensor(0, e, *s);
  else
    ctx.setUnranked(0, e);
  const SymTensor *c = ctx.value(0), *a = ctx.value(1), *b = ctx.value(2);
  if (!c || !a || !b)
    return;
  size_t n = std::max({c->elements.size(), a->elements.size(), b->elements.size()});
  auto at = [&](const SymTensor *v, size_t i) { return v->elements.size() == 1 ? v->elements[0] : v->elements[i]; };
  for (const SymTensor *v : {c, a, b})
    if (v->dims.size() > 1 || (v->elements.size() != 1 && v->elements.size() != n))
      return;
  SymTensor out;
  out.dims = std::max({c->dims, a->dims, b->dims}, [](const Dims &x, const Dims &y) { return x.size() < y.size(); });
  if (!out.dims.empty())
    out.dims[0] = n;
  for (size_t i = 0; i < n; ++i) {
    Dim k = at(c, i), x = at(a, i), y = at(b, i);
    out.elements.push_back(x && x == y ? x : k.isConstant() ? (k.constant() ? x : y) : Dim());
  }
  ctx.setValue(0, std::move(out));
}
ONNXOPT_DEFINE_OP(Where) {
  op.since(9, {.infer = inferWhere,
               .eval = evalWhere,
               .total = true,
               .elementwise = true,
               .storage = Storage::Movement,
               .reuse = {{0, 1, Reuse::Overwrite}, {0, 2, Reuse::Overwrite}}});
}
