// Operators on shapes and layout: no element is computed with.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>
#include <numeric>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

namespace {

const std::vector<Reuse> kView = {{0, 0, Reuse::View}};

OpFacts movement(InferFn infer, EvalFn eval, bool view = false) {
  return {.infer = infer, .eval = eval, .storage = Storage::Movement, .reuse = view ? kView : std::vector<Reuse>()};
}
OpFacts view(InferFn infer, EvalFn eval) {
  OpFacts f = movement(infer, eval, true);
  f.storage = Storage::Native; // the bytes stay as they are
  return f;
}

} // namespace

// Constant

static absl::Status evalConstant(EvalContext &ctx) {
  if (const Attribute *a = ctx.node().attribute("sparse_value")) {
    const SparseTensorData &s = std::get<std::vector<SparseTensorData>>(a->value).at(0);
    if (!s.values || !s.indices)
      return invalid(ctx, "incomplete sparse value");
    ONNXOPT_ASSIGN(values, s.values->read());
    ONNXOPT_ASSIGN(indices, s.indices->read());
    ONNXOPT_ASSIGN(t, ctx.allocate(values.type(), s.dims));
    Dims strides = stridesOf(s.dims);
    for (int64_t i = 0; i < values.size(); ++i) {
      int64_t at = 0;
      if (indices.rank() == 1)
        at = indices.intAt(i);
      else
        for (size_t k = 0; k < s.dims.size(); ++k)
          at += indices.intAt(i * s.dims.size() + k) * strides[k];
      if (at < 0 || at >= t.size())
        return invalid(ctx, "sparse index out of range");
      copyElement(values, i, t, at);
    }
    ctx.set(0, std::move(t));
    return absl::OkStatus();
  }
  auto data = constantOf(ctx.node().result(0));
  if (!data)
    return invalid(ctx, "has no value");
  ONNXOPT_ASSIGN(t, data->read());
  ctx.set(0, std::move(t));
  return absl::OkStatus();
}
static void inferConstant(InferContext &ctx) {
  if (auto data = constantOf(ctx.node().result(0))) {
    llvm::SmallVector<Dim, 4> dims;
    for (int64_t d : data->dims)
      dims.push_back(ctx.constantDim(std::max<int64_t>(d, 0)));
    ctx.setTensor(0, data->type, dims);
  } else if (const Attribute *a = ctx.node().attribute("sparse_value")) {
    const auto *s = std::get_if<std::vector<SparseTensorData>>(&a->value);
    if (!s || s->empty() || !(*s)[0].values)
      return;
    llvm::SmallVector<Dim, 4> dims;
    for (int64_t d : (*s)[0].dims)
      dims.push_back(ctx.constantDim(d));
    ctx.setTensor(0, (*s)[0].values->type, dims);
  } else if (ctx.node().attributes().empty()) {
    ctx.fail("a Constant needs a value");
  }
}
ONNXOPT_DEFINE_OP(Constant) {
  op.since(1, {.infer = inferConstant, .eval = evalConstant, .total = true, .storage = Storage::Native});
}

// Shape, Size

static absl::Status evalShape(EvalContext &ctx) {
  llvm::ArrayRef<int64_t> d = ctx.in(0).dims();
  int64_t rank = d.size(), start = ctx.getInt("start", 0), end = ctx.hasAttribute("end") ? ctx.getInt("end") : rank;
  auto clamp = [&](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + rank : v, 0, rank); };
  start = clamp(start);
  end = std::max(start, clamp(end));
  ctx.set(0, Tensor::vector(d.slice(start, end - start)));
  return absl::OkStatus();
}
static void inferShape(InferContext &ctx) {
  if (!ctx.isRanked(0)) {
    if (ctx.getInt("start", 0) == 0 && !ctx.hasAttribute("end"))
      ctx.setTensor(0, ElementType::Int64, {ctx.freshDim()});
    else
      ctx.setTensor(0, ElementType::Int64, {ctx.freshDim()});
    return;
  }
  llvm::ArrayRef<Dim> d = ctx.shape(0);
  int64_t rank = d.size(), start = ctx.getInt("start", 0), end = ctx.hasAttribute("end") ? ctx.getInt("end") : rank;
  auto clamp = [&](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + rank : v, 0, rank); };
  start = clamp(start);
  end = std::max(start, clamp(end));
  ctx.setTensor(0, ElementType::Int64, {ctx.constantDim(end - start)});
  ctx.setValue(0, SymTensor::vector(d.slice(start, end - start)));
}
ONNXOPT_DEFINE_OP(Shape) {
  op.since(1, {.infer = inferShape, .eval = evalShape, .total = true, .storage = Storage::Native});
}

static absl::Status evalSize(EvalContext &ctx) {
  ctx.set(0, Tensor::scalar<int64_t>(ElementType::Int64, ctx.in(0).size()));
  return absl::OkStatus();
}
static void inferSize(InferContext &ctx) {
  ctx.setTensor(0, ElementType::Int64, {});
  if (ctx.isRanked(0))
    ctx.setValue(0, SymTensor::scalar(product(ctx.dims(), ctx.shape(0))));
}
ONNXOPT_DEFINE_OP(Size) {
  op.since(1, {.infer = inferSize, .eval = evalSize, .total = true, .storage = Storage::Native});
}

// Reshape

