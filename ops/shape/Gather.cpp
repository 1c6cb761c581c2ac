// Reading and writing elements by index.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <complex>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

namespace {

OpFacts movement(InferFn infer, EvalFn eval) { return {.infer = infer, .eval = eval, .storage = Storage::Movement}; }

/// Adds `size` to a negative index; -1 when it is out of range.
int64_t wrapIndex(int64_t i, int64_t size) {
  if (i < 0)
    i += size;
  return i < 0 || i >= size ? -1 : i;
}

/// target[at] = reduction(target[at], updates[from])
absl::Status combine(EvalContext &ctx, const std::string &reduction, const Tensor &updates, int64_t from,
                     Tensor &target, int64_t at) {
  if (reduction == "none") {
    copyElement(updates, from, target, at);
    return absl::OkStatus();
  }
  if (target.type() == ElementType::Bool) {
    auto *t = target.mutableData<uint8_t>();
    bool a = t[at], b = updates.data<uint8_t>()[from];
    t[at] = reduction == "add" || reduction == "max" ? a || b : a && b;
    return absl::OkStatus();
  }
  if (!dispatchNumeric(target.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        T &t = target.mutableData<T>()[at];
        T u = updates.data<T>()[from];
        t = reduction == "add"   ? T(t + u)
            : reduction == "mul" ? T(t * u)
            : reduction == "max" ? std::max(t, u)
                                 : std::min(t, u);
      }))
    return unsupportedType(ctx, target.type());
  return absl::OkStatus();
}

} // namespace

// Gather

