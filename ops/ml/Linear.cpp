// Linear models.
#include "onnxopt/ops/ml/Scores.h"
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::ml;

/// Appends the scores of a row of operand 0: its products with each of the rows of attribute "coefficients", plus the
/// intercepts.
static void score(const EvalContext &ctx, const Scoring &scoring, int64_t row, llvm::ArrayRef<float> coefficients,
                  llvm::ArrayRef<float> intercepts, size_t count, Scores &scores) {
  for (size_t k = 0; k < count; ++k) {
    double sum = intercepts.empty() ? 0 : intercepts[k];
    for (int64_t f = 0; f < scoring.features; ++f)
      sum += ctx.in(0).floatAt(row * scoring.features + f) * coefficients[k * scoring.features + f];
    scores.push_back(sum);
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
  auto scoring = Scoring::of(ctx);
  if (!scoring.ok())
    return scoring.status();
  const int64_t targets = ctx.getInt("targets", 1);
  const std::vector<float> coefficients = ctx.getFloats("coefficients"), intercepts = ctx.getFloats("intercepts");
  if (targets < 1)
    return invalid(ctx, "attribute 'targets' is " + std::to_string(targets));
  if (auto s = checkCoefficients(ctx, coefficients.size(), intercepts.size(), targets, scoring->features); !s.ok())
    return s;
  return regress(ctx, *scoring, ElementType::Float, targets, [&](int64_t row, Scores &scores) {
    score(ctx, *scoring, row, coefficients, intercepts, targets, scores);
    return absl::OkStatus();
  });
}
static void inferLinearRegressor(InferContext &ctx) { inferRegressor(ctx, ctx.getInt("targets", 1)); }
ONNXOPT_DEFINE_ML_OP(LinearRegressor) {
  op.since(1, {.infer = inferLinearRegressor, .eval = evalLinearRegressor, .storage = Storage::Native});
}

// LinearClassifier: one score for each class, or a single one that tells two classes apart

static absl::Status evalLinearClassifier(EvalContext &ctx) {
  auto scoring = Scoring::of(ctx);
  if (!scoring.ok())
    return scoring.status();
  const Labels classes(ctx, "classlabels_ints", "classlabels_strings");
  const std::vector<float> coefficients = ctx.getFloats("coefficients"), intercepts = ctx.getFloats("intercepts");
  const size_t count = !intercepts.empty() ? intercepts.size()
                       : scoring->features ? coefficients.size() / scoring->features
                                           : classes.size();
  if (auto s = checkCoefficients(ctx, coefficients.size(), intercepts.size(), count, scoring->features); !s.ok())
    return s;
  const bool isBinary = count == 1 && classes.size() == 2;
  return classify(ctx, *scoring, classes, isBinary ? 2 : int64_t(count),
                  [&](int64_t row, Scores &scores) -> absl::StatusOr<Verdict> {
                    score(ctx, *scoring, row, coefficients, intercepts, count, scores);
                    return Verdict{count == 1 ? scores[0] > 0 : largest(scores),
                                   isBinary ? OtherClass::Remainder : OtherClass::Absent};
                  });
}
static void inferLinearClassifier(InferContext &ctx) {
  if (!checkLabels(ctx, "classlabels_ints", "classlabels_strings"))
    return;
  const Labels classes(ctx, "classlabels_ints", "classlabels_strings");
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
