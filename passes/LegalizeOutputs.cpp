// legalize-outputs: inserts the Identity that ONNX needs where an output has no node of its own.
#include "onnxopt/ops/Operator.h"
#include "onnxopt/passes/Pass.h"

#include "llvm/ADT/StringExtras.h"

namespace onnxopt {
namespace {

/// Whether Identity takes every type that the node gives as result `index`: before opset 14 no sequence, before 16 no
/// optional.
bool identityTakes(const Node &n, unsigned index) {
  schema::Schema made = schema::lookup(n.domain(), n.opType(), opsetVersion(n));
  const schema::Formal *f = made ? made.output(index) : nullptr;
  schema::Schema identity = schema::lookup("", "Identity", opsetVersion(*n.graph(), ""));
  return !f || !identity || llvm::all_of(llvm::split(made.allowedTypes(*f), ' '), [&](llvm::StringRef type) {
    return identity.allows(*identity.input(0), type);
  });
}

/// `v` once more, computed at the end of `g`: by an Identity, or, where that may not take its type, by its node again.
Value *copyOf(Rewriter &rewriter, Graph &g, Value *v) {
  Node *made = v->producer();
  if (!made || !made->regions().empty() || !isPure(*made) || !isDeterministic(*made) ||
      identityTakes(*made, v->index()))
    return rewriter.create(g, nullptr, "Identity", "", {v}, 1, {})->result();
  Node *again =
      rewriter.create(g, nullptr, made->opType(), made->domain(), made->operands(), made->numResults(), {made});
  again->setCallee(made->callee());
  llvm::DenseMap<Value *, Value *> none;
  for (const Attribute &a : made->attributes())
    rewriter.setAttribute(again, cloneAttribute(a, g, again, none, "", nullptr, false));
  return again->result(v->index());
}

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
        Value *copy = copyOf(rewriter, g, v);
        copy->setName(g.outputs()[i].name);
        if (v->declaredType() && !g.outputs()[i].type)
          copy->setDeclaredType(*v->declaredType());
        rewriter.setOperand(ret, i, copy);
        seen.push_back(copy);
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
