// shape-infer: writes down the types and shapes that the operators' rules prove.
#include "onnxopt/passes/Pass.h"

namespace onnxopt {
namespace {

/// The type to declare: what is proved, with the author's names kept where nothing better is known.
Type declaration(const Type &inferred, const Type *declared) {
  if (!declared || !inferred.isTensor() || !declared->isTensor())
    return declared && (!inferred.isTensor() || inferred.inner) && declared->isKnown() ? *declared : inferred;
  Type t = inferred;
  if (!t.hasElement())
    t.element = declared->element;
  if (!t.ranked || declared->rank() != t.rank() || !declared->ranked)
    return t.ranked ? t : *declared;
  for (size_t i = 0; i < t.rank(); ++i) {
    Dim have = declared->dims[i], proved = t.dims[i];
    bool named = have && (have.isConstant() || !have.isSymbol() || !have.symbolName().empty());
    if (!proved || (proved.hasGenerated() && named && !proved.isConstant()))
      t.dims[i] = have;
  }
  return t;
}

class ShapeInfer : public Pass {
public:
  absl::StatusOr<bool> run(Model &model, PassContext &ctx) override {
    Inference &inference = ctx.inference();
    for (const Diagnostic &d : inference.diagnostics())
      ctx.remark("shape-infer", d.path, d.code + ": " + d.message);
    bool changed = false;
    uint64_t values = 0, resolved = 0, never = 0; // those of branches that never run are counted by themselves
    auto visit = [&](Graph &g) {
      if (g.function())
        return; // a body's types depend on the call
      const bool isMain = !g.parentNode(), runs = inference.mayRun(g);
      for (Node &n : g.nodes())
        for (const auto &r : n.results()) {
          if (r->name().empty() && !r->hasUses())
            continue;
          const ValueFact *f = inference.fact(r.get());
          ++(runs ? values : never);
          if (!f || !f->type.isKnown() || (f->type.isTensor() && !f->type.hasElement()))
            continue;
          bool exact = f->type.isTensor() && f->type.ranked &&
                       llvm::none_of(f->type.dims, [](Dim d) { return !d || d.dependsOnRun(); });
          resolved += runs && (exact || (!f->type.isTensor() && f->type.isKnown()));
          changed |= declare(*r, f->type);
        }
      for (unsigned i = 0; i < g.outputs().size(); ++i) {
        const ValueFact *f = inference.fact(g.returnNode()->operand(i));
        if (!f || !f->type.isKnown() || (f->type.isTensor() && !f->type.hasElement()))
          continue;
        OutputSlot &slot = g.outputs()[i];
        Type t = declaration(f->type, slot.type.get());
        // The interface is contract: only what the file leaves open is filled in. And what a body without iterations
        // gives, onnxruntime takes from its declared sizes: they stay unless they are disproved.
        if (slot.type && slot.type->isTensor() && slot.type->ranked && t.rank() == slot.type->rank())
          for (size_t k = 0; k < t.rank(); ++k)
            if (Dim d = slot.type->dims[k];
                d && !t.dims[k].isConstant() && (isMain ? d.isSymbol() && !d.symbolName().empty() : d.isConstant()))
              t.dims[k] = d;
        if (!slot.type || !(t == *slot.type)) {
          slot.type = std::make_unique<Type>(std::move(t));
          changed = true;
        }
      }
    };
    forEachGraph(model, visit);
    ctx.statistics["shape-infer"]["values"] = values;
    ctx.statistics["shape-infer"]["fully resolved"] = resolved;
    ctx.statistics["shape-infer"]["never computed"] = never;
    return changed;
  }

private:
  static bool declare(Value &v, const Type &inferred) {
    Type t = declaration(inferred, v.declaredType());
    if (v.declaredType() && t == *v.declaredType())
      return false;
    v.setDeclaredType(std::move(t));
    return true;
  }
};

} // namespace

PassRegistry::Entry makeShapeInferEntry() {
  return {"shape-infer", "declare the types and shapes that the operators' rules prove", "",
          [] { return std::make_unique<ShapeInfer>(); }};
}

} // namespace onnxopt
