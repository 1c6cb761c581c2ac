// Tensor storage and reading of payloads.
#include "onnxopt/ir/Tensor.h"

#include "onnxopt/ir/SmallFloat.h"

#include "absl/strings/str_cat.h"

#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace onnxopt {

std::optional<int64_t> elementCount(llvm::ArrayRef<int64_t> dims) {
  int64_t n = 1;
  bool empty = false;
  for (int64_t d : dims) {
    if (d < 0)
      return std::nullopt;
    empty |= d == 0;
  }
  if (empty)
    return 0;
  for (int64_t d : dims)
    if (__builtin_mul_overflow(n, d, &n))
      return std::nullopt;
  return n;
}

Tensor::Tensor(ElementType type, llvm::ArrayRef<int64_t> dims) : type_(type), dims_(dims.begin(), dims.end()) {
  size_ = elementCount(dims).value_or(0);
  if (isString()) {
    strings_ = std::make_shared<std::vector<std::string>>(size_);
    return;
  }
  // 64 bytes of slack let vector loads run over the end.
  uint64_t n = onnxopt::byteSize(type, size_).value_or(0);
  owner_ = std::shared_ptr<char[]>(static_cast<char *>(std::calloc(n + 64, 1)), [](char *p) { std::free(p); });
  bytes_ = owner_.get();
}

absl::StatusOr<Tensor> Tensor::create(ElementType type, llvm::ArrayRef<int64_t> dims, uint64_t maxBytes) {
  auto count = elementCount(dims);
  if (!count)
    return absl::InvalidArgumentError("tensor with a negative or overflowing dimension");
  auto bytes = type == ElementType::String ? std::optional<uint64_t>(uint64_t(*count) * sizeof(std::string))
                                           : onnxopt::byteSize(type, *count);
  if (!bytes)
    return absl::InvalidArgumentError(absl::StrCat("tensor of unsupported element type ", int(type)));
  if (*bytes > maxBytes)
    return absl::ResourceExhaustedError(
        absl::StrCat("a tensor of ", *bytes, " bytes is over the memory limit of ", maxBytes));
  Tensor t(type, dims);
  if (!t.isString() && !t.bytes_)
    return absl::ResourceExhaustedError(absl::StrCat("cannot allocate ", *bytes, " bytes"));
  return t;
}

char *Tensor::mutableBytes() {
  // Memory of an arena is never written through a tensor.
  if (bytes_ && (!owner_ || owner_.use_count() > 1)) {
    Tensor copy(type_, dims_);
    std::memcpy(copy.bytes_, bytes_, byteSize());
    *this = std::move(copy);
  }
  return bytes_;
}

std::vector<std::string> &Tensor::mutableStrings() {
  if (strings_.use_count() > 1)
    strings_ = std::make_shared<std::vector<std::string>>(*strings_);
  return *strings_;
}

Tensor Tensor::reshaped(llvm::ArrayRef<int64_t> dims) const {
  Tensor t = *this;
  t.dims_.assign(dims.begin(), dims.end());
  return t;
}

Tensor Tensor::bitcast(ElementType type) const {
  Tensor t = *this;
  t.type_ = type;
  return t;
}

Tensor Tensor::inPlaceOf(char *memory, ElementType type, llvm::ArrayRef<int64_t> dims) {
  Tensor t;
  t.type_ = type;
  t.dims_.assign(dims.begin(), dims.end());
  t.size_ = elementCount(dims).value_or(0);
  t.bytes_ = memory;
  return t;
}

Tensor Tensor::takeMemory() {
  Tensor t = *this;
  owner_.reset();
  return t;
}

int64_t Tensor::intAt(int64_t i) const {
  switch (type_) {
  case ElementType::Int64:
    return data<int64_t>()[i];
  case ElementType::Int32:
    return data<int32_t>()[i];
  case ElementType::Uint64:
    return int64_t(data<uint64_t>()[i]);
  case ElementType::Uint32:
    return data<uint32_t>()[i];
  case ElementType::Int16:
    return data<int16_t>()[i];
  case ElementType::Uint16:
    return data<uint16_t>()[i];
  case ElementType::Int8:
    return data<int8_t>()[i];
  case ElementType::Uint8:
  case ElementType::Bool:
    return data<uint8_t>()[i];
  case ElementType::Int4:
    return int8_t(uint8_t(bytes_[i / 2]) >> (i % 2 * 4) << 4) >> 4;
  case ElementType::Uint4:
    return uint8_t(bytes_[i / 2]) >> (i % 2 * 4) & 15;
  case ElementType::Int2:
    return int8_t(uint8_t(bytes_[i / 4]) >> (i % 4 * 2) << 6) >> 6;
  case ElementType::Uint2:
    return uint8_t(bytes_[i / 4]) >> (i % 4 * 2) & 3;
  case ElementType::String:
  case ElementType::Complex64:
  case ElementType::Complex128:
  case ElementType::Undefined:
    return 0;
  default:
    double v = floatAt(i);
    return std::fabs(v) < 9e18 ? int64_t(v) : 0;
  }
}

double Tensor::floatAt(int64_t i) const {
  if (type_ == ElementType::Float)
    return data<float>()[i];
  if (type_ == ElementType::Double)
    return data<double>()[i];
  if (isSmallFloat(type_))
    return loadSmallFloat(type_, bytes_, i);
  if (type_ == ElementType::Uint64)
    return double(data<uint64_t>()[i]);
  return double(intAt(i));
}

llvm::SmallVector<int64_t, 8> Tensor::ints() const {
  llvm::SmallVector<int64_t, 8> out(size_);
  for (int64_t i = 0; i < size_; ++i)
    out[i] = intAt(i);
  return out;
}

// FileSource

