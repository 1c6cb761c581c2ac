// Schema-guided walk of ONNX's wire format.
#include "onnxopt/ir/proto/Wire.h"

#include "llvm/ADT/StringRef.h"

#include "absl/strings/str_cat.h"

#include <cstring>

namespace onnxopt::wire {
namespace {

constexpr uint32_t kPrivateField = 536870000;
constexpr unsigned kMaxNesting = 100;

enum Kind : uint8_t { None, ModelMsg, GraphMsg, NodeMsg, AttributeMsg, TensorMsg, SparseMsg, FunctionMsg, TrainingMsg };

/// The kind of submessage that `field` of `kind` holds, if a tensor can be inside.
Kind childOf(Kind kind, uint32_t field) {
  switch (kind) {
  case ModelMsg:
    return field == 7 ? GraphMsg : field == 20 ? TrainingMsg : field == 25 ? FunctionMsg : None;
  case GraphMsg:
    return field == 1 ? NodeMsg : field == 5 ? TensorMsg : field == 15 ? SparseMsg : None;
  case NodeMsg:
    return field == 5 ? AttributeMsg : None;
  case AttributeMsg:
    return field == 5 || field == 10    ? TensorMsg
           : field == 6 || field == 11  ? GraphMsg
           : field == 22 || field == 23 ? SparseMsg
                                        : None;
  case SparseMsg:
    return field == 1 || field == 2 ? TensorMsg : None;
  case FunctionMsg:
    return field == 7 ? NodeMsg : field == 11 ? AttributeMsg : None;
  case TrainingMsg:
    return field == 1 || field == 2 ? GraphMsg : None;
  default:
    return None;
  }
}

bool isPayload(uint32_t field) {
  return field == 9 || field == 4 || field == 5 || field == 7 || field == 10 || field == 11;
}

void appendVarint(std::string &out, uint64_t v) {
  for (; v >= 0x80; v >>= 7)
    out.push_back(char(v | 0x80));
  out.push_back(char(v));
}

/// Reads a file through a window, so that skipped payloads are never touched.
class Window {
public:
  explicit Window(const FileSource &file) : file_(file) {}

  absl::StatusOr<uint8_t> byte(uint64_t at) {
    if (at < begin_ || at >= begin_ + size_)
      if (absl::Status s = fill(at); !s.ok())
        return s;
    return uint8_t(buffer_[at - begin_]);
  }
  absl::Status copy(uint64_t at, uint64_t n, std::string &out) {
    if (at >= begin_ && at + n <= begin_ + size_) {
      out.append(buffer_, at - begin_, n);
      return absl::OkStatus();
    }
    size_t old = out.size();
    out.resize(old + n);
    return file_.read(at, n, out.data() + old);
  }

private:
  absl::Status fill(uint64_t at) {
    constexpr uint64_t window = 1 << 16;
    begin_ = at;
    size_ = std::min(window, file_.size() - std::min(at, file_.size()));
    if (!size_)
      return absl::InvalidArgumentError("unexpected end of file");
    buffer_.resize(window);
    return file_.read(begin_, size_, buffer_.data());
  }
  const FileSource &file_;
  std::string buffer_;
  uint64_t begin_ = 0, size_ = 0;
};

struct Field {
  uint32_t number;
  uint8_t wireType;
  uint64_t start, payload, end; ///< tag, first byte of content, one past the content
};

class Skeletonizer {
public:
  Skeletonizer(const FileSource &file, uint64_t threshold) : window_(file), threshold_(threshold) {}

