// Matrix products.
#include "onnxopt/ops/support/FastMath.h"
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

namespace {

/// c[m,n] = a[m,k] * b[k,n] with element strides; plain loops, `A` accumulates.
template <typename T, typename A>
void plainGemm(int64_t m, int64_t n, int64_t k, const T *a, int64_t am, int64_t ak, const T *b, int64_t bk, int64_t bn,
               A *c) {
  std::vector<A> row(n);
  for (int64_t i = 0; i < m; ++i) {
    std::fill(row.begin(), row.end(), A(0));
    for (int64_t p = 0; p < k; ++p) {
      A v = A(a[i * am + p * ak]);
      const T *q = b + p * bk;
      if (bn == 1)
        for (int64_t j = 0; j < n; ++j)
          row[j] = wrappingAdd<A>(row[j], wrappingMul<A>(v, A(q[j])));
      else
        for (int64_t j = 0; j < n; ++j)
          row[j] = wrappingAdd<A>(row[j], wrappingMul<A>(v, A(q[j * bn])));
    }
    std::copy(row.begin(), row.end(), c + i * n);
  }
}

struct MatMulShape {
  Dims a, b, batch, out;
  int64_t m, n, k;
};
/// numpy.matmul: vectors become matrices, batch dimensions broadcast.
std::optional<MatMulShape> matmulShape(llvm::ArrayRef<int64_t> a, llvm::ArrayRef<int64_t> b) {
  MatMulShape s;
  s.a.assign(a.begin(), a.end());
  s.b.assign(b.begin(), b.end());
  if (a.empty() || b.empty())
    return std::nullopt;
  bool va = a.size() == 1, vb = b.size() == 1;
  if (va)
    s.a.insert(s.a.begin(), 1);
  if (vb)
    s.b.push_back(1);
  size_t ra = s.a.size(), rb = s.b.size();
  s.m = s.a[ra - 2];
  s.k = s.a[ra - 1];
  s.n = s.b[rb - 1];
  if (s.b[rb - 2] != s.k)
    return std::nullopt;
  auto batch = broadcastDims(llvm::ArrayRef<int64_t>(s.a).drop_back(2), llvm::ArrayRef<int64_t>(s.b).drop_back(2));
  if (!batch)
    return std::nullopt;
  s.batch = *batch;
  s.out = *batch;
  if (!va)
    s.out.push_back(s.m);
  if (!vb)
    s.out.push_back(s.n);
  return s;
}

/// Calls f(offset in a, offset in b, index of the product) for each matrix of the batch.
template <typename F> void forBatches(const MatMulShape &s, F f) {
  Dims oa(s.batch.size(), 0), ob(s.batch.size(), 0);
  Dims sa = broadcastStrides(llvm::ArrayRef<int64_t>(s.a).drop_back(2), s.batch);
  Dims sb = broadcastStrides(llvm::ArrayRef<int64_t>(s.b).drop_back(2), s.batch);
  int64_t total = elementCount(s.batch).value_or(0);
  Dims index(s.batch.size(), 0);
  int64_t a = 0, b = 0;
  for (int64_t i = 0; i < total; ++i) {
    f(a * s.m * s.k, b * s.k * s.n, i);
    for (size_t d = s.batch.size(); d-- > 0;) {
      a += sa[d];
      b += sb[d];
      if (++index[d] < s.batch[d])
        break;
      a -= sa[d] * s.batch[d];
      b -= sb[d] * s.batch[d];
      index[d] = 0;
    }
  }
}

absl::Status matmul(EvalContext &ctx, const Tensor &a, const Tensor &b, float alpha = 1) {
  auto s = matmulShape(a.dims(), b.dims());
  if (!s)
    return invalid(ctx, "operands do not fit");
  ONNXOPT_ASSIGN(y, ctx.allocate(a.type(), s->out));
  // A shared right matrix makes one product of all rows.
  bool shared = s->b.size() == 2 && a.rank() > 1;
  if (shared) {
    s->m *= elementCount(s->batch).value_or(0);
    s->batch.clear();
    s->a = {s->m, s->k};
  }
  if (!dispatchNumeric(a.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        if (s->m == 0 || s->n == 0)
          return;
        forBatches(*s, [&](int64_t oa, int64_t ob, int64_t i) {
          const T *pa = a.template data<T>() + oa, *pb = b.template data<T>() + ob;
          T *pc = y.template mutableData<T>() + i * s->m * s->n;
          if constexpr (std::is_same_v<T, float>)
            if (fastmath::gemm(false, false, s->m, s->n, s->k, pa, pb, pc))
              return;
          plainGemm<T, T>(s->m, s->n, s->k, pa, s->k, 1, pb, s->n, 1, pc);
        });
        if (alpha != 1)
          for (int64_t i = 0; i < y.size(); ++i)
            y.template mutableData<T>()[i] = T(y.template data<T>()[i] * alpha);
      }))
    return unsupportedType(ctx, a.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}

void inferMatMulFrom(InferContext &ctx, llvm::ArrayRef<Dim> a, llvm::ArrayRef<Dim> b, ElementType e) {
  if (a.empty() || b.empty())
    return ctx.fail("operands must have rank 1 or more");
  llvm::SmallVector<Dim, 4> x(a.begin(), a.end()), y(b.begin(), b.end());
  if (a.size() == 1)
    x.insert(x.begin(), ctx.constantDim(1));
  if (b.size() == 1)
    y.push_back(ctx.constantDim(1));
  ctx.requireEqual(x.back(), y[y.size() - 2], "inner sizes differ");
  llvm::ArrayRef<Dim> bx = llvm::ArrayRef<Dim>(x).drop_back(2), by = llvm::ArrayRef<Dim>(y).drop_back(2);
  llvm::SmallVector<Dim, 4> out(std::max(bx.size(), by.size()));
  for (size_t i = 0; i < out.size(); ++i) {
    Dim p = i + bx.size() >= out.size() ? bx[i + bx.size() - out.size()] : ctx.constantDim(1);
    Dim q = i + by.size() >= out.size() ? by[i + by.size() - out.size()] : ctx.constantDim(1);
    auto u = p.maybeConstant(), v = q.maybeConstant();
    if (u && v && *u != *v && *u != 1 && *v != 1)
      ctx.fail("batch sizes " + std::to_string(*u) + " and " + std::to_string(*v) + " do not broadcast");
    Dim d = ctx.dims().broadcast(p, q);
    out[i] = d ? d : ctx.freshDim();
  }
  if (a.size() > 1)
    out.push_back(x[x.size() - 2]);
  if (b.size() > 1)
    out.push_back(y.back());
  ctx.setTensor(0, e, out);
}
void inferMatMulAs(InferContext &ctx, unsigned a, unsigned b, ElementType e) {
  if (ctx.isRanked(a) && ctx.isRanked(b))
    inferMatMulFrom(ctx, ctx.shape(a), ctx.shape(b), e);
  else
    ctx.setUnranked(0, e);
}

} // namespace

