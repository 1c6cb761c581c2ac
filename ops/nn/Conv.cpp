// Convolutions.
#include "onnxopt/ops/nn/Window.h"
#include "onnxopt/ops/support/FastMath.h"

#include <cmath>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

namespace {

/// Plain convolution; `A` accumulates. Zero points are taken off first.
template <typename X, typename W, typename A, typename Y>
void convolve(const Tensor &x, const Tensor &w, const A *bias, const nn::Windows &win, int64_t groups, A zeroX,
              llvm::ArrayRef<A> zeroW, Tensor &y) {
  size_t n = win.kernel.size();
  int64_t channels = w.dim(1), perGroup = w.dim(0) / groups;
  int64_t inPlane = 1, outPlane = 1, taps = 1;
  for (size_t i = 0; i < n; ++i) {
    inPlane *= x.dim(i + 2);
    outPlane *= win.output[i];
    taps *= win.kernel[i];
  }
  const X *px = x.data<X>();
  const W *pw = w.data<W>();
  Y *py = y.mutableData<Y>();
  Dims inStrides = stridesOf(x.dims().drop_front(2));
  // Offsets and validity of each tap for each output position are shared by all channels.
  std::vector<int64_t> offsets(taps);
  Dims at(n, 0);
  for (int64_t o = 0; o < outPlane; ++o) {
    Dims k(n, 0);
    for (int64_t t = 0; t < taps; ++t) {
      int64_t off = 0;
      for (size_t i = 0; i < n; ++i) {
        int64_t p = at[i] * win.strides[i] - win.padBegin[i] + k[i] * win.dilations[i];
        if (p < 0 || p >= x.dim(i + 2)) {
          off = -1;
          break;
        }
        off += p * inStrides[i];
      }
      offsets[t] = off;
      nextIndex(k, win.kernel);
    }
    for (int64_t b = 0; b < x.dim(0); ++b)
      for (int64_t m = 0; m < w.dim(0); ++m) {
        A acc = bias ? bias[m] : A(0);
        A zw = zeroW.empty() ? A(0) : zeroW.size() == 1 ? zeroW[0] : zeroW[m];
        for (int64_t c = 0; c < channels; ++c) {
          const X *in = px + (b * x.dim(1) + m / perGroup * channels + c) * inPlane;
          const W *weight = pw + (m * channels + c) * taps;
          for (int64_t t = 0; t < taps; ++t)
            if (offsets[t] >= 0)
              acc = wrappingAdd<A>(acc, wrappingMul<A>(A(in[offsets[t]]) - zeroX, A(weight[t]) - zw));
        }
        py[(b * w.dim(0) + m) * outPlane + o] = Y(acc);
      }
    nextIndex(at, win.output);
  }
}

absl::StatusOr<nn::Windows> convWindows(EvalContext &ctx, const Tensor &x, const Tensor &w, int64_t groups) {
  if (x.rank() < 3 || w.rank() != x.rank() || groups <= 0 || w.dim(0) % groups || x.dim(1) != w.dim(1) * groups)
    return invalid(ctx, "input and weight do not fit");
  std::vector<int64_t> kernel = ctx.getInts("kernel_shape");
  if (!kernel.empty() && llvm::ArrayRef<int64_t>(kernel) != w.dims().drop_front(2))
    return invalid(ctx, "kernel_shape differs from the weight's sizes");
  std::string why;
  auto win = nn::resolve(ctx, x.dims().drop_front(2), w.dims().drop_front(2), why);
  if (!win)
    return invalid(ctx, why);
  unsigned bias = ctx.node().is("QLinearConv") ? 8 : 2;
  if (!ctx.node().is("ConvInteger") && ctx.has(bias) && ctx.in(bias).size() != w.dim(0))
    return invalid(ctx, "the bias does not match the output channels");
  return *win;
}

Dims convDims(const Tensor &x, const Tensor &w, const nn::Windows &win) {
  Dims d{x.dim(0), w.dim(0)};
  d.append(win.output.begin(), win.output.end());
  return d;
}

void inferConvFrom(InferContext &ctx, unsigned xi, unsigned wi, ElementType e) {
  if (!ctx.isRanked(xi)) {
    if (ctx.isRanked(wi) && ctx.rank(wi) >= 3) {
      llvm::SmallVector<Dim, 5> d(1, ctx.freshDim());
      d.push_back(ctx.shape(wi)[0]);
      while (d.size() < ctx.rank(wi))
        d.push_back(ctx.freshDim());
      return ctx.setTensor(0, e, d);
    }
    return ctx.setUnranked(0, e);
  }
  size_t rank = ctx.rank(xi);
  if (rank < 3)
    return ctx.fail("the input has rank " + std::to_string(rank) + ", at least 3 is needed");
  int64_t groups = ctx.getInt("group", 1);
  llvm::SmallVector<Dim, 4> kernel;
  for (int64_t k : ctx.getInts("kernel_shape"))
    kernel.push_back(ctx.constantDim(k));
  Dim out;
  if (ctx.isRanked(wi)) {
    llvm::ArrayRef<Dim> w = ctx.shape(wi);
    if (w.size() != rank)
      return ctx.fail("the weight has rank " + std::to_string(w.size()) + ", the input " + std::to_string(rank));
    out = w[0];
    if (w[1] && ctx.shape(xi)[1])
      ctx.requireEqual(ctx.shape(xi)[1], ctx.dims().mul(w[1], ctx.constantDim(groups)),
                       "channels of input and weight differ");
    if (out.isConstant() && groups > 0 && out.constant() % groups)
      ctx.fail("group does not divide the number of output channels");
    llvm::ArrayRef<Dim> fromWeight = w.drop_front(2);
    if (!nn::checkKernelShape(ctx, fromWeight))
      return;
    if (kernel.empty())
      kernel.assign(fromWeight.begin(), fromWeight.end());
  }
  llvm::SmallVector<Dim, 5> dims{ctx.shape(xi)[0], out ? out : ctx.freshDim()};
  llvm::SmallVector<Dim, 4> spatial;
  if (!nn::inferOutput(ctx, ctx.shape(xi).drop_front(2), kernel, spatial))
    return;
  dims.append(spatial.begin(), spatial.end());
  ctx.setTensor(0, e, dims);
}

} // namespace

