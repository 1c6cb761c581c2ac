// Pooling.
#include "onnxopt/ops/nn/Window.h"

#include <cmath>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

namespace {

/// Visits each output element with the input offsets of its window: f(output index, base of the channel, offsets).
/// Positions outside the input are left out; `cells` counts those within the padded input.
template <typename F> void forWindows(const Tensor &x, const nn::Windows &w, F f) {
  size_t n = w.kernel.size();
  int64_t inPlane = 1, outPlane = 1, taps = 1, planes = x.dim(0) * x.dim(1);
  for (size_t i = 0; i < n; ++i) {
    inPlane *= x.dim(i + 2);
    outPlane *= w.output[i];
    taps *= w.kernel[i];
  }
  Dims strides = stridesOf(x.dims().drop_front(2)), at(n, 0);
  llvm::SmallVector<int64_t, 64> offsets;
  for (int64_t o = 0; o < outPlane; ++o) {
    offsets.clear();
    int64_t cells = 0;
    Dims k(n, 0);
    for (int64_t t = 0; t < taps; ++t) {
      int64_t off = 0;
      bool inside = true, padded = true;
      for (size_t i = 0; i < n; ++i) {
        int64_t p = at[i] * w.strides[i] - w.padBegin[i] + k[i] * w.dilations[i];
        inside &= p >= 0 && p < x.dim(i + 2);
        padded &= p < x.dim(i + 2) + w.padEnd[i]; // what ceil_mode adds beyond the padding does not count
        off += p * strides[i];
      }
      cells += padded;
      if (inside)
        offsets.push_back(off);
      nextIndex(k, w.kernel);
    }
    for (int64_t p = 0; p < planes; ++p)
      f(p * outPlane + o, p * inPlane, llvm::ArrayRef<int64_t>(offsets), cells);
    nextIndex(at, w.output);
  }
}

absl::StatusOr<nn::Windows> poolWindows(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  std::vector<int64_t> k = ctx.getInts("kernel_shape");
  if (x.rank() < 3 || k.size() != x.rank() - 2)
    return invalid(ctx, "kernel_shape does not match the rank");
  std::string why;
  auto w = nn::resolve(ctx, x.dims().drop_front(2), k, why);
  if (!w)
    return invalid(ctx, why);
  return *w;
}

Dims poolDims(const Tensor &x, const nn::Windows &w) {
  Dims d{x.dim(0), x.dim(1)};
  d.append(w.output.begin(), w.output.end());
  return d;
}

void inferPool(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  std::vector<int64_t> kernel = ctx.getInts("kernel_shape");
  if (!ctx.isRanked(0)) {
    llvm::SmallVector<Dim, 5> d;
    for (size_t i = 0; i < kernel.size() + 2; ++i)
      d.push_back(ctx.freshDim());
    for (unsigned k = 0; k < ctx.numResults(); ++k)
      ctx.setTensor(k, k ? ElementType::Int64 : e, d);
    return;
  }
  if (ctx.rank(0) < 3)
    return ctx.fail("the input has rank " + std::to_string(ctx.rank(0)) + ", at least 3 is needed");
  llvm::SmallVector<Dim, 5> out{ctx.shape(0)[0], ctx.shape(0)[1]};
  llvm::SmallVector<Dim, 4> spatial;
  llvm::SmallVector<Dim, 4> window;
  for (int64_t k : kernel)
    window.push_back(ctx.constantDim(k));
  if (!nn::inferOutput(ctx, ctx.shape(0).drop_front(2), window, spatial))
    return;
  out.append(spatial.begin(), spatial.end());
  ctx.setTensor(0, e, out);
  ctx.setTensor(1, ElementType::Int64, out);
}

void inferGlobal(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, e);
  llvm::SmallVector<Dim, 5> out(ctx.shape(0).begin(), ctx.shape(0).end());
  for (size_t i = 2; i < out.size(); ++i)
    out[i] = ctx.constantDim(1);
  ctx.setTensor(0, e, out);
}

template <typename F> absl::Status global(EvalContext &ctx, F f) {
  const Tensor &x = ctx.in(0);
  if (x.rank() < 2)
    return invalid(ctx, "needs rank 2 or more");
  Dims dims(x.rank(), 1);
  dims[0] = x.dim(0);
  dims[1] = x.dim(1);
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), dims));
  int64_t plane = y.size() ? x.size() / y.size() : 0;
  if (!dispatchFloat(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        for (int64_t i = 0; i < y.size(); ++i)
          y.template mutableData<T>()[i] = f(x.template data<T>() + i * plane, plane);
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}

} // namespace

