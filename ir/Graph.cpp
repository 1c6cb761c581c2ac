// Ownership, use lists and traversal of the graph IR.
#include "onnxopt/ir/Graph.h"

#include "llvm/ADT/STLExtras.h"

#include <functional>

namespace onnxopt {

// Attribute

Attribute::Attribute(Attribute &&) noexcept = default;
Attribute &Attribute::operator=(Attribute &&) noexcept = default;
Attribute::~Attribute() = default;

llvm::StringRef nameOf(AttributeType type) {
  static const char *const names[] = {
      "undefined", "float",   "int",    "string",        "tensor",         "graph",      "floats",     "ints",
      "strings",   "tensors", "graphs", "sparse_tensor", "sparse_tensors", "type_proto", "type_protos"};
  auto i = static_cast<int32_t>(type);
  return i >= 0 && i < int32_t(std::size(names)) ? names[i] : "unknown";
}

std::shared_ptr<const TensorData> Attribute::asTensor() const {
  const auto *t = std::get_if<Tensors>(&value);
  return t && !t->empty() ? t->front() : nullptr;
}

llvm::ArrayRef<std::unique_ptr<Graph>> Attribute::graphs() const {
  const auto *g = std::get_if<Graphs>(&value);
  return g ? llvm::ArrayRef(*g) : llvm::ArrayRef<std::unique_ptr<Graph>>();
}

template <typename T> static Attribute make(llvm::StringRef name, AttributeType type, T value) {
  Attribute a(name, type);
  a.value = std::move(value);
  return a;
}
Attribute makeAttribute(llvm::StringRef n, int64_t v) { return make(n, AttributeType::Int, v); }
Attribute makeAttribute(llvm::StringRef n, float v) { return make(n, AttributeType::Float, v); }
Attribute makeAttribute(llvm::StringRef n, std::string v) { return make(n, AttributeType::String, std::move(v)); }
Attribute makeAttribute(llvm::StringRef n, std::vector<int64_t> v) {
  return make(n, AttributeType::Ints, std::move(v));
}
Attribute makeAttribute(llvm::StringRef n, std::vector<float> v) {
  return make(n, AttributeType::Floats, std::move(v));
}
Attribute makeAttribute(llvm::StringRef n, std::shared_ptr<const TensorData> v) {
  return make(n, AttributeType::Tensor, Attribute::Tensors{std::move(v)});
}

// Context

std::string toString(const Diagnostic &d) {
  static const char *const names[] = {"error", "warning", "lint", "remark"};
  std::string s = std::string(names[int(d.severity)]) + ": ";
  if (!d.code.empty())
    s += d.code + ": ";
  if (!d.path.empty())
    s += d.path + ": ";
  return s + d.message;
}

// Use and Value

unsigned Use::index() const { return this - &user_->use(0); }

void Use::link() {
  if (!value_)
    return;
  next_ = value_->firstUse_;
  if (next_)
    next_->back_ = &next_;
  back_ = &value_->firstUse_;
  value_->firstUse_ = this;
}

void Use::unlink() {
  if (!value_)
    return;
  *back_ = next_;
  if (next_)
    next_->back_ = back_;
}

void Use::set(Value *value) {
  unlink();
  value_ = value;
  link();
}

llvm::SmallVector<Use *, 4> Value::uses() const {
  llvm::SmallVector<Use *, 4> out;
  for (Use *u = firstUse_; u; u = u->next())
    out.push_back(u);
  return out;
}

void Value::replaceAllUsesWith(Value *other) {
  assert(other != this);
  while (firstUse_)
    firstUse_->set(other);
}

Value::Extra &Value::extra() {
  if (!extra_)
    extra_ = std::make_unique<Extra>();
  return *extra_;
}

// Node

Node::~Node() {
  for (Use &u : uses())
    u.set(nullptr);
}

Model &Node::model() const { return graph_->model(); }

llvm::SmallVector<Value *, 4> Node::operands() const {
  llvm::SmallVector<Value *, 4> out;
  for (unsigned i = 0; i < numOperands_; ++i)
    out.push_back(uses_[i].get());
  return out;
}

void Node::setOperands(llvm::ArrayRef<Value *> values) {
  for (Use &u : uses())
    u.set(nullptr);
  if (values.size() != numOperands_) {
    numOperands_ = values.size();
    uses_ = std::make_unique<Use[]>(numOperands_);
    for (Use &u : uses())
      u.user_ = this;
  }
  for (unsigned i = 0; i < numOperands_; ++i)
    uses_[i].set(values[i]);
}

void Node::addResult() {
  auto &v = results_.emplace_back(std::make_unique<Value>());
  v->producer_ = this;
  v->graph_ = graph_;
  v->index_ = results_.size() - 1;
}

bool Node::resultsUnused() const {
  return llvm::none_of(results_, [](const auto &v) { return v->hasUses(); });
}

const Attribute *Node::attribute(llvm::StringRef name) const {
  for (const Attribute &a : attributes_)
    if (a.name == name)
      return &a;
  return nullptr;
}

void Node::setAttribute(Attribute attribute) {
  attribute.name = graph_->context().intern(attribute.name);
  for (const auto &g : attribute.graphs())
    g->setParentNode(this);
  for (Attribute &a : attributes_)
    if (a.name == attribute.name) {
      a = std::move(attribute);
      return;
    }
  attributes_.push_back(std::move(attribute));
}

void Node::removeAttribute(llvm::StringRef name) {
  llvm::erase_if(attributes_, [&](const Attribute &a) { return a.name == name; });
}

llvm::SmallVector<Graph *, 2> Node::regions() const {
  llvm::SmallVector<Graph *, 2> out;
  for (const Attribute &a : attributes_)
    for (const auto &g : a.graphs())
      out.push_back(g.get());
  return out;
}

Node::Extra &Node::extra() {
  if (!extra_)
    extra_ = std::make_unique<Extra>();
  return *extra_;
}

// Graph

Graph::Graph(Context &context) : context_(context), return_(std::make_unique<Node>()) {
  return_->graph_ = this;
  return_->isReturn_ = true;
  return_->opType_ = "Return";
}

// Cuts all links first: the order in which nodes and values go must not matter.
static void dropUses(Graph &g) {
  g.returnNode()->setOperands({});
  for (Node &n : g.nodes()) {
    n.setOperands({});
    for (Graph *r : n.regions())
      dropUses(*r);
  }
}

Graph::~Graph() {
  dropUses(*this);
  return_.reset();
}

Value *Graph::addInput(llvm::StringRef name) {
  auto &v = inputs_.emplace_back(std::make_unique<Value>());
  v->kind_ = Value::Input;
  v->graph_ = this;
  v->name_ = context_.intern(name);
  v->index_ = inputs_.size() - 1;
  return v.get();
}

Value *Graph::addInitializer(llvm::StringRef name, std::shared_ptr<const TensorData> tensor) {
  auto &v = initializers_.emplace_back(std::make_unique<Value>());
  v->kind_ = Value::Initializer;
  v->graph_ = this;
  v->name_ = context_.intern(name);
  v->initializer_ = std::move(tensor);
  return v.get();
}

Value *Graph::addUndefined(llvm::StringRef name) {
  auto &v = undefined_.emplace_back(std::make_unique<Value>());
  v->kind_ = Value::Undefined;
  v->graph_ = this;
  v->name_ = context_.intern(name);
  return v.get();
}

void Graph::addOutput(Value *value, llvm::StringRef name) {
  llvm::SmallVector<Value *, 4> operands = return_->operands();
  operands.push_back(value);
  return_->setOperands(operands);
  outputs_.emplace_back().name = context_.intern(name);
}

void Graph::eraseInput(unsigned index) {
  inputs_.erase(inputs_.begin() + index);
  for (unsigned i = index; i < inputs_.size(); ++i)
    inputs_[i]->index_ = i;
}

unsigned Graph::eraseUnusedInitializers() {
  size_t before = initializers_.size();
  llvm::erase_if(initializers_, [&](const std::unique_ptr<Value> &v) { return !v->hasUses(); });
  return before - initializers_.size();
}

Node *Graph::createNode(llvm::StringRef op, llvm::StringRef domain, llvm::ArrayRef<Value *> operands,
                        unsigned numResults, Node *before, llvm::StringRef overload) {
  auto *n = new Node;
  n->graph_ = this;
  n->opType_ = context_.intern(op);
  n->domain_ = context_.intern(domain);
  n->overload_ = context_.intern(overload);
  n->results_.reserve(numResults);
  n->setOperands(operands);
  for (unsigned i = 0; i < numResults; ++i)
    n->addResult();
  nodes_.insert(before ? before->getIterator() : nodes_.end(), n);
  return n;
}

void Graph::moveHere(Node *node, Node *before) {
  Graph *from = node->graph_;
  from->nodes_.remove(node);
  nodes_.insert(before ? before->getIterator() : nodes_.end(), node);
  if (from == this)
    return;
  node->graph_ = this;
  for (auto &r : node->results_) {
    r->graph_ = this;
    r->fromFile = false;
    r->valueInfoIndex = -1;
  }
}

void Graph::eraseNode(Node *node) {
  assert(node->resultsUnused());
  for (Graph *g : node->regions())
    dropUses(*g);
  nodes_.erase(node);
}

bool Graph::isAncestorOf(const Graph *other) const {
  for (; other; other = other->parentGraph())
    if (other == this)
      return true;
  return false;
}

static const Graph *rootOf(const Graph *g) {
  while (g->parentGraph())
    g = g->parentGraph();
  return g;
}

Function *Graph::function() const { return rootOf(this)->function_; }
Model &Graph::model() const { return *rootOf(this)->model_; }

// Model

Model::Model(Context &context) : context_(context), graph_(std::make_unique<Graph>(context)) {
  graph_->setOwner(this, nullptr);
}
Model::~Model() = default;

Function *Model::findFunction(llvm::StringRef domain, llvm::StringRef name, llvm::StringRef overload) const {
  for (const auto &f : functions_)
    if (f->domain == domain && f->name == name && f->overload == overload)
      return f.get();
  return nullptr;
}

static int64_t versionIn(llvm::ArrayRef<OpsetImport> opsets, llvm::StringRef domain) {
  int64_t version = 0; // the last import of a domain counts
  for (const OpsetImport &o : opsets)
    if (o.domain == domain || (domain.empty() && o.domain == "ai.onnx"))
      version = o.version;
  return version;
}

int64_t opsetVersion(const Graph &graph, llvm::StringRef domain) {
  const Function *f = graph.function();
  if (domain == "ai.onnx")
    domain = "";
  return versionIn(f ? f->opsets : graph.model().opsets, domain);
}

int64_t opsetVersion(const Node &node) { return opsetVersion(*node.graph(), node.domain()); }

void walk(Graph &graph, llvm::function_ref<void(Node &)> visit) {
  for (Node &n : graph.nodes()) {
    visit(n);
    for (Graph *g : n.regions())
      walk(*g, visit);
  }
}

static void visitGraphs(Graph &g, llvm::function_ref<void(Graph &)> visit) {
  visit(g);
  for (Node &n : g.nodes())
    for (Graph *r : n.regions())
      visitGraphs(*r, visit);
}

void forEachGraph(Model &model, llvm::function_ref<void(Graph &)> visit) {
  visitGraphs(model.graph(), visit);
  for (auto &f : model.functions())
    visitGraphs(*f->graph, visit);
}

uint64_t countNodes(const Model &model) {
  uint64_t n = 0;
  forEachGraph(const_cast<Model &>(model), [&](Graph &g) { n += g.nodes().size(); });
  return n;
}

static std::string label(const Node &n) {
  std::string s = (n.domain().empty() ? "" : n.domain().str() + ".") + n.opType().str();
  if (!n.name().empty())
    return s + " \"" + n.name().str() + "\"";
  for (const auto &r : n.results())
    if (!r->name().empty())
      return s + " -> \"" + r->name().str() + "\"";
  return s;
}

std::string pathOf(const Graph &graph) {
  if (const Node *p = graph.parentNode()) {
    for (const Attribute &a : p->attributes())
      for (auto [i, g] : llvm::enumerate(a.graphs()))
        if (g.get() == &graph)
          return pathOf(*p) + "/" + a.name.str() +
                 (a.type == AttributeType::Graphs ? "[" + std::to_string(i) + "]" : "");
    return pathOf(*p);
  }
  const Function *f = graph.function();
  return f ? "function \"" + f->domain.str() + "::" + f->name.str() + "\"" : "main";
}

std::string pathOf(const Node &node) {
  return pathOf(*node.graph()) + "/" + (node.isReturn() ? "outputs" : label(node));
}

// Cloning

static Value *mapped(Value *v, llvm::DenseMap<Value *, Value *> &map) {
  auto it = map.find(v);
  return it == map.end() ? v : it->second;
}

static llvm::StringRef prefixed(Context &c, llvm::StringRef prefix, llvm::StringRef name) {
  return name.empty() || prefix.empty() ? name : c.intern((prefix + name).str());
}

static std::unique_ptr<Graph> cloneGraph(Graph &from, Node *parent, llvm::DenseMap<Value *, Value *> &map,
                                         llvm::StringRef prefix,
                                         llvm::function_ref<const Attribute *(llvm::StringRef)> bind, bool resolve) {
  auto to = std::make_unique<Graph>(from.context());
  to->setParentNode(parent);
  to->name = from.name;
  to->doc = from.doc;
  to->metadata = from.metadata;
  to->leftover = from.leftover;
  auto declare = [&](Value &old, Value *made) {
    made->setName(prefixed(from.context(), prefix, old.name()));
    if (old.declaredType())
      made->setDeclaredType(*old.declaredType());
    made->setInitializer(old.initializer());
    if (old.maybeExtra()) {
      made->extra().doc = old.maybeExtra()->doc;
      made->extra().metadata = old.maybeExtra()->metadata;
      made->extra().sparseInitializer = old.maybeExtra()->sparseInitializer;
    }
    map[&old] = made;
  };
  for (const auto &v : from.inputs())
    declare(*v, to->addInput(v->name()));
  for (const auto &v : from.initializers())
    declare(*v, to->addInitializer(v->name(), v->initializer()));
  cloneNodes(from, *to, nullptr, map, prefix, bind, resolve);
  for (unsigned i = 0; i < from.outputs().size(); ++i) {
    const OutputSlot &slot = from.outputs()[i];
    to->addOutput(mapped(from.returnNode()->operand(i), map), prefixed(from.context(), prefix, slot.name));
    if (slot.type)
      to->outputs()[i].type = std::make_unique<Type>(*slot.type);
  }
  return to;
}

Attribute cloneAttribute(const Attribute &a, Graph &owner, Node *node, llvm::DenseMap<Value *, Value *> &map,
                         llvm::StringRef prefix, llvm::function_ref<const Attribute *(llvm::StringRef)> bind,
                         bool resolve) {
  (void)owner;
  Attribute copy(a.name, a.type);
  copy.refName = a.refName;
  copy.doc = a.doc;
  copy.asRead = a.asRead;
  std::visit(
      [&](const auto &v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, Attribute::Graphs>) {
          Attribute::Graphs graphs;
          for (const auto &g : v)
            graphs.push_back(cloneGraph(*g, node, map, prefix, bind, resolve));
          copy.value = std::move(graphs);
          copy.asRead = nullptr;
        } else {
          copy.value = v;
        }
      },
      a.value);
  return copy;
}

