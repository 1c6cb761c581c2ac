// Finding seeds and reading them with inputs.
#include "onnxopt/tools/differential/Seeds.h"

#include "onnxopt/exec/DataFiles.h"
#include "onnxopt/exec/Inputs.h"
#include "onnxopt/ir/Import.h"

#include "llvm/Support/xxhash.h"

#include <filesystem>

namespace onnxopt::differential {

/// The finalizer of SplitMix64: each bit of the result depends on each bit of `x`.
static uint64_t scramble(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

absl::Status Seeds::add(const std::string &directory) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<std::string> paths;
  for (fs::recursive_directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    std::string path = it->path().string();
    if (it->path().extension() == ".onnx" || it->path().extension() == ".onnxtxt")
      paths.push_back(path);
  }
  if (error)
    return absl::NotFoundError(directory + ": " + error.message());
  std::sort(paths.begin(), paths.end());
  for (const std::string &path : paths) {
    Context scratch;
    auto m = readModel(scratch, path);
    if (!m.ok() || !(*m)->importErrors.empty() || !(*m)->functions().empty())
      continue; // tests of errors; calls are made by wrapping
    int64_t version = opsetVersion((*m)->graph(), "");
    if (version < 7)
      continue;
    entries_.push_back({path, version, llvm::xxh3_64bits(llvm::StringRef(path).drop_front(directory.size()))});
  }
  return absl::OkStatus();
}

const Seeds::Entry *Seeds::draw(Random &random, llvm::function_ref<bool(const Entry &)> which) const {
  uint64_t ticket = random.below(UINT64_MAX), highest = 0;
  const Entry *best = nullptr;
  for (const Entry &e : entries_)
    if (which(e))
      if (uint64_t score = scramble(ticket ^ e.id); !best || score > highest) {
        highest = score;
        best = &e;
      }
  return best;
}

int64_t Seeds::opset(Random &random) const {
  return draw(random, [](const Entry &) { return true; })->opset;
}

absl::StatusOr<Example> Seeds::pick(Context &context, Random &random, int64_t opset) const {
  bool same = random.chance(70);
  const Entry *entry = draw(random, [&](const Entry &e) { return !same || e.opset == opset; });
  if (!entry)
    entry = draw(random, [](const Entry &) { return true; });
  auto m = readModel(context, entry->path);
  if (!m.ok())
    return m.status();
  Example e;
  e.model = std::move(*m);
  auto inputs = exec::readInputs(context, e.model->graph(),
                                 std::filesystem::path(entry->path).parent_path().string() + "/test_data_set_0");
  if (!inputs.ok())
    return inputs.status();
  e.inputs = std::move(*inputs);
  exec::InputOptions options;
  options.seed = random.below(1000);
  if (absl::Status s = exec::drawInputs(*e.model, options, e.inputs); !s.ok())
    return s;
  return e;
}

} // namespace onnxopt::differential
