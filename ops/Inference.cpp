// The inference engine: a forward walk with fixpoints at loops and one visit of a function for each call.
#include "onnxopt/ops/Inference.h"

#include "onnxopt/ops/Evaluate.h"

#include <cmath>

namespace onnxopt {

Type refine(DimContext &dims, const Type &inferred, const Type &declared, bool &contradicts) {
  if (!inferred.isKnown())
    return declared;
  if (!declared.isKnown())
    return inferred;
  if (inferred.kind != declared.kind) {
    // What is there may be declared optional; what may be absent is nothing else.
    contradicts |= declared.kind != Type::Optional;
    return inferred;
  }
  if (inferred.inner) {
    Type t = inferred;
    t.inner = std::make_shared<const Type>(refine(dims, *inferred.inner, *declared.inner, contradicts));
    return t;
  }
  Type t = inferred;
  if (!t.hasElement())
    t.element = declared.element;
  else if (declared.hasElement() && declared.element != t.element)
    contradicts = true;
  if (!t.ranked) {
    // A declared intermediate shape is a claim; without proof it is not adopted.
    return t;
  }
  if (declared.ranked && declared.rank() != t.rank()) {
    contradicts = true;
    return t;
  }
  if (declared.ranked)
    for (size_t i = 0; i < t.rank(); ++i)
      if (t.dims[i] && declared.dims[i] && t.dims[i].isConstant() && declared.dims[i].isConstant() &&
          t.dims[i] != declared.dims[i])
        contradicts = true;
  return t;
}

class Inference::Engine {
public:
  explicit Engine(Inference &owner) : owner_(owner), context_(owner.model_.context()) {}

  llvm::DenseMap<const Value *, ValueFact> facts;
  unsigned depth = 0;
  bool silent = false; ///< inside repeated visits of a body: contradictions are reported on the last one only

  void seedInputs(Graph &g) {
    for (const auto &v : g.inputs())
      if (const Type *t = v->declaredType()) {
        ValueFact f;
        f.type = *t;
        nameUnknowns(f.type, v->name());
        if (auto c = constantOf(v.get()))
          adoptConstant(f, *c);
        facts[v.get()] = std::move(f);
      } else if (auto c = constantOf(v.get())) {
        ValueFact f;
        f.type = typeOf(*c);
        adoptConstant(f, *c);
        facts[v.get()] = std::move(f);
      }
  }

  void runGraph(Graph &g) {
    for (const auto &v : g.initializers()) {
      ValueFact f;
      if (v->initializer()) {
        f.type = typeOf(*v->initializer());
        adoptConstant(f, *v->initializer());
      } else if (v->maybeExtra() && v->maybeExtra()->sparseInitializer) {
        const SparseTensorData &s = *v->maybeExtra()->sparseInitializer;
        llvm::SmallVector<Dim, 4> dims;
        for (int64_t d : s.dims)
          dims.push_back(context_.dims().constant(std::max<int64_t>(0, d)));
        f.type = Type::tensor(s.values ? s.values->type : ElementType::Undefined, dims);
      }
      facts[v.get()] = std::move(f);
    }
    runFrom(g, g.nodes().begin());
  }

  /// Infers the nodes from `at` on, in order; stops where a supposition is disproved.
  void runFrom(Graph &g, llvm::iplist<Node>::iterator at) {
    for (; at != g.nodes().end() && !supposition.isOver(); ++at) {
      runNode(*at);
      if (losesRank(*at))
        excludeBranch(g, at);
    }
  }

  void runNode(Node &n);
  /// The branch of an If that a known condition takes; null where it is not known, or `n` is no If.
  const Graph *takenBranch(const Node &n) const {
    const ValueFact *f = n.is("If") ? find(n.operand(0)) : nullptr;
    const auto condition =
        f ? knownBool(f->value ? &*f->value : nullptr, f->constant ? &*f->constant : nullptr) : std::nullopt;
    return condition ? NodeView(n).getGraph(*condition ? "then_branch" : "else_branch") : nullptr;
  }
  bool losesRank(const Node &n) const;
  void excludeBranch(Graph &g, llvm::iplist<Node>::iterator at);

