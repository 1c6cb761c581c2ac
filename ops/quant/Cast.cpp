// Conversion between element types, and linear quantization.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include "onnxopt/ir/SmallFloat.h"

#include <charconv>
#include <cmath>
#include <cstring>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

namespace {

/// Stores a whole number into an integer or bool tensor of any width; wraps.
void storeInt(Tensor &t, int64_t i, int64_t v) {
  char *b = t.mutableBytes();
  switch (bitWidth(t.type())) {
  case 64:
    reinterpret_cast<int64_t *>(b)[i] = v;
    break;
  case 32:
    reinterpret_cast<int32_t *>(b)[i] = int32_t(v);
    break;
  case 16:
    reinterpret_cast<int16_t *>(b)[i] = int16_t(v);
    break;
  case 8:
    reinterpret_cast<int8_t *>(b)[i] = int8_t(v);
    break;
  case 4:
    b[i / 2] = char((uint8_t(b[i / 2]) & (i % 2 ? 0x0f : 0xf0)) | (v & 15) << (i % 2 * 4));
    break;
  case 2:
    b[i / 4] = char((uint8_t(b[i / 4]) & ~(3 << (i % 4 * 2))) | (v & 3) << (i % 4 * 2));
    break;
  }
}

int64_t floatToInt(double v, ElementType to) {
  if (std::isnan(v))
    return bitWidth(to) == 64 || to == ElementType::Int32 ? (to == ElementType::Int32 ? INT32_MIN : INT64_MIN) : 0;
  if (to == ElementType::Uint64)
    return v >= 9223372036854775808.0 ? int64_t(uint64_t(std::min(v, 18446744073709549568.0)))
                                      : int64_t(v < -9.2e18 ? 0 : v);
  if (v >= 9223372036854775807.0)
    return INT64_MAX;
  if (v <= -9223372036854775808.0)
    return INT64_MIN;
  return int64_t(v);
}

std::string floatText(double v, bool isFloat) {
  if (std::isnan(v))
    return "NaN";
  if (std::isinf(v))
    return v < 0 ? "-INF" : "INF";
  char buffer[64];
  auto r = isFloat ? std::to_chars(buffer, buffer + 64, float(v)) : std::to_chars(buffer, buffer + 64, v);
  return std::string(buffer, r.ptr);
}

/// float8e8m0 rounds by a mode of its own (Cast-24).
uint32_t encodeE8M0(float v, const std::string &mode, bool saturate) {
  if (std::isnan(v))
    return 255;
  if (std::isinf(v))
    return saturate ? 254 : 255;
  v = std::fabs(v);
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  uint32_t e = bits >> 23 & 255, m = bits & 0x7fffff;
  if (mode == "up")
    e += m != 0;
  else if (mode == "nearest")
    e += m >= 0x400000 && !(e == 0 && m < 0x400000);
  if (e >= 255)
    return saturate ? 254 : 255;
  return e;
}

} // namespace

