// Operands that no operator asks for: any rank, any size, any attribute. Rules, verifier and kernels may refuse them,
// never read beyond them. In the sanitizer build this test finds what a plain run would let pass.
#include "CrashReport.h"

#include "onnxopt/exec/Executor.h"
#include "onnxopt/ir/text/Parser.h"
#include "onnxopt/ops/Inference.h"
#include "onnxopt/verifier/Verifier.h"

#include "gtest/gtest.h"

#include <random>

using namespace onnxopt;

namespace {

const unsigned trials = 24; ///< of each version of each operator

class Draft {
public:
  Draft(schema::Schema s, unsigned seed) : schema_(s), random_(seed) {}

  /// The text of a model of one node; fills `inputs`. Empty where the signature has types that are not drawn here.
  std::string text(std::map<std::string, Datum> &inputs) {
    std::string head, weights, operands, results, attributes;
    for (const schema::Formal &f : schema_.inputs()) {
      unsigned count = f.kind() == schema::FormalOption::Variadic ? below(3) + 1 : 1;
      for (unsigned i = 0; i < count; ++i) {
        operands += operands.empty() ? "" : ", ";
        if (below(f.kind() == schema::FormalOption::Optional ? 3 : 30) == 0) {
          operands += "\"\"";
          continue;
        }
        std::string name = "x" + std::to_string(names_++);
        if (!operand(f, name, inputs, head, weights))
          return "";
        operands += name;
      }
    }
    unsigned n = std::max(schema_.minOutputs(), std::min(schema_.maxOutputs(), int(below(3)) + 1));
    for (unsigned i = 0; i < std::max(n, 1u); ++i)
      results += (i ? ", r" : "r") + std::to_string(i);
    for (const schema::AttributeSpec &a : schema_.attributes())
      if (a.required || below(2))
        if (std::string v = value(a); !v.empty())
          attributes += (attributes.empty() ? "" : ", ") + std::string(a.name) + " = " + v;
    std::string domain = schema_.domain().str();
    return "<ir_version: 10, opset_import: [\"" + domain + "\" : " + std::to_string(schema_.sinceVersion()) +
           "]>\ng (" + head + ") => (" + results + ") <" + weights + "> { " + results + " = " +
           (domain.empty() ? "" : domain + ".") + schema_.name().str() + "<" + attributes + ">(" + operands + ") }";
  }

private:
  uint64_t below(uint64_t n) { return random_() % n; }

  bool operand(const schema::Formal &f, const std::string &name, std::map<std::string, Datum> &inputs,
               std::string &head, std::string &weights) {
    llvm::SmallVector<llvm::StringRef, 16> allowed;
    llvm::StringRef(schema_.allowedTypes(f)).split(allowed, ' ', -1, false);
    if (auto it = bound_.find(f.type); it != bound_.end() && below(8))
      allowed = {it->second};
    const std::string chosen = allowed[below(allowed.size())].str();
    bound_[f.type] = chosen;
    llvm::StringRef type = chosen;
    bool sequence = type.consume_front("seq(") && type.consume_back(")");
    auto element = elementTypeOfTensor(type);
    if (!element)
      return false;
    type = nameOf(*element);
    Tensor t = tensor(*element);
    std::string shape;
    for (int64_t n : t.dims())
      shape += (shape.empty() ? "" : ",") + (below(3) ? std::to_string(n) : below(2) ? "?" : "n" + std::to_string(n));
    bool ranked = below(6) != 0;
    std::string declared = type.str() + (!ranked ? "[]" : shape.empty() ? "" : "[" + shape + "]");
    if (!sequence && isInteger(*element) && bitWidth(*element) >= 8 && below(3)) {
      std::string dims, items;
      for (int64_t n : t.dims())
        dims += (dims.empty() ? "" : ",") + std::to_string(n);
      for (int64_t i = 0; i < t.size(); ++i)
        items += (i ? "," : "") + std::to_string(t.intAt(i));
      weights += (weights.empty() ? "" : ", ") + type.str() + (dims.empty() ? "" : "[" + dims + "]") + " " + name +
                 " = {" + items + "}";
      return true;
    }
    head += (head.empty() ? "" : ", ") + (sequence ? "seq(" + declared + ")" : declared) + " " + name;
    inputs[name] = sequence ? Datum::sequence(std::vector<Datum>(below(3), Datum(t))) : Datum(t);
    return true;
  }