static absl::Status evalReshape(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  llvm::SmallVector<int64_t, 8> target;
  if (ctx.version() < 5) {
    std::vector<int64_t> s = ctx.getInts("shape");
    target.assign(s.begin(), s.end());
  } else {
    target = ctx.in(1).ints();
  }
  bool allowZero = ctx.getInt("allowzero");
  int64_t known = 1, wild = -1;
  for (size_t i = 0; i < target.size(); ++i) {
    if (target[i] == 0 && !allowZero) {
      if (i >= x.rank())
        return invalid(ctx, "0 in the shape beyond the operand's rank");
      target[i] = x.dim(i);
    }
    if (target[i] == -1) {
      if (wild >= 0)
        return invalid(ctx, "more than one -1 in the shape");
      wild = i;
    } else if (target[i] < 0 || __builtin_mul_overflow(known, target[i], &known)) {
      return invalid(ctx, "bad shape");
    }
  }
  if (wild >= 0) {
    if (known == 0)
      return invalid(ctx, "-1 in the shape beside a size of 0 can be any size");
    if (x.size() % known != 0)
      return invalid(ctx, "the shape does not divide the number of elements");
    target[wild] = x.size() / known;
    known = x.size();
  }
  if (known != x.size())
    return invalid(ctx, absl::StrCat("cannot reshape ", x.size(), " elements to ", known));
  ctx.set(0, x.reshaped(target));
  return absl::OkStatus();
}
static void inferReshape(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  DimContext &dims = ctx.dims();
  SymTensor shape;
  if (ctx.version() < 5) {
    for (int64_t v : ctx.getInts("shape"))
      shape.elements.push_back(ctx.constantDim(v));
  } else if (const SymTensor *v = ctx.value(1)) {
    shape = *v;
  } else {
    // Only the length of the shape may be known.
    if (ctx.isRanked(1) && ctx.rank(1) == 1 && ctx.shape(1)[0].isConstant() && ctx.shape(1)[0].constant() < 64) {
      llvm::SmallVector<Dim, 4> d;
      for (int64_t i = 0; i < ctx.shape(1)[0].constant(); ++i)
        d.push_back(ctx.freshDim());
      ctx.setTensor(0, e, d);
    } else {
      ctx.setUnranked(0, e);
    }
    return;
  }
  bool allowZero = ctx.getInt("allowzero");
  llvm::SmallVector<Dim, 4> out;
  int wild = -1;
  bool unknown = false;
  for (size_t i = 0; i < shape.elements.size(); ++i) {
    Dim d = shape.elements[i];
    bool maybeZero = d && !d.isConstant() && !allowZero && dims.range(d).lo <= 0;
    bool maybeWild = d && !d.isConstant() && dims.range(d).lo < 0;
    if (d.isConstant() && d.constant() == -1) {
      if (wild >= 0)
        ctx.fail("more than one -1 in the shape");
      wild = i;
      out.push_back(Dim());
    } else if (d.isConstant() && d.constant() == 0 && !allowZero) {
      if (ctx.isRanked(0) && i >= ctx.rank(0)) {
        ctx.fail("0 in the shape beyond the operand's rank");
        out.push_back(Dim());
      } else {
        out.push_back(ctx.isRanked(0) ? ctx.shape(0)[i] : Dim());
      }
    } else if (d.isConstant() && d.constant() < 0) {
      ctx.fail("negative size " + std::to_string(d.constant()) + " in the shape");
      out.push_back(Dim());
    } else if (!d || maybeWild) {
      unknown = true;
      out.push_back(Dim());
    } else if (maybeZero && !(ctx.isRanked(0) && i < ctx.rank(0) && ctx.shape(0)[i] == d)) {
      // 0 would copy the operand's size, which a size of an input is taken not to be.
      out.push_back(d);
    } else {
      out.push_back(d);
    }
  }
  if (ctx.isRanked(0)) {
    Dim total = product(dims, ctx.shape(0));
    if (wild >= 0) {
      Dim known = dims.constant(1);
      bool allKnown = !unknown;
      for (size_t i = 0; i < out.size(); ++i)
        if (int(i) != wild) {
          allKnown &= bool(out[i]);
          known = dims.mul(known, out[i]);
        }
      if (allKnown && total && known) {
        if (total.isConstant() && known.isConstant() && known.constant() > 0 &&
            total.constant() % known.constant() != 0)
          ctx.fail("cannot reshape " + std::to_string(total.constant()) +
                   " elements: " + std::to_string(known.constant()) + " does not divide them");
        else if (known.isConstant(0))
          ctx.fail("-1 in the shape beside a size of 0 can be any size");
        else
          out[wild] = dims.floorDiv(total, known);
      }
    } else {
      // One unknown size follows from the others.
      int hole = -1, holes = 0;
      Dim known = dims.constant(1);
      for (size_t i = 0; i < out.size(); ++i) {
        if (!out[i]) {
          hole = i;
          ++holes;
        } else {
          known = dims.mul(known, out[i]);
        }
      }
      if (holes == 1 && total && dims.range(known).lo > 0 && !(unknown && dims.range(known).lo <= 0))
        if (auto q = dims.exactDiv(total, known))
          out[hole] = *q;
      if (holes == 0 && total && dims.proveDifferent(total, known))
        ctx.fail("cannot reshape " + dims.print(total) + " elements to " + dims.print(known));
    }
  }
  for (Dim &d : out)
    if (!d)
      d = ctx.freshDim();
  ctx.setTensor(0, e, out);
  if (const SymTensor *v = ctx.value(0)) {
    SymTensor r = *v;
    r.dims.clear();
    for (Dim d : out)
      if (d.isConstant())
        r.dims.push_back(d.constant());
    if (r.dims.size() == out.size() && elementCount(r.dims) == int64_t(r.elements.size()))
      ctx.setValue(0, std::move(r));
  }
}
ONNXOPT_DEFINE_OP(Reshape) { op.since(1, view(inferReshape, evalReshape)).ranks({{1, 1}}); }

// Flatten

static absl::Status evalFlatten(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  int64_t axis = ctx.getInt("axis", 1);
  if (axis < -int64_t(x.rank()) || axis > int64_t(x.rank()))
    return invalid(ctx, "axis out of range");
  if (axis < 0)
    axis += x.rank();
  int64_t a = 1, b = 1;
  for (size_t i = 0; i < x.rank(); ++i)
    (int64_t(i) < axis ? a : b) *= x.dim(i);
  ctx.set(0, x.reshaped({a, b}));
  return absl::OkStatus();
}
static void inferFlatten(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (!ctx.isRanked(0)) {
    ctx.setTensor(0, e, {ctx.freshDim(), ctx.freshDim()});
    return;
  }
  int64_t axis = ctx.getInt("axis", 1), rank = ctx.rank(0);
  if (axis < -rank || axis > rank) {
    ctx.fail("axis " + std::to_string(axis) + " is out of range for rank " + std::to_string(rank));
    return;
  }
  if (axis < 0)
    axis += rank;
  llvm::ArrayRef<Dim> d = ctx.shape(0);
  ctx.setTensor(0, e, {product(ctx.dims(), d.take_front(axis)), product(ctx.dims(), d.drop_front(axis))});
}
ONNXOPT_DEFINE_OP(Flatten) { op.since(1, view(inferFlatten, evalFlatten)); }

// Squeeze, Unsqueeze

static absl::Status evalSqueeze(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  llvm::SmallVector<int64_t, 8> axes;
  bool all = !ctx.has(1) && !ctx.hasAttribute("axes");
  if (ctx.has(1))
    axes = ctx.in(1).ints();
  else
    for (int64_t a : ctx.getInts("axes"))
      axes.push_back(a);
  llvm::SmallVector<bool, 8> drop(x.rank(), false);
  for (int64_t a : axes) {
    if (!axisInRange(a, x.rank()))
      return invalid(ctx, "axis out of range");
    drop[normalizeAxis(a, x.rank())] = true;
  }
  Dims out;
  for (size_t i = 0; i < x.rank(); ++i) {
    bool dropped = all ? x.dim(i) == 1 : drop[i];
    if (dropped && x.dim(i) != 1)
      return invalid(ctx, absl::StrCat("cannot squeeze axis ", i, " of size ", x.dim(i)));
    if (!dropped)
      out.push_back(x.dim(i));
  }
  ctx.set(0, x.reshaped(out));
  return absl::OkStatus();
}
static void inferSqueeze(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  auto list = axes(ctx, 1);
  bool all = !ctx.hasOperand(1) && !ctx.hasAttribute("axes");
  if (!ctx.isRanked(0) || !list) {
    ctx.setUnranked(0, e);
    return;
  }
  llvm::SmallVector<bool, 8> drop(ctx.rank(0), false);
  if (all) {
    // Which sizes are 1 must be known for every one of them.
    for (size_t i = 0; i < ctx.rank(0); ++i) {
      Dim d = ctx.shape(0)[i];
      if (!d.isConstant() && !(d && ctx.dims().range(d).lo > 1)) {
        ctx.setUnranked(0, e);
        return;
      }
      drop[i] = d.isConstant(1);
    }
  }
  for (int64_t a : *list) {
    auto n = normalizeAxis(ctx, a, ctx.rank(0));
    if (!n)
      return;
    drop[*n] = true;
    if (Dim d = ctx.shape(0)[*n]; d && ctx.dims().proveDifferent(d, ctx.constantDim(1)))
      ctx.fail("cannot squeeze axis " + std::to_string(*n) + " of size " + ctx.dims().print(d));
  }
  llvm::SmallVector<Dim, 4> out;
  for (size_t i = 0; i < ctx.rank(0); ++i)
    if (!drop[i])
      out.push_back(ctx.shape(0)[i]);
  ctx.setTensor(0, e, out);
  if (const SymTensor *v = ctx.value(0))
    if (v->elements.size() == 1 && out.empty())
      ctx.setValue(0, SymTensor::scalar(v->elements[0]));
}
ONNXOPT_DEFINE_OP(Squeeze) { op.since(1, view(inferSqueeze, evalSqueeze)); }

