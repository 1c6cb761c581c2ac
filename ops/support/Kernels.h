// What kernels are written with: type dispatch, broadcasting loops, moving elements.
#pragma once

#include "onnxopt/ops/Operator.h"

#include <limits>

namespace onnxopt::kernels {

template <typename T> struct TypeTag {
  using type = T;
};

/// Integer arithmetic wraps; it is done unsigned, where that is defined.
template <typename T, typename F> T wrapping(T a, T b, F f) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::conditional_t<sizeof(T) < 4, uint32_t, std::make_unsigned_t<T>>;
    return T(f(U(a), U(b)));
  } else {
    return f(a, b);
  }
}
template <typename T> T wrappingAdd(T a, T b) {
  return wrapping(a, b, [](auto x, auto y) { return x + y; });
}
template <typename T> T wrappingMul(T a, T b) {
  return wrapping(a, b, [](auto x, auto y) { return x * y; });
}

/// a / b rounded up, for a >= 0 and b > 0.
inline int64_t ceilDiv(int64_t a, int64_t b) { return a / b + (a % b != 0); }

/// `v` as a T, rounded towards zero: the nearest value of T when it lies outside, 0 for NaN.
template <typename T> T saturateTo(double v) {
  if constexpr (std::is_integral_v<T>) {
    if (v != v)
      return 0;
    // The upper bound of 64-bit types rounds up as a double.
    if (v >= double(std::numeric_limits<T>::max()))
      return std::numeric_limits<T>::max();
    return v <= double(std::numeric_limits<T>::min()) ? std::numeric_limits<T>::min() : T(v);
  } else {
    return T(v);
  }
}

/// Calls `f(TypeTag<T>)` for float, double and all whole integer types; false for others.
template <typename F> bool dispatchNumeric(ElementType e, F &&f) {
  switch (e) {
  case ElementType::Float:
    f(TypeTag<float>());
    return true;
  case ElementType::Double:
    f(TypeTag<double>());
    return true;
  case ElementType::Int64:
    f(TypeTag<int64_t>());
    return true;
  case ElementType::Int32:
    f(TypeTag<int32_t>());
    return true;
  case ElementType::Int16:
    f(TypeTag<int16_t>());
    return true;
  case ElementType::Int8:
    f(TypeTag<int8_t>());
    return true;
  case ElementType::Uint64:
    f(TypeTag<uint64_t>());
    return true;
  case ElementType::Uint32:
    f(TypeTag<uint32_t>());
    return true;
  case ElementType::Uint16:
    f(TypeTag<uint16_t>());
    return true;
  case ElementType::Uint8:
    f(TypeTag<uint8_t>());
    return true;
  default:
    return false;
  }
}
template <typename F> bool dispatchFloat(ElementType e, F &&f) {
  switch (e) {
  case ElementType::Float:
    f(TypeTag<float>());
    return true;
  case ElementType::Double:
    f(TypeTag<double>());
    return true;
  default:
    return false;
  }
}
template <typename F> bool dispatchInteger(ElementType e, F &&f) {
  return e != ElementType::Float && e != ElementType::Double && dispatchNumeric(e, f);
}

/// Facts of a kernel that reads and writes every type itself.
inline OpFacts native(InferFn infer, EvalFn eval) { return {.infer = infer, .eval = eval, .storage = Storage::Native}; }

absl::Status unsupportedType(const EvalContext &ctx, ElementType e);
absl::Status invalid(const EvalContext &ctx, std::string what);

