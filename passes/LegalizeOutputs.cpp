// legalize-outputs: inserts the Identity that ONNX needs where an output has no node of its own.
#include "onnxopt/passes/Pass.h"

namespace onnxopt {
namespace {

/// A main graph's or function's output must be produced under its own name. Values that are inputs, or outputs
/// already, get an Identity; so do values of an outer graph that a body returns.
class LegalizeOutputs : public Pass {
public:
  absl::StatusOr<bool> run(Model &model, PassContext &) override {
    Rewriter rewriter(model.context());
    forEachGraph(model, [&](Graph &g) {
      llvm::SmallVector<Value *, 8> seen;
      Node *ret = g.returnNode();
      for (unsigned i = 0; i < ret->numOperands(); ++i) {
        Value *v = ret->operand(i);
        if (!v)
          continue;
        bool again = llvm::is_contained(seen, v);
        bool nested = g.parentNode() != nullptr;
        bool own =
            !again && v->graph() == &g && (v->kind() == Value::Result || (v->kind() == Value::Initializer && !nested));
        // An input that is an output too stays so: their names are one. In a body only where the file said so.
        bool asRead = (v->fromFile || !nested) && v->name() == g.outputs()[i].name && (!again || nested);
        if (own || asRead) {
          seen.push_back(v);
          continue;
        }
        Node *n = rewriter.create(g, nullptr, "Identity", "", {v}, 1, {});
        n->result()->setName(g.outputs()[i].name);
        if (v->declaredType() && !g.outputs()[i].type)
          n->result()->setDeclaredType(*v->declaredType());
        rewriter.setOperand(ret, i, n->result());
        seen.push_back(n->result());
      }
    });
    return rewriter.changes() > 0;
  }
};

} // namespace

PassRegistry::Entry makeLegalizeOutputsEntry() {
  return {"legalize-outputs", "insert the Identity that ONNX needs for outputs without a node of their own", "",
          [] { return std::make_unique<LegalizeOutputs>(); }};
}

} // namespace onnxopt
