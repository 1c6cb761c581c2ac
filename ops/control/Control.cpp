// If, Loop, Scan, SequenceMap.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

using Fact = InferContext::Fact;
using Facts = llvm::SmallVector<Fact, 4>;

namespace {

/// The type that holds whichever of two comes: equal dims stay, others become fresh ones, ranks that differ go.
Type join(InferContext &ctx, const Type &a, const Type &b) {
  if (a.kind != b.kind) {
    // An optional may be spelled by its element.
    if (a.kind == Type::Optional && b.isKnown() && *a.inner == b)
      return a;
    if (b.kind == Type::Optional && a.isKnown() && *b.inner == a)
      return b;
    return {};
  }
  if (a.inner || b.inner) {
    if (!a.inner || !b.inner)
      return {};
    Type t = a;
    t.inner = std::make_shared<const Type>(join(ctx, *a.inner, *b.inner));
    return t;
  }
  if (!a.isTensor())
    return a == b ? a : Type();
  Type t = Type::tensor(a.element == b.element ? a.element : ElementType::Undefined);
  if (!a.ranked || !b.ranked || a.rank() != b.rank())
    return t;
  t.ranked = true;
  for (size_t i = 0; i < a.rank(); ++i) {
    Dim x = a.dims[i], y = b.dims[i];
    if (x && x == y) {
      t.dims.push_back(x);
      continue;
    }
    DimRange r = ctx.dims().range(x), s = ctx.dims().range(y);
    t.dims.push_back(ctx.freshDim({std::max<int64_t>(0, std::min(r.lo, s.lo)), std::max(r.hi, s.hi)}));
  }
  return t;
}

std::optional<bool> knownBool(InferContext &ctx, unsigned i) {
  const std::optional<Tensor> constant = ctx.constant(i);
  return onnxopt::knownBool(ctx.value(i), constant ? &*constant : nullptr);
}

bool asBool(const Datum &d) { return d.isTensor() && d.tensor.size() == 1 && d.tensor.data<uint8_t>()[0]; }

/// What a Loop or Scan without iterations stacks up: `leading` outer dims of the result, then 0 slices along `axis`
/// of the rest. The sizes of a slice are those that inference proves for this run, else those that the body declares
/// (`declared`), else 0, as onnxruntime has it.
absl::StatusOr<Tensor> stackOfNone(EvalContext &ctx, const Type *declared, unsigned result, size_t leading,
                                   size_t axis) {
  const Type whole = ctx.provedType(result);
  const bool declares = declared && declared->isTensor();
  const bool proves = whole.isTensor() && whole.ranked && whole.rank() > leading;
  ElementType e = declares ? declared->element : ElementType::Undefined;
  if (e == ElementType::Undefined)
    e = whole.isTensor() && whole.hasElement() ? whole.element : ElementType::Float;
  Dims dims{0};
  const size_t rank = declares && declared->ranked ? declared->rank() : proves ? whole.rank() - leading - 1 : 0;
  for (size_t i = 0; i < rank; ++i) {
    std::optional<int64_t> size;
    if (proves && whole.rank() == leading + 1 + rank)
      size = whole.dims[leading + i + (i >= axis)].maybeConstant();
    if (!size && declares && declared->ranked)
      size = declared->dims[i].maybeConstant();
    dims.push_back(std::max<int64_t>(0, size.value_or(0)));
  }
  return ctx.allocate(e, dims);
}

/// Stacks tensors of equal shape, at least one, along a new axis 0 (Loop and Scan outputs).
absl::StatusOr<Tensor> stack(EvalContext &ctx, llvm::ArrayRef<Datum> items, bool reverse) {
  const Tensor &first = items[0].tensor;
  Dims dims(first.dims().begin(), first.dims().end());
  dims.insert(dims.begin(), items.size());
  ONNXOPT_ASSIGN(y, ctx.allocate(first.type(), dims));
  for (size_t i = 0; i < items.size(); ++i) {
    const Tensor &t = items[i].tensor;
    if (t.dims() != first.dims() || t.type() != first.type())
      return invalid(ctx, "the slices of an output differ in shape");
    if (t.size())
      copyElements(t, 0, y, int64_t(reverse ? items.size() - 1 - i : i) * t.size(), t.size());
  }
  return y;
}

} // namespace

