// Classic machine learning: what has a kernel here is what the backend suite tests.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

static OpFacts native(InferFn infer, EvalFn eval) { return {.infer = infer, .eval = eval, .storage = Storage::Native}; }

static absl::Status evalBinarizer(EvalContext &ctx) {
  Tensor y = ctx.in(0);
  float threshold = ctx.getFloat("threshold", 0);
  if (!dispatchNumeric(y.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        T *p = y.template mutableData<T>();
        for (int64_t i = 0; i < y.size(); ++i)
          p[i] = T(double(p[i]) > threshold);
      }))
    return unsupportedType(ctx, y.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void typeOnly(InferContext &ctx) { ctx.setType(0, ctx.type(0)); }
ONNXOPT_DEFINE_ML_OP(Binarizer) { op.since(1, native(typeOnly, evalBinarizer)); }

static absl::Status evalArrayFeatureExtractor(EvalContext &ctx) {
  const Tensor &x = ctx.in(0), &index = ctx.in(1);
  if (x.rank() == 0)
    return invalid(ctx, "needs rank 1 or more");
  int64_t last = x.dim(x.rank() - 1), n = index.size();
  Dims dims = x.rank() == 1 ? Dims{1, n} : Dims(x.dims().begin(), x.dims().end());
  dims.back() = n;
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), dims));
  int64_t rows = last ? x.size() / last : 0;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < n; ++k) {
      int64_t i = index.intAt(k);
      if (i < 0 || i >= last)
        return invalid(ctx, "index out of range");
      copyElement(x, r * last + i, y, r * n + k);
    }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferArrayFeatureExtractor(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (!ctx.isRanked(0) || !ctx.isRanked(1) || ctx.rank(0) == 0)
    return ctx.setUnranked(0, e);
  Dim n = product(ctx.dims(), ctx.shape(1));
  llvm::SmallVector<Dim, 4> out(ctx.shape(0).begin(), ctx.shape(0).end());
  if (out.size() == 1)
    out.insert(out.begin(), ctx.constantDim(1));
  out.back() = n;
  ctx.setTensor(0, e, out);
}
ONNXOPT_DEFINE_ML_OP(ArrayFeatureExtractor) {
  op.since(1, native(inferArrayFeatureExtractor, evalArrayFeatureExtractor));
}

// LabelEncoder: a dictionary from attributes

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
  if (node.hasAttribute(base + "_strings")) {
    std::vector<std::string> s = node.getStrings(base + "_strings");
    Tensor t(ElementType::String, {int64_t(s.size())});
    t.mutableStrings() = s;
    return t;
  }
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
    Tensor names(ElementType::String, {int64_t(classes.size())}),
        numbers(ElementType::Int64, {int64_t(classes.size())});
    names.mutableStrings() = classes;
    for (size_t i = 0; i < classes.size(); ++i)
      numbers.mutableData<int64_t>()[i] = int64_t(i);
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

// Linear models and scaling of float features

static absl::Status evalScaler(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  std::vector<float> offset = ctx.getFloats("offset"), scale = ctx.getFloats("scale");
  int64_t last = x.rank() ? x.dim(x.rank() - 1) : 1;
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Float, x.dims()));
  auto pick = [](const std::vector<float> &v, int64_t i, float otherwise) {
    return v.empty() ? otherwise : v[v.size() == 1 ? 0 : size_t(i) % v.size()];
  };
  for (int64_t i = 0; i < x.size(); ++i)
    y.mutableData<float>()[i] = (float(x.floatAt(i)) - pick(offset, i % last, 0)) * pick(scale, i % last, 1);
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_ML_OP(Scaler) { op.since(1, native(sameShape<ElementType::Float>, evalScaler)); }

