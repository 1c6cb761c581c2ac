// The backend suite's node cases, and what inference must say of their values.
#pragma once

#include "onnxopt/exec/DataFiles.h"
#include "onnxopt/exec/Executor.h"
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
  unsigned j = 0;
  for (const auto &v : c.model->graph().inputs())
    if (auto d = exec::readPb(context, folder + "/test_data_set_0/input_" + std::to_string(j++) + ".pb",
                              v->declaredType() ? *v->declaredType() : Type());
        d.ok())
      c.inputs[v->name().str()] = *d;
  return c;
}

struct Counts {
  unsigned values = 0, exact = 0;
};
/// Expects of each value that it is what inference says.
inline auto holdsAgainst(const Inference &inference, const std::string &what, Counts &counts) {
  return [&inference, what, &counts](const Value &v, const Datum &d) -> absl::Status {
    const ValueFact *f = inference.fact(&v);
    if (!f || !f->type.isTensor() || !d.isTensor())
      return absl::OkStatus();
    ++counts.values;
    std::string where = what + " " + v.name().str();
    if (f->type.hasElement()) {
      EXPECT_EQ(int(f->type.element), int(d.tensor.type())) << where;
    }
    if (!f->type.ranked)
      return absl::OkStatus();
    EXPECT_EQ(f->type.rank(), d.tensor.rank()) << where;
    bool all = true;
    for (size_t i = 0; i < f->type.rank() && i < d.tensor.rank(); ++i) {
      all &= f->type.dims[i].isConstant();
      if (f->type.dims[i].isConstant()) {
        EXPECT_EQ(f->type.dims[i].constant(), d.tensor.dim(i)) << where << " axis " << i;
      }
    }
    counts.exact += all;
    if (f->value && f->value->elements.size() == size_t(d.tensor.size()) && !isFloating(d.tensor.type()))
      for (int64_t i = 0; i < d.tensor.size(); ++i)
        if (f->value->elements[i].isConstant()) {
          EXPECT_EQ(f->value->elements[i].constant(), d.tensor.intAt(i)) << where;
        }
    return absl::OkStatus();
  };
}

} // namespace onnxopt
