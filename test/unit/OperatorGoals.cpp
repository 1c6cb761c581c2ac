// Goals of the operator loop.
#include "OperatorGoals.h"

#include "onnxopt/ir/text/Parser.h"

#include <cstring>
#include <set>

namespace onnxopt {
namespace {

bool isOfMaps(llvm::StringRef type) { return type.contains("map("); }

/// The type T of "tensor(T)", "seq(tensor(T))", "optional(tensor(T))" and "optional(seq(tensor(T)))"; no type for maps.
std::optional<ElementType> elementOf(llvm::StringRef type) {
  if (type.consume_front("optional("))
    type.consume_back(")");
  if (type.consume_front("seq("))
    type.consume_back(")");
  return elementTypeOfTensor(type);
}

/// What the standard admits and does not define.
const std::set<std::string> undefined = {
    "Col2Im-18 T = tensor(bool)",   // bools are not added
    "Col2Im-18 T = tensor(string)", // nor are strings
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

/// Sets an attribute to the elements of a tensor.
void setFrom(Node &n, llvm::StringRef name, AttributeType type, const Tensor &t) {
  switch (type) {
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

/// Operands that are attributes in version `s` move there; what it does not have goes.
void moveOperands(Case &c, Node &n, schema::Schema s) {
  const schema::Schema was = schema::lookup(n.domain(), n.opType(), 1 << 20);
  for (unsigned i = n.numOperands(); i-- > 0;) {
    const schema::Formal *f = was.input(i);
    Value *v = n.operand(i);
    if (!v || !f || (i < s.inputs().size() && llvm::StringRef(s.inputs()[i].name) == f->name))
      continue;
    if (s.input(i) && s.input(i)->kind() == schema::FormalOption::Variadic)
      continue;
    auto datum = c.inputs.find(v->name().str());
    const schema::AttributeSpec *a = s.attribute(f->name);
    if (a && datum != c.inputs.end() && datum->second.isTensor())
      setFrom(n, c.model->context().intern(f->name), static_cast<AttributeType>(a->type), datum->second.tensor);
    if (int(i) >= s.maxInputs() || a)
      n.setOperand(i, nullptr);
  }
  llvm::SmallVector<Value *, 4> operands = n.operands();
  while (!operands.empty() && !operands.back())
    operands.pop_back();
  n.setOperands(operands);
}

/// Converts the operands to types that fit `bound` and version `s`; fills `bound` and `seen`.
bool convertOperands(Case &c, Node &n, schema::Schema s, Bindings &bound, std::set<const Value *> &seen,
                     Converter &converter) {
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
    if (isOfMaps(type)) { // stays what it is
      if (variable && bound.try_emplace(f->type, type).first->second != type)
        return false;
      seen.insert(v);
      continue;
    }
    if (seen.count(v)) {
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
    declare(*c.model, *v, it->second);
    seen.insert(v);
  }
  return true;
}

/// Converts what bodies read beside the operands.
bool convertCaptured(Case &c, const std::set<const Value *> &seen, llvm::StringRef type, Converter &converter) {
  for (const auto &v : c.model->graph().inputs())
    if (auto it = c.inputs.find(v->name().str()); v->hasUses() && !seen.count(v.get()) && it != c.inputs.end()) {
      auto d = converter.convert(it->second, type);
      if (!d)
        return false;
      it->second = std::move(*d);
      declare(*c.model, *v, it->second);
    }
  return true;
}

/// Leaves the attributes that version `s` has, spelled as it does.
void fitAttributes(Node &n, schema::Schema s) {
  for (unsigned i = n.attributes().size(); i-- > 0;) {
    const llvm::StringRef name = n.attributes()[i].name;
    const schema::AttributeSpec *a = s.attribute(name);
    if (const auto *type = std::get_if<int64_t>(&n.attributes()[i].value);
        a && type && static_cast<AttributeType>(a->type) == AttributeType::String) // Cast-1 spells its type
      n.setAttribute(makeAttribute(name, nameOf(static_cast<ElementType>(*type)).upper()));
    else if (!a)
      n.removeAttribute(name);
  }
}

/// A type that only results have is said by an attribute: its number, its name, or the type of a tensor.
bool sayType(Node &n, const Goal &goal, Converter &converter) {
  Context &context = n.graph()->context();
  const schema::Schema s = goal.schema;
  if (auto element = elementOf(goal.type)) {
    for (const char *name : {"to", "dtype", "output_dtype", "output_datatype", "precision", "stash_type"})
      if (const schema::AttributeSpec *a = s.attribute(name);
          a && static_cast<AttributeType>(a->type) == AttributeType::Int)
        n.setAttribute(makeAttribute(context.intern(name), int64_t(*element)));
      else if (a && static_cast<AttributeType>(a->type) == AttributeType::String)
        n.setAttribute(makeAttribute(context.intern(name), nameOf(*element).upper()));
    if (const schema::AttributeSpec *a = s.attribute("value");
        a && static_cast<AttributeType>(a->type) == AttributeType::Tensor) {
      Tensor seven(ElementType::Float, {1});
      seven.mutableData<float>()[0] = 7;
      auto t = converter.convert(seven, *element);
      if (!t)
        return false;
      for (unsigned i = n.attributes().size(); i-- > 0;)
        n.removeAttribute(n.attributes()[i].name);
      n.setAttribute(makeAttribute(context.intern("value"), std::shared_ptr<const TensorData>(TensorData::of(*t))));
    }
  }
  return true;
}

bool dropResults(Node &n, schema::Schema s) {
  const unsigned results = std::min<unsigned>(n.numResults(), std::max(s.maxOutputs(), 1));
  while (n.numResults() > results) {
    if (n.result(n.numResults() - 1)->hasUses())
      return false;
    n.dropLastResult();
  }
  return true;
}

} // namespace

std::optional<Tensor> Converter::convert(const Tensor &t, ElementType to) {
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

std::optional<Datum> Converter::convert(const Datum &d, llvm::StringRef type) {
  if (type.consume_front("optional("))
    type.consume_back(")");
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

std::string typeOf(const Datum &d) {
  if (d.isTensor())
    return schemaName(Type::tensor(d.tensor.type()));
  if (d.kind == Datum::MapKind && !d.elements().empty())
    return schemaName(Type::mapOf(d.tensor.type(), Type::tensor(d.elements()[0].tensor.type())));
  if (d.isSequence() && !d.elements().empty())
    return "seq(" + typeOf(d.elements()[0]) + ")";
  return "";
}

bool carry(Case &c, const Goal &goal, Bindings bound, Converter &converter) {
  const schema::Schema s = goal.schema;
  for (OpsetImport &o : c.model->opsets)
    if (o.domain == s.domain())
      o.version = s.sinceVersion();
  Node &n = c.model->graph().nodes().front();
  moveOperands(c, n, s);
  std::set<const Value *> seen;
  if (!convertOperands(c, n, s, bound, seen, converter) || !convertCaptured(c, seen, goal.type, converter))
    return false;
  fitAttributes(n, s);
  bool onlyResults = true;
  for (unsigned i = 0; i < n.numOperands(); ++i)
    onlyResults &= !n.operand(i) || s.input(i)->type != goal.variable;
  return (!onlyResults || sayType(n, goal, converter)) && dropResults(n, s);
}

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

std::vector<Bindings> bindingsFor(const Goal &goal) {
  std::vector<Bindings> list{{{goal.variable, goal.type}}};
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
        if (Goal goal{s, f.type, type.str()}; (elementOf(type) || isOfMaps(type)) && !undefined.count(goal.name()))
          goals.push_back(goal);
    }
  return goals;
}

} // namespace onnxopt
