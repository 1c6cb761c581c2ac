// Conversions between float32 and the narrower floating types of ONNX.
#pragma once

#include "onnxopt/ir/ElementType.h"

#include <cstdint>

namespace onnxopt {

/// Value of element `index` of packed elements at `bytes`.
float loadSmallFloat(ElementType type, const char *bytes, int64_t index);
/// Rounds to nearest even. Out of range becomes infinity or NaN, or, with `saturate`, the largest finite value (for
/// the float8 types, as Cast-19 says). The element's neighbours in the byte are kept.
void storeSmallFloat(ElementType type, char *bytes, int64_t index, float value, bool saturate = true);
/// The bit pattern of `value`, in the low bits.
uint32_t encodeSmallFloat(ElementType type, float value, bool saturate = true);
float decodeSmallFloat(ElementType type, uint32_t bits);

/// 6-bit elements lie in a stream, low bits first.
uint32_t load6Bits(const char *bytes, int64_t index);
void store6Bits(char *bytes, int64_t index, uint32_t bits);

} // namespace onnxopt
