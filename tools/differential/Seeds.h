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
    uint64_t id; ///< hash of the path below its directory
  };
  /// One of the entries that `which` takes. Another entry more changes only the draws that it wins.
  const Entry *draw(Random &random, llvm::function_ref<bool(const Entry &)> which) const;
  std::vector<Entry> entries_;
};

} // namespace onnxopt::differential