absl::StatusOr<Tensor> castTensor(EvalContext &ctx, const Tensor &x, ElementType to) {
  if (x.type() == to)
    return x;
  bool saturate = ctx.getInt("saturate", 1);
  ONNXOPT_ASSIGN(y, ctx.allocate(to, x.dims()));
  int64_t n = x.size();
  if (to == ElementType::String) {
    auto &out = y.mutableStrings();
    for (int64_t i = 0; i < n; ++i)
      out[i] = isFloating(x.type())              ? floatText(x.floatAt(i), x.type() != ElementType::Double)
               : x.type() == ElementType::Bool   ? (x.intAt(i) ? "True" : "False")
               : x.type() == ElementType::Uint64 ? std::to_string(uint64_t(x.intAt(i)))
                                                 : std::to_string(x.intAt(i));
    return y;
  }
  char *bytes = y.mutableBytes();
  auto storeFloat = [&](int64_t i, double v) {
    if (to == ElementType::Float)
      reinterpret_cast<float *>(bytes)[i] = float(v);
    else if (to == ElementType::Double)
      reinterpret_cast<double *>(bytes)[i] = v;
    else if (to == ElementType::Float8E8M0)
      bytes[i] = char(encodeE8M0(float(v), ctx.getString("round_mode", "up"), saturate));
    else
      storeSmallFloat(to, bytes, i, float(v), saturate);
  };
  if (x.isString()) {
    for (int64_t i = 0; i < n; ++i) {
      const std::string &s = x.strings()[i];
      if (isFloating(to)) {
        char *end = nullptr;
        double v = to == ElementType::Double ? std::strtod(s.c_str(), &end) : std::strtof(s.c_str(), &end);
        if (end == s.c_str())
          return invalid(ctx, "'" + s + "' is no number");
        storeFloat(i, v);
      } else {
        int64_t v = 0;
        if (llvm::StringRef(s).getAsInteger(10, v))
          v = floatToInt(std::strtod(s.c_str(), nullptr), to);
        storeInt(y, i, to == ElementType::Bool ? v != 0 : v);
      }
    }
    return y;
  }
  bool fast = false;
  dispatchNumeric(x.type(), [&](auto from) {
    using F = typename decltype(from)::type;
    fast = dispatchNumeric(to, [&](auto target) {
      using T = typename decltype(target)::type;
      const F *p = x.template data<F>();
      T *q = y.template mutableData<T>();
      for (int64_t i = 0; i < n; ++i)
        if constexpr (std::is_floating_point_v<F> && std::is_integral_v<T>)
          q[i] = T(floatToInt(double(p[i]), to));
        else
          q[i] = T(p[i]);
    });
  });
  if (fast)
    return y;
  for (int64_t i = 0; i < n; ++i) {
    if (isFloating(to))
      storeFloat(i, isFloating(x.type()) || x.type() == ElementType::Uint64 ? x.floatAt(i) : double(x.intAt(i)));
    else if (to == ElementType::Bool)
      storeInt(y, i, isFloating(x.type()) ? x.floatAt(i) != 0 : x.intAt(i) != 0);
    else
      storeInt(y, i, isFloating(x.type()) ? floatToInt(x.floatAt(i), to) : x.intAt(i));
  }
  return y;
}

