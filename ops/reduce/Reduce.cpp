// Reductions, arg reductions, cumulative sums, softmax and top-k.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

namespace {

/// Axes of a reduction: operand 1 or the attribute. `noop`: nothing is reduced.
struct Axes {
  llvm::SmallVector<bool, 8> reduced;
  bool noop = false;
};
absl::StatusOr<Axes> reductionAxes(EvalContext &ctx, int64_t rank) {
  Axes a;
  llvm::SmallVector<int64_t, 8> list;
  if (ctx.has(1))
    list = ctx.in(1).ints();
  else
    for (int64_t x : ctx.getInts("axes"))
      list.push_back(x);
  a.noop = list.empty() && ctx.getInt("noop_with_empty_axes");
  a.reduced.assign(rank, list.empty() && !a.noop);
  for (int64_t x : list) {
    if (!axisInRange(x, rank))
      return invalid(ctx, "axis out of range");
    a.reduced[normalizeAxis(x, rank)] = true;
  }
  return a;
}

/// Result = finish(reduce(step, elements in order), count). `A` is the accumulator.
template <typename A, typename Init, typename Step, typename Finish>
absl::Status reduce(EvalContext &ctx, Init init, Step step, Finish finish) {
  const Tensor &x = ctx.in(0);
  auto axes = reductionAxes(ctx, x.rank());
  if (!axes.ok())
    return axes.status();
  bool keep = ctx.getInt("keepdims", 1) == 1;
  Dims keptDims, outDims, outStrides(x.rank(), 0);
  int64_t count = 1;
  for (size_t i = 0; i < x.rank(); ++i) {
    keptDims.push_back(axes->reduced[i] ? 1 : x.dim(i));
    if (!axes->reduced[i] || keep)
      outDims.push_back(keptDims.back());
    if (axes->reduced[i])
      count *= x.dim(i);
  }
  Dims s = stridesOf(keptDims);
  for (size_t i = 0; i < x.rank(); ++i)
    outStrides[i] = axes->reduced[i] ? 0 : s[i];
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), outDims));
  absl::Status status;
  auto run = [&](auto tag) {
    using T = typename decltype(tag)::type;
    using Acc = std::conditional_t<std::is_floating_point_v<T>, A, T>;
    std::vector<Acc> acc(y.size(), Acc(init(T())));
    const T *p = x.data<T>();
    if (x.size())
      forBroadcastRuns(x.dims(), stridesOf(x.dims()), outStrides,
                       [&](int64_t, int64_t in, int64_t ri, int64_t out, int64_t ro, int64_t n) {
                         if (ro == 0) {
                           Acc a = acc[out];
                           for (int64_t i = 0; i < n; ++i)
                             a = step(a, Acc(p[in + i * ri]));
                           acc[out] = a;
                         } else {
                           for (int64_t i = 0; i < n; ++i)
                             acc[out + i * ro] = step(acc[out + i * ro], Acc(p[in + i * ri]));
                         }
                       });
    T *q = y.mutableData<T>();
    for (int64_t i = 0; i < y.size(); ++i)
      q[i] = T(finish(acc[i], count));
  };
  if (x.type() == ElementType::Bool)
    run(TypeTag<uint8_t>());
  else if (!dispatchNumeric(x.type(), run))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return status;
}

auto zero = [](auto) { return 0; };
auto asIs = [](auto a, int64_t) { return a; };
auto add = [](auto a, auto b) { return wrappingAdd<decltype(a)>(a, decltype(a)(b)); };

