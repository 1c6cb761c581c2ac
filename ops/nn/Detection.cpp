// Object detection: non-maximum suppression, region pooling.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

static absl::Status evalNonMaxSuppression(EvalContext &ctx) {
  const Tensor &boxes = ctx.in(0), &scores = ctx.in(1);
  if (boxes.rank() != 3 || scores.rank() != 3 || boxes.dim(2) != 4 || boxes.dim(0) != scores.dim(0) ||
      boxes.dim(1) != scores.dim(2))
    return invalid(ctx, "boxes and scores do not fit");
  int64_t most = ctx.has(2) ? ctx.in(2).intAt(0) : 0;
  float overlap = ctx.has(3) ? ctx.in(3).data<float>()[0] : 0,
        threshold = ctx.has(4) ? ctx.in(4).data<float>()[0] : -INFINITY;
  bool center = ctx.getInt("center_point_box");
  struct Box {
    float y1, x1, y2, x2;
  };
  auto box = [&](int64_t b, int64_t i) {
    const float *p = boxes.data<float>() + (b * boxes.dim(1) + i) * 4;
    if (center)
      return Box{p[1] - p[3] / 2, p[0] - p[2] / 2, p[1] + p[3] / 2, p[0] + p[2] / 2};
    return Box{std::min(p[0], p[2]), std::min(p[1], p[3]), std::max(p[0], p[2]), std::max(p[1], p[3])};
  };
  auto iou = [](const Box &a, const Box &b) {
    float h = std::max(0.0f, std::min(a.y2, b.y2) - std::max(a.y1, b.y1)),
          w = std::max(0.0f, std::min(a.x2, b.x2) - std::max(a.x1, b.x1));
    float inter = h * w, all = (a.y2 - a.y1) * (a.x2 - a.x1) + (b.y2 - b.y1) * (b.x2 - b.x1) - inter;
    return all > 0 ? inter / all : 0;
  };
  std::vector<int64_t> selected;
  for (int64_t b = 0; b < scores.dim(0) && most > 0; ++b)
    for (int64_t c = 0; c < scores.dim(1); ++c) {
      const float *s = scores.data<float>() + (b * scores.dim(1) + c) * scores.dim(2);
      std::vector<int64_t> order;
      for (int64_t i = 0; i < scores.dim(2); ++i)
        if (s[i] > threshold)
          order.push_back(i);
      std::stable_sort(order.begin(), order.end(), [&](int64_t p, int64_t q) { return s[p] > s[q]; });
      std::vector<Box> kept;
      for (int64_t i : order) {
        if (int64_t(kept.size()) >= most)
          break;
        Box candidate = box(b, i);
        if (llvm::any_of(kept, [&](const Box &k) { return iou(k, candidate) > overlap; }))
          continue;
        kept.push_back(candidate);
        selected.insert(selected.end(), {b, c, i});
      }
    }
  ctx.set(0, Tensor::vector(selected).reshaped({int64_t(selected.size() / 3), 3}));
  return absl::OkStatus();
}
static void inferNonMaxSuppression(InferContext &ctx) {
  ctx.setTensor(0, ElementType::Int64, {ctx.freshDim(), ctx.constantDim(3)});
}
ONNXOPT_DEFINE_OP(NonMaxSuppression) {
  op.since(10, {.infer = inferNonMaxSuppression, .eval = evalNonMaxSuppression}).single({2, 3, 4});
}

// RoiAlign, MaxRoiPool