#define ONNXOPT_ASSIGN(lhs, expr)                                                                                      \
  auto lhs##OrError = (expr);                                                                                          \
  if (!lhs##OrError.ok())                                                                                              \
    return lhs##OrError.status();                                                                                      \
  Tensor lhs = std::move(*lhs##OrError)

/// Row-major strides in elements.
Dims stridesOf(llvm::ArrayRef<int64_t> dims);
/// The index after `index` in row-major order of `dims`, of the same rank; after the last one comes the first.
inline void nextIndex(llvm::MutableArrayRef<int64_t> index, llvm::ArrayRef<int64_t> dims) {
  for (size_t i = index.size(); i-- > 0;) {
    if (++index[i] < dims[i])
      break;
    index[i] = 0;
  }
}
/// Result dims of multidirectional broadcasting; nullopt when they do not fit.
std::optional<Dims> broadcastDims(llvm::ArrayRef<int64_t> a, llvm::ArrayRef<int64_t> b);
/// Strides that read `dims` as if broadcast to `out`.
Dims broadcastStrides(llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<int64_t> out);

/// Copies elements: result[i0, i1, ...] = source[offset + sum(ik * strides[k])]. Any element type of whole bytes.
absl::StatusOr<Tensor> stridedCopy(EvalContext &ctx, const Tensor &source, llvm::ArrayRef<int64_t> dims,
                                   llvm::ArrayRef<int64_t> strides, int64_t offset = 0);
/// Whether an operand of dims `from` can stand for one of dims `to`.
bool broadcastsTo(llvm::ArrayRef<int64_t> from, llvm::ArrayRef<int64_t> to);
absl::StatusOr<Tensor> broadcastTo(EvalContext &ctx, const Tensor &t, llvm::ArrayRef<int64_t> dims);
/// Copies element `from` of `source` to element `to` of `target` (strings too).
void copyElement(const Tensor &source, int64_t from, Tensor &target, int64_t to);
void copyElements(const Tensor &source, int64_t from, Tensor &target, int64_t to, int64_t count);

int64_t normalizeAxis(int64_t axis, int64_t rank);
bool axisInRange(int64_t axis, int64_t rank);

/// Before opset 7, operand 1 broadcasts to operand 0 from `axis` on; its dims as they stand for today's rule.
Dims legacyBroadcastDims(const NodeView &node, llvm::ArrayRef<int64_t> a, llvm::ArrayRef<int64_t> b);

/// Calls `run(out, a, strideA, b, strideB, n)` for each run of `n` elements along the last dimension, in row-major
/// order.
template <typename F>
void forBroadcastRuns(llvm::ArrayRef<int64_t> out, llvm::ArrayRef<int64_t> sa, llvm::ArrayRef<int64_t> sb, F &&run) {
  // Trailing dimensions that both operands walk alike become one run.
  size_t rank = out.size();
  if (rank == 0) {
    run(0, 0, 0, 0, 0, 1);
    return;
  }
  int64_t n = out[rank - 1], ra = sa[rank - 1], rb = sb[rank - 1];
  size_t outer = rank - 1;
  while (outer > 0 && (sa[outer - 1] == ra * n || out[outer - 1] == 1) &&
         (sb[outer - 1] == rb * n || out[outer - 1] == 1)) {
    n *= out[outer - 1];
    --outer;
  }
  int64_t total = 1;
  for (size_t k = 0; k < outer; ++k)
    total *= out[k];
  Dims index(outer, 0);
  int64_t a = 0, b = 0;
  for (int64_t i = 0; i < total; ++i) {
    run(i * n, a, ra, b, rb, n);
    for (size_t k = outer; k-- > 0;) {
      a += sa[k];
      b += sb[k];
      if (++index[k] < out[k])
        break;
      a -= sa[k] * out[k];
      b -= sb[k] * out[k];
      index[k] = 0;
    }
  }
}

/// out[i] = f(a[i], b[i]) under broadcasting.
template <typename T, typename R, typename F>
void mapBroadcast(const Tensor &a, llvm::ArrayRef<int64_t> dimsA, const Tensor &b, llvm::ArrayRef<int64_t> dimsB,
                  Tensor &out, F f) {
  const T *pa = a.data<T>(), *pb = b.data<T>();
  R *po = out.mutableData<R>();
  if (out.size() == 0)
    return;
  Dims sa = broadcastStrides(dimsA, out.dims()), sb = broadcastStrides(dimsB, out.dims());
  forBroadcastRuns(out.dims(), sa, sb, [&](int64_t o, int64_t ia, int64_t ra, int64_t ib, int64_t rb, int64_t n) {
    const T *x = pa + ia, *y = pb + ib;
    R *z = po + o;
    if (ra == 1 && rb == 1) {
      for (int64_t i = 0; i < n; ++i)
        z[i] = f(x[i], y[i]);
    } else if (ra == 1 && rb == 0) {
      T c = y[0];
      for (int64_t i = 0; i < n; ++i)
        z[i] = f(x[i], c);
    } else if (ra == 0 && rb == 1) {
      T c = x[0];
      for (int64_t i = 0; i < n; ++i)
        z[i] = f(c, y[i]);
    } else {
      for (int64_t i = 0; i < n; ++i)
        z[i] = f(x[i * ra], y[i * rb]);
    }
  });
}

/// out[i] = f(in[i]). The result may take the operand's memory.
template <typename T, typename F> absl::Status mapUnary(EvalContext &ctx, F f) {
  const Tensor &x = ctx.in(0);
  ONNXOPT_ASSIGN(y, ctx.allocateResult(0, x.type(), x.dims()));
  const T *p = x.data<T>();
  T *q = y.mutableData<T>();
  for (int64_t i = 0, n = x.size(); i < n; ++i)
    q[i] = f(p[i]);
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}

/// `outer` x `axis` x `inner` decomposition of a tensor around one axis.
struct AxisSplit {
  int64_t outer = 1, axis = 1, inner = 1;
  AxisSplit(llvm::ArrayRef<int64_t> dims, int64_t at) {
    for (int64_t i = 0; i < int64_t(dims.size()); ++i)
      (i < at ? outer : i == at ? axis : inner) *= dims[i];
  }
};

/// All elements as float32, of any numeric type; as the given type again.
Tensor toFloat(const Tensor &t);
Tensor toDouble(const Tensor &t);
Tensor fromFloat(const Tensor &t, ElementType type, bool saturate = true);
/// `value` as a scalar of a floating type.
Tensor floatScalar(float value, ElementType type);
/// Sub-byte elements as one byte each (bit patterns), and back.
Tensor unpackBits(const Tensor &t);
Tensor packBits(const Tensor &t, ElementType type);

} // namespace onnxopt::kernels
