// What every operator definition claims, in one loop.
#include "onnxopt/exec/Executor.h"
#include "onnxopt/ops/Inference.h"
#include "onnxopt/ops/support/FastMath.h"

#include "onnxopt/ir/SmallFloat.h"
#include "onnxopt/ir/text/Parser.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstring>
#include <random>

using namespace onnxopt;

namespace {

// Every version of a defined operator is claimed by a definition with a shape rule.
TEST(Operators, DefinitionsCoverTheirVersions) {
  Context c;
  OpRegistry &registry = operatorsOf(c);
  unsigned claimed = 0, total = 0;
  schema::forEach([&](schema::Schema s) {
    const OpDefinition *d = registry.find(s.domain(), s.name());
    if (!d)
      return;
    const OpFacts *first = nullptr;
    // Versions older than the first block are stated gaps (docs/Ops.md).
    if (!(first = d->at(s.sinceVersion())))
      return;
    ++total;
    claimed += first->infer && first->eval;
    EXPECT_TRUE(first->infer) << s.name().str() << "-" << s.sinceVersion();
    for (const Reuse &r : first->reuse) {
      EXPECT_LT(int(r.operand), std::max(s.maxInputs(), 1)) << s.name().str();
      EXPECT_LT(int(r.result), std::max(s.maxOutputs(), 1)) << s.name().str();
    }
    if (first->commutative) {
      EXPECT_GE(s.maxInputs(), 2) << s.name().str();
    }
  });
  std::printf("%u of %u defined versions have a kernel\n", claimed, total);
  EXPECT_GT(total, 300u);
}

// Claims about algebra are checked by running the kernels on random data.
TEST(Operators, CommutativeAndIdempotentMeanIt) {
  Context c;
  OpRegistry &registry = operatorsOf(c);
  std::mt19937 random(3);
  registry.forEach([&](const OpDefinition &d) {
    const OpFacts *f = d.at(17);
    if (!f || !f->eval || !d.domain.empty() || (!f->commutative && !f->idempotent))
      return;
    bool logical = llvm::is_contained({"And", "Or", "Xor", "Not"}, d.name);
    bool bits = llvm::StringRef(d.name).starts_with("Bitwise");
    std::string type = logical ? "bool" : bits ? "int32" : "float";
    std::string opset = bits ? "18" : "17";
    std::string text = "<ir_version: 8, opset_import: [\"\" : " + opset + "]> g (" + type + "[6] a, " + type +
                       "[6] b) => (p, q) {" +
                       (f->commutative ? "p = " + d.name + "(a, b) q = " + d.name + "(b, a)"
                                       : "p = " + d.name + "(a) q = " + d.name + "(p)") +
                       "}";
    auto m = parseText(c, text);
    ASSERT_TRUE(m.ok());
    std::map<std::string, Datum> in;
    for (const char *name : {"a", "b"}) {
      Tensor t(logical ? ElementType::Bool : bits ? ElementType::Int32 : ElementType::Float, {6});
      for (int i = 0; i < 6; ++i)
        if (logical)
          t.mutableData<uint8_t>()[i] = random() & 1;
        else if (bits)
          t.mutableData<int32_t>()[i] = int32_t(random());
        else
          t.mutableData<float>()[i] = i == 0 ? NAN : i == 1 ? -0.0f : float(int(random() % 100) - 50) / 8;
      in[name] = Datum(t);
    }
    auto out = exec::Executor(**m).run(in);
    ASSERT_TRUE(out.ok()) << d.name << out.status().message();
    const Tensor &p = (*out)[0].tensor, &q = (*out)[1].tensor;
    for (int64_t i = 0; i < p.size(); ++i)
      EXPECT_TRUE(p.floatAt(i) == q.floatAt(i) || (std::isnan(p.floatAt(i)) && std::isnan(q.floatAt(i))))
          << d.name << " at " << i;
  });
}

TEST(Operators, FastPathsAgreeWithPlainLoops) {
  Context c;
  const char *models[] = {
      R"(<ir_version: 8, opset_import: ["" : 17]> g (float[2,6,9,8] x, float[4,3,3,2] w) => (y)
         { y = Conv<group = 2, pads = [1,0,2,1], strides = [2,1], dilations = [1,2]>(x, w) })",
      R"(<ir_version: 8, opset_import: ["" : 17]> g (float[3,5,7] x, float[7,4] w) => (y) { y = MatMul(x, w) })",
      R"(<ir_version: 8, opset_import: ["" : 17]> g (float[5,3] x, float[4,5] w) => (y) { y = Gemm<transA = 1, transB = 1, alpha = 0.5>(x, w) })",
      R"(<ir_version: 8, opset_import: ["" : 17]> g (float[1,3,16] x, float[2,3,5] w) => (y) { y = Conv(x, w) })"};
  std::mt19937 random(5);
  std::uniform_real_distribution<float> real(-1, 1);
  for (const char *text : models) {
    auto m = parseText(c, text);
    ASSERT_TRUE(m.ok());
    std::map<std::string, Datum> in;
    for (const auto &v : (*m)->graph().inputs()) {
      Dims dims;
      for (Dim d : v->declaredType()->dims)
        dims.push_back(d.constant());
      Tensor t(ElementType::Float, dims);
      for (int64_t i = 0; i < t.size(); ++i)
        t.mutableData<float>()[i] = real(random);
      in[v->name().str()] = Datum(t);
    }
    fastmath::setEnabled(true);
    auto fast = exec::Executor(**m).run(in);
    fastmath::setEnabled(false);
    auto plain = exec::Executor(**m).run(in);
    fastmath::setEnabled(true);
    ASSERT_TRUE(fast.ok() && plain.ok());
    ASSERT_EQ((*fast)[0].tensor.dims(), (*plain)[0].tensor.dims());
    for (int64_t i = 0; i < (*fast)[0].tensor.size(); ++i)
      ASSERT_NEAR((*fast)[0].tensor.floatAt(i), (*plain)[0].tensor.floatAt(i), 1e-5) << text;
  }
}

TEST(SmallFloat, EveryPatternRoundTrips) {
  for (ElementType e : {ElementType::Float16, ElementType::BFloat16, ElementType::Float8E4M3FN,
                        ElementType::Float8E4M3FNUZ, ElementType::Float8E5M2, ElementType::Float8E5M2FNUZ,
                        ElementType::Float4E2M1, ElementType::Float6E2M3, ElementType::Float6E3M2})
    for (uint32_t bits = 0; bits < (1u << bitWidth(e)); ++bits) {
      float f = decodeSmallFloat(e, bits);
      if (std::isnan(f))
        continue;
      ASSERT_EQ(encodeSmallFloat(e, f, false), bits) << nameOf(e).str();
    }
  EXPECT_EQ(decodeSmallFloat(ElementType::Float8E4M3FN, encodeSmallFloat(ElementType::Float8E4M3FN, 1e9f, true)), 448);
  EXPECT_TRUE(std::isnan(
      decodeSmallFloat(ElementType::Float8E4M3FN, encodeSmallFloat(ElementType::Float8E4M3FN, 1e9f, false))));
}

} // namespace
