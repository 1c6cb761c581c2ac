// Optimizer steps of ai.onnx.preview.training.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>

using namespace onnxopt;
using namespace onnxopt::kernels;

namespace {

/// Operands are a rate, a step count and `groups` lists of n tensors each: parameters, gradients and states. Results
/// are the new parameters and states. `step(x, g, states)` works on one element, in double.
template <typename F> absl::Status update(EvalContext &ctx, unsigned states, F step) {
  unsigned lists = 2 + states;
  if (ctx.numOperands() < 2 + lists || (ctx.numOperands() - 2) % lists)
    return invalid(ctx, "operands do not come in equal lists");
  unsigned n = (ctx.numOperands() - 2) / lists;
  for (unsigned i = 0; i < n; ++i) {
    const Tensor &x = ctx.in(2 + i);
    std::vector<Tensor> out;
    for (unsigned s = 0; s <= states; ++s) {
      ONNXOPT_ASSIGN(t, ctx.allocate(x.type(), x.dims()));
      out.push_back(t);
      if (ctx.in(2 + (s + 1) * n + i).dims() != x.dims())
        return invalid(ctx, "tensors of one parameter differ in shape");
    }
    if (!dispatchFloat(x.type(), [&](auto tag) {
          using T = typename decltype(tag)::type;
          for (int64_t k = 0; k < x.size(); ++k) {
            double state[2] = {0, 0};
            for (unsigned s = 0; s < states; ++s)
              state[s] = ctx.in(2 + (s + 2) * n + i).floatAt(k);
            out[0].mutableData<T>()[k] = T(step(x.floatAt(k), ctx.in(2 + n + i).floatAt(k), state));
            for (unsigned s = 0; s < states; ++s)
              out[s + 1].mutableData<T>()[k] = T(state[s]);
          }
        }))
      return unsupportedType(ctx, x.type());
    for (unsigned s = 0; s <= states; ++s)
      ctx.set(s * n + i, out[s]);
  }
  return absl::OkStatus();
}

template <unsigned States> void inferUpdate(InferContext &ctx) {
  if (ctx.numOperands() < 2)
    return;
  if ((ctx.numOperands() - 2) % (2 + States))
    return ctx.fail("operands 2 to " + std::to_string(ctx.numOperands() - 1) + " do not come in equal lists");
  unsigned n = (ctx.numOperands() - 2) / (2 + States);
  for (unsigned r = 0; r < ctx.numResults() && n; ++r)
    ctx.setType(r, ctx.type(2 + (r / n == 0 ? 0 : (r / n + 1) * n) + r % n));
}

} // namespace

static absl::Status evalMomentum(EvalContext &ctx) {
  double rate = ctx.in(0).floatAt(0), alpha = ctx.getFloat("alpha"), norm = ctx.getFloat("norm_coefficient");
  double beta = ctx.in(1).intAt(0) > 0 ? ctx.getFloat("beta") : 1;
  bool nesterov = ctx.getString("mode") == "nesterov";
  return update(ctx, 1, [=](double x, double g, double *v) {
    g += norm * x;
    v[0] = alpha * v[0] + beta * g;
    return x - rate * (nesterov ? g + alpha * v[0] : v[0]);
  });
}
ONNXOPT_DEFINE_TRAINING_OP(Momentum) { op.since(1, {.infer = inferUpdate<1>, .eval = evalMomentum}).single({0, 1}); }

static absl::Status evalAdagrad(EvalContext &ctx) {
  double epsilon = ctx.getFloat("epsilon"), norm = ctx.getFloat("norm_coefficient");
  double rate = ctx.in(0).floatAt(0) / (1 + double(ctx.in(1).intAt(0)) * ctx.getFloat("decay_factor"));
  return update(ctx, 1, [=](double x, double g, double *h) {
    g += norm * x;
    h[0] += g * g;
    return x - rate * g / (std::sqrt(h[0]) + epsilon);
  });
}
ONNXOPT_DEFINE_TRAINING_OP(Adagrad) { op.since(1, {.infer = inferUpdate<1>, .eval = evalAdagrad}).single({0, 1}); }

static absl::Status evalAdam(EvalContext &ctx) {
  double rate = ctx.in(0).floatAt(0), alpha = ctx.getFloat("alpha"), beta = ctx.getFloat("beta"),
         epsilon = ctx.getFloat("epsilon");
  double norm = ctx.getFloat("norm_coefficient"), post = ctx.getFloat("norm_coefficient_post");
  int64_t t = ctx.in(1).intAt(0);
  if (t > 0)
    rate *= std::sqrt(1 - std::pow(beta, double(t))) / (1 - std::pow(alpha, double(t)));
  return update(ctx, 2, [=](double x, double g, double *s) {
    g += norm * x;
    s[0] = alpha * s[0] + (1 - alpha) * g;
    s[1] = beta * s[1] + (1 - beta) * g * g;
    return (1 - post) * (x - rate * s[0] / (std::sqrt(s[1]) + epsilon));
  });
}
ONNXOPT_DEFINE_TRAINING_OP(Adam) { op.since(1, {.infer = inferUpdate<2>, .eval = evalAdam}).single({0, 1}); }
