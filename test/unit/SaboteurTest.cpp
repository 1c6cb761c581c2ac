// Passes and plans that do wrong on purpose: each must be caught, with the pass and the value named.
#include "onnxopt/exec/DataFiles.h"
#include "onnxopt/exec/Executor.h"
#include "onnxopt/ir/Export.h"
#include "onnxopt/ir/text/Parser.h"
#include "onnxopt/passes/MemoryPlanner.h"
#include "onnxopt/passes/PassManager.h"
#include "onnxopt/tools/OptMain.h"
#include "onnxopt/verifier/Validate.h"

#include "gtest/gtest.h"

#include <functional>
#include <sys/wait.h>
#include <unistd.h>

using namespace onnxopt;

namespace {

const char *const kModel = R"(<ir_version: 8, opset_import: ["" : 17]>
g (float[4] x) => (float[4] y) <float[4] w = {1, 2, 3, 4}> {
  a = Add(x, w)
  b = Neg(a)
  c = Exp(b)
  d = Mul(a, c)
  y = Abs(d)
})";

class Saboteur : public Pass {
public:
  using Work = std::function<bool(Model &)>;
  explicit Saboteur(Work work) : work_(std::move(work)) {}
  absl::StatusOr<bool> run(Model &m, PassContext &) override { return work_(m); }

private:
  Work work_;
};

/// Runs a pipeline of one bad pass with all checks on.
absl::Status sabotage(Saboteur::Work work) {
  Context c, oc;
  auto m = parseText(c, kModel), original = parseText(oc, kModel);
  PassRegistry registry;
  registry.add({"saboteur", "", "", [=] { return std::make_unique<Saboteur>(work); }});
  PassManager manager(registry);
  EXPECT_TRUE(manager.parse("saboteur").ok());
  manager.instrumentation.verifyEach = true;
  manager.instrumentation.after = [&](const std::string &pass, Model &now, bool) -> absl::Status {
    Validation v = validate(**original, now, {});
    if (v.verdict == Validation::Different)
      return absl::DataLossError("pass '" + pass + "': " + v.reason);
    return absl::OkStatus();
  };
  PassContext ctx(**m);
  return manager.run(**m, ctx).status();
}

void expectCaught(const absl::Status &s, llvm::StringRef what) {
  ASSERT_FALSE(s.ok());
  std::string message(s.message());
  EXPECT_NE(message.find("saboteur"), std::string::npos) << message;
  EXPECT_NE(message.find(what.str()), std::string::npos) << message;
}

TEST(Saboteur, WrongConstant) {
  expectCaught(sabotage([](Model &m) {
                 Tensor t(ElementType::Float, {4});
                 m.graph().initializers()[0]->setInitializer(TensorData::of(t));
                 return true;
               }),
               "'y'");
}

TEST(Saboteur, LyingChangedFlag) {
  expectCaught(sabotage([](Model &m) {
                 m.graph().nodes().front().setName("other");
                 return false;
               }),
               "says that it did not");
}

TEST(Saboteur, UseBeforeDefinition) {
  expectCaught(sabotage([](Model &m) {
                 Graph &g = m.graph();
                 g.moveHere(&g.nodes().front(), nullptr);
                 return true;
               }),
               "ONNX-SSA-005");
}

TEST(Saboteur, RenamedOutput) {
  expectCaught(sabotage([](Model &m) {
                 m.graph().outputs()[0].name = m.context().intern("z");
                 return true;
               }),
               "'z'");
}

TEST(Saboteur, SwappedOperands) {
  expectCaught(sabotage([](Model &m) {
                 for (Node &n : m.graph().nodes())
                   if (n.is("Mul"))
                     n.setOperand(1, n.operand(0));
                 return true;
               }),
               "'y'");
}

