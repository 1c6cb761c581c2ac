// canonicalize: removes what changes nothing and brings the rest into one form.
#include "onnxopt/passes/Pass.h"

#include <cmath>

namespace onnxopt {
namespace {

/// Local rewrites, each exact bit for bit. They look at facts proved by shape inference, never at declarations.
class Canonicalizer {
public:
  Canonicalizer(Context &context, Rewriter &rewriter, PassContext &ctx)
      : context_(context), rewriter_(rewriter), ctx_(ctx) {}

  void visit(Graph &g) {
    for (auto it = g.nodes().begin(); it != g.nodes().end();) {
      Node &n = *it++;
      if (n.callee())
        continue;
      for (Graph *r : n.regions())
        visit(*r);
      visitNode(n);
    }
  }

private:
  bool is(const Node &n, llvm::StringRef op) const { return n.is(op) && !n.callee(); }

  void bypass(Node &n, llvm::StringRef what, unsigned operand = 0) {
    for (unsigned i = 1; i < n.numResults(); ++i)
      if (n.result(i)->hasUses())
        return;
    Value *v = n.operand(operand);
    if (!v)
      return;
    ctx_.count("canonicalize", what);
    rewriter_.replace(&n, {v});
  }

  /// Both types are proved and all dims pairwise equal.
  bool sameType(const Value *a, const Value *b) {
    Type x = inferred(a), y = inferred(b);
    if (!x.isTensor() || !y.isTensor() || !x.ranked || !y.ranked || x.element != y.element || x.rank() != y.rank())
      return false;
    for (size_t i = 0; i < x.rank(); ++i)
      if (!x.dims[i] || !y.dims[i] || !dims().proveEqual(x.dims[i], y.dims[i]))
        return false;
    return true;
  }
  Type inferred(const Value *v) {
    const ValueFact *f = ctx_.inference().fact(v);
    return f ? f->type : Type();
  }
  DimContext &dims() { return context_.dims(); }

  /// All elements of a small constant equal `value` (bit for bit, so -0 is not 0).
  bool isSplat(const Value *v, double value) {
    auto c = constantOf(v);
    if (!c || c->type == ElementType::String || c->elided || elementCount(c->dims).value_or(INT64_MAX) > 4096)
      return false;
    auto t = c->read();
    if (!t.ok() || t->size() == 0 || t->type() == ElementType::Complex64 || t->type() == ElementType::Complex128)
      return false;
    for (int64_t i = 0; i < t->size(); ++i) {
      double x = t->floatAt(i);
      if (x != value || std::signbit(x) != std::signbit(value))
        return false;
    }
    return true;
  }
  std::optional<llvm::SmallVector<int64_t, 8>> ints(const Value *v) {
    auto c = constantOf(v);
    if (!c || !isInteger(c->type) || elementCount(c->dims).value_or(INT64_MAX) > 64)
      return std::nullopt;
    auto t = c->read();
    return t.ok() ? std::optional(t->ints()) : std::nullopt;
  }

  void visitNode(Node &n);
  void transpose(Node &n);
  void reshape(Node &n);
  bool constantShape(Node &n);
  void constant(Node &n);

