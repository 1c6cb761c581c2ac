// RNN, GRU, LSTM.
#include "onnxopt/ops/support/FastMath.h"
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

namespace {

struct Activation {
  std::string name;
  float alpha, beta;
  double operator()(double x) const {
    if (name == "Sigmoid")
      return 1 / (1 + std::exp(-x));
    if (name == "Tanh")
      return std::tanh(x);
    if (name == "Relu")
      return x < 0 ? 0 : x;
    if (name == "LeakyRelu")
      return x < 0 ? alpha * x : x;
    if (name == "ThresholdedRelu")
      return x > alpha ? x : 0;
    if (name == "ScaledTanh")
      return alpha * std::tanh(beta * x);
    if (name == "HardSigmoid")
      return std::fmin(1, std::fmax(0, alpha * x + beta));
    if (name == "Elu")
      return x < 0 ? alpha * (std::exp(x) - 1) : x;
    if (name == "Softsign")
      return x / (1 + std::fabs(x));
    if (name == "Softplus")
      return std::log1p(std::exp(x));
    return alpha * x + beta; // Affine
  }
};

enum class Cell { Rnn, Gru, Lstm };

struct Recurrence {
  Cell cell;
  int64_t gates, directions, hidden, seq, batch, input;
  bool batchFirst;
  std::vector<Activation> f;
};

absl::StatusOr<Recurrence> recurrence(EvalContext &ctx, Cell cell) {
  Recurrence r;
  r.cell = cell;
  r.gates = cell == Cell::Rnn ? 1 : cell == Cell::Gru ? 3 : 4;
  const Tensor &x = ctx.in(0), &w = ctx.in(1);
  if (x.rank() != 3 || w.rank() != 3)
    return invalid(ctx, "X and W need rank 3");
  r.batchFirst = ctx.getInt("layout", 0) == 1;
  r.seq = x.dim(r.batchFirst);
  r.batch = x.dim(!r.batchFirst);
  r.input = x.dim(2);
  std::string direction = ctx.getString("direction", "forward");
  r.directions = direction == "bidirectional" ? 2 : 1;
  r.hidden = ctx.getInt("hidden_size", w.dim(1) / r.gates);
  if (w.dim(0) != r.directions || w.dim(1) != r.gates * r.hidden || w.dim(2) != r.input)
    return invalid(ctx, "W does not fit");
  std::vector<std::string> names = ctx.getStrings("activations");
  size_t per = cell == Cell::Rnn ? 1 : cell == Cell::Gru ? 2 : 3;
  if (!ctx.hasAttribute("activations")) {
    names.clear();
    for (int64_t d = 0; d < r.directions; ++d) {
      if (cell != Cell::Rnn)
        names.push_back("Sigmoid");
      for (size_t i = cell == Cell::Rnn ? 0 : 1; i < per; ++i)
        names.push_back("Tanh");
    }
  }
  if (names.size() != per * r.directions)
    return invalid(ctx, "wrong number of activations");
  std::vector<float> alphas = ctx.getFloats("activation_alpha"), betas = ctx.getFloats("activation_beta");
  size_t a = 0, b = 0;
  for (std::string &n : names) {
    // Only activations with parameters take from the lists.
    auto lower = llvm::StringRef(n).lower();
    Activation act{n, 0, 0};
    for (const char *known : {"Sigmoid", "Tanh", "Relu", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid",
                              "Elu", "Softsign", "Softplus", "Affine"})
      if (lower == llvm::StringRef(known).lower())
        act.name = known;
    static const std::map<std::string, std::pair<float, float>> defaults = {
        {"LeakyRelu", {0.01f, 0}}, {"ThresholdedRelu", {1, 0}}, {"ScaledTanh", {1, 1}}, {"HardSigmoid", {0.2f, 0.5f}},
        {"Elu", {1, 0}},           {"Affine", {1, 0}}};
    if (auto it = defaults.find(act.name); it != defaults.end()) {
      act.alpha = a < alphas.size() ? alphas[a++] : it->second.first;
      bool usesBeta = act.name == "ScaledTanh" || act.name == "HardSigmoid" || act.name == "Affine";
      act.beta = usesBeta && b < betas.size() ? betas[b++] : it->second.second;
    }
    r.f.push_back(act);
  }
  return r;
}

/// out[g] = sum over i of x[i] * w[g, i]
template <typename T> void matvec(const T *w, const T *x, int64_t rows, int64_t n, T *out) {
  for (int64_t g = 0; g < rows; ++g) {
    T s = 0;
    for (int64_t i = 0; i < n; ++i)
      s += w[g * n + i] * x[i];
    out[g] = s;
  }
}

template <typename T>
absl::Status run(EvalContext &ctx, const Recurrence &r, const Tensor &weights, const Tensor &recurrent) {
  const Tensor &x = ctx.in(0);
  int64_t H = r.hidden, G = r.gates;
  const T *bias = ctx.has(3) ? ctx.in(3).data<T>() : nullptr;
  const T *peephole = r.cell == Cell::Lstm && ctx.has(7) ? ctx.in(7).data<T>() : nullptr;
  bool linearBefore = ctx.getInt("linear_before_reset");
  bool coupled = ctx.getInt("input_forget");
  float clip = ctx.hasAttribute("clip") ? ctx.getFloat("clip") : 0;
  auto clipped = [&](double v) { return clip > 0 ? std::clamp<double>(v, -clip, clip) : v; };
  Tensor y(x.type(), r.batchFirst ? Dims{r.batch, r.seq, r.directions, H} : Dims{r.seq, r.directions, r.batch, H});
  Dims stateDims = r.batchFirst ? Dims{r.batch, r.directions, H} : Dims{r.directions, r.batch, H};
  Tensor lastH(x.type(), stateDims), lastC(x.type(), stateDims);
  std::string direction = ctx.getString("direction", "forward");
  auto stateAt = [&](int64_t d, int64_t b) { return (r.batchFirst ? b * r.directions + d : d * r.batch + b) * H; };
  std::vector<T> h(H), c(H), gx(G * H), gh(G * H), reset(H), next(H);
  size_t per = r.cell == Cell::Rnn ? 1 : r.cell == Cell::Gru ? 2 : 3;
  for (int64_t d = 0; d < r.directions; ++d) {
    bool reverse = d == 1 || direction == "reverse";
    const T *w = weights.data<T>() + d * G * H * r.input, *u = recurrent.data<T>() + d * G * H * H;
    const T *wb = bias ? bias + d * 2 * G * H : nullptr, *rb = bias ? wb + G * H : nullptr;
    const T *p = peephole ? peephole + d * 3 * H : nullptr;
    const Activation *f = &r.f[d * per];
    for (int64_t b = 0; b < r.batch; ++b) {
      if (ctx.has(5))
        std::copy_n(ctx.in(5).data<T>() + stateAt(d, b), H, h.begin());
      else
        std::fill(h.begin(), h.end(), T(0));
      if (r.cell == Cell::Lstm && ctx.has(6))
        std::copy_n(ctx.in(6).data<T>() + stateAt(d, b), H, c.begin());
      else
        std::fill(c.begin(), c.end(), T(0));
      int64_t length = ctx.has(4) ? std::clamp<int64_t>(ctx.in(4).intAt(b), 0, r.seq) : r.seq;
      for (int64_t s = 0; s < length; ++s) {
        int64_t t = reverse ? length - 1 - s : s;
        const T *in = x.data<T>() + (r.batchFirst ? b * r.seq + t : t * r.batch + b) * r.input;
        matvec(w, in, G * H, r.input, gx.data());
        matvec(u, h.data(), G * H, H, gh.data());
        auto pre = [&](int64_t g, int64_t j) {
          return double(gx[g * H + j]) + gh[g * H + j] + (wb ? double(wb[g * H + j]) + rb[g * H + j] : 0);
        };
        if (r.cell == Cell::Rnn) {
          for (int64_t j = 0; j < H; ++j)
            next[j] = T(f[0](clipped(pre(0, j))));
          h = next;
        } else if (r.cell == Cell::Gru) { // gates z, r, h
          std::vector<T> z(H), hidden(H);
          for (int64_t j = 0; j < H; ++j) {
            z[j] = T(f[0](clipped(pre(0, j))));
            reset[j] = T(f[0](clipped(pre(1, j))));
          }
          if (!linearBefore) {
            for (int64_t j = 0; j < H; ++j)
              next[j] = reset[j] * h[j];
            matvec(u + 2 * H * H, next.data(), H, H, hidden.data());
          }
          for (int64_t j = 0; j < H; ++j) {
            double v = gx[2 * H + j] + (wb ? double(wb[2 * H + j]) : 0);
            if (linearBefore)
              v += reset[j] * (double(gh[2 * H + j]) + (rb ? double(rb[2 * H + j]) : 0));
            else
              v += double(hidden[j]) + (rb ? double(rb[2 * H + j]) : 0);
            next[j] = T((1 - z[j]) * f[1](clipped(v)) + z[j] * h[j]);
          }
          h = next;
        } else { // gates i, o, f, c
          for (int64_t j = 0; j < H; ++j) {
            double i = f[0](clipped(pre(0, j) + (p ? double(p[j]) * c[j] : 0)));
            double forget = coupled ? 1 - i : f[0](clipped(pre(2, j) + (p ? double(p[2 * H + j]) * c[j] : 0)));
            double cell = forget * c[j] + i * f[1](clipped(pre(3, j)));
            double o = f[0](clipped(pre(1, j) + (p ? double(p[H + j]) * cell : 0)));
            c[j] = T(cell);
            next[j] = T(o * f[2](cell));
          }
          h = next;
        }
        int64_t at =
            r.batchFirst ? ((b * r.seq + t) * r.directions + d) * H : ((t * r.directions + d) * r.batch + b) * H;
        std::copy_n(h.begin(), H, y.mutableData<T>() + at);
      }
      std::copy_n(h.begin(), H, lastH.mutableData<T>() + stateAt(d, b));
      std::copy_n(c.begin(), H, lastC.mutableData<T>() + stateAt(d, b));
    }
  }
  ctx.set(0, std::move(y));
  ctx.set(1, std::move(lastH));
  ctx.set(2, std::move(lastC));
  return absl::OkStatus();
}

absl::Status evalRecurrent(EvalContext &ctx, Cell cell) {
  auto r = recurrence(ctx, cell);
  if (!r.ok())
    return r.status();
  if (ctx.in(2).size() != r->directions * r->gates * r->hidden * r->hidden)
    return invalid(ctx, "R does not fit");
  if (ctx.has(3) && ctx.in(3).size() != 2 * r->directions * r->gates * r->hidden)
    return invalid(ctx, "B does not fit");
  for (unsigned i : {5u, 6u})
    if (i < ctx.numOperands() && ctx.has(i) && (cell == Cell::Lstm || i == 5) &&
        ctx.in(i).size() != r->directions * r->batch * r->hidden)
      return invalid(ctx, "an initial state does not fit");
  if (ctx.has(4) && ctx.in(4).size() != r->batch)
    return invalid(ctx, "sequence_lens does not fit");
  if (cell == Cell::Lstm && ctx.has(7) && ctx.in(7).size() != r->directions * 3 * r->hidden)
    return invalid(ctx, "P does not fit");
  if (ctx.in(0).type() == ElementType::Float)
    return run<float>(ctx, *r, ctx.in(1), ctx.in(2));
  if (ctx.in(0).type() == ElementType::Double)
    return run<double>(ctx, *r, ctx.in(1), ctx.in(2));
  return unsupportedType(ctx, ctx.in(0).type());
}

/// `Gates` of the weights, which are held against the other operands; 0 where weights are laid out otherwise.
template <int Gates> void inferRecurrent(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  int64_t directions = ctx.getString("direction", "forward") == "bidirectional" ? 2 : 1;
  bool batchFirst = ctx.getInt("layout", 0) == 1;
  Dim hidden = ctx.hasAttribute("hidden_size") ? ctx.constantDim(ctx.getInt("hidden_size")) : Dim();
  if (!hidden && ctx.isRanked(2) && ctx.rank(2) == 3)
    hidden = ctx.shape(2)[2];
  if (!hidden)
    hidden = ctx.freshDim();
  if (ctx.isRanked(0) && ctx.rank(0) != 3)
    return ctx.fail("X has rank " + std::to_string(ctx.rank(0)) + ", 3 is needed");
  Dim seq = ctx.isRanked(0) ? ctx.shape(0)[batchFirst] : ctx.freshDim(),
      batch = ctx.isRanked(0) ? ctx.shape(0)[!batchFirst] : ctx.freshDim();
  Dim d = ctx.constantDim(directions);
  if (Gates) {
    DimContext &dims = ctx.dims();
    auto times = [&](int64_t n) { return dims.mul(ctx.constantDim(n), hidden); };
    const Dim input = ctx.isRanked(0) ? ctx.shape(0)[2] : Dim();
    const auto state = batchFirst ? std::vector<Dim>{batch, d, hidden} : std::vector<Dim>{d, batch, hidden};
    const std::pair<llvm::StringRef, std::vector<Dim>> expected[] = {{"W", {d, times(Gates), input}},
                                                                     {"R", {d, times(Gates), hidden}},
                                                                     {"B", {d, times(2 * Gates)}},
                                                                     {"sequence_lens", {batch}},
                                                                     {"initial_h", state},
                                                                     {"initial_c", state},
                                                                     {"P", {d, times(3)}}};
    for (unsigned i = 1; i < ctx.numOperands() && i <= std::size(expected); ++i) {
      const auto &[name, shape] = expected[i - 1];
      if (!ctx.hasOperand(i) || !ctx.isRanked(i))
        continue;
      if (ctx.rank(i) != shape.size())
        return ctx.fail(name.str() + " has rank " + std::to_string(ctx.rank(i)) + ", " + std::to_string(shape.size()) +
                        " is needed");
      for (size_t k = 0; k < shape.size(); ++k)
        ctx.requireEqual(shape[k], ctx.shape(i)[k], (name + " does not fit along axis " + std::to_string(k)).str());
    }
  }
  if (batchFirst) {
    ctx.setTensor(0, e, {batch, seq, d, hidden});
    ctx.setTensor(1, e, {batch, d, hidden});
    ctx.setTensor(2, e, {batch, d, hidden});
  } else {
    ctx.setTensor(0, e, {seq, d, batch, hidden});
    ctx.setTensor(1, e, {d, batch, hidden});
    ctx.setTensor(2, e, {d, batch, hidden});
  }
}

} // namespace

