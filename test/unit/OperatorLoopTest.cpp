// One loop over every operator, version and element type that a definition with a kernel claims: a case of the backend
// suite, carried to that version and type, runs, and what the definition says of it is true.
#include "BackendCases.h"

#include "onnxopt/ir/text/Parser.h"
#include "onnxopt/ops/Evaluate.h"

#include <cstring>
#include <random>
#include <set>

using namespace onnxopt;

namespace {

/// The type T of "tensor(T)", "seq(tensor(T))", "optional(tensor(T))" and "optional(seq(tensor(T)))"; no type for maps.
std::optional<ElementType> elementOf(llvm::StringRef type) {
  type.consume_front("optional(");
  type.consume_front("seq(");
  if (!type.consume_front("tensor("))
    return std::nullopt;
  return elementTypeFromName(type.take_until([](char c) { return c == ')'; }));
}

/// Cases that the backend suite lacks: a signature, values of the inputs, one node. Sequences are written as the tensor
/// that they hold; what a body reads has the type on trial.
const char *const moreCases[] = {
    "(float[1,2,3] x) <float[1,2,3] x = {1,2,3,4,5,6}> => GlobalLpPool <p = 2> (x)",
    "(float[1,1,3,3] x, float[1,5] rois) <float[1,1,3,3] x = {1,2,3,4,5,6,7,8,9}, float[1,5] rois = {0,0,0,2,2}> => "
    "MaxRoiPool <pooled_shape = [2, 2]> (x, rois)",
    "(float[1,3] x) <float[1,3] x = {1,2,3}> => Multinomial <dtype = 6> (x)",
    "(float[2] x) <float[2] x = {1,2}> => Optional (x)",
    "() <> => RandomNormal <shape = [2]> ()",
    "() <> => RandomUniform <shape = [2]> ()",
    "(float[2] x) <float[2] x = {1,2}> => RandomNormalLike <dtype = 1> (x)",
    "(float[2] x) <float[2] x = {1,2}> => RandomUniformLike <dtype = 1> (x)",
    "(float[2] x) <float[2] x = {1,2}> => SequenceConstruct (x, x)",
    "(float[2] x, int64 at) <float[2] x = {1,2}, int64 at = {0}> => SequenceAt (x, at)",
    "(float[2] x, int64 at) <float[2] x = {1,2}, int64 at = {0}> => SequenceErase (x, at)",
    "(float[2] x) <float[2] x = {1,2}> => SequenceLength (x)",
    "(float[2] x) <float[2] x = {1,2}> => ConcatFromSequence <axis = 0> (x)",
    "() <> => SequenceEmpty <dtype = 1> ()",
    "(float[4] x) <float[4] x = {1,2,3,4}> => SplitToSequence (x)",
    "(float[2] x) <float[2] x = {1,2}> => OptionalGetElement (x)",
    "(float[1,2] x) <float[1,2] x = {1,2}> => ai.onnx.ml.Imputer <imputed_value_floats = [0.5], "
    "replaced_value_float = 1.0> (x)",
    "(float[1,2] x) <float[1,2] x = {1,2}> => ai.onnx.ml.Imputer <imputed_value_int64s = [5], "
    "replaced_value_int64 = 1> (x)",
    "(float[1,2] x) <float[1,2] x = {1,2}> => ai.onnx.ml.Normalizer <norm = \"L1\"> (x)",
    "(float[1,2] x) <float[1,2] x = {1,2}> => ai.onnx.ml.Scaler <offset = [0.5], scale = [2.0]> (x)",
    "(float[2] x) <float[2] x = {1,2}> => ai.onnx.ml.LabelEncoder <keys_int64s = [1, 2], values_floats = [1.5, 2.5]> "
    "(x)",
    "(float[2] x) <float[2] x = {1,2}> => ai.onnx.ml.LabelEncoder <keys_floats = [1.0, 2.0], values_int64s = [3, 4]> "
    "(x)",
    "(float[2] x) <float[2] x = {1,2}> => ai.onnx.ml.LabelEncoder <keys_strings = [\"1\", \"2\"], values_int64s = [3, "
    "4]> "
    "(x)",
    "(float[2] x) <float[2] x = {1,2}> => ai.onnx.ml.LabelEncoder <keys_int64s = [1, 2], values_strings = [\"a\", "
    "\"b\"]> "
    "(x)",
    "(float[2] x) <float[2] x = {1,2}> => ai.onnx.ml.LabelEncoder <classes_strings = [\"1\", \"2\"]> (x)",
    "(float[1,2] x, float[2] b) <float[1,2] x = {1,2}, float[2] b = {1,2}> => com.microsoft.BiasGelu (x, b)",
    "(float[2] x) <float[2] x = {1,2}> => com.microsoft.Gelu (x)",
    "(float[2] x) <float[2] x = {1,2}> => com.microsoft.FastGelu (x)",
    "(float[2] x) <float[2] x = {1,2}> => com.microsoft.QuickGelu (x)",
    "(float[1,2] x, float[2,1] y) <float[1,2] x = {1,2}, float[2,1] y = {1,2}> => com.microsoft.FusedMatMul (x, y)",
    "(float[2] x, float s) <float[2] x = {1,2}, float s = {2}> => com.microsoft.QuantizeLinear (x, s)",
    "(float[2] x, float s, uint8 z) <float[2] x = {1,2}, float s = {2}, uint8 z = {1}> => com.microsoft.QuantizeLinear "
    "(x, "
    "s, z)",
    "(int8[2] x, float s) <int8[2] x = {1,2}, float s = {2}> => com.microsoft.DequantizeLinear (x, s)",
    "(uint8[1,2] a, uint8[2,1] b, float s, float t) <uint8[1,2] a = {1,2}, uint8[2,1] b = {1,2}, float s = {1}, float "
    "t = "
    "{2}> => com.microsoft.MatMulIntegerToFloat (a, b, s, t)",
    "(float[1,1,2] x, float[1,1,2] skip, float[2] g) <float[1,1,2] x = {1,2}, float[1,1,2] skip = {1,3}, float[2] g = "
    "{1,1}> => com.microsoft.SkipLayerNormalization 3 (x, skip, g)",
    "(float[1,1,2] x, float[1,1,2] skip, float[2] g) <float[1,1,2] x = {1,2}, float[1,1,2] skip = {1,3}, float[2] g = "
    "{1,1}> => com.microsoft.SkipSimplifiedLayerNormalization 3 (x, skip, g)",
    "(float[2] x, bool c) <float[2] x = {1,2}, bool c = {1}> => If <then_branch = t () => (p) { p = Identity (x) }, "
    "else_branch = e () => (q) { q = Identity (x) }> (c)",
    "(float[2] x, int64 m, bool c) <float[2] x = {1,2}, int64 m = {2}, bool c = {1}> => Loop <body = b (int64 i, bool "
    "k, v) "
    "=> (k2, w) { k2 = Identity (k) w = Identity (v) }> (m, c, x)",
    "(float[2] x) <float[2] x = {1,2}> => Scan <num_scan_inputs = 1, body = b (v) => (w) { w = Identity (v) }> (x)",
    "(float[1,2] x, int64[1] n) <float[1,2] x = {1,2}, int64[1] n = {2}> => Scan <num_scan_inputs = 1, body = b (v) => "
    "(w) "
    "{ w = Identity (v) }> (n, x)",
    "(float[2] x, float[2] roi, float[1] s) <float[2] x = {1,2}, float[2] roi = {0,1}, float[1] s = {2}> => Resize (x, "
    "roi, "
    "s)",
    "(float[2] x, float[1] s) <float[2] x = {1,2}, float[1] s = {2}> => Resize (x, s)",
    "(float[2] x) <float[2] x = {1,2}> => Upsample <scales = [2.0]> (x)",
    "(float[2] x, float n, float a) <float[2] x = {1,2}, float n = {2}, float a = {0}> => Tile (x, n, a)",
    "(float[2] x) <float[2] x = {1,2}> => Pad <paddings = [1, 1]> (x)",
    "(float[1,4,1] x, int64 n) <float[1,4,1] x = {1,2,3,4}, int64 n = {4}> => DFT (x, n)",
    "(float[1,1,1] x, float[1,3,1] w, float[1,3,1] r, int32[1] n) <float[1,1,1] x = {1}, float[1,3,1] w = {1,2,3}, "
    "float[1,3,1] r = {1,2,3}, int32[1] n = {1}> => GRU 2 <hidden_size = 1> (x, w, r, \"\", n)",
    "(float[1,1,1] x, float[1,1,1] w, float[1,1,1] r, int32[1] n) <float[1,1,1] x = {1}, float[1,1,1] w = {1}, "
    "float[1,1,1] r = {1}, int32[1] n = {1}> => RNN 2 <hidden_size = 1> (x, w, r, \"\", n)",
    "(float[1,2] x, float[2] s) <float[1,2] x = {1,2}, float[2] s = {1,1}> => LayerNormalization 3 (x, s)",
    "(uint8[1,1,2] x, float s, uint8 z, uint8[1,1,1] w, int32[1] b) <uint8[1,1,2] x = {1,2}, float s = {1}, uint8 z = "
    "{0}, "
    "uint8[1,1,1] w = {2}, int32[1] b = {1}> => QLinearConv (x, s, z, w, s, z, s, z, b)",
    "(uint8[2] x) <uint8[2] x = {1,2}> => BitCast <to = 2> (x)",
    "(int16[2] x) <int16[2] x = {1,2}> => BitCast <to = 4> (x)",
    "(float[2] x) <float[2] x = {1,2}> => BitCast <to = 12> (x)",
    "(int4[2] x) <int4[2] x = {1,2}> => BitCast <to = 21> (x)",
    "(int2[2] x) <int2[2] x = {1,0}> => BitCast <to = 25> (x)",
    "(float[2] x) <float[2] x = {1,2}> => BitCast <to = 15> (x)",
    "(float[2] x, bool c) <float[2] x = {1,2}, bool c = {1}> => If <then_branch = t () => (p) { p = SequenceErase (x) "
    "}, "
    "else_branch = e () => (q) { q = SequenceErase (x) }> (c)",
    "(float[2] x, int64 m, bool c) <float[2] x = {1,2}, int64 m = {1}, bool c = {1}> => Loop <body = b (int64 i, bool "
    "k, v) "
    "=> (k2, w) { k2 = Identity (k) w = SequenceErase (v) }> (m, c, x)",
    "(float[2] x) <float[2] x = {1,2}> => ai.onnx.ml.LabelEncoder <keys_tensor: tensor = int64[2] {1,2}, "
    "values_tensor: "
    "tensor = double[2] {3,4}> (x)",
    "(float[2] x) <float[2] x = {1,2}> => ai.onnx.ml.LabelEncoder <keys_tensor: tensor = int64[2] {1,2}, "
    "values_tensor: "
    "tensor = int32[2] {3,4}> (x)",
    "(float[2] x) <float[2] x = {1,2}> => ai.onnx.ml.LabelEncoder <keys_tensor: tensor = int64[2] {1,2}, "
    "values_tensor: "
    "tensor = int16[2] {3,4}> (x)",
    "(float[1,1,1] x, int8[1,1,4] w, int8[1,1,4] r, int32[1] n, float[1] s, int8[1] z) <float[1,1,1] x = {1}, "
    "int8[1,1,4] w "
    "= {1,2,3,4}, int8[1,1,4] r = {1,2,3,4}, int32[1] n = {1}, float[1] s = {1}, int8[1] z = {0}> => "
    "com.microsoft.DynamicQuantizeLSTM <hidden_size = 1> (x, w, r, \"\", n, \"\", \"\", \"\", s, z, s, z)",
    "(int64[2] x) <int64[2] x = {1,2}> => BitCast <to = 13> (x)",
};

/// One of `moreCases` as a model with inputs.
Case parseCase(Context &context, llvm::StringRef text) {
  auto [head, node] = text.split(" => ");
  auto [inputs, values] = head.split(" <");
  values.consume_back(">");
  auto [op, rest] = node.split(' ');
  unsigned results = 1;
  if (rest.size() > 1 && std::isdigit(rest[0]) && rest[1] == ' ') {
    results = rest[0] - '0';
    rest = rest.drop_front(2);
  }
  std::string names;
  for (unsigned i = 0; i < results; ++i)
    names += (i ? ", r" : "r") + std::to_string(i);
  std::string domain = op.contains('.') ? op.rsplit('.').first.str() : "";
  std::string model = "<ir_version: 10, opset_import: [\"" + domain + "\" : 1" + (domain.empty() ? "" : ", \"\" : 17") +
                      "]> g " + inputs.str() + " => (" + names + ")" +
                      (values.empty() ? "" : " <" + values.str() + ">") + " { " + names + " = " + op.str() +
                      rest.str() + " }";
  auto m = parseText(context, model);
  EXPECT_TRUE(m.ok()) << m.status().message() << "\n" << model;
  Case c;
  if (!m.ok())
    return c;
  c.model = std::move(*m);
  for (const auto &v : c.model->graph().inputs())
    if (v->initializer())
      c.inputs[v->name().str()] = Datum(*v->initializer()->read());
  return c;
}

/// Conversion by the executor's own Cast; complex numbers get no imaginary part.
class Converter {
public:
  std::optional<Tensor> convert(const Tensor &t, ElementType to) {
    if (t.type() == to)
      return t;
    if (to == ElementType::Complex64 || to == ElementType::Complex128) {
      auto real = convert(t, to == ElementType::Complex64 ? ElementType::Float : ElementType::Double);
      if (!real)
        return std::nullopt;
      Tensor out(to, t.dims());
      const int64_t width = bitWidth(real->type()) / 8;
      for (int64_t i = 0; i < t.size(); ++i)
        std::memcpy(out.mutableBytes() + 2 * i * width, real->bytes() + i * width, width);
      return out;
    }
    auto &model = models_[{t.type(), to}];
    if (!model) {
      std::string text = "<ir_version: 13, opset_import: [\"\" : 25]> g (" + nameOf(t.type()).str() +
                         "[] x) => (y) { y = Cast<to = " + std::to_string(int(to)) + ">(x) }";
      if (auto m = parseText(context_, text); m.ok())
        model = std::move(*m);
    }
    if (!model)
      return std::nullopt;
    auto out = exec::Executor(*model).run({{"x", Datum(t)}});
    return out.ok() ? std::optional((*out)[0].tensor) : std::nullopt;
  }