static absl::Status evalMatMul(EvalContext &ctx) { return matmul(ctx, ctx.in(0), ctx.in(1)); }
static void inferMatMul(InferContext &ctx) { inferMatMulAs(ctx, 0, 1, elementOr(ctx, 0)); }
ONNXOPT_DEFINE_OP(MatMul) { op.since(1, {.infer = inferMatMul, .eval = evalMatMul}); }

// FusedMatMul: transposes of the last two dimensions, and a factor

static absl::StatusOr<Tensor> swapLast(EvalContext &ctx, const Tensor &t, bool swap) {
  if (!swap || t.rank() < 2)
    return t;
  Dims d(t.dims().begin(), t.dims().end()), s = stridesOf(t.dims());
  std::swap(d[d.size() - 1], d[d.size() - 2]);
  std::swap(s[s.size() - 1], s[s.size() - 2]);
  return stridedCopy(ctx, t, d, s);
}
static absl::Status evalFusedMatMul(EvalContext &ctx) {
  if (ctx.getInt("transBatchA") || ctx.getInt("transBatchB"))
    return absl::UnimplementedError("FusedMatMul with transposed batches");
  ONNXOPT_ASSIGN(a, swapLast(ctx, ctx.in(0), ctx.getInt("transA")));
  ONNXOPT_ASSIGN(b, swapLast(ctx, ctx.in(1), ctx.getInt("transB")));
  return matmul(ctx, a, b, ctx.getFloat("alpha", 1));
}
static void inferFusedMatMul(InferContext &ctx) {
  if (!ctx.isRanked(0) || !ctx.isRanked(1) || ctx.getInt("transBatchA") || ctx.getInt("transBatchB"))
    return ctx.setUnranked(0, elementOr(ctx, 0));
  llvm::SmallVector<Dim, 4> a(ctx.shape(0).begin(), ctx.shape(0).end()), b(ctx.shape(1).begin(), ctx.shape(1).end());
  if (ctx.getInt("transA") && a.size() > 1)
    std::swap(a[a.size() - 1], a[a.size() - 2]);
  if (ctx.getInt("transB") && b.size() > 1)
    std::swap(b[b.size() - 1], b[b.size() - 2]);
  inferMatMulFrom(ctx, a, b, elementOr(ctx, 0));
}
ONNXOPT_DEFINE_MS_OP(FusedMatMul) { op.since(1, {.infer = inferFusedMatMul, .eval = evalFusedMatMul}); }
ONNXOPT_DEFINE_MS_OP(TransposeMatMul) { op.since(1, {.infer = inferFusedMatMul, .eval = evalFusedMatMul}); }
ONNXOPT_DEFINE_MS_OP(FusedMatMulActivation) { op.since(1, {.infer = inferFusedMatMul}); }