static absl::Status evalRNN(EvalContext &ctx) { return evalRecurrent(ctx, Cell::Rnn); }
static absl::Status evalGRU(EvalContext &ctx) { return evalRecurrent(ctx, Cell::Gru); }
static absl::Status evalLSTM(EvalContext &ctx) { return evalRecurrent(ctx, Cell::Lstm); }
ONNXOPT_DEFINE_OP(RNN) { op.since(1, {.infer = inferRecurrent<1>, .eval = evalRNN}); }
ONNXOPT_DEFINE_OP(GRU) { op.since(1, {.infer = inferRecurrent<3>, .eval = evalGRU}); }
ONNXOPT_DEFINE_OP(LSTM) { op.since(1, {.infer = inferRecurrent<4>, .eval = evalLSTM}); }

// DynamicQuantizeLSTM: onnxruntime quantizes X and H to uint8 at run time and multiplies whole numbers.

namespace {

struct Quantized {
  std::vector<uint8_t> q;
  float scale;
  uint8_t zero;
};
Quantized quantize(const float *x, int64_t n) {
  float lo = 0, hi = 0;
  for (int64_t i = 0; i < n; ++i) {
    lo = std::min(lo, x[i]);
    hi = std::max(hi, x[i]);
  }
  Quantized r;
  r.scale = hi == lo ? 1.0f : (hi - lo) / 255.0f;
  r.zero = uint8_t(std::nearbyint(std::clamp(-lo / r.scale, 0.0f, 255.0f)));
  r.q.resize(n);
  for (int64_t i = 0; i < n; ++i)
    r.q[i] = uint8_t(std::clamp(std::nearbyint(x[i] / r.scale) + r.zero, 0.0f, 255.0f));
  return r;
}

} // namespace

