// Ranges that consumers imply, and seeded draws from them.
#include "onnxopt/exec/Inputs.h"

#include "onnxopt/ir/SmallFloat.h"

#include "onnxopt/ops/Operator.h"

#include "llvm/Support/xxhash.h"

#include <cstring>
#include <random>

namespace onnxopt::exec {
namespace {

/// A range [lo, hi] for whole-number elements.
struct Range {
  int64_t lo = 0, hi = 3;
  bool sizes = false; ///< elements are sizes of dimensions
};

/// Follows an integer input through casts and layout changes to operators that index or size with it.
void impliedRange(const Value &v, Range &r, unsigned depth) {
  if (depth > 6)
    return;
  for (const Use *u = v.firstUse(); u; u = u->next()) {
    const Node &n = *u->user();
    if (n.isReturn())
      continue;
    unsigned i = u->index();
    auto constantDim = [&](unsigned operand, int64_t axis) -> int64_t {
      auto c = constantOf(n.operand(operand));
      if (!c || c->dims.empty())
        return -1;
      axis = axis < 0 ? axis + int64_t(c->dims.size()) : axis;
      return axis >= 0 && axis < int64_t(c->dims.size()) ? c->dims[axis] : -1;
    };
    if ((n.opType() == "Gather" || n.opType() == "GatherElements") && i == 1) {
      int64_t d = constantDim(0, NodeView(n).getInt("axis", 0));
      r.hi = std::min<int64_t>(d > 0 ? d - 1 : 1, std::max<int64_t>(r.hi, 100));
      r.lo = 0;
    } else if (n.opType() == "EmbedLayerNormalization" && i == 0) {
      int64_t d = constantDim(2, 0);
      r.hi = d > 0 ? std::min<int64_t>(d - 1, 100) : 1;
    } else if (n.opType() == "Reshape" || n.opType() == "Expand" || n.opType() == "ConstantOfShape" ||
               n.opType() == "Tile") {
      if (i == 1 || n.opType() == "ConstantOfShape")
        r = {1, 4, true};
    } else if (n.opType() == "Range" || n.opType() == "Loop") {
      r = {1, 4, true};
    } else if (n.opType() == "Cast" || n.opType() == "Identity" || n.opType() == "Unsqueeze" ||
               n.opType() == "Squeeze" || n.opType() == "Reshape" || n.opType() == "Transpose" ||
               n.opType() == "Slice" || n.opType() == "Concat" || n.opType() == "Flatten") {
      impliedRange(*n.result(0), r, depth + 1);
    }
    if (n.callee() && i < n.callee()->graph->inputs().size())
      impliedRange(*n.callee()->graph->inputs()[i], r, depth + 1);
  }
}

absl::Status draw(const Type &type, const Value &v, const InputOptions &o, std::map<std::string, int64_t> &dims,
                  Context &c, std::mt19937_64 &random, Datum &out) {
  if (type.kind == Type::Optional)
    return draw(*type.inner, v, o, dims, c, random, out);
  if (type.kind == Type::Sequence) {
    std::vector<Datum> items(2);
    for (Datum &d : items)
      if (absl::Status s = draw(*type.inner, v, o, dims, c, random, d); !s.ok())
        return s;
    out = Datum::sequence(std::move(items));
    return absl::OkStatus();
  }
  if (type.kind == Type::Map && (type.element == ElementType::Int64 || type.element == ElementType::String)) {
    std::vector<Datum> values(3);
    for (Datum &d : values)
      if (absl::Status s = draw(*type.inner, v, o, dims, c, random, d); !s.ok())
        return s;
    out = Datum::map(type.element == ElementType::String ? Tensor::stringVector({"a", "b", "c"})
                                                         : Tensor::vector({0, 1, 2}),
                     std::move(values));
    return absl::OkStatus();
  }
  if (!type.isTensor() || !type.hasElement())
    return absl::FailedPreconditionError("input '" + v.name().str() + "' of type " + toString(type, c.dims()) +
                                         " cannot be drawn: give it with --input");
  if (!type.ranked)
    return absl::FailedPreconditionError("input '" + v.name().str() + "' has no known rank: give it with --input");
  Dims shape;
  for (size_t i = 0; i < type.rank(); ++i) {
    Dim d = type.dims[i];
    if (auto k = d.maybeConstant()) {
      shape.push_back(*k);
      continue;
    }
    DimBindings bound(dims.begin(), dims.end());
    llvm::SmallVector<Dim, 4> symbols;
    c.dims().symbols(d, symbols);
    for (Dim s : symbols) {
      std::string name = s.symbolName().str();
      if (name.empty())
        continue;
      auto it = o.dims.find(name);
      if (it != o.dims.end())
        bound[name] = dims[name] = it->second;
      else if (!bound.count(name))
        bound[name] = dims[name] = o.defaultDim ? o.defaultDim : 1 + int64_t(random() % 3);
    }
    auto value = c.dims().evaluate(d, bound);
    // An unknown size has its position for a name: --dim 'x[1]=64'.
    std::string position = v.name().str() + "[" + std::to_string(i) + "]";
    if (auto it = o.dims.find(position); it != o.dims.end())
      value = it->second;
    shape.push_back(value.value_or(o.defaultDim ? o.defaultDim : 1 + int64_t(random() % 3)));
  }
  auto made = Tensor::create(type.element, shape, uint64_t(4) << 30);
  if (!made.ok())
    return made.status();
  Tensor t = std::move(*made);
  Range r;
  impliedRange(v, r, 0);
  std::uniform_real_distribution<double> real(-1, 1);
  auto whole = [&] { return r.lo + int64_t(random() % uint64_t(r.hi - r.lo + 1)); };
  char *bytes = t.isString() ? nullptr : t.mutableBytes();
  for (int64_t i = 0; i < t.size(); ++i) {
    switch (type.element) {
    case ElementType::Float:
      t.mutableData<float>()[i] = float(real(random));
      break;
    case ElementType::Double:
      t.mutableData<double>()[i] = real(random);
      break;
    case ElementType::Bool:
      bytes[i] = char(random() & 1);
      break;
    case ElementType::String:
      t.mutableStrings()[i] = std::string(1, char('a' + random() % 26));
      break;
    default: {
      if (isSmallFloat(type.element)) {
        storeSmallFloat(type.element, bytes, i, float(real(random)));
        break;
      }
      int64_t x = whole();
      unsigned width = bitWidth(type.element) / 8;
      if (width)
        std::memcpy(bytes + i * width, &x, std::min(8u, width));
      else
        bytes[i / 2] = char(random());
    }
    }
  }
  out = std::move(t);
  return absl::OkStatus();
}

} // namespace

absl::Status drawInputs(const Model &model, const InputOptions &options, std::map<std::string, Datum> &inputs) {
  std::map<std::string, int64_t> dims;
  Context &c = model.context();
  // Sizes of the given inputs bind the symbols that they declare.
  for (const auto &v : model.graph().inputs()) {
    auto it = inputs.find(v->name().str());
    const Type *t = v->declaredType();
    if (it == inputs.end() || !t || !t->isTensor() || !t->ranked || !it->second.isTensor() ||
        it->second.tensor.rank() != t->rank())
      continue;
    for (size_t i = 0; i < t->rank(); ++i)
      if (!t->dims[i].symbolName().empty())
        dims[t->dims[i].symbolName().str()] = it->second.tensor.dim(i);
  }
  for (const auto &v : model.graph().inputs()) {
    std::string name = v->name().str();
    if (inputs.count(name) || v->initializer())
      continue;
    if (!v->declaredType())
      return absl::FailedPreconditionError("input '" + name + "' has no type: give it with --input");
    std::mt19937_64 random(options.seed * 0x9e3779b97f4a7c15ull + llvm::xxh3_64bits(v->name()));
    Datum d;
    if (absl::Status s = draw(*v->declaredType(), *v, options, dims, c, random, d); !s.ok())
      return s;
    inputs[name] = std::move(d);
  }
  return absl::OkStatus();
}

DimBindings bindingsOf(const Model &model, const std::map<std::string, Datum> &inputs) {
  DimBindings b;
  for (const auto &v : model.graph().inputs()) {
    const Type *t = v->declaredType();
    auto it = inputs.find(v->name().str());
    bool given = it != inputs.end() && it->second.isTensor();
    if (!t || !t->isTensor() || (!given && !v->initializer()))
      continue;
    llvm::ArrayRef<int64_t> dims = given ? it->second.tensor.dims() : llvm::ArrayRef<int64_t>(v->initializer()->dims);
    for (size_t i = 0; i < t->rank() && i < dims.size(); ++i)
      if (!t->dims[i].symbolName().empty())
        b[t->dims[i].symbolName().str()] = dims[i];
  }
  return b;
}

} // namespace onnxopt::exec