static void inferRoi(InferContext &ctx, Dim h, Dim w) {
  ElementType e = elementOr(ctx, 0);
  Dim rois = ctx.isRanked(1) && ctx.rank(1) ? ctx.shape(1)[0] : ctx.freshDim();
  Dim channels = ctx.isRanked(0) && ctx.rank(0) > 1 ? ctx.shape(0)[1] : ctx.freshDim();
  ctx.setTensor(0, e, {rois, channels, h, w});
}
static absl::Status evalRoiAlign(EvalContext &ctx) {
  const Tensor &x = ctx.in(0), &rois = ctx.in(1), &batch = ctx.in(2);
  if (x.rank() != 4 || rois.rank() != 2 || rois.dim(1) != 4 || batch.size() != rois.dim(0) || !x.dim(2) || !x.dim(3))
    return invalid(ctx, "operands do not fit");
  int64_t oh = ctx.getInt("output_height", 1), ow = ctx.getInt("output_width", 1),
          ratio = ctx.getInt("sampling_ratio", 0);
  double scale = ctx.getFloat("spatial_scale", 1);
  bool average = ctx.getString("mode", "avg") == "avg";
  bool halfPixel = ctx.version() >= 16 && ctx.getString("coordinate_transformation_mode", "half_pixel") == "half_pixel";
  int64_t C = x.dim(1), H = x.dim(2), W = x.dim(3);
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), {rois.dim(0), C, oh, ow}));
  Tensor xd = toDouble(x);
  for (int64_t r = 0; r < rois.dim(0); ++r) {
    int64_t b = batch.intAt(r);
    if (b < 0 || b >= x.dim(0))
      return invalid(ctx, "batch index out of range");
    double offset = halfPixel ? 0.5 : 0;
    double x1 = rois.floatAt(r * 4) * scale - offset, y1 = rois.floatAt(r * 4 + 1) * scale - offset;
    double w = rois.floatAt(r * 4 + 2) * scale - offset - x1, h = rois.floatAt(r * 4 + 3) * scale - offset - y1;
    if (!halfPixel) {
      w = std::max(w, 1.0);
      h = std::max(h, 1.0);
    }
    double bh = h / double(oh), bw = w / double(ow);
    int64_t gh = ratio > 0 ? ratio : saturateTo<int32_t>(std::ceil(bh)),
            gw = ratio > 0 ? ratio : saturateTo<int32_t>(std::ceil(bw)), samples = 0;
    if (__builtin_mul_overflow(std::max<int64_t>(gh, 0), std::max<int64_t>(gw, 0), &samples) ||
        __builtin_mul_overflow(samples, C * oh * ow, &samples))
      return invalid(ctx, "too many samples");
    if (absl::Status s = ctx.step(uint64_t(samples) / 1024); !s.ok())
      return s;
    for (int64_t c = 0; c < C; ++c) {
      const double *p = xd.data<double>() + (b * C + c) * H * W;
      for (int64_t i = 0; i < oh; ++i)
        for (int64_t j = 0; j < ow; ++j) {
          double sum = 0, top = -INFINITY;
          for (int64_t u = 0; u < gh; ++u)
            for (int64_t v = 0; v < gw; ++v) {
              double sy = y1 + double(i) * bh + (double(u) + 0.5) * bh / double(gh),
                     sx = x1 + double(j) * bw + (double(v) + 0.5) * bw / double(gw);
              if (!(sy >= -1 && sy <= double(H) && sx >= -1 && sx <= double(W))) {
                top = std::max(top, 0.0);
                continue;
              }
              sy = std::max(sy, 0.0);
              sx = std::max(sx, 0.0);
              int64_t yl = std::min<int64_t>(int64_t(sy), H - 1), xl = std::min<int64_t>(int64_t(sx), W - 1);
              int64_t yh = std::min<int64_t>(yl + 1, H - 1), xh = std::min<int64_t>(xl + 1, W - 1);
              double ly = yl == H - 1 ? 0 : sy - double(yl), lx = xl == W - 1 ? 0 : sx - double(xl);
              double a = (1 - ly) * (1 - lx) * p[yl * W + xl], bb = (1 - ly) * lx * p[yl * W + xh];
              double cc = ly * (1 - lx) * p[yh * W + xl], d = ly * lx * p[yh * W + xh];
              sum += a + bb + cc + d;
              top = std::max({top, a, bb, cc, d});
            }
          double value =
              average ? (gh * gw > 0 ? sum / double(std::max<int64_t>(1, gh * gw)) : 0) : (gh * gw > 0 ? top : 0);
          int64_t at = ((r * C + c) * oh + i) * ow + j;
          dispatchFloat(x.type(), [&](auto tag) { y.mutableData<typename decltype(tag)::type>()[at] = value; });
        }
    }
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferRoiAlign(InferContext &ctx) {
  if (ctx.isRanked(1) && ctx.rank(1) == 2 && ctx.isRanked(2) && ctx.rank(2) == 1)
    ctx.requireEqual(ctx.shape(1)[0], ctx.shape(2)[0], "one batch index for each region is needed");
  inferRoi(ctx, ctx.constantDim(ctx.getInt("output_height", 1)), ctx.constantDim(ctx.getInt("output_width", 1)));
}
ONNXOPT_DEFINE_OP(RoiAlign) {
  op.since(10, {.infer = inferRoiAlign, .eval = evalRoiAlign}).ranks({{0, 4}, {1, 2}, {2, 1}});
}

static absl::Status evalMaxRoiPool(EvalContext &ctx) {
  const Tensor &x = ctx.in(0), &rois = ctx.in(1);
  std::vector<int64_t> pooled = ctx.getInts("pooled_shape");
  if (x.rank() != 4 || rois.rank() != 2 || rois.dim(1) != 5 || pooled.size() != 2)
    return invalid(ctx, "operands do not fit");
  double scale = ctx.getFloat("spatial_scale", 1);
  int64_t C = x.dim(1), H = x.dim(2), W = x.dim(3), oh = pooled[0], ow = pooled[1];
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), {rois.dim(0), C, oh, ow}));
  for (int64_t r = 0; r < rois.dim(0); ++r) {
    auto at = [&](int64_t k) { return rois.floatAt(r * 5 + k); };
    int64_t b = int64_t(at(0)), x1 = std::lround(at(1) * scale), y1 = std::lround(at(2) * scale);
    int64_t w = std::max<int64_t>(std::lround(at(3) * scale) - x1 + 1, 1),
            h = std::max<int64_t>(std::lround(at(4) * scale) - y1 + 1, 1);
    if (b < 0 || b >= x.dim(0))
      return invalid(ctx, "batch index out of range");
    for (int64_t c = 0; c < C; ++c)
      for (int64_t i = 0; i < oh; ++i)
        for (int64_t j = 0; j < ow; ++j) {
          auto bound = [](int64_t k, int64_t n, int64_t parts, int64_t start, int64_t limit, bool up) {
            double v = double(k) * double(n) / double(parts);
            return std::clamp<int64_t>(int64_t(up ? std::ceil(v) : std::floor(v)) + start, 0, limit);
          };
          int64_t ys = bound(i, h, oh, y1, H, false), ye = bound(i + 1, h, oh, y1, H, true);
          int64_t xs = bound(j, w, ow, x1, W, false), xe = bound(j + 1, w, ow, x1, W, true);
          double best = ye <= ys || xe <= xs ? 0 : -INFINITY;
          for (int64_t u = ys; u < ye; ++u)
            for (int64_t v = xs; v < xe; ++v)
              best = std::max(best, x.floatAt(((b * C + c) * H + u) * W + v));
          dispatchFloat(x.type(), [&](auto tag) {
            y.mutableData<typename decltype(tag)::type>()[((r * C + c) * oh + i) * ow + j] = best;
          });
        }
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferMaxRoiPool(InferContext &ctx) {
  std::vector<int64_t> p = ctx.getInts("pooled_shape");
  if (p.size() == 2)
    inferRoi(ctx, ctx.constantDim(p[0]), ctx.constantDim(p[1]));
}
ONNXOPT_DEFINE_OP(MaxRoiPool) { op.since(1, {.infer = inferMaxRoiPool, .eval = evalMaxRoiPool}); }