  /// What is being tried: that an If takes one of its branches. See excludeBranch.
  struct Supposition {
    unsigned depth = 0;     ///< suppositions within each other
    bool isCertain = true;  ///< the node at hand runs whenever what follows the If does
    bool disproved = false; ///< a node that is certain to run cannot run
    int64_t budget = 20000; ///< nodes to visit, in all suppositions together
    bool isOver() const { return depth && (disproved || budget <= 0); }
  } supposition;

  void report(std::string code, std::string path, std::string message, Severity severity) {
    if (owner_.options_.diagnose && !silent)
      owner_.diagnostics_.push_back({severity, std::move(code), std::move(path), std::move(message)});
  }

  const ValueFact *find(const Value *v) const {
    auto it = facts.find(v);
    return it == facts.end() ? nullptr : &it->second;
  }
  Context &context() { return context_; }
  Inference &owner() { return owner_; }

  /// Unknown dims of an input are symbols of their own, named so that a reader can tell.
  void nameUnknowns(Type &t, llvm::StringRef name) {
    if (t.isTensor())
      for (unsigned i = 0; i < t.rank(); ++i)
        if (Dim d = t.dims[i]; !d || (d.isSymbol() && d.symbolName().empty()))
          t.dims[i] = context_.dims().unknownOf(name, i, {context_.smallestInputDim, INT64_MAX});
  }

  Type typeOf(const TensorData &c) {
    llvm::SmallVector<Dim, 4> dims;
    for (int64_t d : c.dims)
      dims.push_back(context_.dims().constant(std::max<int64_t>(0, d)));
    return Type::tensor(c.type, dims);
  }

  void adoptConstant(ValueFact &f, const TensorData &c) {
    auto n = elementCount(c.dims);
    if (!n || *n > owner_.options_.maxConstantElements || !c.problem.empty() || c.elided)
      return;
    auto t = c.read();
    if (t.ok())
      setConstant(f, std::move(*t));
  }
  void setConstant(ValueFact &f, Tensor t) {
    if ((t.type() == ElementType::Int64 || t.type() == ElementType::Int32 || t.type() == ElementType::Bool) &&
        t.rank() <= 2) {
      SymTensor v;
      v.dims.assign(t.dims().begin(), t.dims().end());
      for (int64_t x : t.ints())
        v.elements.push_back(context_.dims().constant(x));
      f.value = std::move(v);
    }
    if ((t.type() == ElementType::Float || t.type() == ElementType::Double) && t.rank() <= 1 && t.size() <= 64) {
      // Whole floats take part in arithmetic on sizes.
      SymTensor v;
      v.dims.assign(t.dims().begin(), t.dims().end());
      bool whole = true;
      for (int64_t i = 0; i < t.size() && whole; ++i) {
        double x = t.floatAt(i);
        whole = x == std::floor(x) && std::fabs(x) < (1 << 24) && !(x == 0 && std::signbit(x));
        if (whole)
          v.elements.push_back(context_.dims().constant(int64_t(x)));
      }
      if (whole)
        f.value = std::move(v);
    }
    f.constant = std::move(t);
  }

