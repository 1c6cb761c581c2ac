// fuse: replaces groups of operators by one, following the rules in passes/rules/.
#include "onnxopt/passes/Rules.h"

#include "onnxopt/ir/text/Parser.h"

#include "llvm/ADT/StringExtras.h"

#include <cmath>

namespace onnxopt {

std::optional<Tensor> FusionServices::constant(const Value *v) const {
  auto c = constantOf(v);
  if (!c || c->elided || !c->problem.empty() || c->byteSize() > (uint64_t(1) << 30))
    return std::nullopt;
  auto t = c->read();
  return t.ok() ? std::optional(*t) : std::nullopt;
}

std::optional<double> FusionServices::scalar(const Value *v) const {
  auto c = constantOf(v);
  if (!c || elementCount(c->dims) != 1 || c->type == ElementType::String)
    return std::nullopt;
  auto t = constant(v);
  return t ? std::optional(t->floatAt(0)) : std::nullopt;
}

namespace {

/// A parsed pattern.
struct Pattern {
  const FusionRule *rule;
  std::unique_ptr<Model> model;
  Node *root;
};

class Matcher {
public:
  Matcher(FusionServices &services) : services_(services) {}

  std::optional<FusionMatch> match(const Pattern &p, Node &root) {
    bound_.clear();
    nodes_.clear();
    if (!matchNode(*p.root, root, 0))
      return std::nullopt;
    FusionMatch m;
    m.root = &root;
    m.nodes = nodes_;
    for (const auto &v : p.model->graph().inputs())
      m.captures[v->name().str()] = bound_.lookup(v.get());
    return m;
  }

private:
  bool matchValue(Value *pattern, Value *actual, unsigned depth) {
    if (!actual || depth > 32)
      return false;
    auto it = bound_.find(pattern);
    if (it != bound_.end())
      return it->second == actual;
    if (pattern->kind() == Value::Initializer) {
      auto want = services_.scalar(pattern), have = services_.scalar(actual);
      if (!want || !have || std::fabs(*want - *have) > 1e-5 * std::fabs(*want))
        return false;
      bound_[pattern] = actual;
      return true;
    }
    if (pattern->kind() == Value::Result) {
      if (!actual->producer() || actual->producer()->graph() != graph_)
        return false;
      return matchNode(*pattern->producer(), *actual->producer(), depth + 1);
    }
    bound_[pattern] = actual;
    return true;
  }

  bool matchNode(Node &pattern, Node &actual, unsigned depth) {
    if (depth == 0)
      graph_ = actual.graph();
    if (pattern.opType() != actual.opType() || pattern.domain() != actual.domain() || actual.callee() ||
        !factsOf(actual))
      return false;
    // Before opset 7 broadcasting followed an attribute.
    if (schema::Schema s = NodeView(actual).schema(); s && s.attribute("broadcast"))
      return false;
    // Axes of reductions are an operand in newer versions; conditions look at them.
    bool extra = actual.opType().starts_with("Reduce");
    if (pattern.numOperands() > actual.numOperands() || (!extra && pattern.numOperands() != actual.numOperands()))
      return false;
    for (const Attribute &a : pattern.attributes()) {
      const Attribute *b = actual.attribute(a.name);
      const auto *want = std::get_if<int64_t>(&a.value);
      const auto *have = b ? std::get_if<int64_t>(&b->value) : nullptr;
      if (want && (!have || *want != *have))
        return false;
      const auto *wantF = std::get_if<float>(&a.value);
      if (wantF) {
        float f = NodeView(actual).getFloat(a.name);
        if (std::fabs(f - *wantF) > 1e-5 * std::fabs(*wantF))
          return false;
      }
    }
    auto saveBound = bound_;
    auto saveNodes = nodes_;
    bool commutes = factsOf(actual)->commutative && pattern.numOperands() == 2;
    for (bool swapped : {false, true}) {
      if (swapped && !commutes)
        break;
      bool ok = true;
      nodes_.push_back(&actual);
      for (unsigned i = 0; i < pattern.numOperands() && ok; ++i)
        ok = matchValue(pattern.operand(i), actual.operand(swapped ? 1 - i : i), depth);
      if (ok) {
        bound_[pattern.result(0)] = actual.result(0);
        return true;
      }
      bound_ = saveBound;
      nodes_ = saveNodes;
    }
    return false;
  }

