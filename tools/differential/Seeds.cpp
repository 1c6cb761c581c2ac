// Finding seeds and reading them with inputs.
#include "onnxopt/tools/differential/Seeds.h"

#include "onnxopt/exec/DataFiles.h"
#include "onnxopt/exec/Inputs.h"
#include "onnxopt/ir/Import.h"

#include <filesystem>

namespace onnxopt::differential {

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
    byOpset_[version].push_back(entries_.size());
    entries_.push_back({path, version});
  }
  return absl::OkStatus();
}

int64_t Seeds::opset(Random &random) const { return entries_[random.below(entries_.size())].opset; }

absl::StatusOr<Example> Seeds::pick(Context &context, Random &random, int64_t opset) const {
  const std::string *path = &entries_[random.below(entries_.size())].path;
  if (auto it = byOpset_.find(opset); it != byOpset_.end() && random.chance(70))
    path = &entries_[it->second[random.below(it->second.size())]].path;
  auto m = readModel(context, *path);
  if (!m.ok())
    return m.status();
  Example e;
  e.model = std::move(*m);
  std::string data = std::filesystem::path(*path).parent_path().string() + "/test_data_set_0/input_";
  unsigned i = 0;
  for (const auto &v : e.model->graph().inputs())
    if (auto d =
            exec::readPb(context, data + std::to_string(i++) + ".pb", v->declaredType() ? *v->declaredType() : Type());
        d.ok())
      e.inputs[v->name().str()] = *d;
  exec::InputOptions draw;
  draw.seed = random.below(1000);
  if (absl::Status s = exec::drawInputs(*e.model, draw, e.inputs); !s.ok())
    return s;
  return e;
}

} // namespace onnxopt::differential