// MatMulInteger, QLinearMatMul

static Tensor widen(const Tensor &t, const Tensor *zero, bool rows) {
  Tensor out(ElementType::Int32, t.dims());
  int64_t last = t.rank() ? t.dim(t.rank() - 1) : 1, second = t.rank() > 1 ? t.dim(t.rank() - 2) : 1;
  for (int64_t i = 0; i < t.size(); ++i) {
    int64_t z = 0;
    if (zero)
      z = zero->intAt(zero->size() == 1 ? 0 : rows ? i / last % second : i % last);
    out.mutableData<int32_t>()[i] = int32_t(t.intAt(i) - z);
  }
  return out;
}
/// Zero points and scales hold one element, or one for each row of the left or column of the right operand.
static absl::Status checkQuantization(EvalContext &ctx, unsigned matrix, bool rows,
                                      std::initializer_list<unsigned> parameters) {
  const Tensor &t = ctx.in(matrix);
  const size_t fromEnd = rows ? 2 : 1;
  const int64_t count = t.rank() >= fromEnd ? t.dim(t.rank() - fromEnd) : 1;
  for (unsigned i : parameters)
    if (ctx.has(i) && ctx.in(i).size() != 1 && ctx.in(i).size() != count)
      return invalid(ctx, "operand " + std::to_string(i) + " has " + std::to_string(ctx.in(i).size()) +
                              " elements, 1 or " + std::to_string(count) + " are needed");
  return absl::OkStatus();
}

static absl::Status evalMatMulInteger(EvalContext &ctx) {
  if (absl::Status s = checkQuantization(ctx, 0, true, {2}); !s.ok())
    return s;
  if (absl::Status s = checkQuantization(ctx, 1, false, {3}); !s.ok())
    return s;
  return matmul(ctx, widen(ctx.in(0), ctx.has(2) ? &ctx.in(2) : nullptr, true),
                widen(ctx.in(1), ctx.has(3) ? &ctx.in(3) : nullptr, false));
}
static void inferMatMulInteger(InferContext &ctx) { inferMatMulAs(ctx, 0, 1, ElementType::Int32); }
ONNXOPT_DEFINE_OP(MatMulInteger) { op.since(10, {.infer = inferMatMulInteger, .eval = evalMatMulInteger}); }

