// Running one example through everything.
#include "onnxopt/tools/differential/Check.h"

#include "onnxopt/exec/Compare.h"
#include "onnxopt/exec/Inputs.h"
#include "onnxopt/ir/Export.h"
#include "onnxopt/ir/Import.h"
#include "onnxopt/ir/text/Parser.h"
#include "onnxopt/ir/text/Printer.h"
#include "onnxopt/passes/MemoryPlanner.h"
#include "onnxopt/verifier/Verifier.h"

#include <cmath>

namespace onnxopt::differential {
namespace {

using Inputs = std::map<std::string, Datum>;

absl::StatusOr<std::unique_ptr<Model>> copyOf(const Model &m) {
  auto bytes = serializeModel(m);
  if (!bytes.ok())
    return bytes.status();
  return importModel(m.context(), FileSource::memory(std::move(*bytes)), "");
}

std::string firstError(Model &m) {
  for (const Diagnostic &d : verify(m))
    if (d.severity == Severity::Error)
      return toString(d);
  return "";
}

exec::RunOptions runOptions() {
  exec::RunOptions o;
  o.memoryBytes = 1 << 26;
  o.steps = 100000;
  return o;
}

/// Everything about one example that several checks need.
class Checker {
public:
  Checker(const Example &e, const CheckOptions &o, const PassRegistry &r) : e_(e), options_(o), registry_(r) {}

  std::optional<Finding> run() {
    auto m = copyOf(*e_.model);
    if (!m.ok())
      return Finding{"export", "", std::string(m.status().message())};
    original_ = std::move(*m);
    if (std::string error = firstError(*original_); !error.empty())
      return Finding{"verifier", "", error};
    if (auto f = roundTrips(*original_, ""))
      return f;
    if (auto f = infersWell(e_.inputs, /*mustRun=*/true))
      return f;
    if (options_.otherSizes)
      otherSizes();
    for (const std::string &p : options_.pipelines)
      if (auto f = through(p))
        return f;
    return std::nullopt;
  }

private:
  /// Runs the original, keeps its outputs as the expectation, and holds inference against every value.
  std::optional<Finding> infersWell(const Inputs &inputs, bool mustRun) {
    Inference inference(*original_);
    inference.run();
    DimBindings bindings = exec::bindingsOf(*original_, inputs);
    std::string wrong;
    exec::RunOptions o = runOptions();
    o.observe = [&](const Value &v, const Datum &d) -> absl::Status {
      if (const ValueFact *f = inference.fact(&v))
        if (std::string c = contradiction(*f, d, original_->context().dims(), bindings); !c.empty() && wrong.empty())
          wrong = "value '" + v.name().str() + "'" +
                  (v.producer() ? " of " + v.producer()->opType().str() : std::string()) + " " + c;
      return absl::OkStatus();
    };
    auto out = exec::Executor(*original_, o).run(inputs);
    if (!out.ok())
      return mustRun ? std::optional(Finding{"executor", "", std::string(out.status().message())}) : std::nullopt;
    if (!wrong.empty())
      return Finding{"shape", "", wrong};
    runs_.push_back({inputs, std::move(*out)});
    return std::nullopt;
  }

  /// A second run where every symbol has another size, if the model allows it.
  void otherSizes() {
    static const int64_t sizes[] = {1, 2, 5, 4};
    DimBindings bound = exec::bindingsOf(*original_, e_.inputs);
    if (bound.empty())
      return;
    // An input that keeps its default keeps the sizes of its symbols, too.
    for (const auto &v : original_->graph().inputs())
      if (!e_.inputs.count(v->name().str()) && v->declaredType())
        for (Dim d : v->declaredType()->dims)
          bound.erase(d.symbolName().str());
    std::vector<std::string> names;
    for (const auto &[name, size] : bound)
      names.push_back(name);
    std::sort(names.begin(), names.end());
    Random random(names.size());
    exec::InputOptions draw;
    for (const auto &[name, size] : exec::bindingsOf(*original_, e_.inputs))
      draw.dims[name] = size;
    for (const std::string &name : names)
      draw.dims[name] = sizes[random.below(4)];
    Inputs drawn, inputs = e_.inputs;
    if (!exec::drawInputs(*original_, draw, drawn).ok())
      return;
    for (auto &[name, d] : drawn) {
      auto it = inputs.find(name);
      if (it == inputs.end() || !it->second.isTensor() || it->second.tensor.dims() == d.tensor.dims())
        continue;
      // The same elements, repeated: so what was exact stays exact.
      const Tensor &old = it->second.tensor;
      Tensor t(old.type(), d.tensor.dims());
      unsigned width = bitWidth(old.type()) / 8;
      for (int64_t i = 0; i < t.size() && old.size(); ++i)
        if (t.isString())
          t.mutableStrings()[i] = old.strings()[i % old.size()];
        else
          std::copy_n(old.bytes() + i % old.size() * width, width, t.mutableBytes() + i * width);
      it->second = Datum(t);
    }
    otherSizesFinding_ = infersWell(inputs, /*mustRun=*/false);
  }

