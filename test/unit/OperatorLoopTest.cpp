// One loop over every operator, version and element type that a definition with a kernel claims: a case of the backend
// suite, carried to that version and type, runs, and what the definition says of it is true.
#include "OperatorCases.h"
#include "OperatorGoals.h"

#include "onnxopt/ops/Evaluate.h"

#include <cstring>

using namespace onnxopt;

namespace {

/// NaNs too, which differential::sameBits takes for equal.
bool sameBytes(const Datum &a, const Datum &b) {
  if (a.isSequence() && b.isSequence())
    return std::equal(a.elements().begin(), a.elements().end(), b.elements().begin(), b.elements().end(), sameBytes);
  if (!a.isTensor() || !b.isTensor())
    return a.kind == b.kind;
  const Tensor &x = a.tensor, &y = b.tensor;
  if (x.type() != y.type() || x.dims() != y.dims())
    return false;
  return x.isString() ? x.strings() == y.strings() : std::memcmp(x.bytes(), y.bytes(), x.byteSize()) == 0;
}

std::map<std::string, unsigned> held; ///< how many claims of each kind were held against a run

/// One node by itself.
class SingleNode : public EvalContext {
public:
  using EvalContext::EvalContext;
  absl::Status runRegion(Graph &, std::vector<Datum>, std::vector<Datum> &) override {
    return absl::UnimplementedError("no bodies here");
  }
  Type provedType(unsigned) override { return {}; }
  uint64_t randomSeed() const override { return 0; }
  absl::Status step(uint64_t) override { return absl::OkStatus(); }
};

/// Holds what the definition says of a node against runs of the case it is in. Each result is the model's output.
class Claims {
public:
  Claims(const Case &c, const OpFacts &facts, std::string what)
      : case_(c), node_(c.model->graph().nodes().front()), facts_(facts), what_(std::move(what)) {}

  void check(const std::vector<Datum> &results) {
    const std::map<std::string, Datum> given = case_.inputs;
    for (const Reuse &r : facts_.reuse)
      if (const Datum *x = operand(given, r.operand); r.kind == Reuse::View && x && r.result < results.size())
        views(*x, results[r.result]);
    for (const Reuse &r : facts_.reuse)
      if (r.kind == Reuse::Overwrite)
        overwrites(given, r, results);
    if (facts_.deterministic) {
      ++held["deterministic"];
      EXPECT_TRUE(gives(given, results)) << what_ << " is not deterministic";
    }
    const Datum *x = operand(given, 0), *y = operand(given, 1);
    if (facts_.commutative && x && y) {
      ++held["commutative"];
      auto swapped = given;
      swapped[node_.operand(0)->name().str()] = *y;
      swapped[node_.operand(1)->name().str()] = *x;
      EXPECT_TRUE(gives(swapped, results)) << what_ << " is not commutative";
    }
    if (facts_.idempotent && x && typeOf(*x) == typeOf(results[0])) {
      ++held["idempotent"];
      auto again = given;
      again[node_.operand(0)->name().str()] = results[0];
      EXPECT_TRUE(gives(again, results)) << what_ << " is not idempotent";
    }
    if (facts_.elementwise)
      elementwise(results);
    held["total"] += facts_.total;
    if (facts_.total)
      for (uint8_t fill : {0x00, 0xff, 0x7f, 0x80}) {
        EXPECT_TRUE(run(filled(given, fill))) << what_ << " fails on elements of bytes " << int(fill);
      }
  }

private:
  bool gives(const std::map<std::string, Datum> &inputs, const std::vector<Datum> &results) {
    auto out = run(inputs);
    return out && std::equal(out->begin(), out->end(), results.begin(), results.end(), sameBytes);
  }
  std::optional<std::vector<Datum>> run(const std::map<std::string, Datum> &inputs) {
    auto out = exec::Executor(*case_.model).run(inputs);
    return out.ok() ? std::optional(*out) : std::nullopt;
  }
  const Datum *operand(const std::map<std::string, Datum> &inputs, unsigned i) {
    auto it = node_.operand(i) ? inputs.find(node_.operand(i)->name().str()) : inputs.end();
    return it == inputs.end() ? nullptr : &it->second;
  }

