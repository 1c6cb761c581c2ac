// Piecewise linear activations that exporters write out.
#include "onnxopt/passes/Rules.h"

namespace onnxopt {

static std::vector<Attribute> sixth(const FusionMatch &, FusionServices &) {
  std::vector<Attribute> a;
  a.push_back(makeAttribute("alpha", 1.0f / 6.0f));
  a.push_back(makeAttribute("beta", 0.5f));
  return a;
}

static std::string floatOnly(const FusionMatch &m, FusionServices &s) {
  Type t = s.typeOf(m["x"]);
  return t.isTensor() && t.element == ElementType::Float ? "" : "the operand is not known to be float";
}

std::vector<FusionRule> activationRules() {
  return {
      {.name = "hard-swish",
       .exactness = Exactness::Rounding,
       .patterns = {R"(<ir_version: 8, opset_import: ["" : 17]>
           g (x) => (y) { h = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x) y = Mul(x, h) })"},
       .op = "HardSwish",
       .refuse = floatOnly,
       .operands = {"x"}},
      {.name = "hard-sigmoid",
       .exactness = Exactness::Rounding,
       // clip(x + 3, 0, 6) / 6
       .patterns = {R"(<ir_version: 8, opset_import: ["" : 17]>
           g (x) => (y) <float three = {3.0}, float zero = {0.0}, float six = {6.0}>
           { a = Add(x, three) c = Clip(a, zero, six) y = Div(c, six) })"},
       .op = "HardSigmoid",
       .refuse = floatOnly,
       .operands = {"x"},
       .attributes = sixth},
  };
}

} // namespace onnxopt
