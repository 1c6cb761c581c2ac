// Resize and Upsample.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

namespace {

/// Sizes and scales of every axis, resolved.
struct Plan {
  Dims out;
  llvm::SmallVector<double, 4> scales;
  llvm::SmallVector<double, 8> roi;
};

double roundHalfUp(double v) { return std::floor(v + 0.5); }

/// Scales or sizes for some axes become those of all. nullopt when lengths do not match.
std::optional<Plan> resolve(const NodeView &node, llvm::ArrayRef<int64_t> dims,
                            std::optional<llvm::SmallVector<double, 8>> scales,
                            std::optional<llvm::SmallVector<int64_t, 8>> sizes) {
  int64_t rank = dims.size();
  std::vector<int64_t> axes = node.getInts("axes");
  if (axes.empty())
    for (int64_t i = 0; i < rank; ++i)
      axes.push_back(i);
  Plan p;
  p.out.assign(dims.begin(), dims.end());
  p.scales.assign(rank, 1);
  if ((scales && scales->size() != axes.size()) || (sizes && sizes->size() != axes.size()) || (!scales && !sizes))
    return std::nullopt;
  std::string policy = node.getString("keep_aspect_ratio_policy", "stretch");
  double common = 0;
  if (sizes && policy != "stretch") {
    for (size_t i = 0; i < axes.size(); ++i) {
      if (!axisInRange(axes[i], rank))
        return std::nullopt;
      double s = double((*sizes)[i]) / double(dims[normalizeAxis(axes[i], rank)]);
      common = i == 0 ? s : policy == "not_larger" ? std::min(common, s) : std::max(common, s);
    }
  }
  for (size_t i = 0; i < axes.size(); ++i) {
    if (!axisInRange(axes[i], rank))
      return std::nullopt;
    int64_t a = normalizeAxis(axes[i], rank);
    if (sizes) {
      if (common) {
        p.scales[a] = common;
        p.out[a] = kernels::saturateTo<int64_t>(roundHalfUp(common * double(dims[a])));
      } else {
        p.out[a] = (*sizes)[i];
        p.scales[a] = dims[a] ? double((*sizes)[i]) / double(dims[a]) : 1;
      }
    } else {
      p.scales[a] = (*scales)[i];
      p.out[a] = kernels::saturateTo<int64_t>(std::floor(double(dims[a]) * (*scales)[i]));
    }
    if (p.out[a] < 0)
      return std::nullopt;
  }
  return p;
}

/// Weights of the input positions that make one output position along one axis.
struct Taps {
  llvm::SmallVector<int64_t, 4> at;
  llvm::SmallVector<double, 4> weight;
  bool outside = false; // tf_crop_and_resize extrapolates
};

Taps tapsAt(const NodeView &node, int64_t o, int64_t in, int64_t out, double scale, double roiStart, double roiEnd,
            const std::string &mode, const std::string &coordinates) {
  double x;
  if (scale == 1 && coordinates != "tf_crop_and_resize")
    x = double(o);
  else if (coordinates == "align_corners")
    x = out == 1 ? 0 : double(o) * double(in - 1) / (scale * double(in) - 1); // the unrounded output size
  else if (coordinates == "asymmetric")
    x = double(o) / scale;
  else if (coordinates == "pytorch_half_pixel")
    x = out == 1 ? -0.5 : (double(o) + 0.5) / scale - 0.5;
  else if (coordinates == "tf_half_pixel_for_nn")
    x = (double(o) + 0.5) / scale;
  else if (coordinates == "tf_crop_and_resize")
    x = out > 1 ? roiStart * double(in - 1) + double(o) * (roiEnd - roiStart) * double(in - 1) / double(out - 1)
                : 0.5 * (roiStart + roiEnd) * double(in - 1);
  else if (coordinates == "half_pixel_symmetric") {
    double adjusted = scale * double(in), offset = double(in) / 2 * (1 - double(out) / adjusted);
    x = offset + (double(o) + 0.5) / scale - 0.5;
  } else
    x = (double(o) + 0.5) / scale - 0.5;
  Taps t;
  t.outside = coordinates == "tf_crop_and_resize" && (x < 0 || x > double(in - 1));
  if (mode == "nearest") {
    // Resize-10 does not say; onnxruntime rounds towards the element that the scale repeats or skips to.
    std::string rounding = node.getString("nearest_mode", scale < 1 ? "ceil" : "floor");
    double r = rounding == "round_prefer_floor"  ? std::ceil(x - 0.5)
               : rounding == "round_prefer_ceil" ? std::floor(x + 0.5)
               : rounding == "floor"             ? std::floor(x)
                                                 : std::ceil(x);
    t.at = {std::clamp<int64_t>(int64_t(r), 0, in - 1)};
    t.weight = {1};
    return t;
  }
  bool antialias = node.getInt("antialias") && scale < 1;
  double stretch = antialias ? scale : 1;
  bool cubic = mode == "cubic";
  double a = node.getFloat("cubic_coeff_a", -0.75f);
  auto kernel = [&](double d) {
    d = std::fabs(d);
    if (!cubic)
      return std::max(0.0, 1 - d);
    if (d <= 1)
      return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
  };
  double reach = (cubic ? 2 : 1) / stretch;
  bool exclude = node.getInt("exclude_outside");
  int64_t from, to;
  if (antialias) {
    from = int64_t(std::floor(x - reach)) + 1;
    to = int64_t(std::ceil(x + reach)) - 1;
  } else {
    from = int64_t(std::floor(x)) - (cubic ? 1 : 0);
    to = from + (cubic ? 3 : 1);
  }
  double sum = 0;
  for (int64_t k = from; k <= to; ++k) {
    double w = kernel((double(k) - x) * stretch);
    if (exclude && (k < 0 || k >= in))
      w = 0;
    sum += w;
    t.at.push_back(std::clamp<int64_t>(k, 0, in - 1));
    t.weight.push_back(w);
  }
  if ((exclude || antialias) && sum != 0)
    for (double &w : t.weight)
      w /= sum;
  return t;
}

absl::Status resize(EvalContext &ctx, const Plan &plan, std::string mode, const std::string &coordinates) {
  const Tensor &x = ctx.in(0);
  if (mode == "bilinear")
    mode = "linear";
  if (mode != "nearest" && mode != "linear" && mode != "cubic")
    return invalid(ctx, "mode '" + mode + "' is unknown");
  const bool copies = mode == "nearest" && coordinates != "tf_crop_and_resize"; // any element type
  if (!copies && (x.isString() || x.type() == ElementType::Complex64 || x.type() == ElementType::Complex128))
    return unsupportedType(ctx, x.type());
  int64_t rank = x.rank();
  float extrapolation = ctx.getFloat("extrapolation_value", 0);
  for (int64_t d : x.dims())
    if (d == 0 && elementCount(plan.out).value_or(0) != 0)
      return invalid(ctx, "cannot resize an empty tensor to a non-empty one");
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), plan.out)); // before any work that grows with it
  if (y.size() == 0) {
    ctx.set(0, std::move(y));
    return absl::OkStatus();
  }
  if (copies) { // a gather on each axis
    std::vector<std::vector<int64_t>> source(rank);
    for (int64_t a = 0; a < rank; ++a)
      for (int64_t o = 0; o < plan.out[a]; ++o)
        source[a].push_back(plan.out[a] == x.dim(a) && plan.scales[a] == 1
                                ? o
                                : tapsAt(ctx, o, x.dim(a), plan.out[a], plan.scales[a], 0, 1, mode, coordinates).at[0]);
    Dims own = stridesOf(x.dims()), index(rank, 0);
    for (int64_t i = 0; i < y.size(); ++i) {
      int64_t from = 0;
      for (int64_t a = 0; a < rank; ++a)
        from += source[a][index[a]] * own[a];
      copyElement(x, from, y, i);
      nextIndex(index, plan.out);
    }
    ctx.set(0, std::move(y));
    return absl::OkStatus();
  }
  // Interpolation is separable: one axis after the other.
  Tensor current = toDouble(x);
  std::vector<std::vector<bool>> outside(rank);
  for (int64_t a = 0; a < rank; ++a) {
    outside[a].assign(plan.out[a], false);
    if (plan.out[a] == current.dim(a) && plan.scales[a] == 1 && coordinates != "tf_crop_and_resize")
      continue;
    Dims dims(current.dims().begin(), current.dims().end());
    AxisSplit s(dims, a);
    dims[a] = plan.out[a];
    ONNXOPT_ASSIGN(next, ctx.allocate(ElementType::Double, dims));
    const double *p = current.data<double>();
    double *q = next.mutableData<double>();
    for (int64_t o = 0; o < plan.out[a]; ++o) {
      Taps t = tapsAt(ctx, o, s.axis, plan.out[a], plan.scales[a], plan.roi.empty() ? 0 : plan.roi[a],
                      plan.roi.empty() ? 1 : plan.roi[a + rank], mode, coordinates);
      outside[a][o] = t.outside;
      for (int64_t out = 0; out < s.outer; ++out)
        for (int64_t i = 0; i < s.inner; ++i) {
          double v = 0;
          for (size_t k = 0; k < t.at.size(); ++k)
            v += t.weight[k] * p[(out * s.axis + t.at[k]) * s.inner + i];
          q[(out * plan.out[a] + o) * s.inner + i] = v;
        }
    }
    current = std::move(next);
  }
  if (coordinates == "tf_crop_and_resize") {
    Dims index(rank, 0);
    for (int64_t i = 0; i < current.size(); ++i) {
      for (int64_t a = 0; a < rank; ++a)
        if (outside[a][index[a]]) {
          current.mutableData<double>()[i] = extrapolation;
          break;
        }
      nextIndex(index, plan.out);
    }
  }
  if (!dispatchNumeric(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        for (int64_t i = 0; i < y.size(); ++i)
          y.template mutableData<T>()[i] = saturateTo<T>(current.data<double>()[i]);
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}

llvm::SmallVector<double, 8> numbers(const Tensor &t) {
  llvm::SmallVector<double, 8> v;
  for (int64_t i = 0; i < t.size(); ++i)
    v.push_back(t.floatAt(i));
  return v;
}

void inferFrom(InferContext &ctx, int scalesAt, int sizesAt, llvm::ArrayRef<float> attributeScales) {
  ElementType e = elementOr(ctx, 0);
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, e);
  int64_t rank = ctx.rank(0);
  DimContext &d = ctx.dims();
  std::vector<int64_t> axes = ctx.getInts("axes");
  if (axes.empty())
    for (int64_t i = 0; i < rank; ++i)
      axes.push_back(i);
  llvm::SmallVector<Dim, 5> out(ctx.shape(0).begin(), ctx.shape(0).end());
  auto fresh = [&] {
    for (int64_t a : axes)
      if (auto n = normalizeAxis(ctx, a, rank))
        out[*n] = ctx.freshDim();
    ctx.setTensor(0, e, out);
  };
  for (int at : {sizesAt, scalesAt})
    if (at >= 0 && ctx.hasOperand(at) && ctx.isRanked(at)) {
      if (ctx.rank(at) != 1)
        return ctx.fail("sizes and scales must have rank 1");
      if (Dim n = ctx.shape(at)[0]; n && n.isConstant() && n.constant() != 0 && n.constant() != int64_t(axes.size()))
        return ctx.fail(std::to_string(n.constant()) + (at == sizesAt ? " sizes" : " scales") + " for " +
                        std::to_string(axes.size()) + " axes");
    }
  bool hasSizes = sizesAt >= 0 && ctx.hasOperand(sizesAt);
  if (hasSizes) {
    const SymTensor *v = ctx.value(sizesAt);
    std::string policy = ctx.getString("keep_aspect_ratio_policy", "stretch");
    if (policy != "stretch" && policy != "not_larger" && policy != "not_smaller")
      return ctx.fail("keep_aspect_ratio_policy '" + policy + "' is unknown");
    if (!v)
      return fresh();
    if (v->elements.size() != axes.size())
      return ctx.fail(std::to_string(v->elements.size()) + " sizes for " + std::to_string(axes.size()) + " axes");
    if (policy != "stretch") {
      Dims dims;
      for (Dim s : ctx.shape(0))
        if (s.isConstant())
          dims.push_back(s.constant());
      auto sizes = constantInts(ctx, sizesAt);
      if (int64_t(dims.size()) == rank && sizes)
        if (auto p = resolve(ctx, dims, std::nullopt, sizes)) {
          for (int64_t i = 0; i < rank; ++i)
            out[i] = d.constant(p->out[i]);
          return ctx.setTensor(0, e, out);
        }
      return fresh();
    }
    for (size_t i = 0; i < axes.size(); ++i)
      if (auto n = normalizeAxis(ctx, axes[i], rank))
        out[*n] = v->elements[i] ? v->elements[i] : ctx.freshDim();
    return ctx.setTensor(0, e, out);
  }
  llvm::SmallVector<double, 8> scales;
  if (!attributeScales.empty()) {
    scales.assign(attributeScales.begin(), attributeScales.end());
  } else if (scalesAt >= 0) {
    auto c = ctx.constant(scalesAt);
    if (!c || c->size() == 0)
      return fresh();
    scales = numbers(*c);
  }
  if (scales.size() != axes.size())
    return ctx.fail(std::to_string(scales.size()) + " scales for " + std::to_string(axes.size()) + " axes");
  for (size_t i = 0; i < axes.size(); ++i) {
    auto n = normalizeAxis(ctx, axes[i], rank);
    if (!n)
      return;
    Dim in = out[*n];
    double s = scales[i];
    if (std::isnan(s))
      return ctx.fail("scale " + std::to_string(i) + " is not a number");
    if (in.isConstant())
      out[*n] = d.constant(kernels::saturateTo<int64_t>(std::floor(double(in.constant()) * s)));
    else if (int exponent = 0; in && s > 0 && s < 1e6) {
      // A float32 is a whole number over a power of two, so floor(in * s) is a quotient of whole numbers.
      auto mantissa = int64_t(std::ldexp(std::frexp(s, &exponent), 24));
      int shift = 24 - exponent;
      while (shift > 0 && mantissa % 2 == 0) {
        mantissa /= 2;
        --shift;
      }
      if (shift >= 0 && shift <= 40)
        out[*n] = d.floorDiv(d.mul(in, d.constant(mantissa)), d.constant(int64_t(1) << shift));
      else
        out[*n] = ctx.freshDim();
    } else
      out[*n] = ctx.freshDim();
  }
  ctx.setTensor(0, e, out);
}

} // namespace

