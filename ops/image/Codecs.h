// Image formats of ImageDecoder. Each codec library is optional; a build without it has no decoder for its format.
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <string>
#include <vector>

namespace onnxopt::image {

/// Rows from the top, three bytes for each pixel: red, green, blue.
struct Image {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> rgb;
  /// Makes room for `width` x `height` pixels; false where that is nothing, or more than `maxPixels`.
  bool reserve(int64_t w, int64_t h);
};
/// A larger image is refused, not decoded: 2^28 pixels.
constexpr int64_t maxPixels = int64_t(1) << 28;

/// A decoder gives '' or what is wrong with the bytes.
using Decoder = std::string (*)(llvm::ArrayRef<uint8_t> bytes, Image &image);

std::string decodeBmp(llvm::ArrayRef<uint8_t> bytes, Image &image);
std::string decodePnm(llvm::ArrayRef<uint8_t> bytes, Image &image);
std::string decodeJpeg(llvm::ArrayRef<uint8_t> bytes, Image &image);
std::string decodePng(llvm::ArrayRef<uint8_t> bytes, Image &image);
std::string decodeTiff(llvm::ArrayRef<uint8_t> bytes, Image &image);
std::string decodeWebp(llvm::ArrayRef<uint8_t> bytes, Image &image);
std::string decodeJpeg2000(llvm::ArrayRef<uint8_t> bytes, Image &image);

} // namespace onnxopt::image