/// The axes of `list` go; nullopt where they are not known.
void reduceOver(InferContext &ctx, std::optional<llvm::ArrayRef<int64_t>> list) {
  ElementType e = elementOr(ctx, 0);
  bool keep = ctx.getInt("keepdims", 1) == 1;
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, e);
  int64_t rank = ctx.rank(0);
  if (!list) {
    // Which axes go is unknown; with keepdims the rank stays.
    if (!keep)
      return ctx.setUnranked(0, e);
    llvm::SmallVector<Dim, 4> d;
    for (int64_t i = 0; i < rank; ++i)
      d.push_back(ctx.shape(0)[i].isConstant(1) ? ctx.shape(0)[i] : ctx.freshDim());
    return ctx.setTensor(0, e, d);
  }
  bool noop = list->empty() && ctx.getInt("noop_with_empty_axes");
  llvm::SmallVector<bool, 8> reduced(rank, list->empty() && !noop);
  for (int64_t a : *list) {
    auto n = normalizeAxis(ctx, a, rank);
    if (!n)
      return;
    reduced[*n] = true;
  }
  llvm::SmallVector<Dim, 4> out;
  for (int64_t i = 0; i < rank; ++i)
    if (!reduced[i])
      out.push_back(ctx.shape(0)[i]);
    else if (keep)
      out.push_back(ctx.constantDim(1));
  ctx.setTensor(0, e, out);
}

void inferReduce(InferContext &ctx) {
  auto list = axes(ctx, 1);
  reduceOver(ctx, list ? std::optional<llvm::ArrayRef<int64_t>>(*list) : std::nullopt);
}

/// The value rule of a reduction over a whole vector of sizes.
template <typename F> void reduceValue(InferContext &ctx, F f) {
  inferReduce(ctx);
  const SymTensor *v = ctx.value(0);
  if (!v || v->dims.size() > 1 || v->elements.empty() || !ctx.results[0].type.ranked)
    return;
  auto list = axes(ctx, 1);
  if (!list || (list->empty() && ctx.getInt("noop_with_empty_axes")))
    return;
  Dim acc = v->elements[0];
  for (size_t i = 1; i < v->elements.size(); ++i)
    acc = acc && v->elements[i] ? f(acc, v->elements[i]) : Dim();
  SymTensor r = SymTensor::scalar(acc);
  if (!ctx.results[0].type.dims.empty())
    r.dims = {1};
  if (acc)
    ctx.setValue(0, std::move(r));
}

OpFacts reduction(EvalFn eval, InferFn infer = inferReduce) { return {.infer = infer, .eval = eval}; }

} // namespace

static absl::Status evalReduceSum(EvalContext &ctx) { return reduce<double>(ctx, zero, add, asIs); }
static void inferReduceSum(InferContext &ctx) {
  reduceValue(ctx, [&](Dim a, Dim b) { return ctx.dims().add(a, b); });
}
ONNXOPT_DEFINE_OP(ReduceSum) { op.since(1, reduction(evalReduceSum, inferReduceSum)); }

static absl::Status evalReduceMean(EvalContext &ctx) {
  return reduce<double>(ctx, zero, add, [](auto a, int64_t n) {
    using A = decltype(a);
    if constexpr (std::is_floating_point_v<A>)
      return a / A(n);
    else
      return n == 0 ? A(0) : std::is_signed_v<A> ? A(int64_t(a) / n) : A(uint64_t(a) / uint64_t(n));
  });
}
ONNXOPT_DEFINE_OP(ReduceMean) { op.since(1, reduction(evalReduceMean)); }
/// onnxruntime's, of a quantized tensor with its scale and zero point.
static void inferQLinearReduceMean(InferContext &ctx) {
  const std::vector<int64_t> list = ctx.getInts("axes");
  reduceOver(ctx, llvm::ArrayRef<int64_t>(list));
}
ONNXOPT_DEFINE_MS_OP(QLinearReduceMean) { op.since(1, {.infer = inferQLinearReduceMean}).single({1, 2, 3, 4}); }

static absl::Status evalReduceProd(EvalContext &ctx) {
  return reduce<double>(
      ctx, [](auto) { return 1; }, [](auto a, auto b) { return wrappingMul<decltype(a)>(a, decltype(a)(b)); }, asIs);
}
static void inferReduceProd(InferContext &ctx) {
  reduceValue(ctx, [&](Dim a, Dim b) { return ctx.dims().mul(a, b); });
}
ONNXOPT_DEFINE_OP(ReduceProd) { op.since(1, reduction(evalReduceProd, inferReduceProd)); }