static absl::Status evalResize(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  bool old = ctx.version() < 11;
  int scalesAt = old ? 1 : 2;
  std::optional<llvm::SmallVector<double, 8>> scales;
  std::optional<llvm::SmallVector<int64_t, 8>> sizes;
  if (ctx.has(3) && ctx.in(3).size())
    sizes = ctx.in(3).ints();
  if (ctx.has(scalesAt) && ctx.in(scalesAt).size())
    scales = numbers(ctx.in(scalesAt));
  if (scales && sizes)
    return invalid(ctx, "needs either scales or sizes, not both");
  auto plan = resolve(ctx, x.dims(), scales, sizes);
  if (!plan)
    return invalid(ctx, "scales or sizes do not fit");
  std::string coordinates = old ? "asymmetric" : ctx.getString("coordinate_transformation_mode", "half_pixel");
  if (coordinates == "tf_crop_and_resize") {
    auto roi = ctx.has(1) ? numbers(ctx.in(1)) : llvm::SmallVector<double, 8>();
    std::vector<int64_t> axes = ctx.getInts("axes");
    if (axes.empty())
      for (size_t i = 0; i < x.rank(); ++i)
        axes.push_back(i);
    if (roi.size() != 2 * axes.size() || llvm::any_of(roi, [](double r) { return !(std::fabs(r) < INT32_MAX); }))
      return invalid(ctx, "roi does not fit");
    plan->roi.assign(2 * x.rank(), 0);
    for (size_t i = 0; i < x.rank(); ++i)
      plan->roi[i + x.rank()] = 1;
    for (size_t i = 0; i < axes.size(); ++i) {
      int64_t a = normalizeAxis(axes[i], x.rank());
      plan->roi[a] = roi[i];
      plan->roi[a + x.rank()] = roi[i + axes.size()];
    }
  }
  return resize(ctx, *plan, ctx.getString("mode", "nearest"), coordinates);
}
static void inferResize(InferContext &ctx) {
  bool old = ctx.version() < 11;
  auto scales = old ? std::nullopt : ctx.constant(2), sizes = old ? std::nullopt : ctx.constant(3);
  if (scales && sizes && scales->size() && sizes->size())
    return ctx.fail("needs either scales or sizes, not both");
  if (!old && !ctx.hasOperand(2) && !ctx.hasOperand(3))
    return ctx.fail("needs scales or sizes");
  inferFrom(ctx, old ? 1 : 2, old ? -1 : 3, {});
}
ONNXOPT_DEFINE_OP(Resize) { op.since(10, {.infer = inferResize, .eval = evalResize}); }

