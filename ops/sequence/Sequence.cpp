// Sequences and optionals.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <numeric>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

namespace {

OpFacts container(InferFn infer, EvalFn eval) { return {.infer = infer, .eval = eval, .storage = Storage::Native}; }

/// A position in a sequence of `size`; `end` admits the place after the last.
absl::StatusOr<int64_t> position(EvalContext &ctx, unsigned operand, int64_t size, bool end) {
  int64_t limit = end ? size : size - 1, at = ctx.has(operand) ? ctx.in(operand).intAt(0) : limit;
  if (at < 0)
    at += size;
  if (at < 0 || at > limit)
    return invalid(ctx, "position out of range");
  return at;
}

/// The element type with every dimension that may differ between elements left open.
Type merge(InferContext &ctx, const Type &a, const Type &b) {
  if (!a.isTensor() || !b.isTensor())
    return a == b ? a : a.isKnown() ? b.isKnown() ? Type() : Type() : Type();
  Type t = Type::tensor(a.hasElement() ? a.element : b.element);
  if (!a.ranked || !b.ranked || a.rank() != b.rank())
    return t;
  t.ranked = true;
  for (size_t i = 0; i < a.rank(); ++i)
    t.dims.push_back(a.dims[i] && a.dims[i] == b.dims[i] ? a.dims[i] : ctx.freshDim());
  return t;
}

Type elementOf(InferContext &ctx, unsigned i) {
  const Type &t = ctx.type(i);
  return t.kind == Type::Sequence || t.kind == Type::Optional ? *t.inner : Type();
}

} // namespace

static absl::Status evalSequenceEmpty(EvalContext &ctx) {
  ctx.set(0, Datum::sequence({}));
  return absl::OkStatus();
}
static void inferSequenceEmpty(InferContext &ctx) {
  const auto type = static_cast<ElementType>(ctx.getInt("dtype", 1));
  if (nameOf(type).empty() || type == ElementType::Undefined)
    return ctx.fail("dtype is no element type");
  ctx.setType(0, Type::sequenceOf(Type::tensor(type)));
}
ONNXOPT_DEFINE_OP(SequenceEmpty) { op.since(11, container(inferSequenceEmpty, evalSequenceEmpty)); }

static absl::Status evalSequenceConstruct(EvalContext &ctx) {
  std::vector<Datum> items;
  for (unsigned i = 0; i < ctx.numOperands(); ++i)
    items.push_back(ctx.datum(i));
  ctx.set(0, Datum::sequence(std::move(items)));
  return absl::OkStatus();
}
static void inferSequenceConstruct(InferContext &ctx) {
  Type t = ctx.type(0);
  for (unsigned i = 1; i < ctx.numOperands(); ++i)
    t = merge(ctx, t, ctx.type(i));
  ctx.setType(0, Type::sequenceOf(std::move(t)));
}
ONNXOPT_DEFINE_OP(SequenceConstruct) { op.since(11, container(inferSequenceConstruct, evalSequenceConstruct)); }

static absl::Status evalSequenceInsert(EvalContext &ctx) {
  Datum s = ctx.datum(0);
  auto at = position(ctx, 2, s.elements().size(), true);
  if (!at.ok())
    return at.status();
  auto &items = s.mutableElements();
  items.insert(items.begin() + *at, ctx.datum(1));
  ctx.set(0, std::move(s));
  return absl::OkStatus();
}
static void inferSequenceInsert(InferContext &ctx) {
  Type have = elementOf(ctx, 0);
  if (have.isTensor() && ctx.type(1).isTensor() && have.hasElement() && ctx.type(1).hasElement() &&
      have.element != ctx.type(1).element)
    ctx.fail("a tensor of " + nameOf(ctx.type(1).element).str() + " cannot go into a sequence of " +
             nameOf(have.element).str());
  // A fresh sequence has no shape of its own yet, but it may hold something already.
  ctx.setType(0, Type::sequenceOf(merge(ctx, have, ctx.type(1))));
}
ONNXOPT_DEFINE_OP(SequenceInsert) { op.since(11, container(inferSequenceInsert, evalSequenceInsert)).single({2}); }