static absl::Status evalReduceMax(EvalContext &ctx) {
  return reduce<double>(
      ctx,
      [&](auto t) {
        using T = decltype(t);
        if constexpr (std::is_floating_point_v<T>)
          return -std::numeric_limits<T>::infinity();
        else
          return ctx.in(0).type() == ElementType::Bool ? T(0) : std::numeric_limits<T>::lowest();
      },
      [](auto a, auto b) { return a != a              ? a
                                  : (b != b || b > a) ? b
                                                      : a; }, asIs);
}
static void inferReduceMax(InferContext &ctx) {
  reduceValue(ctx, [&](Dim a, Dim b) { return ctx.dims().max(a, b); });
}
ONNXOPT_DEFINE_OP(ReduceMax) { op.since(1, reduction(evalReduceMax, inferReduceMax)); }

static absl::Status evalReduceMin(EvalContext &ctx) {
  return reduce<double>(
      ctx,
      [&](auto t) {
        using T = decltype(t);
        if constexpr (std::is_floating_point_v<T>)
          return std::numeric_limits<T>::infinity();
        else
          return ctx.in(0).type() == ElementType::Bool ? T(1) : std::numeric_limits<T>::max();
      },
      [](auto a, auto b) { return a != a              ? a
                                  : (b != b || b < a) ? b
                                                      : a; }, asIs);
}
static void inferReduceMin(InferContext &ctx) {
  reduceValue(ctx, [&](Dim a, Dim b) { return ctx.dims().min(a, b); });
}
ONNXOPT_DEFINE_OP(ReduceMin) { op.since(1, reduction(evalReduceMin, inferReduceMin)); }

static absl::Status evalReduceL1(EvalContext &ctx) {
  return reduce<double>(
      ctx, zero,
      [](auto a, auto b) {
        using A = decltype(a);
        return b < 0 ? wrapping<A>(a, A(b), [](auto x, auto y) { return x - y; }) : wrappingAdd<A>(a, A(b));
      },
      asIs);
}
ONNXOPT_DEFINE_OP(ReduceL1) { op.since(1, reduction(evalReduceL1)); }
static absl::Status evalReduceL2(EvalContext &ctx) {
  return reduce<double>(
      ctx, zero,
      [](auto a, auto b) {
        return wrappingAdd<decltype(a)>(a, wrappingMul<decltype(a)>(decltype(a)(b), decltype(a)(b)));
      },
      [](auto a, int64_t) { return saturateTo<decltype(a)>(std::sqrt(double(a))); });
}
ONNXOPT_DEFINE_OP(ReduceL2) { op.since(1, reduction(evalReduceL2)); }
static absl::Status evalReduceSumSquare(EvalContext &ctx) {
  return reduce<double>(
      ctx, zero,
      [](auto a, auto b) {
        return wrappingAdd<decltype(a)>(a, wrappingMul<decltype(a)>(decltype(a)(b), decltype(a)(b)));
      },
      asIs);
}
ONNXOPT_DEFINE_OP(ReduceSumSquare) { op.since(1, reduction(evalReduceSumSquare)); }
static absl::Status evalReduceLogSum(EvalContext &ctx) {
  return reduce<double>(ctx, zero, add, [](auto a, int64_t) { return saturateTo<decltype(a)>(std::log(double(a))); });
}
ONNXOPT_DEFINE_OP(ReduceLogSum) { op.since(1, reduction(evalReduceLogSum)); }