/// Runs the model in an arena after `spoil` has had its way with the plan.
absl::Status runPlanned(std::function<void(const Graph &, MemoryPlan &)> spoil) {
  Context c;
  auto m = parseText(c, kModel);
  Inference inference(**m);
  inference.run();
  InplaceDecisions decisions = decideInplace((*m)->graph(), inference, [](const Node &, std::string) {});
  MemoryPlan plan = planMemory((*m)->graph(), inference, decisions, {});
  spoil((*m)->graph(), plan);
  exec::RunOptions options;
  options.plan = &plan;
  Tensor x(ElementType::Float, {4});
  return exec::Executor(**m, options).run({{"x", Datum(x)}}).status();
}

const Value *named(const Graph &g, llvm::StringRef name) {
  for (const Node &n : g.nodes())
    for (const auto &r : n.results())
      if (r->name() == name)
        return r.get();
  return nullptr;
}

TEST(Plan, GoodPlanRuns) {
  EXPECT_TRUE(runPlanned([](const Graph &, MemoryPlan &) {}).ok());
}

TEST(Plan, OverlapByOneByte) {
  absl::Status s = runPlanned([](const Graph &g, MemoryPlan &p) {
    p.slots[named(g, "b")] = {p.slots[named(g, "a")].offset + 15, 16, nullptr};
    p.arenaSize += 64;
  });
  ASSERT_FALSE(s.ok());
  EXPECT_NE(std::string(s.message()).find("'b' over 'a'"), std::string::npos) << s.message();
}

TEST(Plan, LiveRangeTooShort) {
  // c takes over a's memory although d still reads a.
  absl::Status s = runPlanned([](const Graph &g, MemoryPlan &p) {
    MemoryPlan::Slot a = p.slots[named(g, "a")];
    a.donor = named(g, "a");
    p.slots[named(g, "c")] = a;
  });
  ASSERT_FALSE(s.ok());
  EXPECT_NE(std::string(s.message()).find("'a' after its memory was given away"), std::string::npos) << s.message();
}

TEST(Plan, SlotBeyondTheArena) {
  absl::Status s =
      runPlanned([](const Graph &g, MemoryPlan &p) { p.slots[named(g, "d")] = {p.arenaSize, 16, nullptr}; });
  ASSERT_FALSE(s.ok());
  EXPECT_NE(std::string(s.message()).find("'d'"), std::string::npos) << s.message();
}

/// Runs onnx-opt with a bad pass in a process of its own; gives what its reproducer says.
std::string reproducerOf(Saboteur::Work work, const char *option) {
  std::string dir = testing::TempDir() + "onnxopt-reproducer-" + std::to_string(getpid());
  std::string in = dir + ".onnxtxt", out = dir + ".onnx", file = out + ".reproducer";
  EXPECT_TRUE(writeFileAtomically(in, kModel).ok());
  pid_t child = fork();
  if (child == 0) {
    PassRegistry registry;
    registry.add({"saboteur", "", "", [=] { return std::make_unique<Saboteur>(work); }});
    std::string words[] = {"onnx-opt", "--passes=canonicalize,saboteur", option, in, "-o", out};
    std::vector<char *> argv;
    for (std::string &w : words)
      argv.push_back(w.data());
    _exit(onnxOptMain(int(argv.size()), argv.data(), registry));
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  auto text = exec::readFile(file);
  EXPECT_TRUE(text.ok());
  EXPECT_FALSE(exec::readFile(out).ok()) << "a failing run wrote its output";
  remove(in.c_str());
  remove(file.c_str());
  return text.ok() ? *text : "";
}

TEST(Reproducer, NamesCommandInputAndPass) {
  std::string different = reproducerOf(
      [](Model &m) {
        auto t = TensorData::of(Tensor(ElementType::Float, {4}));
        m.graph().initializers()[0]->setInitializer(t);
        return true;
      },
      "--validate-each");
  for (const char *what : {"# input: ", "onnx-opt --passes=canonicalize,saboteur --validate-each ", "# pass: saboteur",
                           "changed the model's answers"})
    EXPECT_NE(different.find(what), std::string::npos) << what << "\n" << different;
  std::string crash = reproducerOf([](Model &) -> bool { std::abort(); }, "--verify-each");
  for (const char *what : {"--verify-each", "# pass: saboteur", "# crashed"})
    EXPECT_NE(crash.find(what), std::string::npos) << what << "\n" << crash;
}

} // namespace