// If

static absl::Status evalIf(EvalContext &ctx) {
  if (ctx.in(0).size() != 1)
    return invalid(ctx, "the condition must have one element");
  Graph *body = ctx.getGraph(asBool(ctx.datum(0)) ? "then_branch" : "else_branch");
  if (!body)
    return invalid(ctx, "has no body");
  std::vector<Datum> outputs;
  if (absl::Status s = ctx.runRegion(*body, {}, outputs); !s.ok())
    return s;
  for (unsigned i = 0; i < ctx.numResults() && i < outputs.size(); ++i)
    ctx.set(i, outputs[i]);
  return absl::OkStatus();
}
static void inferIf(InferContext &ctx) {
  Graph *thenBody = ctx.getGraph("then_branch"), *elseBody = ctx.getGraph("else_branch");
  if (!thenBody || !elseBody)
    return;
  if (ctx.isRanked(0))
    if (auto n = ctx.type(0).elementCount(); n && *n != 1)
      ctx.fail("the condition has " + std::to_string(*n) + " elements, 1 is needed");
  if (thenBody->outputs().size() != ctx.numResults() || elseBody->outputs().size() != ctx.numResults())
    return ctx.fail("branches have " + std::to_string(thenBody->outputs().size()) + " and " +
                    std::to_string(elseBody->outputs().size()) + " outputs for " + std::to_string(ctx.numResults()) +
                    " results");
  Facts a, b;
  std::optional<bool> known = knownBool(ctx, 0);
  bool okA = ctx.inferRegion(*thenBody, {}, a), okB = ctx.inferRegion(*elseBody, {}, b);
  for (unsigned i = 0; i < ctx.numResults(); ++i) {
    if (known) {
      if (*known ? okA : okB)
        ctx.results[i] = (*known ? a : b)[i];
      continue;
    }
    if (!okA || !okB)
      continue;
    if (a[i].type.isTensor() && b[i].type.isTensor() && a[i].type.hasElement() && b[i].type.hasElement() &&
        a[i].type.element != b[i].type.element)
      ctx.fail("branches give " + nameOf(a[i].type.element).str() + " and " + nameOf(b[i].type.element).str() +
               " for result " + std::to_string(i));
    ctx.results[i].type = join(ctx, a[i].type, b[i].type);
    if (a[i].value && b[i].value && a[i].value->dims == b[i].value->dims) {
      SymTensor v{a[i].value->dims, {}};
      for (size_t k = 0; k < a[i].value->elements.size(); ++k) {
        Dim x = a[i].value->elements[k];
        v.elements.push_back(x == b[i].value->elements[k] ? x : Dim());
      }
      ctx.results[i].value = std::move(v);
    }
  }
}
ONNXOPT_DEFINE_OP(If) { op.since(1, {.infer = inferIf, .eval = evalIf, .storage = Storage::Native}).single({0}); }

// Loop

static absl::Status evalLoop(EvalContext &ctx) {
  Graph *body = ctx.getGraph("body");
  if (!body || body->inputs().size() < 2)
    return invalid(ctx, "has no proper body");
  unsigned carried = body->inputs().size() - 2;
  int64_t trips = ctx.has(0) ? ctx.in(0).intAt(0) : INT64_MAX;
  bool go = ctx.has(1) ? asBool(ctx.datum(1)) : true;
  if (ctx.numOperands() < 2 + carried || body->outputs().size() < 1 + carried)
    return invalid(ctx, "operands and body outputs do not match the loop-carried values");
  std::vector<Datum> state;
  for (unsigned i = 0; i < carried; ++i)
    state.push_back(ctx.isGiven(i + 2) ? ctx.datum(i + 2) : Datum());
  unsigned scans = body->outputs().size() - 1 - carried;
  std::vector<std::vector<Datum>> collected(scans);
  for (int64_t trip = 0; trip < trips && go; ++trip) {
    if (absl::Status s = ctx.step(); !s.ok())
      return s;
    std::vector<Datum> inputs{Tensor::scalar<int64_t>(ElementType::Int64, trip),
                              Tensor::scalar<uint8_t>(ElementType::Bool, go)};
    for (Datum &d : state)
      inputs.push_back(std::move(d));
    std::vector<Datum> outputs;
    if (absl::Status s = ctx.runRegion(*body, std::move(inputs), outputs); !s.ok())
      return s;
    go = asBool(outputs[0]);
    for (unsigned i = 0; i < carried; ++i)
      state[i] = std::move(outputs[i + 1]);
    for (unsigned i = 0; i < scans; ++i)
      collected[i].push_back(std::move(outputs[1 + carried + i]));
  }
  for (unsigned i = 0; i < carried; ++i)
    ctx.set(i, std::move(state[i]));
  for (unsigned i = 0; i < scans; ++i) {
    const OutputSlot &slot = body->outputs()[1 + carried + i];
    ONNXOPT_ASSIGN(y, collected[i].empty() ? stackOfNone(ctx, slot.type.get(), carried + i, 0, 0)
                                           : stack(ctx, collected[i], false));
    ctx.set(carried + i, std::move(y));
  }
  return absl::OkStatus();
}

