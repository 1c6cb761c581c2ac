// Attention and embeddings as onnxruntime's transformer optimizer fuses them: shape rules only.
// Letters: B batch, S sequence of the query, L sequence of the key, P past, N heads, H size of a head.
#include "onnxopt/ops/support/Rules.h"

using namespace onnxopt;
using namespace onnxopt::rules;

/// Size `axis` of operand `i`; null where it is not known.
static Dim size(InferContext &ctx, unsigned i, size_t axis) {
  return ctx.isRanked(i) && axis < ctx.rank(i) ? ctx.shape(i)[axis] : Dim();
}
static Dim orFresh(InferContext &ctx, Dim d) { return d ? d : ctx.freshDim(); }
static Dim mul(InferContext &ctx, Dim a, Dim b) { return a && b ? ctx.dims().mul(a, b) : Dim(); }
/// a / b where b divides a for sure.
static Dim divided(InferContext &ctx, Dim a, int64_t b) {
  if (!a || b <= 0)
    return {};
  if (a.isConstant())
    return a.constant() % b ? Dim() : ctx.constantDim(a.constant() / b);
  return ctx.dims().floorDiv(a, ctx.constantDim(b));
}

// Attention, QAttention: input [B,S,D] times weights [D,3*N*H]; present [2,B,N,P+S,H]. Operand
// `typed` has the element type of the results, since the input may be quantized.

static void inferSelfAttention(InferContext &ctx, unsigned typed, unsigned past) {
  const ElementType e = elementOr(ctx, typed);
  const int64_t heads = ctx.getInt("num_heads");
  const std::vector<int64_t> sizes = ctx.getInts("qkv_hidden_sizes");
  if (ctx.isRanked(0) && ctx.rank(0) != 3)
    return ctx.fail("operand 0 has rank " + std::to_string(ctx.rank(0)) + ", 3 is expected");
  if (!sizes.empty() && sizes.size() != 3)
    return ctx.fail("attribute 'qkv_hidden_sizes' has " + std::to_string(sizes.size()) + " elements, 3 are expected");
  const Dim batch = size(ctx, 0, 0), sequence = size(ctx, 0, 1);
  const Dim width = sizes.empty() ? divided(ctx, size(ctx, 1, 1), 3) : ctx.constantDim(sizes[2]);
  ctx.setTensor(0, e, {orFresh(ctx, batch), orFresh(ctx, sequence), orFresh(ctx, width)});
  if (ctx.numResults() < 2)
    return;
  Dim total = sequence;
  if (ctx.hasOperand(past)) {
    const Dim before = size(ctx, past, 3);
    total = before && sequence ? ctx.dims().add(before, sequence) : Dim();
    if (ctx.getInt("past_present_share_buffer", 0))
      total = before;
  }
  ctx.setTensor(1, e,
                {ctx.constantDim(2), orFresh(ctx, batch), ctx.constantDim(heads), orFresh(ctx, total),
                 orFresh(ctx, divided(ctx, width, heads))});
}
static void inferAttention(InferContext &ctx) { inferSelfAttention(ctx, 0, 4); }
static void inferQAttention(InferContext &ctx) { inferSelfAttention(ctx, 3, 8); }
ONNXOPT_DEFINE_MS_OP(Attention) { op.since(1, {.infer = inferAttention}); }
ONNXOPT_DEFINE_MS_OP(QAttention) { op.since(1, {.infer = inferQAttention}).single({3}); }

// MultiHeadAttention: query [B,S,N*H] or packed with key and value [B,S,N,3,H]; key [B,L,N*H], packed [B,L,N,2,H] or
// [B,N,L,H]; value [B,L,N*Hv] or [B,N,L,Hv]