  bool callFunction(const Node &call, llvm::ArrayRef<InferContext::Fact> inputs,
                    llvm::SmallVectorImpl<InferContext::Fact> &outputs);

private:
  Inference &owner_;
  Context &context_;
};

namespace {

class EngineContext : public InferContext {
public:
  EngineContext(Node &node, llvm::function_ref<const ValueFact *(const Value *)> find,
                llvm::function_ref<bool(Graph &, llvm::ArrayRef<Fact>, llvm::SmallVectorImpl<Fact> &)> region)
      : InferContext(node, node.graph()->context()), find_(find), region_(region) {
    results.resize(node.numResults());
  }
  const Type &type(unsigned i) const override {
    static const Type unknown;
    const ValueFact *f = fact(i);
    return f ? f->type : unknown;
  }
  const SymTensor *value(unsigned i) const override {
    const ValueFact *f = fact(i);
    return f && f->value ? &*f->value : nullptr;
  }
  std::optional<Tensor> constant(unsigned i) const override {
    const ValueFact *f = fact(i);
    return f ? f->constant : std::nullopt;
  }
  bool inferRegion(Graph &g, llvm::ArrayRef<Fact> in, llvm::SmallVectorImpl<Fact> &out) override {
    return region_(g, in, out);
  }

private:
  const ValueFact *fact(unsigned i) const {
    const Value *v = node_.operand(i);
    return v ? find_(v) : nullptr;
  }
  llvm::function_ref<const ValueFact *(const Value *)> find_;
  llvm::function_ref<bool(Graph &, llvm::ArrayRef<Fact>, llvm::SmallVectorImpl<Fact> &)> region_;
};

} // namespace

bool Inference::Engine::callFunction(const Node &call, llvm::ArrayRef<InferContext::Fact> inputs,
                                     llvm::SmallVectorImpl<InferContext::Fact> &outputs) {
  Function &f = *call.callee();
  if (depth > 16)
    return false;
  // Attributes of the call are put in place of references in a private copy of the body.
  Model scratch(context_);
  scratch.opsets = f.opsets;
  Graph &g = scratch.graph();
  llvm::DenseMap<Value *, Value *> map;
  for (size_t i = 0; i < f.graph->inputs().size(); ++i) {
    Value *v = g.addInput(f.graph->inputs()[i]->name());
    map[f.graph->inputs()[i].get()] = v;
    ValueFact fact;
    if (i < inputs.size()) {
      fact.type = inputs[i].type;
      fact.value = inputs[i].value;
      const ValueFact *given = call.operand(i) ? find(call.operand(i)) : nullptr;
      if (given)
        fact.constant = given->constant;
    }
    facts[v] = std::move(fact);
  }
  auto bind = [&](llvm::StringRef name) { return boundAttribute(call, f, name); };
  cloneNodes(*f.graph, g, nullptr, map, "", bind, true);
  ++depth;
  bool wasSilent = silent;
  silent = true; // the body's own faults are reported where the function is defined
  runGraph(g);
  silent = wasSilent;
  --depth;
  for (unsigned i = 0; i < f.graph->outputs().size(); ++i) {
    Value *v = map.lookup(f.graph->returnNode()->operand(i));
    InferContext::Fact out;
    if (const ValueFact *fact = v ? find(v) : nullptr) {
      out.type = fact->type;
      out.value = fact->value;
    }
    outputs.push_back(std::move(out));
  }
  // Facts of the copy must not outlive it.
  walk(g, [&](Node &n) {
    for (const auto &r : n.results())
      facts.erase(r.get());
    for (Graph *sub : n.regions()) {
      for (const auto &v : sub->inputs())
        facts.erase(v.get());
      for (const auto &v : sub->initializers())
        facts.erase(v.get());
    }
  });
  for (const auto &v : g.inputs())
    facts.erase(v.get());
  return true;
}

/// Whether the branches of an If give a result of different ranks, and which one is taken is not known.
bool Inference::Engine::losesRank(const Node &n) const {
  if (!n.is("If") || n.regions().size() != 2)
    return false;
  for (unsigned i = 0; i < n.numResults(); ++i) {
    const ValueFact *joined = find(n.result(i));
    if (!joined || !joined->type.isTensor() || joined->type.ranked)
      continue;
    if (llvm::all_of(n.regions(), [&](Graph *g) {
          const ValueFact *f = i < g->outputs().size() ? find(g->returnNode()->operand(i)) : nullptr;
          return f && f->type.isTensor() && f->type.ranked;
        }))
      return true;
  }
  return false;
}

/// Supposes one branch of an If after the other. Where the nodes after it cannot run on what one of them gives, no run
/// that succeeds takes it: the results are those of the other. (An LSTM takes rank 3 only, for example.) What is
/// inferred of the nodes after the If is inferred again by the caller.
void Inference::Engine::excludeBranch(Graph &g, llvm::iplist<Node>::iterator at) {
  if (supposition.depth >= 2 || supposition.budget <= 0)
    return;
  const Node &n = *at;
  llvm::SmallVector<ValueFact, 2> joined, branches[2];
  for (const auto &v : n.results())
    joined.push_back(facts[v.get()]);
  for (unsigned b : {0, 1})
    for (unsigned i = 0; i < n.numResults(); ++i) {
      const ValueFact *f = find(n.regions()[b]->returnNode()->operand(i));
      branches[b].push_back(f ? *f : ValueFact());
    }
  auto suppose = [&](llvm::ArrayRef<ValueFact> results) {
    for (unsigned i = 0; i < n.numResults(); ++i)
      facts[n.result(i)] = results[i];
  };
  bool fails[2];
  const bool wasSilent = silent;
  for (unsigned b : {0, 1}) {
    suppose(branches[b]);
    const Supposition outer = supposition;
    silent = supposition.isCertain = true;
    supposition.disproved = false;
    ++supposition.depth;
    runFrom(g, std::next(at));
    fails[b] = supposition.disproved;
    const int64_t left = supposition.budget;
    supposition = outer;
    supposition.budget = left;
  }
  silent = wasSilent;
  suppose(fails[0] == fails[1] ? llvm::ArrayRef<ValueFact>(joined) : branches[fails[0] ? 1 : 0]);
}

void Inference::Engine::runNode(Node &n) {
  supposition.budget -= supposition.depth > 0;
  auto findFact = [&](const Value *v) { return find(v); };
  auto region = [&](Graph &g, llvm::ArrayRef<InferContext::Fact> in, llvm::SmallVectorImpl<InferContext::Fact> &out) {
    if (depth > 32)
      return false;
    ++depth;
    for (size_t i = 0; i < g.inputs().size(); ++i) {
      ValueFact f;
      if (i < in.size()) {
        f.type = in[i].type;
        f.value = in[i].value;
      }
      if (!f.type.isKnown() && g.inputs()[i]->declaredType())
        f.type = *g.inputs()[i]->declaredType();
      facts[g.inputs()[i].get()] = std::move(f);
    }
    // A body runs for sure only where it is the branch that a known condition takes.
    const bool wasCertain = supposition.isCertain;
    supposition.isCertain &= takenBranch(n) == &g;
    runGraph(g);
    supposition.isCertain = wasCertain;
    for (unsigned i = 0; i < g.outputs().size(); ++i) {
      InferContext::Fact f;
      if (const ValueFact *v = find(g.returnNode()->operand(i))) {
        f.type = v->type;
        f.value = v->value;
      }
      if (!f.type.isKnown() && g.outputs()[i].type)
        f.type = *g.outputs()[i].type;
      out.push_back(std::move(f));
    }
    --depth;
    return true;
  };
  EngineContext ctx(n, findFact, region);
  const OpFacts *facts_ = n.callee() ? nullptr : factsOf(n);
  std::vector<Tensor> folded;
  if (n.callee()) {
    llvm::SmallVector<InferContext::Fact, 4> in, out;
    for (unsigned i = 0; i < n.numOperands(); ++i) {
      InferContext::Fact f;
      f.type = ctx.type(i);
      if (const SymTensor *v = ctx.value(i))
        f.value = *v;
      in.push_back(std::move(f));
    }
    if (callFunction(n, in, out))
      for (unsigned i = 0; i < n.numResults() && i < out.size(); ++i)
        ctx.results[i] = std::move(out[i]);
  } else if (facts_ && facts_->infer) {
    bool arity = n.numResults() > 0;
    if (schema::Schema s = ctx.schema(); s && int(n.numResults()) < s.minOutputs())
      arity = false;
    if (schema::Schema s = ctx.schema())
      for (int i = 0; i < s.minInputs(); ++i) {
        const schema::Formal *f = s.input(i);
        if (f && f->kind() == schema::FormalOption::Single && !n.operand(i))
          arity = false; // the verifier's schema layer says so
      }
    if (arity) {
      // Loops visit their body several times; what is found on the way is only reported once it is stable.
      bool loops = !n.regions().empty() && n.opType() != "If";
      bool wasSilent = silent;
      size_t before = owner_.diagnostics_.size();
      for (unsigned i : facts_->single)
        if (n.operand(i) && ctx.isRanked(i))
          if (auto count = ctx.type(i).elementCount(); count && *count != 1)
            ctx.fail("operand " + std::to_string(i) + " has " + std::to_string(*count) + " elements, one expected");
      for (auto [i, rank] : facts_->ranks)
        if (n.operand(i) && ctx.isRanked(i) && ctx.rank(i) != rank)
          ctx.fail("operand " + std::to_string(i) + " has rank " + std::to_string(ctx.rank(i)) + ", " +
                   std::to_string(rank) + " is needed");
      if (std::string fault = faultOfSizes(n); !fault.empty())
        ctx.fail(fault);
      else
        facts_->infer(ctx);
      silent = wasSilent;
      if (loops && owner_.diagnostics_.size() > before) {
        auto begin = owner_.diagnostics_.begin() + before;
        std::sort(begin, owner_.diagnostics_.end(), [](const Diagnostic &a, const Diagnostic &b) {
          return std::tie(a.path, a.message) < std::tie(b.path, b.message);
        });
        owner_.diagnostics_.erase(std::unique(begin, owner_.diagnostics_.end(),
                                              [](const Diagnostic &a, const Diagnostic &b) {
                                                return a.path == b.path && a.message == b.message;
                                              }),
                                  owner_.diagnostics_.end());
      }
      if (!ctx.error.empty()) {
        // A node that nobody uses may be left out by who runs the model.
        supposition.disproved |=
            supposition.isCertain && llvm::any_of(n.results(), [](const auto &r) { return r->hasUses(); });
        report("ONNX-SHAPE-001", pathOf(n), ctx.error, owner_.options_.contradiction);
      }
    }
    // Small constants are computed outright.
    if (arity && ctx.error.empty() && facts_->eval && facts_->pure && facts_->deterministic && n.regions().empty() &&
        n.numOperands() > 0) {
      llvm::SmallVector<const Tensor *, 4> operands;
      bool all = true;
      for (unsigned i = 0; i < n.numOperands() && all; ++i) {
        const Value *v = n.operand(i);
        const ValueFact *f = v ? find(v) : nullptr;
        all = !v || (f && f->constant);
        operands.push_back(v && all ? &*f->constant : nullptr);
      }
      bool small = true;
      for (auto &r : ctx.results)
        if (r.type.isTensor() && r.type.isStatic() &&
            r.type.elementCount().value_or(INT64_MAX) > owner_.options_.maxConstantElements)
          small = false;
      if (all && small)
        if (auto r = evaluateConstants(n, operands, 1 << 20); r.ok())
          folded = std::move(*r);
    }
  }
  for (unsigned i = 0; i < n.numResults(); ++i) {
    const Value *v = n.result(i);
    ValueFact f;
    f.type = std::move(ctx.results[i].type);
    f.value = std::move(ctx.results[i].value);
    if (f.value && llvm::none_of(f.value->elements, [](Dim d) { return bool(d); }) && !f.value->elements.empty())
      f.value.reset();
    if (i < folded.size() && folded[i].type() != ElementType::Undefined &&
        folded[i].size() <= owner_.options_.maxConstantElements) {
      llvm::SmallVector<Dim, 4> dims;
      for (int64_t d : folded[i].dims())
        dims.push_back(context_.dims().constant(d));
      f.type = Type::tensor(folded[i].type(), dims);
      setConstant(f, folded[i]);
    } else if (f.value && f.value->isConstant() && f.type.isTensor() && n.is("Constant") == false &&
               (f.type.element == ElementType::Int64)) {
      Tensor t(ElementType::Int64, f.value->dims);
      for (size_t k = 0; k < f.value->elements.size(); ++k)
        t.mutableData<int64_t>()[k] = f.value->elements[k].constant();
      f.constant = std::move(t);
    }
    if (n.is("Constant"))
      if (auto c = constantOf(v))
        adoptConstant(f, *c);
    if (const Type *declared = v->declaredType()) {
      bool contradicts = false;
      if (!f.type.isKnown())
        f.type = *declared;
      else
        f.type = refine(context_.dims(), f.type, *declared, contradicts);
      if (contradicts)
        report("ONNX-TYPE-002", pathOf(n),
               "'" + v->name().str() + "' is declared " + toString(*declared, context_.dims()) + " but is " +
                   toString(f.type, context_.dims()),
               owner_.options_.contradiction);
      // An operator without a rule leaves the rank to the declaration.
      if (f.type.isTensor() && !f.type.ranked && (!facts_ && !n.callee()) && declared->ranked)
        f.type = *declared;
    }
    facts[v] = std::move(f);
  }
}

Inference::Inference(Model &model, InferenceOptions options) : model_(model), options_(options) {}
Inference::~Inference() = default;

void Inference::run() {
  engine_ = std::make_unique<Engine>(*this);
  diagnostics_.clear();
  engine_->seedInputs(model_.graph());
  engine_->runGraph(model_.graph());
  Graph &g = model_.graph();
  for (unsigned i = 0; i < g.outputs().size(); ++i) {
    const OutputSlot &slot = g.outputs()[i];
    const ValueFact *f = engine_->find(g.returnNode()->operand(i));
    if (!slot.type || !f || !f->type.isKnown())
      continue;
    bool contradicts = false;
    refine(model_.context().dims(), f->type, *slot.type, contradicts);
    if (contradicts)
      engine_->report("ONNX-TYPE-003", "main/outputs",
                      "output '" + slot.name.str() + "' is declared " + toString(*slot.type, model_.context().dims()) +
                          " but is " + toString(f->type, model_.context().dims()),
                      options_.contradiction);
  }
}

const ValueFact *Inference::fact(const Value *v) const { return engine_ && v ? engine_->find(v) : nullptr; }

bool Inference::mayRun(const Graph &body) const {
  for (const Graph *g = &body; const Node *n = g->parentNode(); g = n->graph())
    if (const Graph *taken = engine_ ? engine_->takenBranch(*n) : nullptr; taken && taken != g)
      return false;
  return true;
}

Type Inference::typeOf(const Value *v) const {
  const ValueFact *f = fact(v);
  if (f && f->type.isKnown())
    return f->type;
  return v && v->declaredType() ? *v->declaredType() : Type();
}

void Inference::update(Node &node) {
  if (engine_)
    engine_->runNode(node);
}

std::string contradiction(const ValueFact &f, const Datum &d, const DimContext &dims, const DimBindings &bindings) {
  if (!f.type.isTensor() || !d.isTensor())
    return "";
  const Tensor &t = d.tensor;
  if (f.type.hasElement() && f.type.element != t.type())
    return "is " + nameOf(t.type()).str() + ", inferred " + nameOf(f.type.element).str();
  if (f.type.ranked && f.type.rank() != t.rank())
    return "has rank " + std::to_string(t.rank()) + ", inferred " + std::to_string(f.type.rank());
  for (size_t i = 0; f.type.ranked && i < t.rank(); ++i) {
    if (!f.type.dims[i])
      continue;
    auto n = dims.evaluate(f.type.dims[i], bindings);
    if (n && *n != t.dim(i))
      return "has " + std::to_string(t.dim(i)) + " elements along axis " + std::to_string(i) + ", inferred " +
             dims.print(f.type.dims[i]);
    DimRange range = dims.range(f.type.dims[i]);
    if (t.dim(i) < range.lo || t.dim(i) > range.hi)
      return "has " + std::to_string(t.dim(i)) + " elements along axis " + std::to_string(i) + ", outside " +
             std::to_string(range.lo) + ".." + std::to_string(range.hi);
  }
  if (f.value && int64_t(f.value->elements.size()) == t.size() && !isFloating(t.type()) && !t.isString())
    for (int64_t i = 0; i < t.size(); ++i)
      if (f.value->elements[i])
        if (auto n = dims.evaluate(f.value->elements[i], bindings); n && *n != t.intAt(i))
          return "element " + std::to_string(i) + " is " + std::to_string(t.intAt(i)) + ", inferred " +
                 dims.print(f.value->elements[i]);
  return "";
}

} // namespace onnxopt