  Tensor tensor(ElementType element) {
    Dims dims(below(6));
    for (int64_t &n : dims)
      n = below(8) ? below(3) + 1 : 0;
    Tensor t(element, dims);
    for (int64_t i = 0; i < t.size(); ++i)
      if (t.isString())
        t.mutableStrings()[i] = below(2) ? "a b" : "";
      else if (isInteger(element) && bitWidth(element) >= 8)
        setInt(t, i, int64_t(below(7)) - (isSigned(element) ? 3 : 0));
      else if (element == ElementType::Float)
        t.mutableData<float>()[i] = float(int(below(9)) - 4);
      else if (element == ElementType::Double)
        t.mutableData<double>()[i] = double(below(9)) - 4;
    return t;
  }
  static bool isSigned(ElementType e) { return nameOf(e).starts_with("int"); }
  static void setInt(Tensor &t, int64_t i, int64_t v) {
    std::memcpy(static_cast<void *>(t.mutableBytes() + i * (bitWidth(t.type()) / 8)), &v, bitWidth(t.type()) / 8);
  }

  std::string value(const schema::AttributeSpec &a) {
    static const char *const words[] = {"SAME_UPPER", "VALID",     "nearest",  "linear",  "cubic",
                                        "reflect",    "edge",      "forward",  "reverse", "add",
                                        "mean",       "ij,jk->ik", "constant", "RIGHT",   "bidirectional",
                                        "...ij->...", "none",      "max",      "crop",    "half_pixel"};
    auto one = [&]() -> std::string {
      switch (static_cast<AttributeType>(a.type)) {
      case AttributeType::Int:
      case AttributeType::Ints:
        return std::to_string(int64_t(below(9)) - 3);
      case AttributeType::Float:
      case AttributeType::Floats:
        return std::to_string(float(below(9)) / 2 - 2);
      default:
        return std::string("\"") + words[below(std::size(words))] + "\"";
      }
    };
    switch (static_cast<AttributeType>(a.type)) {
    case AttributeType::Int:
    case AttributeType::Float:
    case AttributeType::String:
      return one();
    case AttributeType::Ints:
    case AttributeType::Floats:
    case AttributeType::Strings: {
      std::string list = "[";
      for (unsigned i = 0, n = below(5) + 1; i < n; ++i)
        list += (i ? ", " : "") + one();
      return list + "]";
    }
    default:
      return "";
    }
  }

  schema::Schema schema_;
  std::mt19937_64 random_;
  std::map<std::string, std::string> bound_;
  unsigned names_ = 0;
};

TEST(HostileOperands, NobodyReadsBeyondThem) {
  CrashReport report;
  unsigned operators = 0, ran = 0, models = 0;
  schema::forEach([&](schema::Schema s) {
    ++operators;
    for (unsigned i = 0; i < trials; ++i) {
      std::map<std::string, Datum> inputs;
      std::string &model = CrashReport::onTrial;
      model = Draft(s, operators * trials + i).text(inputs);
      if (model.empty())
        continue;
      Context c;
      auto m = parseText(c, model);
      ASSERT_TRUE(m.ok()) << m.status().message() << "\n" << model;
      ++models;
      verify(**m);
      Inference inference(**m);
      inference.run();
      exec::RunOptions options;
      options.steps = 1000;
      options.memoryBytes = 1 << 24;
      ran += exec::Executor(**m, options).run(inputs).ok();
    }
  });
  std::printf("%u operator versions, %u models, %u of them ran\n", operators, models, ran);
  EXPECT_GT(ran, 1000u);
}

} // namespace