/// Makes `state` hold `next` too. Dims that differ become symbols of the loop's own, which hold everything from then
/// on; so a fixpoint is reached after each dim was widened once.
static bool widenType(InferContext &ctx, Type &state, const Type &next, llvm::SmallVectorImpl<Dim> &widened) {
  if (state == next)
    return false;
  if (state.kind == next.kind && state.inner && next.inner) {
    Type inner = *state.inner;
    bool changed = widenType(ctx, inner, *next.inner, widened);
    state.inner = std::make_shared<const Type>(std::move(inner));
    return changed;
  }
  if (!state.isTensor() || !next.isTensor()) {
    Type t = join(ctx, state, next);
    bool changed = !(t == state);
    state = std::move(t);
    return changed;
  }
  bool changed = false;
  if (state.element != next.element && state.hasElement()) {
    state.element = ElementType::Undefined;
    changed = true;
  }
  if (!state.ranked)
    return changed;
  if (!next.ranked || next.rank() != state.rank()) {
    state.ranked = false;
    state.dims.clear();
    return true;
  }
  for (size_t i = 0; i < state.rank(); ++i) {
    Dim &d = state.dims[i];
    if ((d && d == next.dims[i]) || llvm::is_contained(widened, d))
      continue;
    d = ctx.freshDim();
    widened.push_back(d);
    changed = true;
  }
  return changed;
}

static bool widen(InferContext &ctx, Fact &state, const Fact &next, llvm::SmallVectorImpl<Dim> &widened) {
  bool changed = false;
  if (state.value &&
      !(next.value && next.value->dims == state.value->dims && next.value->elements == state.value->elements)) {
    state.value.reset();
    changed = true;
  }
  return widenType(ctx, state.type, next.type, widened) || changed;
}

/// The size after the last iteration is none that an iteration sees.
static Type afterLoop(InferContext &ctx, Type t, llvm::ArrayRef<Dim> widened) {
  if (t.inner)
    t.inner = std::make_shared<const Type>(afterLoop(ctx, *t.inner, widened));
  for (Dim &d : t.dims)
    if (llvm::is_contained(widened, d))
      d = ctx.freshDim();
  return t;
}