static absl::Status evalConv(EvalContext &ctx) {
  const Tensor &x = ctx.in(0), &w = ctx.in(1);
  int64_t groups = ctx.getInt("group", 1);
  auto win = convWindows(ctx, x, w, groups);
  if (!win.ok())
    return win.status();
  Dims dims = convDims(x, w, *win);
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), dims));
  if (x.type() == ElementType::Float) {
    const float *bias = ctx.has(2) ? ctx.in(2).data<float>() : nullptr;
    fastmath::ConvShape s{Dims(x.dims().begin(), x.dims().end()),
                          Dims(w.dims().begin(), w.dims().end()),
                          dims,
                          win->strides,
                          win->dilations,
                          win->padBegin,
                          win->padEnd,
                          groups};
    if (!fastmath::conv(s, x.data<float>(), w.data<float>(), bias, y.mutableData<float>()))
      convolve<float, float, float, float>(x, w, bias, *win, groups, 0, {}, y);
  } else if (x.type() == ElementType::Double) {
    convolve<double, double, double, double>(x, w, ctx.has(2) ? ctx.in(2).data<double>() : nullptr, *win, groups, 0, {},
                                             y);
  } else {
    return unsupportedType(ctx, x.type());
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferConv(InferContext &ctx) { inferConvFrom(ctx, 0, 1, elementOr(ctx, 0)); }
ONNXOPT_DEFINE_OP(Conv) { op.since(1, {.infer = inferConv, .eval = evalConv}); }

// onnxruntime's Conv with an activation, and a sum before it
ONNXOPT_DEFINE_MS_OP(FusedConv) { op.since(1, {.infer = inferConv}); }

// ConvInteger, QLinearConv

static Tensor widen(const Tensor &t) {
  Tensor out(ElementType::Int32, t.dims());
  for (int64_t i = 0; i < t.size(); ++i)
    out.mutableData<int32_t>()[i] = int32_t(t.intAt(i));
  return out;
}
static absl::Status evalConvInteger(EvalContext &ctx) {
  Tensor x = widen(ctx.in(0)), w = widen(ctx.in(1));
  int64_t groups = ctx.getInt("group", 1);
  auto win = convWindows(ctx, x, w, groups);
  if (!win.ok())
    return win.status();
  int32_t zx = ctx.has(2) ? int32_t(ctx.in(2).intAt(0)) : 0;
  llvm::SmallVector<int32_t, 8> zw;
  if (ctx.has(3) && ctx.in(3).size() != 1 && ctx.in(3).size() != w.dim(0))
    return invalid(ctx, "w_zero_point needs one element, or one for each output channel");
  if (ctx.has(3))
    for (int64_t v : ctx.in(3).ints())
      zw.push_back(int32_t(v));
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Int32, convDims(x, w, *win)));
  convolve<int32_t, int32_t, int32_t, int32_t>(x, w, nullptr, *win, groups, zx, zw, y);
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferConvInteger(InferContext &ctx) { inferConvFrom(ctx, 0, 1, ElementType::Int32); }
ONNXOPT_DEFINE_OP(ConvInteger) { op.since(10, {.infer = inferConvInteger, .eval = evalConvInteger}).single({2}); }

