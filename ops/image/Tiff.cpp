// TIFF, by libtiff.
#include "onnxopt/ops/image/Codecs.h"

#ifdef ONNXOPT_HAVE_TIFF
#include <cstring>
#include <tiffio.h>

namespace {

/// Bytes in memory as the file that libtiff reads.
struct Source {
  llvm::ArrayRef<uint8_t> bytes;
  uint64_t at = 0;
};
tmsize_t readBytes(thandle_t handle, void *out, tmsize_t size) {
  auto *s = static_cast<Source *>(handle);
  const uint64_t n = s->at < s->bytes.size() ? std::min<uint64_t>(size, s->bytes.size() - s->at) : 0;
  if (n)
    std::memcpy(out, s->bytes.data() + s->at, n);
  s->at += n;
  return tmsize_t(n);
}
tmsize_t writeBytes(thandle_t, void *, tmsize_t) { return 0; }
toff_t seek(thandle_t handle, toff_t offset, int from) {
  auto *s = static_cast<Source *>(handle);
  s->at = offset + (from == SEEK_CUR ? s->at : from == SEEK_END ? s->bytes.size() : 0);
  return s->at;
}
int closeSource(thandle_t) { return 0; }
toff_t sizeOf(thandle_t handle) { return static_cast<Source *>(handle)->bytes.size(); }

} // namespace
#endif

std::string onnxopt::image::decodeTiff([[maybe_unused]] llvm::ArrayRef<uint8_t> bytes, [[maybe_unused]] Image &image) {
#ifdef ONNXOPT_HAVE_TIFF
  TIFFSetErrorHandler(nullptr);
  TIFFSetWarningHandler(nullptr);
  Source source{bytes};
  TIFF *tiff =
      TIFFClientOpen("image", "rm", &source, readBytes, writeBytes, seek, closeSource, sizeOf, nullptr, nullptr);
  if (!tiff)
    return "TIFF: the header cannot be read";
  uint32_t width = 0, height = 0;
  TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &width);
  TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &height);
  std::string fault;
  if (!image.reserve(width, height)) {
    fault = "TIFF: a size of " + std::to_string(width) + " x " + std::to_string(height);
  } else {
    std::vector<uint32_t> pixels(size_t(width) * height);
    if (!TIFFReadRGBAImageOriented(tiff, width, height, pixels.data(), ORIENTATION_TOPLEFT, 1))
      fault = "TIFF: the pixels cannot be read";
    for (size_t i = 0; i < pixels.size() && fault.empty(); ++i) {
      image.rgb[i * 3] = uint8_t(TIFFGetR(pixels[i]));
      image.rgb[i * 3 + 1] = uint8_t(TIFFGetG(pixels[i]));
      image.rgb[i * 3 + 2] = uint8_t(TIFFGetB(pixels[i]));
    }
  }
  TIFFClose(tiff);
  return fault;
#else
  return "built without libtiff";
#endif
}