static absl::Status evalUnsqueeze(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  llvm::SmallVector<int64_t, 8> axes;
  if (ctx.has(1))
    axes = ctx.in(1).ints();
  else
    for (int64_t a : ctx.getInts("axes"))
      axes.push_back(a);
  int64_t rank = x.rank() + axes.size();
  llvm::SmallVector<bool, 8> added(rank, false);
  for (int64_t a : axes) {
    if (!axisInRange(a, rank) || added[normalizeAxis(a, rank)])
      return invalid(ctx, "axis out of range or given twice");
    added[normalizeAxis(a, rank)] = true;
  }
  Dims out;
  for (int64_t i = 0, k = 0; i < rank; ++i)
    out.push_back(added[i] ? 1 : x.dim(k++));
  ctx.set(0, x.reshaped(out));
  return absl::OkStatus();
}
static void inferUnsqueeze(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  auto list = axes(ctx, 1);
  if (!ctx.isRanked(0) || !list) {
    // The number of axes alone gives the rank.
    if (ctx.isRanked(0) && ctx.isRanked(1) && ctx.rank(1) == 1 && ctx.shape(1)[0].isConstant() &&
        ctx.shape(1)[0].constant() < 64) {
      llvm::SmallVector<Dim, 4> d;
      for (int64_t i = 0; i < int64_t(ctx.rank(0)) + ctx.shape(1)[0].constant(); ++i)
        d.push_back(ctx.freshDim());
      ctx.setTensor(0, e, d);
    } else {
      ctx.setUnranked(0, e);
    }
    return;
  }
  int64_t rank = ctx.rank(0) + list->size();
  llvm::SmallVector<bool, 8> added(rank, false);
  for (int64_t a : *list) {
    auto n = normalizeAxis(ctx, a, rank);
    if (!n)
      return;
    if (added[*n])
      ctx.fail("axis " + std::to_string(a) + " is given twice");
    added[*n] = true;
  }
  llvm::SmallVector<Dim, 4> out;
  for (int64_t i = 0, k = 0; i < rank; ++i)
    out.push_back(added[i] || k >= int64_t(ctx.rank(0)) ? ctx.constantDim(1) : ctx.shape(0)[k++]);
  ctx.setTensor(0, e, out);
  if (const SymTensor *v = ctx.value(0))
    if (v->dims.empty() && rank == 1)
      ctx.setValue(0, SymTensor::vector(v->elements));
}
ONNXOPT_DEFINE_OP(Unsqueeze) { op.since(1, view(inferUnsqueeze, evalUnsqueeze)); }

// Transpose

