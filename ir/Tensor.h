// Dense tensors: element bytes in memory, or by reference to a range of a file.
#pragma once

#include "onnxopt/ir/ElementType.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"

#include "absl/status/statusor.h"

#include <memory>
#include <string>
#include <vector>

namespace onnxopt {

using Dims = llvm::SmallVector<int64_t, 4>;

/// Product of dims; nullopt for a negative one or on overflow. Rank 0 has one element.
std::optional<int64_t> elementCount(llvm::ArrayRef<int64_t> dims);

/// A tensor in memory. Copies share their elements; `mutableBytes` makes them unique first. Elements are row-major,
/// little endian; types below 8 bits are packed as in raw_data (low bits first, the last byte padded).
class Tensor {
public:
  Tensor() = default;
  /// Zeroed elements, or empty strings. The byte size must have been checked.
  Tensor(ElementType type, llvm::ArrayRef<int64_t> dims);
  /// Checks sizes: an error when dims are negative, overflow or need more than `maxBytes`.
  static absl::StatusOr<Tensor> create(ElementType type, llvm::ArrayRef<int64_t> dims,
                                       uint64_t maxBytes = uint64_t(16) << 30);
  template <typename T> static Tensor scalar(ElementType type, T value) {
    Tensor t(type, {});
    *t.mutableData<T>() = value;
    return t;
  }
  static Tensor vector(llvm::ArrayRef<int64_t> values) {
    Tensor t(ElementType::Int64, {int64_t(values.size())});
    std::copy(values.begin(), values.end(), t.mutableData<int64_t>());
    return t;
  }
  static Tensor stringVector(std::vector<std::string> values) {
    Tensor t(ElementType::String, {int64_t(values.size())});
    t.mutableStrings() = std::move(values);
    return t;
  }

  ElementType type() const { return type_; }
  llvm::ArrayRef<int64_t> dims() const { return dims_; }
  size_t rank() const { return dims_.size(); }
  int64_t dim(size_t axis) const { return dims_[axis]; }
  int64_t size() const { return size_; }
  bool isString() const { return type_ == ElementType::String; }
  uint64_t byteSize() const { return isString() ? 0 : *onnxopt::byteSize(type_, size_); }
  const char *bytes() const { return bytes_; }
  char *mutableBytes();
  template <typename T> const T *data() const { return reinterpret_cast<const T *>(bytes()); }
  template <typename T> T *mutableData() { return reinterpret_cast<T *>(mutableBytes()); }
  const std::vector<std::string> &strings() const { return *strings_; }
  std::vector<std::string> &mutableStrings();

  /// The same elements under other dims (of equal size).
  Tensor reshaped(llvm::ArrayRef<int64_t> dims) const;
  /// The same bytes as elements of another type of equal width.
  Tensor bitcast(ElementType type) const;
  /// Element `index` as a number; intAt cuts towards 0. 0 for strings and complex numbers.
  int64_t intAt(int64_t index) const;
  double floatAt(int64_t index) const;
  /// All elements as integers (of an integer or bool tensor).
  llvm::SmallVector<int64_t, 8> ints() const;
  bool ownsMemory() const { return owner_ != nullptr; }
  /// Whether no other tensor holds the memory.
  bool isSoleOwner() const { return owner_ && owner_.use_count() == 1; }
  /// A tensor that owns the memory from now on; this one goes on reading it while that one lives.
  Tensor takeMemory();
  bool sharesMemoryWith(const Tensor &other) const { return bytes_ && bytes_ == other.bytes_; }
  /// Elements live at `memory`, which outlives the tensor and is not freed by it (an arena).
  static Tensor inPlaceOf(char *memory, ElementType type, llvm::ArrayRef<int64_t> dims);

private:
  ElementType type_ = ElementType::Undefined;
  Dims dims_;
  int64_t size_ = 0;
  std::shared_ptr<char[]> owner_;
  char *bytes_ = nullptr;
  std::shared_ptr<std::vector<std::string>> strings_;
};

/// A file whose ranges are read with pread. Remembers the file's identity; a change underneath is an error.
class FileSource {
public:
  static absl::StatusOr<std::shared_ptr<FileSource>> open(const std::string &path);
  static std::shared_ptr<FileSource> adopt(int fd, std::string path, uint64_t size);
  /// In-memory bytes that act as a file.
  static std::shared_ptr<FileSource> memory(std::string bytes);
  ~FileSource();
  absl::Status read(uint64_t offset, uint64_t size, char *out) const;
  absl::Status checkUnchanged() const;
  uint64_t size() const { return size_; }
  /// Names that the file system has for it; 0 in memory.
  uint64_t links() const { return links_; }
  int fd() const { return fd_; }
  const std::string &path() const { return path_; }
  bool isSameFile(const std::string &path) const;

private:
  FileSource() = default;
  int fd_ = -1;
  uint64_t size_ = 0, links_ = 0;
  std::string path_, bytes_;
  int64_t device_ = 0, inode_ = 0, mtimeNs_ = 0;
};

/// Where a tensor of a model keeps its elements.
struct Payload {
  enum Encoding : uint8_t { Raw, VarintInt32, VarintInt64, VarintUint64, Floats, Doubles };
  std::shared_ptr<FileSource> source; ///< null: the elements are in `inMemory`
  uint64_t offset = 0, size = 0;      ///< byte range of the source
  Encoding encoding = Raw;
};

/// An element of external_data, as the file has it.
struct ExternalEntry {
  std::string key, value;
};

struct AsRead;

/// A constant of a model: an initializer, a Constant's value, a tensor attribute. Immutable; shared between copies.
class TensorData {
public:
  ElementType type = ElementType::Undefined;
  Dims dims;
  std::string name, doc;
  Tensor inMemory;                     ///< elements, when `payload.source` is null and not `elided`
  Payload payload;                     ///< elements by reference
  std::vector<ExternalEntry> external; ///< as declared; empty for elements in the model file
  bool elided = false;                 ///< the text form left the elements out
  std::string problem;                 ///< why the elements cannot be read ("" when they can)
  std::shared_ptr<const AsRead> asRead;

  static std::shared_ptr<TensorData> of(Tensor tensor);
  /// The elements in memory; reads and decodes them when they are by reference.
  absl::StatusOr<Tensor> read() const;
  /// Bytes of the elements as raw_data; 0 for strings.
  uint64_t byteSize() const;
};

/// Values and coordinates of a sparse tensor.
struct SparseTensorData {
  std::shared_ptr<const TensorData> values, indices;
  Dims dims;
  std::shared_ptr<const AsRead> asRead;
};

} // namespace onnxopt
