// flatten: control flow whose course is known becomes straight code.
#include "onnxopt/passes/Pass.h"

#include <cstring>

namespace onnxopt {
namespace {

/// If with a known condition: the branch takes its place. Loop with a known trip count of at most `unroll`, which
/// nothing can end early: its body is copied once for each trip. Scan outputs become a Concat of Unsqueezes.
class Flatten : public Pass {
public:
  absl::StatusOr<bool> run(Model &model, PassContext &ctx) override {
    Rewriter rewriter(model.context());
    int64_t unroll = 16;
    if (llvm::StringRef(option("unroll", "16")).getAsInteger(10, unroll))
      return absl::InvalidArgumentError("unroll must be a number");
    budget_ = model.context().limits.nodes;
    Inference &inference = ctx.inference();
    std::function<void(Graph &)> visit = [&](Graph &g) {
      for (auto it = g.nodes().begin(); it != g.nodes().end();) {
        Node &n = *it++;
        for (Graph *r : n.regions())
          visit(*r);
        if (n.is("If"))
          flattenIf(n, rewriter, inference, ctx);
        else if (n.is("Loop"))
          unrollLoop(n, unroll, rewriter, inference, ctx);
      }
    };
    visit(model.graph());
    for (auto &f : model.functions())
      visit(*f->graph);
    return rewriter.changes() > 0;
  }

private:
  static std::optional<int64_t> known(const Value *v, Inference &inference) {
    if (!v)
      return std::nullopt;
    if (auto c = constantOf(v); c && elementCount(c->dims) == 1) {
      auto t = c->read();
      return t.ok() ? std::optional(t->intAt(0)) : std::nullopt;
    }
    const ValueFact *f = inference.fact(v);
    if (f && f->value && f->value->elements.size() == 1)
      return f->value->elements[0].maybeConstant();
    if (f && f->constant && f->constant->size() == 1)
      return f->constant->intAt(0);
    return std::nullopt;
  }

  static void flattenIf(Node &n, Rewriter &rewriter, Inference &inference, PassContext &ctx) {
    auto condition = known(n.operand(0), inference);
    if (!condition && sameBranches(n))
      condition = 1;
    if (!condition) {
      ctx.remark("flatten", pathOf(n), "If kept: its condition is not known");
      return;
    }
    const Attribute *a = n.attribute(*condition ? "then_branch" : "else_branch");
    if (!a || a->graphs().empty())
      return;
    Graph &body = *a->graphs()[0], &g = *n.graph();
    if (body.outputs().size() != n.numResults())
      return;
    llvm::SmallVector<Value *, 4> results;
    moveInitializers(body, g, &n, rewriter);
    for (auto it = body.nodes().begin(); it != body.nodes().end();) {
      Node &inner = *it++;
      for (const auto &r : inner.results())
        r->fromFile = false;
      rewriter.moveBefore(&inner, g, &n);
    }
    for (unsigned i = 0; i < n.numResults(); ++i)
      results.push_back(body.returnNode()->operand(i));
    ctx.count("flatten", "If flattened");
    rewriter.replace(&n, results);
  }