  FusionServices &services_;
  Graph *graph_ = nullptr;
  llvm::DenseMap<Value *, Value *> bound_;
  llvm::SmallVector<Node *, 8> nodes_;
};

/// Decides first: pattern, escape of inner values, conditions, opset. Edits after the last check.
class Fuse : public Pass {
public:
  absl::StatusOr<bool> run(Model &model, PassContext &ctx) override {
    bool calls = option("calls", "true") != "false";
    std::string only = option("rules");
    Context &context = model.context();
    std::vector<FusionRule> rules;
    for (auto list : {linearRules(), normalizationRules(), geluRules(), activationRules()})
      for (FusionRule &r : list)
        if (only.empty() || llvm::is_contained(llvm::split(only, '+'), llvm::StringRef(r.name)))
          rules.push_back(std::move(r));
    std::vector<Pattern> patterns;
    for (const FusionRule &r : rules)
      for (const char *text : r.patterns) {
        auto parsed = parseText(context, text);
        if (!parsed.ok() || !(*parsed)->importErrors.empty())
          return absl::InternalError(
              std::string("rule '") + r.name +
              "': " + (parsed.ok() ? toString((*parsed)->importErrors[0]) : std::string(parsed.status().message())));
        Node *root = (*parsed)->graph().returnNode()->operand(0)->producer();
        patterns.push_back({&r, std::move(*parsed), root});
      }
    Rewriter rewriter(context);
    FusionServices services{model, rewriter, ctx.inference()};
    Matcher matcher(services);
    std::function<void(Graph &)> visit = [&](Graph &g) {
      // Outermost first: from the last node up, so that a larger group wins over a part of it.
      llvm::SmallVector<Node *, 0> order;
      for (Node &n : g.nodes())
        order.push_back(&n);
      for (Node *n : llvm::reverse(order)) {
        if (rewriter.isErased(n))
          continue;
        for (Graph *r : n->regions())
          visit(*r);
        for (const Pattern &p : patterns)
          if (tryPattern(p, *n, matcher, services, ctx, calls))
            break;
      }
    };
    visit(model.graph());
    return rewriter.changes() > 0;
  }

private:
  bool tryPattern(const Pattern &p, Node &n, Matcher &matcher, FusionServices &services, PassContext &ctx, bool calls) {
    if (p.root->opType() != n.opType())
      return false;
    auto m = matcher.match(p, n);
    if (!m)
      return false;
    const FusionRule &rule = *p.rule;
    std::string name = rule.name;
    ctx.count("fuse", name + ": found");
    auto refuse = [&](std::string why) {
      ctx.count("fuse", name + ": refused");
      ctx.remark("fuse", pathOf(n), name + " not fused: " + why);
      return false;
    };
    for (Node *inner : llvm::ArrayRef<Node *>(m->nodes).drop_front())
      for (const auto &r : inner->results())
        for (Use *u : r->uses())
          if (!llvm::is_contained(m->nodes, u->user()))
            return refuse("'" + r->name().str() + "' is also used elsewhere" +
                          (u->user()->isReturn() ? " (it is an output)" : ""));
    for (unsigned i = 1; i < n.numResults(); ++i)
      if (n.result(i)->hasUses())
        return refuse("a further result is used");
    if (rule.refuse)
      if (std::string why = rule.refuse(*m, services); !why.empty())
        return refuse(why);
    Value *made = nullptr;
    if (rule.build) {
      std::string why;
      made = rule.build(*m, services, why);
      if (!made)
        return refuse(why.empty() ? "conditions do not hold" : why);
    } else {
      llvm::SmallVector<Value *, 4> operands;
      for (const std::string &o : rule.operands)
        operands.push_back((*m)[o]);
      schema::Schema s = schema::lookup("", rule.op, opsetVersion(*n.graph(), ""));
      if (s) {
        Node *fused = services.rewriter.create(*n.graph(), &n, rule.op, "", operands, 1, m->nodes);
        if (rule.attributes)
          for (Attribute &a : rule.attributes(*m, services))
            fused->setAttribute(std::move(a));
        made = fused->result();
      } else if (calls) {
        made = callFunction(*m, rule, operands, services);
        if (!made)
          return refuse("the model's opset has no " + std::string(rule.op) +
                        ", and the matched code cannot be made a function");
      } else {
        return refuse("the model's opset has no " + std::string(rule.op));
      }
    }
    made->setName(n.result(0)->name());
    if (n.result(0)->declaredType() && !made->declaredType())
      made->setDeclaredType(*n.result(0)->declaredType());
    services.rewriter.replaceAllUses(n.result(0), made);
    for (Node *inner : m->nodes)
      if (inner->resultsUnused() && !services.rewriter.isErased(inner))
        services.rewriter.erase(inner);
    ctx.count("fuse", name + ": fused");
    ctx.remark("fuse", pathOf(*made->producer()), name + " fused " + std::to_string(m->nodes.size()) + " nodes");
    return true;
  }

