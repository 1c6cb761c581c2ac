// Models that exist already, whose graphs become parts of random ones.
#pragma once

#include "onnxopt/tools/differential/Builder.h"

namespace onnxopt::differential {

/// Folders of the backend suite's layout (with their recorded inputs) and single .onnx and .onnxtxt files (with drawn
/// ones), found below the given directories.
class Seeds {
public:
  absl::Status add(const std::string &directory);
  bool empty() const { return entries_.empty(); }
  /// The ai.onnx opset of a random entry.
  int64_t opset(Random &random) const;
  /// A random entry whose opset is `opset`, if there is one, else any; read into `context`.
  absl::StatusOr<Example> pick(Context &context, Random &random, int64_t opset) const;

private:
  struct Entry {
    std::string path;
    int64_t opset;
  };
  std::vector<Entry> entries_;
  std::map<int64_t, std::vector<unsigned>> byOpset_;
};

} // namespace onnxopt::differential
