// inline-functions: puts the bodies of model-local functions in place of their calls.
#include "onnxopt/passes/Pass.h"

#include <set>

namespace onnxopt {
namespace {

/// Copies a call's body before it. Calls stay when the function is recursive, when its opsets are newer or older than
/// the model's in a way that changes an operator, or when the node budget is used up.
class InlineFunctions : public Pass {
public:
  absl::StatusOr<bool> run(Model &model, PassContext &ctx) override {
    Rewriter rewriter(model.context());
    budget_ = model.context().limits.nodes;
    recursive_.clear();
    for (auto &f : model.functions()) {
      std::set<const Function *> path;
      if (reaches(*f, *f, path))
        recursive_.insert(f.get());
    }
    uint64_t inlined = 0;
    std::function<void(Graph &)> visit = [&](Graph &g) {
      for (auto it = g.nodes().begin(); it != g.nodes().end();) {
        Node &n = *it;
        if (n.callee()) {
          Node *before = it == g.nodes().begin() ? nullptr : &*std::prev(it);
          ++it;
          if (inlineCall(model, n, rewriter, ctx)) {
            ++inlined;
            // What was copied may hold calls again.
            it = before ? std::next(before->getIterator()) : g.nodes().begin();
          }
          continue;
        }
        ++it;
        for (Graph *r : n.regions())
          visit(*r);
      }
    };
    visit(model.graph());
    ctx.count("inline-functions", "calls inlined", inlined);
    if (inlined) {
      // Functions that nothing calls any more go.
      std::set<const Function *> used;
      forEachGraph(model, [&](Graph &g) {
        for (Node &n : g.nodes())
          if (n.callee() && g.function() != n.callee())
            used.insert(n.callee());
      });
      for (bool again = true; again;) {
        size_t before = model.functions().size();
        std::set<const Function *> live;
        walk(model.graph(), [&](Node &n) {
          if (n.callee())
            mark(*n.callee(), live);
        });
        llvm::erase_if(model.functions(), [&](const auto &f) { return !live.count(f.get()); });
        again = model.functions().size() != before;
      }
    }
    return rewriter.changes() > 0;
  }

private:
  static void mark(Function &f, std::set<const Function *> &live) {
    if (!live.insert(&f).second)
      return;
    walk(*f.graph, [&](Node &n) {
      if (n.callee())
        mark(*n.callee(), live);
    });
  }
  static bool reaches(Function &from, Function &target, std::set<const Function *> &seen) {
    bool found = false;
    walk(*from.graph, [&](Node &n) {
      if (!n.callee() || found)
        return;
      if (n.callee() == &target)
        found = true;
      else if (seen.insert(n.callee()).second)
        found = reaches(*n.callee(), target, seen);
    });
    return found;
  }

  /// Every operator of the body must mean the same under the model's imports.
  static std::string versionConflict(Model &model, Function &f) {
    std::string conflict;
    walk(*f.graph, [&](Node &n) {
      if (n.callee() || !conflict.empty())
        return;
      int64_t own = opsetVersion(n), outer = 0;
      bool imported = false;
      for (const OpsetImport &o : model.opsets)
        if (o.domain == n.domain() || (n.domain().empty() && o.domain == "ai.onnx")) {
          outer = o.version;
          imported = true;
        }
      if (!imported)
        return; // the import is added
      schema::Schema a = schema::lookup(n.domain(), n.opType(), own), b = schema::lookup(n.domain(), n.opType(), outer);
      if (own != outer && (!a || !b || a.record() != b.record()))
        conflict = n.opType().str() + " means something else in opset " + std::to_string(outer) + " than in " +
                   std::to_string(own);
    });
    return conflict;
  }

  bool inlineCall(Model &model, Node &call, Rewriter &rewriter, PassContext &ctx) {
    Function &f = *call.callee();
    auto refuse = [&](std::string why) {
      ctx.remark("inline-functions", pathOf(call), "not inlined: " + why);
      return false;
    };
    if (recursive_.count(&f))
      return refuse("the function calls itself");
    if (std::string why = versionConflict(model, f); !why.empty())
      return refuse(why);
    uint64_t size = 0;
    walk(*f.graph, [&](Node &) { ++size; });
    if (size > budget_)
      return refuse("the node budget of " + std::to_string(model.context().limits.nodes) + " is used up");
    budget_ -= size;
    for (const OpsetImport &o : f.opsets)
      if (llvm::none_of(model.opsets, [&](const OpsetImport &p) {
            return p.domain == o.domain || (o.domain.empty() && p.domain == "ai.onnx");
          }))
        model.opsets.push_back(o);
    Graph &g = *call.graph();
    llvm::DenseMap<Value *, Value *> map;
    for (unsigned i = 0; i < f.graph->inputs().size(); ++i)
      map[f.graph->inputs()[i].get()] = call.operand(i);
    auto bind = [&](llvm::StringRef name) { return boundAttribute(call, f, name); };
    std::string prefix = call.name().empty() ? f.name.str() : call.name().str();
    prefix += "/";
    cloneNodes(*f.graph, g, &call, map, prefix, bind, true);
    for (unsigned i = 0; i < call.numResults() && i < f.graph->outputs().size(); ++i) {
      Value *made = map.lookup(f.graph->returnNode()->operand(i));
      if (!made || !call.result(i)->hasUses())
        continue;
      // A formal that is returned as it came is the caller's own value.
      if (made->producer() && made->graph() == &g && !made->fromFile)
        made->setName(call.result(i)->name());
      rewriter.replaceAllUses(call.result(i), made);
    }
    rewriter.erase(&call);
    return true;
  }

  uint64_t budget_ = 0;
  std::set<const Function *> recursive_;
};

} // namespace

PassRegistry::Entry makeInlineFunctionsEntry() {
  return {"inline-functions", "replace calls of model-local functions by their bodies", "",
          [] { return std::make_unique<InlineFunctions>(); }};
}

} // namespace onnxopt