static absl::Status evalGather(EvalContext &ctx) {
  const Tensor &x = ctx.in(0), &indices = ctx.in(1);
  int64_t axis = ctx.getInt("axis", 0);
  if (!axisInRange(axis, x.rank()))
    return invalid(ctx, "axis out of range");
  axis = normalizeAxis(axis, x.rank());
  AxisSplit s(x.dims(), axis);
  Dims dims(x.dims().begin(), x.dims().begin() + axis);
  dims.append(indices.dims().begin(), indices.dims().end());
  dims.append(x.dims().begin() + axis + 1, x.dims().end());
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), dims));
  int64_t n = indices.size();
  for (int64_t j = 0; j < n; ++j) {
    int64_t k = wrapIndex(indices.intAt(j), s.axis);
    if (k < 0)
      return invalid(ctx, absl::StrCat("index ", indices.intAt(j), " is out of range for size ", s.axis));
    for (int64_t o = 0; o < s.outer && s.inner; ++o)
      copyElements(x, (o * s.axis + k) * s.inner, y, (o * n + j) * s.inner, s.inner);
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferGather(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (!ctx.isRanked(0) || !ctx.isRanked(1))
    return ctx.setUnranked(0, e);
  auto axis = normalizeAxis(ctx, ctx.getInt("axis", 0), ctx.rank(0));
  if (!axis)
    return;
  llvm::ArrayRef<Dim> s = ctx.shape(0);
  llvm::SmallVector<Dim, 4> out(s.begin(), s.begin() + *axis);
  out.append(ctx.shape(1).begin(), ctx.shape(1).end());
  out.append(s.begin() + *axis + 1, s.end());
  ctx.setTensor(0, e, out);
  auto index = constantInts(ctx, 1);
  if (index && s[*axis].isConstant())
    for (int64_t i : *index)
      if (wrapIndex(i, s[*axis].constant()) < 0)
        ctx.fail("index " + std::to_string(i) + " is out of range for size " + std::to_string(s[*axis].constant()));
  const SymTensor *v = ctx.value(0);
  if (!v || !index || v->dims.size() != 1)
    return;
  SymTensor r;
  for (Dim d : ctx.shape(1))
    if (d.isConstant())
      r.dims.push_back(d.constant());
  if (r.dims.size() != ctx.rank(1))
    return;
  for (int64_t i : *index) {
    int64_t k = wrapIndex(i, v->elements.size());
    if (k < 0)
      return;
    r.elements.push_back(v->elements[k]);
  }
  ctx.setValue(0, std::move(r));
}
ONNXOPT_DEFINE_OP(Gather) { op.since(1, movement(inferGather, evalGather)); }

// GatherElements

static absl::Status evalGatherElements(EvalContext &ctx) {
  const Tensor &x = ctx.in(0), &indices = ctx.in(1);
  int64_t axis = ctx.getInt("axis", 0);
  if (!axisInRange(axis, x.rank()) || indices.rank() != x.rank())
    return invalid(ctx, "axis out of range, or ranks differ");
  axis = normalizeAxis(axis, x.rank());
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), indices.dims()));
  Dims own = stridesOf(x.dims()), index(x.rank(), 0);
  for (int64_t i = 0; i < indices.size(); ++i) {
    int64_t from = 0;
    for (size_t a = 0; a < x.rank(); ++a) {
      int64_t k = int64_t(a) == axis ? wrapIndex(indices.intAt(i), x.dim(a)) : index[a];
      if (k < 0 || k >= x.dim(a))
        return invalid(ctx, "index out of range");
      from += k * own[a];
    }
    copyElement(x, from, y, i);
    nextIndex(index, indices.dims());
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferGatherElements(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (ctx.isRanked(1))
    ctx.setTensor(0, e, ctx.shape(1));
  else
    ctx.setUnranked(0, e);
  if (ctx.isRanked(0) && ctx.isRanked(1) && ctx.rank(0) != ctx.rank(1))
    ctx.fail("data and indices differ in rank");
}
ONNXOPT_DEFINE_OP(GatherElements) { op.since(11, movement(inferGatherElements, evalGatherElements)); }

// GatherND

static absl::Status evalGatherND(EvalContext &ctx) {
  const Tensor &x = ctx.in(0), &indices = ctx.in(1);
  int64_t batch = ctx.getInt("batch_dims", 0);
  if (indices.rank() < 1 || batch < 0 || batch >= int64_t(indices.rank()))
    return invalid(ctx, "bad batch_dims");
  int64_t depth = indices.dim(indices.rank() - 1);
  if (batch + depth > int64_t(x.rank()))
    return invalid(ctx, "indices are longer than the rank");
  if (x.dims().take_front(batch) != indices.dims().take_front(batch))
    return invalid(ctx, "batch dimensions differ");
  Dims dims(indices.dims().begin(), indices.dims().end() - 1);
  dims.append(x.dims().begin() + batch + depth, x.dims().end());
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), dims));
  Dims own = stridesOf(x.dims());
  int64_t run = 1, batches = 1, rows = 1;
  for (size_t i = batch + depth; i < x.rank(); ++i)
    run *= x.dim(i);
  for (int64_t i = 0; i < batch; ++i)
    batches *= indices.dim(i);
  for (size_t i = batch; i + 1 < indices.rank(); ++i)
    rows *= indices.dim(i);
  int64_t batchStride = batch ? own[batch - 1] : x.size();
  for (int64_t b = 0; b < batches; ++b)
    for (int64_t r = 0; r < rows; ++r) {
      int64_t from = b * batchStride;
      for (int64_t k = 0; k < depth; ++k) {
        int64_t i = wrapIndex(indices.intAt((b * rows + r) * depth + k), x.dim(batch + k));
        if (i < 0)
          return invalid(ctx, "index out of range");
        from += i * own[batch + k];
      }
      if (run)
        copyElements(x, from, y, (b * rows + r) * run, run);
    }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferGatherND(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  int64_t batch = ctx.getInt("batch_dims", 0);
  if (!ctx.isRanked(0) || !ctx.isRanked(1) || ctx.rank(1) == 0 || !ctx.shape(1).back().isConstant())
    return ctx.setUnranked(0, e);
  int64_t depth = ctx.shape(1).back().constant();
  if (batch < 0 || batch >= int64_t(ctx.rank(1)) || batch + depth > int64_t(ctx.rank(0)))
    return ctx.fail("indices are longer than the rank");
  llvm::SmallVector<Dim, 4> out(ctx.shape(1).begin(), ctx.shape(1).end() - 1);
  for (int64_t i = 0; i < batch; ++i)
    out[i] = ctx.requireEqual(out[i], ctx.shape(0)[i], "batch dimensions differ");
  out.append(ctx.shape(0).begin() + batch + depth, ctx.shape(0).end());
  ctx.setTensor(0, e, out);
}
ONNXOPT_DEFINE_OP(GatherND) { op.since(11, movement(inferGatherND, evalGatherND)); }

// ScatterElements, Scatter, ScatterND