static void inferLoop(InferContext &ctx) {
  Graph *body = ctx.getGraph("body");
  if (!body)
    return;
  if (body->inputs().size() < 2)
    return ctx.fail("the body needs an iteration number and a condition as inputs");
  unsigned carried = body->inputs().size() - 2;
  if (ctx.numOperands() != 2 + carried && !(ctx.numOperands() < 2 && carried == 0))
    return ctx.fail("the body takes " + std::to_string(carried) + " loop-carried values, the node gives " +
                    std::to_string(int(ctx.numOperands()) - 2));
  if (body->outputs().size() < 1 + carried)
    return ctx.fail("the body has " + std::to_string(body->outputs().size()) + " outputs, at least " +
                    std::to_string(1 + carried) + " are needed");
  unsigned scans = body->outputs().size() - 1 - carried;
  if (ctx.numResults() > carried + scans)
    return ctx.fail("the body gives " + std::to_string(carried + scans) + " results, the node has " +
                    std::to_string(ctx.numResults()));
  Facts state(carried);
  for (unsigned i = 0; i < carried; ++i) {
    state[i].type = ctx.type(i + 2);
    if (const SymTensor *v = ctx.value(i + 2))
      state[i].value = *v;
  }
  Facts outputs;
  llvm::SmallVector<Dim, 4> widened;
  bool stable = false;
  for (int round = 0; round < 8 && !stable; ++round) {
    Facts inputs(2);
    inputs[0].type = Type::tensor(ElementType::Int64, {});
    inputs[1].type = Type::tensor(ElementType::Bool, {});
    inputs[1].value = SymTensor::scalar(ctx.constantDim(1)); // the body only runs while the condition holds
    inputs.append(state.begin(), state.end());
    outputs.clear();
    if (!ctx.inferRegion(*body, inputs, outputs))
      return;
    stable = true;
    for (unsigned i = 0; i < carried; ++i) {
      const Type &before = state[i].type, &after = outputs[i + 1].type;
      if (before.isKnown() && after.isKnown() && before.kind != after.kind && before.kind != Type::Optional)
        return ctx.fail("loop-carried value " + std::to_string(i) + " is " + toString(before, ctx.dims()) +
                        " before and " + toString(after, ctx.dims()) + " after an iteration");
      ElementType a = before.element, b = after.element;
      if (before.isTensor() && after.isTensor() && a != b && a != ElementType::Undefined && b != ElementType::Undefined)
        return ctx.fail("loop-carried value " + std::to_string(i) + " is " + nameOf(a).str() + " before and " +
                        nameOf(b).str() + " after an iteration");
    }
    for (unsigned i = 0; i < carried; ++i)
      if (widen(ctx, state[i], outputs[i + 1], widened))
        stable = false;
  }
  if (outputs[0].type.isTensor() && outputs[0].type.hasElement() && outputs[0].type.element != ElementType::Bool)
    ctx.fail("the body's condition is " + nameOf(outputs[0].type.element).str() + ", bool is needed");
  if (!stable)
    return; // no fixpoint within the budget: nothing is claimed
  for (unsigned i = 0; i < carried; ++i)
    ctx.setType(i, afterLoop(ctx, state[i].type, widened));
  // The trip count is the number of scan slices only when nothing can end the loop early.
  Dim trips;
  bool always =
      outputs[0].value && outputs[0].value->elements.size() == 1 && outputs[0].value->elements[0].isConstant(1);
  std::optional<bool> first = ctx.hasOperand(1) ? knownBool(ctx, 1) : std::optional(true);
  if (const SymTensor *m = ctx.hasOperand(0) ? ctx.value(0) : nullptr;
      m && m->elements.size() == 1 && always && first == true && m->elements[0])
    trips = ctx.dims().max(ctx.constantDim(0), m->elements[0]);
  if (first == false)
    trips = ctx.constantDim(0);
  for (unsigned i = 0; i < scans; ++i) {
    const Type &t = outputs[1 + carried + i].type;
    if (!t.isTensor())
      continue;
    if (!t.ranked) {
      ctx.setUnranked(carried + i, t.element);
      continue;
    }
    llvm::SmallVector<Dim, 4> dims{trips ? trips : ctx.freshDim()};
    // A slice whose size changes from trip to trip cannot be stacked; what varies by data is equal in all slices.
    for (Dim d : t.dims)
      dims.push_back(d && d.dependsOnRun() && !d.isConstant() ? ctx.freshDim() : d);
    ctx.setTensor(carried + i, t.element, dims);
  }
}
ONNXOPT_DEFINE_OP(Loop) {
  op.since(1, {.infer = inferLoop, .eval = evalLoop, .storage = Storage::Native}).single({0, 1});
}

// Scan

