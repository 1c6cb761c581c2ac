// Growing a model by seeds and by wrapping; the mix of steps.
#include "onnxopt/tools/differential/Steps.h"

namespace onnxopt::differential {
namespace {

/// The same value by another way: what passes should see through, and must not get wrong.
Value *disguise(Builder &b, Value *v, const Tensor &t) {
  Random &r = b.random;
  auto node = [&](llvm::StringRef op, llvm::ArrayRef<Value *> operands, unsigned results = 1) {
    Node *n = b.graph().createNode(b.context().intern(op), "", operands, results);
    return n;
  };
  auto ints = [&](std::vector<int64_t> values) { return b.leaf(Tensor::vector(values), true).value; };
  std::vector<int64_t> dims(t.dims().begin(), t.dims().end());
  bool hasEmpty = llvm::is_contained(dims, 0);
  bool inputsForAxes = b.opset() >= 13;
  switch (r.below(inputsForAxes ? 9 : 4)) {
  case 0:
    return node("Identity", {v})->result();
  case 1: {
    std::vector<int64_t> p(t.rank()), inverse(t.rank());
    for (size_t i = 0; i < p.size(); ++i)
      p[i] = (i + 1) % p.size();
    for (size_t i = 0; i < p.size(); ++i)
      inverse[p[i]] = i;
    Node *first = node("Transpose", {v}), *second = node("Transpose", {first->result()});
    first->setAttribute(makeAttribute(b.context().intern("perm"), p));
    second->setAttribute(makeAttribute(b.context().intern("perm"), inverse));
    return second->result();
  }
  case 2: {
    if (hasEmpty || b.opset() < 5)
      return v;
    Value *flat = node("Reshape", {v, ints({-1})})->result();
    return node("Reshape", {flat, r.chance(50) ? ints(dims) : node("Shape", {v})->result()})->result();
  }
  case 3:
    return b.opset() >= 9
               ? node("Where", {b.leaf(Tensor::scalar(ElementType::Bool, uint8_t(1)), true).value, v, v})->result()
               : v;
  case 4: {
    int64_t axis = r.between(0, t.rank());
    Value *wide = node("Unsqueeze", {v, ints({axis})})->result();
    return node("Squeeze", {wide, ints({axis})})->result();
  }
  case 5: {
    if (dims.empty() || dims[0] < 2)
      return v;
    Node *split = node("Split", {v, ints({1, dims[0] - 1})}, 2);
    Node *concat = node("Concat", {split->result(0), split->result(1)});
    concat->setAttribute(makeAttribute(b.context().intern("axis"), int64_t(0)));
    return concat->result();
  }
  case 6:
    return dims.empty() ? v : node("Slice", {v, ints({0}), ints({INT64_MAX}), ints({-1})})->result();
  case 7:
    return node("Expand", {v, node("Shape", {v})->result()})->result();
  default: {
    Node *n = node("Cast", {v});
    n->setAttribute(makeAttribute(b.context().intern("to"), int64_t(t.type())));
    return n->result();
  }
  }
}

/// Whether each operator of `g` means the same under the builder's imports.
bool meansTheSame(Builder &b, Graph &g) {
  bool same = true;
  walk(g, [&](Node &n) {
    int64_t theirs = opsetVersion(n);
    int64_t ours = n.domain().empty() ? b.opset() : theirs;
    same &= schema::lookup(n.domain(), n.opType(), theirs).record() ==
            schema::lookup(n.domain(), n.opType(), ours).record();
    if (same && !n.domain().empty())
      same = b.require(n.domain(), theirs);
  });
  return same;
}

std::unique_ptr<Graph> bodyOf(Node *parent, llvm::StringRef name) {
  auto g = std::make_unique<Graph>(parent->graph()->context());
  g->setParentNode(parent);
  g->name = name.str();
  return g;
}

void attach(Node *n, llvm::StringRef name, std::unique_ptr<Graph> body) {
  Attribute a(n->graph()->context().intern(name), AttributeType::Graph);
  Attribute::Graphs list;
  list.push_back(std::move(body));
  a.value = std::move(list);
  n->setAttribute(std::move(a));
}

/// Copies one node into `to`, which sees the same values.
Node *copyInto(Graph &to, const Node &n, Builder &b,
               llvm::DenseMap<Value *, Value *> map = llvm::DenseMap<Value *, Value *>()) {
  llvm::SmallVector<Value *, 4> operands;
  for (Value *v : n.operands())
    operands.push_back(v && map.count(v) ? map[v] : v);
  Node *copy = to.createNode(n.opType(), n.domain(), operands, n.numResults());
  copy->setCallee(n.callee());
  std::string prefix = b.freshName("in").str() + "_";
  for (const Attribute &a : n.attributes())
    copy->setAttribute(cloneAttribute(a, to, copy, map, prefix, nullptr, false));
  for (const auto &r : copy->results())
    r->setName(b.freshName("b"));
  return copy;
}

std::unique_ptr<Type> tensorType(const Datum &d) { return std::make_unique<Type>(Type::tensor(d.tensor.type())); }

/// Puts `made` in the place of `old`; the pool follows.
void takePlace(Builder &b, Node *old, Node *made) {
  for (unsigned i = 0; i < old->numResults(); ++i) {
    made->result(i)->setName(old->result(i)->name());
    old->result(i)->replaceAllUsesWith(made->result(i));
    for (Builder::Known &k : b.pool)
      if (k.value == old->result(i))
        k.value = made->result(i);
  }
  b.graph().eraseNode(old);
}

const Datum *datumOf(const Builder &b, const Value *v) {
  for (const Builder::Known &k : b.pool)
    if (k.value == v)
      return &k.datum;
  return nullptr;
}

Node *intoBranch(Builder &b, Node *n, llvm::ArrayRef<const Datum *> data) {
  bool taken = b.random.chance(50);
  Value *condition = b.leaf(Tensor::scalar(ElementType::Bool, uint8_t(taken)), b.random.chance(50)).value;
  Node *made = b.graph().createNode("If", "", {condition}, n->numResults(), n);
  for (bool side : {true, false}) {
    auto g = bodyOf(made, side ? "then" : "else");
    Node *copy = side == taken || b.random.chance(30) ? copyInto(*g, *n, b) : nullptr;
    for (unsigned i = 0; i < n->numResults(); ++i) {
      Value *v = copy ? copy->result(i) : nullptr;
      if (!copy) {
        // Anything of that type will do for the branch that is not taken.
        Node *c = g->createNode("Constant", "", {}, 1);
        c->setAttribute(makeAttribute(b.context().intern("value"),
                                      std::shared_ptr<const TensorData>(
                                          TensorData::of(b.tensor(data[i]->tensor.type(), data[i]->tensor.dims())))));
        v = c->result(0);
        v->setName(b.freshName("b"));
      }
      g->addOutput(v, v->name());
      g->outputs().back().type = tensorType(*data[i]);
    }
    attach(made, side ? "then_branch" : "else_branch", std::move(g));
  }
  return made;
}

Node *intoLoop(Builder &b, Node *n, llvm::ArrayRef<const Datum *> data) {
  int64_t trips = b.random.between(1, 3);
  llvm::SmallVector<Value *, 4> operands = {
      b.leaf(Tensor::scalar(ElementType::Int64, trips), b.random.chance(60)).value,
      b.random.chance(50) ? nullptr : b.leaf(Tensor::scalar(ElementType::Bool, uint8_t(1)), b.random.chance(60)).value};
  for (const Datum *d : data)
    operands.push_back(b.leaf(b.tensor(d->tensor.type(), d->tensor.dims())).value);
  // Constants are placed at the front of the graph, so they are there already.
  Node *made = b.graph().createNode("Loop", "", operands, n->numResults(), n);
  auto g = bodyOf(made, "body");
  Value *trip = g->addInput(b.freshName("i")), *condition = g->addInput(b.freshName("go"));
  trip->setDeclaredType(Type::tensor(ElementType::Int64, {}));
  condition->setDeclaredType(Type::tensor(ElementType::Bool, {}));
  for (const Datum *d : data)
    g->addInput(b.freshName("carried"))->setDeclaredType(Type::tensor(d->tensor.type()));
  Node *go = g->createNode("Identity", "", {condition}, 1);
  go->result(0)->setName(b.freshName("b"));
  g->addOutput(go->result(0), go->result(0)->name());
  g->outputs().back().type = std::make_unique<Type>(Type::tensor(ElementType::Bool, {}));
  Node *copy = copyInto(*g, *n, b);
  for (unsigned i = 0; i < n->numResults(); ++i) {
    g->addOutput(copy->result(i), copy->result(i)->name());
    g->outputs().back().type = tensorType(*data[i]);
  }
  attach(made, "body", std::move(g));
  return made;
}

Node *intoFunction(Builder &b, Node *n) {
  if (!n->regions().empty() || !b.require("fuzz", 1))
    return nullptr;
  auto f = std::make_unique<Function>(b.context());
  f->name = b.freshName("f");
  f->domain = b.context().intern("fuzz");
  f->opsets = b.model->opsets;
  f->graph->setOwner(b.model.get(), f.get());
  f->graph->name = f->name.str();
  llvm::DenseMap<Value *, Value *> map;
  llvm::SmallVector<Value *, 4> operands;
  for (Value *v : n->operands())
    if (v && !map.count(v)) {
      map[v] = f->graph->addInput(b.freshName("a"));
      operands.push_back(v);
    }
  Node *copy = copyInto(*f->graph, *n, b, map);
  for (const auto &r : copy->results())
    f->graph->addOutput(r.get(), r->name());
  Node *made = b.graph().createNode(f->name, f->domain, operands, n->numResults(), n);
  made->setCallee(f.get());
  b.model->functions().push_back(std::move(f));
  return made;
}

} // namespace

bool addSeed(Builder &b, const Seeds &seeds) {
  Random &r = b.random;
  auto seed = seeds.pick(b.context(), r, b.opset());
  if (!seed.ok() || !meansTheSame(b, seed->model->graph()))
    return false;
  Graph &from = seed->model->graph();
  for (const auto &v : from.inputs()) {
    auto it = seed->inputs.find(v->name().str());
    if (it == seed->inputs.end() && v->initializer() && v->initializer()->read().ok())
      it = seed->inputs.emplace(v->name().str(), *v->initializer()->read()).first;
    // Containers as inputs: operators make them.
    if (it == seed->inputs.end() || !it->second.isTensor() || it->second.tensor.size() > 4096)
      return false;
  }
  Node *last = b.graph().nodes().empty() ? nullptr : &b.graph().nodes().back();
  llvm::DenseMap<Value *, Value *> map;
  for (const auto &v : from.initializers())
    map[v.get()] = b.graph().addInitializer(b.freshName("w"), v->initializer());
  for (const auto &v : from.inputs()) {
    const Tensor &t = seed->inputs.at(v->name().str()).tensor;
    std::vector<Value *> alike;
    for (const Builder::Known &k : b.pool)
      if (k.datum.isTensor() && k.datum.tensor.type() == t.type() && k.datum.tensor.dims() == t.dims() &&
          !isOptional(k.value))
        alike.push_back(k.value);
    Value *made = !alike.empty() && r.chance(40) ? r.pick(alike) : b.leaf(t).value;
    map[v.get()] = r.chance(40) ? disguise(b, made, t) : made;
  }
  std::string prefix = b.freshName("s").str() + "_";
  cloneNodes(from, b.graph(), nullptr, map, prefix, nullptr, false);
  auto first = last ? std::next(last->getIterator()) : b.graph().nodes().begin();
  // Leaves may have put Constants in front.
  while (!last && first != b.graph().nodes().end() && first->is("Constant"))
    ++first;
  if (first == b.graph().nodes().end())
    return false;
  // Declarations were made for other inputs.
  for (auto it = first; it != b.graph().nodes().end(); ++it)
    for (const auto &v : it->results())
      v->dropDeclaredType();
  std::string why;
  return b.keep(&*first, why);
}

bool wrap(Builder &b) {
  std::vector<Node *> nodes;
  for (Node &n : b.graph().nodes()) {
    bool tensors = !n.is("Constant");
    for (const auto &v : n.results()) {
      const Datum *d = datumOf(b, v.get());
      tensors &= d && d->isTensor() && !isOptional(v.get());
    }
    const OpFacts *f = factsOf(n);
    if (tensors && f && f->deterministic)
      nodes.push_back(&n);
  }
  if (nodes.empty())
    return false;
  Node *n = b.random.pick(nodes);
  llvm::SmallVector<Datum, 2> copies;
  for (const auto &v : n->results())
    copies.push_back(*datumOf(b, v.get()));
  llvm::SmallVector<const Datum *, 2> data;
  for (const Datum &d : copies)
    data.push_back(&d);
  unsigned kind = b.random.below(3);
  // Older versions of control flow do not take every type.
  if (kind < 2) {
    schema::Schema s = schema::lookup("", kind ? "Loop" : "If", b.opset());
    if (kind == 0)
      s = schema::lookup("", "Constant", b.opset()).sinceVersion() < 9 ? schema::lookup("", "Constant", b.opset()) : s;
    for (const Datum *d : data)
      if (!s.allows(*s.output(0), schemaName(Type::tensor(d->tensor.type()))))
        return false;
  }
  Node *made = kind == 0 ? intoBranch(b, n, data) : kind == 1 ? intoLoop(b, n, data) : intoFunction(b, n);
  if (made)
    takePlace(b, n, made);
  return made;
}

absl::StatusOr<Example> generate(Context &context, const GeneratorOptions &options, const Seeds &seeds,
                                 Coverage &coverage) {
  Random first(options.seed);
  int64_t opset = first.between(11, schema::latestVersion(""));
  if (!seeds.empty() && first.chance(75))
    opset = seeds.opset(first);
  Builder b(context, options.seed, opset);
  b.beforeTrial = options.beforeTrial;
  b.leaf(b.tensor(ElementType::Float, {2, 3}));
  b.settle();
  unsigned wanted = 1 + b.random.below(options.steps), done = 0;
  for (unsigned tries = 0; done < wanted && tries < 30 * wanted; ++tries) {
    b.dropLeaves();
    unsigned kind = b.random.below(100);
    if (kind < 8) {
      if (wrap(b)) {
        ++done;
        if (absl::Status s = b.rerun(); !s.ok())
          return absl::InternalError("a wrapped node: " + std::string(s.message()));
      }
    } else if (kind < 20 && !seeds.empty()) {
      done += addSeed(b, seeds);
    } else {
      done += addOperator(b, coverage);
    }
    if (b.stopped())
      return b.abandon();
  }
  // Outputs are declared after the model was inferred, which may go wrong like a trial.
  if (options.beforeTrial && !b.announce())
    return b.abandon();
  Example e = b.finish();
  walk(e.model->graph(), [&](Node &n) { ++coverage.kept[n.opType().str()]; });
  if (e.model->graph().outputs().empty())
    return absl::NotFoundError("nothing was built");
  return e;
}

} // namespace onnxopt::differential