  /// `d` as a value of `type`, "seq(tensor(float))".
  std::optional<Datum> convert(const Datum &d, llvm::StringRef type) {
    type.consume_front("optional(");
    bool sequence = type.starts_with("seq(");
    auto element = elementOf(type);
    if (!element || d.kind == Datum::MapKind)
      return std::nullopt;
    if (d.isTensor()) {
      auto t = convert(d.tensor, *element);
      if (!t)
        return std::nullopt;
      return sequence ? Datum::sequence({Datum(*t)}) : Datum(*t);
    }
    if (!d.isSequence() || !sequence)
      return std::nullopt;
    std::vector<Datum> items;
    for (const Datum &item : d.elements()) {
      auto t = item.isTensor() ? convert(item.tensor, *element) : std::nullopt;
      if (!t)
        return std::nullopt;
      items.push_back(Datum(*t));
    }
    return Datum::sequence(std::move(items));
  }

private:
  Context context_;
  std::map<std::pair<ElementType, ElementType>, std::unique_ptr<Model>> models_;
};

std::string typeOf(const Datum &d) {
  if (d.isTensor())
    return "tensor(" + nameOf(d.tensor.type()).str() + ")";
  if (d.isSequence() && !d.elements().empty() && d.elements()[0].isTensor())
    return "seq(" + typeOf(d.elements()[0]) + ")";
  return "";
}

struct Goal {
  schema::Schema schema;
  std::string variable, type;
  std::string name() const {
    return schema.domain().str() + (schema.domain().empty() ? "" : ".") + schema.name().str() + "-" +
           std::to_string(schema.sinceVersion()) + " " + variable + " = " + type;
  }
};

void declare(Model &m, Value &v, const Datum &d) {
  v.setInitializer(nullptr);
  v.dropDeclaredType();
  if (d.isSequence() && !d.elements().empty() && d.elements()[0].isTensor())
    v.setDeclaredType(Type::sequenceOf(Type::tensor(d.elements()[0].tensor.type())));
  if (!d.isTensor())
    return;
  llvm::SmallVector<Dim, 4> dims;
  for (int64_t size : d.tensor.dims())
    dims.push_back(m.context().dims().constant(size));
  v.setDeclaredType(Type::tensor(d.tensor.type(), dims));
}

/// Carries a case of one node to the goal's version, with `bound` types for its type variables. False where it cannot
/// be one of that version.
bool carry(Case &c, const Goal &goal, std::map<std::string, std::string> bound, Converter &converter) {
  Model &m = *c.model;
  const schema::Schema s = goal.schema;
  for (OpsetImport &o : m.opsets)
    if (o.domain == s.domain())
      o.version = s.sinceVersion();
  Node &n = m.graph().nodes().front();
  const schema::Schema was = schema::lookup(n.domain(), n.opType(), 1 << 20);
  bool onlyResults = true;
  std::set<const Value *> operandsSeen;
  // What is an attribute of that version moves there.
  for (unsigned i = n.numOperands(); i-- > 0;) {
    const schema::Formal *f = was.input(i);
    Value *v = n.operand(i);
    if (!v || !f || (i < s.inputs().size() && llvm::StringRef(s.inputs()[i].name) == f->name))
      continue;
    if (s.input(i) && s.input(i)->kind() == schema::FormalOption::Variadic)
      continue;
    auto datum = c.inputs.find(v->name().str());
    const schema::AttributeSpec *a = s.attribute(f->name);
    if (a && datum != c.inputs.end() && datum->second.isTensor()) {
      const Tensor &t = datum->second.tensor;
      llvm::StringRef name = m.context().intern(f->name);
      switch (static_cast<AttributeType>(a->type)) {
      case AttributeType::Ints: {
        auto ints = t.ints();
        n.setAttribute(makeAttribute(name, std::vector<int64_t>(ints.begin(), ints.end())));
        break;
      }
      case AttributeType::Int:
        n.setAttribute(makeAttribute(name, t.size() ? t.intAt(0) : 0));
        break;
      case AttributeType::Float:
        n.setAttribute(makeAttribute(name, t.size() ? float(t.floatAt(0)) : 0.f));
        break;
      case AttributeType::Floats: {
        std::vector<float> floats;
        for (int64_t k = 0; k < t.size(); ++k)
          floats.push_back(float(t.floatAt(k)));
        n.setAttribute(makeAttribute(name, floats));
        break;
      }
      default:
        break;
      }
    }
    if (int(i) >= s.maxInputs() || a)
      n.setOperand(i, nullptr);
  }
  llvm::SmallVector<Value *, 4> operands = n.operands();
  while (!operands.empty() && !operands.back())
    operands.pop_back();
  n.setOperands(operands);
  for (unsigned i = 0; i < n.numOperands(); ++i) {
    const schema::Formal *f = s.input(i);
    Value *v = n.operand(i);
    if (!f)
      return false;
    if (!v)
      continue;
    auto it = c.inputs.find(v->name().str());
    if (it == c.inputs.end())
      return false;
    bool variable = !llvm::StringRef(f->type).contains('(');
    std::string type = typeOf(it->second);
    onlyResults &= f->type != goal.variable;
    if (operandsSeen.count(v)) {
      if (variable && bound.try_emplace(f->type, type).first->second != type)
        return false;
      continue;
    }
    if (variable && bound.count(f->type)) {
      type = bound[f->type];
    } else if (!s.allows(*f, type)) {
      llvm::SmallVector<llvm::StringRef, 16> allowed;
      s.allowedTypes(*f).split(allowed, ' ', -1, false);
      type = s.allows(*f, "tensor(float)") ? "tensor(float)" : allowed.front().str();
    }
    auto d = converter.convert(it->second, type);
    if (!d)
      return false;
    if (variable)
      bound[f->type] = type;
    it->second = std::move(*d);
    declare(m, *v, it->second);
    operandsSeen.insert(v);
  }
  for (const auto &v : m.graph().inputs()) // what bodies read
    if (auto it = c.inputs.find(v->name().str());
        v->hasUses() && !operandsSeen.count(v.get()) && it != c.inputs.end()) {
      auto d = converter.convert(it->second, goal.type);
      if (!d)
        return false;
      it->second = std::move(*d);
      declare(m, *v, it->second);
    }
  for (unsigned i = n.attributes().size(); i-- > 0;) {
    const llvm::StringRef name = n.attributes()[i].name;
    const schema::AttributeSpec *a = s.attribute(name);
    if (const auto *type = std::get_if<int64_t>(&n.attributes()[i].value);
        a && type && static_cast<AttributeType>(a->type) == AttributeType::String) // Cast-1 spells its type
      n.setAttribute(makeAttribute(name, nameOf(static_cast<ElementType>(*type)).upper()));
    else if (!a)
      n.removeAttribute(name);
  }
  // A type of results alone is said by an attribute, or by the one of a tensor.
  if (onlyResults)
    if (auto element = elementOf(goal.type)) {
      for (const char *name : {"to", "dtype", "output_dtype", "output_datatype", "precision", "stash_type"})
        if (const schema::AttributeSpec *a = s.attribute(name);
            a && static_cast<AttributeType>(a->type) == AttributeType::Int)
          n.setAttribute(makeAttribute(m.context().intern(name), int64_t(*element)));
        else if (a && static_cast<AttributeType>(a->type) == AttributeType::String)
          n.setAttribute(makeAttribute(m.context().intern(name), nameOf(*element).upper()));
      if (const schema::AttributeSpec *a = s.attribute("value");
          a && static_cast<AttributeType>(a->type) == AttributeType::Tensor) {
        Tensor seven(ElementType::Float, {1});
        seven.mutableData<float>()[0] = 7;
        auto t = converter.convert(seven, *element);
        if (!t)
          return false;
        for (unsigned i = n.attributes().size(); i-- > 0;)
          n.removeAttribute(n.attributes()[i].name);
        n.setAttribute(
            makeAttribute(m.context().intern("value"), std::shared_ptr<const TensorData>(TensorData::of(*t))));
      }
    }
  const unsigned results = std::min<unsigned>(n.numResults(), std::max(s.maxOutputs(), 1));
  while (n.numResults() > results) {
    if (n.result(n.numResults() - 1)->hasUses())
      return false;
    n.dropLastResult();
  }
  return true;
}

/// Whether the carried case has the goal's type at an operand or result of the goal's variable.
bool reaches(const Goal &goal, const Node &n, const std::map<std::string, Datum> &values, const Inference &inference) {
  auto is = [&](const Value *v, const schema::Formal *f) {
    auto it = v && f && f->type == goal.variable ? values.find(v->name().str()) : values.end();
    if (it == values.end())
      return false;
    llvm::StringRef type = goal.type;
    if (type.consume_front("optional("))
      type.consume_back(")");
    // A sequence that is empty has no element to show its type.
    return typeOf(it->second) == type ||
           (it->second.isSequence() && it->second.elements().empty() && schemaName(inference.typeOf(v)) == type);
  };
  for (unsigned i = 0; i < n.numOperands(); ++i)
    if (is(n.operand(i), goal.schema.input(i)))
      return true;
  for (unsigned i = 0; i < n.numResults(); ++i)
    if (is(n.result(i), goal.schema.output(i)))
      return true;
  return false;
}

/// Bindings of type variables that may give a value of the goal's variable its type: of that variable alone, or, where
/// only results have it, also of an operand's variable whose elements have that type.
std::vector<std::map<std::string, std::string>> bindingsFor(const Goal &goal) {
  std::vector<std::map<std::string, std::string>> list{{{goal.variable, goal.type}}};
  for (const schema::Formal &f : goal.schema.inputs()) {
    if (llvm::StringRef(f.type).contains('(') || f.type == goal.variable)
      continue;
    llvm::SmallVector<llvm::StringRef, 16> types;
    goal.schema.allowedTypes(f).split(types, ' ', -1, false);
    for (llvm::StringRef type : types)
      if (elementOf(type) == elementOf(goal.type) && elementOf(type)) {
        list.push_back(list.front());
        list.back()[f.type] = type.str();
      }
  }
  return list;
}

/// What the standard admits and does not define.
const std::set<std::string> undefined = {
    "Col2Im-18 T = tensor(bool)",   // bools are not added
    "Col2Im-18 T = tensor(string)", // nor are strings
};

/// Types of each type variable of operands and results; those of maps are left out, no tensor makes one.
std::vector<Goal> goalsOf(schema::Schema s) {
  std::vector<Goal> goals;
  std::set<std::string> seen;
  for (llvm::ArrayRef<schema::Formal> formals : {s.inputs(), s.outputs()})
    for (const schema::Formal &f : formals) {
      if (llvm::StringRef(f.type).contains('(') || !seen.insert(f.type).second)
        continue;
      llvm::SmallVector<llvm::StringRef, 16> types;
      s.allowedTypes(f).split(types, ' ', -1, false);
      for (llvm::StringRef type : types)
        if (Goal goal{s, f.type, type.str()}; elementOf(type) && !undefined.count(goal.name()))
          goals.push_back(goal);
    }
  return goals;
}

bool sameBits(const Datum &a, const Datum &b) {
  if (a.isSequence() && b.isSequence())
    return std::equal(a.elements().begin(), a.elements().end(), b.elements().begin(), b.elements().end(), sameBits);
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
    return out && std::equal(out->begin(), out->end(), results.begin(), results.end(), sameBits);
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
    EXPECT_TRUE(std::equal(ctx.results.begin(), ctx.results.end(), results.begin(), results.end(), sameBits))
        << what_ << " differs in the memory of operand " << reuse.operand;
    held["overwrite"] += ctx.results[reuse.result].tensor.sharesMemoryWith(own.tensor);
  }

