// Labels and categories looked up in tables that attributes hold.
#include "onnxopt/ops/ml/Labels.h"

#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>
#include <numeric>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

namespace onnxopt::ml {

std::optional<size_t> Labels::find(const Tensor &tensor, int64_t i) const {
  const size_t at = tensor.isString() ? llvm::find(names, tensor.strings()[i]) - names.begin()
                                      : llvm::find(numbers, tensor.intAt(i)) - numbers.begin();
  return at < (tensor.isString() ? names.size() : numbers.size()) ? std::optional(at) : std::nullopt;
}

void Labels::write(size_t label, Tensor &labels, int64_t at) const {
  if (type() == ElementType::String)
    labels.mutableStrings()[at] = label < names.size() ? names[label] : std::to_string(label);
  else
    labels.mutableData<int64_t>()[at] = label < numbers.size() ? numbers[label] : int64_t(label);
}

bool checkLabels(InferContext &ctx, llvm::StringRef numbers, llvm::StringRef names) {
  if (ctx.hasAttribute(numbers) != ctx.hasAttribute(names))
    return true;
  ctx.fail("needs one of attributes '" + numbers.str() + "' and '" + names.str() + "', it has " +
           (ctx.hasAttribute(names) ? "both" : "none"));
  return false;
}

} // namespace onnxopt::ml

namespace {
/// Keys or values of a label encoder as tensors, whichever attribute holds them.
std::optional<Tensor> labels(const NodeView &node, llvm::StringRef what) {
  std::string base = what.str();
  if (auto t = node.getTensor(base + "_tensor")) {
    auto read = t->read();
    return read.ok() ? std::optional(*read) : std::nullopt;
  }
  if (node.hasAttribute(base + "_int64s"))
    return Tensor::vector(node.getInts(base + "_int64s"));
  if (node.hasAttribute(base + "_floats")) {
    std::vector<float> f = node.getFloats(base + "_floats");
    Tensor t(ElementType::Float, {int64_t(f.size())});
    std::copy(f.begin(), f.end(), t.mutableData<float>());
    return t;
  }
  if (node.hasAttribute(base + "_strings"))
    return Tensor::stringVector(node.getStrings(base + "_strings"));
  return std::nullopt;
}
Tensor defaultLabel(const NodeView &node, ElementType type) {
  if (auto t = node.getTensor("default_tensor"))
    if (auto read = t->read(); read.ok())
      return *read;
  if (type == ElementType::String) {
    Tensor t(ElementType::String, {});
    t.mutableStrings()[0] = node.getString("default_string", "_Unused");
    return t;
  }
  if (type == ElementType::Float)
    return Tensor::scalar<float>(ElementType::Float, node.getFloat("default_float", -0.0f));
  if (type == ElementType::Double)
    return Tensor::scalar<double>(ElementType::Double, -0.0);
  if (type == ElementType::Int16)
    return Tensor::scalar<int16_t>(ElementType::Int16, -1);
  if (type == ElementType::Int32)
    return Tensor::scalar<int32_t>(ElementType::Int32, -1);
  return Tensor::scalar<int64_t>(ElementType::Int64, node.getInt("default_int64", -1));
}
bool sameLabel(const Tensor &a, int64_t i, const Tensor &b, int64_t j) {
  if (a.isString() || b.isString())
    return a.isString() && b.isString() && a.strings()[i] == b.strings()[j];
  double x = a.floatAt(i), y = b.floatAt(j);
  return x == y || (std::isnan(x) && std::isnan(y));
}
} // namespace

