// The backend suite's cases as they are and changed: inference against execution, and nobody reads beyond operands.
#include "BackendCases.h"
#include "CrashReport.h"

#include "onnxopt/ir/text/Printer.h"
#include "onnxopt/verifier/Verifier.h"

#include "absl/strings/match.h"

#include <random>

using namespace onnxopt;

namespace {

TEST(BackendSuite, InferenceIsSound) {
  unsigned models = 0;
  Counts counts;
  for (const std::string &name : cases()) {
    Context c;
    auto [m, inputs] = readCase(c, name);
    ASSERT_TRUE(m) << name;
    Inference inference(*m);
    inference.run();
    exec::RunOptions options;
    options.observe = holdsAgainst(inference, *m, inputs, name, counts);
    models += exec::Executor(*m, options).run(inputs).ok();
  }
  std::printf("%u models, %u values, %u of them exact\n", models, counts.values, counts.exact);
  EXPECT_GT(models, 1000u);
}

/// Changes one thing of a case that its operators may depend on.
class Change {
public:
  Change(Case &c, unsigned seed) : case_(c), random_(seed) {}

  void apply() {
    std::vector<Node *> nodes;
    walk(graph(), [&](Node &n) { nodes.push_back(&n); });
    if (!case_.inputs.empty() && (nodes.empty() || below(4) != 0))
      changeInput();
    else if (!nodes.empty())
      changeNode(*nodes[below(nodes.size())]);
    for (const auto &v : graph().inputs()) {
      auto it = case_.inputs.find(v->name().str());
      if (it == case_.inputs.end() || !it->second.isTensor())
        continue;
      const Tensor &t = it->second.tensor;
      llvm::SmallVector<Dim, 4> dims;
      for (int64_t n : t.dims())
        // Left open, a size is taken to be at least 1.
        dims.push_back(n == 0 || below(4) ? model().context().dims().constant(n) : Dim());
      v->setDeclaredType(below(4) ? Type::tensor(t.type(), dims) : Type::tensor(t.type()));
      if (below(3) == 0) { // known when the model is inferred
        v->setInitializer(TensorData::of(t));
        v->setDeclaredType(Type::tensor(t.type(), constants(t)));
      }
    }
  }

private:
  Model &model() { return *case_.model; }
  Graph &graph() { return model().graph(); }
  uint64_t below(uint64_t n) { return random_() % n; }
  template <typename T> T oneOf(std::initializer_list<T> values) { return values.begin()[below(values.size())]; }

  llvm::SmallVector<Dim, 4> constants(const Tensor &t) {
    llvm::SmallVector<Dim, 4> dims;
    for (int64_t n : t.dims())
      dims.push_back(model().context().dims().constant(n));
    return dims;
  }

  void changeInput() {
    Datum &d = std::next(case_.inputs.begin(), below(case_.inputs.size()))->second;
    if (!d.isTensor())
      return;
    if (d.tensor.size() && below(3) == 0 && bitWidth(d.tensor.type()) >= 8 && !d.tensor.isString())
      changeElement(d.tensor);
    else
      d = Datum(resized(d.tensor));
  }

  void changeElement(Tensor &t) {
    uint64_t at = below(t.size());
    if (t.type() == ElementType::Float)
      t.mutableData<float>()[at] = oneOf({NAN, INFINITY, -INFINITY, -0.f, -1.f, 1e30f, 0.5f});
    else if (isInteger(t.type())) {
      int64_t v = oneOf<int64_t>({-1, 0, 1, 2, 5, -7, 1000, INT32_MAX, INT64_MAX, INT64_MIN});
      std::memcpy(static_cast<void *>(t.mutableBytes() + at * (bitWidth(t.type()) / 8)), &v, bitWidth(t.type()) / 8);
    }
  }

  /// The elements again and again, in other dims.
  Tensor resized(const Tensor &t) {
    Dims dims(t.dims().begin(), t.dims().end());
    uint64_t at = dims.empty() ? 0 : below(dims.size());
    switch (dims.empty() ? 0 : below(4)) {
    case 0:
      dims.insert(dims.begin() + at, oneOf<int64_t>({1, 1, 2, 0}));
      break;
    case 1:
      dims.erase(dims.begin() + at);
      break;
    default:
      dims[at] = std::max<int64_t>(0, oneOf<int64_t>({0, 1, 2, dims[at] - 1, dims[at] + 1, 2 * dims[at]}));
    }
    Tensor out(t.type(), dims);
    for (int64_t i = 0; i < out.size() && t.size(); ++i)
      if (t.isString())
        out.mutableStrings()[i] = t.strings()[i % t.size()];
      else if (bitWidth(t.type()) >= 8)
        std::memcpy(static_cast<void *>(out.mutableBytes() + i * (bitWidth(t.type()) / 8)),
                    t.bytes() + (i % t.size()) * (bitWidth(t.type()) / 8), bitWidth(t.type()) / 8);
    return out;
  }

