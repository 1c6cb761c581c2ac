// Unique names at export.
#include "onnxopt/ir/Naming.h"

namespace onnxopt {

bool Naming::Scope::visible(llvm::StringRef name, bool outerToo) const {
  for (const Scope *s = this; s; s = outerToo ? s->outer : nullptr)
    if (s->used.contains(name.data()))
      return true;
  return false;
}

Naming::Naming(const Model &model) : context_(model.context()) {
  visit(model.graph(), nullptr);
  for (const auto &f : model.functions())
    visit(*f->graph, nullptr);
}

void Naming::assign(const Value *v, Scope &scope, llvm::StringRef fallback) {
  llvm::StringRef name = v->name().empty() ? context_.intern(fallback) : v->name();
  if (!scope.visible(name, !v->fromFile)) {
    scope.add(name);
    if (name != v->name())
      names_[v] = name;
    return;
  }
  for (;;) {
    llvm::StringRef candidate = context_.intern((name + "_" + std::to_string(++counters_[name])).str());
    if (scope.visible(candidate, true))
      continue;
    scope.add(candidate);
    names_[v] = candidate;
    return;
  }
}

void Naming::visit(const Graph &g, const Scope *outer) {
  Scope scope{outer, {}};
  scope.used.reserve(g.nodes().size());
  bool invalid = !g.model().importErrors.empty(); // such a model is only printed, with the names it has
  bool contract = !g.parentNode();
  auto keep = [&](const Value *v) {
    if (invalid || contract)
      scope.add(v->name());
    else
      assign(v, scope, "input");
  };
  for (const auto &v : g.inputs())
    keep(v.get());
  llvm::DenseSet<const Value *> done;
  for (unsigned i = 0; i < g.outputs().size(); ++i) {
    const Value *v = g.returnNode()->operand(i);
    llvm::StringRef name = g.outputs()[i].name;
    if (!v || invalid)
      continue;
    if (v->kind() != Value::Input && v->graph() == &g && !done.contains(v)) {
      if (!contract)
        continue;
      // The value takes the slot's name.
      scope.add(name);
      if (v->name() != name)
        names_[v] = name;
      done.insert(v);
    } else if (contract && this->name(v) != name) {
      problems_.push_back(pathOf(g) + ": output '" + name.str() + "' needs an Identity (pass legalize-outputs)");
    }
  }
  for (const auto &v : g.initializers())
    if (!invalid && !done.contains(v.get()))
      assign(v.get(), scope, "constant");
  // A node that a pass made has a first result, even where nothing uses it; that of a file may be left out.
  for (const Node &n : g.nodes())
    for (const auto &r : n.results())
      if (!invalid && !done.contains(r.get()) &&
          (!r->name().empty() || r->hasUses() || (r->index() == 0 && !r->fromFile)))
        assign(r.get(), scope, n.opType());
  for (const Node &n : g.nodes())
    for (const Graph *r : n.regions())
      visit(*r, &scope);
}

llvm::StringRef Naming::outputName(const Graph &graph, unsigned slot) const {
  const Value *v = graph.returnNode()->operand(slot);
  if (!v || !graph.parentNode() || !graph.model().importErrors.empty())
    return graph.outputs()[slot].name;
  return name(v);
}

} // namespace onnxopt