static absl::Status evalTranspose(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  std::vector<int64_t> perm = ctx.getInts("perm");
  if (!ctx.hasAttribute("perm"))
    for (int64_t i = x.rank(); i-- > 0;)
      perm.push_back(i);
  if (perm.size() != x.rank())
    return invalid(ctx, "perm does not match the rank");
  Dims own = stridesOf(x.dims()), dims, strides;
  llvm::SmallVector<bool, 8> seen(x.rank(), false);
  for (int64_t p : perm) {
    if (p < 0 || p >= int64_t(x.rank()) || seen[p])
      return invalid(ctx, "perm is no permutation");
    seen[p] = true;
    dims.push_back(x.dim(p));
    strides.push_back(own[p]);
  }
  ONNXOPT_ASSIGN(y, stridedCopy(ctx, x, dims, strides));
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferTranspose(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  std::vector<int64_t> perm = ctx.getInts("perm");
  if (!ctx.isRanked(0)) {
    if (perm.empty())
      return ctx.setUnranked(0, e);
    llvm::SmallVector<Dim, 4> d;
    for (size_t i = 0; i < perm.size(); ++i)
      d.push_back(ctx.freshDim());
    return ctx.setTensor(0, e, d);
  }
  int64_t rank = ctx.rank(0);
  if (!ctx.hasAttribute("perm"))
    for (int64_t i = rank; i-- > 0;)
      perm.push_back(i);
  llvm::SmallVector<bool, 8> seen(rank, false);
  llvm::SmallVector<Dim, 4> out;
  if (int64_t(perm.size()) != rank)
    return ctx.fail("perm has " + std::to_string(perm.size()) + " entries for rank " + std::to_string(rank));
  for (int64_t p : perm) {
    if (p < 0 || p >= rank || seen[p])
      return ctx.fail("perm is no permutation");
    seen[p] = true;
    out.push_back(ctx.shape(0)[p]);
  }
  ctx.setTensor(0, e, out);
  if (rank <= 1)
    if (const SymTensor *v = ctx.value(0))
      ctx.setValue(0, *v);
}
ONNXOPT_DEFINE_OP(Transpose) { op.since(1, movement(inferTranspose, evalTranspose)); }

// Concat

static absl::Status evalConcat(EvalContext &ctx) {
  const Tensor &first = ctx.in(0);
  int64_t axis = ctx.getInt("axis", 1);
  if (!axisInRange(axis, first.rank()))
    return invalid(ctx, "axis out of range");
  axis = normalizeAxis(axis, first.rank());
  Dims dims(first.dims().begin(), first.dims().end());
  dims[axis] = 0;
  for (unsigned k = 0; k < ctx.numOperands(); ++k) {
    const Tensor &t = ctx.in(k);
    if (t.rank() != first.rank() || t.type() != first.type())
      return invalid(ctx, "operands differ in rank or type");
    for (size_t i = 0; i < t.rank(); ++i)
      if (int64_t(i) != axis && t.dim(i) != first.dim(i))
        return invalid(ctx, "operands differ off the axis");
    dims[axis] += t.dim(axis);
  }
  ONNXOPT_ASSIGN(y, ctx.allocate(first.type(), dims));
  AxisSplit whole(dims, axis);
  int64_t at = 0;
  for (unsigned k = 0; k < ctx.numOperands(); ++k) {
    const Tensor &t = ctx.in(k);
    int64_t run = t.dim(axis) * whole.inner;
    for (int64_t o = 0; o < whole.outer && run; ++o)
      copyElements(t, o * run, y, o * whole.axis * whole.inner + at, run);
    at += run;
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferConcat(InferContext &ctx) {
  ElementType e = ElementType::Undefined;
  llvm::SmallVector<unsigned, 8> operands(ctx.numOperands());
  std::iota(operands.begin(), operands.end(), 0);
  for (unsigned k : operands)
    if (e == ElementType::Undefined)
      e = elementOr(ctx, k);
  llvm::SmallVector<Dim, 4> out;
  if (!concatenate(ctx, operands, ctx.getInt("axis", 1), out))
    return;
  if (out.empty())
    return ctx.setUnranked(0, e);
  ctx.setTensor(0, e, out);
  SymTensor value;
  for (unsigned k = 0; k < ctx.numOperands(); ++k) {
    const SymTensor *v = ctx.value(k);
    if (v && v->dims.size() == 1) {
      value.elements.append(v->elements.begin(), v->elements.end());
    } else if ((e == ElementType::Int64 || e == ElementType::Int32) && ctx.isRanked(k) && ctx.rank(k) == 1 &&
               ctx.shape(k)[0].isConstant() && ctx.shape(k)[0].constant() < 64) {
      value.elements.append(ctx.shape(k)[0].constant(), Dim());
    } else {
      return;
    }
  }
  value.dims = {int64_t(value.elements.size())};
  if (llvm::any_of(value.elements, [](Dim d) { return bool(d); }))
    ctx.setValue(0, std::move(value));
}
ONNXOPT_DEFINE_OP(Concat) { op.since(1, movement(inferConcat, evalConcat)); }

// Split

static absl::Status evalSplit(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  int64_t axis = ctx.getInt("axis", 0);
  if (!axisInRange(axis, x.rank()))
    return invalid(ctx, "axis out of range");
  axis = normalizeAxis(axis, x.rank());
  llvm::SmallVector<int64_t, 8> sizes;
  if (ctx.has(1)) {
    sizes = ctx.in(1).ints();
  } else if (ctx.hasAttribute("split")) {
    for (int64_t s : ctx.getInts("split"))
      sizes.push_back(s);
  } else {
    int64_t n = ctx.getInt("num_outputs", ctx.numResults());
    if (n != ctx.numResults())
      return invalid(ctx, "num_outputs differs from the number of results");
    int64_t chunk = (x.dim(axis) + n - 1) / std::max<int64_t>(n, 1);
    if (ctx.version() < 18)
      chunk = x.dim(axis) / n;
    for (int64_t i = 0, left = x.dim(axis); i < n; ++i, left -= chunk)
      sizes.push_back(std::clamp<int64_t>(left, 0, chunk));
  }
  AxisSplit s(x.dims(), axis);
  int64_t at = 0;
  if (sizes.size() != ctx.numResults())
    return invalid(ctx, "needs as many sizes as results");
  for (unsigned k = 0; k < ctx.numResults(); ++k) {
    if (sizes[k] < 0 || sizes[k] > s.axis - at)
      return invalid(ctx, "sizes exceed the axis");
    Dims dims(x.dims().begin(), x.dims().end());
    dims[axis] = sizes[k];
    ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), dims));
    int64_t run = sizes[k] * s.inner;
    for (int64_t o = 0; o < s.outer && run; ++o)
      copyElements(x, (o * s.axis + at) * s.inner, y, o * run, run);
    at += sizes[k];
    ctx.set(k, std::move(y));
  }
  if (at != s.axis)
    return invalid(ctx, "sizes do not add up to the axis");
  return absl::OkStatus();
}
static void inferSplit(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  unsigned n = ctx.numResults();
  if (ctx.version() >= 18 && ctx.hasOperand(1) == ctx.hasAttribute("num_outputs"))
    return ctx.fail("needs either sizes or num_outputs"); // Split-18
  if (!ctx.isRanked(0)) {
    for (unsigned k = 0; k < n; ++k)
      ctx.setUnranked(k, e);
    return;
  }
  auto axis = normalizeAxis(ctx, ctx.getInt("axis", 0), ctx.rank(0));
  if (!axis)
    return;
  Dim total = ctx.shape(0)[*axis];
  llvm::SmallVector<Dim, 8> sizes;
  DimContext &d = ctx.dims();
  if (ctx.hasOperand(1)) {
    if (const SymTensor *v = ctx.value(1))
      sizes.assign(v->elements.begin(), v->elements.end());
  } else if (ctx.hasAttribute("split")) {
    for (int64_t s : ctx.getInts("split"))
      sizes.push_back(d.constant(s));
  } else if (total) {
    int64_t parts = ctx.getInt("num_outputs", n);
    // Split-18: chunks of ceil(size / n), the last one smaller; before, equal parts.
    if (ctx.version() >= 18) {
      if (parts != int64_t(n))
        return ctx.fail("num_outputs is " + std::to_string(parts) + " but there are " + std::to_string(n) + " results");
      Dim chunk = d.ceilDiv(total, d.constant(parts));
      Dim left = total;
      for (int64_t k = 0; k < parts; ++k) {
        sizes.push_back(d.max(d.constant(0), d.min(chunk, left)));
        left = d.sub(left, chunk);
      }
    } else {
      if (total.isConstant() && parts && total.constant() % parts)
        ctx.fail("cannot split " + std::to_string(total.constant()) + " into " + std::to_string(parts) +
                 " equal parts");
      sizes.append(parts, d.floorDiv(total, d.constant(parts)));
    }
  }
  if (!sizes.empty() && sizes.size() != n && ctx.hasOperand(1) + ctx.hasAttribute("split") > 0)
    ctx.fail(std::to_string(sizes.size()) + " sizes for " + std::to_string(n) + " results");
  if (llvm::any_of(sizes, [](Dim s) { return s && s.isConstant() && s.constant() < 0; }))
    return ctx.fail("a size is negative");
  if (sizes.size() == n && total) {
    Dim sum = d.constant(0);
    for (Dim s : sizes)
      sum = s ? d.add(sum, s) : Dim();
    if (sum && (ctx.hasOperand(1) || ctx.hasAttribute("split")))
      ctx.requireEqual(sum, total, "sizes do not add up to the axis");
  }
  const SymTensor *v = ctx.value(0);
  int64_t at = 0;
  for (unsigned k = 0; k < n; ++k) {
    llvm::SmallVector<Dim, 4> out(ctx.shape(0).begin(), ctx.shape(0).end());
    out[*axis] = k < sizes.size() && sizes[k] ? sizes[k] : ctx.freshDim();
    ctx.setTensor(k, e, out);
    if (v && v->dims.size() == 1 && at >= 0) {
      if (!out[0].isConstant() || out[0].constant() > int64_t(v->elements.size()) - at) {
        at = -1;
        continue;
      }
      ctx.setValue(k, SymTensor::vector(llvm::ArrayRef(v->elements).slice(at, out[0].constant())));
      at += out[0].constant();
    }
  }
}
ONNXOPT_DEFINE_OP(Split) { op.since(1, movement(inferSplit, evalSplit)); }

// Slice

namespace {

struct SliceRange {
  int64_t start, step, count;
};

/// Slice-13: start and end are clamped to the axis; a negative step walks down and may end before element 0.
SliceRange sliceRange(int64_t start, int64_t end, int64_t step, int64_t size) {
  if (start < 0)
    start = std::max<int64_t>(start + size, 0);
  if (end < 0)
    end = end < -size - 1 ? -1 : end + size;
  int64_t count;
  if (step > 0) {
    start = std::clamp<int64_t>(start, 0, size);
    end = std::clamp<int64_t>(end, 0, size);
    count = end > start ? ceilDiv(end - start, step) : 0;
  } else {
    start = std::clamp<int64_t>(start, 0, size - 1);
    end = std::clamp<int64_t>(end, -1, size - 1);
    count = start > end ? ceilDiv(start - end, -std::max(step, -INT64_MAX)) : 0;
  }
  return {start, step, size == 0 ? 0 : count};
}

/// The symbolic counterpart; null when it is not certain.
Dim sliceSize(InferContext &ctx, Dim start, Dim end, std::optional<int64_t> step, Dim size) {
  if (!step || !size || !start || !end || *step == 0)
    return Dim();
  DimContext &d = ctx.dims();
  if (start.isConstant() && end.isConstant() && size.isConstant())
    return d.constant(sliceRange(start.constant(), end.constant(), *step, size.constant()).count);
  Dim zero = d.constant(0);
  auto resolve = [&](Dim v) -> Dim { // negative counts from the end
    DimRange r = d.range(v);
    if (r.lo >= 0)
      return v;
    if (r.hi < 0)
      return d.add(v, size);
    return Dim();
  };
  if (*step < 0) {
    // The usual reversal: from the last element to the first.
    bool fromEnd = (start.isConstant() && (start.constant() == -1 || start.constant() >= INT32_MAX));
    bool toBegin = end.isConstant() && end.constant() <= -INT32_MAX;
    if (fromEnd && toBegin)
      return d.ceilDiv(size, d.constant(-*step));
    return Dim();
  }
  Dim s = resolve(start), e = end.isConstant() && end.constant() >= INT32_MAX ? size : resolve(end);
  if (!s || !e)
    return Dim();
  s = d.max(zero, d.min(s, size));
  e = d.max(zero, d.min(e, size));
  Dim length = d.max(zero, d.sub(e, s));
  return *step == 1 ? length : d.ceilDiv(length, d.constant(*step));
}

} // namespace