static absl::Status evalReduceLogSumExp(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  if (isInteger(x.type())) { // exponentials of whole numbers are summed as such, and rounded at the end
    ElementType type = x.type();
    Datum wide(toDouble(x));
    ctx.operands[0] = &wide;
    if (absl::Status s = evalReduceLogSumExp(ctx); !s.ok())
      return s;
    Tensor sums = ctx.results[0].tensor;
    ONNXOPT_ASSIGN(y, ctx.allocate(type, sums.dims()));
    dispatchNumeric(type, [&](auto tag) {
      using T = typename decltype(tag)::type;
      for (int64_t i = 0; i < y.size(); ++i)
        y.mutableData<T>()[i] = saturateTo<T>(sums.data<double>()[i]);
    });
    ctx.set(0, std::move(y));
    return absl::OkStatus();
  }
  auto a = reductionAxes(ctx, x.rank());
  if (!a.ok())
    return a.status();
  // In double, so that no maximum needs to be taken off first within float's range.
  double top = -INFINITY;
  for (int64_t i = 0; i < x.size(); ++i)
    if (double v = x.floatAt(i); std::isfinite(v))
      top = std::max(top, v);
  double shift = top > 600 ? top : 0;
  return reduce<double>(
      ctx, zero, [=](auto s, auto b) { return saturateTo<decltype(s)>(double(s) + std::exp(double(b) - shift)); },
      [=](auto s, int64_t) { return saturateTo<decltype(s)>(std::log(double(s)) + shift); });
}
ONNXOPT_DEFINE_OP(ReduceLogSumExp) { op.since(1, reduction(evalReduceLogSumExp)); }

// ArgMax, ArgMin