  /// Both branches hold the same pure nodes in the same order: it does not matter which one runs.
  static bool sameBranches(Node &n) {
    llvm::SmallVector<Graph *, 2> g = n.regions();
    if (g.size() != 2 || g[0]->nodes().size() != g[1]->nodes().size() ||
        g[0]->outputs().size() != g[1]->outputs().size())
      return false;
    llvm::DenseMap<Value *, Value *> twin; // of the second branch, in the first
    auto same = [&](Value *a, Value *b) {
      if (!a || !b)
        return a == b;
      auto it = twin.find(b);
      if (it != twin.end() ? it->second == a : a == b)
        return true;
      auto x = constantOf(a), y = constantOf(b);
      return x && y && equalConstants(*x, *y);
    };
    for (auto a = g[0]->nodes().begin(), b = g[1]->nodes().begin(); a != g[0]->nodes().end(); ++a, ++b) {
      if (a->opType() != b->opType() || a->domain() != b->domain() || a->overload() != b->overload() ||
          a->callee() != b->callee() || a->numOperands() != b->numOperands() || a->numResults() != b->numResults() ||
          !a->regions().empty() || a->attributes().size() != b->attributes().size() || !isPure(*a) ||
          !isDeterministic(*a))
        return false;
      for (unsigned i = 0; i < a->numOperands(); ++i)
        if (!same(a->operand(i), b->operand(i)))
          return false;
      for (const Attribute &x : a->attributes()) {
        const Attribute *y = b->attribute(x.name);
        if (!y || x.value.index() != y->value.index() || x.refName != y->refName)
          return false;
        if (x.asTensor() ? !y->asTensor() || !equalConstants(*x.asTensor(), *y->asTensor()) : !equalScalars(x, *y))
          return false;
      }
      for (unsigned i = 0; i < a->numResults(); ++i)
        twin[b->result(i)] = a->result(i);
    }
    for (unsigned i = 0; i < g[0]->outputs().size(); ++i)
      if (!same(g[0]->returnNode()->operand(i), g[1]->returnNode()->operand(i)))
        return false;
    return true;
  }
  static bool equalConstants(const TensorData &a, const TensorData &b) {
    if (a.type != b.type || a.dims != b.dims || a.byteSize() > (1 << 16))
      return false;
    auto x = a.read(), y = b.read();
    if (!x.ok() || !y.ok())
      return false;
    return x->isString() ? x->strings() == y->strings() : std::memcmp(x->bytes(), y->bytes(), x->byteSize()) == 0;
  }
  static bool equalScalars(const Attribute &a, const Attribute &b) {
    return std::visit(
        [&](const auto &v) {
          using T = std::decay_t<decltype(v)>;
          if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, std::string> || std::is_same_v<T, float> ||
                        std::is_same_v<T, std::vector<int64_t>> || std::is_same_v<T, std::vector<float>> ||
                        std::is_same_v<T, std::vector<std::string>>)
            return v == std::get<T>(b.value);
          else
            return false;
        },
        a.value);
  }

  /// A body's initializers become the outer graph's.
  static void moveInitializers(Graph &body, Graph &g, Node *before, Rewriter &rewriter) {
    for (const auto &v : body.initializers()) {
      if (!v->hasUses() || !v->initializer())
        continue;
      Value *copy;
      if (g.function()) {
        Node *c = rewriter.create(g, before, "Constant", "", {}, 1, {});
        c->setAttribute(makeAttribute("value", v->initializer()));
        copy = c->result();
      } else {
        copy = g.addInitializer(v->name(), v->initializer());
      }
      copy->setName(v->name());
      rewriter.replaceAllUses(v.get(), copy);
    }
  }