static absl::Status evalSlice(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  llvm::SmallVector<int64_t, 8> starts, ends, axes, steps;
  auto list = [](const std::vector<int64_t> &v) { return llvm::SmallVector<int64_t, 8>(v.begin(), v.end()); };
  if (ctx.version() < 10) {
    starts = list(ctx.getInts("starts"));
    ends = list(ctx.getInts("ends"));
    axes = list(ctx.getInts("axes"));
  } else {
    starts = ctx.in(1).ints();
    ends = ctx.in(2).ints();
    if (ctx.has(3))
      axes = ctx.in(3).ints();
    if (ctx.has(4))
      steps = ctx.in(4).ints();
  }
  if (axes.empty())
    for (size_t i = 0; i < starts.size(); ++i)
      axes.push_back(i);
  if (ends.size() != starts.size() || axes.size() != starts.size() || (!steps.empty() && steps.size() != starts.size()))
    return invalid(ctx, "starts, ends, axes and steps differ in length");
  Dims dims(x.dims().begin(), x.dims().end()), strides = stridesOf(x.dims());
  int64_t offset = 0;
  Dims own = strides;
  llvm::SmallVector<bool, 8> sliced(x.rank());
  for (size_t i = 0; i < axes.size(); ++i) {
    if (!axisInRange(axes[i], x.rank()))
      return invalid(ctx, "axis out of range");
    int64_t a = normalizeAxis(axes[i], x.rank()), step = steps.empty() ? 1 : steps[i];
    if (step == 0)
      return invalid(ctx, "step is 0");
    if (sliced[a])
      return invalid(ctx, "axis " + std::to_string(a) + " is sliced twice");
    sliced[a] = true;
    SliceRange r = sliceRange(starts[i], ends[i], step, x.dim(a));
    dims[a] = r.count;
    strides[a] = r.count > 1 ? own[a] * r.step : 0; // a step may be huge where it is not taken
    offset += r.count ? own[a] * r.start : 0;
  }
  ONNXOPT_ASSIGN(y, stridedCopy(ctx, x, dims, strides, offset));
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferSlice(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, e);
  using List = std::optional<llvm::SmallVector<Dim, 8>>;
  auto fromInts = [&](const std::vector<int64_t> &v) {
    llvm::SmallVector<Dim, 8> out;
    for (int64_t x : v)
      out.push_back(ctx.constantDim(x));
    return out;
  };
  auto operand = [&](unsigned i) -> List {
    const SymTensor *v = ctx.value(i);
    if (!v)
      return std::nullopt;
    return llvm::SmallVector<Dim, 8>(v->elements.begin(), v->elements.end());
  };
  bool old = ctx.version() < 10;
  List starts = old ? List(fromInts(ctx.getInts("starts"))) : operand(1);
  List ends = old ? List(fromInts(ctx.getInts("ends"))) : operand(2);
  bool hasAxes = old ? ctx.hasAttribute("axes") : ctx.hasOperand(3), hasSteps = !old && ctx.hasOperand(4);
  List axes = hasAxes ? (old ? List(fromInts(ctx.getInts("axes"))) : operand(3)) : std::nullopt;
  List steps = hasSteps ? operand(4) : std::nullopt;
  llvm::SmallVector<Dim, 4> out(ctx.shape(0).begin(), ctx.shape(0).end());
  size_t n = starts ? starts->size() : ends ? ends->size() : axes ? axes->size() : 0;
  if (!n && !old && ctx.isRanked(1) && ctx.rank(1) == 1 && ctx.shape(1)[0].isConstant())
    n = ctx.shape(1)[0].constant();
  bool unclear = (hasAxes && !axes) || (!n && !starts);
  if (unclear) {
    for (Dim &d : out)
      d = ctx.freshDim();
    return ctx.setTensor(0, e, out);
  }
  std::optional<SymTensor> value;
  llvm::SmallVector<bool, 8> sliced(ctx.rank(0));
  for (size_t i = 0; i < n; ++i) {
    Dim axisDim = axes ? (i < axes->size() ? (*axes)[i] : Dim()) : ctx.constantDim(i);
    if (!axisDim.isConstant()) {
      for (Dim &d : out)
        d = ctx.freshDim();
      return ctx.setTensor(0, e, out);
    }
    auto a = normalizeAxis(ctx, axisDim.constant(), ctx.rank(0));
    if (!a)
      return;
    if (sliced[*a])
      return ctx.fail("axis " + std::to_string(*a) + " is sliced twice");
    sliced[*a] = true;
    Dim s = starts && i < starts->size() ? (*starts)[i] : Dim(), t = ends && i < ends->size() ? (*ends)[i] : Dim();
    std::optional<int64_t> step = 1;
    if (hasSteps)
      step = steps && i < steps->size() ? (*steps)[i].maybeConstant() : std::nullopt;
    if (step == 0)
      return ctx.fail("step is 0");
    Dim size = sliceSize(ctx, s, t, step, ctx.shape(0)[*a]);
    DimRange bound{0, ctx.shape(0)[*a] ? ctx.dims().range(ctx.shape(0)[*a]).hi : INT64_MAX};
    out[*a] = size ? size : ctx.freshDim(bound);
    const SymTensor *v = ctx.value(0);
    if (v && v->dims.size() == 1 && s.isConstant() && t.isConstant() && step) {
      SliceRange r = sliceRange(s.constant(), t.constant(), *step, v->elements.size());
      value.emplace();
      for (int64_t k = 0; k < r.count; ++k)
        value->elements.push_back(v->elements[r.start + k * r.step]);
      value->dims = {r.count};
    }
  }
  ctx.setTensor(0, e, out);
  if (value)
    ctx.setValue(0, std::move(*value));
}
ONNXOPT_DEFINE_OP(Slice) { op.since(1, movement(inferSlice, evalSlice)); }

// Expand, Tile