namespace {
struct ScanForm {
  unsigned states = 0, scanIns = 0, scanOuts = 0, first = 0; ///< `first`: operand of the first state
  std::vector<int64_t> inAxes, outAxes, inDirections, outDirections;
};
std::optional<ScanForm> scanForm(const NodeView &node, unsigned operands, Graph *body) {
  ScanForm f;
  f.first = node.version() < 9 ? 1 : 0; // Scan-8 has sequence_lens first and a batch dimension
  f.scanIns = node.getInt("num_scan_inputs");
  if (!body || operands < f.first + f.scanIns)
    return std::nullopt;
  f.states = operands - f.first - f.scanIns;
  if (body->inputs().size() != f.states + f.scanIns || body->outputs().size() < f.states)
    return std::nullopt;
  f.scanOuts = body->outputs().size() - f.states;
  f.inAxes = node.getInts("scan_input_axes");
  f.outAxes = node.getInts("scan_output_axes");
  f.inDirections = node.getInts(f.first ? "directions" : "scan_input_directions");
  f.outDirections = node.getInts("scan_output_directions");
  f.inAxes.resize(f.scanIns, 0);
  f.inDirections.resize(f.scanIns, 0);
  f.outAxes.resize(f.scanOuts, 0);
  f.outDirections.resize(f.scanOuts, 0);
  return f;
}

/// Slice `index` along `axis`, which goes.
absl::StatusOr<Tensor> slice(EvalContext &ctx, const Tensor &t, int64_t axis, int64_t index) {
  Dims dims(t.dims().begin(), t.dims().end()), strides = stridesOf(t.dims());
  int64_t offset = strides[axis] * index;
  dims.erase(dims.begin() + axis);
  strides.erase(strides.begin() + axis);
  return stridedCopy(ctx, t, dims, strides, offset);
}

/// Moves axis 0 to `axis`.
absl::StatusOr<Tensor> moveAxis(EvalContext &ctx, const Tensor &t, int64_t axis) {
  if (axis == 0)
    return t;
  Dims dims(t.dims().begin() + 1, t.dims().end()), own = stridesOf(t.dims()), strides(own.begin() + 1, own.end());
  dims.insert(dims.begin() + axis, t.dim(0));
  strides.insert(strides.begin() + axis, own[0]);
  return stridedCopy(ctx, t, dims, strides);
}

absl::Status scanOnce(EvalContext &ctx, const ScanForm &f, Graph &body, std::vector<Datum> state,
                      llvm::ArrayRef<Tensor> inputs, std::vector<Datum> &out) {
  int64_t length = -1;
  Dims axes;
  for (unsigned i = 0; i < f.scanIns; ++i) {
    if (!axisInRange(f.inAxes[i], inputs[i].rank()))
      return invalid(ctx, "scan axis out of range");
    axes.push_back(normalizeAxis(f.inAxes[i], inputs[i].rank()));
    int64_t n = inputs[i].dim(axes.back());
    if (length >= 0 && n != length)
      return invalid(ctx, "scan inputs differ in length");
    length = n;
  }
  std::vector<std::vector<Datum>> collected(f.scanOuts);
  for (int64_t t = 0; t < length; ++t) {
    if (absl::Status s = ctx.step(); !s.ok())
      return s;
    std::vector<Datum> args = state, results;
    for (unsigned i = 0; i < f.scanIns; ++i) {
      ONNXOPT_ASSIGN(x, slice(ctx, inputs[i], axes[i], f.inDirections[i] ? length - 1 - t : t));
      args.push_back(std::move(x));
    }
    if (absl::Status s = ctx.runRegion(body, std::move(args), results); !s.ok())
      return s;
    for (unsigned i = 0; i < f.states; ++i)
      state[i] = results[i];
    for (unsigned i = 0; i < f.scanOuts; ++i)
      collected[i].push_back(results[f.states + i]);
  }
  out = state;
  for (unsigned i = 0; i < f.scanOuts; ++i) {
    const Type *declared = body.outputs()[f.states + i].type.get();
    ONNXOPT_ASSIGN(y, collected[i].empty()
                          ? stackOfNone(ctx, declared, f.states + i, f.first, std::max<int64_t>(0, f.outAxes[i]))
                          : stack(ctx, collected[i], f.outDirections[i]));
    if (!axisInRange(f.outAxes[i], y.rank()))
      return invalid(ctx, "scan output axis out of range");
    ONNXOPT_ASSIGN(z, moveAxis(ctx, y, normalizeAxis(f.outAxes[i], y.rank())));
    out.push_back(std::move(z));
  }
  return absl::OkStatus();
}
} // namespace