  /// The result is the same where it is written to the operand's memory.
  void overwrites(std::map<std::string, Datum> inputs, const Reuse &reuse, const std::vector<Datum> &results) {
    SingleNode ctx(node_);
    for (unsigned i = 0; i < node_.numOperands(); ++i)
      ctx.operands.push_back(operand(inputs, i));
    const Datum *given = ctx.operands.size() > reuse.operand ? ctx.operands[reuse.operand] : nullptr;
    if (!given || !given->isTensor() || given->tensor.isString() || llvm::count(ctx.operands, given) != 1)
      return;
    Datum own = *given;
    own.tensor.mutableBytes(); // a copy
    ctx.operands[reuse.operand] = &own;
    ctx.donors.push_back({reuse.result, &own.tensor});
    ctx.results.resize(results.size());
    ctx.wanted.assign(results.size(), true);
    ASSERT_TRUE(evaluateNode(facts_, ctx).ok()) << what_;
    EXPECT_TRUE(std::equal(ctx.results.begin(), ctx.results.end(), results.begin(), results.end(), sameBytes))
        << what_ << " differs in the memory of operand " << reuse.operand;
    held["overwrite"] += ctx.results[reuse.result].tensor.sharesMemoryWith(own.tensor);
  }

  void views(const Datum &x, const Datum &result) {
    if (!x.isTensor() || !result.isTensor())
      return;
    held["view"] += x.tensor.type() == result.tensor.type();
    Datum alike = result;
    alike.tensor = x.tensor.size() == result.tensor.size() ? x.tensor.reshaped(result.tensor.dims()) : x.tensor;
    EXPECT_TRUE(x.tensor.type() != result.tensor.type() || sameBytes(alike, result)) << what_ << " is no view";
  }

  /// One element more equal to its neighbour: no result but its own changes.
  void elementwise(const std::vector<Datum> &results) {
    auto changed = case_.inputs;
    for (auto &[name, d] : changed) {
      if (!d.isTensor() || !results[0].isTensor() || d.tensor.dims() != results[0].tensor.dims() ||
          d.tensor.size() < 2 || d.tensor.isString() || bitWidth(d.tensor.type()) < 8)
        return;
      const unsigned width = bitWidth(d.tensor.type()) / 8;
      char *bytes = d.tensor.mutableBytes();
      std::memcpy(bytes, bytes + width, width);
    }
    auto out = run(changed);
    ASSERT_TRUE(out) << what_;
    const Tensor &was = results[0].tensor, &is = (*out)[0].tensor;
    if (bitWidth(was.type()) < 8 || was.isString())
      return;
    ++held["elementwise"];
    const unsigned width = bitWidth(was.type()) / 8;
    EXPECT_EQ(std::memcmp(was.bytes() + width, is.bytes() + width, was.byteSize() - width), 0)
        << what_ << " is not elementwise";
  }

  static std::map<std::string, Datum> filled(std::map<std::string, Datum> inputs, uint8_t fill) {
    for (auto &[name, d] : inputs)
      if (d.isTensor() && !d.tensor.isString() && d.tensor.size())
        std::memset(static_cast<void *>(d.tensor.mutableBytes()),
                    d.tensor.type() == ElementType::Bool ? fill & 1 : fill, d.tensor.byteSize());
    return inputs;
  }