static absl::Status evalQLinearConv(EvalContext &ctx) {
  Tensor x = widen(ctx.in(0)), w = widen(ctx.in(3));
  int64_t groups = ctx.getInt("group", 1);
  auto win = convWindows(ctx, x, w, groups);
  if (!win.ok())
    return win.status();
  for (unsigned i : {4u, 5u})
    if (ctx.in(i).size() != 1 && ctx.in(i).size() != w.dim(0))
      return invalid(ctx, "w_scale and w_zero_point need one element, or one for each output channel");
  llvm::SmallVector<int32_t, 8> zw;
  for (int64_t v : ctx.in(5).ints())
    zw.push_back(int32_t(v));
  ONNXOPT_ASSIGN(acc, ctx.allocate(ElementType::Int32, convDims(x, w, *win)));
  convolve<int32_t, int32_t, int32_t, int32_t>(x, w, ctx.has(8) ? ctx.in(8).data<int32_t>() : nullptr, *win, groups,
                                               int32_t(ctx.in(2).intAt(0)), zw, acc);
  const Tensor &ws = ctx.in(4);
  double xs = ctx.in(1).floatAt(0), ys = ctx.in(6).floatAt(0);
  ElementType type = ctx.in(7).type();
  int64_t yz = ctx.in(7).intAt(0), lo = type == ElementType::Int8 ? -128 : 0,
          hi = type == ElementType::Int8 ? 127 : 255;
  ONNXOPT_ASSIGN(y, ctx.allocate(type, acc.dims()));
  int64_t plane = 1;
  for (int64_t d : win->output)
    plane *= d;
  for (int64_t i = 0; i < acc.size(); ++i) {
    int64_t m = plane ? i / plane % w.dim(0) : 0;
    double scale = xs * ws.floatAt(ws.size() == 1 ? 0 : m) / ys;
    double v = std::nearbyint(acc.data<int32_t>()[i] * scale) + double(yz);
    y.mutableData<uint8_t>()[i] = uint8_t(saturateTo<int>(std::clamp<double>(v, lo, hi)));
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferQLinearConv(InferContext &ctx) { inferConvFrom(ctx, 0, 3, elementOr(ctx, 7)); }
ONNXOPT_DEFINE_OP(QLinearConv) {
  op.since(10, {.infer = inferQLinearConv, .eval = evalQLinearConv}).single({1, 2, 6, 7});
}

/// Channels come last where attribute channels_last says so; the sizes between are left open then.
static void inferMicrosoftQLinearConv(InferContext &ctx) {
  if (!ctx.getInt("channels_last", 0))
    return inferQLinearConv(ctx);
  const ElementType e = elementOr(ctx, 7);
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, e);
  llvm::SmallVector<Dim, 5> out;
  for (size_t i = 0; i < ctx.rank(0); ++i)
    out.push_back(i == 0 ? ctx.shape(0)[0] : ctx.freshDim());
  if (!out.empty() && ctx.isRanked(3) && ctx.rank(3))
    out.back() = ctx.shape(3)[0];
  ctx.setTensor(0, e, out);
}
ONNXOPT_DEFINE_MS_OP(QLinearConv) { op.since(1, {.infer = inferMicrosoftQLinearConv}).single({1, 2, 6, 7}); }

// ConvTranspose

/// output_shape is absent, of the spatial dimensions, or, as some exporters write it, of all.
static bool isOutputShape(llvm::ArrayRef<int64_t> sizes, size_t spatial) {
  return sizes.empty() || sizes.size() == spatial || sizes.size() == spatial + 2;
}

static absl::Status evalConvTranspose(EvalContext &ctx) {
  const Tensor &x = ctx.in(0), &w = ctx.in(1);
  int64_t groups = ctx.getInt("group", 1);
  if (x.rank() < 3 || w.rank() != x.rank() || groups <= 0 || x.dim(1) % groups || w.dim(0) != x.dim(1))
    return invalid(ctx, "input and weight do not fit");
  if (ctx.has(2) && ctx.in(2).size() != w.dim(1) * groups)
    return invalid(ctx, "the bias does not match the output channels");
  size_t n = x.rank() - 2;
  auto ints = [&](llvm::StringRef name, int64_t fill) {
    std::vector<int64_t> v = ctx.getInts(name);
    return v.empty() ? Dims(n, fill) : Dims(v.begin(), v.end());
  };
  Dims strides = ints("strides", 1), dilations = ints("dilations", 1), extra = ints("output_padding", 0);
  std::vector<int64_t> padsAttr = ctx.getInts("pads"), wanted = ctx.getInts("output_shape");
  Dims pads = padsAttr.empty() ? Dims(2 * n, 0) : Dims(padsAttr.begin(), padsAttr.end());
  if (strides.size() != n || dilations.size() != n || extra.size() != n || pads.size() != 2 * n)
    return invalid(ctx, "attributes do not match the number of spatial dimensions");
  std::vector<int64_t> kernel = ctx.getInts("kernel_shape");
  if (!kernel.empty() && llvm::ArrayRef<int64_t>(kernel) != w.dims().drop_front(2))
    return invalid(ctx, "kernel_shape differs from the weight's sizes");
  auto positive = [](int64_t v) { return v > 0; };
  if (!llvm::all_of(strides, positive) || !llvm::all_of(dilations, positive))
    return invalid(ctx, "strides and dilations must be positive");
  if (!isOutputShape(wanted, n))
    return invalid(ctx, "output_shape does not match the number of spatial dimensions");
  std::string autoPad = ctx.getString("auto_pad", "NOTSET");
  Dims out{x.dim(0), w.dim(1) * groups}, begin(n);
  for (size_t i = 0; i < n; ++i) {
    int64_t full = strides[i] * (x.dim(i + 2) - 1) + extra[i] + (w.dim(i + 2) - 1) * dilations[i] + 1;
    int64_t size;
    if (!wanted.empty() || autoPad.rfind("SAME", 0) == 0) {
      size = !wanted.empty() ? wanted[wanted.size() - n + i] : x.dim(i + 2) * strides[i];
      int64_t total = std::max<int64_t>(0, full - size);
      begin[i] = autoPad == "SAME_UPPER" ? total / 2 : total - total / 2;
    } else {
      begin[i] = autoPad == "VALID" ? 0 : pads[i];
      size = full - (autoPad == "VALID" ? 0 : pads[i] + pads[i + n]);
    }
    if (size < 0)
      return invalid(ctx, "the output size is negative");
    out.push_back(size);
  }
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), out));
  int64_t perGroup = w.dim(1), inPerGroup = x.dim(1) / groups, inPlane = 1, outPlane = 1, taps = 1;
  for (size_t i = 0; i < n; ++i) {
    inPlane *= x.dim(i + 2);
    outPlane *= out[i + 2];
    taps *= w.dim(i + 2);
  }
  Dims outStrides = stridesOf(llvm::ArrayRef<int64_t>(out).drop_front(2));
  if (!dispatchFloat(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        T *py = y.template mutableData<T>();
        if (ctx.has(2))
          for (int64_t b = 0; b < out[0]; ++b)
            for (int64_t m = 0; m < out[1]; ++m)
              std::fill_n(py + (b * out[1] + m) * outPlane, outPlane, ctx.in(2).template data<T>()[m]);
        // Each input element spreads over its taps; positions are worked out once for all channels.
        Dims at(n, 0);
        std::vector<int64_t> target(taps);
        for (int64_t p = 0; p < inPlane; ++p) {
          Dims k(n, 0);
          for (int64_t t = 0; t < taps; ++t) {
            int64_t off = 0;
            for (size_t i = 0; i < n; ++i) {
              int64_t q = at[i] * strides[i] + k[i] * dilations[i] - begin[i];
              if (q < 0 || q >= out[i + 2]) {
                off = -1;
                break;
              }
              off += q * outStrides[i];
            }
            target[t] = off;
            nextIndex(k, w.dims().drop_front(2));
          }
          for (int64_t b = 0; b < x.dim(0); ++b)
            for (int64_t c = 0; c < x.dim(1); ++c) {
              T v = x.template data<T>()[(b * x.dim(1) + c) * inPlane + p];
              for (int64_t m = 0; m < perGroup; ++m) {
                T *o = py + (b * out[1] + c / inPerGroup * perGroup + m) * outPlane;
                const T *weight = w.template data<T>() + (c * perGroup + m) * taps;
                for (int64_t t = 0; t < taps; ++t)
                  if (target[t] >= 0)
                    o[target[t]] += v * weight[t];
              }
            }
          nextIndex(at, x.dims().drop_front(2));
        }
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferConvTranspose(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (!ctx.isRanked(0) || !ctx.isRanked(1))
    return ctx.setUnranked(0, e);
  size_t rank = ctx.rank(0);
  if (rank < 3 || ctx.rank(1) != rank)
    return ctx.fail("input and weight must have the same rank of at least 3");
  size_t n = rank - 2;
  DimContext &d = ctx.dims();
  ctx.requireEqual(ctx.shape(0)[1], ctx.shape(1)[0], "channels of input and weight differ");
  auto ints = [&](llvm::StringRef name, int64_t fill, size_t count) {
    std::vector<int64_t> v = ctx.getInts(name);
    if (v.empty())
      v.assign(count, fill);
    if (v.size() != count)
      ctx.fail((name + " does not match the number of spatial dimensions").str());
    v.resize(count, fill);
    return v;
  };
  std::vector<int64_t> strides = ints("strides", 1, n), dilations = ints("dilations", 1, n),
                       extra = ints("output_padding", 0, n), pads = ints("pads", 0, 2 * n),
                       kernel = ctx.getInts("kernel_shape"), wanted = ctx.getInts("output_shape");
  for (const std::vector<int64_t> *list : {&strides, &dilations})
    if (llvm::any_of(*list, [](int64_t v) { return v <= 0; }))
      return ctx.fail("strides and dilations must be positive");
  if (!isOutputShape(wanted, n))
    return ctx.fail("output_shape does not match the number of spatial dimensions");
  if (!nn::checkKernelShape(ctx, ctx.shape(1).drop_front(2)))
    return;
  std::string autoPad = ctx.getString("auto_pad", "NOTSET");
  llvm::SmallVector<Dim, 5> out{ctx.shape(0)[0], d.mul(ctx.shape(1)[1], d.constant(ctx.getInt("group", 1)))};
  for (size_t i = 0; i < n; ++i) {
    Dim in = ctx.shape(0)[i + 2], k = ctx.shape(1)[i + 2];
    if (kernel.size() == n)
      k = d.constant(kernel[i]);
    Dim size;
    if (!wanted.empty())
      size = d.constant(wanted[wanted.size() - n + i]);
    else if (autoPad.rfind("SAME", 0) == 0)
      size = d.mul(in, d.constant(strides[i]));
    else {
      Dim full = d.add(d.mul(d.sub(in, d.constant(1)), d.constant(strides[i])),
                       d.add(d.constant(extra[i] + 1), d.mul(d.sub(k, d.constant(1)), d.constant(dilations[i]))));
      size = autoPad == "VALID" ? full : d.sub(full, d.constant(pads[i] + pads[i + n]));
    }
    out.push_back(size ? size : ctx.freshDim());
  }
  ctx.setTensor(0, e, out);
}
ONNXOPT_DEFINE_OP(ConvTranspose) { op.since(1, {.infer = inferConvTranspose, .eval = evalConvTranspose}); }