  absl::Status message(Kind kind, uint64_t begin, uint64_t end, unsigned depth, std::string &out) {
    if (depth > kMaxNesting)
      return malformed(begin, "messages are nested deeper than 100");
    // A payload moves only if its field occurs once: order matters when chunks are concatenated.
    unsigned counts[12] = {};
    if (kind == TensorMsg)
      for (uint64_t at = begin; at < end;) {
        auto f = next(at, end);
        if (!f.ok())
          return f.status();
        if (f->number < 12)
          ++counts[f->number];
        at = f->end;
      }
    uint64_t pending = begin; // copied together: everything since here
    for (uint64_t at = begin; at < end;) {
      auto f = next(at, end);
      if (!f.ok())
        return f.status();
      at = f->end;
      if (kind == TensorMsg && f->number == kPrivateField)
        return malformed(f->start, "reserved field number 536870000");
      if (f->wireType != 2 || f->end - f->payload < threshold_)
        continue;
      Kind child = childOf(kind, f->number);
      bool lazy = kind == TensorMsg && isPayload(f->number) && counts[f->number] == 1;
      if (!child && !lazy)
        continue;
      if (absl::Status s = window_.copy(pending, f->start - pending, out); !s.ok())
        return s;
      pending = f->end;
      if (lazy) {
        std::string blob = Blob{f->number, 0, f->payload, f->end - f->payload}.encode();
        appendVarint(out, uint64_t(kPrivateField) << 3 | 2);
        appendVarint(out, blob.size());
        out += blob;
      } else {
        std::string sub;
        if (absl::Status s = message(child, f->payload, f->end, depth + 1, sub); !s.ok())
          return s;
        appendVarint(out, uint64_t(f->number) << 3 | 2);
        appendVarint(out, sub.size());
        out += sub;
      }
      if (out.size() > INT32_MAX)
        return absl::ResourceExhaustedError("the model without its weights is over 2 GiB");
    }
    return window_.copy(pending, end - pending, out);
  }

private:
  static absl::Status malformed(uint64_t at, llvm::StringRef what) {
    return absl::InvalidArgumentError(absl::StrCat("not a valid ONNX file: ", what.str(), " at byte ", at));
  }

  absl::StatusOr<uint64_t> varint(uint64_t &at, uint64_t end) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
      if (at >= end)
        return malformed(at, "truncated number");
      auto b = window_.byte(at++);
      if (!b.ok())
        return b.status();
      if (shift < 64)
        v |= uint64_t(*b & 0x7f) << shift;
      if (!(*b & 0x80))
        return v;
    }
    return malformed(at, "number of more than ten bytes");
  }

  absl::StatusOr<Field> next(uint64_t at, uint64_t end) {
    Field f;
    f.start = at;
    auto tag = varint(at, end);
    if (!tag.ok())
      return tag.status();
    f.number = uint32_t(*tag >> 3);
    f.wireType = *tag & 7;
    f.payload = at;
    if (!f.number || *tag > UINT32_MAX)
      return malformed(f.start, "field number out of range");
    switch (f.wireType) {
    case 0: {
      auto v = varint(at, end);
      if (!v.ok())
        return v.status();
      break;
    }
    case 1:
      at += 8;
      break;
    case 5:
      at += 4;
      break;
    case 2: {
      auto n = varint(at, end);
      if (!n.ok())
        return n.status();
      if (*n > end - at)
        return malformed(f.start, "a field is longer than what holds it");
      f.payload = at;
      at += *n;
      break;
    }
    case 3: { // a group: skip to its end
      for (unsigned depth = 1; depth;) {
        auto inner = varint(at, end);
        if (!inner.ok())
          return inner.status();
        switch (*inner & 7) {
        case 3:
          if (++depth > kMaxNesting)
            return malformed(at, "groups are nested deeper than 100");
          break;
        case 4:
          --depth;
          break;
        case 0: {
          auto v = varint(at, end);
          if (!v.ok())
            return v.status();
          break;
        }
        case 1:
          at += 8;
          break;
        case 5:
          at += 4;
          break;
        case 2: {
          auto n = varint(at, end);
          if (!n.ok())
            return n.status();
          if (at > end || *n > end - at)
            return malformed(at, "a field is longer than what holds it");
          at += *n;
          break;
        }
        default:
          return malformed(at, "unknown wire type");
        }
        if (at > end)
          return malformed(f.start, "truncated field");
      }
      break;
    }
    default:
      return malformed(f.start, absl::StrCat("unknown wire type ", int(f.wireType)));
    }
    if (at > end)
      return malformed(f.start, "truncated field");
    f.end = at;
    return f;
  }

  Window window_;
  uint64_t threshold_;
};