  void changeNode(Node &n) {
    unsigned operands = n.numOperands(), attributes = n.attributes().size();
    if (operands + attributes == 0)
      return;
    uint64_t at = below(operands + attributes);
    if (at < operands)
      return n.setOperand(at, below(2) ? nullptr : n.operand(below(operands)));
    Attribute &a = n.attributes()[at - operands];
    if (auto *i = std::get_if<int64_t>(&a.value))
      *i = oneOf<int64_t>({-1, 0, 1, 2, 3, -5, 7, 1000, INT64_MAX, INT64_MIN, *i + 1, *i - 1});
    else if (auto *list = std::get_if<std::vector<int64_t>>(&a.value)) {
      if (list->empty() || below(3) == 0)
        list->push_back(below(3));
      else if (below(2))
        list->pop_back();
      else
        (*list)[below(list->size())] = oneOf<int64_t>({-1, 0, 1, 2, 3, -5, 7, 1000, INT64_MAX, INT64_MIN});
    } else if (auto *f = std::get_if<float>(&a.value))
      *f = oneOf({NAN, INFINITY, -INFINITY, 0.f, -0.f, -1.f, 0.5f, 1e30f});
    else if (a.graphs().empty())
      n.attributes().erase(n.attributes().begin() + (at - operands));
  }

  Case &case_;
  std::mt19937_64 random_;
};

// One operand or attribute is not as the operator wants it: it may be refused, never read beyond; and where it runs,
// what inference says still holds. ONNXOPT_CHANGES: changes of each case, 4 by default; ONNXOPT_CASE: this case only.
TEST(BackendSuite, ChangedCasesAreHeld) {
  const char *wanted = std::getenv("ONNXOPT_CHANGES"), *only = std::getenv("ONNXOPT_CASE");
  unsigned trials = wanted ? std::atoi(wanted) : 4;
  CrashReport report;
  unsigned models = 0, ran = 0;
  Counts counts;
  for (const std::string &name : only ? std::vector<std::string>{only} : cases())
    for (unsigned i = 0; i < trials; ++i) {
      Context c;
      Case changed = readCase(c, name);
      ASSERT_TRUE(changed.model) << name;
      Change(changed, i * 7919 + std::hash<std::string>()(name)).apply();
      CrashReport::onTrial = name + " change " + std::to_string(i) + "\n" + printText(*changed.model).value_or("");
      ++models;
      verify(*changed.model);
      Inference inference(*changed.model);
      inference.run();
      exec::RunOptions options;
      options.steps = 1000;
      options.memoryBytes = 1 << 24;
      std::string what = name + " change " + std::to_string(i);
      options.observe = holdsAgainst(inference, *changed.model, changed.inputs, what, counts);
      ran += exec::Executor(*changed.model, options).run(changed.inputs).ok();
    }
  std::printf("%u models, %u of them ran, %u values, %u of them exact\n", models, ran, counts.values, counts.exact);
  EXPECT_TRUE(only || ran > models / 10);
}

// Cut off or damaged, an image gives an error or other pixels.
TEST(BackendSuite, DamagedImagesAreSurvived) {
  std::mt19937 random(1);
  unsigned images = 0;
  for (const std::string &name : cases()) {
    if (name.rfind("test_image_decoder", 0) != 0)
      continue;
    ++images;
    Context c;
    auto [m, inputs] = readCase(c, name);
    ASSERT_TRUE(m && inputs.size() == 1) << name;
    const auto &[input, image] = *inputs.begin();
    const Tensor &whole = image.tensor;
    for (unsigned trial = 0; trial < 100; ++trial) {
      const int64_t size = whole.size(), kept = trial % 2 ? size : int64_t(random() % size);
      Tensor t(ElementType::Uint8, {kept});
      std::copy_n(whole.bytes(), kept, t.mutableBytes());
      for (unsigned k = 0; k < trial % 5 && kept > 16; ++k)
        t.mutableBytes()[random() % (trial % 3 ? 64 % kept : kept)] = char(random());
      (void)exec::Executor(*m).run({{input, Datum(t)}});
    }
    auto out = exec::Executor(*m).run({{input, image}});
    EXPECT_TRUE(out.ok() || absl::StrContains(out.status().message(), "built without")) << name;
  }
  EXPECT_EQ(images, 9u);
}

} // namespace
