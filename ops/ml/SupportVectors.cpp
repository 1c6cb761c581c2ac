// Support vector machines. Source of the details: onnxruntime and the ReferenceEvaluator, where they agree.
#include "onnxopt/ops/ml/Scores.h"
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::ml;

namespace {
/// The kernel of attributes kernel_type and kernel_params: how alike two vectors are.
struct Kernel {
  enum Kind : uint8_t { Linear, Poly, Rbf, Sigmoid } kind = Linear;
  double gamma = 0, offset = 0, degree = 0;

  static absl::StatusOr<Kernel> of(const EvalContext &ctx) {
    Kernel k;
    const std::string name = ctx.getString("kernel_type", "LINEAR");
    if (name == "POLY")
      k.kind = Poly;
    else if (name == "RBF")
      k.kind = Rbf;
    else if (name == "SIGMOID")
      k.kind = Sigmoid;
    else if (name != "LINEAR")
      return invalid(ctx, "attribute 'kernel_type' is '" + name + "', LINEAR, POLY, RBF or SIGMOID is expected");
    const std::vector<float> p = ctx.getFloats("kernel_params");
    if (!p.empty() && p.size() != 3)
      return invalid(ctx, "attribute 'kernel_params' has " + std::to_string(p.size()) + " elements, 3 are expected");
    if (!p.empty()) {
      k.gamma = p[0];
      k.offset = p[1];
      k.degree = p[2];
    }
    return k;
  }
  double operator()(llvm::ArrayRef<double> a, const float *b) const {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i)
      sum += kind == Rbf ? (a[i] - b[i]) * (a[i] - b[i]) : a[i] * b[i];
    switch (kind) {
    case Linear:
      return sum;
    case Poly:
      return std::pow(gamma * sum + offset, degree);
    case Rbf:
      return std::exp(-gamma * sum);
    case Sigmoid:
      return std::tanh(gamma * sum + offset);
    }
    return sum;
  }
};

llvm::SmallVector<double, 16> featuresOf(const Tensor &x, const Scoring &scoring, int64_t row) {
  llvm::SmallVector<double, 16> v(scoring.features);
  for (int64_t f = 0; f < scoring.features; ++f)
    v[f] = x.floatAt(row * scoring.features + f);
  return v;
}
} // namespace

static absl::Status evalSVMRegressor(EvalContext &ctx) {
  auto scoring = Scoring::of(ctx);
  auto kernel = Kernel::of(ctx);
  if (!scoring.ok() || !kernel.ok())
    return scoring.ok() ? kernel.status() : scoring.status();
  std::vector<float> coefficients = ctx.getFloats("coefficients"), vectors = ctx.getFloats("support_vectors");
  const std::vector<float> rho = ctx.getFloats("rho");
  int64_t supports = ctx.getInt("n_supports", 0);
  if (supports <= 0) { // the coefficients are those of a plane: one vector, of weight 1
    vectors = std::move(coefficients);
    coefficients = {1};
    supports = 1;
    *kernel = Kernel();
  }
  if (coefficients.size() < size_t(supports))
    return invalid(ctx, std::to_string(coefficients.size()) + " coefficients for " + std::to_string(supports) +
                            " support vectors");
  if (rho.empty() || vectors.size() != size_t(supports * scoring->features))
    return invalid(ctx, rho.empty() ? "needs attribute 'rho'" : "support vectors do not fit the features");
  const bool oneClass = ctx.getInt("one_class", 0);
  if (oneClass)
    scoring->transform = PostTransform::None;
  return regress(ctx, *scoring, ElementType::Float, 1, [&](int64_t row, Scores &scores) {
    const auto x = featuresOf(ctx.in(0), *scoring, row);
    double sum = rho[0];
    for (int64_t s = 0; s < supports; ++s)
      sum += coefficients[s] * (*kernel)(x, vectors.data() + s * scoring->features);
    scores.push_back(!oneClass ? sum : sum > 0 ? 1 : -1);
    return absl::OkStatus();
  });
}
static void inferSVMRegressor(InferContext &ctx) { inferRegressor(ctx, 1); }
ONNXOPT_DEFINE_ML_OP(SVMRegressor) {
  op.since(1, {.infer = inferSVMRegressor, .eval = evalSVMRegressor, .storage = Storage::Native});
}