static absl::Status evalExpand(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  auto target = ctx.in(1).ints();
  for (int64_t d : target)
    if (d < 0)
      return invalid(ctx, "negative size in the shape");
  auto dims = broadcastDims(x.dims(), target);
  if (!dims)
    return invalid(ctx, "the operand does not broadcast to the shape");
  ONNXOPT_ASSIGN(y, broadcastTo(ctx, x, *dims));
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferExpand(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  const SymTensor *v = ctx.value(1);
  if (!ctx.isRanked(0) || (!v && !(ctx.isRanked(1) && ctx.rank(1) == 1 && ctx.shape(1)[0].isConstant())))
    return ctx.setUnranked(0, e);
  llvm::SmallVector<Dim, 8> target;
  if (v)
    target.assign(v->elements.begin(), v->elements.end());
  else
    target.resize(std::min<int64_t>(ctx.shape(1)[0].constant(), 64));
  llvm::ArrayRef<Dim> own = ctx.shape(0);
  llvm::SmallVector<Dim, 4> out(std::max(own.size(), target.size()));
  for (size_t i = 0; i < out.size(); ++i) {
    Dim a = i + own.size() >= out.size() ? own[i + own.size() - out.size()] : ctx.constantDim(1);
    Dim b = i + target.size() >= out.size() ? target[i + target.size() - out.size()] : ctx.constantDim(1);
    auto x = a.maybeConstant(), y = b.maybeConstant();
    if (x && y && *x != 1 && *y != 1 && *x != *y)
      ctx.fail("cannot expand " + std::to_string(*x) + " to " + std::to_string(*y));
    if (a && b)
      out[i] = ctx.dims().broadcast(a, b);
    else if (a && a.isConstant() && *x != 1)
      out[i] = a;
    else
      out[i] = ctx.freshDim();
  }
  ctx.setTensor(0, e, out);
  if (const SymTensor *s = ctx.value(0))
    if (out.size() <= 1 && (out.empty() || out[0].isConstant())) {
      SymTensor r;
      for (Dim d : out)
        r.dims.push_back(d.constant());
      int64_t n = elementCount(r.dims).value_or(0);
      if (n <= 1024 && (int64_t(s->elements.size()) == n || s->elements.size() == 1)) {
        for (int64_t i = 0; i < n; ++i)
          r.elements.push_back(s->elements[s->elements.size() == 1 ? 0 : i]);
        ctx.setValue(0, std::move(r));
      }
    }
}
ONNXOPT_DEFINE_OP(Expand) { op.since(8, movement(inferExpand, evalExpand)).ranks({{1, 1}}); }

static absl::Status evalTile(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  llvm::SmallVector<int64_t, 8> repeats;
  if (ctx.version() < 6) { // tiles along one axis
    repeats.assign(x.rank(), 1);
    int64_t axis = ctx.in(2).intAt(0);
    if (!axisInRange(axis, x.rank()))
      return invalid(ctx, "axis out of range");
    repeats[normalizeAxis(axis, x.rank())] = ctx.in(1).intAt(0);
  } else {
    repeats = ctx.in(1).ints();
  }
  if (repeats.size() != x.rank())
    return invalid(ctx, "repeats do not match the rank");
  // As a strided read with one more dimension of stride 0 for each axis.
  Dims dims, strides, own = stridesOf(x.dims()), out;
  for (size_t i = 0; i < x.rank(); ++i) {
    int64_t n;
    if (repeats[i] < 0 || __builtin_mul_overflow(repeats[i], x.dim(i), &n))
      return invalid(ctx, "bad repeats");
    dims.push_back(repeats[i]);
    strides.push_back(0);
    dims.push_back(x.dim(i));
    strides.push_back(own[i]);
    out.push_back(n);
  }
  ONNXOPT_ASSIGN(y, stridedCopy(ctx, x, dims, strides));
  ctx.set(0, y.reshaped(out));
  return absl::OkStatus();
}
static void inferTile(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, e);
  const SymTensor *v = ctx.version() < 6 ? nullptr : ctx.value(1);
  if (v && v->elements.size() != ctx.rank(0))
    return ctx.fail(std::to_string(v->elements.size()) + " repeats for rank " + std::to_string(ctx.rank(0)));
  llvm::SmallVector<Dim, 4> out;
  for (size_t i = 0; i < ctx.rank(0); ++i) {
    Dim d = v ? ctx.dims().mul(ctx.shape(0)[i], v->elements[i]) : Dim();
    out.push_back(d ? d : ctx.freshDim());
  }
  ctx.setTensor(0, e, out);
}
ONNXOPT_DEFINE_OP(Tile) {
  op.since(1, movement(inferTile, evalTile)).single({1, 2});
  op.since(6, movement(inferTile, evalTile));
}

// ConstantOfShape, Range

