// WebP, by libwebp.
#include "onnxopt/ops/image/Codecs.h"

#ifdef ONNXOPT_HAVE_WEBP
#include <webp/decode.h>
#endif

std::string onnxopt::image::decodeWebp([[maybe_unused]] llvm::ArrayRef<uint8_t> bytes, [[maybe_unused]] Image &image) {
#ifdef ONNXOPT_HAVE_WEBP
  int width = 0, height = 0;
  if (!WebPGetInfo(bytes.data(), bytes.size(), &width, &height) || !image.reserve(width, height))
    return "WebP: the header cannot be read";
  if (!WebPDecodeRGBInto(bytes.data(), bytes.size(), image.rgb.data(), image.rgb.size(), width * 3))
    return "WebP: the pixels cannot be read";
  return "";
#else
  return "built without libwebp";
#endif
}