// Upsample: floor of asymmetric coordinates.
static std::vector<float> upsampleScales(const NodeView &ctx) {
  if (ctx.version() >= 7)
    return ctx.getFloats("scales");
  return {1, 1, ctx.getFloat("height_scale", 1), ctx.getFloat("width_scale", 1)};
}
static absl::Status evalUpsample(EvalContext &ctx) {
  llvm::SmallVector<double, 8> scales;
  if (ctx.version() >= 9)
    scales = numbers(ctx.in(1));
  else
    for (float f : upsampleScales(ctx))
      scales.push_back(f);
  auto plan = resolve(ctx, ctx.in(0).dims(), scales, std::nullopt);
  if (!plan)
    return invalid(ctx, "scales do not fit");
  std::string mode = ctx.getString("mode", "nearest");
  if (mode != "nearest")
    return resize(ctx, *plan, mode, "asymmetric");
  // Nearest rounds down here, which Resize's default does not.
  const Tensor &x = ctx.in(0);
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), plan->out));
  Dims own = stridesOf(x.dims()), index(x.rank(), 0);
  for (int64_t i = 0; i < y.size(); ++i) {
    int64_t from = 0;
    for (size_t a = 0; a < x.rank(); ++a)
      from += std::min<int64_t>(x.dim(a) - 1, int64_t(std::floor(double(index[a]) / plan->scales[a]))) * own[a];
    copyElement(x, from, y, i);
    nextIndex(index, plan->out);
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferUpsample(InferContext &ctx) {
  if (ctx.version() >= 9)
    return inferFrom(ctx, 1, -1, {});
  inferFrom(ctx, -1, -1, upsampleScales(ctx));
}
ONNXOPT_DEFINE_OP(Upsample) { op.since(1, {.infer = inferUpsample, .eval = evalUpsample}); }
