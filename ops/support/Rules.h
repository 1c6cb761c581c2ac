// Shape and value rules that many operators share.
#pragma once

#include "onnxopt/ops/Operator.h"

namespace onnxopt::rules {

/// Result 0 has the type (and integers) of operand `I`.
template <unsigned I> void sameAs(InferContext &ctx) {
  ctx.setType(0, ctx.type(I));
  if (const SymTensor *v = ctx.value(I))
    ctx.setValue(0, *v);
}
/// Result 0 has the type of operand 0; its integers are not followed.
inline void sameType(InferContext &ctx) { ctx.setType(0, ctx.type(0)); }
/// Every result has the shape of operand 0 and the given element type.
template <ElementType E> void sameShape(InferContext &ctx) {
  Type t = ctx.type(0);
  if (!t.isTensor())
    t = Type::tensor(E);
  t.element = E;
  ctx.setType(0, std::move(t));
}

/// One dimension of multidirectional broadcasting. An unknown side leaves the result unknown, unless the other is known
/// to be other than 1.
Dim broadcastDim(InferContext &ctx, Dim a, Dim b);
/// Shape of multidirectional broadcasting of the given operands; nullopt when one is unranked.
std::optional<llvm::SmallVector<Dim, 4>> broadcastShapes(InferContext &ctx, llvm::ArrayRef<unsigned> operands);
/// Broadcasts all operands; element type of operand 0 (or bool).
void broadcast(InferContext &ctx);
void broadcastToBool(InferContext &ctx);
/// Applies `f` element by element to the integers of operands 0 and 1, broadcast. Sets result 0's value.
void mapValues(InferContext &ctx, llvm::function_ref<Dim(Dim, Dim)> f);

/// The shape of the operands put together along `axis`, a null Dim there where an unranked one takes part; empty where
/// none is ranked. False after a fault.
bool concatenate(InferContext &ctx, llvm::ArrayRef<unsigned> operands, int64_t axis, llvm::SmallVectorImpl<Dim> &out);

/// Adds rank to a negative axis. Reports one out of range and gives nullopt.
std::optional<int64_t> normalizeAxis(InferContext &ctx, int64_t axis, int64_t rank);
/// The integers of an operand, as far as they are constant; nullopt otherwise.
std::optional<llvm::SmallVector<int64_t, 8>> constantInts(InferContext &ctx, unsigned operand);
/// Axes from operand `operand` when it is given, else from attribute "axes"; nullopt when unknown at this time.
/// An absent list gives an empty vector.
std::optional<llvm::SmallVector<int64_t, 8>> axes(InferContext &ctx, unsigned operand);

/// Output sizes of a sliding window (Conv, pooling), one spatial dimension.
struct Window {
  Dim kernel; ///< null: 1
  int64_t stride = 1, dilation = 1, padBegin = 0, padEnd = 0;
  bool ceil = false;
};
Dim windowOutput(DimContext &dims, Dim input, const Window &w, llvm::StringRef autoPad);

/// Product of dims [begin, end).
Dim product(DimContext &dims, llvm::ArrayRef<Dim> shape);
ElementType elementOr(InferContext &ctx, unsigned operand);

} // namespace onnxopt::rules