const Attribute *boundAttribute(const Node &call, const Function &callee, llvm::StringRef name) {
  if (const Attribute *a = call.attribute(name))
    return a;
  for (const Attribute &a : callee.attributeDefaults)
    if (a.name == name)
      return &a;
  return nullptr;
}

void cloneNodes(Graph &from, Graph &to, Node *before, llvm::DenseMap<Value *, Value *> &map, llvm::StringRef prefix,
                llvm::function_ref<const Attribute *(llvm::StringRef)> bind, bool resolve) {
  for (Node &n : from.nodes()) {
    llvm::SmallVector<Value *, 4> operands;
    for (Value *v : n.operands())
      operands.push_back(mapped(v, map));
    Node *copy = to.createNode(n.opType(), n.domain(), operands, n.numResults(), before, n.overload());
    copy->setCallee(n.callee());
    copy->setName(prefixed(to.context(), prefix, n.name()));
    if (const Node::Extra *e = n.maybeExtra()) {
      copy->extra().doc = e->doc;
      copy->extra().metadata = e->metadata;
    }
    for (unsigned i = 0; i < n.numResults(); ++i) {
      copy->result(i)->setName(prefixed(to.context(), prefix, n.result(i)->name()));
      if (n.result(i)->declaredType() && !resolve)
        copy->result(i)->setDeclaredType(*n.result(i)->declaredType());
      map[n.result(i)] = copy->result(i);
    }
    for (const Attribute &a : n.attributes()) {
      if (!a.refName.empty() && resolve) {
        // An attribute that the call leaves unset is unset in the body too.
        const Attribute *bound = bind(a.refName);
        if (!bound)
          continue;
        Attribute c = cloneAttribute(*bound, to, copy, map, prefix, bind, resolve);
        c.name = a.name;
        c.asRead = nullptr;
        copy->setAttribute(std::move(c));
        continue;
      }
      copy->setAttribute(cloneAttribute(a, to, copy, map, prefix, bind, resolve));
    }
  }
}

} // namespace onnxopt
