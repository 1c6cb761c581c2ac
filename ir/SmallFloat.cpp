// One table-driven codec for float16, bfloat16, float8*, float6* and float4.
#include "onnxopt/ir/SmallFloat.h"

#include <cmath>
#include <cstring>

namespace onnxopt {
namespace {

/// How a type spends its bits. `special`: what the top exponent holds.
struct Format {
  int exponentBits, mantissaBits, bias;
  enum Special { Ieee, OnlyNaN, Fnuz, None, Exponent } special;
};

Format formatOf(ElementType type) {
  switch (type) {
  case ElementType::Float16:
    return {5, 10, 15, Format::Ieee};
  case ElementType::BFloat16:
    return {8, 7, 127, Format::Ieee};
  case ElementType::Float8E4M3FN:
    return {4, 3, 7, Format::OnlyNaN};
  case ElementType::Float8E4M3FNUZ:
    return {4, 3, 8, Format::Fnuz};
  case ElementType::Float8E5M2:
    return {5, 2, 15, Format::Ieee};
  case ElementType::Float8E5M2FNUZ:
    return {5, 2, 16, Format::Fnuz};
  case ElementType::Float4E2M1:
    return {2, 1, 1, Format::None};
  case ElementType::Float6E2M3:
    return {2, 3, 1, Format::None};
  case ElementType::Float6E3M2:
    return {3, 2, 3, Format::None};
  default:
    return {8, 0, 127, Format::Exponent};
  }
}

} // namespace

float decodeSmallFloat(ElementType type, uint32_t bits) {
  if (type == ElementType::BFloat16) {
    uint32_t u = bits << 16;
    float f;
    std::memcpy(&f, &u, 4);
    return f;
  }
  Format f = formatOf(type);
  if (f.special == Format::Exponent) // float8e8m0: a power of two, 255 is NaN
    return bits == 255 ? NAN : std::ldexp(1.0f, int(bits) - 127);
  uint32_t mantissa = bits & ((1u << f.mantissaBits) - 1),
           exponent = bits >> f.mantissaBits & ((1u << f.exponentBits) - 1);
  bool negative = bits >> (f.mantissaBits + f.exponentBits) & 1;
  uint32_t top = (1u << f.exponentBits) - 1, full = (1u << f.mantissaBits) - 1;
  if (f.special == Format::Ieee && exponent == top)
    return mantissa ? (negative ? -NAN : NAN) : negative ? -INFINITY : INFINITY;
  if (f.special == Format::OnlyNaN && exponent == top && mantissa == full)
    return negative ? -NAN : NAN;
  if (f.special == Format::Fnuz && negative && !exponent && !mantissa)
    return NAN;
  float v = exponent ? std::ldexp(float(mantissa | 1u << f.mantissaBits), int(exponent) - f.bias - f.mantissaBits)
                     : std::ldexp(float(mantissa), 1 - f.bias - f.mantissaBits);
  return negative ? -v : v;
}

uint32_t encodeSmallFloat(ElementType type, float value, bool saturate) {
  Format f = formatOf(type);
  if (f.special == Format::Exponent) {
    if (std::isnan(value))
      return 255;
    value = std::fabs(value);
    if (std::isinf(value))
      return saturate ? 254 : 255;
    if (value == 0)
      return 0;
    int e;
    float m = std::frexp(value, &e); // m in [0.5, 1)
    int bits = e - 1 + 127 + (m > 0.75f || (m == 0.75f));
    return bits < 0 ? 0 : bits > 254 ? (saturate ? 254 : 255) : bits;
  }
  uint32_t top = (1u << f.exponentBits) - 1, full = (1u << f.mantissaBits) - 1;
  uint32_t sign = uint32_t(std::signbit(value)) << (f.exponentBits + f.mantissaBits);
  uint32_t nan = f.special == Format::Ieee      ? sign | top << f.mantissaBits | 1u << (f.mantissaBits - 1)
                 : f.special == Format::OnlyNaN ? sign | top << f.mantissaBits | full
                 : f.special == Format::Fnuz    ? 1u << (f.exponentBits + f.mantissaBits)
                                                : 0;
  uint32_t largest = f.special == Format::Ieee      ? (top - 1) << f.mantissaBits | full
                     : f.special == Format::OnlyNaN ? top << f.mantissaBits | (full - 1)
                                                    : top << f.mantissaBits | full;
  bool wide = type == ElementType::Float16 || type == ElementType::BFloat16;
  uint32_t over = f.special == Format::None   ? largest
                  : saturate && !wide         ? largest
                  : f.special == Format::Ieee ? top << f.mantissaBits
                                              : nan;
  if (std::isnan(value))
    return f.special == Format::None ? 1u << (f.exponentBits + f.mantissaBits)
                                     : nan; // no NaN: minus zero stands for it
  float magnitude = std::fabs(value);
  if (std::isinf(value))
    return f.special == Format::Fnuz && over == nan ? nan : over == nan ? nan : sign | over;
  if (magnitude == 0)
    return f.special == Format::Fnuz ? 0 : sign;
  int e;
  std::frexp(magnitude, &e);
  int exponent = e - 1 + f.bias;
  int shift = exponent < 1 ? 1 - f.bias - f.mantissaBits : e - 1 - f.mantissaBits;
  // The double holds the scaled value exactly, so nearbyint rounds once, to even.
  uint64_t rounded = uint64_t(std::nearbyint(std::ldexp(double(magnitude), -shift)));
  uint64_t bits = exponent < 1 ? rounded : (uint64_t(exponent - 1) << f.mantissaBits) + rounded;
  if (bits > largest)
    return over == nan ? nan : sign | over;
  if (!bits && f.special == Format::Fnuz)
    return 0;
  return sign | uint32_t(bits);
}

uint32_t load6Bits(const char *bytes, int64_t i) {
  const auto *u = reinterpret_cast<const uint8_t *>(bytes);
  int64_t bit = i * 6;
  uint32_t word = u[bit / 8] | (bit % 8 > 2 ? uint32_t(u[bit / 8 + 1]) << 8 : 0);
  return word >> (bit % 8) & 63;
}

void store6Bits(char *bytes, int64_t i, uint32_t bits) {
  auto *u = reinterpret_cast<uint8_t *>(bytes);
  for (int k = 0; k < 6; ++k) {
    int64_t bit = i * 6 + k;
    u[bit / 8] = uint8_t((u[bit / 8] & ~(1u << (bit % 8))) | (bits >> k & 1) << (bit % 8));
  }
}

float loadSmallFloat(ElementType type, const char *bytes, int64_t i) {
  const auto *u = reinterpret_cast<const uint8_t *>(bytes);
  switch (bitWidth(type)) {
  case 16:
    return decodeSmallFloat(type, reinterpret_cast<const uint16_t *>(bytes)[i]);
  case 8:
    return decodeSmallFloat(type, u[i]);
  case 6:
    return decodeSmallFloat(type, load6Bits(bytes, i));
  default:
    return decodeSmallFloat(type, u[i / 2] >> (i % 2 * 4) & 15);
  }
}

void storeSmallFloat(ElementType type, char *bytes, int64_t i, float value, bool saturate) {
  auto *u = reinterpret_cast<uint8_t *>(bytes);
  uint32_t bits = encodeSmallFloat(type, value, saturate);
  switch (bitWidth(type)) {
  case 16:
    reinterpret_cast<uint16_t *>(bytes)[i] = uint16_t(bits);
    break;
  case 8:
    u[i] = uint8_t(bits);
    break;
  case 6:
    store6Bits(bytes, i, bits);
    break;
  default:
    u[i / 2] = uint8_t((u[i / 2] & (i % 2 ? 0x0f : 0xf0)) | bits << (i % 2 * 4));
  }
}

} // namespace onnxopt