static absl::Status evalScan(EvalContext &ctx) {
  Graph *body = ctx.getGraph("body");
  auto f = scanForm(ctx, ctx.numOperands(), body);
  if (!f)
    return invalid(ctx, "operands do not match the body");
  for (unsigned i = f->first; i < ctx.numOperands(); ++i)
    if (!ctx.has(i))
      return invalid(ctx, "an operand is absent");
  std::vector<Datum> state, out;
  llvm::SmallVector<Tensor, 4> inputs;
  if (!f->first) {
    for (unsigned i = 0; i < f->states; ++i)
      state.push_back(ctx.datum(i));
    for (unsigned i = 0; i < f->scanIns; ++i)
      inputs.push_back(ctx.in(f->states + i));
    if (absl::Status s = scanOnce(ctx, *f, *body, state, inputs, out); !s.ok())
      return s;
    for (unsigned i = 0; i < out.size(); ++i)
      ctx.set(i, out[i]);
    return absl::OkStatus();
  }
  // Scan-8: each batch element by itself, results stacked.
  for (unsigned i = 1; i < ctx.numOperands(); ++i)
    if (ctx.in(i).rank() < (i > f->states ? 2 : 1) || ctx.in(i).dim(0) != ctx.in(1).dim(0))
      return invalid(ctx, "operand " + std::to_string(i) + " has no batch axis like that of operand 1");
  int64_t batch = ctx.in(1).dim(0);
  if (ctx.has(0) && ctx.in(0).size() != batch)
    return invalid(ctx, "sequence_lens needs one length for each batch element");
  std::vector<std::vector<Datum>> results;
  for (int64_t b = 0; b < batch; ++b) {
    state.clear();
    inputs.clear();
    for (unsigned i = 0; i < f->states + f->scanIns; ++i) {
      ONNXOPT_ASSIGN(x, slice(ctx, ctx.in(1 + i), 0, b));
      if (i < f->states) {
        state.push_back(std::move(x));
      } else {
        if (ctx.has(0)) { // only the first sequence_lens[b] steps count
          Dims d(x.dims().begin(), x.dims().end());
          d[0] = std::clamp<int64_t>(ctx.in(0).intAt(b), 0, d[0]);
          ONNXOPT_ASSIGN(cut, stridedCopy(ctx, x, d, stridesOf(x.dims())));
          x = cut;
        }
        inputs.push_back(std::move(x));
      }
    }
    out.clear();
    if (absl::Status s = scanOnce(ctx, *f, *body, state, inputs, out); !s.ok())
      return s;
    results.push_back(out);
  }
  for (unsigned i = 0; i < ctx.numResults(); ++i) {
    std::vector<Datum> parts;
    for (auto &r : results)
      parts.push_back(r[i]);
    ONNXOPT_ASSIGN(y, parts.empty() ? stackOfNone(ctx, nullptr, i, 0, 0) : stack(ctx, parts, false));
    ctx.set(i, std::move(y));
  }
  return absl::OkStatus();
}
static void inferScan(InferContext &ctx) {
  Graph *body = ctx.getGraph("body");
  if (!body)
    return;
  auto f = scanForm(ctx, ctx.numOperands(), body);
  if (!f)
    return ctx.fail("operands do not match the body's inputs and outputs");
  bool old = f->first;
  Dim batch, length;
  Facts state(f->states), scanIn(f->scanIns);
  for (unsigned i = 0; i < f->states; ++i) {
    Type t = ctx.type(f->first + i);
    if (old && t.ranked && t.rank()) {
      batch = batch ? batch : t.dims[0];
      t.dims.erase(t.dims.begin());
    }
    state[i].type = t;
  }
  for (unsigned i = 0; i < f->scanIns; ++i) {
    Type t = ctx.type(f->first + f->states + i);
    if (t.isTensor() && t.ranked) {
      if (old && t.rank()) {
        batch = batch ? batch : t.dims[0];
        t.dims.erase(t.dims.begin());
      }
      auto axis = normalizeAxis(ctx, f->inAxes[i], t.rank());
      if (!axis)
        return;
      length = ctx.requireEqual(length, t.dims[*axis], "scan inputs differ in length");
      t.dims.erase(t.dims.begin() + *axis);
    }
    scanIn[i].type = t;
  }
  Facts outputs;
  llvm::SmallVector<Dim, 4> widened;
  bool stable = false;
  for (int round = 0; round < 8 && !stable; ++round) {
    Facts inputs = state;
    inputs.append(scanIn.begin(), scanIn.end());
    outputs.clear();
    if (!ctx.inferRegion(*body, inputs, outputs))
      return;
    stable = true;
    for (unsigned i = 0; i < f->states; ++i)
      if (widen(ctx, state[i], outputs[i], widened))
        stable = false;
  }
  if (!stable)
    return;
  for (unsigned i = 0; i < f->states; ++i) {
    Type t = afterLoop(ctx, state[i].type, widened);
    if (old && t.ranked)
      t.dims.insert(t.dims.begin(), batch ? batch : ctx.freshDim());
    ctx.setType(i, t);
  }
  for (unsigned i = 0; i < f->scanOuts; ++i) {
    Type t = outputs[f->states + i].type;
    if (!t.isTensor())
      continue;
    if (t.ranked) {
      auto axis = normalizeAxis(ctx, f->outAxes[i], t.rank() + 1);
      if (!axis)
        return;
      t.dims.insert(t.dims.begin() + *axis, length && !old                        ? length
                                            : old && !ctx.hasOperand(0) && length ? length
                                                                                  : ctx.freshDim());
      if (old)
        t.dims.insert(t.dims.begin(), batch ? batch : ctx.freshDim());
    }
    ctx.setType(f->states + i, t);
  }
}
ONNXOPT_DEFINE_OP(Scan) { op.since(8, {.infer = inferScan, .eval = evalScan, .storage = Storage::Native}); }