  void views(const Datum &x, const Datum &result) {
    if (!x.isTensor() || !result.isTensor())
      return;
    held["view"] += x.tensor.type() == result.tensor.type();
    Datum alike = result;
    alike.tensor = x.tensor.size() == result.tensor.size() ? x.tensor.reshaped(result.tensor.dims()) : x.tensor;
    EXPECT_TRUE(x.tensor.type() != result.tensor.type() || sameBits(alike, result)) << what_ << " is no view";
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
  DimBindings bindings;
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
      std::string name = "n" + std::to_string(bindings.size());
      symbols.push_back(n ? dims.symbol("", name) : dims.constant(0)); // symbols are sizes of at least 1
      if (n)
        bindings[name] = n;
    }
    v->setDeclaredType(Type::tensor(t.type(), symbols));
  }
  Inference inference(*c.model);
  inference.run();
  for (unsigned i = 0; i < results.size(); ++i) {
    const Type type = g.returnNode()->operand(i) ? inference.typeOf(g.returnNode()->operand(i)) : Type();
    if (!type.isTensor() || !type.ranked || !results[i].isTensor())
      continue;
    ASSERT_EQ(type.rank(), results[i].tensor.rank()) << what << " with symbols, result " << i;
    for (size_t k = 0; k < type.rank(); ++k)
      if (auto n = type.dims[k] ? dims.evaluate(type.dims[k], bindings) : std::nullopt) {
        ++held["symbolic size"];
        EXPECT_EQ(*n, results[i].tensor.dim(k)) << what << " with symbols, result " << i << " axis " << k;
      }
  }
}

using Loader = std::function<Case(Context &)>;

/// Cases of one node, by operator.
std::map<std::string, std::vector<Loader>> loaders() {
  std::map<std::string, std::vector<Loader>> byOperator;
  auto add = [&](const Loader &load) {
    Context c;
    Case k = load(c);
    if (!k.model)
      return;
    Graph &g = k.model->graph();
    if (!g.nodes().empty() && std::next(g.nodes().begin()) == g.nodes().end())
      byOperator[(g.nodes().front().domain() + "." + g.nodes().front().opType()).str()].push_back(load);
  };
  for (const char *text : moreCases)
    add([text](Context &c) { return parseCase(c, text); });
  for (const std::string &name : cases())
    add([name](Context &c) { return readCase(c, name); });
  return byOperator;
}

TEST(BackendSuite, EveryVersionAndTypeRuns) {
  auto byOperator = loaders();
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
      auto attempt = [&](const Loader &load, const std::map<std::string, std::string> &bound) {
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
        auto holds = holdsAgainst(inference, goal.name(), counts);
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
  for (const auto &[claim, count] : held)
    std::printf(", %s: %u", claim.c_str(), count);
  std::printf("\n");
  EXPECT_EQ(reached, goals) << missed;
}

} // namespace
