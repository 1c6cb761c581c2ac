// ImageDecoder: an encoded image as a tensor of height x width x channels.
#include "onnxopt/ops/image/Codecs.h"
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

using namespace onnxopt;
using namespace onnxopt::kernels;

namespace {

/// The format by its first bytes; null where none is known.
image::Decoder decoderFor(llvm::StringRef bytes) {
  if (bytes.starts_with("BM"))
    return image::decodeBmp;
  if (bytes.size() > 1 && bytes[0] == 'P' && bytes[1] >= '1' && bytes[1] <= '6')
    return image::decodePnm;
  if (bytes.starts_with("\xff\xd8\xff"))
    return image::decodeJpeg;
  if (bytes.starts_with("\x89PNG"))
    return image::decodePng;
  if (bytes.starts_with(llvm::StringRef("II*\0", 4)) || bytes.starts_with(llvm::StringRef("MM\0*", 4)))
    return image::decodeTiff;
  if (bytes.starts_with("RIFF") && bytes.substr(8).starts_with("WEBP"))
    return image::decodeWebp;
  if (bytes.substr(4).starts_with("jP  ") || bytes.starts_with("\xff\x4f\xff\x51"))
    return image::decodeJpeg2000;
  return nullptr;
}

} // namespace

bool image::Image::reserve(int64_t w, int64_t h) {
  if (w <= 0 || h <= 0 || w > maxPixels / h)
    return false;
  width = w;
  height = h;
  rgb.assign(size_t(w * h * 3), 0);
  return true;
}

static absl::Status evalImageDecoder(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  llvm::ArrayRef<uint8_t> bytes(x.data<uint8_t>(), x.size());
  image::Decoder decode = decoderFor({reinterpret_cast<const char *>(bytes.data()), bytes.size()});
  if (!decode)
    return invalid(ctx, "the image is of no known format (BMP, JPEG, JPEG 2000, PNG, PNM, TIFF, WebP)");
  std::string format = ctx.getString("pixel_format", "RGB");
  if (format != "RGB" && format != "BGR" && format != "Grayscale")
    return invalid(ctx, "pixel_format '" + format + "' is unknown");
  image::Image decoded;
  if (std::string fault = decode(bytes, decoded); !fault.empty())
    return invalid(ctx, fault);
  const bool gray = format == "Grayscale";
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Uint8, {decoded.height, decoded.width, gray ? 1 : 3}));
  uint8_t *out = y.mutableData<uint8_t>();
  for (int64_t i = 0; i < decoded.width * decoded.height; ++i) {
    const uint8_t *p = &decoded.rgb[i * 3];
    if (gray) { // ITU-R 601-2 luma in 16-bit fixed point, as the reference's imaging library has it
      out[i] = uint8_t((p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16);
    } else {
      for (int c = 0; c < 3; ++c)
        out[i * 3 + c] = p[format == "BGR" ? 2 - c : c];
    }
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferImageDecoder(InferContext &ctx) {
  bool gray = ctx.getString("pixel_format", "RGB") == "Grayscale";
  ctx.setTensor(0, ElementType::Uint8, {ctx.freshDim(), ctx.freshDim(), ctx.constantDim(gray ? 1 : 3)});
}
ONNXOPT_DEFINE_OP(ImageDecoder) {
  op.since(20, {.infer = inferImageDecoder, .eval = evalImageDecoder, .storage = Storage::Native}).ranks({{0, 1}});
}
