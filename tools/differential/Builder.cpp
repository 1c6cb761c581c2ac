// Leaves, trial runs, and what rounding may do to each value.
#include "onnxopt/tools/differential/Builder.h"

#include "onnxopt/exec/Compare.h"
#include "onnxopt/ir/SmallFloat.h"
#include "onnxopt/ops/Inference.h"
#include "onnxopt/verifier/Verifier.h"

#include <cmath>
#include <cstring>

namespace onnxopt::differential {
namespace {

/// Operators whose float results are exact on small whole numbers, in any order of evaluation.
bool isExactArithmetic(llvm::StringRef op) {
  static const std::set<llvm::StringRef> ops = {"Add",         "Sub",           "Mul",
                                                "Neg",         "Abs",           "Min",
                                                "Max",         "Relu",          "Floor",
                                                "Ceil",        "Round",         "Sign",
                                                "Clip",        "MatMul",        "Gemm",
                                                "Conv",        "ReduceSum",     "ReduceMax",
                                                "Sum",         "CumSum",        "Einsum",
                                                "ReduceMin",   "MaxPool",       "ReduceL1",
                                                "ConvInteger", "GlobalMaxPool", "ReduceSumSquare"};
  return ops.count(op);
}

/// Operators that move elements and compute nothing with them.
bool isMovement(llvm::StringRef op) {
  static const std::set<llvm::StringRef> ops = {"Identity",
                                                "Reshape",
                                                "Transpose",
                                                "Squeeze",
                                                "Unsqueeze",
                                                "Flatten",
                                                "Concat",
                                                "Split",
                                                "Slice",
                                                "Gather",
                                                "GatherElements",
                                                "GatherND",
                                                "Expand",
                                                "Tile",
                                                "Pad",
                                                "Where",
                                                "Trilu",
                                                "Shape",
                                                "SequenceConstruct",
                                                "SequenceAt",
                                                "SplitToSequence",
                                                "Size",
                                                "Constant",
                                                "Dropout",
                                                "OptionalGetElement",
                                                "Optional",
                                                "DepthToSpace",
                                                "SpaceToDepth",
                                                "ConstantOfShape",
                                                "ReverseSequence",
                                                "ConcatFromSequence",
                                                "SequenceInsert",
                                                "SequenceErase",
                                                "SequenceLength",
                                                "SequenceEmpty",
                                                "EyeLike",
                                                "Range",
                                                "CenterCropPad",
                                                "ScatterElements",
                                                "ScatterND",
                                                "Compress",
                                                "OptionalHasElement"};
  return ops.count(op);
}

/// Operators whose float results move little when their operands move little.
bool isContinuous(llvm::StringRef op) {
  static const std::set<llvm::StringRef> ops = {"Exp",
                                                "Tanh",
                                                "Sigmoid",
                                                "Erf",
                                                "Softmax",
                                                "LogSoftmax",
                                                "Sin",
                                                "Cos",
                                                "Softplus",
                                                "Gelu",
                                                "Elu",
                                                "Selu",
                                                "LeakyRelu",
                                                "PRelu",
                                                "Softsign",
                                                "AveragePool",
                                                "GlobalAveragePool",
                                                "ReduceMean",
                                                "ReduceL2",
                                                "LayerNormalization",
                                                "BatchNormalization",
                                                "Mish",
                                                "HardSwish",
                                                "HardSigmoid",
                                                "InstanceNormalization",
                                                "Swish",
                                                "RMSNormalization",
                                                "Mean"};
  static const std::set<llvm::StringRef> jumps = {"Floor", "Ceil", "Round", "Sign"};
  return ops.count(op) || isMovement(op) || (isExactArithmetic(op) && !jumps.count(op));
}

/// Whether sums and products of such elements are exact: whole multiples of 2^-8 below 2^14 in single precision.
bool isSmallWhole(const Datum &d) {
  if (d.items)
    return llvm::all_of(*d.items, isSmallWhole);
  if (!d.isTensor() || !isFloating(d.tensor.type()))
    return true;
  bool wide = d.tensor.type() == ElementType::Float || d.tensor.type() == ElementType::Double;
  double bound = wide ? 16384 : d.tensor.type() == ElementType::Float16 ? 64 : 0, step = wide ? 256 : 4;
  for (int64_t i = 0; i < d.tensor.size(); ++i) {
    double x = d.tensor.floatAt(i);
    if (std::isfinite(x) && !(std::fabs(x) <= bound && x * step == std::floor(x * step)))
      return false;
  }
  return true;
}

/// Whether some float is no number that any type could hold.
bool hasExtremes(const Datum &d) {
  if (d.items)
    return llvm::any_of(*d.items, hasExtremes);
  if (!d.isTensor() || !(isFloating(d.tensor.type()) || isInteger(d.tensor.type())))
    return false;
  for (int64_t i = 0; i < d.tensor.size(); ++i)
    if (!(std::fabs(isFloating(d.tensor.type()) ? d.tensor.floatAt(i) : double(d.tensor.intAt(i))) < 1e6))
      return true;
  return false;
}

/// Whether the standard says too little of what `n` gives.
bool leavesOpen(const Node &n) {
  if (!isDeterministic(n) || n.is("DynamicQuantizeLinear")) // of zeros alone: the scale is 0, 1 or 1/255
    return true;
  if (n.is("Dropout") && opsetVersion(n) < 12) // the mask of a run that drops nothing
    return true;
  if (n.opType().starts_with("ReduceLog") || n.is("ReduceL2")) // of whole numbers: how the result rounds
    return true;
  const Attribute *sorted = n.is("TopK") ? n.attribute("sorted") : nullptr;
  return sorted && sorted->asInt() != 1;
}

bool hasFloats(const Datum &d) {
  if (d.items)
    return llvm::any_of(*d.items, hasFloats);
  return d.isTensor() && !d.tensor.isString() &&
         (isFloating(d.tensor.type()) || d.tensor.type() == ElementType::Complex64 ||
          d.tensor.type() == ElementType::Complex128);
}

/// Types that numpy has: others cannot be graph inputs in every runtime's Python interface.
bool isCommon(ElementType e) {
  return bitWidth(e) >= 8 && (!isSmallFloat(e) || e == ElementType::Float16) && e != ElementType::Complex64 &&
         e != ElementType::Complex128;
}

uint64_t elementsOf(const Datum &d) {
  if (d.isTensor())
    return uint64_t(d.tensor.size());
  uint64_t n = 0;
  if (d.items)
    for (const Datum &x : *d.items)
      n += elementsOf(x);
  return n;
}

constexpr uint64_t kMaxElements = 1 << 14;

} // namespace

bool sameBits(const Datum &a, const Datum &b) {
  if (!exec::compare(a, b, {0, 0}).equal)
    return false;
  // Equal as numbers: only zeros can still differ, by their sign.
  if (a.items) {
    for (size_t i = 0; i < a.items->size(); ++i)
      if (!sameBits((*a.items)[i], (*b.items)[i]))
        return false;
    return true;
  }
  if (!a.isTensor() || a.tensor.isString() || !isFloating(a.tensor.type()))
    return true;
  for (int64_t i = 0; i < a.tensor.size(); ++i)
    if (double x = a.tensor.floatAt(i), y = b.tensor.floatAt(i); x == 0 && std::signbit(x) != std::signbit(y))
      return false;
  return true;
}

Builder::Builder(Context &context, uint64_t seed, int64_t opset)
    : random(seed), model(std::make_unique<Model>(context)), context_(context), opset_(opset) {
  // The format version that brought the newest of each opset's types and fields.
  static const std::pair<int64_t, int64_t> formats[] = {{25, 12}, {23, 11}, {21, 10}, {19, 9}, {15, 8}, {13, 7}};
  model->irVersion = 6;
  for (auto [from, format] : formats)
    if (opset >= from) {
      model->irVersion = format;
      break;
    }
  model->opsets.push_back({"", opset});
  model->producerName = "onnx-fuzz";
  graph().name = "g";
  context.smallestInputDim = 1;
}

bool Builder::require(llvm::StringRef domain, int64_t version) {
  for (const OpsetImport &o : model->opsets)
    if (o.domain == domain)
      return o.version == version;
  model->opsets.push_back({domain.str(), version});
  return true;
}

llvm::StringRef Builder::freshName(llvm::StringRef stem) {
  return context_.intern(stem.str() + std::to_string(names_++));
}

Dims Builder::shape() {
  static const int64_t sizes[] = {1, 1, 2, 2, 3, 3, 4, 5, 0};
  Dims d(random.below(random.chance(80) ? 5 : 6));
  int64_t total = 1;
  for (int64_t &n : d) {
    n = sizes[random.below(random.chance(10) ? 9 : 8)];
    if (total * n > 256)
      n = 1;
    total *= std::max<int64_t>(n, 1);
  }
  return d;
}

Tensor Builder::tensor(ElementType type, llvm::ArrayRef<int64_t> dims) {
  Tensor t(type, dims);
  bool special = random.chance(4), halves = random.chance(20);
  char *bytes = t.isString() ? nullptr : t.mutableBytes();
  for (int64_t i = 0; i < t.size(); ++i) {
    double x = double(random.between(-4, 4)) / (halves ? 2 : 1);
    static const double odd[] = {NAN, INFINITY, -INFINITY, -0.0, 1e30, 1e-30};
    if (special && random.chance(25))
      x = odd[random.below(6)];
    switch (type) {
    case ElementType::Float:
      t.mutableData<float>()[i] = float(x);
      break;
    case ElementType::Double:
      t.mutableData<double>()[i] = x;
      break;
    case ElementType::Bool:
      bytes[i] = char(random.below(2));
      break;
    case ElementType::String: {
      static const char *const words[] = {"", "a", "b", "ab", "B", "1", "-2.5", "é"};
      t.mutableStrings()[i] = words[random.below(8)];
      break;
    }
    case ElementType::Complex64:
      t.mutableData<float>()[2 * i] = float(x);
      t.mutableData<float>()[2 * i + 1] = float(random.between(-2, 2));
      break;
    case ElementType::Complex128:
      t.mutableData<double>()[2 * i] = x;
      t.mutableData<double>()[2 * i + 1] = double(random.between(-2, 2));
      break;
    default:
      if (isSmallFloat(type)) {
        storeSmallFloat(type, bytes, i, float(x));
      } else if (unsigned width = bitWidth(type) / 8) {
        bool isSigned = type == ElementType::Int8 || type == ElementType::Int16 || type == ElementType::Int32 ||
                        type == ElementType::Int64;
        int64_t n =
            special && random.chance(25) ? int64_t(random.below(UINT64_MAX)) : random.between(isSigned ? -4 : 0, 5);
        std::memcpy(bytes + i * width, &n, width);
      }
    }
  }
  // Sub-byte integers: any bits will do, but the padding of the last byte stays 0.
  if (unsigned bits = bitWidth(type); bits && bits < 8 && !isSmallFloat(type))
    for (int64_t i = 0; i < t.size(); ++i)
      bytes[i * bits / 8] = char(uint8_t(bytes[i * bits / 8]) | random.below(1u << bits) << (i * bits % 8));
  return t;
}

Builder::Known &Builder::leaf(Tensor t, bool constant) {
  auto data = TensorData::of(t);
  unsigned kind = constant ? 2 + random.below(2) : random.below(10);
  // Constant-1 gives floats only.
  if (kind == 3 && opset_ < 9 && !isFloating(t.type()))
    kind = 2;
  if (!isCommon(t.type()) && kind != 2 && kind != 3)
    kind = 2 + (opset_ < 9 ? 0 : random.below(2));
  Value *v;
  if (kind == 2) {
    v = graph().addInitializer(freshName("w"), data);
  } else if (kind == 3) {
    Node *n = graph().createNode("Constant", "", {}, 1, graph().nodes().empty() ? nullptr : &graph().nodes().front());
    n->setAttribute(makeAttribute(context_.intern("value"), std::shared_ptr<const TensorData>(data)));
    v = n->result(0);
    v->setName(freshName("c"));
  } else {
    v = graph().addInput(freshName("x"));
    Type type = Type::tensor(t.type());
    type.ranked = true;
    bool dynamic = random.chance(40);
    for (int64_t n : t.dims()) {
      Dim d = context_.dims().constant(n);
      if (dynamic && n > 0 && random.chance(60)) {
        // Equal sizes share a symbol or have one each; both must be right.
        std::vector<std::string> &names = symbols_[n];
        if (names.empty() || random.chance(30))
          names.push_back("d" + std::to_string(n) + std::string(names.size(), '_'));
        d = context_.dims().symbol("", random.pick(names), 1);
      }
      type.dims.push_back(d);
    }
    v->setDeclaredType(std::move(type));
    if (kind == 4 && !t.isString())
      v->setInitializer(data);
    else
      inputs_[v->name().str()] = t;
  }
  pool.push_back({v, Datum(t)});
  return pool.back();
}

absl::Status Builder::run(llvm::DenseMap<const Value *, Datum> &seen) {
  exec::RunOptions options;
  options.memoryBytes = 1 << 26;
  options.steps = 20000;
  options.observe = [&](const Value &v, const Datum &d) -> absl::Status {
    if (elementsOf(d) > kMaxElements)
      return absl::ResourceExhaustedError("a value is large");
    seen[&v] = d;
    return absl::OkStatus();
  };
  return exec::Executor(*model, options).run(inputs_).status();
}

void Builder::classify(const Node &n, const llvm::DenseMap<const Value *, Datum> &seen) {
  llvm::DenseMap<const Value *, const Known *> known;
  for (const Known &k : pool)
    known[k.value] = &k;
  bool inexact = false, fragile = false, whole = true, extremes = false, open = leavesOpen(n);
  auto operand = [&](const Value *v) {
    if (auto it = known.find(v); it != known.end()) {
      inexact |= it->second->inexact;
      fragile |= it->second->fragile;
      open |= it->second->open;
      extremes |= hasExtremes(it->second->datum);
      whole &= isSmallWhole(it->second->datum);
    }
  };
  bool movement = n.domain().empty() && isMovement(n.opType());
  bool exact = movement || (n.domain().empty() && isExactArithmetic(n.opType()));
  bool continuous = n.domain().empty() && isContinuous(n.opType());
  for (unsigned i = 0; i < n.numOperands(); ++i)
    operand(n.operand(i));
  for (Graph *g : n.regions())
    walk(*g, [&](Node &inner) {
      for (Value *v : inner.operands())
        operand(v);
    });
  for (const auto &r : n.results()) {
    auto it = seen.find(r.get());
    if (it == seen.end())
      continue;
    Known k{r.get(), it->second};
    k.open = open || ((extremes || hasExtremes(k.datum)) && !movement);
    k.fragile = fragile || (inexact && !continuous);
    k.inexact = hasFloats(k.datum) && (inexact || !exact || (!movement && (!whole || !isSmallWhole(k.datum))));
    pool.push_back(std::move(k));
  }
}

bool Builder::keep(Node *first, std::string &why) {
  for (auto it = first->getIterator(); it != graph().nodes().end(); ++it)
    for (const auto &r : it->results())
      if (r->name().empty())
        r->setName(freshName("v"));
  if (!announce())
    return true;
  llvm::DenseMap<const Value *, Datum> seen;
  if (absl::Status s = run(seen); !s.ok())
    why = std::string(s.message());
  else
    for (const Diagnostic &d : verify(*model))
      if (d.severity == Severity::Error)
        why = toString(d);
  if (!why.empty()) {
    while (&graph().nodes().back() != first)
      graph().eraseNode(&graph().nodes().back());
    graph().eraseNode(first);
    return false;
  }
  for (auto it = first->getIterator(); it != graph().nodes().end(); ++it)
    classify(*it, seen);
  return true;
}

void Builder::dropLeaves() {
  for (size_t i = pool.size(); i-- > settled_;) {
    Value *v = pool[i].value;
    if (v->hasUses() || v->kind() == Value::Initializer ||
        (v->kind() == Value::Result && !v->producer()->is("Constant")))
      continue;
    pool.erase(pool.begin() + i);
    if (v->kind() == Value::Result)
      graph().eraseNode(v->producer());
    else if (v->kind() == Value::Input) {
      inputs_.erase(v->name().str());
      graph().eraseInput(v->index());
    }
  }
  std::erase_if(pool, [](const Known &k) { return k.value->kind() == Value::Initializer && !k.value->hasUses(); });
  graph().eraseUnusedInitializers();
  settled_ = pool.size();
}

bool Builder::announce() {
  stopped_ = stopped_ || (beforeTrial && !beforeTrial(++trials_));
  return !stopped_;
}

absl::Status Builder::rerun() {
  if (!announce())
    return absl::OkStatus();
  llvm::DenseMap<const Value *, Datum> seen;
  if (absl::Status s = run(seen); !s.ok())
    return s;
  for (const Known &k : pool)
    if (auto it = seen.find(k.value); it != seen.end() && !sameBits(it->second, k.datum))
      return absl::InternalError("'" + k.value->name().str() +
                                 "' holds something else: " + exec::compare(it->second, k.datum, {0, 0}).what);
  return absl::OkStatus();
}

Example Builder::abandon() {
  for (Node &n : graph().nodes())
    for (const auto &r : n.results())
      if (!r->hasUses() && !n.is("Constant"))
        graph().addOutput(r.get(), r->name());
  Example e;
  for (const Known &k : pool)
    e.recorded[k.value->name().str()] = k.datum;
  e.inputs = std::move(inputs_);
  e.model = std::move(model);
  return e;
}

Example Builder::finish() {
  Example e;
  auto output = [&](const Known &k) {
    std::string name = k.value->name().str();
    graph().addOutput(k.value, k.value->name());
    if (k.inexact)
      e.inexact.insert(name);
    if (k.fragile)
      e.fragile.insert(name);
    if (k.open)
      e.open.insert(name);
    // Sizes may be left out; containers are declared as inferred.
    if (k.datum.isTensor()) {
      llvm::SmallVector<Dim, 4> unknown(k.datum.tensor.rank());
      graph().outputs().back().type = std::make_unique<Type>(Type::tensor(k.datum.tensor.type(), unknown));
    }
  };
  Inference inference(*model);
  inference.run();
  for (const Known &k : pool) {
    bool result = k.value->kind() == Value::Result && !k.value->producer()->is("Constant");
    if (!(result ? !k.value->hasUses() || random.chance(15) : random.chance(1)))
      continue;
    if (k.datum.kind == Datum::None)
      continue;
    const Type inferred = inference.typeOf(k.value);
    bool container = !k.datum.isTensor() || inferred.kind == Type::Optional;
    if (container && !inferred.isKnown())
      continue;
    output(k);
    if (container)
      graph().outputs().back().type = std::make_unique<Type>(inferred);
  }
  for (unsigned i = graph().inputs().size(); i-- > 0;)
    if (Value *v = graph().inputs()[i].get(); !v->hasUses() && random.chance(90)) {
      inputs_.erase(v->name().str());
      graph().eraseInput(i);
    }
  graph().eraseUnusedInitializers();
  e.inputs = std::move(inputs_);
  e.model = std::move(model);
  return e;
}

bool isOptional(const Value *v) {
  const Node *n = v ? v->producer() : nullptr;
  if (!n)
    return false;
  if (n->is("Identity"))
    return isOptional(n->operand(0));
  if (n->is("If") || n->is("Loop")) {
    const unsigned first = n->is("Loop"); // a body's first result is the condition
    for (Graph *g : n->regions())
      if (v->index() + first < g->returnNode()->numOperands() &&
          isOptional(g->returnNode()->operand(v->index() + first)))
        return true;
  }
  return n->is("Optional");
}

} // namespace onnxopt::differential