static absl::Status evalCast(EvalContext &ctx) {
  ElementType to;
  if (ctx.version() < 6) { // the type's name is the attribute
    std::string name = ctx.getString("to");
    for (char &c : name)
      c = char(tolower(c));
    auto e = elementTypeFromName(name);
    if (!e)
      return invalid(ctx, "unknown type '" + name + "'");
    to = *e;
  } else {
    to = static_cast<ElementType>(ctx.getInt("to"));
  }
  ONNXOPT_ASSIGN(y, castTensor(ctx, ctx.in(0), to));
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void castTo(InferContext &ctx, ElementType to) {
  Type t = ctx.type(0);
  if (!t.isTensor())
    t = Type::tensor(to);
  t.element = to;
  ctx.setType(0, std::move(t));
  const SymTensor *v = ctx.value(0);
  if (!v)
    return;
  // Sizes stay whole numbers as floats.
  if (to == ElementType::Int64 || to == ElementType::Int32 || to == ElementType::Float || to == ElementType::Double) {
    ctx.setValue(0, *v);
  } else if (to == ElementType::Bool) {
    SymTensor r{v->dims, {}};
    for (Dim d : v->elements)
      r.elements.push_back(d.isConstant() ? ctx.constantDim(d.constant() != 0) : Dim());
    ctx.setValue(0, std::move(r));
  }
}
static void inferCast(InferContext &ctx) {
  if (ctx.version() < 6) {
    std::string name = ctx.getString("to");
    for (char &c : name)
      c = char(tolower(c));
    return castTo(ctx, elementTypeFromName(name).value_or(ElementType::Undefined));
  }
  if (!ctx.hasAttribute("to"))
    return;
  auto to = static_cast<ElementType>(ctx.getInt("to"));
  if (nameOf(to).empty() || to == ElementType::Undefined)
    return ctx.fail("unknown element type " + std::to_string(ctx.getInt("to")));
  castTo(ctx, to);
}
ONNXOPT_DEFINE_OP(Cast) {
  op.since(1, {.infer = inferCast, .eval = evalCast, .elementwise = true, .storage = Storage::Native});
}
static absl::Status evalCastLike(EvalContext &ctx) {
  ONNXOPT_ASSIGN(y, castTensor(ctx, ctx.in(0), ctx.in(1).type()));
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferCastLike(InferContext &ctx) { castTo(ctx, elementOr(ctx, 1)); }
ONNXOPT_DEFINE_OP(CastLike) {
  op.since(15, {.infer = inferCastLike, .eval = evalCastLike, .elementwise = true, .storage = Storage::Native});
}
static absl::Status evalBitCast(EvalContext &ctx) {
  auto to = static_cast<ElementType>(ctx.getInt("to"));
  if (bitWidth(to) != bitWidth(ctx.in(0).type()) || !bitWidth(to))
    return invalid(ctx, "types differ in width");
  ctx.set(0, ctx.in(0).bitcast(to));
  return absl::OkStatus();
}
static void inferBitCast(InferContext &ctx) {
  Type t = ctx.type(0);
  if (!t.isTensor())
    t = Type::tensor(ElementType::Undefined);
  const auto to = static_cast<ElementType>(ctx.getInt("to"));
  if (!bitWidth(to))
    return ctx.fail("'to' is no type of fixed width");
  if (t.hasElement() && bitWidth(t.element) != bitWidth(to))
    ctx.fail("types differ in width: " + nameOf(t.element).str() + " and " + nameOf(to).str());
  t.element = to;
  ctx.setType(0, std::move(t));
}
ONNXOPT_DEFINE_OP(BitCast) {
  op.since(26, {.infer = inferBitCast,
                .eval = evalBitCast,
                .elementwise = true,
                .storage = Storage::Native,
                .reuse = {{0, 0, Reuse::View}}});
}

// QuantizeLinear, DequantizeLinear

namespace {

/// Which element of scale and zero point belongs to element `i` of the data: per tensor, per axis or per block.
class ScaleIndex {
public:
  static std::optional<ScaleIndex> make(EvalContext &ctx, const Tensor &x, const Tensor &scale) {
    ScaleIndex s;
    if (ctx.has(2) && ctx.in(2).size() != scale.size())
      return std::nullopt;
    s.single_ = scale.size() == 1 && scale.rank() <= 1;
    if (s.single_)
      return s;
    int64_t axis = ctx.getInt("axis", 1);
    if (!axisInRange(axis, x.rank()))
      return std::nullopt;
    axis = normalizeAxis(axis, x.rank());
    AxisSplit split(x.dims(), axis);
    s.inner_ = split.inner;
    s.axis_ = split.axis;
    if (scale.rank() == 1) {
      s.perAxis_ = true;
      return scale.size() == split.axis ? std::optional(s) : std::nullopt;
    }
    if (scale.rank() != x.rank())
      return std::nullopt;
    for (size_t i = 0; i < x.rank(); ++i)
      if (int64_t(i) != axis && scale.dim(i) != x.dim(i))
        return std::nullopt;
    s.blocks_ = scale.dim(axis);
    s.block_ = ctx.getInt("block_size");
    if (s.block_ < 0)
      return std::nullopt;
    if (!s.block_)
      s.block_ = s.blocks_ ? ceilDiv(split.axis, s.blocks_) : 1;
    return s.blocks_ && s.block_ && ceilDiv(split.axis, s.block_) == s.blocks_ ? std::optional(s) : std::nullopt;
  }
  int64_t operator()(int64_t i) const {
    if (single_)
      return 0;
    int64_t k = i / inner_ % axis_;
    if (perAxis_)
      return k;
    return (i / inner_ / axis_ * blocks_ + k / block_) * inner_ + i % inner_;
  }

private:
  bool single_ = false, perAxis_ = false;
  int64_t inner_ = 1, axis_ = 1, blocks_ = 1, block_ = 1;
};

std::pair<double, double> integerRange(ElementType e) {
  unsigned bits = bitWidth(e);
  bool isSigned = e == ElementType::Int8 || e == ElementType::Int16 || e == ElementType::Int4 ||
                  e == ElementType::Int2 || e == ElementType::Int32;
  return isSigned ? std::pair(-std::ldexp(1.0, bits - 1), std::ldexp(1.0, bits - 1) - 1)
                  : std::pair(0.0, std::ldexp(1.0, bits) - 1);
}

ElementType quantizedType(const NodeView &node, ElementType zeroPoint) {
  if (zeroPoint != ElementType::Undefined)
    return zeroPoint;
  int64_t t = node.getInt("output_dtype", 0);
  return t ? static_cast<ElementType>(t) : ElementType::Uint8;
}

/// Rounds `v` to the precision that `e` computes in.
float roundTo(ElementType e, float v) {
  return isSmallFloat(e) ? decodeSmallFloat(e, encodeSmallFloat(e, v, false)) : v;
}

} // namespace

static absl::Status evalQuantizeLinear(EvalContext &ctx) {
  const Tensor &x = ctx.in(0), &scale = ctx.in(1);
  ElementType type = quantizedType(ctx, ctx.has(2) ? ctx.in(2).type() : ElementType::Undefined);
  auto index = ScaleIndex::make(ctx, x, scale);
  if (!index)
    return invalid(ctx, "scale and zero point do not fit the operand");
  bool saturate = ctx.getInt("saturate", 1);
  auto precision = static_cast<ElementType>(ctx.getInt("precision", 0));
  if (precision == ElementType::Undefined)
    precision = scale.type();
  ONNXOPT_ASSIGN(y, ctx.allocate(type, x.dims()));
  char *bytes = y.mutableBytes();
  for (int64_t i = 0; i < x.size(); ++i) {
    int64_t k = (*index)(i);
    float s = float(scale.floatAt(k)), v = roundTo(precision, float(x.floatAt(i))) / roundTo(precision, s);
    v = roundTo(precision, v);
    if (isFloating(type)) {
      // The zero point of float8 types is 0.
      storeSmallFloat(type, bytes, i, v, saturate);
      continue;
    }
    auto [lo, hi] = integerRange(type);
    double q = std::nearbyint(double(v)) + (ctx.has(2) ? double(ctx.in(2).intAt(k)) : 0);
    storeInt(y, i, int64_t(std::isnan(q) ? 0 : std::clamp(q, lo, hi)));
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferQuantizeLinear(InferContext &ctx) {
  Type t = ctx.type(0);
  ElementType e = quantizedType(ctx, ctx.hasOperand(2) ? elementOr(ctx, 2) : ElementType::Undefined);
  if (ctx.hasOperand(2) && elementOr(ctx, 2) == ElementType::Undefined && !ctx.getInt("output_dtype", 0))
    e = ElementType::Undefined;
  if (!t.isTensor())
    t = Type::tensor(e);
  t.element = e;
  ctx.setType(0, std::move(t));
}
ONNXOPT_DEFINE_OP(QuantizeLinear) {
  op.since(10,
           {.infer = inferQuantizeLinear, .eval = evalQuantizeLinear, .foldable = false, .storage = Storage::Native});
}

static absl::Status evalDequantizeLinear(EvalContext &ctx) {
  const Tensor &x = ctx.in(0), &scale = ctx.in(1);
  auto index = ScaleIndex::make(ctx, x, scale);
  if (!index)
    return invalid(ctx, "scale and zero point do not fit the operand");
  int64_t wanted = ctx.getInt("output_dtype", 0);
  ElementType type = wanted ? static_cast<ElementType>(wanted) : scale.type();
  ONNXOPT_ASSIGN(y, ctx.allocate(type, x.dims()));
  char *bytes = y.mutableBytes();
  bool floats = isFloating(x.type());
  for (int64_t i = 0; i < x.size(); ++i) {
    int64_t k = (*index)(i);
    float s = float(scale.floatAt(k));
    float v = floats ? float(x.floatAt(i)) - (ctx.has(2) ? float(ctx.in(2).floatAt(k)) : 0)
                     : float(x.intAt(i) - (ctx.has(2) ? ctx.in(2).intAt(k) : 0));
    v *= s;
    if (type == ElementType::Float)
      reinterpret_cast<float *>(bytes)[i] = v;
    else if (type == ElementType::Double)
      reinterpret_cast<double *>(bytes)[i] = v;
    else
      storeSmallFloat(type, bytes, i, v, false);
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferDequantizeLinear(InferContext &ctx) {
  Type t = ctx.type(0);
  int64_t wanted = ctx.getInt("output_dtype", 0);
  ElementType e = wanted                                              ? static_cast<ElementType>(wanted)
                  : ctx.version() < 19 && ctx.node().domain().empty() ? ElementType::Float
                                                                      : elementOr(ctx, 1);
  if (!t.isTensor())
    t = Type::tensor(e);
  t.element = e;
  ctx.setType(0, std::move(t));
}
ONNXOPT_DEFINE_OP(DequantizeLinear) {
  op.since(
      10,
      {.infer = inferDequantizeLinear, .eval = evalDequantizeLinear, .foldable = false, .storage = Storage::Native});
}
ONNXOPT_DEFINE_MS_OP(QuantizeLinear) {
  op.since(1,
           {.infer = inferQuantizeLinear, .eval = evalQuantizeLinear, .foldable = false, .storage = Storage::Native});
}
ONNXOPT_DEFINE_MS_OP(DequantizeLinear) {
  op.since(
      1, {.infer = inferDequantizeLinear, .eval = evalDequantizeLinear, .foldable = false, .storage = Storage::Native});
}

// DynamicQuantizeLinear

static absl::Status evalDynamicQuantizeLinear(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  float lo = 0, hi = 0;
  for (int64_t i = 0; i < x.size(); ++i) {
    lo = std::min(lo, x.data<float>()[i]);
    hi = std::max(hi, x.data<float>()[i]);
  }
  float scale = (hi - lo) / 255.0f;
  float zero = scale == 0 ? 0 : std::nearbyint(std::clamp(-lo / scale, 0.0f, 255.0f));
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Uint8, x.dims()));
  for (int64_t i = 0; i < x.size(); ++i) {
    float q = scale == 0 ? 0 : std::nearbyint(x.data<float>()[i] / scale);
    y.mutableData<uint8_t>()[i] = saturateTo<uint8_t>(std::clamp(q + zero, 0.0f, 255.0f));
  }
  ctx.set(0, std::move(y));
  ctx.set(1, Tensor::scalar<float>(ElementType::Float, scale));
  ctx.set(2, Tensor::scalar<uint8_t>(ElementType::Uint8, saturateTo<uint8_t>(zero)));
  return absl::OkStatus();
}
static void inferDynamicQuantizeLinear(InferContext &ctx) {
  sameShape<ElementType::Uint8>(ctx);
  ctx.setTensor(1, ElementType::Float, {});
  ctx.setTensor(2, ElementType::Uint8, {});
}
ONNXOPT_DEFINE_OP(DynamicQuantizeLinear) {
  op.since(11, {.infer = inferDynamicQuantizeLinear, .eval = evalDynamicQuantizeLinear});
}