  Context &context_;
  Rewriter &rewriter_;
  PassContext &ctx_;
};

void Canonicalizer::constant(Node &n) {
  // A Constant node is an initializer that takes a line. Bodies of functions have no initializers.
  Graph &g = *n.graph();
  if (g.function() || g.model().irVersion.value_or(0) < 4)
    return;
  auto c = constantOf(n.result());
  if (!c)
    return;
  // An output keeps its node: some runtimes want one.
  for (Use *u : n.result()->uses())
    if (u->user()->isReturn())
      return;
  auto copy = std::make_shared<TensorData>(*c);
  copy->name.clear();
  copy->asRead = nullptr;
  if (!copy->external.empty() && !copy->payload.source)
    return;
  Value *v = g.addInitializer(n.result()->name(), std::move(copy));
  v->setName(n.result()->name());
  ctx_.count("canonicalize", "Constant nodes made initializers");
  rewriter_.replace(&n, {v});
}

void Canonicalizer::transpose(Node &n) {
  std::vector<int64_t> perm = NodeView(n).getInts("perm");
  Type t = inferred(n.operand(0));
  if (perm.empty()) {
    if (!t.ranked)
      return;
    for (size_t i = t.rank(); i-- > 0;)
      perm.push_back(int64_t(i));
  }
  bool identity = true;
  for (size_t i = 0; i < perm.size(); ++i)
    identity &= perm[i] == int64_t(i);
  if (identity)
    return bypass(n, "Transpose that moves nothing");
  Node *inner = n.operand(0)->producer();
  if (!inner || !is(*inner, "Transpose"))
    return;
  std::vector<int64_t> first = NodeView(*inner).getInts("perm");
  if (first.empty())
    for (size_t i = perm.size(); i-- > 0;)
      first.push_back(int64_t(i));
  if (first.size() != perm.size())
    return;
  std::vector<int64_t> both;
  for (int64_t p : perm) {
    if (p < 0 || p >= int64_t(first.size()))
      return;
    both.push_back(first[p]);
  }
  ctx_.count("canonicalize", "Transpose pairs merged");
  rewriter_.setAttribute(&n, makeAttribute("perm", both));
  rewriter_.setOperand(&n, 0, inner->operand(0));
}

void Canonicalizer::reshape(Node &n) {
  if (sameType(n.operand(0), n.result()))
    return bypass(n, "Reshape to the same shape");
  if (constantShape(n))
    return;
  // reshape(reshape(x)) = reshape(x), unless the outer shape copies sizes of the inner result.
  Node *inner = n.operand(0)->producer();
  if (!inner || !(is(*inner, "Reshape") || is(*inner, "Flatten") || is(*inner, "Squeeze") || is(*inner, "Unsqueeze")))
    return;
  if (opsetVersion(n) < 5)
    return;
  auto shape = ints(n.operand(1));
  bool copies = !shape || (llvm::is_contained(*shape, 0) && !NodeView(n).getInt("allowzero"));
  if (copies)
    return;
  // An empty tensor leaves -1 open where another size is 0.
  ctx_.count("canonicalize", "Reshape chains merged");
  rewriter_.setOperand(&n, 0, inner->operand(0));
}

/// A computed shape whose sizes are constants, sizes of the operand at the same place, and at most one more, can be
/// written down: constants, 0 and -1.
bool Canonicalizer::constantShape(Node &n) {
  NodeView view(n);
  if (n.numOperands() != 2 || constantOf(n.operand(1)) || view.getInt("allowzero"))
    return false;
  const ValueFact *shape = ctx_.inference().fact(n.operand(1));
  Type in = inferred(n.operand(0)), out = inferred(n.result());
  if (!shape || !shape->value || !in.ranked || !out.ranked || shape->value->elements.size() != out.rank())
    return false;
  llvm::SmallVector<int64_t, 8> target;
  bool wild = false;
  for (size_t i = 0; i < out.rank(); ++i) {
    Dim d = out.dims[i];
    if (d && d.isConstant() && d.constant() > 0) {
      target.push_back(d.constant());
    } else if (d && i < in.rank() && in.dims[i] && dims().proveEqual(d, in.dims[i])) {
      target.push_back(0);
    } else if (!wild) {
      // The rest of the elements: certain only if no other size can be 0.
      wild = true;
      target.push_back(-1);
    } else {
      return false;
    }
  }
  if (wild)
    for (size_t i = 0; i < out.rank(); ++i)
      if (target[i] != -1 && dims().range(out.dims[i]).lo < 1)
        return false;
  ctx_.count("canonicalize", "Reshape targets made constant");
  Value *c = rewriter_.createConstant(*n.graph(), &n, Tensor::vector(target), (n.result()->name() + "_shape").str());
  rewriter_.setOperand(&n, 1, c);
  return true;
}

void Canonicalizer::visitNode(Node &n) {
  if (!n.domain().empty() || n.numResults() == 0)
    return;
  const OpFacts *facts = factsOf(n);
  if (!facts)
    return;
  NodeView view(n);
  if (is(n, "Identity"))
    return bypass(n, "Identity");
  if (is(n, "Constant"))
    return constant(n);
  // f(f(x)) = f(x)
  if (facts->idempotent && n.operand(0) && n.operand(0)->producer() &&
      n.operand(0)->producer()->opType() == n.opType() && n.operand(0)->producer()->domain() == n.domain() &&
      n.numOperands() == 1 && n.attributes().empty() && n.operand(0)->producer()->attributes().empty())
    return bypass(n, "repeated idempotent operator");
  if (is(n, "Dropout")) {
    bool training = n.numOperands() > 2 && n.operand(2) && !isSplat(n.operand(2), 0);
    if (opsetVersion(n) < 7 ? view.getInt("is_test") : !training)
      bypass(n, "Dropout at inference");
    return;
  }
  if (is(n, "Cast")) {
    Type t = inferred(n.operand(0));
    if (t.isTensor() && t.hasElement() && opsetVersion(n) >= 6 && view.getInt("to") == int64_t(t.element))
      bypass(n, "Cast to the same type");
    return;
  }
  if (is(n, "CastLike")) {
    Type t = inferred(n.operand(0)), u = inferred(n.operand(1));
    if (t.isTensor() && t.hasElement() && u.element == t.element)
      bypass(n, "Cast to the same type");
    return;
  }
  if (is(n, "Transpose"))
    return transpose(n);
  if (is(n, "Reshape"))
    return reshape(n);
  if ((is(n, "Flatten") || is(n, "Expand") || is(n, "Slice") || is(n, "Tile") || is(n, "Pad") || is(n, "Squeeze") ||
       is(n, "Unsqueeze"))) {
    if (!n.operand(0) || !sameType(n.operand(0), n.result()))
      return;
    if (is(n, "Slice")) { // the same shape may still be another order
      if (opsetVersion(n) >= 10 && n.operand(4)) {
        auto steps = ints(n.operand(4));
        if (!steps || llvm::any_of(*steps, [](int64_t s) { return s != 1; }))
          return;
      }
    }
    if (is(n, "Pad")) {
      std::optional<llvm::SmallVector<int64_t, 8>> pads;
      if (opsetVersion(n) >= 11) {
        pads = ints(n.operand(1));
      } else {
        std::vector<int64_t> p = view.getInts("pads");
        pads = llvm::SmallVector<int64_t, 8>(p.begin(), p.end());
      }
      if (!pads || llvm::any_of(*pads, [](int64_t p) { return p != 0; }))
        return;
    }
    if (is(n, "Tile")) { // a size of 0 or unknown repeats could hide in equal shapes
      auto repeats = ints(n.operand(1));
      if (!repeats || llvm::any_of(*repeats, [](int64_t r) { return r != 1; }))
        return;
    }
    return bypass(n, "layout operator that changes nothing");
  }
  if ((is(n, "Concat") || is(n, "Sum") || is(n, "Max") || is(n, "Min") || is(n, "Mean")) && n.numOperands() == 1)
    return bypass(n, "operator of one operand");
  // Exact units only: x * 1, x / 1, x - 0, x + (-0), x ^ 1; and x + 0 for whole numbers.
  auto unit = [&](unsigned at, double value) {
    return n.operand(at) && n.operand(1 - at) && isSplat(n.operand(at), value) &&
           sameType(n.operand(1 - at), n.result());
  };
  if (is(n, "Mul")) {
    if (unit(1, 1))
      return bypass(n, "multiplication by 1");
    if (unit(0, 1))
      return bypass(n, "multiplication by 1", 1);
  }
  if (is(n, "Div") && unit(1, 1))
    return bypass(n, "division by 1");
  if (is(n, "Pow") && unit(1, 1))
    return bypass(n, "power of 1");
  if (is(n, "Sub") && unit(1, 0))
    return bypass(n, "subtraction of 0");
  if (is(n, "Add")) {
    Type t = inferred(n.result());
    bool whole = t.isTensor() && isInteger(t.element);
    for (unsigned at : {1u, 0u})
      if (unit(at, -0.0) || (whole && unit(at, 0)))
        return bypass(n, "addition of nothing", 1 - at);
  }
  // Where with a condition that is known.
  if (is(n, "Where"))
    for (auto [value, at] : {std::pair(1.0, 1u), std::pair(0.0, 2u)})
      if (isSplat(n.operand(0), value) && sameType(n.operand(at), n.result()))
        return bypass(n, "Where that always picks one side", at);
}

class Canonicalize : public Pass {
public:
  absl::StatusOr<bool> run(Model &model, PassContext &ctx) override {
    Rewriter rewriter(model.context());
    Canonicalizer c(model.context(), rewriter, ctx);
    c.visit(model.graph());
    for (auto &f : model.functions())
      c.visit(*f->graph);
    return rewriter.changes() > 0;
  }
};

} // namespace

PassRegistry::Entry makeCanonicalizeEntry() {
  return {"canonicalize", "remove operators that change nothing; Constant nodes become initializers", "",
          [] { return std::make_unique<Canonicalize>(); }};
}

} // namespace onnxopt
