// The moves of the reducer, and the loop that tries them.
#include "onnxopt/tools/differential/Reducer.h"

#include "onnxopt/ir/Export.h"
#include "onnxopt/ir/Import.h"

namespace onnxopt::differential {
namespace {

using Values = std::map<std::string, Datum>;

/// All nodes, those of bodies after the node that has them, bodies of functions last.
std::vector<Node *> nodesOf(Model &m) {
  std::vector<Node *> nodes;
  walk(m.graph(), [&](Node &n) { nodes.push_back(&n); });
  for (auto &f : m.functions())
    walk(*f->graph, [&](Node &n) { nodes.push_back(&n); });
  return nodes;
}

/// What each named value of the main graph holds.
Values record(const Example &e) {
  if (!e.recorded.empty())
    return e.recorded;
  Values values = e.inputs;
  exec::RunOptions o;
  o.memoryBytes = 1 << 28;
  o.observe = [&](const Value &v, const Datum &d) -> absl::Status {
    values[v.name().str()] = d;
    return absl::OkStatus();
  };
  (void)exec::Executor(*e.model, o).run(e.inputs);
  return values;
}

void sweep(Example &e) {
  Model &m = *e.model;
  for (bool again = true; again;) {
    again = false;
    std::vector<Node *> nodes = nodesOf(m);
    for (auto it = nodes.rbegin(); it != nodes.rend(); ++it)
      if ((*it)->resultsUnused() && (*it)->regions().empty()) {
        (*it)->graph()->eraseNode(*it);
        again = true;
      } else if ((*it)->resultsUnused()) {
        (*it)->graph()->eraseNode(*it);
        again = true;
        break; // the nodes of its bodies went with it
      }
  }
  for (unsigned i = m.graph().inputs().size(); i-- > 0;)
    if (Value *v = m.graph().inputs()[i].get(); !v->hasUses()) {
      e.inputs.erase(v->name().str());
      m.graph().eraseInput(i);
    }
  m.graph().eraseUnusedInitializers();
  std::vector<Node *> nodes = nodesOf(m);
  for (size_t i = m.functions().size(); i-- > 0;)
    if (llvm::none_of(nodes, [&](Node *n) { return n->callee() == m.functions()[i].get(); })) {
      m.functions().erase(m.functions().begin() + i);
      nodes = nodesOf(m);
    }
  std::erase_if(m.opsets, [&](const OpsetImport &o) {
    return !o.domain.empty() && llvm::none_of(nodes, [&](Node *n) { return n->domain() == o.domain; });
  });
}

void dropOutput(Graph &g, unsigned i) {
  llvm::SmallVector<Value *, 4> left = g.returnNode()->operands();
  left.erase(left.begin() + i);
  g.returnNode()->setOperands(left);
  g.outputs().erase(g.outputs().begin() + i);
}

/// A value of the main graph that holds `t` whatever becomes of the rest.
Value *given(Example &e, const Tensor &t, llvm::StringRef name, bool constant) {
  Graph &g = e.model->graph();
  if (constant)
    return g.addInitializer(name, TensorData::of(t));
  Value *v = g.addInput(name);
  llvm::SmallVector<Dim, 4> dims;
  for (int64_t n : t.dims())
    dims.push_back(e.model->context().dims().constant(n));
  v->setDeclaredType(Type::tensor(t.type(), dims));
  e.inputs[name.str()] = t;
  return v;
}

/// One way to make a model simpler: the number of places, and what is done at one. False: nothing to do there.
struct Move {
  std::function<unsigned(Example &)> places;
  std::function<bool(Example &, unsigned, const Values &)> apply;
};

unsigned countOf(Example &e) { return nodesOf(*e.model).size(); }

bool keepOneOutput(Example &e, unsigned i, const Values &) {
  Graph &g = e.model->graph();
  if (g.outputs().size() < 2)
    return false;
  for (unsigned k = g.outputs().size(); k-- > 0;)
    if (k != i)
      dropOutput(g, k);
  return true;
}

bool dropOneOutput(Example &e, unsigned i, const Values &) {
  if (e.model->graph().outputs().size() < 2)
    return false;
  dropOutput(e.model->graph(), i);
  return true;
}

bool cutNode(Example &e, unsigned i, const Values &values, bool constant) {
  Node *n = nodesOf(*e.model)[i];
  if (n->graph() != &e.model->graph() || n->is("Constant"))
    return false;
  for (const auto &r : n->results()) {
    auto it = values.find(r->name().str());
    if (r->hasUses() && (it == values.end() || !it->second.isTensor()))
      return false;
  }
  for (const auto &r : n->results())
    if (r->hasUses()) {
      llvm::StringRef name = r->name();
      r->setName(e.model->context().intern(name.str() + "_was"));
      r->replaceAllUsesWith(given(e, values.at(name.str()).tensor, name, constant));
    }
  n->graph()->eraseNode(n);
  return true;
}

bool bypassNode(Example &e, unsigned i, const Values &values) {
  Node *n = nodesOf(*e.model)[i];
  bool inMain = n->graph() == &e.model->graph();
  for (unsigned k = 1; k < n->numResults(); ++k)
    if (n->result(k)->hasUses())
      return false;
  if (!n->numResults())
    return false;
  auto type = [&](const Value *v) -> const Datum * {
    auto it = values.find(v->name().str());
    return it == values.end() ? nullptr : &it->second;
  };
  for (Value *v : n->operands()) {
    if (!v)
      continue;
    const Datum *a = type(v), *b = type(n->result());
    // Inside bodies types are not recorded: the run tells whether it was right.
    if (inMain && !(a && b && a->isTensor() && b->isTensor() && a->tensor.type() == b->tensor.type()))
      continue;
    n->result()->replaceAllUsesWith(v);
    n->graph()->eraseNode(n);
    return true;
  }
  return false;
}

unsigned countAttributes(Example &e) {
  unsigned total = 0;
  for (Node *n : nodesOf(*e.model))
    total += n->attributes().size();
  return total;
}

bool dropAttribute(Example &e, unsigned i, const Values &) {
  for (Node *n : nodesOf(*e.model)) {
    if (i < n->attributes().size()) {
      n->removeAttribute(n->attributes()[i].name);
      return true;
    }
    i -= n->attributes().size();
  }
  return false;
}

bool dropLastOperand(Example &e, unsigned i, const Values &) {
  Node *n = nodesOf(*e.model)[i];
  llvm::SmallVector<Value *, 4> operands = n->operands();
  if (operands.size() < 2)
    return false;
  operands.pop_back();
  while (!operands.empty() && !operands.back())
    operands.pop_back();
  n->setOperands(operands);
  return true;
}

unsigned countTensors(Example &e) { return e.inputs.size() + e.model->graph().initializers().size(); }

/// All elements of an input or initializer become 1.
bool simplifyElements(Example &e, unsigned i, const Values &) {
  auto ones = [](const Tensor &t) -> std::optional<Tensor> {
    if (t.isString() || t.type() == ElementType::Bool || bitWidth(t.type()) < 8 ||
        (isSmallFloat(t.type()) && t.type() != ElementType::Float16))
      return std::nullopt;
    Tensor one(t.type(), t.dims());
    bool changed = false;
    for (int64_t k = 0; k < t.size(); ++k)
      switch (t.type()) {
      case ElementType::Float:
        changed |= t.data<float>()[k] != 1;
        one.mutableData<float>()[k] = 1;
        break;
      case ElementType::Double:
        changed |= t.data<double>()[k] != 1;
        one.mutableData<double>()[k] = 1;
        break;
      case ElementType::Int64:
        changed |= t.data<int64_t>()[k] != 1;
        one.mutableData<int64_t>()[k] = 1;
        break;
      case ElementType::Int32:
        changed |= t.data<int32_t>()[k] != 1;
        one.mutableData<int32_t>()[k] = 1;
        break;
      default:
        return std::nullopt;
      }
    return changed ? std::optional(one) : std::nullopt;
  };
  if (i < e.inputs.size()) {
    auto it = std::next(e.inputs.begin(), i);
    if (!it->second.isTensor())
      return false;
    auto t = ones(it->second.tensor);
    if (t)
      it->second = Datum(*t);
    return t.has_value();
  }
  i -= e.inputs.size();
  if (i >= e.model->graph().initializers().size())
    return false;
  Value &v = *e.model->graph().initializers()[i];
  auto data = v.initializer() ? v.initializer()->read() : absl::NotFoundError("");
  auto t = data.ok() ? ones(*data) : std::nullopt;
  if (t)
    v.setInitializer(TensorData::of(*t));
  return t.has_value();
}

/// The value of an input becomes its default, so that the model is all there is to keep.
bool giveDefault(Example &e, unsigned i, const Values &) {
  Value &v = *e.model->graph().inputs()[i];
  auto it = e.inputs.find(v.name().str());
  if (it == e.inputs.end() || !it->second.isTensor() || e.model->irVersion.value_or(0) < 4)
    return false;
  v.setInitializer(TensorData::of(it->second.tensor));
  e.inputs.erase(it);
  return true;
}

} // namespace

absl::StatusOr<Example> cloneExample(const Example &e) {
  auto bytes = serializeModel(*e.model);
  if (!bytes.ok())
    return bytes.status();
  auto m = importModel(e.model->context(), FileSource::memory(std::move(*bytes)), "");
  if (!m.ok())
    return m.status();
  Example copy;
  copy.model = std::move(*m);
  copy.inputs = e.inputs;
  copy.inexact = e.inexact;
  copy.fragile = e.fragile;
  copy.recorded = e.recorded;
  return copy;
}

Reduction reduce(Example &example, const Interesting &isInteresting) {
  auto outputs = [](Example &e) { return unsigned(e.model->graph().outputs().size()); };
  auto inputs = [](Example &e) { return unsigned(e.model->graph().inputs().size()); };
  const Move moves[] = {
      {outputs, keepOneOutput},
      {outputs, dropOneOutput},
      {countOf, [](Example &e, unsigned i, const Values &v) { return cutNode(e, i, v, /*constant=*/false); }},
      {countOf, bypassNode},
      {countAttributes, dropAttribute},
      {countOf, dropLastOperand},
      {countTensors, simplifyElements},
      {inputs, giveDefault},
  };
  Reduction r;
  for (bool progress = true; progress;) {
    progress = false;
    for (const Move &move : moves) {
      for (unsigned i = move.places(example); i-- > 0;) {
        if (i >= move.places(example))
          continue;
        auto candidate = cloneExample(example);
        if (!candidate.ok())
          return r;
        if (!move.apply(*candidate, i, record(example)))
          continue;
        sweep(*candidate);
        ++r.tried;
        if (!isInteresting(*candidate))
          continue;
        ++r.kept;
        example = std::move(*candidate);
        progress = true;
      }
    }
  }
  return r;
}

} // namespace onnxopt::differential
