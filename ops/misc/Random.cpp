// Random draws. Streams are keyed by the value that draws, or by the seed attribute.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>
#include <cstring>
#include <random>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

namespace {

std::mt19937_64 stream(EvalContext &ctx) {
  if (!ctx.hasAttribute("seed"))
    return std::mt19937_64(ctx.randomSeed());
  float seed = ctx.getFloat("seed");
  uint32_t bits;
  std::memcpy(&bits, &seed, 4);
  return std::mt19937_64(bits);
}

template <typename F> absl::Status fill(EvalContext &ctx, ElementType type, llvm::ArrayRef<int64_t> dims, F draw) {
  if (!isFloating(type))
    return unsupportedType(ctx, type);
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Float, dims));
  for (int64_t i = 0; i < y.size(); ++i)
    y.mutableData<float>()[i] = float(draw());
  ctx.set(0, type == ElementType::Double ? toDouble(y) : type == ElementType::Float ? y : fromFloat(y, type));
  return absl::OkStatus();
}

absl::Status normal(EvalContext &ctx, ElementType type, llvm::ArrayRef<int64_t> dims) {
  auto random = stream(ctx);
  std::normal_distribution<double> d(ctx.getFloat("mean", 0), ctx.getFloat("scale", 1));
  return fill(ctx, type, dims, [&] { return d(random); });
}
absl::Status uniform(EvalContext &ctx, ElementType type, llvm::ArrayRef<int64_t> dims) {
  auto random = stream(ctx);
  std::uniform_real_distribution<double> d(ctx.getFloat("low", 0), ctx.getFloat("high", 1));
  return fill(ctx, type, dims, [&] { return d(random); });
}

ElementType dtype(const NodeView &node, ElementType otherwise) {
  return node.hasAttribute("dtype") ? static_cast<ElementType>(node.getInt("dtype")) : otherwise;
}
void inferShaped(InferContext &ctx) {
  llvm::SmallVector<Dim, 4> dims;
  for (int64_t d : ctx.getInts("shape"))
    dims.push_back(ctx.constantDim(d));
  ctx.setTensor(0, dtype(ctx, ElementType::Float), dims);
}
void inferLike(InferContext &ctx) {
  Type t = ctx.type(0);
  if (!t.isTensor())
    t = Type::tensor(ElementType::Undefined);
  t.element = dtype(ctx, t.element);
  ctx.setType(0, std::move(t));
}
OpFacts drawing(InferFn infer, EvalFn eval) {
  return {.infer = infer, .eval = eval, .deterministic = false, .storage = Storage::Native};
}

} // namespace

static absl::Status evalRandomNormal(EvalContext &ctx) {
  return normal(ctx, dtype(ctx, ElementType::Float), ctx.getInts("shape"));
}
static absl::Status evalRandomUniform(EvalContext &ctx) {
  return uniform(ctx, dtype(ctx, ElementType::Float), ctx.getInts("shape"));
}
static absl::Status evalRandomNormalLike(EvalContext &ctx) {
  return normal(ctx, dtype(ctx, ctx.in(0).type()), ctx.in(0).dims());
}
static absl::Status evalRandomUniformLike(EvalContext &ctx) {
  return uniform(ctx, dtype(ctx, ctx.in(0).type()), ctx.in(0).dims());
}
ONNXOPT_DEFINE_OP(RandomNormal) { op.since(1, drawing(inferShaped, evalRandomNormal)); }
ONNXOPT_DEFINE_OP(RandomUniform) { op.since(1, drawing(inferShaped, evalRandomUniform)); }
ONNXOPT_DEFINE_OP(RandomNormalLike) { op.since(1, drawing(inferLike, evalRandomNormalLike)); }
ONNXOPT_DEFINE_OP(RandomUniformLike) { op.since(1, drawing(inferLike, evalRandomUniformLike)); }

static absl::Status evalBernoulli(EvalContext &ctx) {
  auto random = stream(ctx);
  std::uniform_real_distribution<double> d(0, 1);
  const Tensor &x = ctx.in(0);
  ElementType type = dtype(ctx, x.type());
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Float, x.dims()));
  for (int64_t i = 0; i < x.size(); ++i)
    y.mutableData<float>()[i] = d(random) < x.floatAt(i);
  Tensor out = y;
  if (type == ElementType::Double)
    out = toDouble(y);
  else if (isSmallFloat(type))
    out = fromFloat(y, type);
  else if (type != ElementType::Float) {
    ONNXOPT_ASSIGN(z, ctx.allocate(type, x.dims()));
    auto put = [&](auto tag) {
      using T = typename decltype(tag)::type;
      for (int64_t i = 0; i < x.size(); ++i)
        z.mutableData<T>()[i] = T(y.data<float>()[i]);
    };
    if (type == ElementType::Bool)
      put(TypeTag<uint8_t>());
    else if (!dispatchNumeric(type, put))
      return unsupportedType(ctx, type);
    out = z;
  }
  ctx.set(0, std::move(out));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_OP(Bernoulli) { op.since(15, drawing(inferLike, evalBernoulli)); }

static absl::Status evalMultinomial(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  if (x.rank() != 2)
    return invalid(ctx, "needs rank 2");
  auto random = stream(ctx);
  int64_t samples = ctx.getInt("sample_size", 1);
  auto type = static_cast<ElementType>(ctx.getInt("dtype", 6));
  ONNXOPT_ASSIGN(y, ctx.allocate(type, {x.dim(0), samples}));
  for (int64_t b = 0; b < x.dim(0); ++b) {
    std::vector<double> weights; // of unnormalized log probabilities
    for (int64_t c = 0; c < x.dim(1); ++c)
      weights.push_back(std::exp(x.floatAt(b * x.dim(1) + c)));
    std::discrete_distribution<int> d(weights.begin(), weights.end());
    for (int64_t s = 0; s < samples; ++s) {
      int64_t v = d(random);
      if (type == ElementType::Int64)
        y.mutableData<int64_t>()[b * samples + s] = v;
      else
        y.mutableData<int32_t>()[b * samples + s] = int32_t(v);
    }
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferMultinomial(InferContext &ctx) {
  Dim batch = ctx.isRanked(0) && ctx.rank(0) ? ctx.shape(0)[0] : ctx.freshDim();
  ctx.setTensor(0, static_cast<ElementType>(ctx.getInt("dtype", 6)),
                {batch, ctx.constantDim(ctx.getInt("sample_size", 1))});
}
ONNXOPT_DEFINE_OP(Multinomial) { op.since(7, drawing(inferMultinomial, evalMultinomial)); }
