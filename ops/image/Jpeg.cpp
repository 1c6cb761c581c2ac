// JPEG, by libjpeg-turbo.
#include "onnxopt/ops/image/Codecs.h"

#ifdef ONNXOPT_HAVE_JPEG
#include <turbojpeg.h>
#endif

std::string onnxopt::image::decodeJpeg([[maybe_unused]] llvm::ArrayRef<uint8_t> bytes, [[maybe_unused]] Image &image) {
#ifdef ONNXOPT_HAVE_JPEG
  tjhandle codec = tjInitDecompress();
  int width = 0, height = 0, sampling = 0, space = 0;
  std::string fault;
  if (tjDecompressHeader3(codec, bytes.data(), bytes.size(), &width, &height, &sampling, &space) != 0)
    fault = std::string("JPEG: ") + tjGetErrorStr2(codec);
  else if (!image.reserve(width, height))
    fault = "JPEG: a size of " + std::to_string(width) + " x " + std::to_string(height);
  else if (tjDecompress2(codec, bytes.data(), bytes.size(), image.rgb.data(), width, 0, height, TJPF_RGB,
                         TJFLAG_ACCURATEDCT) != 0)
    fault = std::string("JPEG: ") + tjGetErrorStr2(codec);
  tjDestroy(codec);
  return fault;
#else
  return "built without libjpeg-turbo";
#endif
}
