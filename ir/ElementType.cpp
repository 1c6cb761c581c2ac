// Names and widths of element types.
#include "onnxopt/ir/ElementType.h"

#include <iterator>

namespace onnxopt {
namespace {

struct Entry {
  llvm::StringRef name;
  unsigned bits;
};

// Indexed by TensorProto.DataType.
const Entry kEntries[] = {
    {"undefined", 0},      {"float", 32},    {"uint8", 8},        {"int8", 8},           {"uint16", 16},
    {"int16", 16},         {"int32", 32},    {"int64", 64},       {"string", 0},         {"bool", 8},
    {"float16", 16},       {"double", 64},   {"uint32", 32},      {"uint64", 64},        {"complex64", 64},
    {"complex128", 128},   {"bfloat16", 16}, {"float8e4m3fn", 8}, {"float8e4m3fnuz", 8}, {"float8e5m2", 8},
    {"float8e5m2fnuz", 8}, {"uint4", 4},     {"int4", 4},         {"float4e2m1", 4},     {"float8e8m0", 8},
    {"uint2", 2},          {"int2", 2},      {"float6e2m3", 6},   {"float6e3m2", 6},
};

const Entry *entry(ElementType type) {
  auto index = static_cast<int64_t>(type);
  return index >= 0 && index < int64_t(std::size(kEntries)) ? &kEntries[index] : nullptr;
}

} // namespace

unsigned bitWidth(ElementType type) {
  const Entry *e = entry(type);
  return e ? e->bits : 0;
}

llvm::StringRef nameOf(ElementType type) {
  const Entry *e = entry(type);
  return e ? e->name : llvm::StringRef();
}

std::optional<ElementType> elementTypeFromName(llvm::StringRef name) {
  for (size_t i = 0; i < std::size(kEntries); ++i)
    if (kEntries[i].name == name)
      return static_cast<ElementType>(i);
  return std::nullopt;
}

std::optional<ElementType> elementTypeOfTensor(llvm::StringRef type) {
  if (!type.consume_front("tensor(") || !type.consume_back(")"))
    return std::nullopt;
  return elementTypeFromName(type);
}

bool isFloating(ElementType type) {
  return type == ElementType::Float || type == ElementType::Double || isSmallFloat(type);
}

bool isInteger(ElementType type) {
  switch (type) {
  case ElementType::Uint8:
  case ElementType::Int8:
  case ElementType::Uint16:
  case ElementType::Int16:
  case ElementType::Int32:
  case ElementType::Int64:
  case ElementType::Uint32:
  case ElementType::Uint64:
  case ElementType::Uint4:
  case ElementType::Int4:
  case ElementType::Uint2:
  case ElementType::Int2:
    return true;
  default:
    return false;
  }
}

bool isSmallFloat(ElementType type) {
  switch (type) {
  case ElementType::Float16:
  case ElementType::BFloat16:
  case ElementType::Float8E4M3FN:
  case ElementType::Float8E4M3FNUZ:
  case ElementType::Float8E5M2:
  case ElementType::Float8E5M2FNUZ:
  case ElementType::Float4E2M1:
  case ElementType::Float8E8M0:
  case ElementType::Float6E2M3:
  case ElementType::Float6E3M2:
    return true;
  default:
    return false;
  }
}

std::optional<uint64_t> byteSize(ElementType type, uint64_t count) {
  unsigned bits = bitWidth(type);
  uint64_t total;
  if (!bits || __builtin_mul_overflow(count, uint64_t(bits), &total) || total > UINT64_MAX - 7)
    return std::nullopt;
  return (total + 7) / 8;
}

} // namespace onnxopt
