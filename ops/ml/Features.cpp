// Features made ready for a model: picked, scaled, filled in, encoded, joined.
#include "onnxopt/ops/ml/Labels.h"
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

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
ONNXOPT_DEFINE_ML_OP(Binarizer) { op.since(1, native(sameType, evalBinarizer)); }

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
ONNXOPT_DEFINE_ML_OP(Imputer) { op.since(1, native(sameType, evalImputer)); }

// OneHotEncoder, FeatureVectorizer

static absl::Status evalOneHotEncoder(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  const ml::Labels categories(ctx, "cats_int64s", "cats_strings");
  const int64_t n = categories.size();
  if (x.isString() != !categories.names.empty())
    return invalid(ctx, "the categories are not of operand 0's type");
  Dims dims(x.dims().begin(), x.dims().end());
  dims.push_back(n);
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Float, dims));
  for (int64_t i = 0; i < x.size(); ++i)
    if (auto at = categories.find(x, i))
      y.mutableData<float>()[i * n + int64_t(*at)] = 1;
    else if (!ctx.getInt("zeros", 1))
      return invalid(ctx, "element " + std::to_string(i) + " is in no category");
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferOneHotEncoder(InferContext &ctx) {
  if (!ml::checkLabels(ctx, "cats_int64s", "cats_strings"))
    return;
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, ElementType::Float);
  llvm::SmallVector<Dim, 4> out(ctx.shape(0).begin(), ctx.shape(0).end());
  out.push_back(ctx.constantDim(ml::Labels(ctx, "cats_int64s", "cats_strings").size()));
  ctx.setTensor(0, ElementType::Float, out);
}
ONNXOPT_DEFINE_ML_OP(OneHotEncoder) { op.since(1, native(inferOneHotEncoder, evalOneHotEncoder)); }

static absl::Status evalFeatureVectorizer(EvalContext &ctx) {
  const std::vector<int64_t> widths = ctx.getInts("inputdimensions");
  if (widths.size() != ctx.numOperands())
    return invalid(ctx, std::to_string(widths.size()) + " input dimensions for " + std::to_string(ctx.numOperands()) +
                            " operands");
  int64_t rows = 0, total = 0;
  for (unsigned i = 0; i < ctx.numOperands(); ++i) {
    const Tensor &x = ctx.in(i);
    const int64_t n = x.rank() == 2 ? x.dim(0) : 1;
    if (x.rank() < 1 || x.rank() > 2 || (i && n != rows) || widths[i] < 0)
      return invalid(ctx, "operand " + std::to_string(i) + " does not fit: matrices of as many rows as the first");
    rows = n;
    total += widths[i];
  }
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Float, {rows, total}));
  int64_t column = 0;
  for (unsigned i = 0; i < ctx.numOperands(); column += widths[i++]) {
    const Tensor &x = ctx.in(i);
    const int64_t have = x.dim(x.rank() - 1);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < std::min(have, widths[i]); ++c)
        y.mutableData<float>()[r * total + column + c] = float(x.floatAt(r * have + c));
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferFeatureVectorizer(InferContext &ctx) {
  const std::vector<int64_t> widths = ctx.getInts("inputdimensions");
  if (widths.size() != ctx.numOperands())
    return ctx.fail(std::to_string(widths.size()) + " input dimensions for " + std::to_string(ctx.numOperands()) +
                    " operands");
  Dim rows;
  int64_t total = 0;
  for (unsigned i = 0; i < ctx.numOperands(); ++i) {
    if (widths[i] < 0)
      return ctx.fail("attribute 'inputdimensions' holds " + std::to_string(widths[i]));
    total += widths[i];
    if (ctx.isRanked(i) && (ctx.rank(i) < 1 || ctx.rank(i) > 2))
      return ctx.fail("operand " + std::to_string(i) + " has rank " + std::to_string(ctx.rank(i)) +
                      ", 1 or 2 is expected");
    if (!ctx.isRanked(i))
      continue;
    const Dim n = ctx.rank(i) == 1 ? ctx.constantDim(1) : ctx.shape(i)[0];
    rows = rows ? ctx.requireEqual(rows, n, "rows") : n;
  }
  ctx.setTensor(0, ElementType::Float, {rows, ctx.constantDim(total)});
}
ONNXOPT_DEFINE_ML_OP(FeatureVectorizer) { op.since(1, native(inferFeatureVectorizer, evalFeatureVectorizer)); }
