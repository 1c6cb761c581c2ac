// Edits of the graph.
#include "onnxopt/ir/Rewriter.h"

#include "llvm/ADT/STLExtras.h"

namespace onnxopt {

Node *Rewriter::create(Graph &graph, Node *before, llvm::StringRef op, llvm::StringRef domain,
                       llvm::ArrayRef<Value *> operands, unsigned numResults, llvm::ArrayRef<Node *> origins) {
  Node *n = graph.createNode(op, domain, operands, numResults, before);
  for (Node *o : origins) {
    if (n->name().empty())
      n->setName(o->name());
    const Node::Extra *e = o->maybeExtra();
    if (!e)
      continue;
    if (n->extra().doc.empty())
      n->extra().doc = e->doc;
    for (const StringPair &p : e->metadata)
      if (llvm::none_of(n->extra().metadata, [&](const StringPair &q) { return q.key == p.key; }))
        n->extra().metadata.push_back(p);
  }
  ++changes_;
  if (onTouched)
    onTouched(n);
  return n;
}

Value *Rewriter::createConstant(Graph &graph, Node *before, Tensor value, llvm::StringRef name) {
  ++changes_;
  auto data = TensorData::of(std::move(value));
  bool initializers = !graph.function() && graph.model().irVersion.value_or(0) >= 4;
  if (initializers)
    return graph.addInitializer(name, std::move(data));
  Node *n = graph.createNode("Constant", "", {}, 1, before);
  n->setAttribute(makeAttribute("value", std::move(data)));
  n->result()->setName(context_.intern(name));
  return n->result();
}

void Rewriter::replaceAllUses(Value *from, Value *to) {
  if (from == to || !from->hasUses())
    return;
  llvm::SmallVector<Node *, 8> users;
  for (Use *u : from->uses())
    users.push_back(u->user());
  from->replaceAllUsesWith(to);
  ++changes_;
  if (onTouched)
    for (Node *n : users)
      if (!n->isReturn())
        onTouched(n);
}

void Rewriter::setOperand(Node *node, unsigned i, Value *value) {
  if (node->operand(i) == value)
    return;
  node->setOperand(i, value);
  ++changes_;
  if (onTouched)
    onTouched(node);
}

void Rewriter::setOperands(Node *node, llvm::ArrayRef<Value *> values) {
  node->setOperands(values);
  ++changes_;
  if (onTouched)
    onTouched(node);
}

void Rewriter::setAttribute(Node *node, Attribute attribute) {
  node->setAttribute(std::move(attribute));
  ++changes_;
  if (onTouched)
    onTouched(node);
}

void Rewriter::moveBefore(Node *node, Graph &graph, Node *before) {
  graph.moveHere(node, before);
  ++changes_;
}

void Rewriter::erase(Node *node) {
  assert(node->resultsUnused());
  std::function<void(Node &)> cut = [&](Node &n) {
    n.setOperands({});
    for (Graph *g : n.regions()) {
      for (Node &inner : g->nodes())
        cut(inner);
      g->returnNode()->setOperands({});
    }
  };
  // What fed it may be unused now.
  llvm::SmallVector<Node *, 4> feeders;
  for (Value *v : node->operands())
    if (v && v->producer())
      feeders.push_back(v->producer());
  cut(*node);
  node->graph()->nodes().remove(node);
  erased_[node] = node;
  ++changes_;
  if (onTouched)
    for (Node *f : feeders)
      onTouched(f);
}

void Rewriter::replace(Node *node, llvm::ArrayRef<Value *> values) {
  for (unsigned i = 0; i < values.size(); ++i)
    if (values[i])
      replaceAllUses(node->result(i), values[i]);
  erase(node);
}

void Rewriter::flush() {
  for (auto [key, node] : erased_)
    delete node;
  erased_.clear();
}

} // namespace onnxopt