static absl::Status argReduce(EvalContext &ctx, bool max) {
  const Tensor &x = ctx.in(0);
  int64_t axis = ctx.getInt("axis", 0);
  if (!axisInRange(axis, x.rank()))
    return invalid(ctx, "axis out of range");
  axis = normalizeAxis(axis, x.rank());
  bool last = ctx.getInt("select_last_index"), keep = ctx.getInt("keepdims", 1) == 1;
  AxisSplit s(x.dims(), axis);
  if (s.axis == 0)
    return invalid(ctx, "the axis is empty");
  Dims dims(x.dims().begin(), x.dims().end());
  if (keep)
    dims[axis] = 1;
  else
    dims.erase(dims.begin() + axis);
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Int64, dims));
  if (!dispatchNumeric(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        const T *p = x.template data<T>();
        for (int64_t o = 0; o < s.outer; ++o)
          for (int64_t i = 0; i < s.inner; ++i) {
            int64_t best = 0;
            for (int64_t k = 1; k < s.axis; ++k) {
              T a = p[(o * s.axis + k) * s.inner + i], b = p[(o * s.axis + best) * s.inner + i];
              if ((max ? a > b : a < b) || (last && a == b) || (a != a && b == b))
                best = k;
            }
            y.template mutableData<int64_t>()[o * s.inner + i] = best;
          }
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static absl::Status evalArgMax(EvalContext &ctx) { return argReduce(ctx, true); }
static absl::Status evalArgMin(EvalContext &ctx) { return argReduce(ctx, false); }
static void inferArg(InferContext &ctx) {
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, ElementType::Int64);
  auto axis = normalizeAxis(ctx, ctx.getInt("axis", 0), ctx.rank(0));
  if (!axis)
    return;
  llvm::SmallVector<Dim, 4> out(ctx.shape(0).begin(), ctx.shape(0).end());
  if (ctx.getInt("keepdims", 1) == 1)
    out[*axis] = ctx.constantDim(1);
  else
    out.erase(out.begin() + *axis);
  ctx.setTensor(0, ElementType::Int64, out);
}
ONNXOPT_DEFINE_OP(ArgMax) { op.since(1, reduction(evalArgMax, inferArg)); }
ONNXOPT_DEFINE_OP(ArgMin) { op.since(1, reduction(evalArgMin, inferArg)); }

// CumSum, CumProd

template <typename F> static absl::Status cumulative(EvalContext &ctx, F f, int unit) {
  const Tensor &x = ctx.in(0);
  int64_t axis = ctx.in(1).intAt(0);
  if (!axisInRange(axis, x.rank()))
    return invalid(ctx, "axis out of range");
  axis = normalizeAxis(axis, x.rank());
  bool exclusive = ctx.getInt("exclusive"), reverse = ctx.getInt("reverse");
  AxisSplit s(x.dims(), axis);
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), x.dims()));
  if (!dispatchNumeric(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        const T *p = x.template data<T>();
        T *q = y.template mutableData<T>();
        for (int64_t o = 0; o < s.outer; ++o)
          for (int64_t i = 0; i < s.inner; ++i) {
            T acc = T(unit);
            for (int64_t k = 0; k < s.axis; ++k) {
              int64_t at = (o * s.axis + (reverse ? s.axis - 1 - k : k)) * s.inner + i;
              T before = acc;
              acc = T(f(acc, p[at]));
              q[at] = exclusive ? before : acc;
            }
          }
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static absl::Status evalCumSum(EvalContext &ctx) {
  return cumulative(ctx, [](auto a, auto b) { return wrappingAdd(a, b); }, 0);
}
static absl::Status evalCumProd(EvalContext &ctx) {
  return cumulative(ctx, [](auto a, auto b) { return wrappingMul(a, b); }, 1);
}
ONNXOPT_DEFINE_OP(CumSum) { op.since(11, reduction(evalCumSum, sameType)).single({1}); }
ONNXOPT_DEFINE_OP(CumProd) { op.since(26, reduction(evalCumProd, sameType)).single({1}); }

// Softmax family

static absl::Status softmaxLike(EvalContext &ctx, int kind) { // 0 Softmax, 1 LogSoftmax, 2 Hardmax
  const Tensor &x = ctx.in(0);
  bool flatten = ctx.version() < 13;
  int64_t axis = ctx.getInt("axis", flatten ? 1 : -1);
  if (!axisInRange(axis, x.rank()) && !(x.rank() == 0 || (flatten && axis == int64_t(x.rank()))))
    return invalid(ctx, "axis out of range");
  axis = normalizeAxis(axis, x.rank());
  AxisSplit s(x.dims(), axis);
  if (flatten) { // before opset 13 all dimensions from `axis` on are one
    s.axis *= s.inner;
    s.inner = 1;
  }
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), x.dims()));
  if (!dispatchFloat(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        const T *p = x.template data<T>();
        T *q = y.template mutableData<T>();
        for (int64_t o = 0; o < s.outer; ++o)
          for (int64_t i = 0; i < s.inner; ++i) {
            const T *in = p + o * s.axis * s.inner + i;
            T *out = q + o * s.axis * s.inner + i;
            T top = -INFINITY;
            int64_t best = 0;
            for (int64_t k = 0; k < s.axis; ++k)
              if (in[k * s.inner] > top || in[k * s.inner] != in[k * s.inner]) {
                if (top == top)
                  best = k;
                top = in[k * s.inner];
              }
            if (kind == 2) {
              for (int64_t k = 0; k < s.axis; ++k)
                out[k * s.inner] = k == best;
              continue;
            }
            T sum = 0;
            for (int64_t k = 0; k < s.axis; ++k) {
              T e = std::exp(in[k * s.inner] - top);
              out[k * s.inner] = e;
              sum += e;
            }
            T logSum = std::log(sum);
            for (int64_t k = 0; k < s.axis; ++k)
              out[k * s.inner] = kind == 0 ? out[k * s.inner] / sum : in[k * s.inner] - top - logSum;
          }
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferSoftmax(InferContext &ctx) {
  ctx.setType(0, ctx.type(0));
  if (ctx.isRanked(0) && ctx.rank(0) == 0)
    return ctx.fail("needs rank 1 or more");
  if (!ctx.isRanked(0) || !ctx.hasAttribute("axis"))
    return;
  int64_t axis = ctx.getInt("axis"), rank = ctx.rank(0);
  if (axis < -rank || axis > rank || (axis == rank && ctx.version() >= 13 && rank > 0))
    ctx.fail("axis " + std::to_string(axis) + " is out of range for rank " + std::to_string(rank));
}
static absl::Status evalSoftmax(EvalContext &ctx) { return softmaxLike(ctx, 0); }
static absl::Status evalLogSoftmax(EvalContext &ctx) { return softmaxLike(ctx, 1); }
static absl::Status evalHardmax(EvalContext &ctx) { return softmaxLike(ctx, 2); }
ONNXOPT_DEFINE_OP(Softmax) { op.since(1, reduction(evalSoftmax, inferSoftmax)); }
ONNXOPT_DEFINE_OP(LogSoftmax) { op.since(1, reduction(evalLogSoftmax, inferSoftmax)); }
ONNXOPT_DEFINE_OP(Hardmax) { op.since(1, reduction(evalHardmax, inferSoftmax)); }

// TopK

static absl::Status evalTopK(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  int64_t axis = ctx.getInt("axis", -1);
  if (!axisInRange(axis, x.rank()))
    return invalid(ctx, "axis out of range");
  axis = normalizeAxis(axis, x.rank());
  int64_t k = ctx.version() < 10 ? ctx.getInt("k") : ctx.in(1).intAt(0);
  bool largest = ctx.getInt("largest", 1);
  AxisSplit s(x.dims(), axis);
  if (k < 0 || k > s.axis)
    return invalid(ctx, "k is larger than the axis");
  Dims dims(x.dims().begin(), x.dims().end());
  dims[axis] = k;
  ONNXOPT_ASSIGN(values, ctx.allocate(x.type(), dims));
  ONNXOPT_ASSIGN(indices, ctx.allocate(ElementType::Int64, dims));
  if (!dispatchNumeric(x.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        const T *p = x.template data<T>();
        std::vector<int64_t> order(s.axis);
        for (int64_t o = 0; o < s.outer; ++o)
          for (int64_t i = 0; i < s.inner; ++i) {
            auto at = [&](int64_t j) { return p[(o * s.axis + j) * s.inner + i]; };
            for (int64_t j = 0; j < s.axis; ++j)
              order[j] = j;
            // Ties go to the lower index.
            std::stable_sort(order.begin(), order.end(),
                             [&](int64_t a, int64_t b) { return largest ? at(a) > at(b) : at(a) < at(b); });
            for (int64_t j = 0; j < k; ++j) {
              values.mutableData<T>()[(o * k + j) * s.inner + i] = at(order[j]);
              indices.mutableData<int64_t>()[(o * k + j) * s.inner + i] = order[j];
            }
          }
      }))
    return unsupportedType(ctx, x.type());
  ctx.set(0, std::move(values));
  ctx.set(1, std::move(indices));
  return absl::OkStatus();
}
static void inferTopK(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (!ctx.isRanked(0)) {
    ctx.setUnranked(0, e);
    return ctx.setUnranked(1, ElementType::Int64);
  }
  auto axis = normalizeAxis(ctx, ctx.getInt("axis", -1), ctx.rank(0));
  if (!axis)
    return;
  Dim k;
  if (ctx.version() < 10)
    k = ctx.constantDim(ctx.getInt("k"));
  else if (const SymTensor *v = ctx.value(1); v && v->elements.size() == 1)
    k = v->elements[0];
  llvm::SmallVector<Dim, 4> out(ctx.shape(0).begin(), ctx.shape(0).end());
  if (k && out[*axis] && k.isConstant() && out[*axis].isConstant() && k.constant() > out[*axis].constant())
    ctx.fail("k = " + std::to_string(k.constant()) + " is larger than the axis of " +
             std::to_string(out[*axis].constant()));
  out[*axis] = k ? k : ctx.freshDim();
  ctx.setTensor(0, e, out);
  ctx.setTensor(1, ElementType::Int64, out);
}
ONNXOPT_DEFINE_OP(TopK) {
  op.since(1, reduction(evalTopK, inferTopK));
  op.since(10, reduction(evalTopK, inferTopK)).single({1});
}
