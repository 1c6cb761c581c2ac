// Float32 matrix products and convolutions through oneDNN. Everything here may decline; the plain loops then run.
#pragma once

#include "onnxopt/ir/Tensor.h"

namespace onnxopt::fastmath {

/// Whether the library was built with oneDNN and has not been switched off.
bool available();
/// For tests and deterministic runs: plain loops only.
void setEnabled(bool enabled);

/// c[m,n] = a[m,k] * b[k,n], row-major; a transposed operand is stored the other way round.
bool gemm(bool transA, bool transB, int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c);

struct ConvShape {
  Dims input, weight, output; ///< NC..., MC/g..., NM...
  Dims strides, dilations, padBegin, padEnd;
  int64_t groups = 1;
};
/// Convolution of 1 to 3 spatial dimensions. `bias` may be null.
bool conv(const ConvShape &shape, const float *x, const float *w, const float *bias, float *y);

} // namespace onnxopt::fastmath