// SVMClassifier: each two classes have a machine of their own, or (without support vectors) each class has a plane

/// Probabilities of k classes from those of each two of them, r[i][j] that it is i and not j (Wu, Lin and Weng, 2004,
/// second method, as libsvm iterates it).
static llvm::SmallVector<double, 8> coupled(llvm::ArrayRef<double> r, size_t k) {
  llvm::SmallVector<double, 64> q(k * k, 0);
  llvm::SmallVector<double, 8> p(k, 1.0 / double(k)), qp(k);
  for (size_t i = 0; i < k; ++i)
    for (size_t j = 0; j < k; ++j)
      if (i != j) {
        q[i * k + i] += r[j * k + i] * r[j * k + i];
        q[i * k + j] = -r[j * k + i] * r[i * k + j];
      }
  for (size_t round = 0; round < std::max<size_t>(100, k); ++round) {
    double pqp = 0, worst = 0;
    for (size_t i = 0; i < k; ++i) {
      qp[i] = 0;
      for (size_t j = 0; j < k; ++j)
        qp[i] += q[i * k + j] * p[j];
      pqp += p[i] * qp[i];
    }
    for (double v : qp)
      worst = std::max(worst, std::fabs(v - pqp));
    if (worst < 0.005 / double(k))
      break;
    for (size_t i = 0; i < k; ++i) {
      const double step = (pqp - qp[i]) / q[i * k + i];
      p[i] += step;
      pqp = (pqp + step * (step * q[i * k + i] + 2 * qp[i])) / ((1 + step) * (1 + step));
      for (size_t j = 0; j < k; ++j) {
        qp[j] = (qp[j] + step * q[i * k + j]) / (1 + step);
        p[j] /= 1 + step;
      }
    }
  }
  return p;
}

namespace {
/// The attributes of an SVMClassifier, checked against each other.
struct Machines {
  Kernel kernel;
  std::vector<float> coefficients, vectors, rho, probA, probB;
  std::vector<int64_t> perClass, starts;
  int64_t numVectors = 0, classes = 0, pairs = 0;

  static absl::StatusOr<Machines> of(const EvalContext &ctx, size_t labels, int64_t features) {
    Machines m;
    auto kernel = Kernel::of(ctx);
    if (!kernel.ok())
      return kernel.status();
    m.kernel = *kernel;
    m.coefficients = ctx.getFloats("coefficients");
    m.vectors = ctx.getFloats("support_vectors");
    m.rho = ctx.getFloats("rho");
    m.probA = ctx.getFloats("prob_a");
    m.probB = ctx.getFloats("prob_b");
    m.perClass = ctx.getInts("vectors_per_class");
    for (int64_t n : m.perClass) {
      if (n < 0)
        return invalid(ctx, "attribute 'vectors_per_class' holds " + std::to_string(n));
      m.starts.push_back(m.numVectors);
      m.numVectors += n;
    }
    m.classes = m.numVectors ? int64_t(m.perClass.size()) : std::max<int64_t>(1, labels);
    m.pairs = m.classes * (m.classes - 1) / 2;
    if (m.coefficients.empty())
      return invalid(ctx, "needs attribute 'coefficients'");
    if (!m.numVectors) {
      m.kernel = Kernel();
      m.probA.clear();
      if (m.rho.empty() || m.coefficients.size() != size_t(m.classes * features))
        return invalid(ctx, m.rho.empty() ? "needs attribute 'rho'" : "coefficients do not fit classes and features");
      return m;
    }
    if (m.classes < 2 || m.vectors.size() != size_t(m.numVectors * features) ||
        m.coefficients.size() != size_t((m.classes - 1) * m.numVectors) || m.rho.size() < size_t(m.pairs))
      return invalid(ctx, "coefficients, support vectors and rho do not fit " + std::to_string(m.classes) +
                              " classes, " + std::to_string(m.numVectors) + " vectors and " + std::to_string(features) +
                              " features");
    if (!m.probA.empty() && (m.probA.size() < size_t(m.pairs) || m.probB.size() < size_t(m.pairs)))
      return invalid(ctx, "prob_a and prob_b need one element for each two classes");
    return m;
  }

