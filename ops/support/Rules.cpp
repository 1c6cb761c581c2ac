// Shared shape rules.
#include "onnxopt/ops/support/Rules.h"

namespace onnxopt::rules {

ElementType elementOr(InferContext &ctx, unsigned operand) {
  return ctx.type(operand).isTensor() ? ctx.element(operand) : ElementType::Undefined;
}

Dim broadcastDim(InferContext &ctx, Dim a, Dim b) {
  if (a && b) {
    if (a != b && a.isConstant() && b.isConstant() && a.constant() != 1 && b.constant() != 1)
      ctx.fail("cannot broadcast " + std::to_string(a.constant()) + " against " + std::to_string(b.constant()));
    return ctx.dims().broadcast(a, b);
  }
  Dim known = a ? a : b;
  bool decides = known && (known.isConstant() ? known.constant() != 1 : ctx.dims().range(known).lo > 1);
  return decides ? known : Dim();
}

std::optional<llvm::SmallVector<Dim, 4>> broadcastShapes(InferContext &ctx, llvm::ArrayRef<unsigned> operands) {
  llvm::SmallVector<Dim, 4> out;
  for (unsigned i : operands) {
    if (!ctx.isRanked(i))
      return std::nullopt;
    llvm::ArrayRef<Dim> s = ctx.shape(i);
    if (s.size() > out.size())
      out.insert(out.begin(), s.size() - out.size(), ctx.constantDim(1));
    for (size_t k = 0; k < s.size(); ++k) {
      Dim &o = out[out.size() - s.size() + k];
      o = broadcastDim(ctx, o, s[k]);
    }
  }
  return out;
}

static void broadcastAs(InferContext &ctx, ElementType e) {
  llvm::SmallVector<unsigned, 4> all;
  for (unsigned i = 0; i < ctx.numOperands(); ++i)
    if (ctx.hasOperand(i))
      all.push_back(i);
  if (auto s = broadcastShapes(ctx, all))
    ctx.setTensor(0, e, *s);
  else
    ctx.setUnranked(0, e);
}

void broadcast(InferContext &ctx) {
  ElementType e = ElementType::Undefined;
  for (unsigned i = 0; i < ctx.numOperands(); ++i) {
    ElementType x = elementOr(ctx, i);
    if (e == ElementType::Undefined)
      e = x;
    else if (x != ElementType::Undefined && x != e)
      ctx.fail("operands of different element types " + nameOf(e).str() + " and " + nameOf(x).str());
  }
  // Versions before 7 broadcast operand 1 to operand 0 only.
  if (ctx.hasAttribute("broadcast") || (ctx.schema() && ctx.schema().attribute("broadcast"))) {
    ctx.isRanked(0) ? ctx.setTensor(0, e, ctx.shape(0)) : ctx.setUnranked(0, e);
    return;
  }
  broadcastAs(ctx, e);
}

void broadcastToBool(InferContext &ctx) {
  if (ctx.hasAttribute("broadcast") || (ctx.schema() && ctx.schema().attribute("broadcast"))) {
    ctx.isRanked(0) ? ctx.setTensor(0, ElementType::Bool, ctx.shape(0)) : ctx.setUnranked(0, ElementType::Bool);
    return;
  }
  broadcastAs(ctx, ElementType::Bool);
}

void mapValues(InferContext &ctx, llvm::function_ref<Dim(Dim, Dim)> f) {
  const SymTensor *a = ctx.value(0), *b = ctx.value(1);
  if (!a || !b || a->dims.size() > 1 || b->dims.size() > 1)
    return;
  size_t na = a->elements.size(), nb = b->elements.size();
  if (na != nb && na != 1 && nb != 1)
    return;
  SymTensor out;
  size_t n = na == 1 ? nb : na;
  out.dims = a->dims.size() >= b->dims.size() ? a->dims : b->dims;
  if (!out.dims.empty())
    out.dims[0] = n;
  for (size_t i = 0; i < n; ++i) {
    Dim x = a->elements[na == 1 ? 0 : i], y = b->elements[nb == 1 ? 0 : i];
    out.elements.push_back(x && y ? f(x, y) : Dim());
  }
  ctx.setValue(0, std::move(out));
}

bool concatenate(InferContext &ctx, llvm::ArrayRef<unsigned> operands, int64_t axis, llvm::SmallVectorImpl<Dim> &out) {
  bool someUnranked = false;
  for (unsigned k : operands) {
    if (!ctx.isRanked(k)) {
      someUnranked = true;
      continue;
    }
    auto at = normalizeAxis(ctx, axis, ctx.rank(k));
    if (!at)
      return false;
    if (out.empty()) {
      out.assign(ctx.shape(k).begin(), ctx.shape(k).end());
      continue;
    }
    if (ctx.rank(k) != out.size()) {
      ctx.fail("operands of different rank");
      return false;
    }
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = int64_t(i) == *at ? ctx.dims().add(out[i], ctx.shape(k)[i])
                                 : ctx.requireEqual(out[i], ctx.shape(k)[i], "sizes off the concatenation axis differ");
  }
  if (someUnranked && !out.empty())
    out[axis < 0 ? axis + out.size() : axis] = Dim();
  return true;
}

std::optional<int64_t> normalizeAxis(InferContext &ctx, int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank) {
    ctx.fail("axis " + std::to_string(axis) + " is out of range for rank " + std::to_string(rank));
    return std::nullopt;
  }
  return axis < 0 ? axis + rank : axis;
}