static absl::Status evalMaxPool(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  auto w = poolWindows(ctx);
  if (!w.ok())
    return w.status();
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), poolDims(x, *w)));
  ONNXOPT_ASSIGN(at, ctx.allocate(ElementType::Int64, poolDims(x, *w)));
  bool columns = ctx.getInt("storage_order") == 1;
  Dims strides = stridesOf(x.dims().drop_front(2));
  auto run = [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *p = x.data<T>();
    T *q = y.mutableData<T>();
    int64_t *indices = at.mutableData<int64_t>();
    forWindows(x, *w, [&](int64_t o, int64_t base, llvm::ArrayRef<int64_t> offsets, int64_t) {
      T best = std::numeric_limits<T>::lowest();
      if constexpr (std::is_floating_point_v<T>)
        best = -std::numeric_limits<T>::infinity();
      int64_t where = 0;
      bool first = true;
      for (int64_t off : offsets)
        if (first || p[base + off] > best || p[base + off] != p[base + off]) {
          best = p[base + off];
          where = off;
          first = false;
        }
      q[o] = best;
      if (columns) { // as if the plane were stored column by column
        int64_t rest = where, index = 0, scale = 1;
        for (size_t i = 0; i < strides.size(); ++i) {
          index += rest / strides[i] * scale;
          rest %= strides[i];
          scale *= x.dim(i + 2);
        }
        where = index;
      }
      indices[o] = base + where;
    });
  };
  if (!dispatchNumeric(x.type(), run))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  ctx.set(1, std::move(at));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_OP(MaxPool) { op.since(1, {.infer = inferPool, .eval = evalMaxPool}); }

static absl::Status evalAveragePool(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  auto w = poolWindows(ctx);
  if (!w.ok())
    return w.status();
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), poolDims(x, *w)));
  bool includePad = ctx.getInt("count_include_pad");
  if (!dispatchFloat(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        forWindows(x, *w, [&](int64_t o, int64_t base, llvm::ArrayRef<int64_t> offsets, int64_t cells) {
          T sum = 0;
          for (int64_t off : offsets)
            sum += x.template data<T>()[base + off];
          y.template mutableData<T>()[o] = sum / T(includePad ? cells : offsets.size());
        });
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_OP(AveragePool) { op.since(1, {.infer = inferPool, .eval = evalAveragePool}); }

static absl::Status evalLpPool(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  auto w = poolWindows(ctx);
  if (!w.ok())
    return w.status();
  double p = ctx.version() < 2 ? ctx.getFloat("p", 2) : double(ctx.getInt("p", 2));
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), poolDims(x, *w)));
  if (!dispatchFloat(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        forWindows(x, *w, [&](int64_t o, int64_t base, llvm::ArrayRef<int64_t> offsets, int64_t) {
          double sum = 0;
          for (int64_t off : offsets)
            sum += std::pow(std::fabs(double(x.template data<T>()[base + off])), p);
          y.template mutableData<T>()[o] = T(std::pow(sum, 1 / p));
        });
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_OP(LpPool) { op.since(1, {.infer = inferPool, .eval = evalLpPool}); }

static absl::Status evalGlobalAveragePool(EvalContext &ctx) {
  return global(ctx, [](const auto *p, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; ++i)
      s += p[i];
    return std::decay_t<decltype(*p)>(s / double(n));
  });
}
static absl::Status evalGlobalMaxPool(EvalContext &ctx) {
  return global(ctx, [](const auto *p, int64_t n) {
    using T = std::decay_t<decltype(*p)>;
    T m = -std::numeric_limits<T>::infinity();
    for (int64_t i = 0; i < n; ++i)
      m = m != m ? m : (p[i] > m || p[i] != p[i]) ? p[i] : m;
    return m;
  });
}
static absl::Status evalGlobalLpPool(EvalContext &ctx) {
  double e = ctx.version() < 2 ? ctx.getFloat("p", 2) : double(ctx.getInt("p", 2));
  return global(ctx, [e](const auto *p, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; ++i)
      s += std::pow(std::fabs(double(p[i])), e);
    return std::decay_t<decltype(*p)>(std::pow(s, 1 / e));
  });
}
ONNXOPT_DEFINE_OP(GlobalAveragePool) { op.since(1, {.infer = inferGlobal, .eval = evalGlobalAveragePool}); }
ONNXOPT_DEFINE_OP(GlobalMaxPool) { op.since(1, {.infer = inferGlobal, .eval = evalGlobalMaxPool}); }
ONNXOPT_DEFINE_OP(GlobalLpPool) { op.since(1, {.infer = inferGlobal, .eval = evalGlobalLpPool}); }

// onnxruntime's pooling of quantized numbers, with channels second or last

static void inferQLinearAveragePool(InferContext &ctx) {
  if (!ctx.getInt("channels_last", 0))
    return inferPool(ctx);
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, elementOr(ctx, 0));
  llvm::SmallVector<Dim, 5> out;
  for (size_t i = 0; i < ctx.rank(0); ++i)
    out.push_back(i == 0 || i + 1 == ctx.rank(0) ? ctx.shape(0)[i] : ctx.freshDim());
  ctx.setTensor(0, elementOr(ctx, 0), out);
}
ONNXOPT_DEFINE_MS_OP(QLinearAveragePool) { op.since(1, {.infer = inferQLinearAveragePool}).single({1, 2, 3, 4}); }

