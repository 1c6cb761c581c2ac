// onnxruntime's operators on quantized numbers, each tensor followed by its scale and its zero point: shape rules only.
#include "onnxopt/ops/support/Rules.h"

using namespace onnxopt;
using namespace onnxopt::rules;

ONNXOPT_DEFINE_MS_OP(QLinearSigmoid) { op.since(1, {.infer = sameType}).single({1, 2, 3, 4}); }
ONNXOPT_DEFINE_MS_OP(QLinearLeakyRelu) { op.since(1, {.infer = sameType}).single({1, 2, 3, 4}); }
ONNXOPT_DEFINE_MS_OP(QLinearSoftmax) { op.since(1, {.infer = sameType}).single({1, 2, 3, 4}); }

/// The operands broadcast; the result has the element type of operand `typed`.
static void inferBroadcast(InferContext &ctx, llvm::ArrayRef<unsigned> operands, unsigned typed) {
  const ElementType e = elementOr(ctx, typed);
  if (auto shape = broadcastShapes(ctx, operands))
    return ctx.setTensor(0, e, *shape);
  ctx.setUnranked(0, e);
}
static void inferQLinearBinary(InferContext &ctx) { inferBroadcast(ctx, {0, 3}, 0); }
ONNXOPT_DEFINE_MS_OP(QLinearAdd) { op.since(1, {.infer = inferQLinearBinary}).single({1, 2, 4, 5, 6, 7}); }
ONNXOPT_DEFINE_MS_OP(QLinearMul) { op.since(1, {.infer = inferQLinearBinary}).single({1, 2, 4, 5, 6, 7}); }
static void inferQLinearWhere(InferContext &ctx) { inferBroadcast(ctx, {0, 1, 4}, 1); }
ONNXOPT_DEFINE_MS_OP(QLinearWhere) { op.since(1, {.infer = inferQLinearWhere}).single({2, 3, 5, 6, 7, 8}); }

/// Operands: the result's scale and zero point, then tensor, scale and zero point of each part.
static void inferQLinearConcat(InferContext &ctx) {
  const ElementType e = elementOr(ctx, 1);
  if (ctx.numOperands() < 5 || ctx.numOperands() % 3 != 2)
    return ctx.fail("has " + std::to_string(ctx.numOperands()) +
                    " operands, 2 and 3 for each part are expected: tensor, scale, zero point");
  llvm::SmallVector<unsigned, 8> parts;
  for (unsigned k = 2; k < ctx.numOperands(); k += 3)
    parts.push_back(k);
  llvm::SmallVector<Dim, 4> out;
  if (!concatenate(ctx, parts, ctx.getInt("axis"), out))
    return;
  if (out.empty())
    return ctx.setUnranked(0, e);
  ctx.setTensor(0, e, out);
}
ONNXOPT_DEFINE_MS_OP(QLinearConcat) { op.since(1, {.infer = inferQLinearConcat}).single({0, 1}); }

// QGemm: float where no scale of the result is given

static void inferQGemm(InferContext &ctx) {
  const ElementType e = ctx.hasOperand(8) ? elementOr(ctx, 8) : ElementType::Float;
  if (!ctx.isRanked(0) || !ctx.isRanked(3))
    return ctx.setUnranked(0, e);
  if (ctx.rank(0) != 2 || ctx.rank(3) != 2)
    return ctx.fail("operands must be matrices");
  const bool ta = ctx.getInt("transA", 0), tb = ctx.getInt("transB", 0);
  ctx.requireEqual(ctx.shape(0)[!ta], ctx.shape(3)[tb], "inner sizes differ");
  ctx.setTensor(0, e, {ctx.shape(0)[ta], ctx.shape(3)[!tb]});
}
ONNXOPT_DEFINE_MS_OP(QGemm) { op.since(1, {.infer = inferQGemm}).ranks({{0, 2}, {3, 2}}); }
