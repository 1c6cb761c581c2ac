// inplace: records which results may take over the memory of an operand, and the peak memory with and without that.
#include "onnxopt/passes/MemoryPlanner.h"
#include "onnxopt/passes/Pass.h"

namespace onnxopt {
namespace {

/// Refuses when the operator has no such capability, when byte sizes differ or are unknown, when the operand is read
/// later, is an input or a constant. Decisions go to the nodes' metadata ("onnxopt.inplace" = "result=operand"), sizes
/// to the model's ("onnxopt.peak_bytes", "onnxopt.arena_bytes").
class Inplace : public Pass {
public:
  absl::StatusOr<bool> run(Model &model, PassContext &ctx) override {
    Graph &g = model.graph();
    Inference &inference = ctx.inference();
    InplaceDecisions decisions = decideInplace(
        g, inference, [&](const Node &n, std::string why) { ctx.remark("inplace", pathOf(n), std::move(why)); });
    bool changed = false;
    for (Node &n : g.nodes()) {
      std::string text;
      for (unsigned i = 0; i < n.numResults(); ++i)
        if (auto it = decisions.find(n.result(i)); it != decisions.end())
          for (unsigned k = 0; k < n.numOperands(); ++k)
            if (n.operand(k) == it->second) {
              text += (text.empty() ? "" : ",") + std::to_string(i) + "=" + std::to_string(k);
              break;
            }
      changed |= set(n.maybeExtra() || !text.empty() ? &n.extra().metadata : nullptr, "onnxopt.inplace", text);
    }
    unsigned unknown = 0;
    DimContext &dims = model.context().dims();
    Dim before = peakBytes(g, inference, InplaceDecisions(), unknown),
        after = peakBytes(g, inference, decisions, unknown);
    changed |= set(&model.metadata, "onnxopt.peak_bytes", dims.print(after));
    ctx.remark("inplace", "main",
               "peak " + dims.print(before) + " bytes without in-place, " + dims.print(after) + " with" +
                   (unknown ? "; " + std::to_string(unknown) + " values of unknown size are not counted" : ""));
    if (after.isConstant()) {
      MemoryPlan plan = planMemory(g, inference, decisions, {});
      changed |= set(&model.metadata, "onnxopt.arena_bytes", std::to_string(plan.arenaSize));
      ctx.statistics["inplace"]["arena bytes"] = plan.arenaSize;
    }
    ctx.count("inplace", "results in place", decisions.size());
    return changed;
  }

private:
  /// Sets, changes or (for "") removes an entry. Gives whether something changed.
  static bool set(Metadata *m, llvm::StringRef key, const std::string &value) {
    if (!m)
      return false;
    for (auto it = m->begin(); it != m->end(); ++it)
      if (it->key == key) {
        if (value.empty())
          m->erase(it);
        else if (it->value == value)
          return false;
        else
          it->value = value;
        return true;
      }
    if (value.empty())
      return false;
    m->push_back({key.str(), value});
    return true;
  }
};

} // namespace

PassRegistry::Entry makeInplaceEntry() {
  return {"inplace", "record which results may take over the memory of an operand, and peak memory", "",
          [] { return std::make_unique<Inplace>(); }};
}

} // namespace onnxopt
