// Writing files: weights are spliced from their source, the target is replaced in one step.
#include "onnxopt/ir/Export.h"

#include "onnxopt/ir/proto/ProtoWriter.h"
#include "onnxopt/ir/proto/Wire.h"
#include "onnxopt/ir/text/Printer.h"

#include "absl/strings/str_cat.h"

#include <climits>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace onnxopt {
namespace {

std::string directoryOf(const std::string &path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}
std::string baseName(const std::string &path) { return path.substr(path.rfind('/') + 1); }

std::string realPath(const std::string &path) {
  char buffer[PATH_MAX];
  return realpath(path.c_str(), buffer) ? buffer : std::string();
}

absl::Status ioError(const char *what, const std::string &path) {
  return absl::UnavailableError(absl::StrCat(what, " ", path, ": ", std::strerror(errno)));
}

/// A temporary beside its target, which it replaces on commit and leaves no trace of otherwise.
class AtomicFile {
public:
  static absl::StatusOr<std::unique_ptr<AtomicFile>> create(const std::string &path) {
    auto f = std::unique_ptr<AtomicFile>(new AtomicFile);
    std::string real = realPath(path); // an existing link is followed, not replaced
    f->target_ = real.empty() ? path : real;
    struct stat st;
    bool exists = stat(f->target_.c_str(), &st) == 0;
    if (exists && !S_ISREG(st.st_mode))
      return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
    f->temporary_ = directoryOf(f->target_) + "/." + baseName(f->target_) + ".XXXXXX";
    f->fd_ = mkstemp(f->temporary_.data());
    if (f->fd_ < 0) {
      f->temporary_.clear();
      return ioError("cannot write beside", path);
    }
    mode_t mask = umask(0);
    umask(mask);
    fchmod(f->fd_, exists ? st.st_mode & 07777 : 0666 & ~mask);
    return f;
  }
  ~AtomicFile() {
    if (fd_ >= 0)
      ::close(fd_);
    if (!temporary_.empty())
      ::unlink(temporary_.c_str());
  }
  absl::Status write(llvm::StringRef bytes) {
    while (!bytes.empty()) {
      ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR)
        continue;
      if (n < 0)
        return ioError("cannot write", target_);
      bytes = bytes.drop_front(n);
    }
    return absl::OkStatus();
  }
  absl::Status splice(const FileSource &from, uint64_t offset, uint64_t size) {
    while (size && from.fd() >= 0 && canSplice_) {
      off64_t at = offset;
      ssize_t n = copy_file_range(from.fd(), &at, fd_, nullptr, size, 0);
      if (n < 0 && errno == EINTR)
        continue;
      if (n <= 0) {
        canSplice_ = false; // another file system, or one that cannot: plain writes
        break;
      }
      offset += n;
      size -= n;
    }
    std::string buffer;
    while (size) {
      buffer.resize(std::min<uint64_t>(size, 1 << 20));
      if (absl::Status s = from.read(offset, buffer.size(), buffer.data()); !s.ok())
        return s;
      if (absl::Status s = write(buffer); !s.ok())
        return s;
      offset += buffer.size();
      size -= buffer.size();
    }
    return absl::OkStatus();
  }
  absl::Status sync() {
    if (fsync(fd_) != 0 && errno != EINVAL)
      return ioError("cannot flush", target_);
    return absl::OkStatus();
  }
  absl::Status commit() {
    if (rename(temporary_.c_str(), target_.c_str()) != 0)
      return ioError("cannot replace", target_);
    temporary_.clear();
    int dir = ::open(directoryOf(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0) {
      fsync(dir);
      ::close(dir);
    }
    return absl::OkStatus();
  }

private:
  AtomicFile() = default;
  int fd_ = -1;
  bool canSplice_ = true;
  std::string target_, temporary_;
};

/// Decides which tensors go to a new data file and where in it.
struct DataPlan {
  std::string fileName;
  std::vector<wire::Piece> pieces;
  uint64_t end = 0;

