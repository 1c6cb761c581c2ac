// Spectra and windows.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>
#include <complex>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

namespace {

using Complex = std::complex<double>;

/// The discrete Fourier transform by its definition for odd lengths, halving even ones. Exact enough for float32.
void fourier(const Complex *in, int64_t stride, Complex *out, int64_t n, double sign) {
  if (n % 2 == 0 && n > 2) {
    std::vector<Complex> even(n / 2), odd(n / 2);
    fourier(in, stride * 2, even.data(), n / 2, sign);
    fourier(in + stride, stride * 2, odd.data(), n / 2, sign);
    for (int64_t k = 0; k < n / 2; ++k) {
      Complex t = std::polar(1.0, sign * 2 * M_PI * double(k) / double(n)) * odd[k];
      out[k] = even[k] + t;
      out[k + n / 2] = even[k] - t;
    }
    return;
  }
  for (int64_t k = 0; k < n; ++k) {
    Complex sum = 0;
    for (int64_t j = 0; j < n; ++j)
      sum += in[j * stride] * std::polar(1.0, sign * 2 * M_PI * double(k * j % n) / double(n));
    out[k] = sum;
  }
}

void storeFloat(Tensor &t, int64_t i, double v) {
  if (t.type() == ElementType::Double)
    t.mutableData<double>()[i] = v;
  else
    t.mutableData<float>()[i] = float(v);
}

int64_t dftAxis(const NodeView &node, int64_t given, int64_t rank) {
  (void)node;
  return given < 0 ? given + rank : given;
}

} // namespace

// DFT

static absl::Status evalDFT(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  int64_t rank = x.rank();
  if (rank < 2 || (x.dim(rank - 1) != 1 && x.dim(rank - 1) != 2))
    return invalid(ctx, "the last dimension must be 1 (real) or 2 (complex)");
  int64_t given = ctx.version() < 20 ? ctx.getInt("axis", 1) : ctx.has(2) ? ctx.in(2).intAt(0) : -2;
  if (!axisInRange(given, rank))
    return invalid(ctx, "axis out of range");
  int64_t axis = dftAxis(ctx, given, rank);
  bool inverse = ctx.getInt("inverse"), onesided = ctx.getInt("onesided"), real = x.dim(rank - 1) == 1;
  int64_t have = x.dim(axis), n = ctx.has(1) ? ctx.in(1).intAt(0) : inverse && onesided ? 2 * (have - 1) : have;
  if (n <= 0 || axis == rank - 1)
    return invalid(ctx, "the transform has no length, or runs along the parts of numbers");
  int64_t out = onesided && !inverse ? n / 2 + 1 : n;
  Dims dims(x.dims().begin(), x.dims().end());
  dims[axis] = out;
  bool toReal = inverse && onesided; // the spectrum of a real signal gives a real signal
  dims[rank - 1] = toReal ? 1 : 2;
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), dims));
  int64_t parts = x.dim(rank - 1), outParts = dims[rank - 1];
  int64_t outer = 1, inner = 1;
  for (int64_t i = 0; i < axis; ++i)
    outer *= x.dim(i);
  for (int64_t i = axis + 1; i + 1 < rank; ++i)
    inner *= x.dim(i);
  std::vector<Complex> signal(n), spectrum(n);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      std::fill(signal.begin(), signal.end(), Complex(0));
      auto at = [&](int64_t k) { return ((o * have + k) * inner + i) * parts; };
      for (int64_t k = 0; k < std::min(have, toReal ? n / 2 + 1 : n); ++k)
        signal[k] = Complex(x.floatAt(at(k)), real ? 0 : x.floatAt(at(k) + 1));
      if (toReal)
        for (int64_t k = n / 2 + 1; k < n; ++k)
          signal[k] = std::conj(signal[n - k]);
      fourier(signal.data(), 1, spectrum.data(), n, inverse ? 1 : -1);
      for (int64_t k = 0; k < out; ++k) {
        int64_t to = ((o * out + k) * inner + i) * outParts;
        Complex v = inverse ? spectrum[k] / double(n) : spectrum[k];
        storeFloat(y, to, v.real());
        if (!toReal)
          storeFloat(y, to + 1, v.imag());
      }
    }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferDFT(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, e);
  int64_t rank = ctx.rank(0);
  std::optional<int64_t> given = ctx.version() < 20 ? ctx.getInt("axis", 1) : -2;
  if (ctx.version() >= 20 && ctx.hasOperand(2)) {
    auto v = constantInts(ctx, 2);
    given = v && v->size() == 1 ? std::optional((*v)[0]) : std::nullopt;
  }
  llvm::SmallVector<Dim, 4> out(ctx.shape(0).begin(), ctx.shape(0).end());
  bool inverse = ctx.getInt("inverse"), onesided = ctx.getInt("onesided");
  if (onesided && !inverse && rank && ctx.shape(0)[rank - 1].isConstant() && ctx.shape(0)[rank - 1].constant() > 1)
    return ctx.fail("a one-sided transform needs real numbers: the last dimension is " +
                    std::to_string(ctx.shape(0)[rank - 1].constant()) + ", not 1");
  if (rank)
    out[rank - 1] = ctx.constantDim(inverse && onesided ? 1 : 2);
  if (!given) {
    // Only one axis changes, and only by these.
    if (ctx.hasOperand(1) || onesided)
      for (int64_t i = 0; i + 1 < rank; ++i)
        out[i] = ctx.freshDim();
    return ctx.setTensor(0, e, out);
  }
  auto axis = normalizeAxis(ctx, *given, rank);
  if (!axis)
    return;
  DimContext &d = ctx.dims();
  Dim n = out[*axis];
  if (ctx.hasOperand(1)) {
    const SymTensor *v = ctx.value(1);
    n = v && v->elements.size() == 1 ? v->elements[0] : Dim();
  } else if (inverse && onesided) {
    n = d.mul(d.sub(n, d.constant(1)), d.constant(2));
  }
  if (n && onesided && !inverse)
    n = d.add(d.floorDiv(n, d.constant(2)), d.constant(1));
  out[*axis] = n ? n : ctx.freshDim();
  ctx.setTensor(0, e, out);
}
ONNXOPT_DEFINE_OP(DFT) { op.since(17, {.infer = inferDFT, .eval = evalDFT}).single({1, 2}); }

