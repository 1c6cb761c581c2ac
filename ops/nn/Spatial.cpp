// Sampling on grids, patches, deformable convolution, cropping.
#include "onnxopt/ops/nn/Window.h"

#include <cmath>
#include <complex>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

// GridSample

namespace {

double unnormalize(double x, int64_t size, bool corners) {
  return corners ? (x + 1) / 2 * double(size - 1) : ((x + 1) * double(size) - 1) / 2;
}

double reflect(double x, double lo, double hi) {
  double span = hi - lo;
  if (span <= 0)
    return 0;
  double d = std::fmod(std::fabs(x - lo), 2 * span);
  return lo + (d > span ? 2 * span - d : d);
}

/// Finds elements of a plane at whole coordinates, by the padding mode.
struct GridReader {
  llvm::ArrayRef<int64_t> dims;
  int mode; // 0 zeros, 1 border, 2 reflection
  bool corners;
  /// The element's place in the plane; -1 for the zero outside.
  int64_t place(llvm::ArrayRef<int64_t> index) const {
    int64_t offset = 0;
    for (size_t a = 0; a < dims.size(); ++a) {
      int64_t i = index[a], n = dims[a];
      if (mode == 1)
        i = std::clamp<int64_t>(i, 0, n - 1);
      else if (mode == 2)
        i = std::clamp<int64_t>(
            int64_t(std::nearbyint(reflect(double(i), corners ? 0 : -0.5, corners ? double(n - 1) : double(n) - 0.5))),
            0, n - 1);
      else if (i < 0 || i >= n)
        return -1;
      offset = offset * n + i;
    }
    return offset;
  }
};

void cubicWeights(double t, double w[4]) {
  const double a = -0.75;
  auto near = [&](double d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
  auto far = [&](double d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
  w[0] = far(t + 1);
  w[1] = near(t);
  w[2] = near(1 - t);
  w[3] = far(2 - t);
}

} // namespace

static absl::Status evalGridSample(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  Tensor grid = toDouble(ctx.in(1));
  if (x.rank() < 3 || grid.rank() != x.rank() || grid.dim(grid.rank() - 1) != int64_t(x.rank()) - 2 ||
      grid.dim(0) != x.dim(0))
    return invalid(ctx, "input and grid do not fit");
  size_t n = x.rank() - 2;
  std::string mode = ctx.getString("mode", "linear"), padding = ctx.getString("padding_mode", "zeros");
  bool nearest = mode == "nearest", cubic = mode == "bicubic" || mode == "cubic", corners = ctx.getInt("align_corners");
  int pad = padding == "zeros" ? 0 : padding == "border" ? 1 : 2;
  Dims out{x.dim(0), x.dim(1)};
  int64_t points = 1, plane = 1;
  for (size_t i = 0; i < n; ++i) {
    out.push_back(grid.dim(i + 1));
    points *= grid.dim(i + 1);
    plane *= x.dim(i + 2);
  }
  if (plane == 0 && points != 0)
    return invalid(ctx, "an empty input cannot be sampled");
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), out));
  const GridReader reader{x.dims().drop_front(2), pad, corners};
  llvm::SmallVector<double, 3> at(n);
  llvm::SmallVector<int64_t, 3> base(n), index(n);
  /// Where point `p` of batch element `b` lies: `at`, and `base` below it.
  auto locate = [&](int64_t b, int64_t p) {
    const double *g = grid.data<double>() + (b * points + p) * int64_t(n);
    for (size_t a = 0; a < n; ++a) {
      int64_t size = x.dim(a + 2);
      double v = unnormalize(g[n - 1 - a], size, corners); // x comes first, and is the last axis
      if (!cubic && pad == 1)
        v = std::clamp(v, 0.0, double(size - 1));
      if (!cubic && pad == 2)
        v = reflect(v, corners ? 0 : -0.5, corners ? double(size - 1) : double(size) - 0.5);
      at[a] = nearest ? std::nearbyint(v) : v;
      base[a] = saturateTo<int32_t>(std::floor(at[a]));
    }
  };
  if (nearest) { // elements of any type
    for (int64_t b = 0; b < x.dim(0); ++b)
      for (int64_t p = 0; p < points; ++p) {
        locate(b, p);
        if (int64_t from = reader.place(base); from >= 0)
          for (int64_t c = 0; c < x.dim(1); ++c)
            copyElement(x, (b * x.dim(1) + c) * plane + from, y, (b * x.dim(1) + c) * points + p);
      }
    ctx.set(0, std::move(y));
    return absl::OkStatus();
  }
  if (!dispatchNumeric(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        const int taps = cubic ? 4 : 2;
        int64_t total = 1;
        for (size_t a = 0; a < n; ++a)
          total *= taps;
        for (int64_t b = 0; b < x.dim(0); ++b)
          for (int64_t p = 0; p < points; ++p) {
            locate(b, p);
            for (int64_t c = 0; c < x.dim(1); ++c) {
              const T *elements = x.template data<T>() + (b * x.dim(1) + c) * plane;
              double v = 0;
              for (int64_t k = 0; k < total; ++k) {
                double w = 1;
                int64_t rest = k;
                for (size_t a = 0; a < n; ++a) {
                  int64_t tap = rest % taps;
                  rest /= taps;
                  double frac = at[a] - double(base[a]);
                  if (cubic) {
                    double cw[4];
                    cubicWeights(frac, cw);
                    w *= cw[tap];
                    index[a] = base[a] + tap - 1;
                  } else {
                    w *= tap ? frac : 1 - frac;
                    index[a] = base[a] + tap;
                  }
                }
                if (int64_t from = reader.place(index); w != 0 && from >= 0)
                  v += w * double(elements[from]);
              }
              y.template mutableData<T>()[(b * x.dim(1) + c) * points + p] = saturateTo<T>(v);
            }
          }
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferGridSample(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (!ctx.isRanked(0) || !ctx.isRanked(1))
    return ctx.setUnranked(0, e);
  if (ctx.rank(0) != ctx.rank(1) || ctx.rank(0) < 3)
    return ctx.fail("input and grid must have one rank of at least 3, they have " + std::to_string(ctx.rank(0)) +
                    " and " + std::to_string(ctx.rank(1)));
  ctx.requireEqual(ctx.shape(1)[ctx.rank(1) - 1], ctx.constantDim(int64_t(ctx.rank(0)) - 2),
                   "the grid must end in one coordinate for each spatial dimension");
  ctx.requireEqual(ctx.shape(0)[0], ctx.shape(1)[0], "input and grid differ in their batch");
  llvm::SmallVector<Dim, 5> out{ctx.shape(0)[0], ctx.shape(0)[1]};
  for (size_t i = 1; i + 1 < ctx.rank(1); ++i)
    out.push_back(ctx.shape(1)[i]);
  ctx.setTensor(0, e, out);
}
ONNXOPT_DEFINE_OP(GridSample) { op.since(16, {.infer = inferGridSample, .eval = evalGridSample}); }

// AffineGrid

static absl::Status evalAffineGrid(EvalContext &ctx) {
  const Tensor &theta = ctx.in(0);
  auto size = ctx.in(1).ints();
  bool corners = ctx.getInt("align_corners");
  int64_t n = int64_t(size.size()) - 2;
  if (n < 2 || n > 3 || theta.rank() != 3 || theta.dim(0) != size[0] || theta.dim(1) != n || theta.dim(2) != n + 1)
    return invalid(ctx, "theta and size do not fit");
  Dims dims{size[0]};
  dims.append(size.begin() + 2, size.end());
  dims.push_back(n);
  ONNXOPT_ASSIGN(y, ctx.allocate(theta.type(), dims));
  const int64_t points = size[0] ? y.size() / (size[0] * n) : 0;
  if (!dispatchFloat(theta.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        for (int64_t b = 0; b < size[0]; ++b)
          for (int64_t p = 0; p < points; ++p) {
            T at[4];
            int64_t rest = p;
            for (int64_t a = n; a-- > 0;) {
              int64_t s = size[a + 2], i = rest % s;
              rest /= s;
              at[n - 1 - a] = corners ? (s > 1 ? T(-1) + T(2) * T(i) / T(s - 1) : T(0)) : (T(2) * T(i) + 1) / T(s) - 1;
            }
            at[n] = 1;
            for (int64_t r = 0; r < n; ++r) {
              T v = 0;
              for (int64_t k = 0; k <= n; ++k)
                v += theta.template data<T>()[(b * n + r) * (n + 1) + k] * at[k];
              y.template mutableData<T>()[(b * points + p) * n + r] = v;
            }
          }
      }))
    return unsupportedType(ctx, theta.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferAffineGrid(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  const SymTensor *v = ctx.value(1);
  llvm::SmallVector<Dim, 5> out;
  if (ctx.isRanked(1) && ctx.rank(1) == 1)
    if (Dim n = ctx.shape(1)[0]; n && n.isConstant() && n.constant() != 4 && n.constant() != 5)
      return ctx.fail("size has " + std::to_string(n.constant()) + " elements, 4 (2D) or 5 (3D) are needed");
  if (v && v->elements.size() >= 4) {
    out.push_back(v->elements[0]);
    for (size_t i = 2; i < v->elements.size(); ++i)
      out.push_back(v->elements[i]);
    out.push_back(ctx.constantDim(int64_t(v->elements.size()) - 2));
  } else if (ctx.isRanked(1) && ctx.rank(1) == 1 && ctx.shape(1)[0].isConstant() && ctx.shape(1)[0].constant() >= 4 &&
             ctx.shape(1)[0].constant() <= 5) {
    int64_t n = ctx.shape(1)[0].constant() - 2;
    out.push_back(ctx.isRanked(0) && ctx.rank(0) == 3 ? ctx.shape(0)[0] : ctx.freshDim());
    for (int64_t i = 0; i < n; ++i)
      out.push_back(ctx.freshDim());
    out.push_back(ctx.constantDim(n));
  } else {
    return ctx.setUnranked(0, e);
  }
  for (Dim &d : out)
    if (!d)
      d = ctx.freshDim();
  ctx.setTensor(0, e, out);
}
ONNXOPT_DEFINE_OP(AffineGrid) {
  op.since(20, {.infer = inferAffineGrid, .eval = evalAffineGrid}).ranks({{0, 3}, {1, 1}});
}

// Col2Im

static absl::Status evalCol2Im(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  auto image = ctx.in(1).ints(), block = ctx.in(2).ints();
  size_t n = image.size();
  auto positive = [](int64_t v) { return v > 0; };
  if (block.size() != n || x.rank() != 3 || !llvm::all_of(image, positive) || !llvm::all_of(block, positive))
    return invalid(ctx, "needs rank 3, and as many positive block sizes as image sizes");
  auto ints = [&](llvm::StringRef name, int64_t fill, size_t count) {
    std::vector<int64_t> v = ctx.getInts(name);
    v.resize(count, fill);
    return v;
  };
  std::vector<int64_t> strides = ints("strides", 1, n), dilations = ints("dilations", 1, n),
                       pads = ints("pads", 0, 2 * n);
  if (!llvm::all_of(strides, positive) || !llvm::all_of(dilations, positive) || !elementCount(image) ||
      !elementCount(block))
    return invalid(ctx, "strides, dilations or sizes are out of range");
  int64_t taps = 1, plane = 1, windows = 1;
  Dims counts;
  for (size_t i = 0; i < n; ++i) {
    taps *= block[i];
    plane *= image[i];
    counts.push_back((image[i] + pads[i] + pads[i + n] - dilations[i] * (block[i] - 1) - 1) / strides[i] + 1);
    if (counts.back() <= 0 || __builtin_mul_overflow(windows, counts.back(), &windows))
      return invalid(ctx, "the blocks do not fit into the image");
  }
  if (x.dim(1) % taps || x.dim(2) != windows)
    return invalid(ctx, "operands do not fit");
  int64_t channels = x.dim(1) / taps;
  Dims dims{x.dim(0), channels};
  dims.append(image.begin(), image.end());
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), dims));
  auto add = [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (int64_t b = 0; b < x.dim(0) * channels; ++b)
      for (int64_t t = 0; t < taps; ++t)
        for (int64_t w = 0; w < windows; ++w) {
          int64_t rt = t, rw = w, at = 0, scale = 1;
          bool inside = true;
          for (size_t a = n; a-- > 0;) {
            int64_t k = rt % block[a], o = rw % counts[a];
            rt /= block[a];
            rw /= counts[a];
            int64_t i = o * strides[a] - pads[a] + k * dilations[a];
            inside &= i >= 0 && i < image[a];
            at += i * scale;
            scale *= image[a];
          }
          if (inside)
            y.template mutableData<T>()[b * plane + at] += x.template data<T>()[(b * taps + t) * windows + w];
        }
  };
  if (x.type() == ElementType::Complex64)
    add(TypeTag<std::complex<float>>());
  else if (x.type() == ElementType::Complex128)
    add(TypeTag<std::complex<double>>());
  else if (!dispatchNumeric(x.type(), add))
    return unsupportedType(ctx, x.type()); // nobody says what bools or strings add up to
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferCol2Im(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  const SymTensor *image = ctx.value(1), *block = ctx.value(2);
  // image_shape, block_shape, strides, dilations and pads speak of the same dimensions.
  std::optional<size_t> spatial;
  for (unsigned i : {1, 2})
    if (ctx.isRanked(i) && ctx.rank(i) == 1 && ctx.shape(i)[0].isConstant()) {
      size_t n = ctx.shape(i)[0].constant();
      if (spatial && *spatial != n)
        return ctx.fail("image_shape has " + std::to_string(*spatial) + " elements, block_shape " + std::to_string(n));
      spatial = n;
    }
  for (auto [name, times] : {std::pair("strides", 1), {"dilations", 1}, {"pads", 2}})
    if (size_t n = ctx.getInts(name).size(); spatial && n && n != times * *spatial)
      return ctx.fail("attribute '" + std::string(name) + "' has " + std::to_string(n) + " elements for " +
                      std::to_string(*spatial) + " dimensions");
  Dim batch = ctx.isRanked(0) && ctx.rank(0) == 3 ? ctx.shape(0)[0] : ctx.freshDim(), channels;
  if (block && ctx.isRanked(0) && ctx.rank(0) == 3)
    channels = ctx.dims().floorDiv(ctx.shape(0)[1], product(ctx.dims(), block->elements));
  llvm::SmallVector<Dim, 5> out{batch, channels ? channels : ctx.freshDim()};
  if (image)
    for (Dim d : image->elements)
      out.push_back(d ? d : ctx.freshDim());
  else if (ctx.isRanked(1) && ctx.rank(1) == 1 && ctx.shape(1)[0].isConstant() && ctx.shape(1)[0].constant() < 8)
    for (int64_t i = 0; i < ctx.shape(1)[0].constant(); ++i)
      out.push_back(ctx.freshDim());
  else
    return ctx.setUnranked(0, e);
  ctx.setTensor(0, e, out);
}
ONNXOPT_DEFINE_OP(Col2Im) { op.since(18, {.infer = inferCol2Im, .eval = evalCol2Im}).ranks({{0, 3}, {1, 1}, {2, 1}}); }

// DeformConv: bilinear samples at offset taps, two spatial dimensions

static absl::Status evalDeformConv(EvalContext &ctx) {
  const Tensor &x = ctx.in(0), &w = ctx.in(1), &offset = ctx.in(2);
  int64_t groups = ctx.getInt("group", 1), og = ctx.getInt("offset_group", 1);
  if (x.rank() != 4 || w.rank() != 4 || groups <= 0 || og <= 0 || x.dim(1) != w.dim(1) * groups || w.dim(0) % groups ||
      x.dim(1) % og)
    return invalid(ctx, "only two spatial dimensions with fitting channels");
  std::string why;
  auto win = nn::resolve(ctx, x.dims().drop_front(2), w.dims().drop_front(2), why);
  if (!win)
    return invalid(ctx, why);
  int64_t C = x.dim(1), H = x.dim(2), W = x.dim(3), KH = win->kernel[0], KW = win->kernel[1], OH = win->output[0],
          OW = win->output[1];
  if (offset.size() != x.dim(0) * og * KH * KW * 2 * OH * OW)
    return invalid(ctx, "the offset does not fit");
  if (ctx.has(3) && ctx.in(3).size() != w.dim(0))
    return invalid(ctx, "the bias does not match the output channels");
  if (ctx.has(4) && ctx.in(4).size() != x.dim(0) * og * KH * KW * OH * OW)
    return invalid(ctx, "the mask does not fit");
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), {x.dim(0), w.dim(0), OH, OW}));
  if (!dispatchFloat(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        auto sample = [&](int64_t b, int64_t c, double py, double px) -> double {
          if (std::isnan(py) || std::isnan(px))
            return py + px;
          if (py <= -1 || py >= double(H) || px <= -1 || px >= double(W))
            return 0;
          int64_t y0 = int64_t(std::floor(py)), x0 = int64_t(std::floor(px));
          double fy = py - double(y0), fx = px - double(x0), v = 0;
          for (int64_t dy = 0; dy < 2; ++dy)
            for (int64_t dx = 0; dx < 2; ++dx) {
              int64_t yy = y0 + dy, xx = x0 + dx;
              if (yy >= 0 && yy < H && xx >= 0 && xx < W)
                v += (dy ? fy : 1 - fy) * (dx ? fx : 1 - fx) * x.template data<T>()[((b * C + c) * H + yy) * W + xx];
            }
          return v;
        };
        int64_t perGroup = w.dim(0) / groups;
        for (int64_t b = 0; b < x.dim(0); ++b)
          for (int64_t m = 0; m < w.dim(0); ++m)
            for (int64_t oy = 0; oy < OH; ++oy)
              for (int64_t ox = 0; ox < OW; ++ox) {
                double acc = ctx.has(3) ? ctx.in(3).template data<T>()[m] : 0;
                for (int64_t ci = 0; ci < w.dim(1); ++ci) {
                  int64_t c = m / perGroup * w.dim(1) + ci, g = c / (C / og);
                  for (int64_t ky = 0; ky < KH; ++ky)
                    for (int64_t kx = 0; kx < KW; ++kx) {
                      int64_t k = ky * KW + kx;
                      auto off = [&](int64_t which) {
                        return offset.floatAt((((b * og + g) * KH * KW + k) * 2 + which) * OH * OW + oy * OW + ox);
                      };
                      double py = double(oy * win->strides[0] - win->padBegin[0] + ky * win->dilations[0]) + off(0);
                      double px = double(ox * win->strides[1] - win->padBegin[1] + kx * win->dilations[1]) + off(1);
                      double mask =
                          ctx.has(4) ? ctx.in(4).floatAt(((b * og + g) * KH * KW + k) * OH * OW + oy * OW + ox) : 1;
                      acc += mask * sample(b, c, py, px) * w.template data<T>()[(m * w.dim(1) + ci) * KH * KW + k];
                    }
                }
                y.template mutableData<T>()[((b * w.dim(0) + m) * OH + oy) * OW + ox] = T(acc);
              }
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferDeformConv(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (!ctx.isRanked(0) || !ctx.isRanked(1))
    return ctx.setUnranked(0, e);
  if (ctx.rank(0) < 3 || ctx.rank(1) != ctx.rank(0))
    return ctx.fail("input and weights must have one rank of at least 3, they have " + std::to_string(ctx.rank(0)) +
                    " and " + std::to_string(ctx.rank(1)));
  llvm::ArrayRef<Dim> kernel = ctx.shape(1).drop_front(2);
  if (!nn::checkKernelShape(ctx, kernel))
    return;
  llvm::SmallVector<Dim, 5> out{ctx.shape(0)[0], ctx.shape(1)[0]};
  llvm::SmallVector<Dim, 4> spatial;
  if (!nn::inferOutput(ctx, ctx.shape(0).drop_front(2), kernel, spatial))
    return;
  out.append(spatial.begin(), spatial.end());
  ctx.setTensor(0, e, out);
}
ONNXOPT_DEFINE_OP(DeformConv) { op.since(19, {.infer = inferDeformConv, .eval = evalDeformConv}); }

// CenterCropPad

static absl::Status evalCenterCropPad(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  auto shape = ctx.in(1).ints();
  std::vector<int64_t> axes = ctx.getInts("axes");
  if (!ctx.hasAttribute("axes"))
    for (size_t i = 0; i < x.rank(); ++i)
      axes.push_back(int64_t(i));
  if (axes.size() != shape.size())
    return invalid(ctx, "axes and shape differ in length");
  Dims dims(x.dims().begin(), x.dims().end()), from(x.rank(), 0), to(x.rank(), 0), count(dims);
  for (size_t i = 0; i < axes.size(); ++i) {
    if (!axisInRange(axes[i], x.rank()) || shape[i] < 0)
      return invalid(ctx, "axis out of range");
    int64_t a = normalizeAxis(axes[i], x.rank()), n = x.dim(a);
    dims[a] = shape[i];
    if (shape[i] < n)
      from[a] = (n - shape[i]) / 2;
    else
      to[a] = (shape[i] - n) / 2;
    count[a] = std::min(n, shape[i]);
  }
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), dims));
  Dims sx = stridesOf(x.dims()), sy = stridesOf(dims), index(x.rank(), 0);
  int64_t total = elementCount(count).value_or(0);
  for (int64_t i = 0; i < total; ++i) {
    int64_t p = 0, q = 0;
    for (size_t a = 0; a < x.rank(); ++a) {
      p += (index[a] + from[a]) * sx[a];
      q += (index[a] + to[a]) * sy[a];
    }
    copyElement(x, p, y, q);
    nextIndex(index, count);
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferCenterCropPad(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, e);
  std::vector<int64_t> axes = ctx.getInts("axes");
  if (!ctx.hasAttribute("axes"))
    for (size_t i = 0; i < ctx.rank(0); ++i)
      axes.push_back(int64_t(i));
  llvm::SmallVector<Dim, 4> out(ctx.shape(0).begin(), ctx.shape(0).end());
  const SymTensor *v = ctx.value(1);
  if (v && v->elements.size() != axes.size())
    return ctx.fail(std::to_string(v->elements.size()) + " sizes for " + std::to_string(axes.size()) + " axes");
  for (size_t i = 0; i < axes.size(); ++i)
    if (auto a = normalizeAxis(ctx, axes[i], ctx.rank(0)))
      out[*a] = v && v->elements[i] ? v->elements[i] : ctx.freshDim();
  ctx.setTensor(0, e, out);
}
ONNXOPT_DEFINE_OP(CenterCropPad) {
  op.since(18, {.infer = inferCenterCropPad, .eval = evalCenterCropPad, .storage = Storage::Movement});
}