static absl::Status evalDynamicQuantizeLSTM(EvalContext &ctx) {
  // Operands: X, W [D, I, 4H], R [D, H, 4H], B, lens, h0, c0, P, Wscale, Wzero, Rscale, Rzero.
  const Tensor &x = ctx.in(0), &w = ctx.in(1), &u = ctx.in(2);
  if (x.rank() != 3 || w.rank() != 3 || u.rank() != 3)
    return invalid(ctx, "X, W and R need rank 3");
  if (ctx.has(7) || ctx.getInt("input_forget"))
    return absl::UnimplementedError("DynamicQuantizeLSTM with peepholes or coupled gates");
  int64_t D = w.dim(0), I = x.dim(2), H = u.dim(1), G = 4 * H, S = x.dim(0), B = x.dim(1);
  if (w.dim(1) != I || w.dim(2) != G || u.dim(2) != G)
    return invalid(ctx, "W or R does not fit");
  std::string direction = ctx.getString("direction", "forward");
  Tensor y(ElementType::Float, {S, D, B, H}), lastH(ElementType::Float, {D, B, H}),
      lastC(ElementType::Float, {D, B, H});
  auto product = [&](const Tensor &weight, const Tensor &scale, const Tensor &zero, int64_t d, const float *in,
                     int64_t rows, int64_t n, float *out) {
    Quantized a = quantize(in, rows * n);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t g = 0; g < G; ++g) {
        int64_t perColumn = scale.size() / D;
        int64_t z = zero.intAt(zero.size() == 1 ? 0 : zero.size() / D == G ? d * G + g : d);
        int32_t acc = 0;
        for (int64_t i = 0; i < n; ++i)
          acc += (int32_t(a.q[r * n + i]) - a.zero) * int32_t(weight.intAt((d * n + i) * G + g) - z);
        out[r * G + g] = float(acc) * a.scale *
                         float(scale.floatAt(perColumn == G ? d * G + g
                                             : perColumn    ? d * perColumn
                                                            : 0));
      }
  };
  for (int64_t d = 0; d < D; ++d) {
    bool reverse = d == 1 || direction == "reverse";
    std::vector<float> h(B * H, 0), c(B * H, 0), gx(S * B * G), gh(B * G);
    if (ctx.has(5))
      std::copy_n(ctx.in(5).data<float>() + d * B * H, B * H, h.begin());
    if (ctx.has(6))
      std::copy_n(ctx.in(6).data<float>() + d * B * H, B * H, c.begin());
    product(w, ctx.in(8), ctx.in(9), d, x.data<float>(), S * B, I, gx.data());
    const float *bias = ctx.has(3) ? ctx.in(3).data<float>() + d * 2 * G : nullptr;
    auto sigmoid = [](float v) { return 1 / (1 + std::exp(-v)); };
    for (int64_t s = 0; s < S; ++s) {
      int64_t t = reverse ? S - 1 - s : s;
      product(u, ctx.in(10), ctx.in(11), d, h.data(), B, H, gh.data());
      for (int64_t b = 0; b < B; ++b)
        for (int64_t j = 0; j < H; ++j) {
          auto pre = [&](int64_t g) {
            int64_t k = g * H + j;
            return gx[(t * B + b) * G + k] + gh[b * G + k] + (bias ? bias[k] + bias[G + k] : 0);
          };
          float cell = sigmoid(pre(2)) * c[b * H + j] + sigmoid(pre(0)) * std::tanh(pre(3));
          c[b * H + j] = cell;
          h[b * H + j] = sigmoid(pre(1)) * std::tanh(cell);
        }
      std::copy(h.begin(), h.end(), y.mutableData<float>() + (t * D + d) * B * H);
    }
    std::copy(h.begin(), h.end(), lastH.mutableData<float>() + d * B * H);
    std::copy(c.begin(), c.end(), lastC.mutableData<float>() + d * B * H);
  }
  ctx.set(0, std::move(y));
  ctx.set(1, std::move(lastH));
  ctx.set(2, std::move(lastC));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_MS_OP(DynamicQuantizeLSTM) {
  op.since(1, {.infer = inferRecurrent<0>, .eval = evalDynamicQuantizeLSTM});
}