  /// A model-local function whose body is the matched code; scalar constants become Constant nodes of the body.
  static Value *callFunction(const FusionMatch &m, const FusionRule &rule, llvm::ArrayRef<Value *> operands,
                             FusionServices &services) {
    Model &model = services.model;
    Context &c = model.context();
    if (model.irVersion.value_or(0) < 8) // functions came with IR version 8
      return nullptr;
    auto f = std::make_unique<Function>(c);
    f->graph->setOwner(&model, f.get());
    f->domain = c.intern("onnxopt.fused");
    f->opsets = {{"", opsetVersion(*m.root->graph(), "")}};
    llvm::DenseMap<Value *, Value *> map;
    for (Value *v : operands)
      if (!map.count(v))
        map[v] = f->graph->addInput("x" + std::to_string(f->graph->inputs().size()));
    std::string signature;
    llvm::SmallVector<Node *, 8> order(m.nodes.begin(), m.nodes.end());
    // Program order of the matched nodes.
    llvm::SmallVector<Node *, 8> sorted;
    for (Node &n : m.root->graph()->nodes())
      if (llvm::is_contained(order, &n))
        sorted.push_back(&n);
    for (Node *n : sorted) {
      llvm::SmallVector<Value *, 4> ins;
      for (Value *v : n->operands()) {
        if (v && !map.count(v)) {
          auto k = constantOf(v);
          if (!k || k->byteSize() > 64)
            return nullptr;
          Node *constant = f->graph->createNode("Constant", "", {}, 1);
          auto copy = std::make_shared<TensorData>(*k);
          copy->name.clear();
          copy->asRead = nullptr;
          constant->setAttribute(makeAttribute("value", std::shared_ptr<const TensorData>(copy)));
          constant->result()->setName(c.intern("c" + std::to_string(f->graph->nodes().size())));
          map[v] = constant->result();
          if (auto t = k->read(); t.ok() && !t->isString())
            signature += std::to_string(t->floatAt(0)) + ",";
        }
        ins.push_back(v ? map[v] : nullptr);
      }
      Node *copy = f->graph->createNode(n->opType(), n->domain(), ins, n->numResults());
      llvm::DenseMap<Value *, Value *> none;
      for (const Attribute &a : n->attributes())
        copy->setAttribute(cloneAttribute(a, *f->graph, copy, none, "", nullptr, false));
      signature += n->opType().str() + ";";
      for (unsigned i = 0; i < n->numResults(); ++i) {
        copy->result(i)->setName(c.intern("v" + std::to_string(f->graph->nodes().size())));
        map[n->result(i)] = copy->result(i);
      }
    }
    f->graph->addOutput(map[m.root->result(0)], "y");
    f->graph->returnNode()->operand(0)->setName(c.intern("y"));
    // One function for equal bodies.
    f->metadata.push_back({"onnxopt.body", signature});
    std::string name = std::string("Fused") + rule.op;
    Function *target = nullptr;
    for (auto &existing : model.functions())
      if (existing->domain == f->domain && existing->metadata == f->metadata &&
          existing->graph->inputs().size() == f->graph->inputs().size())
        target = existing.get();
    if (!target) {
      unsigned suffix = 0;
      std::string unique = name;
      while (model.findFunction(f->domain, unique, ""))
        unique = name + std::to_string(++suffix);
      f->name = c.intern(unique);
      target = f.get();
      model.functions().push_back(std::move(f));
      if (llvm::none_of(model.opsets, [](const OpsetImport &o) { return o.domain == "onnxopt.fused"; }))
        model.opsets.push_back({"onnxopt.fused", 1});
    }
    llvm::SmallVector<Value *, 4> distinct;
    for (Value *v : operands)
      if (!llvm::is_contained(distinct, v))
        distinct.push_back(v);
    Node *call = services.rewriter.create(*m.root->graph(), m.root, target->name, target->domain, distinct, 1, m.nodes);
    call->setCallee(target);
    return call->result();
  }
};

} // namespace

PassRegistry::Entry makeFuseEntry() {
  return {"fuse", "replace groups of operators by one",
          "calls=true: call a model-local function where the opset lacks the operator\nrules=: only these rules, "
          "joined by +",
          [] { return std::make_unique<Fuse>(); }};
}

} // namespace onnxopt