// STFT

static absl::Status evalSTFT(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  if (x.rank() < 2 || x.rank() > 3)
    return invalid(ctx, "the signal needs rank 2 or 3");
  int64_t B = x.dim(0), L = x.dim(1), parts = x.rank() == 3 ? x.dim(2) : 1, step = ctx.in(1).intAt(0);
  int64_t frame = ctx.has(3) ? ctx.in(3).intAt(0) : ctx.has(2) ? ctx.in(2).size() : L;
  if (step <= 0 || frame <= 0 || frame > L || (ctx.has(2) && ctx.in(2).size() != frame))
    return invalid(ctx, "frames do not fit the signal");
  bool onesided = ctx.getInt("onesided", 1);
  int64_t frames = (L - frame) / step + 1, bins = onesided ? frame / 2 + 1 : frame;
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), {B, frames, bins, 2}));
  std::vector<Complex> signal(frame), spectrum(frame);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t f = 0; f < frames; ++f) {
      for (int64_t k = 0; k < frame; ++k) {
        int64_t at = (b * L + f * step + k) * parts;
        double w = ctx.has(2) ? ctx.in(2).floatAt(k) : 1;
        signal[k] = Complex(x.floatAt(at), parts == 2 ? x.floatAt(at + 1) : 0) * w;
      }
      fourier(signal.data(), 1, spectrum.data(), frame, -1);
      for (int64_t k = 0; k < bins; ++k) {
        storeFloat(y, ((b * frames + f) * bins + k) * 2, spectrum[k].real());
        storeFloat(y, ((b * frames + f) * bins + k) * 2 + 1, spectrum[k].imag());
      }
    }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferSTFT(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  DimContext &d = ctx.dims();
  Dim batch = ctx.isRanked(0) && ctx.rank(0) > 1 ? ctx.shape(0)[0] : ctx.freshDim(), frames, bins, frame;
  if (ctx.hasOperand(3)) {
    if (const SymTensor *v = ctx.value(3); v && v->elements.size() == 1)
      frame = v->elements[0];
  } else if (ctx.isRanked(2) && ctx.rank(2) == 1) {
    frame = ctx.shape(2)[0];
  }
  const SymTensor *step = ctx.value(1);
  if (frame && step && step->elements.size() == 1 && step->elements[0] && ctx.isRanked(0) && ctx.rank(0) > 1 &&
      ctx.shape(0)[1])
    frames = d.add(d.floorDiv(d.sub(ctx.shape(0)[1], frame), step->elements[0]), d.constant(1));
  if (frame)
    bins = ctx.getInt("onesided", 1) ? d.add(d.floorDiv(frame, d.constant(2)), d.constant(1)) : frame;
  ctx.setTensor(0, e, {batch, frames ? frames : ctx.freshDim(), bins ? bins : ctx.freshDim(), d.constant(2)});
}
ONNXOPT_DEFINE_OP(STFT) { op.since(17, {.infer = inferSTFT, .eval = evalSTFT}).single({1, 3}); }

// Windows

/// Result 0: the numbers of `f` (double) as output_datatype says.
static absl::Status setAs(EvalContext &ctx, const Tensor &f) {
  auto type = static_cast<ElementType>(ctx.getInt("output_datatype", 1));
  if (type == ElementType::Double) {
    ctx.set(0, f);
  } else if (type == ElementType::Float) {
    ctx.set(0, toFloat(f));
  } else if (isSmallFloat(type)) {
    ctx.set(0, fromFloat(toFloat(f), type));
  } else {
    ONNXOPT_ASSIGN(y, ctx.allocate(type, f.dims()));
    if (!dispatchNumeric(type, [&](auto tag) {
          for (int64_t i = 0; i < f.size(); ++i)
            y.mutableData<typename decltype(tag)::type>()[i] =
                saturateTo<typename decltype(tag)::type>(f.data<double>()[i]);
        }))
      return unsupportedType(ctx, type);
    ctx.set(0, std::move(y));
  }
  return absl::OkStatus();
}

