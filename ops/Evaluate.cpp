// The frame around every kernel.
#include "onnxopt/ops/Evaluate.h"

#include "onnxopt/ops/support/Kernels.h"

namespace onnxopt {
namespace {

/// Operand types only: enough to learn the element types of results.
class TypeContext : public InferContext {
public:
  explicit TypeContext(EvalContext &eval) : InferContext(eval.node(), eval.node().graph()->context()) {
    results.resize(node_.numResults());
    for (unsigned i = 0; i < eval.numOperands(); ++i) {
      Type t;
      if (eval.has(i) && eval.datum(i).isTensor())
        t = Type::tensor(eval.in(i).type());
      types_.push_back(t);
    }
  }
  const Type &type(unsigned i) const override {
    static const Type unknown;
    return i < types_.size() ? types_[i] : unknown;
  }
  const SymTensor *value(unsigned) const override { return nullptr; }
  std::optional<Tensor> constant(unsigned) const override { return std::nullopt; }
  bool inferRegion(Graph &, llvm::ArrayRef<Fact>, llvm::SmallVectorImpl<Fact> &) override { return false; }

private:
  llvm::SmallVector<Type, 6> types_;
};

class ConstantContext : public EvalContext {
public:
  ConstantContext(const Node &node, uint64_t limit) : EvalContext(node), limit_(limit) {}
  absl::Status runRegion(Graph &, std::vector<Datum>, std::vector<Datum> &) override {
    return absl::UnimplementedError("a body cannot be run here");
  }
  Type provedType(unsigned) override { return {}; }
  uint64_t randomSeed() const override { return 0; }
  uint64_t memoryLimit() const override { return limit_; }
  absl::Status step(uint64_t count) override {
    steps_ += count;
    return steps_ > (1 << 16) ? absl::ResourceExhaustedError("too much work to fold") : absl::OkStatus();
  }

private:
  uint64_t limit_, steps_ = 0;
};

/// What a datum that is no tensor is called, and how its type begins in schemas.
std::pair<std::string, llvm::StringRef> kindOf(const Datum &d) {
  switch (d.kind) {
  case Datum::SequenceKind:
    return {"a sequence", "seq("};
  case Datum::MapKind:
    return {"a map", "map("};
  default:
    return {"empty", "optional("};
  }
}

/// Number, presence and element types of the operands against the schema: a kernel may rely on them.
absl::Status checkOperands(const EvalContext &ctx) {
  schema::Schema s = ctx.schema();
  if (!s)
    return absl::OkStatus();
  auto fault = [&](unsigned i, std::string what) {
    return absl::InvalidArgumentError(pathOf(ctx.node()) + ": operand " + std::to_string(i) + " " + what);
  };
  if (int(ctx.numOperands()) < s.minInputs() || int(ctx.numResults()) < s.minOutputs())
    return absl::InvalidArgumentError(pathOf(ctx.node()) + ": too few operands or results");
  llvm::SmallVector<std::pair<llvm::StringRef, ElementType>, 4> bound;
  for (unsigned i = 0; i < ctx.numOperands(); ++i) {
    const schema::Formal *f = s.input(i);
    if (!f)
      return fault(i, "is one too many");
    if (!ctx.isGiven(i)) {
      if (f->mustBeGiven())
        return fault(i, "is missing");
      continue;
    }
    if (!ctx.datum(i).isTensor()) {
      auto [what, spelled] = kindOf(ctx.datum(i));
      if (!s.allowedTypes(*f).contains(spelled))
        return fault(i, "is " + what + ", which the operator does not take");
      continue;
    }
    ElementType e = ctx.in(i).type();
    if (!s.allows(*f, "tensor(" + nameOf(e).str() + ")"))
      return fault(i, "is a tensor of " + nameOf(e).str() + ", which the operator does not take");
    if (llvm::StringRef(f->type).contains('(') || (f->kind() == schema::FormalOption::Variadic && !f->homogeneous))
      continue;
    bool known = false;
    for (auto &[name, type] : bound)
      if (name == f->type) {
        known = true;
        if (type != e)
          return fault(i, "is " + nameOf(e).str() + ", another of the same type is " + nameOf(type).str());
      }
    if (!known)
      bound.push_back({f->type, e});
  }
  return absl::OkStatus();
}

} // namespace

absl::Status evaluateNode(const OpFacts &facts, EvalContext &ctx) {
  if (!facts.eval)
    return absl::UnimplementedError(pathOf(ctx.node()) + ": the operator has no kernel");
  // Signatures are checked before kernels look at operands.
  if (absl::Status s = checkOperands(ctx); !s.ok())
    return s;
  if (std::string fault = faultOfSizes(ctx.node()); !fault.empty())
    return absl::InvalidArgumentError(pathOf(ctx.node()) + ": " + fault);
  for (unsigned i : facts.single)
    if (ctx.has(i) && ctx.datum(i).isTensor() && ctx.in(i).size() != 1)
      return absl::InvalidArgumentError(pathOf(ctx.node()) + ": operand " + std::to_string(i) + " has " +
                                        std::to_string(ctx.in(i).size()) + " elements, one expected");
  for (auto [i, rank] : facts.ranks)
    if (ctx.has(i) && ctx.datum(i).isTensor() && ctx.in(i).rank() != rank)
      return absl::InvalidArgumentError(pathOf(ctx.node()) + ": operand " + std::to_string(i) + " has rank " +
                                        std::to_string(ctx.in(i).rank()) + ", " + std::to_string(rank) + " is needed");
  bool small = false;
  if (facts.storage != Storage::Native)
    for (unsigned i = 0; i < ctx.numOperands(); ++i)
      if (ctx.has(i) && ctx.datum(i).isTensor()) {
        ElementType e = ctx.in(i).type();
        small |= facts.storage == Storage::Movement ? isPacked(e) : isSmallFloat(e);
      }
  if (!small && facts.storage != Storage::Native)
    for (llvm::StringRef name : {"dtype", "stash_type", "output_datatype"})
      small |= ctx.hasAttribute(name) && isSmallFloat(static_cast<ElementType>(ctx.getInt(name)));
  if (!small)
    return facts.eval(ctx);
  TypeContext types(ctx);
  facts.infer(types);
  llvm::SmallVector<Datum, 6> converted(ctx.numOperands());
  for (unsigned i = 0; i < ctx.numOperands(); ++i) {
    if (!ctx.has(i) || !ctx.datum(i).isTensor())
      continue;
    const Tensor &t = ctx.in(i);
    if (facts.storage == Storage::Movement ? isPacked(t.type()) : isSmallFloat(t.type())) {
      converted[i] = facts.storage == Storage::Movement ? kernels::unpackBits(t) : kernels::toFloat(t);
      ctx.operands[i] = &converted[i];
    }
  }
  if (absl::Status s = facts.eval(ctx); !s.ok())
    return s;
  for (unsigned i = 0; i < ctx.results.size(); ++i) {
    Datum &r = ctx.results[i];
    if (!r.isTensor() || !types.results[i].type.isTensor())
      continue;
    ElementType want = types.results[i].type.element;
    if (facts.storage == Storage::Movement && isPacked(want) && r.tensor.type() == ElementType::Uint8)
      r.tensor = kernels::packBits(r.tensor, want);
    else if (facts.storage == Storage::Compute && isSmallFloat(want) && r.tensor.type() == ElementType::Float)
      r.tensor = kernels::fromFloat(r.tensor, want, false);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Tensor>> evaluateConstants(const Node &node, llvm::ArrayRef<const Tensor *> operands,
                                                      uint64_t memoryLimit) {
  const OpFacts *facts = factsOf(node);
  if (!facts || !facts->eval || !node.regions().empty())
    return absl::UnimplementedError("no kernel");
  ConstantContext ctx(node, memoryLimit);
  std::vector<Datum> data;
  data.reserve(operands.size());
  for (const Tensor *t : operands) {
    data.emplace_back();
    if (t)
      data.back() = Datum(*t);
  }
  for (unsigned i = 0; i < operands.size(); ++i)
    ctx.operands.push_back(operands[i] ? &data[i] : nullptr);
  ctx.results.resize(node.numResults());
  ctx.wanted.assign(node.numResults(), true);
  if (absl::Status s = evaluateNode(*facts, ctx); !s.ok())
    return s;
  std::vector<Tensor> out;
  for (Datum &d : ctx.results) {
    if (!d.isTensor() && d.kind != Datum::None)
      return absl::UnimplementedError("a result is no tensor");
    out.push_back(d.tensor);
  }
  return out;
}

} // namespace onnxopt