  void unrollLoop(Node &n, int64_t limit, Rewriter &rewriter, Inference &inference, PassContext &ctx) {
    auto keep = [&](std::string why) { ctx.remark("flatten", pathOf(n), "Loop kept: " + why); };
    const Attribute *a = n.attribute("body");
    if (!a || a->graphs().empty())
      return;
    Graph &body = *a->graphs()[0], &g = *n.graph();
    if (body.inputs().size() < 2 || n.numOperands() < body.inputs().size())
      return;
    unsigned carried = body.inputs().size() - 2;
    if (body.outputs().size() < 1 + carried)
      return;
    unsigned scans = body.outputs().size() - 1 - carried;
    auto start = n.operand(1) ? known(n.operand(1), inference) : std::optional<int64_t>(1);
    auto trips = n.operand(0) ? known(n.operand(0), inference) : std::nullopt;
    if (start == 0)
      trips = 0;
    if (!start)
      return keep("its first condition is not known");
    if (!trips)
      return keep("its trip count is not known");
    int64_t count = std::max<int64_t>(0, *trips);
    if (count > 0) {
      // The condition must stay true: a constant, or the one that came in.
      Value *go = body.returnNode()->operand(0);
      while (go && go->producer() && go->producer()->is("Identity"))
        go = go->producer()->operand(0);
      bool always = go == body.inputs()[1].get() || known(go, inference) == 1;
      if (!always)
        return keep("its condition may end it early");
    }
    if (count > limit)
      return keep("its trip count of " + std::to_string(count) + " is over the limit of " + std::to_string(limit));
    uint64_t size = 0;
    walk(body, [&](Node &) { ++size; });
    if (size * uint64_t(count) > budget_)
      return keep("the node budget is used up");
    if (count == 0)
      for (unsigned i = 0; i < scans && carried + i < n.numResults(); ++i)
        if (n.result(carried + i)->hasUses()) {
          Type t = inference.typeOf(n.result(carried + i));
          if (!t.isStatic() || !t.hasElement() || !bitWidth(t.element))
            return keep("it runs no trip, and the shape of a scan output is not known");
        }
    for (unsigned i = 0; i < scans && carried + i < n.numResults(); ++i)
      if (n.result(carried + i)->hasUses()) {
        Type t = inference.typeOf(body.returnNode()->operand(1 + carried + i));
        if (!t.isTensor())
          return keep("a scan output's type is not known");
      }
    budget_ -= size * uint64_t(count);
    llvm::SmallVector<Value *, 4> state;
    for (unsigned i = 0; i < carried; ++i)
      state.push_back(n.operand(2 + i));
    llvm::SmallVector<llvm::SmallVector<Value *, 8>, 2> collected(scans);
    for (int64_t trip = 0; trip < count; ++trip) {
      llvm::DenseMap<Value *, Value *> map;
      if (body.inputs()[0]->hasUses())
        map[body.inputs()[0].get()] =
            rewriter.createConstant(g, &n, Tensor::scalar<int64_t>(ElementType::Int64, trip), "trip");
      else
        map[body.inputs()[0].get()] = nullptr;
      map[body.inputs()[1].get()] =
          body.inputs()[1]->hasUses()
              ? rewriter.createConstant(g, &n, Tensor::scalar<uint8_t>(ElementType::Bool, 1), "go")
              : nullptr;
      for (unsigned i = 0; i < carried; ++i)
        map[body.inputs()[2 + i].get()] = state[i];
      for (const auto &v : body.initializers())
        if (v->hasUses() && v->initializer()) {
          Value *copy;
          if (g.function()) {
            Node *c = rewriter.create(g, &n, "Constant", "", {}, 1, {});
            c->setAttribute(makeAttribute("value", v->initializer()));
            copy = c->result();
          } else {
            copy = g.addInitializer(v->name(), v->initializer());
          }
          map[v.get()] = copy;
        }
      cloneNodes(body, g, &n, map, "", nullptr, false);
      auto at = [&](unsigned i) {
        Value *v = body.returnNode()->operand(i);
        auto it = map.find(v);
        return it == map.end() ? v : it->second;
      };
      for (unsigned i = 0; i < carried; ++i)
        state[i] = at(1 + i);
      for (unsigned i = 0; i < scans; ++i)
        collected[i].push_back(at(1 + carried + i));
    }
    rewriter.markChanged();
    llvm::SmallVector<Value *, 4> results(state.begin(), state.end());
    for (unsigned i = 0; i < scans; ++i) {
      if (carried + i >= n.numResults() || !n.result(carried + i)->hasUses()) {
        results.push_back(nullptr);
        continue;
      }
      if (count == 0) {
        Type t = inference.typeOf(n.result(carried + i));
        Dims dims{0};
        for (size_t k = 1; k < t.rank(); ++k)
          dims.push_back(t.dims[k].constant());
        results.push_back(rewriter.createConstant(g, &n, Tensor(t.element, dims), n.result(carried + i)->name()));
        continue;
      }
      llvm::SmallVector<Value *, 8> slices;
      for (Value *v : collected[i])
        slices.push_back(unsqueeze(v, n, rewriter));
      Node *c = rewriter.create(g, &n, "Concat", "", slices, 1, {&n});
      c->setAttribute(makeAttribute("axis", int64_t(0)));
      results.push_back(c->result());
    }
    while (results.size() > n.numResults())
      results.pop_back();
    ctx.count("flatten", "Loop unrolled");
    rewriter.replace(&n, results);
  }

  /// A leading axis of 1, in the form of the owner's opset.
  static Value *unsqueeze(Value *v, Node &before, Rewriter &rewriter) {
    Graph &g = *before.graph();
    bool asOperand = schema::lookup("", "Unsqueeze", opsetVersion(g, "")) &&
                     schema::lookup("", "Unsqueeze", opsetVersion(g, "")).maxInputs() > 1;
    Node *u;
    if (asOperand) {
      Value *axes = rewriter.createConstant(g, &before, Tensor::vector({0}), "axes");
      u = rewriter.create(g, &before, "Unsqueeze", "", {v, axes}, 1, {});
    } else {
      u = rewriter.create(g, &before, "Unsqueeze", "", {v}, 1, {});
      u->setAttribute(makeAttribute("axes", std::vector<int64_t>{0}));
    }
    return u->result();
  }

  uint64_t budget_ = 0;
};

} // namespace

PassRegistry::Entry makeFlattenEntry() {
  return {"flatten", "replace If and Loop whose course is known by straight code",
          "unroll=16: most trips of a Loop to unroll", [] { return std::make_unique<Flatten>(); }};
}

} // namespace onnxopt