static absl::Status evalSequenceErase(EvalContext &ctx) {
  Datum s = ctx.datum(0);
  auto at = position(ctx, 1, s.elements().size(), false);
  if (!at.ok())
    return at.status();
  auto &items = s.mutableElements();
  items.erase(items.begin() + *at);
  ctx.set(0, std::move(s));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_OP(SequenceErase) { op.since(11, container(sameAs<0>, evalSequenceErase)).single({1}); }

static absl::Status evalSequenceAt(EvalContext &ctx) {
  auto at = position(ctx, 1, ctx.datum(0).elements().size(), false);
  if (!at.ok())
    return at.status();
  ctx.set(0, ctx.datum(0).elements()[*at]);
  return absl::OkStatus();
}
static void inferSequenceAt(InferContext &ctx) {
  if (ctx.type(0).kind == Type::Sequence)
    ctx.setType(0, elementOf(ctx, 0));
}
ONNXOPT_DEFINE_OP(SequenceAt) { op.since(11, container(inferSequenceAt, evalSequenceAt)).single({1}); }

static absl::Status evalSequenceLength(EvalContext &ctx) {
  ctx.set(0, Tensor::scalar<int64_t>(ElementType::Int64, ctx.datum(0).elements().size()));
  return absl::OkStatus();
}
static void inferSequenceLength(InferContext &ctx) { ctx.setTensor(0, ElementType::Int64, {}); }
ONNXOPT_DEFINE_OP(SequenceLength) { op.since(11, container(inferSequenceLength, evalSequenceLength)); }

static absl::Status evalSplitToSequence(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  int64_t axis = ctx.getInt("axis", 0);
  if (!axisInRange(axis, x.rank()))
    return invalid(ctx, "axis out of range");
  axis = normalizeAxis(axis, x.rank());
  AxisSplit s(x.dims(), axis);
  llvm::SmallVector<int64_t, 8> sizes;
  bool squeeze = false;
  if (!ctx.has(1)) {
    sizes.assign(s.axis, 1);
    squeeze = !ctx.getInt("keepdims", 1);
  } else if (ctx.in(1).rank() == 0) {
    int64_t chunk = std::min(ctx.in(1).intAt(0), s.axis + 1);
    if (chunk <= 0)
      return invalid(ctx, "the size of parts must be positive");
    for (int64_t at = 0; at < s.axis; at += chunk)
      sizes.push_back(std::min(chunk, s.axis - at));
  } else {
    sizes = ctx.in(1).ints();
  }
  std::vector<Datum> items;
  int64_t at = 0;
  for (int64_t size : sizes) {
    if (size < 0 || size > s.axis - at)
      return invalid(ctx, "sizes exceed the axis");
    Dims dims(x.dims().begin(), x.dims().end());
    dims[axis] = size;
    ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), dims));
    int64_t run = size * s.inner;
    for (int64_t o = 0; o < s.outer && run; ++o)
      copyElements(x, (o * s.axis + at) * s.inner, y, o * run, run);
    at += size;
    if (squeeze) {
      dims.erase(dims.begin() + axis);
      y = y.reshaped(dims);
    }
    items.push_back(std::move(y));
  }
  if (at != s.axis)
    return invalid(ctx, "sizes do not add up to the axis");
  ctx.set(0, Datum::sequence(std::move(items)));
  return absl::OkStatus();
}
static void inferSplitToSequence(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (!ctx.isRanked(0))
    return ctx.setType(0, Type::sequenceOf(Type::tensor(e)));
  auto axis = normalizeAxis(ctx, ctx.getInt("axis", 0), ctx.rank(0));
  if (!axis)
    return;
  llvm::SmallVector<Dim, 4> dims(ctx.shape(0).begin(), ctx.shape(0).end());
  if (!ctx.hasOperand(1)) {
    if (ctx.getInt("keepdims", 1))
      dims[*axis] = ctx.constantDim(1);
    else
      dims.erase(dims.begin() + *axis);
  } else {
    Dim total = dims[*axis];
    dims[*axis] = ctx.freshDim();
    auto sizes = constantInts(ctx, 1);
    if (sizes && !sizes->empty() && llvm::all_equal(*sizes)) {
      bool scalar = ctx.isRanked(1) && ctx.rank(1) == 0;
      if (!scalar || (total.isConstant() && (*sizes)[0] > 0 && total.constant() % (*sizes)[0] == 0))
        dims[*axis] = ctx.constantDim((*sizes)[0]);
    }
    if (sizes && ctx.isRanked(1) && ctx.rank(1) == 1 && total.isConstant() &&
        std::accumulate(sizes->begin(), sizes->end(), int64_t(0)) != total.constant())
      ctx.fail("sizes do not add up to the axis");
  }
  ctx.setType(0, Type::sequenceOf(Type::tensor(e, dims)));
}
ONNXOPT_DEFINE_OP(SplitToSequence) { op.since(11, container(inferSplitToSequence, evalSplitToSequence)); }

