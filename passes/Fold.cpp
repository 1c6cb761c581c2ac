// fold: computes ahead what depends on constants only.
#include "onnxopt/passes/Pass.h"

#include "onnxopt/ops/Evaluate.h"

namespace onnxopt {
namespace {

/// A node folds when it is pure and deterministic, has a kernel, all operands are constant (or its results are known
/// from shapes), and the results stay within the budget: 1 MiB, or what the operands take that die with it.
class Fold : public Pass {
public:
  absl::StatusOr<bool> run(Model &model, PassContext &ctx) override {
    Rewriter rewriter(model.context());
    Inference &inference = ctx.inference();
    uint64_t folded = 0;
    std::function<void(Graph &)> visit = [&](Graph &g) {
      for (auto it = g.nodes().begin(); it != g.nodes().end();) {
        Node &n = *it++;
        if (!n.is("Constant"))
          folded += foldNode(n, rewriter, inference, ctx);
        if (!rewriter.isErased(&n))
          for (Graph *r : n.regions())
            visit(*r);
      }
    };
    visit(model.graph());
    for (auto &f : model.functions())
      visit(*f->graph);
    ctx.count("fold", "nodes folded", folded);
    return rewriter.changes() > 0;
  }

private:
  static bool foldNode(Node &n, Rewriter &rewriter, Inference &inference, PassContext &ctx) {
    const OpFacts *facts = n.callee() ? nullptr : factsOf(n);
    if (n.numResults() == 0 || !n.regions().empty())
      return false;
    bool computable = facts && facts->pure && facts->deterministic && facts->foldable;
    if (!computable)
      return false;
    // Known from shapes, even where operands are not constant.
    llvm::SmallVector<Value *, 2> values;
    bool allKnown = true;
    for (const auto &r : n.results()) {
      const ValueFact *f = inference.fact(r.get());
      allKnown &= !r->hasUses() || (f && f->constant && !f->constant->isString());
    }
    if (allKnown && n.graph()->function() == nullptr) {
      for (const auto &r : n.results())
        values.push_back(r->hasUses()
                             ? rewriter.createConstant(*n.graph(), &n, *inference.fact(r.get())->constant, r->name())
                             : nullptr);
      rewriter.replace(&n, values);
      return true;
    }
    if (!facts->eval || n.numOperands() == 0)
      return false;
    std::vector<std::shared_ptr<const TensorData>> constants;
    uint64_t dying = 0, total = 0;
    for (unsigned i = 0; i < n.numOperands(); ++i) {
      Value *v = n.operand(i);
      auto c = v ? constantOf(v) : nullptr;
      if (v && (!c || c->elided || !c->problem.empty() || c->type == ElementType::String))
        return false;
      constants.push_back(c);
      if (c) {
        total += c->byteSize();
        if (v->hasOneUse())
          dying += c->byteSize();
      }
    }
    uint64_t budget = std::max(n.graph()->context().limits.foldBytes, dying);
    uint64_t expected = 0;
    for (const auto &r : n.results()) {
      Type t = inference.typeOf(r.get());
      auto count = t.elementCount();
      auto bytes = count && *count >= 0 ? byteSize(t.element, uint64_t(*count)) : std::nullopt;
      if (bytes)
        expected += *bytes;
    }
    if (expected > budget || total > (uint64_t(256) << 20)) {
      ctx.remark("fold", pathOf(n),
                 "not folded: the result takes " + std::to_string(expected) + " bytes, the budget is " +
                     std::to_string(budget));
      return false;
    }
    std::vector<Tensor> tensors(constants.size());
    llvm::SmallVector<const Tensor *, 4> operands;
    for (size_t i = 0; i < constants.size(); ++i) {
      if (!constants[i]) {
        operands.push_back(nullptr);
        continue;
      }
      auto t = constants[i]->read();
      if (!t.ok())
        return false;
      tensors[i] = std::move(*t);
      operands.push_back(&tensors[i]);
    }
    auto results = evaluateConstants(n, operands, budget);
    if (!results.ok()) {
      ctx.remark("fold", pathOf(n), "not folded: " + std::string(results.status().message()));
      return false;
    }
    for (unsigned i = 0; i < results->size(); ++i) {
      if (n.result(i)->hasUses() && ((*results)[i].type() == ElementType::Undefined || (*results)[i].isString()))
        return false;
    }
    for (unsigned i = 0; i < results->size(); ++i)
      values.push_back(n.result(i)->hasUses()
                           ? rewriter.createConstant(*n.graph(), &n, std::move((*results)[i]), n.result(i)->name())
                           : nullptr);
    rewriter.replace(&n, values);
    return true;
  }
};

} // namespace

PassRegistry::Entry makeFoldEntry() {
  return {"fold", "compute ahead what depends on constants and known shapes only", "",
          [] { return std::make_unique<Fold>(); }};
}

} // namespace onnxopt
