// Linear models.
#include "onnxopt/ops/ml/Scores.h"
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::ml;

/// Scores of row `r` of operand 0: its products with each of the rows of attribute "coefficients", plus the intercepts.
static void score(const EvalContext &ctx, Rows rows, int64_t r, llvm::ArrayRef<float> coefficients,
                  llvm::ArrayRef<float> intercepts, llvm::SmallVectorImpl<double> &scores) {
  for (size_t k = 0; k < scores.size(); ++k) {
    double sum = intercepts.empty() ? 0 : intercepts[k];
    for (int64_t f = 0; f < rows.features; ++f)
      sum += ctx.in(0).floatAt(r * rows.features + f) * coefficients[k * rows.features + f];
    scores[k] = sum;
  }
}

static absl::Status checkCoefficients(const EvalContext &ctx, size_t coefficients, size_t intercepts, size_t scores,
                                      int64_t features) {
  if (coefficients != scores * size_t(features))
    return invalid(ctx, std::to_string(coefficients) + " coefficients for " + std::to_string(scores) + " scores of " +
                            std::to_string(features) + " features");
  if (intercepts && intercepts != scores)
    return invalid(ctx, std::to_string(intercepts) + " intercepts for " + std::to_string(scores) + " scores");
  return absl::OkStatus();
}

static absl::Status evalLinearRegressor(EvalContext &ctx) {
  auto rows = rowsOf(ctx);
  auto transform = postTransformOf(ctx);
  if (!rows.ok() || !transform.ok())
    return rows.ok() ? transform.status() : rows.status();
  const int64_t targets = ctx.getInt("targets", 1);
  const std::vector<float> coefficients = ctx.getFloats("coefficients"), intercepts = ctx.getFloats("intercepts");
  if (targets < 1)
    return invalid(ctx, "attribute 'targets' is " + std::to_string(targets));
  if (auto s = checkCoefficients(ctx, coefficients.size(), intercepts.size(), targets, rows->features); !s.ok())
    return s;
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Float, {rows->count, targets}));
  for (int64_t r = 0; r < rows->count; ++r) {
    llvm::SmallVector<double, 8> scores(targets);
    score(ctx, *rows, r, coefficients, intercepts, scores);
    transformScores(scores, *transform, OtherClass::Absent);
    std::copy(scores.begin(), scores.end(), y.mutableData<float>() + r * targets);
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferLinearRegressor(InferContext &ctx) {
  ctx.setTensor(0, ElementType::Float, {rowsOf(ctx), ctx.constantDim(ctx.getInt("targets", 1))});
}
ONNXOPT_DEFINE_ML_OP(LinearRegressor) {
  op.since(1, {.infer = inferLinearRegressor, .eval = evalLinearRegressor, .storage = Storage::Native});
}

// LinearClassifier: one score for each class, or a single one that tells two classes apart

static absl::Status evalLinearClassifier(EvalContext &ctx) {
  auto rows = rowsOf(ctx);
  auto transform = postTransformOf(ctx);
  if (!rows.ok() || !transform.ok())
    return rows.ok() ? transform.status() : rows.status();
  const ClassLabels classes(ctx, "classlabels_ints", "classlabels_strings");
  const std::vector<float> coefficients = ctx.getFloats("coefficients"), intercepts = ctx.getFloats("intercepts");
  const size_t count = !intercepts.empty() ? intercepts.size()
                       : rows->features    ? coefficients.size() / rows->features
                                           : classes.size();
  if (auto s = checkCoefficients(ctx, coefficients.size(), intercepts.size(), count, rows->features); !s.ok())
    return s;
  const bool isBinary = count == 1 && classes.size() == 2;
  const int64_t width = isBinary ? 2 : int64_t(count);
  ONNXOPT_ASSIGN(labels, ctx.allocate(classes.type(), {rows->count}));
  ONNXOPT_ASSIGN(z, ctx.allocate(ElementType::Float, {rows->count, width}));
  for (int64_t r = 0; r < rows->count; ++r) {
    llvm::SmallVector<double, 8> scores(count);
    score(ctx, *rows, r, coefficients, intercepts, scores);
    const size_t best = count == 1 ? scores[0] > 0 : std::max_element(scores.begin(), scores.end()) - scores.begin();
    classes.write(best, labels, r);
    transformScores(scores, *transform, isBinary ? OtherClass::Remainder : OtherClass::Absent);
    std::copy(scores.begin(), scores.end(), z.mutableData<float>() + r * width);
  }
  ctx.set(0, std::move(labels));
  ctx.set(1, std::move(z));
  return absl::OkStatus();
}
static void inferLinearClassifier(InferContext &ctx) {
  if (!checkLabels(ctx, "classlabels_ints", "classlabels_strings"))
    return;
  const ClassLabels classes(ctx, "classlabels_ints", "classlabels_strings");
  const size_t intercepts = ctx.getFloats("intercepts").size(), coefficients = ctx.getFloats("coefficients").size();
  Dim width;
  if (intercepts)
    width = ctx.constantDim(intercepts);
  else if (ctx.isRanked(0) && ctx.rank(0) && ctx.shape(0).back().isConstant() && ctx.shape(0).back().constant() > 0)
    width = ctx.constantDim(int64_t(coefficients) / ctx.shape(0).back().constant());
  if (width && classes.size() == 2 && width.constant() == 1)
    width = ctx.constantDim(2);
  inferClassifier(ctx, classes, width);
}
ONNXOPT_DEFINE_ML_OP(LinearClassifier) {
  op.since(1, {.infer = inferLinearClassifier, .eval = evalLinearClassifier, .storage = Storage::Native});
}
