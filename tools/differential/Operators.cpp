// One node of a random operator, from its schema alone.
#include "onnxopt/tools/differential/Steps.h"

namespace onnxopt::differential {
namespace {

/// What has been chosen for a node so far.
struct Draft {
  schema::Schema schema;
  std::map<std::string, std::string> bound; ///< type variable -> type name
  std::vector<Value *> operands;
  Dims first;          ///< dims of the first operand
  bool ranked = false; ///< it has any
};

std::string typeName(const Datum &d, const Value *v) {
  if (!d.isTensor())
    return v->declaredType() ? schemaName(*v->declaredType()) : "";
  std::string type = schemaName(Type::tensor(d.tensor.type()));
  return isOptional(v) ? "optional(" + type + ")" : type;
}

/// Integers that an operand of this name means: sizes, axes, places.
Tensor integers(Builder &b, const Draft &d, llvm::StringRef name) {
  Random &r = b.random;
  int64_t rank = d.first.size(), count = std::max<int64_t>(1, r.below(2) ? rank : r.between(1, 2));
  std::vector<int64_t> v;
  if (name == "shape" || name == "sizes" || name == "size") {
    v.assign(d.first.begin(), d.first.end());
    if (d.schema.name() == "Expand" && r.chance(50))
      v.insert(v.begin(), 2);
    for (int64_t &x : v)
      if (d.schema.name() != "Reshape" && x == 1 && r.chance(50))
        x = 3;
    for (size_t i = v.size(); i > 1; --i)
      std::swap(v[i - 1], v[r.below(i)]);
    if (d.schema.name() == "Reshape" && !v.empty() && r.chance(50)) {
      v[r.below(v.size())] = -1;
    } else if (d.schema.name() == "Reshape" && v.size() > 1 && r.chance(50)) {
      v[0] *= v.back();
      v.pop_back();
    }
  } else if (name == "pads" || name == "pad") {
    for (int64_t i = 0; i < 2 * rank; ++i)
      v.push_back(r.between(r.chance(20) ? -1 : 0, 2));
  } else if (name == "repeats") {
    for (int64_t i = 0; i < rank; ++i)
      v.push_back(r.between(0, 2));
  } else if (name == "axes" || name == "axis") {
    for (int64_t a = 0; a < rank; ++a)
      if (r.chance(50))
        v.push_back(r.chance(50) ? a : a - rank);
    if (v.empty() && d.schema.name() == "Squeeze") // onnxruntime takes an empty list for an absent one
      v = {0};
  } else if (name == "split" && rank) {
    int64_t n = d.first[0], k = r.between(0, n);
    v = {k, n - k};
  } else if (name == "k" || name == "K" || name == "depth" || name == "dft_length") {
    v = {r.between(1, 3)};
  } else {
    static const int64_t far[] = {INT64_MAX, INT64_MIN, -100, 100};
    for (int64_t i = 0; i < count; ++i)
      v.push_back(r.chance(10) ? far[r.below(4)] : r.between(-2, 3));
  }
  return Tensor::vector(v);
}

/// A shape that broadcasts with `with`, in either direction.
Dims related(Builder &b, llvm::ArrayRef<int64_t> with) {
  Dims d(with.begin(), with.end());
  if (b.random.chance(50))
    return d;
  if (b.random.chance(50) && !d.empty())
    d.erase(d.begin(), d.begin() + b.random.below(d.size() + 1));
  for (int64_t &n : d)
    if (b.random.chance(30))
      n = 1;
  if (b.random.chance(10) && d.size() < 5)
    d.insert(d.begin(), 2);
  return d;
}

bool addOperand(Builder &b, Draft &d, const schema::Formal &f) {
  Random &r = b.random;
  llvm::SmallVector<llvm::StringRef, 16> allowed;
  llvm::StringRef(d.schema.allowedTypes(f)).split(allowed, ' ', -1, false);
  bool variable = !llvm::StringRef(f.type).contains('(');
  if (auto it = d.bound.find(f.type); variable && it != d.bound.end())
    allowed = {it->second};
  llvm::StringRef name = f.name;
  bool index = !d.operands.empty() && llvm::is_contained(allowed, "tensor(int64)") &&
               (allowed.size() <= 2 || name == "axes" || name == "indices");
  std::string type;
  Value *v = nullptr;
  if (!index || r.chance(15)) {
    std::vector<unsigned> fitting;
    for (unsigned i = 0; i < b.pool.size(); ++i)
      if (llvm::is_contained(allowed, typeName(b.pool[i].datum, b.pool[i].value)))
        fitting.push_back(i);
    // Operands of the same kind should often have shapes that go together.
    std::vector<unsigned> alike;
    if (d.ranked)
      for (unsigned i : fitting)
        if (b.pool[i].datum.isTensor() && b.pool[i].datum.tensor.dims() == llvm::ArrayRef<int64_t>(d.first))
          alike.push_back(i);
    if (!alike.empty() && r.chance(50))
      fitting = alike;
    if (!fitting.empty() && r.chance(d.operands.empty() ? 85 : 60)) {
      // Recent values more often: deep graphs rather than wide ones.
      unsigned at = fitting[std::max(r.below(fitting.size()), r.below(fitting.size()))];
      v = b.pool[at].value;
      type = typeName(b.pool[at].datum, v);
    }
  }
  if (!v) {
    std::vector<ElementType> elements;
    for (llvm::StringRef a : allowed)
      if (auto e = elementTypeOfTensor(a))
        elements.push_back(*e);
    if (elements.empty())
      return false;
    ElementType e = r.pick(elements);
    if (llvm::is_contained(elements, ElementType::Float) && r.chance(60))
      e = ElementType::Float;
    Tensor t;
    if (index && e == ElementType::Int64) {
      t = integers(b, d, name);
      if (t.size() == 1 && r.chance(30))
        t = t.reshaped({});
    } else {
      t = b.tensor(e, d.ranked ? related(b, d.first) : b.shape());
    }
    type = "tensor(" + nameOf(e).str() + ")";
    v = b.leaf(t, index && r.chance(70)).value;
  }
  if (variable && !(f.kind() == schema::FormalOption::Variadic && !f.homogeneous))
    d.bound[f.type] = type;
  if (d.operands.empty())
    for (const Builder::Known &k : b.pool)
      if (k.value == v && k.datum.isTensor()) {
        d.ranked = true;
        d.first.assign(k.datum.tensor.dims().begin(), k.datum.tensor.dims().end());
      }
  d.operands.push_back(v);
  return true;
}

std::vector<int64_t> permutation(Random &r, int64_t n) {
  std::vector<int64_t> p(n);
  for (int64_t i = 0; i < n; ++i)
    p[i] = i;
  for (size_t i = n; i > 1; --i)
    std::swap(p[i - 1], p[r.below(i)]);
  return p;
}

std::optional<Attribute> randomAttribute(Builder &b, const Draft &d, const schema::AttributeSpec &spec) {
  Random &r = b.random;
  int64_t rank = d.first.size(), spatial = std::max<int64_t>(rank - 2, 1);
  llvm::StringRef name = b.context().intern(spec.name);
  auto choice = [&](std::initializer_list<const char *> words) {
    return makeAttribute(name, std::string(words.begin()[r.below(words.size())]));
  };
  switch (static_cast<AttributeType>(spec.type)) {
  case AttributeType::Int:
    if (name == "axis")
      return makeAttribute(name, r.between(-rank, std::max<int64_t>(rank - 1, 0)));
    if (name == "to" || name == "dtype" || name == "output_dtype" || name == "stash_type") {
      static const int64_t types[] = {1, 1, 7, 6, 11, 10, 9, 3, 2, 16, 12};
      return makeAttribute(name, types[r.below(name == "stash_type" ? 1 : 11)]);
    }
    // Most are flags; these are counts.
    return makeAttribute(name, r.between(0, llvm::StringRef(name).contains("num_") || name == "group" || name == "p" ||
                                                    name.starts_with("block") || name.starts_with("batch")
                                                ? 3
                                                : 1));
  case AttributeType::Ints: {
    std::vector<int64_t> v;
    if (name == "perm")
      return makeAttribute(name, permutation(r, rank));
    if (name == "axes") {
      for (int64_t a = 0; a < rank; ++a)
        if (r.chance(50))
          v.push_back(r.chance(50) ? a : a - rank);
      return makeAttribute(name, v);
    }
    bool pads = name == "pads";
    for (int64_t i = 0; i < (pads ? 2 * spatial : spatial); ++i)
      v.push_back(pads ? r.between(0, 1) : r.between(1, 2));
    return makeAttribute(name, v);
  }
  case AttributeType::Float:
    return makeAttribute(name, float(r.between(-4, 8)) / 4);
  case AttributeType::String:
    if (name == "auto_pad")
      return choice({"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"});
    if (name == "reduction")
      return choice({"none", "add", "mul", "max", "min", "sum", "mean"});
    if (name == "mode")
      return choice({"constant", "edge", "reflect", "wrap", "nearest", "linear", "cubic", "DCR", "CRD", "fmod"});
    if (name == "approximate")
      return choice({"none", "tanh"});
    if (name == "direction")
      return choice({"forward", "reverse", "bidirectional", "LEFT", "RIGHT"});
    if (name == "equation")
      return choice({"ij,jk->ik", "bij,bjk->bik", "ij->ji", "ii->i", "ij,ij->i", "...i,...i->..."});
    return std::nullopt;
  case AttributeType::Tensor:
    return makeAttribute(name, std::shared_ptr<const TensorData>(TensorData::of(b.tensor(ElementType::Float, {1}))));
  default:
    return std::nullopt;
  }
}

/// Operators that can stand for themselves in a random graph, by opset and domain.
const std::vector<schema::Schema> &candidates(Builder &b) {
  static thread_local std::map<int64_t, std::vector<schema::Schema>> cache;
  std::vector<schema::Schema> &list = cache[b.opset()];
  if (!list.empty())
    return list;
  operatorsOf(b.context()).forEach([&](const OpDefinition &d) {
    int64_t version = d.domain.empty() ? b.opset() : schema::latestVersion(d.domain);
    schema::Schema s = schema::lookup(d.domain, d.name, version);
    const OpFacts *f = s ? d.at(s.sinceVersion()) : nullptr;
    if (!f || !f->eval || s.deprecated() || d.domain.find("training") != std::string::npos)
      return;
    for (const schema::AttributeSpec &a : s.attributes())
      if (static_cast<AttributeType>(a.type) == AttributeType::Graph)
        return; // bodies come from wrapping and from seeds
    if (d.name != "Constant" && s.maxInputs() > 0)
      list.push_back(s);
  });
  return list;
}

} // namespace

bool addOperator(Builder &b, Coverage &coverage) {
  Random &r = b.random;
  Draft d;
  do
    d.schema = candidates(b)[r.below(candidates(b).size())];
  while (!d.schema.domain().empty() && r.chance(70));
  int64_t version = d.schema.domain().empty() ? b.opset() : schema::latestVersion(d.schema.domain());
  if (!b.require(d.schema.domain(), version))
    return false;
  for (const schema::Formal &f : d.schema.inputs()) {
    if (f.kind() == schema::FormalOption::Variadic) {
      for (unsigned n = r.between(1, 3); n-- > 0;)
        if (!addOperand(b, d, f))
          return false;
    } else if (f.kind() == schema::FormalOption::Optional && r.chance(50)) {
      d.operands.push_back(nullptr);
    } else if (!addOperand(b, d, f)) {
      return false;
    }
  }
  while (!d.operands.empty() && !d.operands.back())
    d.operands.pop_back();
  unsigned results = d.schema.maxOutputs() > 8 ? r.between(std::max(d.schema.minOutputs(), 1), 3)
                                               : r.between(d.schema.minOutputs(), d.schema.maxOutputs());
  Node *n = b.graph().createNode(b.context().intern(d.schema.name()), b.context().intern(d.schema.domain()), d.operands,
                                 std::max(results, 1u));
  if (r.chance(50))
    n->setName(b.freshName(d.schema.name()));
  for (const schema::AttributeSpec &spec : d.schema.attributes())
    if (spec.required || r.chance(40))
      if (auto a = randomAttribute(b, d, spec))
        n->setAttribute(std::move(*a));
  if (n->attribute("auto_pad") && n->attribute("pads")) // only one of them means something
    n->removeAttribute("pads");
  std::string why, name = d.schema.name().str();
  if (b.keep(n, why))
    return true;
  ++coverage.refused[name][why];
  return false;
}

} // namespace onnxopt::differential