static absl::Status evalScatterElements(EvalContext &ctx) {
  Tensor y = ctx.in(0);
  const Tensor &indices = ctx.in(1), &updates = ctx.in(2);
  int64_t axis = ctx.getInt("axis", 0);
  if (!axisInRange(axis, y.rank()) || indices.rank() != y.rank() || indices.dims() != updates.dims())
    return invalid(ctx, "axis out of range, or operands differ in rank");
  axis = normalizeAxis(axis, y.rank());
  std::string reduction = ctx.getString("reduction", "none");
  Dims own = stridesOf(y.dims()), index(y.rank(), 0);
  for (int64_t i = 0; i < indices.size(); ++i) {
    int64_t at = 0;
    for (size_t a = 0; a < y.rank(); ++a) {
      int64_t k = int64_t(a) == axis ? wrapIndex(indices.intAt(i), y.dim(a)) : index[a];
      if (k < 0 || k >= y.dim(a))
        return invalid(ctx, "index out of range");
      at += k * own[a];
    }
    if (absl::Status s = combine(ctx, reduction, updates, i, y, at); !s.ok())
      return s;
    nextIndex(index, indices.dims());
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferScatterElements(InferContext &ctx) {
  sameType(ctx);
  const SymTensor *x = ctx.value(0), *u = ctx.value(2);
  auto index = constantInts(ctx, 1);
  if (!x || !u || !index || x->dims.size() != 1 || ctx.getString("reduction", "none") != "none")
    return;
  SymTensor r = *x;
  for (size_t i = 0; i < index->size() && i < u->elements.size(); ++i) {
    int64_t k = wrapIndex((*index)[i], r.elements.size());
    if (k < 0)
      return;
    r.elements[k] = u->elements[i];
  }
  ctx.setValue(0, std::move(r));
}
ONNXOPT_DEFINE_OP(ScatterElements) { op.since(11, movement(inferScatterElements, evalScatterElements)); }
ONNXOPT_DEFINE_OP(Scatter) { op.since(9, movement(inferScatterElements, evalScatterElements)); }

static absl::Status evalScatterND(EvalContext &ctx) {
  Tensor y = ctx.in(0);
  const Tensor &indices = ctx.in(1), &updates = ctx.in(2);
  if (indices.rank() < 1)
    return invalid(ctx, "indices need rank 1 or more");
  int64_t depth = indices.dim(indices.rank() - 1), rows = depth ? indices.size() / depth : 1;
  if (!depth)
    for (size_t i = 0; i + 1 < indices.rank(); ++i)
      rows *= indices.dim(i);
  if (depth > int64_t(y.rank()))
    return invalid(ctx, "indices are longer than the rank");
  Dims own = stridesOf(y.dims());
  int64_t run = 1;
  for (size_t i = depth; i < y.rank(); ++i)
    run *= y.dim(i);
  if (updates.size() != rows * run)
    return invalid(ctx, "updates do not match the indices");
  std::string reduction = ctx.getString("reduction", "none");
  for (int64_t r = 0; r < rows; ++r) {
    int64_t at = 0;
    for (int64_t k = 0; k < depth; ++k) {
      int64_t i = wrapIndex(indices.intAt(r * depth + k), y.dim(k));
      if (i < 0)
        return invalid(ctx, "index out of range");
      at += i * own[k];
    }
    for (int64_t j = 0; j < run; ++j)
      if (absl::Status s = combine(ctx, reduction, updates, r * run + j, y, at + j); !s.ok())
        return s;
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferScatterND(InferContext &ctx) {
  sameType(ctx);
  const SymTensor *x = ctx.value(0), *u = ctx.value(2);
  auto index = constantInts(ctx, 1);
  if (!x || !u || !index || x->dims.size() != 1 || ctx.getString("reduction", "none") != "none" ||
      index->size() != u->elements.size())
    return;
  SymTensor r = *x;
  for (size_t i = 0; i < index->size(); ++i) {
    int64_t k = wrapIndex((*index)[i], r.elements.size());
    if (k < 0)
      return;
    r.elements[k] = u->elements[i];
  }
  ctx.setValue(0, std::move(r));
}
ONNXOPT_DEFINE_OP(ScatterND) { op.since(11, movement(inferScatterND, evalScatterND)); }

// TensorScatter (KV cache update along the sequence axis)

static absl::Status evalTensorScatter(EvalContext &ctx) {
  Tensor y = ctx.in(0);
  const Tensor &update = ctx.in(1);
  int64_t axis = ctx.getInt("axis", -2);
  if (!axisInRange(axis, y.rank()) || update.rank() != y.rank())
    return invalid(ctx, "axis out of range, or ranks differ");
  axis = normalizeAxis(axis, y.rank());
  if (axis == 0)
    return invalid(ctx, "axis must not be the batch");
  for (size_t i = 0; i < y.rank(); ++i)
    if (int64_t(i) != axis && update.dim(i) != y.dim(i))
      return invalid(ctx, "cache and update differ beside the axis");
  if (ctx.has(2) && ctx.in(2).size() != y.dim(0))
    return invalid(ctx, "write_indices needs one element for each batch");
  bool circular = ctx.getString("mode", "linear") == "circular";
  AxisSplit s(y.dims(), axis), u(update.dims(), axis);
  int64_t perBatch = s.outer / std::max<int64_t>(1, y.dim(0));
  for (int64_t o = 0; o < s.outer; ++o) {
    int64_t start = ctx.has(2) ? ctx.in(2).intAt(o / std::max<int64_t>(1, perBatch)) : 0;
    for (int64_t k = 0; k < u.axis; ++k) {
      if (start < 0 || start > s.axis)
        return invalid(ctx, "write beyond the cache");
      int64_t at = start + k;
      if (circular && s.axis)
        at %= s.axis;
      if (at < 0 || at >= s.axis)
        return invalid(ctx, "write beyond the cache");
      copyElements(update, (o * u.axis + k) * u.inner, y, (o * s.axis + at) * s.inner, s.inner);
    }
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferTensorScatter(InferContext &ctx) {
  sameType(ctx);
  if (ctx.isRanked(0) && ctx.isRanked(1) && ctx.rank(0) != ctx.rank(1))
    ctx.fail("the cache has rank " + std::to_string(ctx.rank(0)) + ", the update " + std::to_string(ctx.rank(1)));
}
ONNXOPT_DEFINE_OP(TensorScatter) { op.since(24, movement(inferTensorScatter, evalTensorScatter)).ranks({{2, 1}}); }

// Compress, NonZero, OneHot, Unique

static absl::Status evalCompress(EvalContext &ctx) {
  const Tensor &x = ctx.in(0), &condition = ctx.in(1);
  bool flat = !ctx.hasAttribute("axis");
  int64_t axis = ctx.getInt("axis", 0);
  if (!flat && !axisInRange(axis, x.rank()))
    return invalid(ctx, "axis out of range");
  axis = flat ? 0 : normalizeAxis(axis, x.rank());
  Dims whole = flat ? Dims{x.size()} : Dims(x.dims().begin(), x.dims().end());
  AxisSplit s(whole, axis);
  llvm::SmallVector<int64_t, 16> keep;
  for (int64_t i = 0; i < condition.size(); ++i)
    if (condition.data<uint8_t>()[i]) {
      if (i >= s.axis)
        return invalid(ctx, "condition is longer than the axis");
      keep.push_back(i);
    }
  Dims dims = whole;
  dims[axis] = keep.size();
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), dims));
  for (int64_t o = 0; o < s.outer; ++o)
    for (size_t k = 0; k < keep.size(); ++k)
      copyElements(x, (o * s.axis + keep[k]) * s.inner, y, (o * int64_t(keep.size()) + int64_t(k)) * s.inner, s.inner);
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferCompress(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  Dim count = ctx.freshDim();
  if (auto c = ctx.constant(1)) {
    int64_t n = 0;
    for (int64_t i = 0; i < c->size(); ++i)
      n += c->data<uint8_t>()[i] != 0;
    count = ctx.constantDim(n);
  }
  if (!ctx.hasAttribute("axis"))
    return ctx.setTensor(0, e, {count});
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, e);
  auto axis = normalizeAxis(ctx, ctx.getInt("axis"), ctx.rank(0));
  if (!axis)
    return;
  llvm::SmallVector<Dim, 4> out(ctx.shape(0).begin(), ctx.shape(0).end());
  out[*axis] = count;
  ctx.setTensor(0, e, out);
}
ONNXOPT_DEFINE_OP(Compress) { op.since(9, movement(inferCompress, evalCompress)); }

static absl::Status evalNonZero(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  auto isZero = [&](int64_t i) {
    if (x.isString())
      return x.strings()[i].empty();
    if (x.type() == ElementType::Complex64)
      return x.data<std::complex<float>>()[i] == 0.0f;
    if (x.type() == ElementType::Complex128)
      return x.data<std::complex<double>>()[i] == 0.0;
    return isFloating(x.type()) ? x.floatAt(i) == 0 : x.intAt(i) == 0;
  };
  llvm::SmallVector<int64_t, 64> at;
  for (int64_t i = 0; i < x.size(); ++i)
    if (!isZero(i))
      at.push_back(i);
  // A scalar counts as a vector of one.
  Dims own = x.rank() ? stridesOf(x.dims()) : Dims{1};
  int64_t rank = own.size(), n = at.size();
  if (!x.rank())
    rank = 0;
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Int64, {rank, n}));
  for (int64_t k = 0; k < n; ++k) {
    int64_t rest = at[k];
    for (int64_t a = 0; a < rank; ++a) {
      y.mutableData<int64_t>()[a * n + k] = rest / own[a];
      rest %= own[a];
    }
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferNonZero(InferContext &ctx) {
  DimRange bound{0, INT64_MAX};
  if (ctx.isRanked(0))
    bound.hi = ctx.dims().range(product(ctx.dims(), ctx.shape(0))).hi;
  ctx.setTensor(0, ElementType::Int64,
                {ctx.isRanked(0) ? ctx.constantDim(ctx.rank(0)) : ctx.freshDim(), ctx.freshDim(bound)});
}
ONNXOPT_DEFINE_OP(NonZero) {
  op.since(9, {.infer = inferNonZero, .eval = evalNonZero, .total = true, .storage = Storage::Native});
}

static absl::Status evalOneHot(EvalContext &ctx) {
  const Tensor &indices = ctx.in(0), &values = ctx.in(2);
  int64_t depth = ctx.in(1).intAt(0), rank = indices.rank() + 1, axis = ctx.getInt("axis", -1);
  if (!axisInRange(axis, rank) || depth < 0 || values.size() != 2)
    return invalid(ctx, "bad axis, depth or values");
  axis = normalizeAxis(axis, rank);
  Dims dims(indices.dims().begin(), indices.dims().end());
  dims.insert(dims.begin() + axis, depth);
  ONNXOPT_ASSIGN(y, ctx.allocate(values.type(), dims));
  AxisSplit s(dims, axis);
  for (int64_t o = 0; o < s.outer; ++o)
    for (int64_t i = 0; i < s.inner; ++i) {
      int64_t hot = indices.intAt(o * s.inner + i);
      hot = hot < 0 ? hot + depth : hot;
      for (int64_t k = 0; k < depth; ++k)
        copyElement(values, k == hot, y, (o * depth + k) * s.inner + i);
    }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferOneHot(InferContext &ctx) {
  ElementType e = elementOr(ctx, 2);
  if (ctx.isRanked(2) && ctx.rank(2) == 1)
    ctx.requireEqual(ctx.shape(2)[0], ctx.constantDim(2), "values are the off and the on value");
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, e);
  auto axis = normalizeAxis(ctx, ctx.getInt("axis", -1), ctx.rank(0) + 1);
  if (!axis)
    return;
  Dim depth;
  if (const SymTensor *v = ctx.value(1); v && v->elements.size() == 1)
    depth = v->elements[0];
  else if (auto c = ctx.constant(1); c && c->size() == 1)
    depth = ctx.constantDim(c->intAt(0));
  llvm::SmallVector<Dim, 4> out(ctx.shape(0).begin(), ctx.shape(0).end());
  out.insert(out.begin() + *axis, depth ? depth : ctx.freshDim());
  ctx.setTensor(0, e, out);
}
ONNXOPT_DEFINE_OP(OneHot) {
  op.since(9, {.infer = inferOneHot, .eval = evalOneHot, .storage = Storage::Native}).single({1}).ranks({{2, 1}});
}

template <typename T> static bool complexLess(std::complex<T> a, std::complex<T> b) {
  return a.real() != b.real() ? a.real() < b.real() : a.imag() < b.imag();
}

static absl::Status evalUnique(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  bool flat = !ctx.hasAttribute("axis"), sorted = ctx.getInt("sorted", 1);
  int64_t axis = ctx.getInt("axis", 0);
  if (!flat && !axisInRange(axis, x.rank()))
    return invalid(ctx, "axis out of range");
  axis = flat ? 0 : normalizeAxis(axis, x.rank());
  Dims whole = flat ? Dims{x.size()} : Dims(x.dims().begin(), x.dims().end());
  AxisSplit s(whole, axis);
  // Slices along the axis are compared element by element.
  auto elementLess = [&](int64_t a, int64_t b) {
    if (x.isString())
      return x.strings()[a] < x.strings()[b];
    if (x.type() == ElementType::Complex64) // as NumPy: by real parts, then by imaginary ones
      return complexLess(x.data<std::complex<float>>()[a], x.data<std::complex<float>>()[b]);
    if (x.type() == ElementType::Complex128)
      return complexLess(x.data<std::complex<double>>()[a], x.data<std::complex<double>>()[b]);
    return isFloating(x.type())              ? x.floatAt(a) < x.floatAt(b)
           : x.type() == ElementType::Uint64 ? uint64_t(x.intAt(a)) < uint64_t(x.intAt(b))
                                             : x.intAt(a) < x.intAt(b);
  };
  auto sliceCompare = [&](int64_t a, int64_t b) {
    for (int64_t o = 0; o < s.outer; ++o)
      for (int64_t i = 0; i < s.inner; ++i) {
        int64_t p = (o * s.axis + a) * s.inner + i, q = (o * s.axis + b) * s.inner + i;
        if (elementLess(p, q))
          return -1;
        if (elementLess(q, p))
          return 1;
      }
    return 0;
  };
  std::vector<int64_t> order(s.axis);
  for (int64_t i = 0; i < s.axis; ++i)
    order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return sliceCompare(a, b) < 0; });
  std::vector<int64_t> first, group(s.axis), counts;
  for (int64_t i = 0; i < s.axis; ++i) {
    if (i == 0 || sliceCompare(order[i - 1], order[i]) != 0) {
      first.push_back(order[i]);
      counts.push_back(0);
    }
    group[order[i]] = first.size() - 1;
    ++counts.back();
  }
  int64_t n = first.size();
  std::vector<int64_t> rank(n);
  for (int64_t i = 0; i < n; ++i)
    rank[i] = i;
  if (!sorted)
    std::sort(rank.begin(), rank.end(), [&](int64_t a, int64_t b) { return first[a] < first[b]; });
  std::vector<int64_t> place(n);
  for (int64_t i = 0; i < n; ++i)
    place[rank[i]] = i;
  Dims dims = whole;
  dims[axis] = n;
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), dims));
  Tensor firsts(ElementType::Int64, {n}), inverse(ElementType::Int64, {s.axis}), count(ElementType::Int64, {n});
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t o = 0; o < s.outer; ++o)
      copyElements(x, (o * s.axis + first[rank[i]]) * s.inner, y, (o * n + i) * s.inner, s.inner);
    firsts.mutableData<int64_t>()[i] = first[rank[i]];
    count.mutableData<int64_t>()[i] = counts[rank[i]];
  }
  for (int64_t i = 0; i < s.axis; ++i)
    inverse.mutableData<int64_t>()[i] = place[group[i]];
  ctx.set(0, std::move(y));
  ctx.set(1, std::move(firsts));
  ctx.set(2, std::move(inverse));
  ctx.set(3, std::move(count));
  return absl::OkStatus();
}
static void inferUnique(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  Dim n = ctx.freshDim(), length = ctx.freshDim();
  if (!ctx.hasAttribute("axis")) {
    ctx.setTensor(0, e, {n});
    if (ctx.isRanked(0))
      length = product(ctx.dims(), ctx.shape(0));
  } else if (ctx.isRanked(0)) {
    auto axis = normalizeAxis(ctx, ctx.getInt("axis"), ctx.rank(0));
    if (!axis)
      return;
    llvm::SmallVector<Dim, 4> out(ctx.shape(0).begin(), ctx.shape(0).end());
    length = out[*axis];
    out[*axis] = n;
    ctx.setTensor(0, e, out);
  } else {
    ctx.setUnranked(0, e);
  }
  ctx.setTensor(1, ElementType::Int64, {n});
  ctx.setTensor(2, ElementType::Int64, {length});
  ctx.setTensor(3, ElementType::Int64, {n});
}
ONNXOPT_DEFINE_OP(Unique) { op.since(11, movement(inferUnique, evalUnique)); }
