// JPEG 2000, by OpenJPEG.
#include "onnxopt/ops/image/Codecs.h"

#ifdef ONNXOPT_HAVE_OPENJPEG
#include <cstring>
#include <openjpeg.h>

namespace {

/// Bytes in memory as the stream that OpenJPEG reads.
struct Source {
  llvm::ArrayRef<uint8_t> bytes;
  size_t at = 0;
};
OPJ_SIZE_T readBytes(void *out, OPJ_SIZE_T size, void *data) {
  auto *s = static_cast<Source *>(data);
  const size_t n = std::min<size_t>(size, s->bytes.size() - s->at);
  if (n == 0)
    return OPJ_SIZE_T(-1);
  std::memcpy(out, s->bytes.data() + s->at, n);
  s->at += n;
  return n;
}
OPJ_OFF_T skip(OPJ_OFF_T n, void *data) {
  auto *s = static_cast<Source *>(data);
  if (n < 0 || size_t(n) > s->bytes.size() - s->at)
    return -1;
  s->at += size_t(n);
  return n;
}
OPJ_BOOL seek(OPJ_OFF_T to, void *data) {
  auto *s = static_cast<Source *>(data);
  if (to < 0 || size_t(to) > s->bytes.size())
    return OPJ_FALSE;
  s->at = size_t(to);
  return OPJ_TRUE;
}

std::string copyPixels(const opj_image_t &from, onnxopt::image::Image &to) {
  if (from.numcomps != 1 && from.numcomps < 3)
    return "JPEG 2000: " + std::to_string(from.numcomps) + " components";
  const int64_t width = from.comps[0].w, height = from.comps[0].h;
  for (unsigned c = 0; c < std::min<unsigned>(3, from.numcomps); ++c)
    if (from.comps[c].w != width || from.comps[c].h != height || !from.comps[c].data || from.comps[c].prec > 16)
      return "JPEG 2000: components of different size";
  if (!to.reserve(width, height))
    return "JPEG 2000: a size of " + std::to_string(width) + " x " + std::to_string(height);
  for (int64_t i = 0; i < width * height; ++i)
    for (unsigned c = 0; c < 3; ++c) {
      const opj_image_comp_t &k = from.comps[from.numcomps == 1 ? 0 : c];
      const int64_t v = int64_t(k.data[i]) + (k.sgnd ? int64_t(1) << (k.prec - 1) : 0);
      to.rgb[size_t(i) * 3 + c] =
          uint8_t(std::clamp<int64_t>(k.prec > 8 ? v >> (k.prec - 8) : v << (8 - k.prec), 0, 255));
    }
  return "";
}

} // namespace
#endif

std::string onnxopt::image::decodeJpeg2000([[maybe_unused]] llvm::ArrayRef<uint8_t> bytes,
                                           [[maybe_unused]] Image &image) {
#ifdef ONNXOPT_HAVE_OPENJPEG
  Source source{bytes};
  opj_stream_t *stream = opj_stream_default_create(OPJ_TRUE);
  opj_stream_set_user_data(stream, &source, nullptr);
  opj_stream_set_user_data_length(stream, bytes.size());
  opj_stream_set_read_function(stream, readBytes);
  opj_stream_set_skip_function(stream, skip);
  opj_stream_set_seek_function(stream, seek);
  opj_codec_t *codec = opj_create_decompress(bytes[0] == 0xff ? OPJ_CODEC_J2K : OPJ_CODEC_JP2);
  opj_dparameters_t parameters;
  opj_set_default_decoder_parameters(&parameters);
  opj_image_t *decoded = nullptr;
  std::string fault;
  if (!opj_setup_decoder(codec, &parameters) || !opj_read_header(stream, codec, &decoded))
    fault = "JPEG 2000: the header cannot be read";
  else if (int64_t(decoded->x1) - decoded->x0 > maxPixels / std::max<int64_t>(1, int64_t(decoded->y1) - decoded->y0))
    fault = "JPEG 2000: the image is too large";
  else if (!opj_decode(codec, stream, decoded) || !opj_end_decompress(codec, stream))
    fault = "JPEG 2000: the pixels cannot be read";
  else
    fault = copyPixels(*decoded, image);
  if (decoded)
    opj_image_destroy(decoded);
  opj_destroy_codec(codec);
  opj_stream_destroy(stream);
  return fault;
#else
  return "built without OpenJPEG";
#endif
}