/// Expansion works on our own output, which is well formed.
uint64_t readVarint(const std::string &s, size_t &at) {
  uint64_t v = 0;
  for (unsigned shift = 0; at < s.size(); shift += 7) {
    uint8_t b = s[at++];
    if (shift < 64)
      v |= uint64_t(b & 0x7f) << shift;
    if (!(b & 0x80))
      break;
  }
  return v;
}

void skip(const std::string &s, size_t &at, unsigned wireType) {
  switch (wireType) {
  case 0:
    readVarint(s, at);
    break;
  case 1:
    at += 8;
    break;
  case 2: {
    uint64_t n = readVarint(s, at);
    at += n;
    break;
  }
  case 3:
    for (;;) {
      uint64_t tag = readVarint(s, at);
      if ((tag & 7) == 4)
        break;
      skip(s, at, tag & 7);
    }
    break;
  default:
    at += 4;
  }
}

Rope expandMessage(const std::string &s, size_t begin, size_t end, Kind kind,
                   llvm::ArrayRef<std::shared_ptr<const FileSource>> sources) {
  Rope out;
  size_t pending = begin;
  for (size_t at = begin; at < end;) {
    size_t start = at;
    uint64_t tag = readVarint(s, at);
    uint32_t field = tag >> 3;
    bool blob = kind == TensorMsg && field == kPrivateField;
    Kind child = (tag & 7) == 2 ? childOf(kind, field) : None;
    if (!blob && !child) {
      skip(s, at, tag & 7);
      continue;
    }
    uint64_t n = readVarint(s, at);
    size_t content = at;
    at += n;
    Rope inner;
    uint32_t number = field;
    if (blob) {
      Blob b = Blob::decode(s.substr(content, n));
      inner.pieces.push_back({"", sources[b.source], b.offset, b.size});
      inner.size = b.size;
      number = b.field;
    } else {
      inner = expandMessage(s, content, at, child, sources);
      if (inner.pieces.size() <= 1 && (inner.pieces.empty() || !inner.pieces[0].source))
        continue; // nothing to expand inside
    }
    out.append(llvm::StringRef(s.data() + pending, start - pending));
    std::string head;
    appendVarint(head, uint64_t(number) << 3 | 2);
    appendVarint(head, inner.size);
    out.append(head);
    out.append(std::move(inner));
    pending = at;
  }
  out.append(llvm::StringRef(s.data() + pending, end - pending));
  return out;
}

} // namespace

std::string Blob::encode() const {
  std::string s(24, 0);
  std::memcpy(s.data(), &field, 4);
  std::memcpy(s.data() + 4, &source, 4);
  std::memcpy(s.data() + 8, &offset, 8);
  std::memcpy(s.data() + 16, &size, 8);
  return s;
}

Blob Blob::decode(const std::string &bytes) {
  Blob b{};
  if (bytes.size() == 24) {
    std::memcpy(&b.field, bytes.data(), 4);
    std::memcpy(&b.source, bytes.data() + 4, 4);
    std::memcpy(&b.offset, bytes.data() + 8, 8);
    std::memcpy(&b.size, bytes.data() + 16, 8);
  }
  return b;
}

absl::StatusOr<std::string> makeSkeleton(const FileSource &file, uint64_t threshold) {
  std::string out;
  if (absl::Status s = Skeletonizer(file, threshold).message(ModelMsg, 0, file.size(), 1, out); !s.ok())
    return s;
  return out;
}

void Rope::append(llvm::StringRef bytes) {
  if (bytes.empty())
    return;
  if (pieces.empty() || pieces.back().source)
    pieces.emplace_back();
  pieces.back().bytes.append(bytes.data(), bytes.size());
  size += bytes.size();
}

void Rope::append(Rope other) {
  for (Piece &p : other.pieces) {
    if (!p.source)
      append(llvm::StringRef(p.bytes));
    else {
      size += p.size;
      pieces.push_back(std::move(p));
    }
  }
}

Rope expand(std::string skeleton, llvm::ArrayRef<std::shared_ptr<const FileSource>> sources) {
  return expandMessage(skeleton, 0, skeleton.size(), ModelMsg, sources);
}

} // namespace onnxopt::wire
