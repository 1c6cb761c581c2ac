// Safe opening of external data files.
#include "onnxopt/ir/ExternalData.h"

#include "llvm/ADT/StringRef.h"

#include "absl/strings/str_cat.h"

#include <climits>
#include <cstdlib>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace onnxopt {
namespace {

std::string directoryOf(const std::string &path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

std::string realPath(const std::string &path) {
  char buffer[PATH_MAX];
  return realpath(path.c_str(), buffer) ? buffer : std::string();
}

bool isBeneath(const std::string &file, const std::string &directory) {
  if (file.empty() || directory.empty())
    return false;
  return directory == "/" || (file.size() > directory.size() && file.compare(0, directory.size(), directory) == 0 &&
                              file[directory.size()] == '/');
}

absl::StatusOr<uint64_t> decimal(const std::string &text, llvm::StringRef key) {
  uint64_t v;
  llvm::StringRef s(text);
  if (s.empty() || s.find_first_not_of("0123456789") != llvm::StringRef::npos || s.getAsInteger(10, v))
    return absl::InvalidArgumentError(absl::StrCat("external data: ", key.str(), " '", text, "' is no decimal number"));
  return v;
}

} // namespace

absl::StatusOr<std::shared_ptr<FileSource>> ExternalFiles::open(const std::string &location) {
  auto &cached = files_[location];
  if (cached)
    return cached;
  auto refuse = [&](const char *why) {
    return absl::PermissionDeniedError(absl::StrCat("external data location '", location, "' ", why));
  };
  if (modelPath_.empty())
    return refuse("cannot be looked up: the model was not read from a file");
  llvm::StringRef rest(location);
  if (rest.empty() || rest.starts_with("/") || rest.contains('\\') || rest.contains('\0'))
    return refuse("is not a relative path with '/'");
  while (!rest.empty()) {
    auto [component, tail] = rest.split('/');
    if (component == ".." || (component.empty() && !tail.empty()))
      return refuse("has an empty or '..' component");
    rest = tail;
  }
  std::string path = directoryOf(modelPath_) + "/" + location;
  std::string real = realPath(path);
  if (real.empty())
    return refuse("does not exist");
  // Beneath the model's directory, or that of the file which the model is a symbolic link to (model caches).
  if (!isBeneath(real, realPath(directoryOf(modelPath_))) && !isBeneath(real, directoryOf(realPath(modelPath_))))
    return refuse("leads out of the model's directory");
  auto file = FileSource::open(real);
  if (file.ok())
    cached = *file;
  return file;
}

absl::StatusOr<Payload> ExternalFiles::resolve(llvm::ArrayRef<ExternalEntry> entries, uint64_t expectedBytes) {
  std::string location;
  Payload p;
  std::optional<uint64_t> length;
  for (const ExternalEntry &e : entries) {
    if (e.key == "location") {
      location = e.value;
    } else if (e.key == "offset" || e.key == "length") {
      auto v = decimal(e.value, e.key);
      if (!v.ok())
        return v.status();
      if (e.key == "offset")
        p.offset = *v;
      else
        length = *v;
    } else if (e.key != "checksum") {
      return absl::InvalidArgumentError(absl::StrCat("external data: unknown key '", e.key, "'"));
    }
  }
  auto file = open(location);
  if (!file.ok())
    return file.status();
  p.source = *file;
  if (p.offset > p.source->size())
    return absl::InvalidArgumentError(
        absl::StrCat("external data: offset ", p.offset, " is beyond the end of ", location));
  p.size = length.value_or(expectedBytes);
  if (p.size > p.source->size() - p.offset)
    return absl::InvalidArgumentError(absl::StrCat("external data: ", location, " has ", p.source->size() - p.offset,
                                                   " bytes from the offset, ", p.size, " are needed"));
  if (p.size != expectedBytes)
    return absl::InvalidArgumentError(
        absl::StrCat("external data: length ", p.size, " but type and dims need ", expectedBytes));
  return p;
}

} // namespace onnxopt
