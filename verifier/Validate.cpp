// Running both models and judging the outputs.
#include "onnxopt/verifier/Validate.h"

#include "onnxopt/exec/Compare.h"
#include "onnxopt/exec/Executor.h"

#include <cmath>

namespace onnxopt {

/// Sizes of the symbols as these inputs bind them.
static DimBindings bindingsOf(const Model &model, const std::map<std::string, Datum> &inputs) {
  DimBindings b;
  for (const auto &v : model.graph().inputs()) {
    const Type *t = v->declaredType();
    auto it = inputs.find(v->name().str());
    if (!t || !t->isTensor() || !t->ranked || it == inputs.end() || !it->second.isTensor() ||
        it->second.tensor.rank() != t->rank())
      continue;
    for (size_t i = 0; i < t->rank(); ++i)
      if (!t->dims[i].symbolName().empty())
        b[t->dims[i].symbolName().str()] = it->second.tensor.dim(i);
  }
  return b;
}

/// Whether some element could show a difference: outputs that are empty or all NaN tell nothing.
static bool tellsSomething(const Datum &d) {
  if (d.items)
    return llvm::any_of(*d.items, tellsSomething);
  if (!d.isTensor() || d.tensor.isString() || !isFloating(d.tensor.type()))
    return d.isTensor() && d.tensor.size() > 0;
  for (int64_t i = 0; i < d.tensor.size(); ++i)
    if (std::isfinite(d.tensor.floatAt(i)))
      return true;
  return false;
}

Validation validate(const Model &original, const Model &optimized, const ValidationOptions &options) {
  Validation result;
  const Graph &a = original.graph(), &b = optimized.graph();
  if (a.outputs().size() != b.outputs().size()) {
    result.verdict = Validation::Different;
    result.reason = "the models have a different number of outputs";
    return result;
  }
  for (size_t i = 0; i < a.outputs().size(); ++i)
    if (a.outputs()[i].name != b.outputs()[i].name) {
      result.verdict = Validation::Different;
      result.reason = "output " + std::to_string(i) + " was '" + a.outputs()[i].name.str() + "' and is '" +
                      b.outputs()[i].name.str() + "'";
      return result;
    }
  exec::RunOptions run;
  run.memoryBytes = options.memoryBytes;
  exec::Executor first(original, run);
  std::string why;
  unsigned weakRuns = 0; // compared too, but outputs that are empty or all NaN prove little
  // 0 draws each symbol by itself; then common sizes, until enough runs succeed.
  static const int64_t candidates[] = {0, 1, 2, 3, 5, 8, 16, 32, 64, 128, 224};
  for (size_t k = 0; k < std::size(candidates) && result.runs < options.runs; ++k) {
    exec::InputOptions draw = options.inputs;
    draw.seed += k;
    if (!draw.defaultDim)
      draw.defaultDim = candidates[k];
    std::map<std::string, Datum> inputs = options.given;
    if (absl::Status s = exec::drawInputs(original, draw, inputs); !s.ok()) {
      why = std::string(s.message());
      break;
    }
    auto expected = first.run(inputs);
    if (!expected.ok()) {
      if (why.empty())
        why = "the original fails: " + std::string(expected.status().message());
      continue;
    }
    bool weak = options.given.empty() && !a.outputs().empty() && llvm::none_of(*expected, tellsSomething);
    exec::RunOptions second = run;
    std::optional<MemoryPlan> plan;
    if (options.plan && (plan = options.plan(bindingsOf(optimized, inputs))))
      second.plan = &*plan;
    auto actual = exec::Executor(optimized, second).run(inputs);
    ++(weak ? weakRuns : result.runs);
    if (!actual.ok()) {
      result.verdict = Validation::Different;
      result.reason = "the optimized model fails where the original runs: " + std::string(actual.status().message());
      return result;
    }
    for (size_t i = 0; i < expected->size(); ++i) {
      // Scale first, then the tolerance that follows from it.
      exec::Difference d = exec::compare((*actual)[i], (*expected)[i], {0, INFINITY});
      exec::Difference strict =
          exec::compare((*actual)[i], (*expected)[i], {0, options.absolute + options.relative * d.scale});
      if (d.scale > 0)
        result.largestDifference = std::max(result.largestDifference, d.largest / d.scale);
      if (!d.equal || !strict.equal) {
        result.verdict = Validation::Different;
        result.reason = "output '" + a.outputs()[i].name.str() + "' " + (d.equal ? strict.what : d.what);
        return result;
      }
    }
  }
  if (result.runs || weakRuns) {
    result.verdict = Validation::Validated;
    if (!result.runs) {
      result.runs = weakRuns;
      result.reason = "all outputs are empty or NaN";
    }
  } else {
    result.reason = why.empty() ? "no run succeeded" : why;
  }
  return result;
}

} // namespace onnxopt
