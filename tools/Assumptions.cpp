// Reading the options that change a model's interface, and applying them.
#include "onnxopt/tools/Assumptions.h"

#include "onnxopt/exec/DataFiles.h"
#include "onnxopt/ir/Rewriter.h"
#include "onnxopt/ir/SmallFloat.h"

#include <cstring>

namespace onnxopt {
namespace {

Value *findInput(Model &model, llvm::StringRef name) {
  for (const auto &v : model.graph().inputs())
    if (v->name() == name)
      return v.get();
  return nullptr;
}

/// --dim and --range
std::string bindDims(Model &model, const CommandLine &args) {
  DimContext &dims = model.context().dims();
  llvm::DenseMap<const DimExpr *, Dim> map;
  for (const std::string &spec : args.values("--dim")) {
    auto [name, value] = llvm::StringRef(spec).split('=');
    int64_t n;
    if (value.getAsInteger(10, n) || n < 0)
      return "--dim needs NAME=NUMBER, found '" + spec + "'";
    map[dims.symbol("", name, model.context().smallestInputDim).expr()] = dims.constant(n);
  }
  for (const std::string &spec : args.values("--range")) {
    auto [name, bounds] = llvm::StringRef(spec).split('=');
    auto [lo, hi] = bounds.split("..");
    DimRange r;
    if (lo.getAsInteger(10, r.lo) || hi.getAsInteger(10, r.hi) || r.lo > r.hi)
      return "--range needs NAME=LO..HI, found '" + spec + "'";
    dims.restrict(dims.symbol("", name, model.context().smallestInputDim), r);
  }
  auto rebind = [&](Type &t) {
    for (Dim &d : t.dims)
      d = dims.substitute(d, map);
  };
  if (!map.empty())
    forEachGraph(model, [&](Graph &g) {
      if (g.function())
        return;
      auto value = [&](Value &v) {
        if (const Type *t = v.declaredType(); t && t->isTensor()) {
          Type copy = *t;
          rebind(copy);
          v.setDeclaredType(std::move(copy));
        }
      };
      for (const auto &v : g.inputs())
        value(*v);
      for (Node &n : g.nodes())
        for (const auto &r : n.results())
          value(*r);
      for (OutputSlot &o : g.outputs())
        if (o.type)
          rebind(*o.type);
    });
  return "";
}

/// --shape
std::string setShapes(Model &model, const CommandLine &args) {
  DimContext &dims = model.context().dims();
  for (const std::string &spec : args.values("--shape")) {
    auto [name, list] = llvm::StringRef(spec).split('=');
    Value *input = findInput(model, name);
    if (!input || !input->declaredType() || !input->declaredType()->isTensor())
      return "--shape: the model has no tensor input '" + name.str() + "'";
    Type t = Type::tensor(input->declaredType()->element);
    t.ranked = true;
    llvm::SmallVector<llvm::StringRef, 4> parts;
    list.split(parts, ',', -1, false);
    for (llvm::StringRef p : parts)
      t.dims.push_back(dims.parse("", p.trim(), model.context().smallestInputDim));
    if (input->declaredType()->ranked && input->declaredType()->rank() != t.rank())
      return "--shape: input '" + name.str() + "' has rank " + std::to_string(input->declaredType()->rank()) + ", " +
             std::to_string(t.rank()) + " sizes are given";
    input->setDeclaredType(std::move(t));
    // What was declared downstream was for the old shape.
    forEachGraph(model, [&](Graph &g) {
      for (Node &n : g.nodes())
        for (const auto &r : n.results())
          r->dropDeclaredType();
      for (OutputSlot &o : g.outputs())
        if (o.type && o.type->isTensor()) {
          o.type->ranked = false;
          o.type->dims.clear();
        }
    });
  }
  return "";
}

/// Element `i` of `t` from a number's text. False when it is none of the type.
bool store(Tensor &t, int64_t i, llvm::StringRef word) {
  double real;
  int64_t whole;
  if (t.isString()) {
    t.mutableStrings()[i] = word.str();
    return true;
  }
  if (t.type() == ElementType::Bool) {
    if (word != "true" && word != "false" && word != "1" && word != "0")
      return false;
    t.mutableData<uint8_t>()[i] = word == "true" || word == "1";
    return true;
  }
  if (isFloating(t.type())) {
    if (word.getAsDouble(real))
      return false;
    if (t.type() == ElementType::Float)
      t.mutableData<float>()[i] = float(real);
    else if (t.type() == ElementType::Double)
      t.mutableData<double>()[i] = real;
    else
      storeSmallFloat(t.type(), t.mutableBytes(), i, float(real));
    return true;
  }
  unsigned width = bitWidth(t.type()) / 8;
  if (!isInteger(t.type()) || !width || word.getAsInteger(10, whole))
    return false;
  std::memcpy(t.mutableBytes() + i * width, &whole, width);
  return t.intAt(i) == whole;
}

/// The value that `text` gives an input of this type.
absl::StatusOr<Tensor> frozenValue(const Type &type, llvm::StringRef text) {
  if (text.ends_with(".npy")) {
    auto t = exec::readNpy(text.str());
    if (!t.ok())
      return t;
    bool fits = t->type() == type.element && (!type.ranked || type.rank() == t->rank());
    for (size_t i = 0; fits && type.ranked && i < type.rank(); ++i)
      fits = !type.dims[i].isConstant() || type.dims[i].constant() == t->dim(i);
    if (!fits)
      return absl::InvalidArgumentError(text.str() + " has another type or shape than the input");
    return t;
  }
  llvm::SmallVector<llvm::StringRef, 8> words;
  text.split(words, ',');
  Dims shape;
  for (size_t i = 0; i < type.rank(); ++i) {
    if (type.dims[i].isConstant())
      shape.push_back(type.dims[i].constant());
    else if (type.rank() == 1)
      shape.push_back(int64_t(words.size()));
    else
      return absl::InvalidArgumentError("the input has symbolic sizes: give a .npy file, or --dim for them");
  }
  if (!type.ranked && words.size() > 1)
    shape.push_back(int64_t(words.size()));
  auto t = Tensor::create(type.element, shape);
  if (!t.ok())
    return t;
  if (words.size() != 1 && int64_t(words.size()) != t->size())
    return absl::InvalidArgumentError(std::to_string(words.size()) + " values for " + std::to_string(t->size()) +
                                      " elements");
  for (int64_t i = 0; i < t->size(); ++i)
    if (llvm::StringRef word = words[words.size() == 1 ? 0 : size_t(i)].trim(); !store(*t, i, word))
      return absl::InvalidArgumentError("'" + word.str() + "' is no " + nameOf(type.element).str());
  return t;
}

/// --freeze-input
std::string freezeInputs(Model &model, const CommandLine &args) {
  Graph &g = model.graph();
  for (const std::string &spec : args.values("--freeze-input")) {
    auto [name, text] = llvm::StringRef(spec).split('=');
    Value *input = findInput(model, name);
    if (!input || !input->declaredType() || !input->declaredType()->isTensor() || !input->declaredType()->hasElement())
      return "--freeze-input: the model has no tensor input '" + name.str() + "'";
    auto t = frozenValue(*input->declaredType(), text);
    if (!t.ok())
      return "--freeze-input " + spec + ": " + std::string(t.status().message());
    Rewriter rewriter(model.context());
    Value *constant = rewriter.createConstant(g, g.nodes().empty() ? nullptr : &g.nodes().front(), *t, name);
    rewriter.replaceAllUses(input, constant);
    g.eraseInput(input->index());
  }
  return "";
}

} // namespace

std::string applyAssumptions(Model &model, const CommandLine &args) {
  for (auto apply : {bindDims, setShapes, freezeInputs})
    if (std::string why = apply(model, args); !why.empty())
      return why;
  if (args.has("--freeze-default-inputs"))
    model.defaultsAreConstants = true;
  return "";
}

} // namespace onnxopt