static absl::Status evalNormalizer(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  std::string norm = ctx.getString("norm", "MAX");
  int64_t last = x.rank() ? x.dim(x.rank() - 1) : 1, rows = last ? x.size() / last : 0;
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Float, x.dims()));
  for (int64_t r = 0; r < rows; ++r) {
    double n = 0;
    for (int64_t i = 0; i < last; ++i) {
      double v = x.floatAt(r * last + i);
      n = norm == "L1" ? n + std::fabs(v) : norm == "L2" ? n + v * v : std::max(i ? n : v, v);
    }
    if (norm == "L2")
      n = std::sqrt(n);
    for (int64_t i = 0; i < last; ++i)
      y.mutableData<float>()[r * last + i] = float(n == 0 ? x.floatAt(r * last + i) : x.floatAt(r * last + i) / n);
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_ML_OP(Normalizer) { op.since(1, native(sameShape<ElementType::Float>, evalNormalizer)); }

static absl::Status evalImputer(EvalContext &ctx) {
  Tensor y = ctx.in(0);
  bool floats = isFloating(y.type());
  std::vector<float> values = ctx.getFloats("imputed_value_floats");
  std::vector<int64_t> ints = ctx.getInts("imputed_value_int64s");
  int64_t last = y.rank() ? y.dim(y.rank() - 1) : 1;
  size_t n = floats ? values.size() : ints.size();
  if (!n)
    return invalid(ctx, "has no values to put in");
  float replaced = ctx.getFloat("replaced_value_float", 0);
  int64_t replacedInt = ctx.getInt("replaced_value_int64", 0);
  for (int64_t i = 0; i < y.size(); ++i) {
    size_t k = n == 1 ? 0 : size_t(i % last) % n;
    if (floats) {
      double v = y.floatAt(i);
      if (v == replaced || (std::isnan(v) && std::isnan(replaced)))
        dispatchFloat(y.type(), [&](auto tag) { y.mutableData<typename decltype(tag)::type>()[i] = values[k]; });
    } else if (y.intAt(i) == replacedInt) {
      dispatchInteger(y.type(), [&](auto tag) {
        y.mutableData<typename decltype(tag)::type>()[i] = typename decltype(tag)::type(ints[k]);
      });
    }
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_ML_OP(Imputer) { op.since(1, native(typeOnly, evalImputer)); }

// TreeEnsemble-5: nodes and leaves in parallel arrays

static absl::Status evalTreeEnsemble(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  if (x.rank() != 2)
    return invalid(ctx, "needs rank 2");
  auto read = [&](llvm::StringRef name) -> std::optional<Tensor> {
    auto t = ctx.getTensor(name);
    if (!t)
      return std::nullopt;
    auto r = t->read();
    return r.ok() ? std::optional(*r) : std::nullopt;
  };
  auto modes = read("nodes_modes"), splits = read("nodes_splits"), weights = read("leaf_weights"),
       members = read("membership_values");
  std::vector<int64_t> roots = ctx.getInts("tree_roots"), features = ctx.getInts("nodes_featureids"),
                       trueIds = ctx.getInts("nodes_truenodeids"), falseIds = ctx.getInts("nodes_falsenodeids"),
                       trueLeafs = ctx.getInts("nodes_trueleafs"), falseLeafs = ctx.getInts("nodes_falseleafs"),
                       targets = ctx.getInts("leaf_targetids"),
                       missing = ctx.getInts("nodes_missing_value_tracks_true");
  int64_t n = ctx.getInt("n_targets"), aggregate = ctx.getInt("aggregate_function", 1),
          post = ctx.getInt("post_transform", 0);
  size_t nodes = features.size();
  if (!modes || !splits || !weights || n <= 0 || size_t(modes->size()) != nodes || trueIds.size() != nodes ||
      falseIds.size() != nodes || trueLeafs.size() != nodes || falseLeafs.size() != nodes ||
      size_t(splits->size()) != nodes)
    return invalid(ctx, "the tree's arrays differ in length");
  if (post != 0 || aggregate < 0 || aggregate > 3)
    return absl::UnimplementedError(pathOf(ctx.node()) + ": post transforms are not there yet");
  // Values of set membership nodes, one run a node, separated by NaN.
  std::vector<std::vector<double>> sets(nodes);
  if (members)
    for (int64_t i = 0, node = 0; i < members->size(); ++i) {
      while (node < int64_t(nodes) && modes->intAt(node) != 6)
        ++node;
      double v = members->floatAt(i);
      if (std::isnan(v))
        ++node;
      else if (node < int64_t(nodes))
        sets[node].push_back(v);
    }
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), {x.dim(0), n}));
  for (int64_t r = 0; r < x.dim(0); ++r) {
    std::vector<double> sum(n, 0);
    std::vector<int64_t> hits(n, 0);
    for (int64_t root : roots) {
      int64_t at = root;
      bool leaf = false;
      for (size_t guard = 0; !leaf; ++guard) {
        if (guard > nodes || at < 0 || at >= int64_t(nodes) || features[at] < 0 || features[at] >= x.dim(1))
          return invalid(ctx, "the tree leads out of its arrays");
        double v = x.floatAt(r * x.dim(1) + features[at]), s = splits->floatAt(at);
        bool yes = false;
        switch (modes->intAt(at)) {
        case 0:
          yes = v <= s;
          break;
        case 1:
          yes = v < s;
          break;
        case 2:
          yes = v >= s;
          break;
        case 3:
          yes = v > s;
          break;
        case 4:
          yes = v == s;
          break;
        case 5:
          yes = v != s;
          break;
        default:
          yes = llvm::is_contained(sets[at], v);
        }
        if (std::isnan(v) && size_t(at) < missing.size() && missing[at])
          yes = true;
        leaf = yes ? trueLeafs[at] : falseLeafs[at];
        at = yes ? trueIds[at] : falseIds[at];
      }
      if (at < 0 || at >= weights->size() || size_t(at) >= targets.size() || targets[at] < 0 || targets[at] >= n)
        return invalid(ctx, "a leaf is out of range");
      double w = weights->floatAt(at);
      int64_t t = targets[at];
      sum[t] = aggregate < 2 || !hits[t] ? sum[t] + w : aggregate == 2 ? std::min(sum[t], w) : std::max(sum[t], w);
      ++hits[t];
    }
    for (int64_t t = 0; t < n; ++t) {
      double v = aggregate == 0 ? sum[t] / double(std::max<size_t>(1, roots.size())) : sum[t];
      dispatchFloat(y.type(), [&](auto tag) { y.mutableData<typename decltype(tag)::type>()[r * n + t] = v; });
    }
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferTreeEnsemble(InferContext &ctx) {
  // One element for each node in the lists of nodes, one for each leaf in those of leaves.
  auto counts = [&](llvm::StringRef name, llvm::StringRef first) {
    const size_t want = ctx.getInts(first).size();
    const auto tensor = ctx.getTensor(name);
    const size_t have = tensor ? size_t(elementCount(tensor->dims).value_or(0)) : ctx.getInts(name).size();
    if ((tensor || ctx.hasAttribute(name)) && have != want)
      ctx.fail("attribute '" + name.str() + "' has " + std::to_string(have) + " elements, '" + first.str() + "' has " +
               std::to_string(want));
  };
  for (const char *name : {"nodes_truenodeids", "nodes_falsenodeids", "nodes_trueleafs", "nodes_falseleafs",
                           "nodes_splits", "nodes_modes"})
    counts(name, "nodes_featureids");
  counts("leaf_weights", "leaf_targetids");
  Dim rows = ctx.isRanked(0) && ctx.rank(0) == 2 ? ctx.shape(0)[0] : ctx.freshDim();
  ctx.setTensor(0, elementOr(ctx, 0), {rows, ctx.constantDim(ctx.getInt("n_targets"))});
}
ONNXOPT_DEFINE_ML_OP(TreeEnsemble) {
  op.since(5, {.infer = inferTreeEnsemble, .eval = evalTreeEnsemble}).ranks({{0, 2}});
}