// SequenceMap

static absl::Status evalSequenceMap(EvalContext &ctx) {
  Graph *body = ctx.getGraph("body");
  if (!body || !ctx.has(0) || !ctx.datum(0).isSequence())
    return invalid(ctx, "needs a body and a sequence");
  size_t n = ctx.datum(0).elements().size();
  std::vector<std::vector<Datum>> out(ctx.numResults());
  for (size_t k = 0; k < n; ++k) {
    if (absl::Status s = ctx.step(); !s.ok())
      return s;
    std::vector<Datum> args, results;
    for (unsigned i = 0; i < ctx.numOperands(); ++i) {
      const Datum &d = ctx.datum(i);
      if (d.isSequence() && d.elements().size() != n)
        return invalid(ctx, "sequences differ in length");
      args.push_back(d.isSequence() ? d.elements()[k] : d);
    }
    if (absl::Status s = ctx.runRegion(*body, std::move(args), results); !s.ok())
      return s;
    for (unsigned i = 0; i < out.size() && i < results.size(); ++i)
      out[i].push_back(results[i]);
  }
  for (unsigned i = 0; i < out.size(); ++i)
    ctx.set(i, Datum::sequence(std::move(out[i])));
  return absl::OkStatus();
}
static void inferSequenceMap(InferContext &ctx) {
  Graph *body = ctx.getGraph("body");
  if (!body)
    return;
  if (body->inputs().size() != ctx.numOperands())
    return ctx.fail("the body takes " + std::to_string(body->inputs().size()) + " inputs, the node gives " +
                    std::to_string(ctx.numOperands()));
  Facts inputs, outputs;
  for (unsigned i = 0; i < ctx.numOperands(); ++i) {
    const Type &t = ctx.type(i);
    inputs.push_back({t.kind == Type::Sequence ? *t.inner : t, std::nullopt});
  }
  if (!ctx.inferRegion(*body, inputs, outputs))
    return;
  for (unsigned i = 0; i < ctx.numResults() && i < outputs.size(); ++i) {
    Type t = outputs[i].type;
    // Elements may differ from one another where a size depends on the element.
    for (Dim &d : t.dims)
      if (d && d.dependsOnRun())
        d = ctx.freshDim();
    ctx.setType(i, Type::sequenceOf(t));
  }
}
ONNXOPT_DEFINE_OP(SequenceMap) {
  op.since(17, {.infer = inferSequenceMap, .eval = evalSequenceMap, .storage = Storage::Native});
}