static absl::Status ioError(llvm::StringRef what, const std::string &path) {
  return absl::UnavailableError(absl::StrCat(what.str(), " ", path, ": ", std::strerror(errno)));
}

std::shared_ptr<FileSource> FileSource::adopt(int fd, std::string path, uint64_t size) {
  std::shared_ptr<FileSource> f(new FileSource);
  f->fd_ = fd;
  f->path_ = std::move(path);
  f->size_ = size;
  struct stat st;
  if (fstat(fd, &st) == 0) {
    f->device_ = st.st_dev;
    f->inode_ = st.st_ino;
    f->links_ = st.st_nlink;
    f->mtimeNs_ = st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec;
  }
  return f;
}

absl::StatusOr<std::shared_ptr<FileSource>> FileSource::open(const std::string &path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return ioError("cannot open", path);
  struct stat st;
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    ::close(fd);
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  }
  return adopt(fd, path, st.st_size);
}

std::shared_ptr<FileSource> FileSource::memory(std::string bytes) {
  std::shared_ptr<FileSource> f(new FileSource);
  f->bytes_ = std::move(bytes);
  f->size_ = f->bytes_.size();
  return f;
}

FileSource::~FileSource() {
  if (fd_ >= 0)
    ::close(fd_);
}

absl::Status FileSource::read(uint64_t offset, uint64_t size, char *out) const {
  if (offset > size_ || size > size_ - offset)
    return absl::OutOfRangeError(
        absl::StrCat("range ", offset, "+", size, " is outside ", path_, " (", size_, " bytes)"));
  if (fd_ < 0) {
    std::memcpy(out, bytes_.data() + offset, size);
    return absl::OkStatus();
  }
  while (size) {
    ssize_t n = pread(fd_, out, size, offset);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return ioError("cannot read", path_);
    if (n == 0)
      return absl::DataLossError(absl::StrCat(path_, " became shorter while it was being read"));
    out += n;
    offset += n;
    size -= n;
  }
  return absl::OkStatus();
}

absl::Status FileSource::checkUnchanged() const {
  if (fd_ < 0)
    return absl::OkStatus();
  struct stat st;
  if (fstat(fd_, &st) != 0)
    return ioError("cannot stat", path_);
  if (uint64_t(st.st_size) != size_ || st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec != mtimeNs_)
    return absl::DataLossError(absl::StrCat(path_, " changed while it was in use"));
  return absl::OkStatus();
}

bool FileSource::isSameFile(const std::string &path) const {
  struct stat st;
  return fd_ >= 0 && stat(path.c_str(), &st) == 0 && int64_t(st.st_dev) == device_ && int64_t(st.st_ino) == inode_;
}

// TensorData

std::shared_ptr<TensorData> TensorData::of(Tensor tensor) {
  auto t = std::make_shared<TensorData>();
  t->type = tensor.type();
  t->dims.assign(tensor.dims().begin(), tensor.dims().end());
  t->inMemory = std::move(tensor);
  return t;
}

uint64_t TensorData::byteSize() const {
  auto n = elementCount(dims);
  return n ? onnxopt::byteSize(type, *n).value_or(0) : 0;
}

// Writes one decoded element of int32_data and the like, narrowed to the tensor's type.
static void storeInteger(Tensor &t, char *bytes, int64_t i, uint64_t v) {
  switch (bitWidth(t.type())) {
  case 8:
    bytes[i] = char(v);
    break;
  case 16:
    reinterpret_cast<uint16_t *>(bytes)[i] = uint16_t(v);
    break;
  case 32:
    reinterpret_cast<uint32_t *>(bytes)[i] = uint32_t(v);
    break;
  case 64:
    reinterpret_cast<uint64_t *>(bytes)[i] = v;
    break;
  }
}

absl::StatusOr<Tensor> TensorData::read() const {
  if (!problem.empty())
    return absl::InvalidArgumentError(problem);
  if (elided)
    return absl::FailedPreconditionError("the elements of tensor '" + name + "' were left out of the text");
  if (!payload.source)
    return inMemory;
  auto made = Tensor::create(type, dims);
  if (!made.ok())
    return made.status();
  Tensor t = std::move(*made);
  if (payload.encoding == Payload::Raw || payload.encoding == Payload::Floats || payload.encoding == Payload::Doubles) {
    if (payload.size < t.byteSize())
      return absl::InvalidArgumentError(
          absl::StrCat("tensor '", name, "' has ", payload.size, " bytes, its dims need ", t.byteSize()));
    if (absl::Status s = payload.source->read(payload.offset, t.byteSize(), t.mutableBytes()); !s.ok())
      return s;
    return t;
  }
  std::string bytes(payload.size, 0);
  if (absl::Status s = payload.source->read(payload.offset, payload.size, bytes.data()); !s.ok())
    return s;
  // Sub-byte types hold one packed byte per int32; the rest one element.
  bool packedBytes = bitWidth(type) < 8 && bitWidth(type) != 6;
  int64_t want = packedBytes ? int64_t(t.byteSize()) : t.size(), i = 0;
  char *out = t.mutableBytes();
  for (size_t p = 0; p < bytes.size() && i < want;) {
    uint64_t v = 0;
    for (unsigned shift = 0; p < bytes.size(); shift += 7) {
      uint8_t b = bytes[p++];
      if (shift < 64)
        v |= uint64_t(b & 0x7f) << shift;
      if (!(b & 0x80))
        break;
    }
    if (packedBytes)
      out[i++] = char(v);
    else if (bitWidth(type) == 6)
      store6Bits(out, i++, uint32_t(v));
    else
      storeInteger(t, out, i++, v);
  }
  if (i != want)
    return absl::InvalidArgumentError(absl::StrCat("tensor '", name, "' has ", i, " elements, its dims need ", want));
  return t;
}

} // namespace onnxopt
