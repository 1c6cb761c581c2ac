// Steps through an operator's versions: by an adapter where there is one, else by what the schemas say.
#include "onnxopt/passes/opset/Adapters.h"

#include "onnxopt/ops/support/Kernels.h"

#include "llvm/ADT/StringExtras.h"

namespace onnxopt {
namespace {

/// Calls `visit` for each version after `from` in which `op` was stated anew; it stops on false.
void forEachStep(llvm::StringRef op, int64_t from, int64_t to,
                 llvm::function_ref<bool(schema::Schema before, schema::Schema after)> visit) {
  schema::Schema before = schema::lookup("", op, from);
  for (int64_t v = from + 1; v <= to && before; ++v) {
    schema::Schema after = schema::lookup("", op, v);
    if (after && after.sinceVersion() == v && before.sinceVersion() != v) {
      if (!visit(before, after))
        return;
      before = after;
    }
  }
}

/// Whether `after` takes what operand or result `index` may be; `formal` is the schemas' input or output.
std::string typeObstacle(llvm::StringRef what, const Value *v, unsigned index, const Type &type, schema::Schema before,
                         schema::Schema after, const schema::Formal *(schema::Schema::*formal)(size_t) const) {
  const schema::Formal *was = (before.*formal)(index), *is = (after.*formal)(index);
  if (!v || !was || !is)
    return "";
  llvm::SmallVector<llvm::StringRef, 16> had, has;
  before.allowedTypes(*was).split(had, ' ', -1, false);
  after.allowedTypes(*is).split(has, ' ', -1, false);
  const std::string name = schemaName(type);
  if (!name.empty())
    had = {};
  if (had.empty() ? !llvm::is_contained(has, name)
                  : llvm::any_of(had, [&](llvm::StringRef t) { return !llvm::is_contained(has, t); }))
    return what.str() + " " + std::to_string(index) + (had.empty() ? " is " + name : " may be of a type") +
           " that it no longer takes";
  return "";
}

/// Why a node cannot be read by `after` just as it is, '' if it can. `adapted`: an adapter will have edited it.
std::string schemaObstacle(const Node &n, schema::Schema before, schema::Schema after, bool adapted,
                           const Inference &inference) {
  if (after.deprecated())
    return "it was withdrawn";
  for (unsigned i = 0; i < n.numOperands(); ++i)
    if (std::string why = typeObstacle("operand", n.operand(i), i, inference.typeOf(n.operand(i)), before, after,
                                       &schema::Schema::input);
        !why.empty())
      return why;
  schema::TypeVariables variables;
  for (unsigned i = 0; i < n.numOperands(); ++i)
    if (const schema::Formal *f = after.input(i); f && n.operand(i))
      if (std::string type = schemaName(inference.typeOf(n.operand(i))); !type.empty())
        if (std::string other = variables.bind(*f, type); !other.empty())
          return "operands of type variable " + std::string(f->type) + " are " + other + " and " + type;
  for (unsigned i = 0; i < n.numResults(); ++i) // one that nobody reads takes the type that it then has
    if (std::string why = !n.result(i)->hasUses()
                              ? ""
                              : typeObstacle("result", n.result(i), i, inference.typeOf(n.result(i)), before, after,
                                             &schema::Schema::output);
        !why.empty())
      return why;
  for (const Attribute &a : n.attributes()) {
    const schema::AttributeSpec *was = before.attribute(a.name), *is = after.attribute(a.name);
    if (was && (!is || is->type != was->type))
      return "its attribute '" + a.name.str() + "' " + (is ? "changed its type" : "was dropped");
  }
  if (adapted)
    return "";
  if (int(n.numOperands()) > after.maxInputs() || int(n.numOperands()) < after.minInputs() ||
      int(n.numResults()) > after.maxOutputs())
    return "the number of its operands or results changed";
  for (const schema::AttributeSpec &a : after.attributes())
    if (a.required && !n.attribute(a.name) && !(before.attribute(a.name) && *before.attribute(a.name)->defaultValue))
      return "its attribute '" + std::string(a.name) + "' became required";
  return "";
}

std::string referenceObstacle(const Node &n, llvm::StringRef names) {
  for (llvm::StringRef name : llvm::split(names, ' '))
    if (const Attribute *a = n.attribute(name); a && !a->refName.empty())
      return "its attribute '" + name.str() + "' is one of the function's, whose value differs from call to call";
  return "";
}

} // namespace

std::string OpsetRaiser::obstacle(const Node &n, int64_t from) {
  std::string why;
  bool adapted = false;
  forEachStep(n.opType(), from, target_, [&](schema::Schema before, schema::Schema after) {
    if (const OpsetAdapter *a = adapterFor(n.opType(), after.sinceVersion())) {
      why = referenceObstacle(n, a->reads);
      if (why.empty() && a->obstacle)
        why = a->obstacle(n, *this);
      adapted |= a->apply != nullptr;
    } else {
      why = schemaObstacle(n, before, after, adapted, inference_);
    }
    if (!why.empty())
      why = "in opset " + std::to_string(after.sinceVersion()) + " of " + n.opType().str() + ": " + why;
    // A withdrawn operator goes on as another one.
    return why.empty() && !after.deprecated();
  });
  return why;
}

void OpsetRaiser::raise(Node &n, int64_t from) {
  pending_.push_back({&n, from});
  while (!pending_.empty()) {
    auto [node, version] = pending_.back();
    pending_.pop_back();
    forEachStep(node->opType(), version, target_, [&](schema::Schema before, schema::Schema after) {
      step_ = after.sinceVersion();
      if (const OpsetAdapter *a = adapterFor(node->opType(), step_); !a)
        keepOldDefaults(*node, before, after);
      else if (a->apply)
        a->apply(*node, *this);
      return !rewriter_.isErased(node);
    });
  }
}

/// What was meant by leaving an attribute out is said where the default moved.
void OpsetRaiser::keepOldDefaults(Node &n, schema::Schema before, schema::Schema after) {
  for (const schema::AttributeSpec &was : before.attributes()) {
    const schema::AttributeSpec *is = after.attribute(was.name);
    if (!is || llvm::StringRef(was.defaultValue) == is->defaultValue || n.attribute(was.name))
      continue;
    if (auto a = defaultOf(was); a && was.defaultValue != llvm::StringRef("s:foward")) // GRU-1 misspells its own
      setAttribute(n, std::move(*a));
  }
}

Node *OpsetRaiser::create(Node &n, llvm::StringRef op, llvm::ArrayRef<Value *> operands) {
  Node *made = rewriter_.create(*n.graph(), &n, op, "", operands, 1, {&n});
  made->setName(""); // one node only has the name of its origin (onnxruntime wants that): the one that replaces it
  pending_.push_back({made, step_});
  return made;
}

Value *OpsetRaiser::scalar(Node &n, float value, ElementType type, llvm::StringRef name) {
  return constant(n, kernels::floatScalar(value, type), name);
}

void OpsetRaiser::setOperand(Node &n, unsigned index, Value *v) {
  llvm::SmallVector<Value *, 4> operands = n.operands();
  operands.resize(std::max<size_t>(operands.size(), index + 1), nullptr);
  operands[index] = v;
  rewriter_.setOperands(&n, operands);
}

void OpsetRaiser::drop(Node &n, llvm::StringRef attribute) {
  if (!n.attribute(attribute))
    return;
  n.removeAttribute(attribute);
  rewriter_.markChanged();
}

void OpsetRaiser::replace(Node &n, Value *v) {
  v->setName(n.result()->name());
  v->producer()->setName(n.name());
  if (n.result()->declaredType())
    v->setDeclaredType(*n.result()->declaredType());
  rewriter_.replace(&n, {v});
}

} // namespace onnxopt