static void inferQLinearGlobalAveragePool(InferContext &ctx) {
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, elementOr(ctx, 0));
  const size_t channels = ctx.getInt("channels_last", 0) ? ctx.rank(0) - 1 : 1;
  llvm::SmallVector<Dim, 5> out;
  for (size_t i = 0; i < ctx.rank(0); ++i)
    out.push_back(i == 0 || i == channels ? ctx.shape(0)[i] : ctx.constantDim(1));
  ctx.setTensor(0, elementOr(ctx, 0), out);
}
ONNXOPT_DEFINE_MS_OP(QLinearGlobalAveragePool) {
  op.since(1, {.infer = inferQLinearGlobalAveragePool}).single({1, 2, 3, 4});
}

// MaxUnpool

static absl::StatusOr<Dims> unpoolDims(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  std::vector<int64_t> k = ctx.getInts("kernel_shape"), s = ctx.getInts("strides"), p = ctx.getInts("pads");
  size_t n = x.rank() - 2;
  if (x.rank() < 3 || k.size() != n)
    return invalid(ctx, "kernel_shape does not match the rank");
  if (s.empty())
    s.assign(n, 1);
  if (p.empty())
    p.assign(2 * n, 0);
  if (s.size() != n || p.size() != 2 * n)
    return invalid(ctx, "strides or pads do not match the rank");
  Dims d{x.dim(0), x.dim(1)};
  for (size_t i = 0; i < n; ++i)
    d.push_back((x.dim(i + 2) - 1) * s[i] + k[i] - p[i] - p[i + n]);
  return d;
}
static absl::Status evalMaxUnpool(EvalContext &ctx) {
  const Tensor &x = ctx.in(0), &at = ctx.in(1);
  auto natural = unpoolDims(ctx);
  if (!natural.ok())
    return natural.status();
  Dims dims = *natural;
  if (ctx.has(2)) {
    auto given = ctx.in(2).ints();
    dims.assign(given.begin(), given.end());
  }
  if (dims.size() != x.rank() || at.size() != x.size() || elementCount(*natural).value_or(0) == 0)
    return invalid(ctx, "operands do not fit");
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), dims));
  // Indices count in the tensor that was pooled; a larger output keeps their coordinates.
  Dims from = stridesOf(*natural), to = stridesOf(dims);
  for (int64_t i = 0; i < x.size(); ++i) {
    int64_t rest = at.intAt(i), target = 0;
    if (rest < 0 || rest >= *elementCount(*natural))
      return invalid(ctx, "index out of range");
    for (size_t a = 0; a < from.size(); ++a) {
      target += rest / from[a] * to[a];
      rest %= from[a];
    }
    if (target < 0 || target >= y.size())
      return invalid(ctx, "index out of range");
    copyElement(x, i, y, target);
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferMaxUnpool(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (ctx.hasOperand(2)) {
    if (ctx.isRanked(0) && ctx.isRanked(2) && ctx.rank(2) == 1)
      ctx.requireEqual(ctx.shape(2)[0], ctx.constantDim(ctx.rank(0)), "output_shape needs one size for each dimension");
    if (const SymTensor *v = ctx.value(2))
      return ctx.setTensor(0, e, v->elements);
    if (!ctx.isRanked(0))
      return ctx.setUnranked(0, e);
    llvm::SmallVector<Dim, 5> d;
    for (size_t i = 0; i < ctx.rank(0); ++i)
      d.push_back(ctx.freshDim());
    return ctx.setTensor(0, e, d);
  }
  std::vector<int64_t> k = ctx.getInts("kernel_shape"), s = ctx.getInts("strides"), p = ctx.getInts("pads");
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, e);
  size_t n = ctx.rank(0) - 2;
  if (ctx.rank(0) < 3 || k.size() != n)
    return ctx.fail("kernel_shape does not match the rank");
  if ((!s.empty() && s.size() != n) || (!p.empty() && p.size() != 2 * n))
    return ctx.fail("strides or pads do not match the rank");
  s.resize(n, 1);
  p.resize(2 * n, 0);
  DimContext &d = ctx.dims();
  llvm::SmallVector<Dim, 5> out{ctx.shape(0)[0], ctx.shape(0)[1]};
  for (size_t i = 0; i < n; ++i)
    out.push_back(
        d.add(d.mul(d.sub(ctx.shape(0)[i + 2], d.constant(1)), d.constant(s[i])), d.constant(k[i] - p[i] - p[i + n])));
  ctx.setTensor(0, e, out);
}
ONNXOPT_DEFINE_OP(MaxUnpool) { op.since(9, {.infer = inferMaxUnpool, .eval = evalMaxUnpool}).ranks({{2, 1}}); }