static void inferMultiHeadAttention(InferContext &ctx) {
  const ElementType e = elementOr(ctx, 0);
  const int64_t heads = ctx.getInt("num_heads");
  const Dim batch = size(ctx, 0, 0), sequence = size(ctx, 0, 1);
  Dim width, length = sequence; // of the values: their width in all, their number
  const auto rankOf = [&](unsigned i) { return ctx.hasOperand(i) && ctx.isRanked(i) ? ctx.rank(i) : 0; };
  if (rankOf(0) == 5) {
    width = mul(ctx, size(ctx, 0, 2), size(ctx, 0, 4));
  } else if (ctx.hasOperand(2)) {
    const bool split = rankOf(2) == 4;
    length = rankOf(2) ? size(ctx, 2, split ? 2 : 1) : Dim();
    width = !rankOf(2) ? Dim() : split ? mul(ctx, size(ctx, 2, 1), size(ctx, 2, 3)) : size(ctx, 2, 2);
  } else if (ctx.hasOperand(1)) {
    length = size(ctx, 1, 1);
    width = rankOf(1) == 5 ? mul(ctx, size(ctx, 1, 2), size(ctx, 1, 4)) : Dim();
  }
  ctx.setTensor(0, e, {orFresh(ctx, batch), orFresh(ctx, sequence), orFresh(ctx, width)});
  const bool hasPast = ctx.hasOperand(6), sharesBuffer = ctx.hasOperand(8); // a buffer of the largest length
  for (unsigned i : {1u, 2u}) {
    if (i >= ctx.numResults())
      break;
    Dim total = length;
    if (hasPast) {
      const Dim before = size(ctx, 5 + i, 2);
      total = sharesBuffer ? before : before && length ? ctx.dims().add(before, length) : Dim();
    }
    Dim head = hasPast ? size(ctx, 5 + i, 3) : divided(ctx, i == 2 || rankOf(0) == 5 ? width : size(ctx, 0, 2), heads);
    ctx.setTensor(i, e, {orFresh(ctx, batch), ctx.constantDim(heads), orFresh(ctx, total), orFresh(ctx, head)});
  }
  if (ctx.numResults() > 3)
    ctx.setUnranked(3, e);
}
ONNXOPT_DEFINE_MS_OP(MultiHeadAttention) { op.since(1, {.infer = inferMultiHeadAttention}); }

// GroupQueryAttention: query [B,S,N*H], or [B,S,(N+2*K)*H] with K heads of keys and of values; present [B,K,T,H]

static void inferGroupQueryAttention(InferContext &ctx) {
  const ElementType e = elementOr(ctx, 0);
  const int64_t heads = ctx.getInt("num_heads"), keys = ctx.getInt("kv_num_heads");
  if (heads <= 0 || keys <= 0 || heads % keys)
    return ctx.fail("num_heads is " + std::to_string(heads) + ", kv_num_heads is " + std::to_string(keys) +
                    ": a multiple is expected");
  const bool packed = !ctx.hasOperand(1);
  const Dim head = divided(ctx, size(ctx, 0, 2), packed ? heads + 2 * keys : heads);
  const Dim width = packed ? mul(ctx, head, ctx.constantDim(heads)) : size(ctx, 0, 2);
  ctx.setTensor(0, e, {orFresh(ctx, size(ctx, 0, 0)), orFresh(ctx, size(ctx, 0, 1)), orFresh(ctx, width)});
  for (unsigned i : {1u, 2u}) // their length is that of the buffer or of all the sequence: data
    if (i < ctx.numResults())
      ctx.setTensor(i, ctx.hasOperand(2 + i) ? elementOr(ctx, 2 + i) : e,
                    {orFresh(ctx, size(ctx, 0, 0)), ctx.constantDim(keys), ctx.freshDim(),
                     orFresh(ctx, ctx.hasOperand(2 + i) ? size(ctx, 2 + i, 3) : head)});
  if (ctx.numResults() > 3)
    ctx.setUnranked(3, e);
}
ONNXOPT_DEFINE_MS_OP(GroupQueryAttention) { op.since(1, {.infer = inferGroupQueryAttention}); }

// Embeddings

ONNXOPT_DEFINE_MS_OP(RotaryEmbedding) { op.since(1, {.infer = sameType}); }

static void inferEmbedLayerNormalization(InferContext &ctx) {
  const ElementType e = elementOr(ctx, 2);
  const Dim batch = size(ctx, 0, 0), sequence = size(ctx, 0, 1), width = size(ctx, 2, 1);
  const llvm::SmallVector<Dim, 3> shape{orFresh(ctx, batch), orFresh(ctx, sequence), orFresh(ctx, width)};
  ctx.setTensor(0, e, shape);
  if (ctx.numResults() > 1)
    ctx.setTensor(1, ElementType::Int32, {shape[0]});
  if (ctx.numResults() > 2)
    ctx.setTensor(2, e, shape);
}
ONNXOPT_DEFINE_MS_OP(EmbedLayerNormalization) { op.since(1, {.infer = inferEmbedLayerNormalization}); }

ONNXOPT_DEFINE_MS_OP(BiasSoftmax) { op.since(1, {.infer = sameType}); }