  std::optional<Finding> roundTrips(const Model &m, const std::string &pipeline) {
    auto again = copyOf(m);
    if (!again.ok())
      return Finding{"roundtrip", pipeline, std::string(again.status().message())};
    auto first = serializeModel(m), next = serializeModel(**again);
    if (!first.ok() || !next.ok() || *first != *next)
      return Finding{"roundtrip", pipeline, "bytes -> model -> bytes changes the model"};
    auto text = printText(m);
    if (!text.ok())
      return Finding{"text", pipeline, std::string(text.status().message())};
    auto parsed = parseText(m.context(), *text);
    if (!parsed.ok())
      return Finding{"text", pipeline, std::string(parsed.status().message())};
    auto second = printText(**parsed);
    if (!second.ok() || *second != *text)
      return Finding{"text", pipeline, "text -> model -> text is no fixed point"};
    return std::nullopt;
  }

  std::optional<Finding> through(const std::string &pipeline) {
    auto fail = [&](const char *kind, std::string what) { return Finding{kind, pipeline, std::move(what)}; };
    auto copy = copyOf(*original_);
    if (!copy.ok())
      return fail("export", std::string(copy.status().message()));
    Model &m = **copy;
    PassManager manager(registry_);
    if (absl::Status s = manager.parse(pipeline); !s.ok())
      return fail("pipeline", std::string(s.message()));
    manager.instrumentation.verifyEach = true;
    PassContext ctx(m);
    if (auto changed = manager.run(m, ctx); absl::IsFailedPrecondition(changed.status()))
      return std::nullopt; // refused, with a reason
    else if (!changed.ok())
      return fail("pass-error", std::string(changed.status().message()));
    auto legalize = registry_.create("legalize-outputs", {});
    if (absl::Status s = (*legalize)->run(m, ctx).status(); !s.ok())
      return fail("pass-error", std::string(s.message()));
    if (std::string error = firstError(m); !error.empty())
      return fail("invalid", error);
    if (auto f = roundTrips(m, pipeline))
      return f;
    if (m.graph().inputs().size() != original_->graph().inputs().size() ||
        m.graph().outputs().size() != original_->graph().outputs().size())
      return fail("interface", "the number of inputs or outputs changed");
    Inference inference(m);
    std::optional<InplaceDecisions> decisions;
    if (llvm::any_of(m.metadata, [](const StringPair &p) { return p.key == "onnxopt.peak_bytes"; })) {
      inference.run();
      decisions = decideInplace(m.graph(), inference, [](const Node &, std::string) {});
    }
    for (const Run &run : runs_) {
      std::optional<MemoryPlan> plan;
      exec::RunOptions o = runOptions();
      if (decisions) {
        plan = planMemory(m.graph(), inference, *decisions, exec::bindingsOf(m, run.inputs));
        o.plan = &*plan;
      }
      auto out = exec::Executor(m, o).run(run.inputs);
      if (!out.ok())
        return fail("fails", std::string(out.status().message()));
      for (size_t i = 0; i < out->size(); ++i)
        if (std::string d = difference(i, (*out)[i], run.outputs[i], pipeline, &run != &runs_[0]); !d.empty())
          return fail("different", d);
    }
    if (otherSizesFinding_)
      return otherSizesFinding_;
    return std::nullopt;
  }

  std::string difference(size_t i, const Datum &actual, const Datum &expected, const std::string &pipeline,
                         bool other) {
    std::string name = original_->graph().outputs()[i].name.str();
    if (original_->graph().outputs()[i].name.empty())
      name = std::to_string(i);
    bool rounding = pipeline.find("fuse") != std::string::npos;
    std::string where = "output '" + name + "'" + (other ? " on other sizes" : "") + " ";
    if (rounding && e_.fragile.count(name))
      return "";
    if (rounding && (e_.inexact.count(name) || other)) {
      exec::Difference d = exec::compare(actual, expected, {0, INFINITY});
      exec::Difference strict = exec::compare(actual, expected, {0, 1e-5 + 2e-3 * d.scale});
      return strict.equal ? "" : where + strict.what;
    }
    if (sameBits(actual, expected))
      return "";
    std::string what = exec::compare(actual, expected, {0, 0}).what;
    return where + (what.empty() ? "differs by the sign of a zero" : what);
  }

  struct Run {
    Inputs inputs;
    std::vector<Datum> outputs;
  };
  const Example &e_;
  const CheckOptions &options_;
  const PassRegistry &registry_;
  std::unique_ptr<Model> original_;
  std::vector<Run> runs_;
  std::optional<Finding> otherSizesFinding_;
};

} // namespace

std::vector<std::string> standardPipelines(const PassRegistry &registry) {
  std::vector<std::string> list;
  for (const auto &[name, entry] : registry.entries())
    list.push_back(name);
  list.push_back(pipelineO1().str());
  list.push_back(pipelineO2().str());
  return list;
}

std::optional<Finding> check(const Example &example, const CheckOptions &options, const PassRegistry &registry) {
  return Checker(example, options, registry).run();
}

} // namespace onnxopt::differential
