// Running one node's kernel, with the storage types handled around it.
#pragma once

#include "onnxopt/ops/Operator.h"

namespace onnxopt {

/// Calls the kernel of `facts` in `ctx`, whose operands are set. Small floats are widened to float32 and narrowed
/// again, sub-byte elements unpacked and packed, as facts.storage says. Results are in ctx.results.
absl::Status evaluateNode(const OpFacts &facts, EvalContext &ctx);

/// Evaluates a node without bodies on constant operands (folding, shape inference). Results are tensors only.
absl::StatusOr<std::vector<Tensor>> evaluateConstants(const Node &node, llvm::ArrayRef<const Tensor *> operands,
                                                      uint64_t memoryLimit);

} // namespace onnxopt