static absl::Status evalConstantOfShape(EvalContext &ctx) {
  auto dims = ctx.in(0).ints();
  Tensor value = Tensor::scalar<float>(ElementType::Float, 0);
  if (auto data = ctx.getTensor("value")) {
    ONNXOPT_ASSIGN(t, data->read());
    if (t.size() != 1)
      return invalid(ctx, "value must have one element");
    value = t.reshaped({});
  }
  ONNXOPT_ASSIGN(y, stridedCopy(ctx, value, dims, Dims(dims.size(), 0)));
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferConstantOfShape(InferContext &ctx) {
  ElementType e = ElementType::Float;
  std::optional<int64_t> whole = 0;
  if (auto data = ctx.getTensor("value")) {
    e = data->type;
    whole = std::nullopt;
    if (auto t = data->read(); t.ok() && t->size() == 1 && (isInteger(e) || e == ElementType::Bool))
      whole = t->intAt(0);
  } else {
    whole = std::nullopt;
  }
  const SymTensor *v = ctx.value(0);
  if (ctx.isRanked(0) && ctx.rank(0) != 1)
    return ctx.fail("the sizes need rank 1");
  if (!v) {
    if (ctx.isRanked(0) && ctx.shape(0)[0].isConstant() && ctx.shape(0)[0].constant() < 64) {
      llvm::SmallVector<Dim, 4> d;
      for (int64_t i = 0; i < ctx.shape(0)[0].constant(); ++i)
        d.push_back(ctx.freshDim());
      return ctx.setTensor(0, e, d);
    }
    return ctx.setUnranked(0, e);
  }
  llvm::SmallVector<Dim, 4> out;
  for (Dim d : v->elements) {
    if (d.isConstant() && d.constant() < 0)
      return ctx.fail("negative size " + std::to_string(d.constant()));
    out.push_back(d ? d : ctx.freshDim());
  }
  ctx.setTensor(0, e, out);
  if (whole && out.size() <= 1 && (out.empty() || (out[0].isConstant() && out[0].constant() <= 1024))) {
    SymTensor r;
    for (Dim d : out)
      r.dims.push_back(d.constant());
    r.elements.assign(out.empty() ? 1 : out[0].constant(), ctx.constantDim(*whole));
    ctx.setValue(0, std::move(r));
  }
}
ONNXOPT_DEFINE_OP(ConstantOfShape) {
  op.since(9, {.infer = inferConstantOfShape, .eval = evalConstantOfShape, .storage = Storage::Native});
}

static absl::Status evalRange(EvalContext &ctx) {
  const Tensor &start = ctx.in(0), &limit = ctx.in(1), &delta = ctx.in(2);
  absl::Status status;
  auto run = [&](auto tag) {
    using T = typename decltype(tag)::type;
    T a = start.data<T>()[0], b = limit.data<T>()[0], d = delta.data<T>()[0];
    if (d == 0) {
      status = invalid(ctx, "step is 0");
      return;
    }
    double count = std::is_integral_v<T> ? 0 : std::ceil((double(b) - double(a)) / double(d));
    if constexpr (std::is_integral_v<T>) {
      __int128 span = __int128(b) - a, step = d;
      count = double((span + (step > 0 ? step - 1 : step + 1)) / step);
    }
    if (std::isnan(count)) {
      status = invalid(ctx, "start, limit or step is not a number");
      return;
    }
    auto y = ctx.allocate(start.type(), {int64_t(std::clamp(count, 0.0, 9e18))});
    if (!y.ok()) {
      status = y.status();
      return;
    }
    T *p = y->template mutableData<T>();
    for (int64_t i = 0; i < y->size(); ++i)
      p[i] = T(a + T(i) * d);
    ctx.set(0, std::move(*y));
  };
  if (!dispatchNumeric(start.type(), run))
    return unsupportedType(ctx, start.type());
  return status;
}
static void inferRange(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  const SymTensor *a = ctx.value(0), *b = ctx.value(1), *d = ctx.value(2);
  DimContext &dims = ctx.dims();
  Dim size;
  if (a && b && d && a->elements.size() == 1 && b->elements.size() == 1 && d->elements.size() == 1 && isInteger(e)) {
    Dim step = d->elements[0], from = a->elements[0], to = b->elements[0];
    if (from && to && step && dims.range(step).lo > 0)
      size = dims.max(dims.constant(0), dims.ceilDiv(dims.sub(to, from), step));
    else if (from && to && step && dims.range(step).hi < 0)
      size = dims.max(dims.constant(0), dims.ceilDiv(dims.sub(from, to), dims.mul(step, dims.constant(-1))));
    if (size && size.isConstant() && size.constant() <= 1024 && step.isConstant()) {
      SymTensor v;
      v.dims = {size.constant()};
      for (int64_t i = 0; i < size.constant(); ++i)
        v.elements.push_back(dims.add(from, dims.constant(i * step.constant())));
      ctx.setValue(0, std::move(v));
    }
  } else if (auto x = ctx.constant(0), y = ctx.constant(1), z = ctx.constant(2); x && y && z && z->floatAt(0) != 0) {
    size = dims.constant(int64_t(std::max(0.0, std::ceil((y->floatAt(0) - x->floatAt(0)) / z->floatAt(0)))));
  }
  ctx.setTensor(0, e, {size ? size : ctx.freshDim()});
}
ONNXOPT_DEFINE_OP(Range) { op.since(11, {.infer = inferRange, .eval = evalRange}).single({0, 1, 2}); }

// DepthToSpace, SpaceToDepth

static absl::Status evalDepthToSpace(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  int64_t b = ctx.getInt("blocksize");
  if (x.rank() != 4 || b <= 0 || x.dim(1) % (b * b))
    return invalid(ctx, "needs rank 4 and channels divisible by blocksize^2");
  int64_t n = x.dim(0), c = x.dim(1) / (b * b), h = x.dim(2), w = x.dim(3);
  bool crd = ctx.getString("mode", "DCR") == "CRD";
  // Read order n, c, h, bh, w, bw.
  int64_t hw = h * w;
  Dims strides =
      crd ? Dims{c * b * b * hw, b * b * hw, w, b * hw, 1, hw} : Dims{c * b * b * hw, hw, w, b * c * hw, 1, c * hw};
  ONNXOPT_ASSIGN(y, stridedCopy(ctx, x, {n, c, h, b, w, b}, strides));
  ctx.set(0, y.reshaped({n, c, h * b, w * b}));
  return absl::OkStatus();
}
static void inferDepthToSpace(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  int64_t b = ctx.getInt("blocksize");
  DimContext &d = ctx.dims();
  if (!ctx.isRanked(0))
    return ctx.setTensor(0, e, {ctx.freshDim(), ctx.freshDim(), ctx.freshDim(), ctx.freshDim()});
  if (ctx.rank(0) != 4)
    return ctx.fail("needs rank 4");
  if (b <= 0)
    return ctx.fail("blocksize must be at least 1");
  llvm::ArrayRef<Dim> s = ctx.shape(0);
  if (s[1].isConstant() && s[1].constant() % (b * b))
    ctx.fail("channels are not divisible by blocksize^2");
  Dim k = d.constant(b);
  ctx.setTensor(0, e, {s[0], d.floorDiv(s[1], d.constant(b * b)), d.mul(s[2], k), d.mul(s[3], k)});
}
ONNXOPT_DEFINE_OP(DepthToSpace) { op.since(1, movement(inferDepthToSpace, evalDepthToSpace)); }

static absl::Status evalSpaceToDepth(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  int64_t b = ctx.getInt("blocksize");
  if (x.rank() != 4 || b <= 0 || x.dim(2) % b || x.dim(3) % b)
    return invalid(ctx, "needs rank 4 and sizes divisible by blocksize");
  int64_t n = x.dim(0), c = x.dim(1), h = x.dim(2) / b, w = x.dim(3) / b, row = x.dim(3), plane = x.dim(2) * row;
  bool crd = ctx.getString("mode", "DCR") == "CRD";
  Dims dims = crd ? Dims{n, c, b, b, h, w} : Dims{n, b, b, c, h, w};
  Dims strides = crd ? Dims{c * plane, plane, row, 1, b * row, b} : Dims{c * plane, row, 1, plane, b * row, b};
  ONNXOPT_ASSIGN(y, stridedCopy(ctx, x, dims, strides));
  ctx.set(0, y.reshaped({n, c * b * b, h, w}));
  return absl::OkStatus();
}
static void inferSpaceToDepth(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  int64_t b = ctx.getInt("blocksize");
  DimContext &d = ctx.dims();
  if (!ctx.isRanked(0))
    return ctx.setTensor(0, e, {ctx.freshDim(), ctx.freshDim(), ctx.freshDim(), ctx.freshDim()});
  if (ctx.rank(0) != 4 || b <= 0)
    return ctx.fail("needs rank 4 and a positive blocksize");
  llvm::ArrayRef<Dim> s = ctx.shape(0);
  Dim k = d.constant(b);
  ctx.setTensor(0, e, {s[0], d.mul(s[1], d.constant(b * b)), d.floorDiv(s[2], k), d.floorDiv(s[3], k)});
}
ONNXOPT_DEFINE_OP(SpaceToDepth) { op.since(1, movement(inferSpaceToDepth, evalSpaceToDepth)); }

// Trilu, EyeLike, ReverseSequence

static absl::Status evalTrilu(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  if (x.rank() < 2)
    return invalid(ctx, "needs rank 2 or more");
  bool upper = ctx.getInt("upper", 1);
  int64_t k = ctx.has(1) ? ctx.in(1).intAt(0) : 0;
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), x.dims()));
  int64_t rows = x.dim(x.rank() - 2), cols = x.dim(x.rank() - 1);
  int64_t plane = rows * cols, total = plane ? x.size() / plane : 0;
  for (int64_t m = 0; m < total; ++m)
    for (int64_t r = 0; r < rows; ++r) {
      int64_t base = (m * rows + r) * cols;
      int64_t edge = std::clamp<int64_t>(__int128(r) + k > cols ? cols : r + k + (upper ? 0 : 1), 0, cols);
      if (upper ? edge < cols : edge > 0)
        copyElements(x, base + (upper ? edge : 0), y, base + (upper ? edge : 0), upper ? cols - edge : edge);
    }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_OP(Trilu) { op.since(14, movement(sameType, evalTrilu)).single({1}); }

