// Use lists, regions, the rewriter, names at export, and models in two threads.
#include "onnxopt/exec/Executor.h"
#include "onnxopt/exec/Inputs.h"
#include "onnxopt/ir/Export.h"
#include "onnxopt/ir/Rewriter.h"
#include "onnxopt/ir/text/Parser.h"
#include "onnxopt/ir/text/Printer.h"
#include "onnxopt/passes/PassManager.h"
#include "onnxopt/verifier/Verifier.h"

#include "onnxopt/passes/Pass.h"

#include "gtest/gtest.h"

#include <thread>

using namespace onnxopt;

namespace {

std::unique_ptr<Model> parse(Context &c, const char *text) {
  auto m = parseText(c, text);
  EXPECT_TRUE(m.ok()) << m.status().message();
  return std::move(*m);
}

const char *const kIf = R"(<ir_version: 8, opset_import: ["" : 17]>
g (float[N] x, bool c) => (float[N] y) {
  a = Relu(x)
  y = If (c) <then_branch = t () => (p) { p = Neg(a) }, else_branch = e () => (q) { q = Abs(a) }>
})";

TEST(Graph, UsesInsideBodiesAreUses) {
  Context c;
  auto m = parse(c, kIf);
  Node &relu = m->graph().nodes().front();
  EXPECT_EQ(relu.result()->uses().size(), 2u);
  Rewriter r(c);
  r.replace(&relu, {relu.operand(0)});
  EXPECT_TRUE(r.isErased(&relu));
  EXPECT_EQ(m->graph().inputs()[0]->uses().size(), 2u);
  EXPECT_EQ(m->graph().nodes().size(), 1u);
}

TEST(Graph, OriginsPassOnNameAndMetadata) {
  Context c;
  auto m = parse(c, R"(<ir_version: 10, opset_import: ["" : 17]>
    g (float x) => (float y) { ["first"] a = Neg(x) {metadata_props: ["k": "v"]} ["second"] y = Neg(a) {doc_string: "d"} })");
  Node &a = m->graph().nodes().front(), &b = m->graph().nodes().back();
  Rewriter r(c);
  Node *n = r.create(m->graph(), &b, "Identity", "", {a.operand(0)}, 1, {&a, &b});
  EXPECT_EQ(n->name(), "first");
  EXPECT_EQ(n->maybeExtra()->doc, "d");
  ASSERT_EQ(n->maybeExtra()->metadata.size(), 1u);
  EXPECT_EQ(n->maybeExtra()->metadata[0].value, "v");
}

TEST(Graph, ErasedNodesLiveUntilFlush) {
  Context c;
  auto m = parse(c, R"(<ir_version: 8, opset_import: ["" : 17]> g (float x) => (float y) { a = Neg(x) y = Abs(x) })");
  Node *neg = &m->graph().nodes().front();
  {
    Rewriter r(c);
    r.erase(neg);
    EXPECT_EQ(neg->opType(), "Neg"); // still readable
  }
  EXPECT_EQ(m->graph().nodes().size(), 1u);
}

TEST(Graph, ExportMakesNamesUnique) {
  Context c;
  auto m = parse(c, R"(<ir_version: 8, opset_import: ["" : 17]> g (float x) => (float y) { a = Neg(x) y = Abs(a) })");
  Graph &g = m->graph();
  Node *n = g.createNode("Neg", "", {g.inputs()[0].get()}, 1, &g.nodes().back());
  n->result()->setName(c.intern("a")); // taken
  g.nodes().back().setOperand(0, n->result());
  auto text = printText(*m);
  ASSERT_TRUE(text.ok());
  EXPECT_NE(text->find("a_1 = Neg"), std::string::npos) << *text;
  EXPECT_NE(text->find("y = Abs (a_1)"), std::string::npos) << *text;
}

TEST(Graph, ContentHashSeesEveryEdit) {
  Context c;
  auto m = parse(c, kIf);
  uint64_t before = contentHash(*m);
  EXPECT_EQ(contentHash(*m), before);
  Graph *body = m->graph().nodes().back().regions()[0];
  body->nodes().front().setAttribute(makeAttribute("k", int64_t(1)));
  EXPECT_NE(contentHash(*m), before);
}

// Nothing is shared between contexts but constant tables.
TEST(Graph, TwoContextsInTwoThreads) {
  auto work = [] {
    for (int i = 0; i < 20; ++i) {
      Context c;
      auto m = parse(c, kIf);
      PassRegistry registry;
      PassManager manager(registry);
      ASSERT_TRUE(manager.parse(pipelineO2()).ok());
      PassContext ctx(*m);
      ASSERT_TRUE(manager.run(*m, ctx).ok());
      verify(*m);
      std::map<std::string, Datum> inputs;
      ASSERT_TRUE(exec::drawInputs(*m, {}, inputs).ok());
      ASSERT_TRUE(exec::Executor(*m).run(inputs).ok());
      ASSERT_TRUE(printText(*m).ok());
    }
  };
  std::thread a(work), b(work);
  a.join();
  b.join();
}

// Built in memory, so no name is one that a file gave.
TEST(LegalizeOutputs, InputThatIsAnOutputStays) {
  Context c;
  Model m(c);
  m.opsets.push_back({"", 21});
  Value *x = m.graph().addInput(c.intern("x"));
  m.graph().addOutput(x, c.intern("x"));
  m.graph().addOutput(x, c.intern("y"));
  PassRegistry registry;
  PassContext ctx(m);
  auto pass = registry.create("legalize-outputs", {});
  ASSERT_TRUE(pass.ok());
  ASSERT_TRUE((*pass)->run(m, ctx).ok());
  ASSERT_EQ(countNodes(m), 1u);
  EXPECT_EQ(m.graph().returnNode()->operand(0), x);
  EXPECT_EQ(m.graph().returnNode()->operand(1)->name(), "y");
}

} // namespace