  std::vector<ExternalEntry> place(const Payload &p) {
    uint64_t offset = (end + 4095) / 4096 * 4096; // page aligned, so that it can be mapped
    if (offset != end)
      pieces.push_back({std::string(offset - end, 0), nullptr, 0, offset - end});
    pieces.push_back({"", p.source, p.offset, p.size});
    end = offset + p.size;
    return {{"location", fileName}, {"offset", std::to_string(offset)}, {"length", std::to_string(p.size)}};
  }
};

uint64_t inlinePayloadBytes(const Model &model) {
  uint64_t total = 0;
  auto add = [&](const TensorData &t) {
    if (t.payload.source && t.external.empty())
      total += t.payload.size;
  };
  forEachGraph(const_cast<Model &>(model), [&](Graph &g) {
    for (const auto &v : g.inputs())
      if (v->initializer())
        add(*v->initializer());
    for (const auto &v : g.initializers())
      if (v->initializer())
        add(*v->initializer());
    for (const Node &n : g.nodes())
      for (const Attribute &a : n.attributes())
        if (const auto *ts = std::get_if<Attribute::Tensors>(&a.value))
          for (const auto &t : *ts)
            add(*t);
  });
  return total;
}

absl::Status writePieces(AtomicFile &f, llvm::ArrayRef<wire::Piece> pieces) {
  // What lies together in the source is spliced in one call: the kernel copies that at its full speed, and calls of 64
  // MiB at half of it.
  for (size_t i = 0; i < pieces.size();) {
    const wire::Piece &p = pieces[i++];
    uint64_t size = p.size;
    for (; p.source && i < pieces.size() && pieces[i].source == p.source && pieces[i].offset == p.offset + size; ++i)
      size += pieces[i].size;
    if (absl::Status s = p.source ? f.splice(*p.source, p.offset, size) : f.write(p.bytes); !s.ok())
      return s;
  }
  return absl::OkStatus();
}

absl::Status writeBinary(const Model &model, const std::string &path, const ExportOptions &options) {
  ProtoWriter writer(model.context(), model.source);
  DataPlan data;
  std::string outDir = realPath(directoryOf(path));
  std::string inDir = model.path.empty() ? "" : realPath(directoryOf(model.path));
  if (outDir.empty())
    return ioError("cannot write to", path);
  // A data file that the input refers to is never overwritten: a new name until none is in the way.
  for (unsigned i = 0;; ++i) {
    data.fileName = baseName(path) + (i ? "." + std::to_string(i) : "") + ".data";
    struct stat st;
    if (lstat((outDir + "/" + data.fileName).c_str(), &st) != 0)
      break;
  }
  bool tooBig = inlinePayloadBytes(model) > uint64_t(INT32_MAX) - (64 << 20);
  bool moveExternal = options.external != ExternalDataMode::Keep || outDir != inDir;
  writer.placeExternal = [&](const TensorData &t, std::vector<ExternalEntry> &entries) {
    if (!t.payload.source)
      return false;
    if (!t.external.empty()) {
      if (!moveExternal)
        return false;
      if (options.external == ExternalDataMode::Inline)
        entries.clear();
      else
        entries = data.place(t.payload);
      return true;
    }
    bool plain = t.payload.encoding == Payload::Raw || t.payload.encoding == Payload::Floats ||
                 t.payload.encoding == Payload::Doubles;
    if (tooBig && plain) {
      entries = data.place(t.payload);
      return true;
    }
    return false;
  };
  auto proto = writer.model(model);
  if (!proto.ok())
    return proto.status();
  if (proto->ByteSizeLong() > INT32_MAX)
    return absl::ResourceExhaustedError("the model without its weights is over 2 GiB");
  std::string skeleton = proto->SerializePartialAsString();
  pb::ModelProto().Swap(&*proto);
  bool spliced = false;
  for (auto &s : writer.sources)
    spliced |= s != nullptr;
  wire::Rope rope;
  if (spliced)
    rope = wire::expand(std::move(skeleton), writer.sources);
  else
    rope.append(skeleton);
  if (rope.size > INT32_MAX)
    return absl::ResourceExhaustedError(
        absl::StrCat("the model would take ", rope.size, " bytes; a file over 2 GiB cannot be read by others"));
  for (const wire::Piece &p : rope.pieces)
    if (p.source)
      if (absl::Status s = p.source->checkUnchanged(); !s.ok())
        return s;
  std::unique_ptr<AtomicFile> dataFile;
  if (!data.pieces.empty()) {
    auto f = AtomicFile::create(outDir + "/" + data.fileName);
    if (!f.ok())
      return f.status();
    dataFile = std::move(*f);
    if (absl::Status s = writePieces(*dataFile, data.pieces); !s.ok())
      return s;
    if (absl::Status s = dataFile->sync(); !s.ok())
      return s;
  }
  auto f = AtomicFile::create(path);
  if (!f.ok())
    return f.status();
  if (absl::Status s = writePieces(**f, rope.pieces); !s.ok())
    return s;
  if (absl::Status s = (*f)->sync(); !s.ok())
    return s;
  if (dataFile)
    if (absl::Status s = dataFile->commit(); !s.ok())
      return s;
  return (*f)->commit();
}

} // namespace

absl::Status writeFileAtomically(const std::string &path, llvm::StringRef text) {
  auto f = AtomicFile::create(path);
  if (!f.ok())
    return f.status();
  if (absl::Status s = (*f)->write(text); !s.ok())
    return s;
  if (absl::Status s = (*f)->sync(); !s.ok())
    return s;
  return (*f)->commit();
}

absl::Status writeModel(const Model &model, const std::string &path, const ExportOptions &options) {
  if (llvm::StringRef(path).ends_with(".onnxtxt")) {
    auto text = printText(model);
    if (!text.ok())
      return text.status();
    return writeFileAtomically(path, *text);
  }
  return writeBinary(model, path, options);
}

absl::StatusOr<std::string> serializeModel(const Model &model) {
  ProtoWriter writer(model.context(), model.source);
  auto proto = writer.model(model);
  if (!proto.ok())
    return proto.status();
  wire::Rope rope = wire::expand(proto->SerializePartialAsString(), writer.sources);
  std::string out;
  for (const wire::Piece &p : rope.pieces) {
    if (!p.source) {
      out += p.bytes;
      continue;
    }
    size_t old = out.size();
    out.resize(old + p.size);
    if (absl::Status s = p.source->read(p.offset, p.size, out.data() + old); !s.ok())
      return s;
  }
  return out;
}

uint64_t contentHash(const Model &model) {
  ProtoWriter writer(model.context(), model.source);
  writer.requireLegal = false;
  auto proto = writer.model(model);
  return proto.ok() ? fingerprint(proto->SerializePartialAsString()) : 0;
}

} // namespace onnxopt