std::optional<llvm::SmallVector<int64_t, 8>> constantInts(InferContext &ctx, unsigned operand) {
  if (!ctx.hasOperand(operand))
    return std::nullopt;
  if (const SymTensor *v = ctx.value(operand)) {
    llvm::SmallVector<int64_t, 8> out;
    for (Dim d : v->elements) {
      if (!d.isConstant())
        return std::nullopt;
      out.push_back(d.constant());
    }
    return out;
  }
  if (auto t = ctx.constant(operand); t && (isInteger(t->type()) || t->type() == ElementType::Bool))
    return t->ints();
  return std::nullopt;
}

std::optional<llvm::SmallVector<int64_t, 8>> axes(InferContext &ctx, unsigned operand) {
  if (ctx.hasOperand(operand))
    return constantInts(ctx, operand);
  std::vector<int64_t> a = ctx.getInts("axes");
  return llvm::SmallVector<int64_t, 8>(a.begin(), a.end());
}

Dim windowOutput(DimContext &dims, Dim input, const Window &w, llvm::StringRef autoPad) {
  if (!input)
    return Dim();
  Dim stride = dims.constant(w.stride);
  if (autoPad == "SAME_UPPER" || autoPad == "SAME_LOWER")
    return dims.ceilDiv(input, stride);
  int64_t begin = autoPad == "VALID" ? 0 : w.padBegin, end = autoPad == "VALID" ? 0 : w.padEnd;
  // The window covers (kernel - 1) * dilation + 1 places.
  Dim kernel = w.kernel ? w.kernel : dims.constant(1);
  Dim extent = dims.add(dims.mul(dims.sub(kernel, dims.constant(1)), dims.constant(w.dilation)), dims.constant(1));
  Dim room = dims.sub(dims.add(input, dims.constant(begin + end)), extent);
  Dim one = dims.constant(1);
  if (!w.ceil || autoPad == "VALID")
    return dims.add(dims.floorDiv(room, stride), one);
  // The last window must start inside the input or its left padding: at most ceil((input + begin) / stride) windows.
  Dim n = dims.add(dims.ceilDiv(room, stride), one);
  return dims.min(n, dims.ceilDiv(dims.add(input, dims.constant(begin)), stride));
}

Dim product(DimContext &dims, llvm::ArrayRef<Dim> shape) {
  Dim p = dims.constant(1);
  for (Dim d : shape)
    p = dims.mul(p, d);
  return p;
}

} // namespace onnxopt::rules
