// Sliding windows of Conv, ConvTranspose and pooling: attributes resolved against sizes.
#pragma once

#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

namespace onnxopt::nn {

struct Windows {
  Dims kernel, strides, dilations, padBegin, padEnd, output;
};

/// Windows over the spatial dims `input` (without N and C). Fails with a reason when attributes do not fit.
std::optional<Windows> resolve(const NodeView &node, llvm::ArrayRef<int64_t> input, llvm::ArrayRef<int64_t> kernel,
                               std::string &why);
/// Holds kernel_shape, where it is given, against the spatial dims of the weights. False after a fault.
bool checkKernelShape(InferContext &ctx, llvm::ArrayRef<Dim> weights);
/// The symbolic output sizes; checks attribute lengths. `kernel` is empty when unknown.
bool inferOutput(InferContext &ctx, llvm::ArrayRef<Dim> input, llvm::ArrayRef<Dim> kernel,
                 llvm::SmallVectorImpl<Dim> &out);

} // namespace onnxopt::nn
