// The backend suite's node cases, and what inference must say of their values.
#pragma once

#include "onnxopt/exec/DataFiles.h"
#include "onnxopt/exec/Executor.h"
#include "onnxopt/exec/Inputs.h"
#include "onnxopt/ir/Import.h"
#include "onnxopt/ops/Inference.h"

#include "gtest/gtest.h"

#include <filesystem>

namespace onnxopt {

/// Names of the node cases, in order.
inline std::vector<std::string> cases() {
  std::vector<std::string> names;
  for (const auto &e : std::filesystem::directory_iterator(std::string(ONNXOPT_SUITE_DIR) + "/node"))
    names.push_back(e.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

struct Case {
  std::unique_ptr<Model> model;
  std::map<std::string, Datum> inputs;
};
/// The model without its outputs' declarations, and its first data set. No model where it cannot be read.
inline Case readCase(Context &context, const std::string &name) {
  std::string folder = std::string(ONNXOPT_SUITE_DIR) + "/node/" + name;
  auto m = importModel(context, folder + "/model.onnx");
  if (!m.ok())
    return {};
  Case c{std::move(*m), {}};
  for (OutputSlot &o : c.model->graph().outputs())
    o.type.reset();
  if (auto inputs = exec::readInputs(context, c.model->graph(), folder + "/test_data_set_0"); inputs.ok())
    c.inputs = std::move(*inputs);
  return c;
}

struct Counts {
  unsigned values = 0, exact = 0;
};
/// Expects of each value that it is what inference says.
inline auto holdsAgainst(const Inference &inference, const Model &model, const std::map<std::string, Datum> &inputs,
                         const std::string &what, Counts &counts) {
  return [&inference, &dims = model.context().dims(), bindings = exec::bindingsOf(model, inputs), what,
          &counts](const Value &v, const Datum &d) -> absl::Status {
    const ValueFact *f = inference.fact(&v);
    if (!f || !f->type.isTensor() || !d.isTensor())
      return absl::OkStatus();
    ++counts.values;
    counts.exact += f->type.ranked && llvm::all_of(f->type.dims, [](Dim n) { return n.isConstant(); });
    EXPECT_EQ(contradiction(*f, d, dims, bindings), "") << what << " " << v.name().str();
    return absl::OkStatus();
  };
}

} // namespace onnxopt
