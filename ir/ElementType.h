// Element types of ONNX tensors: TensorProto.DataType with names and widths.
#pragma once

#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <optional>

namespace onnxopt {

/// Numbers are those of TensorProto.DataType; a file may hold others, which import keeps and the verifier reports.
enum class ElementType : int32_t {
  Undefined = 0,
  Float = 1,
  Uint8 = 2,
  Int8 = 3,
  Uint16 = 4,
  Int16 = 5,
  Int32 = 6,
  Int64 = 7,
  String = 8,
  Bool = 9,
  Float16 = 10,
  Double = 11,
  Uint32 = 12,
  Uint64 = 13,
  Complex64 = 14,
  Complex128 = 15,
  BFloat16 = 16,
  Float8E4M3FN = 17,
  Float8E4M3FNUZ = 18,
  Float8E5M2 = 19,
  Float8E5M2FNUZ = 20,
  Uint4 = 21,
  Int4 = 22,
  Float4E2M1 = 23,
  Float8E8M0 = 24,
  Uint2 = 25,
  Int2 = 26,
  Float6E2M3 = 27,
  Float6E3M2 = 28,
};

/// Bits an element takes in raw_data; 0 for strings and unknown numbers.
unsigned bitWidth(ElementType type);
/// The name in the text syntax ("float", "float8e4m3fn"); empty for an unknown number.
llvm::StringRef nameOf(ElementType type);
std::optional<ElementType> elementTypeFromName(llvm::StringRef name);
/// The element type of a schema's "tensor(float)"; nullopt for anything else.
std::optional<ElementType> elementTypeOfTensor(llvm::StringRef type);
/// Floating types, the 8-, 6- and 4-bit ones included.
bool isFloating(ElementType type);
/// Signed and unsigned integers of any width; not bool.
bool isInteger(ElementType type);
/// float16, bfloat16 and narrower floats: stored so, computed in float32.
bool isSmallFloat(ElementType type);
/// Types below 8 bits, whose elements share bytes.
inline bool isPacked(ElementType type) { return bitWidth(type) && bitWidth(type) < 8; }
/// Bytes that `count` elements take, rounded up; nullopt on overflow or for strings and unknown types.
std::optional<uint64_t> byteSize(ElementType type, uint64_t count);

} // namespace onnxopt