static absl::Status evalMatMulIntegerToFloat(EvalContext &ctx) {
  if (absl::Status s = checkQuantization(ctx, 0, true, {4}); !s.ok())
    return s;
  if (absl::Status s = checkQuantization(ctx, 1, false, {3, 5, 6}); !s.ok())
    return s;
  Tensor a = widen(ctx.in(0), ctx.has(4) ? &ctx.in(4) : nullptr, true),
         b = widen(ctx.in(1), ctx.has(5) ? &ctx.in(5) : nullptr, false);
  if (absl::Status s = matmul(ctx, a, b); !s.ok())
    return s;
  Tensor acc = ctx.results[0].tensor;
  const Tensor &sa = ctx.in(2), &sb = ctx.in(3);
  int64_t n = acc.rank() ? acc.dim(acc.rank() - 1) : 1;
  Tensor y(ElementType::Float, acc.dims());
  for (int64_t i = 0; i < acc.size(); ++i)
    y.mutableData<float>()[i] =
        float(acc.data<int32_t>()[i]) * float(sa.floatAt(0)) * float(sb.floatAt(sb.size() == 1 ? 0 : i % n)) +
        (ctx.has(6) ? float(ctx.in(6).floatAt(ctx.in(6).size() == 1 ? 0 : i % n)) : 0);
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferMatMulIntegerToFloat(InferContext &ctx) { inferMatMulAs(ctx, 0, 1, ElementType::Float); }
ONNXOPT_DEFINE_MS_OP(MatMulIntegerToFloat) {
  op.since(1, {.infer = inferMatMulIntegerToFloat, .eval = evalMatMulIntegerToFloat}).single({2});
}

static void inferDynamicQuantizeMatMul(InferContext &ctx) { inferMatMulAs(ctx, 0, 1, ElementType::Float); }
ONNXOPT_DEFINE_MS_OP(DynamicQuantizeMatMul) { op.since(1, {.infer = inferDynamicQuantizeMatMul}); }

/// Weights that are packed with less than 8 bits: the attributes say the matrix's sizes, [K,N].
static void inferPackedMatMul(InferContext &ctx) {
  const Dim k = ctx.constantDim(ctx.getInt("K")), n = ctx.constantDim(ctx.getInt("N"));
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, elementOr(ctx, 0));
  inferMatMulFrom(ctx, ctx.shape(0), {k, n}, elementOr(ctx, 0));
}
ONNXOPT_DEFINE_MS_OP(MatMulNBits) { op.since(1, {.infer = inferPackedMatMul}); }
static void inferMatMulBnb4(InferContext &ctx) {
  if (ctx.getInt("transB", 1))
    return inferPackedMatMul(ctx);
  ctx.setUnranked(0, elementOr(ctx, 0));
}
ONNXOPT_DEFINE_MS_OP(MatMulBnb4) { op.since(1, {.infer = inferMatMulBnb4}); }