static absl::Status evalConcatFromSequence(EvalContext &ctx) {
  llvm::ArrayRef<Datum> items = ctx.datum(0).elements();
  if (items.empty())
    return invalid(ctx, "the sequence is empty");
  bool fresh = ctx.getInt("new_axis");
  const Tensor &first = items[0].tensor;
  int64_t rank = first.rank() + fresh, axis = ctx.getInt("axis");
  if (!axisInRange(axis, rank))
    return invalid(ctx, "axis out of range");
  axis = normalizeAxis(axis, rank);
  Dims dims;
  int64_t total = 0;
  for (const Datum &d : items) {
    dims.assign(d.tensor.dims().begin(), d.tensor.dims().end());
    if (fresh)
      dims.insert(dims.begin() + axis, 1);
    if (int64_t(dims.size()) != rank || d.tensor.type() != first.type())
      return invalid(ctx, "elements differ in rank or type");
    total += dims[axis];
  }
  dims[axis] = total;
  ONNXOPT_ASSIGN(y, ctx.allocate(first.type(), dims));
  AxisSplit s(dims, axis);
  int64_t at = 0;
  for (const Datum &d : items) {
    int64_t n = fresh ? 1 : d.tensor.dim(axis), run = n * s.inner;
    if (d.tensor.size() != s.outer * run)
      return invalid(ctx, "elements differ off the axis");
    for (int64_t o = 0; o < s.outer && run; ++o)
      copyElements(d.tensor, o * run, y, (o * s.axis + at) * s.inner, run);
    at += n;
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferConcatFromSequence(InferContext &ctx) {
  Type t = elementOf(ctx, 0);
  if (!t.isTensor())
    return;
  if (!t.ranked)
    return ctx.setUnranked(0, t.element);
  const int64_t fresh = ctx.getInt("new_axis");
  if (fresh != 0 && fresh != 1)
    return ctx.fail("new_axis must be 0 or 1");
  auto axis = normalizeAxis(ctx, ctx.getInt("axis"), t.rank() + fresh);
  if (!axis)
    return;
  if (fresh)
    t.dims.insert(t.dims.begin() + *axis, ctx.freshDim());
  else
    t.dims[*axis] = ctx.freshDim();
  ctx.setType(0, t);
}
ONNXOPT_DEFINE_OP(ConcatFromSequence) { op.since(11, container(inferConcatFromSequence, evalConcatFromSequence)); }

// Optional

static absl::Status evalOptional(EvalContext &ctx) {
  ctx.set(0, ctx.isGiven(0) ? ctx.datum(0) : Datum());
  return absl::OkStatus();
}
static void inferOptional(InferContext &ctx) {
  if (!ctx.hasOperand(0) && !ctx.hasAttribute("type"))
    return ctx.fail("needs either an operand or the attribute 'type'");
  if (ctx.hasOperand(0)) {
    if (ctx.type(0).isKnown())
      ctx.setType(0, Type::optionalOf(ctx.type(0)));
  } else if (const Attribute *a = ctx.node().attribute("type")) {
    if (const auto *t = std::get_if<std::vector<Type>>(&a->value); t && !t->empty())
      ctx.setType(0, Type::optionalOf(t->front()));
  }
}
ONNXOPT_DEFINE_OP(Optional) { op.since(15, container(inferOptional, evalOptional)); }

static absl::Status evalOptionalHasElement(EvalContext &ctx) {
  ctx.set(0, Tensor::scalar<uint8_t>(ElementType::Bool, ctx.has(0)));
  return absl::OkStatus();
}
static void inferOptionalHasElement(InferContext &ctx) {
  ctx.setTensor(0, ElementType::Bool, {});
  if (!ctx.hasOperand(0))
    ctx.setValue(0, SymTensor::scalar(ctx.constantDim(0)));
  else if (ctx.type(0).isKnown() && ctx.type(0).kind != Type::Optional)
    ctx.setValue(0, SymTensor::scalar(ctx.constantDim(1)));
}
ONNXOPT_DEFINE_OP(OptionalHasElement) { op.since(15, container(inferOptionalHasElement, evalOptionalHasElement)); }

static absl::Status evalOptionalGetElement(EvalContext &ctx) {
  if (!ctx.has(0))
    return invalid(ctx, "the optional is empty");
  ctx.set(0, ctx.datum(0));
  return absl::OkStatus();
}
static void inferOptionalGetElement(InferContext &ctx) {
  ctx.setType(0, ctx.type(0).kind == Type::Optional ? *ctx.type(0).inner : ctx.type(0));
}
ONNXOPT_DEFINE_OP(OptionalGetElement) { op.since(15, container(inferOptionalGetElement, evalOptionalGetElement)); }
