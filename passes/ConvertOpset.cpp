// convert-opset: raises a model, with its functions, to a later version of ai.onnx.
#include "onnxopt/passes/opset/Adapters.h"

namespace onnxopt {
namespace {

/// The oldest IR version that a release of ONNX with this opset wrote (VERSION_TABLE of onnx.helper).
int64_t irVersionFor(int64_t opset) {
  static const std::pair<int64_t, int64_t> firsts[] = {{28, 14}, {25, 13}, {24, 12}, {23, 11}, {21, 10}, {19, 9},
                                                       {15, 8},  {12, 7},  {11, 6},  {10, 5},  {9, 4}};
  for (auto [from, ir] : firsts)
    if (opset >= from)
      return ir;
  return 3;
}

class ConvertOpset : public Pass {
public:
  absl::StatusOr<bool> run(Model &model, PassContext &ctx) override {
    const int64_t latest = schema::latestVersion("");
    int64_t to = latest;
    if (std::string wish = option("to"); !wish.empty())
      if (llvm::StringRef(wish).getAsInteger(10, to) || to < 1 || to > latest)
        return absl::InvalidArgumentError("'to' must be an opset from 1 to " + std::to_string(latest) + ", not '" +
                                          wish + "'");
    struct Scope {
      Graph *graph;
      std::vector<OpsetImport> *opsets;
      int64_t from;
    };
    std::vector<Scope> scopes;
    auto add = [&](Graph &g, std::vector<OpsetImport> &opsets) {
      int64_t from = opsetVersion(g, "");
      if (from > to && &g == &model.graph())
        return absl::FailedPreconditionError("the model has opset " + std::to_string(from) +
                                             "; a model is raised, never lowered");
      if (from > 0 && from < to)
        scopes.push_back({&g, &opsets, from});
      return absl::OkStatus();
    };
    if (absl::Status s = add(model.graph(), model.opsets); !s.ok())
      return s;
    for (const auto &f : model.functions())
      if (absl::Status s = add(*f->graph, f->opsets); !s.ok())
        return s;
    if (scopes.empty())
      return false;

    Rewriter rewriter(model.context());
    OpsetRaiser raiser(rewriter, ctx.inference(), to);
    // All or nothing: a model has one opset.
    std::string obstacles;
    unsigned count = 0;
    std::vector<std::pair<Node *, int64_t>> nodes;
    for (Scope &s : scopes)
      walk(*s.graph, [&](Node &n) {
        if (!n.domain().empty() || n.callee())
          return;
        nodes.push_back({&n, s.from});
        std::string why = raiser.obstacle(n, s.from);
        if (!why.empty() && ++count <= 8)
          obstacles += "\n  " + pathOf(n) + ": " + why;
      });
    if (count)
      return absl::FailedPreconditionError("the model cannot be raised to opset " + std::to_string(to) + obstacles +
                                           (count > 8 ? "\n  and " + std::to_string(count - 8) + " more" : ""));
    model.irVersion = std::max(model.irVersion.value_or(0), irVersionFor(to));
    for (auto [n, from] : nodes)
      raiser.raise(*n, from);
    for (Scope &s : scopes)
      for (OpsetImport &o : *s.opsets)
        if (o.domain.empty() || o.domain == "ai.onnx")
          o.version = to;
    ctx.count("convert-opset", "nodes looked at", nodes.size());
    ctx.count("convert-opset", "edits", rewriter.changes());
    return true;
  }
};

} // namespace

PassRegistry::Entry makeConvertOpsetEntry() {
  return {"convert-opset", "raise the model to a later opset of ai.onnx, all of it or not at all",
          "to=: the opset to raise to; the latest that this library knows if absent",
          [] { return std::make_unique<ConvertOpset>(); }};
}

} // namespace onnxopt
