// Gelu, as exporters write it out.
#include "onnxopt/passes/Rules.h"

namespace onnxopt {

static std::vector<Attribute> approximate(llvm::StringRef how) {
  std::vector<Attribute> a;
  a.push_back(makeAttribute("approximate", how.str()));
  return a;
}
static std::vector<Attribute> none(const FusionMatch &, FusionServices &) { return approximate("none"); }
static std::vector<Attribute> tanhForm(const FusionMatch &, FusionServices &) { return approximate("tanh"); }

std::vector<FusionRule> geluRules() {
  return {
      {.name = "gelu-erf",
       .exactness = Exactness::Rounding,
       // x * 0.5 * (1 + erf(x / sqrt(2))), in the orders of products that exporters write
       .patterns = {R"(<ir_version: 8, opset_import: ["" : 17]>
           g (x) => (y) <float r = {1.4142135}, float one = {1.0}, float half = {0.5}>
           { d = Div(x, r) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Mul(m, half) })",
                    R"(<ir_version: 8, opset_import: ["" : 17]>
           g (x) => (y) <float r = {1.4142135}, float one = {1.0}, float half = {0.5}>
           { d = Div(x, r) e = Erf(d) a = Add(e, one) h = Mul(x, half) y = Mul(h, a) })",
                    R"(<ir_version: 8, opset_import: ["" : 17]>
           g (x) => (y) <float r = {1.4142135}, float one = {1.0}, float half = {0.5}>
           { d = Div(x, r) e = Erf(d) a = Add(e, one) h = Mul(a, half) y = Mul(x, h) })",
                    R"(<ir_version: 8, opset_import: ["" : 17]>
           g (x) => (y) <float r = {0.70710677}, float one = {1.0}, float half = {0.5}>
           { d = Mul(x, r) e = Erf(d) a = Add(e, one) h = Mul(x, half) y = Mul(h, a) })",
                    R"(<ir_version: 8, opset_import: ["" : 17]>
           g (x) => (y) <float r = {0.70710677}, float one = {1.0}, float half = {0.5}>
           { d = Mul(x, r) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Mul(m, half) })"},
       .op = "Gelu",
       .operands = {"x"},
       .attributes = none},
      {.name = "gelu-tanh",
       .exactness = Exactness::Rounding,
       // 0.5 * x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 * x^3)))
       .patterns = {R"(<ir_version: 8, opset_import: ["" : 17]>
           g (x) => (y) <float three = {3.0}, float k = {0.044715}, float s = {0.7978846}, float one = {1.0}, float half = {0.5}>
           { c = Pow(x, three) p = Mul(c, k) q = Add(x, p) r = Mul(q, s) t = Tanh(r) a = Add(t, one) h = Mul(x, half) y = Mul(h, a) })",
                    R"(<ir_version: 8, opset_import: ["" : 17]>
           g (x) => (y) <float k = {0.044715}, float s = {0.7978846}, float one = {1.0}, float half = {0.5}>
           { x2 = Mul(x, x) c = Mul(x2, x) p = Mul(c, k) q = Add(x, p) r = Mul(q, s) t = Tanh(r) a = Add(t, one) h = Mul(x, half) y = Mul(h, a) })"},
       .op = "Gelu",
       .operands = {"x"},
       .attributes = tanhForm},
  };
}

} // namespace onnxopt