static absl::Status evalQLinearMatMul(EvalContext &ctx) {
  if (absl::Status s = checkQuantization(ctx, 0, true, {1, 2}); !s.ok())
    return s;
  if (absl::Status s = checkQuantization(ctx, 3, false, {4, 5}); !s.ok())
    return s;
  if (absl::Status s = matmul(ctx, widen(ctx.in(0), &ctx.in(2), true), widen(ctx.in(3), &ctx.in(5), false)); !s.ok())
    return s;
  Tensor acc = ctx.results[0].tensor;
  ElementType type = ctx.in(7).type();
  bool isSigned = type == ElementType::Int8;
  const Tensor &sa = ctx.in(1), &sb = ctx.in(4);
  int64_t n = acc.rank() ? acc.dim(acc.rank() - 1) : 1, m = acc.rank() > 1 ? acc.dim(acc.rank() - 2) : 1;
  ONNXOPT_ASSIGN(y, ctx.allocate(type, acc.dims()));
  for (int64_t i = 0; i < acc.size(); ++i) {
    double scale =
        sa.floatAt(sa.size() == 1 ? 0 : i / n % m) * sb.floatAt(sb.size() == 1 ? 0 : i % n) / ctx.in(6).floatAt(0);
    double v = std::nearbyint(acc.data<int32_t>()[i] * scale) + double(ctx.in(7).intAt(0));
    y.mutableData<uint8_t>()[i] =
        uint8_t(saturateTo<int>(std::clamp(v, isSigned ? -128.0 : 0.0, isSigned ? 127.0 : 255.0)));
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferQLinearMatMul(InferContext &ctx) { inferMatMulAs(ctx, 0, 3, elementOr(ctx, 7)); }
ONNXOPT_DEFINE_OP(QLinearMatMul) {
  op.since(10, {.infer = inferQLinearMatMul, .eval = evalQLinearMatMul}).single({6, 7});
}

// Gemm

static absl::Status evalGemm(EvalContext &ctx) {
  const Tensor &a = ctx.in(0), &b = ctx.in(1);
  bool ta = ctx.getInt("transA"), tb = ctx.getInt("transB");
  if (a.rank() != 2 || b.rank() != 2)
    return invalid(ctx, "needs operands of rank 2");
  int64_t m = a.dim(ta), k = a.dim(!ta), n = b.dim(!tb);
  if (b.dim(tb) != k)
    return invalid(ctx, "inner sizes differ");
  float alpha = ctx.getFloat("alpha", 1), beta = ctx.getFloat("beta", 1);
  ONNXOPT_ASSIGN(y, ctx.allocate(a.type(), {m, n}));
  if (ctx.has(2)) {
    auto d = broadcastDims({m, n}, ctx.in(2).dims());
    if (!d || llvm::ArrayRef<int64_t>(*d) != y.dims())
      return invalid(ctx, "operand C does not broadcast");
  }
  if (!dispatchNumeric(a.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        T *q = y.template mutableData<T>();
        bool done = false;
        if constexpr (std::is_same_v<T, float>)
          done = fastmath::gemm(ta, tb, m, n, k, a.data<float>(), b.data<float>(), q);
        if (!done)
          plainGemm<T, T>(m, n, k, a.template data<T>(), ta ? 1 : k, ta ? m : 1, b.template data<T>(), tb ? 1 : n,
                          tb ? k : 1, q);
        if (alpha != 1)
          for (int64_t i = 0; i < m * n; ++i)
            q[i] = T(q[i] * alpha);
        if (ctx.has(2) && m > 0 && n > 0) {
          const T *c = ctx.in(2).template data<T>();
          Dims s = broadcastStrides(ctx.in(2).dims(), y.dims());
          for (int64_t i = 0; i < m; ++i)
            for (int64_t j = 0; j < n; ++j) {
              T v = c[i * s[0] + j * s[1]];
              q[i * n + j] += beta == 1 ? v : T(v * beta);
            }
        }
      }))
    return unsupportedType(ctx, a.type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferGemm(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  bool ta = ctx.getInt("transA"), tb = ctx.getInt("transB");
  for (unsigned i : {0u, 1u})
    if (ctx.isRanked(i) && ctx.rank(i) != 2)
      return ctx.fail("operand " + std::to_string(i) + " has rank " + std::to_string(ctx.rank(i)) + ", 2 is needed");
  Dim m = ctx.isRanked(0) ? ctx.shape(0)[ta] : ctx.freshDim(), n = ctx.isRanked(1) ? ctx.shape(1)[!tb] : ctx.freshDim();
  if (ctx.isRanked(0) && ctx.isRanked(1))
    ctx.requireEqual(ctx.shape(0)[!ta], ctx.shape(1)[tb], "inner sizes differ");
  if (ctx.isRanked(2)) {
    llvm::ArrayRef<Dim> c = ctx.shape(2);
    if (c.size() > 2)
      return ctx.fail("operand 2 has rank " + std::to_string(c.size()) + ", at most 2 is allowed");
    Dim mn[] = {m, n};
    for (size_t i = 0; i < c.size(); ++i) {
      Dim want = mn[2 - c.size() + i];
      if (c[i].isConstant() && c[i].constant() != 1 && want.isConstant() && want.constant() != c[i].constant())
        ctx.fail("operand C does not broadcast: " + std::to_string(c[i].constant()) + " against " +
                 std::to_string(want.constant()));
    }
  }
  ctx.setTensor(0, e, {m, n});
}
ONNXOPT_DEFINE_OP(Gemm) { op.since(1, {.infer = inferGemm, .eval = evalGemm}); }
ONNXOPT_DEFINE_MS_OP(FusedGemm) { op.since(1, {.infer = inferGemm}); }

// Det

static absl::Status evalDet(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  if (x.rank() < 2 || x.dim(x.rank() - 1) != x.dim(x.rank() - 2))
    return invalid(ctx, "needs square matrices");
  int64_t n = x.dim(x.rank() - 1);
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), x.dims().drop_back(2)));
  for (int64_t b = 0; b < y.size(); ++b) {
    std::vector<double> m(n * n);
    for (int64_t i = 0; i < n * n; ++i)
      m[i] = x.floatAt(b * n * n + i);
    double det = 1;
    for (int64_t c = 0; c < n; ++c) { // elimination with the largest pivot
      int64_t pivot = c;
      for (int64_t r = c + 1; r < n; ++r)
        if (std::fabs(m[r * n + c]) > std::fabs(m[pivot * n + c]))
          pivot = r;
      if (pivot != c) {
        std::swap_ranges(&m[c * n], &m[c * n] + n, &m[pivot * n]);
        det = -det;
      }
      double d = m[c * n + c];
      det *= d;
      if (d == 0)
        break;
      for (int64_t r = c + 1; r < n; ++r)
        for (int64_t k = n - 1; k >= c; --k)
          m[r * n + k] -= m[c * n + k] * m[r * n + c] / d;
    }
    dispatchFloat(x.type(), [&](auto tag) { y.mutableData<typename decltype(tag)::type>()[b] = det; });
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferDet(InferContext &ctx) {
  ElementType e = elementOr(ctx, 0);
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, e);
  if (ctx.rank(0) < 2)
    return ctx.fail("needs rank 2 or more");
  ctx.requireEqual(ctx.shape(0).back(), ctx.shape(0)[ctx.rank(0) - 2], "matrices are not square");
  ctx.setTensor(0, e, ctx.shape(0).drop_back(2));
}
ONNXOPT_DEFINE_OP(Det) { op.since(11, {.infer = inferDet, .eval = evalDet}); }

// Einsum

namespace {

struct Equation {
  std::vector<std::string> inputs; // labels; '.' stands for the ellipsis
  std::string output;
};
std::optional<Equation> parseEquation(std::string text) {
  llvm::erase_if(text, [](char c) { return c == ' '; });
  Equation e;
  auto labels = [](llvm::StringRef s) -> std::optional<std::string> {
    std::string out;
    while (!s.empty()) {
      if (s.consume_front("..."))
        out += '.';
      else if (isalpha(static_cast<unsigned char>(s[0]))) {
        out += s[0];
        s = s.drop_front();
      } else
        return std::nullopt;
    }
    return out;
  };
  size_t arrow = text.find("->");
  llvm::SmallVector<llvm::StringRef, 4> terms;
  std::string left = text.substr(0, arrow);
  llvm::StringRef(left).split(terms, ',');
  for (llvm::StringRef t : terms) {
    auto l = labels(t);
    if (!l)
      return std::nullopt;
    e.inputs.push_back(*l);
  }
  if (arrow != std::string::npos) {
    auto l = labels(llvm::StringRef(text).drop_front(arrow + 2));
    if (!l)
      return std::nullopt;
    e.output = *l;
    return e;
  }
  // Implicit: the ellipsis, then labels that occur once, in alphabetical order.
  std::map<char, int> counts;
  for (const std::string &s : e.inputs)
    for (char c : s)
      ++counts[c];
  if (counts.count('.'))
    e.output = ".";
  for (auto [c, n] : counts)
    if (c != '.' && n == 1)
      e.output += c;
  return e;
}

} // namespace

static absl::Status evalEinsum(EvalContext &ctx) {
  auto e = parseEquation(ctx.getString("equation"));
  if (!e || e->inputs.size() != ctx.numOperands())
    return invalid(ctx, "bad equation");
  // Ellipsis dimensions get labels of their own, right-aligned: 200, 201, ...
  size_t ellipsis = 0;
  for (unsigned i = 0; i < ctx.numOperands(); ++i)
    if (e->inputs[i].find('.') != std::string::npos) {
      if (ctx.in(i).rank() + 1 < e->inputs[i].size())
        return invalid(ctx, "an operand has too few dimensions for the equation");
      ellipsis = std::max(ellipsis, ctx.in(i).rank() + 1 - e->inputs[i].size());
    }
  auto spell = [&](const std::string &s, size_t rank) {
    std::vector<int> out;
    for (char c : s)
      if (c == '.') {
        size_t n = rank + 1 - s.size();
        for (size_t k = 0; k < n; ++k)
          out.push_back(200 + int(ellipsis - n + k));
      } else
        out.push_back(c);
    return out;
  };
  std::map<int, int64_t> sizes;
  std::vector<std::vector<int>> ins;
  for (unsigned i = 0; i < ctx.numOperands(); ++i) {
    ins.push_back(spell(e->inputs[i], ctx.in(i).rank()));
    if (ins.back().size() != ctx.in(i).rank())
      return invalid(ctx, "an operand's rank does not match the equation");
    for (size_t k = 0; k < ins.back().size(); ++k) {
      int64_t d = ctx.in(i).dim(k);
      auto [it, fresh] = sizes.try_emplace(ins.back()[k], d);
      if (it->second == 1)
        it->second = d;
      else if (d != 1 && d != it->second)
        return invalid(ctx, "sizes of one label differ");
    }
  }
  std::vector<int> out =
      spell(e->output, e->output.find('.') == std::string::npos ? e->output.size() : e->output.size() - 1 + ellipsis);
  std::vector<int> loops = out;
  for (auto [label, size] : sizes)
    if (!llvm::is_contained(out, label))
      loops.push_back(label);
  Dims dims, outDims;
  for (int l : loops)
    dims.push_back(sizes[l]);
  for (int l : out) {
    if (!sizes.count(l))
      return invalid(ctx, "the output has a label that no operand has");
    outDims.push_back(sizes[l]);
  }
  ONNXOPT_ASSIGN(y, ctx.allocate(ctx.in(0).type(), outDims));
  std::vector<Dims> strides;
  for (unsigned i = 0; i < ctx.numOperands(); ++i) {
    Dims s(loops.size(), 0), own = stridesOf(ctx.in(i).dims());
    for (size_t k = 0; k < ins[i].size(); ++k)
      for (size_t l = 0; l < loops.size(); ++l)
        if (loops[l] == ins[i][k] && ctx.in(i).dim(k) != 1)
          s[l] += own[k];
    strides.push_back(s);
  }
  int64_t total = elementCount(dims).value_or(0), inner = y.size() ? total / y.size() : 0;
  if (absl::Status s = ctx.step(uint64_t(total) / 1024); !s.ok())
    return s;
  if (!dispatchNumeric(ctx.in(0).type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        Dims index(loops.size(), 0);
        llvm::SmallVector<int64_t, 4> at(ctx.numOperands(), 0);
        for (int64_t o = 0; o < y.size(); ++o) {
          T sum = 0;
          for (int64_t k = 0; k < inner; ++k) {
            T p = 1;
            for (unsigned i = 0; i < ctx.numOperands(); ++i)
              p *= ctx.in(i).template data<T>()[at[i]];
            sum += p;
            for (size_t l = loops.size(); l-- > 0;) {
              for (unsigned i = 0; i < ctx.numOperands(); ++i)
                at[i] += strides[i][l];
              if (++index[l] < dims[l])
                break;
              for (unsigned i = 0; i < ctx.numOperands(); ++i)
                at[i] -= strides[i][l] * dims[l];
              index[l] = 0;
            }
          }
          y.template mutableData<T>()[o] = sum;
        }
      }))
    return unsupportedType(ctx, ctx.in(0).type());
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferEinsum(InferContext &ctx) {
  ElementType el = elementOr(ctx, 0);
  auto e = parseEquation(ctx.getString("equation"));
  if (!e)
    return ctx.fail("bad equation '" + ctx.getString("equation") + "'");
  if (e->inputs.size() != ctx.numOperands())
    return ctx.fail("the equation has " + std::to_string(e->inputs.size()) + " terms for " +
                    std::to_string(ctx.numOperands()) + " operands");
  std::map<char, Dim> sizes;
  llvm::SmallVector<Dim, 4> ellipsis;
  for (unsigned i = 0; i < ctx.numOperands(); ++i) {
    if (!ctx.isRanked(i))
      return ctx.setUnranked(0, el);
    const std::string &labels = e->inputs[i];
    bool dots = labels.find('.') != std::string::npos;
    if (dots ? ctx.rank(i) + 1 < labels.size() : ctx.rank(i) != labels.size())
      return ctx.fail("operand " + std::to_string(i) + " has rank " + std::to_string(ctx.rank(i)) + ", the term '" +
                      labels + "' does not fit");
    size_t k = 0;
    for (char c : labels) {
      if (c == '.') {
        size_t n = ctx.rank(i) + 1 - labels.size();
        if (n > ellipsis.size())
          ellipsis.insert(ellipsis.begin(), n - ellipsis.size(), ctx.constantDim(1));
        for (size_t j = 0; j < n; ++j) {
          Dim &slot = ellipsis[ellipsis.size() - n + j];
          slot = broadcastDim(ctx, slot, ctx.shape(i)[k++]);
        }
        continue;
      }
      Dim d = ctx.shape(i)[k++];
      auto [it, fresh] = sizes.try_emplace(c, d);
      if (!fresh) // a label's sizes broadcast, as in NumPy
        it->second = broadcastDim(ctx, it->second, d);
    }
  }
  llvm::SmallVector<Dim, 4> out;
  for (char c : e->output) {
    if (c == '.')
      out.append(ellipsis.begin(), ellipsis.end());
    else if (sizes.count(c))
      out.push_back(sizes[c] ? sizes[c] : ctx.freshDim());
    else
      return ctx.fail("the output label '" + std::string(1, c) + "' occurs in no operand");
  }
  ctx.setTensor(0, el, out);
}
ONNXOPT_DEFINE_OP(Einsum) { op.since(12, {.infer = inferEinsum, .eval = evalEinsum}); }
