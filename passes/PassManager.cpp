// Parsing and running pipelines.
#include "onnxopt/passes/PassManager.h"

#include "onnxopt/ir/Export.h"
#include "onnxopt/verifier/Verifier.h"

#include <chrono>

namespace onnxopt {

Inference &PassContext::inference() {
  if (!inference_) {
    inference_ = std::make_unique<Inference>(model_);
    inference_->run();
  }
  return *inference_;
}

PassRegistry::PassRegistry(){
#define ONNXOPT_ADD_PASS(name) add(make##name##Entry());
    ONNXOPT_PASS_LIST(ONNXOPT_ADD_PASS)
#undef ONNXOPT_ADD_PASS
}

absl::StatusOr<std::unique_ptr<Pass>> PassRegistry::create(const std::string &name, const PassOptions &options) const {
  auto it = entries_.find(name);
  if (it == entries_.end()) {
    std::string nearest;
    unsigned best = 4;
    for (const auto &[known, entry] : entries_)
      if (unsigned d = llvm::StringRef(known).edit_distance(name); d < best) {
        best = d;
        nearest = known;
      }
    return absl::InvalidArgumentError("unknown pass '" + name + "'" +
                                      (nearest.empty() ? "" : ", did you mean '" + nearest + "'?"));
  }
  for (const auto &[key, value] : options)
    if (!llvm::StringRef("\n" + it->second.options).contains("\n" + key + "="))
      return absl::InvalidArgumentError("pass '" + name + "' has no option '" + key + "'");
  auto pass = it->second.make();
  pass->name_ = name;
  pass->options_ = options;
  return pass;
}

llvm::StringRef pipelineO1() {
  return "shape-infer,inline-functions,fixpoint(flatten,canonicalize,fold,cse,dce),fuse{calls=false},"
         "fixpoint(canonicalize,fold,cse,dce),shape-infer";
}
llvm::StringRef pipelineO2() {
  return "shape-infer,inline-functions,fixpoint(flatten{unroll=64},canonicalize,fold,cse,dce),fuse{calls=false},"
         "fixpoint(canonicalize,fold,cse,dce),shape-infer,inplace";
}

absl::Status PassManager::parse(llvm::StringRef pipeline) {
  llvm::StringRef rest = pipeline.trim();
  if (rest.empty())
    return absl::OkStatus();
  if (absl::Status s = parseList(rest, items_, 0); !s.ok())
    return s;
  if (!rest.empty())
    return absl::InvalidArgumentError("pipeline: unexpected '" + rest.str() + "'");
  return absl::OkStatus();
}

absl::Status PassManager::parseList(llvm::StringRef &text, std::vector<Item> &out, unsigned depth) {
  do {
    text = text.ltrim();
    llvm::StringRef name =
        text.take_while([](char c) { return isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_'; });
    if (name.empty() || depth > 8)
      return absl::InvalidArgumentError("pipeline: expected a pass name at '" + text.str() + "'");
    text = text.drop_front(name.size()).ltrim();
    Item item;
    if (name == "fixpoint") {
      if (!text.consume_front("("))
        return absl::InvalidArgumentError("pipeline: fixpoint needs passes in parentheses");
      if (absl::Status s = parseList(text, item.repeated, depth + 1); !s.ok())
        return s;
      if (!text.consume_front(")"))
        return absl::InvalidArgumentError("pipeline: expected ')'");
    } else {
      PassOptions options;
      if (text.consume_front("{")) {
        auto [inside, tail] = text.split('}');
        if (inside.size() == text.size())
          return absl::InvalidArgumentError("pipeline: expected '}'");
        llvm::SmallVector<llvm::StringRef, 4> parts;
        inside.split(parts, ' ', -1, false);
        for (llvm::StringRef p : parts) {
          auto [key, value] = p.split('=');
          options[key.trim().str()] = p.contains('=') ? value.trim().str() : "true";
        }
        text = tail;
      }
      auto pass = registry_.create(name.str(), options);
      if (!pass.ok())
        return pass.status();
      item.pass = std::move(*pass);
    }
    out.push_back(std::move(item));
    text = text.ltrim();
  } while (text.consume_front(","));
  return absl::OkStatus();
}

absl::StatusOr<bool> PassManager::run(Model &model, PassContext &ctx) {
  // From here on names may be given anew: what hides an outer name gets one of its own when that matters.
  if (model.hasShadowing && !items_.empty())
    forEachGraph(model, [](Graph &g) {
      if (!g.parentNode())
        return;
      for (const auto &v : g.inputs())
        v->fromFile = false;
      for (const auto &v : g.initializers())
        v->fromFile = false;
      for (Node &n : g.nodes())
        for (const auto &r : n.results())
          r->fromFile = false;
    });
  return runItems(items_, model, ctx);
}

absl::StatusOr<bool> PassManager::runItems(std::vector<Item> &items, Model &model, PassContext &ctx) {
  bool any = false;
  for (Item &item : items) {
    if (item.pass) {
      auto changed = runPass(*item.pass, model, ctx);
      if (!changed.ok())
        return changed;
      any |= *changed;
      continue;
    }
    bool again = true;
    for (unsigned round = 0; again; ++round) {
      if (round == maxRounds) {
        ctx.remark("fixpoint", "main",
                   "stopped after " + std::to_string(maxRounds) + " rounds that all changed something");
        break;
      }
      auto changed = runItems(item.repeated, model, ctx);
      if (!changed.ok())
        return changed;
      again = *changed;
      any |= again;
    }
  }
  return any;
}

absl::StatusOr<bool> PassManager::runPass(Pass &pass, Model &model, PassContext &ctx) {
  std::string name = pass.name().str();
  if (instrumentation.before)
    instrumentation.before(name, model);
  uint64_t hash = instrumentation.proveChanged ? contentHash(model) : 0;
  operatorsOf(model.context()); // filled once, whichever pass comes first: no time of its own
  auto start = std::chrono::steady_clock::now();
  auto changed = pass.run(model, ctx);
  double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  if (!changed.ok())
    return absl::Status(changed.status().code(), "pass '" + name + "': " + std::string(changed.status().message()));
  timings.push_back({name, ms, *changed});
  if (*changed)
    ctx.invalidate();
  if (instrumentation.proveChanged && !*changed && contentHash(model) != hash)
    return absl::InternalError("pass '" + name + "' changed the model but says that it did not");
  if (instrumentation.verifyEach) {
    VerifierOptions options;
    options.shapes = false;
    std::vector<Diagnostic> faults = verify(model, options);
    for (const Diagnostic &d : faults)
      if (d.severity == Severity::Error && d.code != "ONNX-MODEL-005")
        return absl::InternalError("pass '" + name + "' left an invalid model: " + toString(d));
  }
  if (instrumentation.after)
    if (absl::Status s = instrumentation.after(name, model, *changed); !s.ok())
      return s;
  return changed;
}

} // namespace onnxopt