  const Case &case_;
  const Node &node_;
  const OpFacts &facts_;
  std::string what_;
};

/// Declares the sizes of operands as symbols and expects that the shapes inferred from them give, under the case's own
/// sizes, the shapes of the results. Integers that may be sizes stay known.
void checkSymbolic(Case &c, const std::vector<Datum> &results, const std::string &what) {
  Graph &g = c.model->graph();
  DimContext &dims = c.model->context().dims();
  unsigned names = 0;
  for (const auto &v : g.inputs()) {
    auto it = c.inputs.find(v->name().str());
    if (it == c.inputs.end() || !it->second.isTensor())
      continue;
    const Tensor &t = it->second.tensor;
    if (isInteger(t.type()) && t.rank() < 2) {
      v->setInitializer(TensorData::of(t));
      continue;
    }
    llvm::SmallVector<Dim, 4> symbols;
    for (int64_t n : t.dims()) {
      // Symbols are sizes of at least 1.
      symbols.push_back(n ? dims.symbol("", "n" + std::to_string(names++)) : dims.constant(0));
    }
    v->setDeclaredType(Type::tensor(t.type(), symbols));
  }
  const DimBindings bindings = exec::bindingsOf(*c.model, c.inputs);
  Inference inference(*c.model);
  inference.run();
  for (unsigned i = 0; i < results.size(); ++i) {
    const ValueFact *f = inference.fact(g.returnNode()->operand(i));
    if (!f || !f->type.isTensor() || !results[i].isTensor())
      continue;
    EXPECT_EQ(contradiction(*f, results[i], dims, bindings), "") << what << " with symbols, result " << i;
    held["symbolic size"] += llvm::count_if(f->type.dims, [&](Dim d) { return d && dims.evaluate(d, bindings); });
  }
}

TEST(BackendSuite, EveryVersionAndTypeRuns) {
  auto byOperator = casesByOperator();
  Context registry;
  Converter converter;
  Counts counts;
  unsigned goals = 0, reached = 0;
  std::string missed;
  schema::forEach([&](schema::Schema s) {
    const OpDefinition *definition = operatorsOf(registry).find(s.domain(), s.name());
    const OpFacts *facts = definition ? definition->at(s.sinceVersion()) : nullptr;
    if (!facts || !facts->eval || s.deprecated())
      return;
    for (const Goal &goal : goalsOf(s)) {
      ++goals;
      std::string why = "no case";
      auto attempt = [&](const Loader &load, const Bindings &bound) {
        Context c;
        Case k = load(c);
        if (!carry(k, goal, bound, converter)) {
          why = "no case can be carried there";
          return false;
        }
        Inference inference(*k.model);
        inference.run();
        std::map<std::string, Datum> values = k.inputs;
        exec::RunOptions options;
        options.steps = 1000;
        auto holds = holdsAgainst(inference, *k.model, k.inputs, goal.name(), counts);
        options.observe = [&](const Value &v, const Datum &d) {
          values[v.name().str()] = d;
          return holds(v, d);
        };
        auto out = exec::Executor(*k.model, options).run(k.inputs);
        if (!out.ok())
          why = std::string(out.status().message());
        else if (!reaches(goal, k.model->graph().nodes().front(), values, inference))
          why = "another type";
        else {
          Claims(k, *facts, goal.name()).check(*out);
          checkSymbolic(k, *out, goal.name());
          return true;
        }
        return false;
      };
      bool done = false;
      for (const auto &bound : bindingsFor(goal))
        for (const Loader &load : byOperator[(s.domain() + "." + s.name()).str()])
          if (!done)
            done = attempt(load, bound);
      reached += done;
      if (!done)
        missed += goal.name() + ": " + why + "\n";
    }
  });
  std::printf("%u of %u (operator, version, type)", reached, goals);
  for (const char *claim :
       {"commutative", "deterministic", "elementwise", "idempotent", "overwrite", "symbolic size", "total", "view"}) {
    std::printf(", %s: %u", claim, held[claim]);
    EXPECT_GT(held[claim], 0u) << claim;
  }
  std::printf("\n");
  EXPECT_EQ(reached, goals) << missed;
}

} // namespace
