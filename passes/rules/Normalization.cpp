// LayerNormalization, as exporters write it out.
#include "onnxopt/passes/Rules.h"

namespace onnxopt {

/// Axes that a reduction takes, from its attribute or operand.
static std::optional<llvm::SmallVector<int64_t, 8>> reducedAxes(const Node &n, FusionServices &s) {
  if (n.numOperands() > 1 && n.operand(1)) {
    auto t = s.constant(n.operand(1));
    return t ? std::optional(t->ints()) : std::nullopt;
  }
  std::vector<int64_t> a = NodeView(n).getInts("axes");
  return llvm::SmallVector<int64_t, 8>(a.begin(), a.end());
}

/// Both means are over the last axis and keep it; scale and bias have just that axis.
static std::string refuse(const FusionMatch &m, FusionServices &s) {
  Type x = s.typeOf(m["x"]);
  if (!x.isTensor() || !x.ranked || x.rank() == 0)
    return "the operand's rank is not known";
  for (Node *n : m.nodes)
    if (n->opType() == "ReduceMean") {
      auto axes = reducedAxes(*n, s);
      bool last = axes && axes->size() == 1 && ((*axes)[0] == -1 || (*axes)[0] == int64_t(x.rank()) - 1);
      if (!last || !NodeView(*n).getInt("keepdims", 1))
        return "a mean is not over the last axis only, or drops it";
    }
  for (const char *name : {"scale", "bias"})
    if (Value *v = m[name]) {
      Type t = s.typeOf(v);
      if (!t.isTensor() || !t.ranked || t.rank() != 1 || !t.dims[0] || t.dims[0] != x.dims.back())
        return std::string(name) + " is not a vector along the last axis";
      if (t.element != x.element)
        return std::string(name) + " differs in element type";
    }
  if (auto e = s.scalar(m["eps"]); !e || *e < 0)
    return "epsilon is no constant of one element";
  return "";
}

static std::vector<Attribute> attributes(const FusionMatch &m, FusionServices &s) {
  std::vector<Attribute> a;
  a.push_back(makeAttribute("axis", int64_t(-1)));
  a.push_back(makeAttribute("epsilon", float(*s.scalar(m["eps"]))));
  return a;
}

std::vector<FusionRule> normalizationRules() {
  return {{.name = "layer-norm",
           .exactness = Exactness::Rounding,
           .patterns = {R"(<ir_version: 8, opset_import: ["" : 17]>
               g (x, eps, scale, bias) => (y) <float two = {2.0}>
               { u = ReduceMean(x) d = Sub(x, u) p = Pow(d, two) v = ReduceMean(p) e = Add(v, eps) q = Sqrt(e)
                 n = Div(d, q) w = Mul(n, scale) y = Add(w, bias) })",
                        R"(<ir_version: 8, opset_import: ["" : 17]>
               g (x, eps, scale, bias) => (y)
               { u = ReduceMean(x) d = Sub(x, u) p = Mul(d, d) v = ReduceMean(p) e = Add(v, eps) q = Sqrt(e)
                 n = Div(d, q) w = Mul(n, scale) y = Add(w, bias) })"},
           .op = "LayerNormalization",
           .refuse = refuse,
           .operands = {"x", "scale", "bias"},
           .attributes = attributes}};
}

} // namespace onnxopt