static absl::Status evalLabelEncoder(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  auto keys = labels(ctx, "keys"), values = labels(ctx, "values");
  if (ctx.version() < 2) { // classes_strings, both ways
    std::vector<std::string> classes = ctx.getStrings("classes_strings");
    const Tensor names = Tensor::stringVector(classes);
    Tensor numbers(ElementType::Int64, {int64_t(classes.size())});
    std::iota(numbers.mutableData<int64_t>(), numbers.mutableData<int64_t>() + classes.size(), 0);
    keys = x.isString() ? names : numbers;
    values = x.isString() ? numbers : names;
  }
  if (!keys || !values || keys->size() != values->size())
    return invalid(ctx, "keys and values do not fit");
  Tensor fallback = defaultLabel(ctx, values->type());
  ONNXOPT_ASSIGN(y, ctx.allocate(values->type(), x.dims()));
  for (int64_t i = 0; i < x.size(); ++i) {
    int64_t found = -1;
    for (int64_t k = 0; k < keys->size() && found < 0; ++k)
      if (sameLabel(x, i, *keys, k))
        found = k;
    found < 0 ? copyElement(fallback, 0, y, i) : copyElement(*values, found, y, i);
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferLabelEncoder(InferContext &ctx) {
  ElementType e = ElementType::Undefined;
  if (ctx.version() < 2) {
    e = elementOr(ctx, 0) == ElementType::String ? ElementType::Int64 : ElementType::String;
  } else {
    size_t given[2] = {0, 0};
    for (unsigned k : {0, 1})
      for (const char *form : {"_tensor", "_strings", "_int64s", "_floats"})
        given[k] += ctx.hasAttribute(std::string(k ? "values" : "keys") + form);
    if (given[0] != 1 || given[1] != 1)
      return ctx.fail("needs one attribute with keys and one with values, it has " + std::to_string(given[0]) +
                      " and " + std::to_string(given[1]));
    auto keys = labels(ctx, "keys"), values = labels(ctx, "values");
    if (keys && values && keys->size() != values->size())
      return ctx.fail(std::to_string(keys->size()) + " keys and " + std::to_string(values->size()) + " values");
    if (keys && elementOr(ctx, 0) != ElementType::Undefined && elementOr(ctx, 0) != keys->type())
      return ctx.fail("operand 0 is " + nameOf(elementOr(ctx, 0)).str() + ", the keys are " +
                      nameOf(keys->type()).str());
    if (values)
      e = values->type();
  }
  Type t = ctx.type(0);
  if (!t.isTensor())
    t = Type::tensor(e);
  t.element = e;
  ctx.setType(0, t);
}
ONNXOPT_DEFINE_ML_OP(LabelEncoder) { op.since(1, native(inferLabelEncoder, evalLabelEncoder)); }

// CategoryMapper: strings to numbers or back, as the input's type says

static absl::Status evalCategoryMapper(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  const ml::Labels categories(ctx, "cats_int64s", "cats_strings");
  if (categories.names.size() != categories.numbers.size())
    return invalid(ctx, std::to_string(categories.names.size()) + " strings for " +
                            std::to_string(categories.numbers.size()) + " numbers");
  ONNXOPT_ASSIGN(y, ctx.allocate(x.isString() ? ElementType::Int64 : ElementType::String, x.dims()));
  for (int64_t i = 0; i < x.size(); ++i) {
    const auto at = categories.find(x, i);
    if (x.isString())
      y.mutableData<int64_t>()[i] = at ? categories.numbers[*at] : ctx.getInt("default_int64", -1);
    else
      y.mutableStrings()[i] = at ? categories.names[*at] : ctx.getString("default_string", "_Unused");
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferCategoryMapper(InferContext &ctx) {
  const size_t names = ctx.getStrings("cats_strings").size(), numbers = ctx.getInts("cats_int64s").size();
  if (names != numbers)
    return ctx.fail("attribute 'cats_strings' has " + std::to_string(names) + " elements, 'cats_int64s' has " +
                    std::to_string(numbers));
  const ElementType e = elementOr(ctx, 0);
  Type t = ctx.type(0);
  if (!t.isTensor())
    t = Type::tensor(e);
  t.element = e == ElementType::String  ? ElementType::Int64
              : e == ElementType::Int64 ? ElementType::String
                                        : ElementType::Undefined;
  ctx.setType(0, std::move(t));
}
ONNXOPT_DEFINE_ML_OP(CategoryMapper) { op.since(1, native(inferCategoryMapper, evalCategoryMapper)); }
