// BMP and PNM: formats without compression.
#include "onnxopt/ops/image/Codecs.h"

#include <cstdlib>

namespace onnxopt::image {
namespace {

uint32_t little(llvm::ArrayRef<uint8_t> bytes, size_t at, unsigned width) {
  uint32_t v = 0;
  for (unsigned i = 0; i < width && at + i < bytes.size(); ++i)
    v |= uint32_t(bytes[at + i]) << (8 * i);
  return v;
}

} // namespace

/// Windows bitmaps of 8 (palette), 24 and 32 bits, uncompressed. Rows run from the bottom unless the height is
/// negative.
std::string decodeBmp(llvm::ArrayRef<uint8_t> bytes, Image &image) {
  if (bytes.size() < 54)
    return "the BMP header is cut off";
  const size_t data = little(bytes, 10, 4), header = little(bytes, 14, 4);
  const int64_t width = int32_t(little(bytes, 18, 4)), signedHeight = int32_t(little(bytes, 22, 4));
  const unsigned bits = little(bytes, 28, 2), compression = little(bytes, 30, 4);
  if ((bits != 8 && bits != 24 && bits != 32) || compression != 0)
    return "BMP: only 8, 24 and 32 bits without compression are read";
  const int64_t height = std::abs(signedHeight);
  if (!image.reserve(width, height))
    return "BMP: a size of " + std::to_string(width) + " x " + std::to_string(height);
  const size_t stride = (size_t(width) * bits / 8 + 3) / 4 * 4, palette = 14 + header;
  if (data > bytes.size() || stride * size_t(height) > bytes.size() - data)
    return "the BMP pixels are cut off";
  for (int64_t y = 0; y < height; ++y) {
    const size_t row = data + stride * size_t(signedHeight < 0 ? y : height - 1 - y);
    for (int64_t x = 0; x < width; ++x) {
      size_t at = row + size_t(x) * bits / 8;
      if (bits == 8) {
        at = palette + 4 * size_t(bytes[at]);
        if (at + 3 > bytes.size())
          return "BMP: a color is not in the palette";
      }
      for (int c = 0; c < 3; ++c)
        image.rgb[size_t(y * width + x) * 3 + c] = bytes[at + 2 - c];
    }
  }
  return "";
}

/// P1 to P6: bits, grays and colors, as text or bytes. Samples are scaled to 255.
std::string decodePnm(llvm::ArrayRef<uint8_t> bytes, Image &image) {
  size_t at = 2;
  auto number = [&]() -> int64_t {
    while (at < bytes.size() && (std::isspace(bytes[at]) || bytes[at] == '#'))
      if (bytes[at] == '#')
        while (at < bytes.size() && bytes[at] != '\n')
          ++at;
      else
        ++at;
    if (at >= bytes.size() || !std::isdigit(bytes[at]))
      return -1;
    int64_t v = 0;
    while (at < bytes.size() && std::isdigit(bytes[at]) && v < maxPixels)
      v = v * 10 + (bytes[at++] - '0');
    return v;
  };
  const char kind = char(bytes[1]);
  const bool isBits = kind == '1' || kind == '4', colors = kind == '3' || kind == '6', text = kind <= '3';
  const int64_t width = number(), height = number(), most = isBits ? 1 : number();
  if (most < 1 || most > 65535 || !image.reserve(width, height))
    return "PNM: the header has no proper size or range";
  ++at; // the one blank after the header
  const int64_t channels = colors ? 3 : 1;
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      for (int64_t c = 0; c < channels; ++c) {
        int64_t v;
        if (kind == '4') {
          const size_t byte = at + size_t(y * ((width + 7) / 8) + x / 8);
          v = byte < bytes.size() ? bytes[byte] >> (7 - x % 8) & 1 : -1;
        } else if (kind == '1') {
          while (at < bytes.size() && std::isspace(bytes[at]))
            ++at;
          v = at < bytes.size() ? bytes[at++] - '0' : -1;
        } else if (text) {
          v = number();
        } else {
          const size_t wide = most > 255 ? 2 : 1;
          v = at + wide <= bytes.size() ? (wide == 2 ? bytes[at] << 8 | bytes[at + 1] : bytes[at]) : -1;
          at += wide;
        }
        if (v < 0 || v > most)
          return "the PNM pixels are cut off";
        const auto sample = uint8_t(isBits ? (v ? 0 : 255) : (v * 255 + most / 2) / most);
        for (int64_t k = c; k < (colors ? c + 1 : 3); ++k)
          image.rgb[size_t(y * width + x) * 3 + k] = sample;
      }
  return "";
}

} // namespace onnxopt::image
