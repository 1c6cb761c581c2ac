// dce: removes what nothing reads.
#include "onnxopt/passes/Pass.h"

#include <set>

namespace onnxopt {
namespace {

/// Nodes whose removal nobody can notice: pure, without used results. Unknown operators stay.
class Dce : public Pass {
public:
  absl::StatusOr<bool> run(Model &model, PassContext &ctx) override {
    Rewriter rewriter(model.context());
    uint64_t removed = 0, constants = 0, functions = 0;
    std::function<void(Graph &)> sweep = [&](Graph &g) {
      // Backwards: a node goes before those that feed it.
      for (auto it = g.nodes().rbegin(); it != g.nodes().rend();) {
        Node &n = *it++;
        if (n.resultsUnused() && isPure(n)) {
          rewriter.erase(&n);
          ++removed;
          continue;
        }
        for (Graph *r : n.regions())
          sweep(*r);
        dropTrailing(n, rewriter);
      }
    };
    sweep(model.graph());
    for (auto &f : model.functions())
      sweep(*f->graph);
    forEachGraph(model, [&](Graph &g) { constants += g.eraseUnusedInitializers(); });
    functions = dropFunctions(model);
    ctx.count("dce", "nodes removed", removed);
    ctx.count("dce", "constants removed", constants);
    ctx.count("dce", "functions removed", functions);
    return rewriter.changes() || constants || functions;
  }

private:
  /// Optional results at the end that nothing reads need not be computed.
  static void dropTrailing(Node &n, Rewriter &rewriter) {
    if (n.callee() || !n.regions().empty() || !factsOf(n))
      return;
    NodeView view(n);
    schema::Schema s = view.schema();
    while (s && n.numResults() > unsigned(std::max(1, s.minOutputs())) && !n.result(n.numResults() - 1)->hasUses()) {
      const schema::Formal *f = s.output(n.numResults() - 1);
      if (!f || f->kind() != schema::FormalOption::Optional || n.is("BatchNormalization"))
        break;
      n.dropLastResult();
      rewriter.markChanged();
    }
  }

  static uint64_t dropFunctions(Model &model) {
    std::set<const Function *> used;
    std::vector<Graph *> work{&model.graph()};
    while (!work.empty()) {
      Graph *g = work.back();
      work.pop_back();
      walk(*g, [&](Node &n) {
        if (n.callee() && used.insert(n.callee()).second)
          work.push_back(n.callee()->graph.get());
      });
    }
    size_t before = model.functions().size();
    llvm::erase_if(model.functions(), [&](const auto &f) { return !used.count(f.get()); });
    return before - model.functions().size();
  }
};

} // namespace

PassRegistry::Entry makeDceEntry() {
  return {"dce", "remove pure nodes, constants and functions that nothing uses", "",
          [] { return std::make_unique<Dce>(); }};
}

} // namespace onnxopt
