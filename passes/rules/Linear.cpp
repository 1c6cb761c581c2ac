// Linear operators that absorb what follows them.
#include "onnxopt/passes/Rules.h"

#include <cmath>

namespace onnxopt {
namespace {

Node *nodeOf(const FusionMatch &m, llvm::StringRef op) {
  for (Node *n : m.nodes)
    if (n->opType() == op)
      return n;
  return nullptr;
}

/// Conv(x, w, b) -> BatchNormalization becomes Conv(x, w * k, (b - mean) * k + shift), k = scale / sqrt(var + eps).
Value *convBatchNorm(const FusionMatch &m, FusionServices &s, std::string &why) {
  Node *conv = nodeOf(m, "Conv"), *bn = nodeOf(m, "BatchNormalization");
  NodeView view(*bn);
  bool legacyTraining = view.schema() && view.schema().attribute("is_test") && !view.getInt("is_test");
  if (view.getInt("training_mode") || legacyTraining) {
    why = "the normalization is in training mode";
    return nullptr;
  }
  if (bn->graph() != conv->graph()) {
    why = "the two are in different graphs";
    return nullptr;
  }
  auto w = s.constant(conv->operand(1)), scale = s.constant(bn->operand(1)), shift = s.constant(bn->operand(2)),
       mean = s.constant(bn->operand(3)), var = s.constant(bn->operand(4));
  std::optional<Tensor> b = conv->operand(2) ? s.constant(conv->operand(2)) : std::nullopt;
  if (!w || !scale || !shift || !mean || !var || (conv->operand(2) && !b)) {
    why = "weights or statistics are not constant";
    return nullptr;
  }
  if ((w->type() != ElementType::Float && w->type() != ElementType::Double) || scale->type() != w->type() ||
      mean->type() != w->type()) {
    why = "only float and double weights are computed with";
    return nullptr;
  }
  int64_t channels = w->rank() ? w->dim(0) : 0;
  for (const Tensor *t : {&*scale, &*shift, &*mean, &*var})
    if (t->size() != channels) {
      why = "statistics do not match the channels";
      return nullptr;
    }
  double eps = view.getFloat("epsilon", 1e-5f);
  Tensor weights(w->type(), w->dims()), bias(w->type(), {channels});
  int64_t inner = channels ? w->size() / channels : 0;
  auto run = [&](auto zero) {
    using T = decltype(zero);
    for (int64_t c = 0; c < channels; ++c) {
      double k = scale->floatAt(c) / std::sqrt(var->floatAt(c) + eps);
      if (!std::isfinite(k))
        return false;
      for (int64_t i = 0; i < inner; ++i)
        weights.mutableData<T>()[c * inner + i] = T(w->data<T>()[c * inner + i] * k);
      bias.mutableData<T>()[c] = T(((b ? b->floatAt(c) : 0) - mean->floatAt(c)) * k + shift->floatAt(c));
    }
    return true;
  };
  if (!(w->type() == ElementType::Float ? run(0.0f) : run(0.0))) {
    why = "a scale is not finite";
    return nullptr;
  }
  Graph &g = *conv->graph();
  std::string base = conv->operand(1)->name().str();
  Value *newW = s.rewriter.createConstant(g, conv, std::move(weights), base + "_bn");
  Value *newB = s.rewriter.createConstant(g, conv, std::move(bias), base + "_bn_bias");
  Node *fused = s.rewriter.create(g, bn, "Conv", "", {conv->operand(0), newW, newB}, 1, m.nodes);
  llvm::DenseMap<Value *, Value *> none;
  for (const Attribute &a : conv->attributes())
    fused->setAttribute(cloneAttribute(a, g, fused, none, "", nullptr, false));
  return fused->result();
}

/// Conv(x, w) + c, where c is one constant for each channel, becomes the bias.
Value *convAdd(const FusionMatch &m, FusionServices &s, std::string &why) {
  Node *conv = nodeOf(m, "Conv"), *add = nodeOf(m, "Add");
  Value *other = m["c"];
  auto c = s.constant(other), w = s.constant(conv->operand(1));
  std::optional<Tensor> b = conv->operand(2) ? s.constant(conv->operand(2)) : std::nullopt;
  Type wt = s.typeOf(conv->operand(1));
  if (!c || (conv->operand(2) && !b)) {
    why = "what is added is not constant";
    return nullptr;
  }
  Type out = s.typeOf(conv->result());
  if (!wt.isTensor() || !wt.ranked || wt.dims.empty() || !wt.dims[0].isConstant() || !out.ranked ||
      (c->type() != ElementType::Float && c->type() != ElementType::Double) || c->type() != wt.element) {
    why = "the weight's shape is not known, or the type is not float";
    return nullptr;
  }
  int64_t channels = wt.dims[0].constant();
  size_t rank = out.rank();
  // [C, 1, ..., 1] after leading ones; a single element counts for all channels.
  if (c->rank() > rank) {
    why = "the constant raises the rank";
    return nullptr;
  }
  for (size_t i = 0; i < c->rank(); ++i) {
    size_t axis = rank - c->rank() + i;
    if (c->dim(i) != 1 && !(axis == 1 && c->dim(i) == channels)) {
      why = "the constant does not run along the channels only";
      return nullptr;
    }
  }
  Tensor bias(c->type(), {channels});
  for (int64_t k = 0; k < channels; ++k) {
    double v = c->floatAt(c->size() == 1 ? 0 : k) + (b ? b->floatAt(k) : 0);
    if (c->type() == ElementType::Float)
      bias.mutableData<float>()[k] = float(v);
    else
      bias.mutableData<double>()[k] = v;
  }
  Graph &g = *conv->graph();
  Value *newB = s.rewriter.createConstant(g, conv, std::move(bias), other->name());
  Node *fused = s.rewriter.create(g, add, "Conv", "", {conv->operand(0), conv->operand(1), newB}, 1, m.nodes);
  llvm::DenseMap<Value *, Value *> none;
  for (const Attribute &a : conv->attributes())
    fused->setAttribute(cloneAttribute(a, g, fused, none, "", nullptr, false));
  return fused->result();
}

/// MatMul(a, b) + c of matrices becomes Gemm, when c broadcasts into the product.
std::string refuseGemm(const FusionMatch &m, FusionServices &s) {
  Type a = s.typeOf(m["a"]), b = s.typeOf(m["b"]), c = s.typeOf(m["c"]);
  for (const Type *t : {&a, &b, &c})
    if (!t->isTensor() || !t->ranked)
      return "a rank is not known";
  if (a.rank() != 2 || b.rank() != 2)
    return "the operands are not matrices";
  if (a.element != ElementType::Float && a.element != ElementType::Double && a.element != ElementType::Float16)
    return "Gemm is not defined for this element type in all versions";
  if (c.rank() > 2)
    return "what is added has more than two dimensions";
  DimContext &d = s.model.context().dims();
  Dim want[] = {a.dims[0], b.dims[1]};
  for (size_t i = 0; i < c.rank(); ++i) {
    Dim have = c.dims[i], size = want[2 - c.rank() + i];
    if (!have || !size || !(have.isConstant(1) || d.proveEqual(have, size)))
      return "what is added is not known to broadcast into the product";
  }
  return "";
}

} // namespace

std::vector<FusionRule> linearRules() {
  return {
      {.name = "conv-batchnorm",
       .exactness = Exactness::Rounding,
       .patterns = {R"(<ir_version: 8, opset_import: ["" : 17]>
           g (x, w, b, scale, shift, mean, var) => (y) { c = Conv(x, w, b) y = BatchNormalization(c, scale, shift, mean, var) })",
                    R"(<ir_version: 8, opset_import: ["" : 17]>
           g (x, w, scale, shift, mean, var) => (y) { c = Conv(x, w) y = BatchNormalization(c, scale, shift, mean, var) })"},
       .build = convBatchNorm},
      {.name = "conv-add",
       .exactness = Exactness::Rounding,
       .patterns =
           {R"(<ir_version: 8, opset_import: ["" : 17]> g (x, w, c) => (y) { p = Conv(x, w) y = Add(p, c) })",
            R"(<ir_version: 8, opset_import: ["" : 17]> g (x, w, b, c) => (y) { p = Conv(x, w, b) y = Add(p, c) })"},
       .build = convAdd},
      {.name = "matmul-add",
       .exactness = Exactness::Rounding,
       .patterns =
           {R"(<ir_version: 8, opset_import: ["" : 17]> g (a, b, c) => (y) { p = MatMul(a, b) y = Add(p, c) })"},
       .op = "Gemm",
       .refuse = refuseGemm,
       .operands = {"a", "b", "c"}},
  };
}

} // namespace onnxopt
