// Moving and converting elements.
#include "onnxopt/ops/support/Kernels.h"

#include "onnxopt/ir/SmallFloat.h"

#include <cstring>

namespace onnxopt::kernels {

absl::Status unsupportedType(const EvalContext &ctx, ElementType e) {
  return absl::UnimplementedError(absl::StrCat(pathOf(ctx.node()), ": no kernel for element type ", nameOf(e).str()));
}
absl::Status invalid(const EvalContext &ctx, std::string what) {
  return absl::InvalidArgumentError(absl::StrCat(pathOf(ctx.node()), ": ", what));
}

Dims stridesOf(llvm::ArrayRef<int64_t> dims) {
  Dims s(dims.size(), 1);
  for (size_t i = dims.size(); i-- > 1;)
    s[i - 1] = s[i] * dims[i];
  return s;
}

std::optional<Dims> broadcastDims(llvm::ArrayRef<int64_t> a, llvm::ArrayRef<int64_t> b) {
  if (a.size() < b.size())
    std::swap(a, b);
  Dims out(a.begin(), a.end());
  for (size_t i = 0; i < b.size(); ++i) {
    int64_t &o = out[a.size() - b.size() + i];
    if (o == 1)
      o = b[i];
    else if (b[i] != 1 && b[i] != o)
      return std::nullopt;
  }
  return out;
}

Dims broadcastStrides(llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<int64_t> out) {
  Dims s(out.size(), 0), own = stridesOf(dims);
  for (size_t i = 0; i < dims.size(); ++i)
    s[out.size() - dims.size() + i] = dims[i] == 1 ? 0 : own[i];
  return s;
}

Dims legacyBroadcastDims(const NodeView &node, llvm::ArrayRef<int64_t> a, llvm::ArrayRef<int64_t> b) {
  Dims d(b.begin(), b.end());
  if (!node.getInt("broadcast") || !node.hasAttribute("axis"))
    return d;
  int64_t axis = node.getInt("axis");
  if (axis < 0)
    axis += a.size();
  while (axis + int64_t(d.size()) < int64_t(a.size()))
    d.push_back(1);
  return d;
}

/// Element `i` of packed elements of `bits` bits.
static uint8_t loadBits(const char *bytes, unsigned bits, int64_t i) {
  if (bits == 6)
    return load6Bits(bytes, i);
  const unsigned perByte = 8 / bits;
  return uint8_t(bytes[i / perByte]) >> (i % perByte * bits) & ((1u << bits) - 1);
}
static void storeBits(char *bytes, unsigned bits, int64_t i, uint8_t value) {
  if (bits == 6)
    return store6Bits(bytes, i, value);
  const unsigned perByte = 8 / bits, at = i % perByte * bits, mask = ((1u << bits) - 1) << at;
  char &byte = bytes[i / perByte];
  byte = char((uint8_t(byte) & ~mask) | (unsigned(value) << at & mask));
}

Tensor unpackBits(const Tensor &t) {
  Tensor out(ElementType::Uint8, t.dims());
  auto *o = out.mutableData<uint8_t>();
  for (int64_t i = 0; i < t.size(); ++i)
    o[i] = loadBits(t.bytes(), bitWidth(t.type()), i);
  return out;
}

Tensor packBits(const Tensor &t, ElementType type) {
  Tensor out(type, t.dims());
  char *bytes = out.mutableBytes();
  for (int64_t i = 0; i < t.size(); ++i)
    storeBits(bytes, bitWidth(type), i, t.data<uint8_t>()[i]);
  return out;
}

void copyElement(const Tensor &source, int64_t from, Tensor &target, int64_t to) {
  copyElements(source, from, target, to, 1);
}

void copyElements(const Tensor &source, int64_t from, Tensor &target, int64_t to, int64_t count) {
  if (source.isString()) {
    auto &out = target.mutableStrings();
    std::copy_n(source.strings().begin() + from, count, out.begin() + to);
    return;
  }
  const unsigned bits = bitWidth(source.type());
  if (isPacked(source.type())) {
    for (int64_t i = 0; i < count; ++i)
      storeBits(target.mutableBytes(), bits, to + i, loadBits(source.bytes(), bits, from + i));
    return;
  }
  int64_t width = bits / 8;
  std::memcpy(target.mutableBytes() + to * width, source.bytes() + from * width, count * width);
}

namespace {

template <typename T>
void copyRuns(const T *in, T *out, llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<int64_t> strides) {
  Dims zero(dims.size(), 0);
  forBroadcastRuns(dims, strides, zero, [&](int64_t o, int64_t a, int64_t ra, int64_t, int64_t, int64_t n) {
    const T *x = in + a;
    T *z = out + o;
    if (ra == 1)
      std::copy_n(x, n, z);
    else
      for (int64_t i = 0; i < n; ++i)
        z[i] = x[i * ra];
  });
}

struct Wide {
  uint64_t lo, hi;
};

} // namespace

absl::StatusOr<Tensor> stridedCopy(EvalContext &ctx, const Tensor &source, llvm::ArrayRef<int64_t> dims,
                                   llvm::ArrayRef<int64_t> strides, int64_t offset) {
  if (isPacked(source.type())) {
    ONNXOPT_ASSIGN(bytes, stridedCopy(ctx, unpackBits(source), dims, strides, offset));
    return packBits(bytes, source.type());
  }
  auto made = ctx.allocate(source.type(), dims);
  if (!made.ok() || made->size() == 0)
    return made;
  if (source.isString()) {
    copyRuns(source.strings().data() + offset, made->mutableStrings().data(), dims, strides);
    return made;
  }
  char *out = made->mutableBytes();
  const char *in = source.bytes();
  switch (bitWidth(source.type())) {
  case 8:
    copyRuns(reinterpret_cast<const uint8_t *>(in) + offset, reinterpret_cast<uint8_t *>(out), dims, strides);
    break;
  case 16:
    copyRuns(reinterpret_cast<const uint16_t *>(in) + offset, reinterpret_cast<uint16_t *>(out), dims, strides);
    break;
  case 32:
    copyRuns(reinterpret_cast<const uint32_t *>(in) + offset, reinterpret_cast<uint32_t *>(out), dims, strides);
    break;
  case 64:
    copyRuns(reinterpret_cast<const uint64_t *>(in) + offset, reinterpret_cast<uint64_t *>(out), dims, strides);
    break;
  case 128:
    copyRuns(reinterpret_cast<const Wide *>(in) + offset, reinterpret_cast<Wide *>(out), dims, strides);
    break;
  default:
    return unsupportedType(ctx, source.type());
  }
  return made;
}

bool broadcastsTo(llvm::ArrayRef<int64_t> from, llvm::ArrayRef<int64_t> to) {
  auto joint = broadcastDims(from, to);
  return joint && llvm::ArrayRef<int64_t>(*joint) == to;
}

absl::StatusOr<Tensor> broadcastTo(EvalContext &ctx, const Tensor &t, llvm::ArrayRef<int64_t> dims) {
  if (t.dims() == dims)
    return t;
  if (!broadcastsTo(t.dims(), dims))
    return invalid(ctx, "an operand does not broadcast to the shape it must have");
  return stridedCopy(ctx, t, dims, broadcastStrides(t.dims(), dims));
}

bool axisInRange(int64_t axis, int64_t rank) { return axis >= -rank && axis < rank; }
int64_t normalizeAxis(int64_t axis, int64_t rank) { return axis < 0 ? axis + rank : axis; }

Tensor toFloat(const Tensor &t) {
  if (t.type() == ElementType::Float)
    return t;
  Tensor out(ElementType::Float, t.dims());
  float *o = out.mutableData<float>();
  if (!dispatchNumeric(t.type(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        for (int64_t i = 0; i < t.size(); ++i)
          o[i] = float(t.data<T>()[i]);
      }))
    for (int64_t i = 0; i < t.size(); ++i)
      o[i] = float(t.floatAt(i));
  return out;
}

Tensor toDouble(const Tensor &t) {
  if (t.type() == ElementType::Double)
    return t;
  Tensor out(ElementType::Double, t.dims());
  double *o = out.mutableData<double>();
  for (int64_t i = 0; i < t.size(); ++i)
    o[i] = t.floatAt(i);
  return out;
}

Tensor fromFloat(const Tensor &t, ElementType type, bool saturate) {
  if (t.type() == type)
    return t;
  Tensor out(type, t.dims());
  char *bytes = out.mutableBytes();
  for (int64_t i = 0; i < t.size(); ++i)
    storeSmallFloat(type, bytes, i, t.data<float>()[i], saturate);
  return out;
}

Tensor floatScalar(float value, ElementType type) {
  const Tensor t = Tensor::scalar<float>(ElementType::Float, value);
  return type == ElementType::Double ? toDouble(t) : isSmallFloat(type) ? fromFloat(t, type) : t;
}

} // namespace onnxopt::kernels