static absl::Status evalEyeLike(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  if (x.rank() != 2)
    return invalid(ctx, "needs rank 2");
  auto type = static_cast<ElementType>(ctx.hasAttribute("dtype") ? ctx.getInt("dtype") : int64_t(x.type()));
  int64_t k = ctx.getInt("k");
  Tensor f(ElementType::Float, x.dims());
  for (int64_t r = 0; r < x.dim(0); ++r)
    if (r + k >= 0 && r + k < x.dim(1))
      f.mutableData<float>()[r * x.dim(1) + r + k] = 1;
  ONNXOPT_ASSIGN(y, ctx.allocate(type, x.dims()));
  if (isSmallFloat(type)) {
    y = fromFloat(f, type);
  } else if (type == ElementType::Bool) {
    for (int64_t i = 0; i < y.size(); ++i)
      y.mutableData<uint8_t>()[i] = f.data<float>()[i] != 0;
  } else if (!dispatchNumeric(type, [&](auto tag) {
               using T = typename decltype(tag)::type;
               for (int64_t i = 0; i < y.size(); ++i)
                 y.mutableData<T>()[i] = T(f.data<float>()[i]);
             })) {
    return unsupportedType(ctx, type);
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferEyeLike(InferContext &ctx) {
  Type t = ctx.type(0);
  if (ctx.hasAttribute("dtype")) {
    if (!t.isTensor())
      t = Type::tensor(ElementType::Float);
    t.element = static_cast<ElementType>(ctx.getInt("dtype"));
  }
  ctx.setType(0, t);
}
ONNXOPT_DEFINE_OP(EyeLike) { op.since(9, {.infer = inferEyeLike, .eval = evalEyeLike, .storage = Storage::Native}); }

static absl::Status evalReverseSequence(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  int64_t time = ctx.getInt("time_axis", 0), batch = ctx.getInt("batch_axis", 1);
  if (x.rank() < 2 || std::min(time, batch) != 0 || std::max(time, batch) != 1)
    return invalid(ctx, "time_axis and batch_axis must be 0 and 1");
  auto lens = ctx.in(1).ints();
  if (int64_t(lens.size()) != x.dim(batch))
    return invalid(ctx, "one length for each batch element is needed");
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), x.dims()));
  int64_t inner = 1;
  for (size_t i = 2; i < x.rank(); ++i)
    inner *= x.dim(i);
  int64_t st = time == 0 ? x.dim(1) : 1, sb = time == 0 ? 1 : x.dim(1);
  for (int64_t b = 0; b < x.dim(batch); ++b)
    for (int64_t t = 0; t < x.dim(time); ++t) {
      int64_t from = t < lens[b] ? lens[b] - 1 - t : t;
      if (from < 0 || from >= x.dim(time))
        return invalid(ctx, "length out of range");
      copyElements(x, (from * st + b * sb) * inner, y, (t * st + b * sb) * inner, inner);
    }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferReverseSequence(InferContext &ctx) {
  const int64_t time = ctx.getInt("time_axis", 0), batch = ctx.getInt("batch_axis", 1);
  if (std::min(time, batch) != 0 || std::max(time, batch) != 1)
    ctx.fail("time_axis and batch_axis must be 0 and 1");
  if (ctx.isRanked(0) && ctx.rank(0) < 2)
    return ctx.fail("operand 0 needs a time and a batch axis, it has rank " + std::to_string(ctx.rank(0)));
  if (ctx.isRanked(0) && ctx.isRanked(1) && ctx.rank(1) == 1 && (batch == 0 || batch == 1))
    ctx.requireEqual(ctx.shape(1)[0], ctx.shape(0)[batch], "one length for each batch element is needed");
  sameType(ctx);
}
ONNXOPT_DEFINE_OP(ReverseSequence) {
  op.since(10, movement(inferReverseSequence, evalReverseSequence)).ranks({{1, 1}});
}

// Pad

static absl::Status evalPad(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  int64_t rank = x.rank();
  llvm::SmallVector<int64_t, 8> given, axes;
  Tensor fill;
  if (ctx.version() < 11) {
    for (int64_t p : ctx.getInts(ctx.version() < 2 ? "paddings" : "pads"))
      given.push_back(p);
    fill = floatScalar(ctx.getFloat("value"), x.type());
  } else {
    given = ctx.in(1).ints();
    if (ctx.has(2))
      fill = ctx.in(2);
    if (ctx.has(3))
      axes = ctx.in(3).ints();
  }
  if (axes.empty())
    for (int64_t i = 0; i < rank; ++i)
      axes.push_back(i);
  if (given.size() != 2 * axes.size())
    return invalid(ctx, "pads need two entries for each axis");
  Dims begin(rank, 0), end(rank, 0), dims(x.dims().begin(), x.dims().end());
  for (size_t i = 0; i < axes.size(); ++i) {
    if (!axisInRange(axes[i], rank))
      return invalid(ctx, "axis out of range");
    int64_t a = normalizeAxis(axes[i], rank);
    begin[a] = given[i];
    end[a] = given[i + axes.size()];
    if (__builtin_add_overflow(x.dim(a), begin[a], &dims[a]) || __builtin_add_overflow(dims[a], end[a], &dims[a]))
      return invalid(ctx, "the padded size is too large");
    if (dims[a] < 0)
      return invalid(ctx, "negative pads exceed the size");
  }
  std::string mode = ctx.getString("mode", "constant");
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), dims));
  if (mode == "constant" && fill.size() == 1 && !x.isString())
    for (int64_t i = 0; i < y.size(); ++i)
      copyElement(fill, 0, y, i);
  // For each axis, where each index of the result reads; -1 stays filled.
  std::vector<std::vector<int64_t>> source(rank);
  for (int64_t a = 0; a < rank; ++a)
    for (int64_t i = 0; i < dims[a]; ++i) {
      int64_t n = x.dim(a), k = i - begin[a];
      if (k < 0 || k >= n) {
        if (mode == "constant" || n == 0)
          k = -1;
        else if (mode == "edge")
          k = std::clamp<int64_t>(k, 0, n - 1);
        else if (mode == "wrap")
          k = ((k % n) + n) % n;
        else { // reflect, without repeating the border
          int64_t period = std::max<int64_t>(1, 2 * (n - 1));
          k = ((k % period) + period) % period;
          if (k >= n)
            k = period - k;
        }
      }
      source[a].push_back(k);
    }
  Dims own = stridesOf(x.dims()), index(rank, 0);
  for (int64_t i = 0; i < y.size(); ++i) {
    int64_t from = 0;
    bool inside = true;
    for (int64_t a = 0; a < rank; ++a) {
      int64_t k = source[a][index[a]];
      inside &= k >= 0;
      from += k * own[a];
    }
    if (inside)
      copyElement(x, from, y, i);
    nextIndex(index, dims);
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferPad(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, e);
  int64_t rank = ctx.rank(0);
  llvm::SmallVector<Dim, 8> pads;
  if (ctx.version() < 11) {
    for (int64_t p : ctx.getInts(ctx.version() < 2 ? "paddings" : "pads"))
      pads.push_back(ctx.constantDim(p));
  } else if (const SymTensor *v = ctx.value(1)) {
    pads.assign(v->elements.begin(), v->elements.end());
  }
  std::optional<llvm::SmallVector<int64_t, 8>> axes;
  if (ctx.version() >= 18 && ctx.hasOperand(3)) {
    axes = constantInts(ctx, 3);
  } else {
    axes.emplace();
    for (int64_t i = 0; i < rank; ++i)
      axes->push_back(i);
  }
  llvm::SmallVector<Dim, 4> out(ctx.shape(0).begin(), ctx.shape(0).end());
  if (pads.empty() || !axes) {
    if (rank && (pads.empty() ? ctx.version() >= 11 : true))
      for (Dim &d : out)
        d = ctx.freshDim();
    return ctx.setTensor(0, e, out);
  }
  if (pads.size() != 2 * axes->size())
    return ctx.fail(std::to_string(pads.size()) + " pads for " + std::to_string(axes->size()) + " axes");
  for (size_t i = 0; i < axes->size(); ++i) {
    auto a = normalizeAxis(ctx, (*axes)[i], rank);
    if (!a)
      return;
    Dim d = ctx.dims().add(ctx.shape(0)[*a], ctx.dims().add(pads[i], pads[i + axes->size()]));
    if (d && ctx.dims().range(d).hi < 0)
      ctx.fail("negative pads exceed the size");
    out[*a] = d ? d : ctx.freshDim();
  }
  ctx.setTensor(0, e, out);
}
ONNXOPT_DEFINE_OP(Pad) {
  op.since(1, movement(inferPad, evalPad));
  op.since(11, movement(inferPad, evalPad)).single({2});
}