static absl::Status cosineWindow(EvalContext &ctx, double a0, double a1, double a2) {
  int64_t n = ctx.in(0).intAt(0);
  bool periodic = ctx.getInt("periodic", 1);
  if (n < 0)
    return invalid(ctx, "the size is negative");
  ONNXOPT_ASSIGN(f, ctx.allocate(ElementType::Double, {n}));
  double period = double(periodic ? n : n - 1);
  for (int64_t i = 0; i < n; ++i) {
    double t = 2 * M_PI * double(i) / period;
    f.mutableData<double>()[i] = a0 - a1 * std::cos(t) + a2 * std::cos(2 * t);
  }
  return setAs(ctx, f);
}
static void inferWindow(InferContext &ctx) {
  const SymTensor *v = ctx.value(0);
  Dim n = v && v->elements.size() == 1 ? v->elements[0] : Dim();
  if (n && n.isConstant() && n.constant() < 0)
    return ctx.fail("the size is negative");
  ctx.setTensor(0, static_cast<ElementType>(ctx.getInt("output_datatype", 1)), {n ? n : ctx.freshDim()});
}
static absl::Status evalHann(EvalContext &ctx) { return cosineWindow(ctx, 0.5, 0.5, 0); }
static absl::Status evalHamming(EvalContext &ctx) { return cosineWindow(ctx, 25.0 / 46, 21.0 / 46, 0); }
static absl::Status evalBlackman(EvalContext &ctx) { return cosineWindow(ctx, 0.42, 0.5, 0.08); }
ONNXOPT_DEFINE_OP(HannWindow) {
  op.since(17, {.infer = inferWindow, .eval = evalHann, .storage = Storage::Native}).single({0});
}
ONNXOPT_DEFINE_OP(HammingWindow) {
  op.since(17, {.infer = inferWindow, .eval = evalHamming, .storage = Storage::Native}).single({0});
}
ONNXOPT_DEFINE_OP(BlackmanWindow) {
  op.since(17, {.infer = inferWindow, .eval = evalBlackman, .storage = Storage::Native}).single({0});
}

// MelWeightMatrix

static absl::Status evalMel(EvalContext &ctx) {
  int64_t mels = ctx.in(0).intAt(0), length = ctx.in(1).intAt(0), rate = ctx.in(2).intAt(0);
  double low = ctx.in(3).floatAt(0), high = ctx.in(4).floatAt(0);
  if (mels < 0 || length < 0 || rate <= 0 || length == INT64_MAX || mels > INT64_MAX / 4)
    return invalid(ctx, "sizes must be positive");
  int64_t bins = length / 2 + 1;
  auto toMel = [](double hz) { return 2595 * std::log1p(hz / 700) / std::log(10.0); };
  double lowMel = toMel(low), stepMel = (toMel(high) - lowMel) / double(mels + 2);
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Double, {bins, mels}));
  std::vector<int64_t> edge(mels + 2);
  for (int64_t i = 0; i < mels + 2; ++i)
    edge[i] = saturateTo<int32_t>(std::floor(
        double(length + 1) * 700 * std::expm1((double(i) * stepMel + lowMel) / 2595 * std::log(10.0)) / double(rate)));
  for (int64_t m = 0; m < mels; ++m) {
    int64_t a = edge[m], b = edge[m + 1], c = edge[m + 2];
    auto put = [&](int64_t j, double v) {
      if (j >= 0 && j < bins)
        y.mutableData<double>()[j * mels + m] = double(float(v));
    };
    if (a == b)
      put(b, 1);
    else
      for (int64_t j = std::max<int64_t>(a, 0); j <= std::min(b, bins); ++j)
        put(j, double(j - a) / double(b - a));
    for (int64_t j = std::max<int64_t>(b, 0); j < std::min(c, bins); ++j)
      put(j, double(c - j) / double(c - b));
  }
  return setAs(ctx, y);
}
static void inferMel(InferContext &ctx) {
  auto one = [&](unsigned i) {
    const SymTensor *v = ctx.value(i);
    return v && v->elements.size() == 1 ? v->elements[0] : Dim();
  };
  Dim mels = one(0), length = one(1);
  Dim bins =
      length ? ctx.dims().add(ctx.dims().floorDiv(length, ctx.constantDim(2)), ctx.constantDim(1)) : ctx.freshDim();
  ctx.setTensor(0, static_cast<ElementType>(ctx.getInt("output_datatype", 1)), {bins, mels ? mels : ctx.freshDim()});
}
ONNXOPT_DEFINE_OP(MelWeightMatrix) {
  op.since(17, {.infer = inferMel, .eval = evalMel, .storage = Storage::Native}).single({0, 1, 2, 3, 4});
}
