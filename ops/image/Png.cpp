// PNG, by libpng's simplified interface.
#include "onnxopt/ops/image/Codecs.h"

#ifdef ONNXOPT_HAVE_PNG
#include <png.h>
#endif

std::string onnxopt::image::decodePng([[maybe_unused]] llvm::ArrayRef<uint8_t> bytes, [[maybe_unused]] Image &image) {
#ifdef ONNXOPT_HAVE_PNG
  png_image reader{};
  reader.version = PNG_IMAGE_VERSION;
  std::string fault;
  if (!png_image_begin_read_from_memory(&reader, bytes.data(), bytes.size()))
    return std::string("PNG: ") + reader.message;
  reader.format = PNG_FORMAT_RGB;
  const png_color black{0, 0, 0};
  if (!image.reserve(reader.width, reader.height))
    fault = "PNG: a size of " + std::to_string(reader.width) + " x " + std::to_string(reader.height);
  else if (!png_image_finish_read(&reader, &black, image.rgb.data(), 0, nullptr))
    fault = std::string("PNG: ") + reader.message;
  png_image_free(&reader);
  return fault;
#else
  return "built without libpng";
#endif
}