  /// One score for each class (planes) or each two classes; `votes` counts for each class how many of those it wins.
  llvm::SmallVector<double, 8> scores(llvm::ArrayRef<double> x, llvm::SmallVectorImpl<int64_t> &votes) const {
    llvm::SmallVector<double, 8> out;
    if (!numVectors) {
      for (int64_t c = 0; c < classes; ++c)
        out.push_back(rho[0] + kernel(x, coefficients.data() + c * int64_t(x.size())));
      return out;
    }
    llvm::SmallVector<double, 32> alike(numVectors);
    for (int64_t v = 0; v < numVectors; ++v)
      alike[v] = kernel(x, vectors.data() + v * int64_t(x.size()));
    votes.assign(classes, 0);
    for (int64_t i = 0; i < classes; ++i)
      for (int64_t j = i + 1; j < classes; ++j) {
        double sum = rho[out.size()];
        for (int64_t v = starts[i]; v < starts[i] + perClass[i]; ++v)
          sum += coefficients[(j - 1) * numVectors + v] * alike[v];
        for (int64_t v = starts[j]; v < starts[j] + perClass[j]; ++v)
          sum += coefficients[i * numVectors + v] * alike[v];
        ++votes[sum > 0 ? i : j];
        out.push_back(sum);
      }
    return out;
  }

  /// Scores of each two classes as probabilities of the classes.
  llvm::SmallVector<double, 8> probabilities(llvm::ArrayRef<double> scores) const {
    llvm::SmallVector<double, 64> r(classes * classes, 0);
    size_t pair = 0;
    for (int64_t i = 0; i < classes; ++i)
      for (int64_t j = i + 1; j < classes; ++j, ++pair) {
        const double p = 1 / (1 + std::exp(scores[pair] * probA[pair] + probB[pair]));
        r[i * classes + j] = std::clamp(p, 1e-7, 1 - 1e-7);
        r[j * classes + i] = 1 - r[i * classes + j];
      }
    return coupled(r, classes);
  }
};
} // namespace

static absl::Status evalSVMClassifier(EvalContext &ctx) {
  auto scoring = Scoring::of(ctx);
  if (!scoring.ok())
    return scoring.status();
  const Labels classes(ctx, "classlabels_ints", "classlabels_strings");
  auto machines = Machines::of(ctx, classes.size(), scoring->features);
  if (!machines.ok())
    return machines.status();
  const bool hasProbabilities = !machines->probA.empty();
  const int64_t width = !machines->numVectors || hasProbabilities ? machines->classes
                        : machines->classes > 2                   ? machines->pairs
                                                                  : 2;
  OtherClass other = OtherClass::Absent;
  if (machines->rho.size() == 1 && classes.size() == 2)
    other = scoring->transform == PostTransform::None ? OtherClass::Opposite : OtherClass::Remainder;
  return classify(ctx, *scoring, classes, width, [&](int64_t row, Scores &scores) -> absl::StatusOr<Verdict> {
    llvm::SmallVector<int64_t, 8> votes;
    const auto raw = machines->scores(featuresOf(ctx.in(0), *scoring, row), votes);
    scores = hasProbabilities ? machines->probabilities(raw) : raw;
    if (machines->classes == 1) // the side of the one plane
      return Verdict{scores[0] > 0, other};
    return Verdict{votes.empty() ? largest(scores) : largest(votes), other};
  });
}
static void inferSVMClassifier(InferContext &ctx) {
  if (!checkLabels(ctx, "classlabels_ints", "classlabels_strings"))
    return;
  const Labels labels(ctx, "classlabels_ints", "classlabels_strings");
  const std::vector<int64_t> perClass = ctx.getInts("vectors_per_class");
  const bool hasVectors = llvm::any_of(perClass, [](int64_t n) { return n > 0; });
  const int64_t classes = hasVectors ? int64_t(perClass.size()) : std::max<int64_t>(1, labels.size());
  const bool ofPairs = hasVectors && ctx.getFloats("prob_a").empty() && classes > 2;
  inferClassifier(ctx, labels,
                  ctx.constantDim(ofPairs                     ? classes * (classes - 1) / 2
                                  : hasVectors && classes < 2 ? 2
                                                              : classes));
}
ONNXOPT_DEFINE_ML_OP(SVMClassifier) {
  op.since(1, {.infer = inferSVMClassifier, .eval = evalSVMClassifier, .storage = Storage::Native});
}
