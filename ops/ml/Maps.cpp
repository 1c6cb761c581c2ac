// Maps made from tensors and tensors from maps.
#include "onnxopt/ops/ml/Labels.h"
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <algorithm>
#include <numeric>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

/// The value of a map's entry as an element of a tensor.
static absl::StatusOr<const Tensor *> valueOf(const EvalContext &ctx, const Datum &entry) {
  if (!entry.isTensor() || entry.tensor.size() != 1)
    return invalid(ctx, "the map's values are no scalars");
  return &entry.tensor;
}
static absl::Status checkMap(const EvalContext &ctx) {
  const Datum &map = ctx.datum(0);
  if (map.kind != Datum::MapKind || map.tensor.size() != int64_t(map.elements().size()))
    return invalid(ctx, "operand 0 is no map");
  return absl::OkStatus();
}

static absl::Status evalCastMap(EvalContext &ctx) {
  if (absl::Status s = checkMap(ctx); !s.ok())
    return s;
  const Datum &map = ctx.datum(0);
  const std::string to = ctx.getString("cast_to", "TO_FLOAT"), form = ctx.getString("map_form", "DENSE");
  const ElementType type = to == "TO_STRING"  ? ElementType::String
                           : to == "TO_INT64" ? ElementType::Int64
                                              : ElementType::Float;
  llvm::SmallVector<int64_t, 16> order(map.tensor.size());
  std::iota(order.begin(), order.end(), 0);
  llvm::stable_sort(order, [&](int64_t a, int64_t b) { return map.tensor.intAt(a) < map.tensor.intAt(b); });
  const bool sparse = form == "SPARSE";
  const int64_t length = sparse ? ctx.getInt("max_map", 1) : int64_t(order.size());
  if (length < 0)
    return invalid(ctx, "attribute 'max_map' is " + std::to_string(length));
  ONNXOPT_ASSIGN(y, ctx.allocate(type, {1, length}));
  for (auto [place, entry] : llvm::enumerate(order)) {
    auto value = valueOf(ctx, map.elements()[entry]);
    if (!value.ok())
      return value.status();
    const int64_t at = sparse ? map.tensor.intAt(entry) : int64_t(place);
    if (at < 0 || at >= length)
      return invalid(ctx, "key " + std::to_string(at) + " is outside of [0, " + std::to_string(length) + ")");
    const Tensor &v = **value;
    char *end = nullptr;
    const std::string text = v.isString() ? v.strings()[0] : "";
    if (type == ElementType::String) {
      char digits[32];
      std::snprintf(digits, sizeof digits, "%f", v.floatAt(0));
      y.mutableStrings()[at] = v.isString() ? text : digits;
    } else if (type == ElementType::Int64) {
      y.mutableData<int64_t>()[at] =
          v.isString() ? std::strtoll(text.c_str(), &end, 10) : saturateTo<int64_t>(v.floatAt(0));
    } else {
      y.mutableData<float>()[at] = v.isString() ? std::strtof(text.c_str(), &end) : float(v.floatAt(0));
    }
    if (end && (end == text.c_str() || *end))
      return invalid(ctx, "'" + text + "' is no number");
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferCastMap(InferContext &ctx) {
  const std::string to = ctx.getString("cast_to", "TO_FLOAT"), form = ctx.getString("map_form", "DENSE");
  if (to != "TO_FLOAT" && to != "TO_STRING" && to != "TO_INT64")
    return ctx.fail("attribute 'cast_to' is '" + to + "', TO_FLOAT, TO_STRING or TO_INT64 is expected");
  if (form != "DENSE" && form != "SPARSE")
    return ctx.fail("attribute 'map_form' is '" + form + "', DENSE or SPARSE is expected");
  if (form == "SPARSE" && ctx.getInt("max_map", 1) < 0)
    return ctx.fail("attribute 'max_map' is " + std::to_string(ctx.getInt("max_map", 1)));
  ctx.setTensor(0,
                to == "TO_STRING"  ? ElementType::String
                : to == "TO_INT64" ? ElementType::Int64
                                   : ElementType::Float,
                {ctx.constantDim(1), form == "SPARSE" ? ctx.constantDim(ctx.getInt("max_map", 1)) : ctx.freshDim()});
}
ONNXOPT_DEFINE_ML_OP(CastMap) { op.since(1, {.infer = inferCastMap, .eval = evalCastMap, .storage = Storage::Native}); }

static absl::Status evalDictVectorizer(EvalContext &ctx) {
  if (absl::Status s = checkMap(ctx); !s.ok())
    return s;
  const Datum &map = ctx.datum(0);
  const ml::Labels vocabulary(ctx, "int64_vocabulary", "string_vocabulary");
  const int64_t n = vocabulary.size();
  if (map.tensor.isString() != !vocabulary.names.empty() && n)
    return invalid(ctx, "the vocabulary is not of the keys' type");
  const Type proved = ctx.provedType(0);
  ElementType type = proved.isTensor() ? proved.element : ElementType::Undefined;
  if (!map.elements().empty() && map.elements()[0].isTensor())
    type = map.elements()[0].tensor.type();
  if (type == ElementType::Undefined)
    return invalid(ctx, "the type of the map's values is not known");
  ONNXOPT_ASSIGN(y, ctx.allocate(type, {n}));
  for (int64_t k = 0; k < n; ++k)
    for (int64_t e = 0; e < map.tensor.size(); ++e) {
      if (map.tensor.isString() ? map.tensor.strings()[e] != vocabulary.names[k]
                                : map.tensor.intAt(e) != vocabulary.numbers[k])
        continue;
      auto value = valueOf(ctx, map.elements()[e]);
      if (!value.ok())
        return value.status();
      if ((*value)->type() != type)
        return invalid(ctx, "the map's values differ in type");
      copyElement(**value, 0, y, k);
    }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferDictVectorizer(InferContext &ctx) {
  if (!ml::checkLabels(ctx, "int64_vocabulary", "string_vocabulary"))
    return;
  // [N] by the standard; onnxruntime gives [1,N], and models are written for it.
  const Type &map = ctx.type(0);
  ctx.setUnranked(0, map.kind == Type::Map ? map.inner->element : ElementType::Undefined);
}
ONNXOPT_DEFINE_ML_OP(DictVectorizer) {
  op.since(1, {.infer = inferDictVectorizer, .eval = evalDictVectorizer, .storage = Storage::Native});
}

// ZipMap: a map for each row

static absl::Status evalZipMap(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  const ml::Labels labels(ctx, "classlabels_int64s", "classlabels_strings");
  const int64_t n = labels.size();
  if (x.rank() != 1 && x.rank() != 2)
    return invalid(ctx, "operand 0 has rank " + std::to_string(x.rank()) + ", 1 or 2 is expected");
  if (x.dim(x.rank() - 1) != n)
    return invalid(ctx, "operand 0 has " + std::to_string(x.dim(x.rank() - 1)) + " columns for " + std::to_string(n) +
                            " labels");
  const Tensor keys = labels.tensor();
  std::vector<Datum> maps;
  for (int64_t r = 0, rows = x.rank() == 1 ? 1 : x.dim(0); r < rows; ++r) {
    if (absl::Status s = ctx.step(n + 1); !s.ok())
      return s;
    std::vector<Datum> values;
    for (int64_t k = 0; k < n; ++k)
      values.push_back(Tensor::scalar<float>(ElementType::Float, x.data<float>()[r * n + k]));
    maps.push_back(Datum::map(keys, std::move(values)));
  }
  ctx.set(0, Datum::sequence(std::move(maps)));
  return absl::OkStatus();
}
static void inferZipMap(InferContext &ctx) {
  if (!ml::checkLabels(ctx, "classlabels_int64s", "classlabels_strings"))
    return;
  const ElementType key = ml::Labels(ctx, "classlabels_int64s", "classlabels_strings").type();
  ctx.setType(0, Type::sequenceOf(Type::mapOf(key, Type::tensor(ElementType::Float, {}))));
}
ONNXOPT_DEFINE_ML_OP(ZipMap) { op.since(1, {.infer = inferZipMap, .eval = evalZipMap, .storage = Storage::Native}); }
