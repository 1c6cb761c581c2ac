// A file that says how to see a failure of onnx-opt again.
#pragma once

#include <string>

namespace onnxopt {

/// Set up before passes run. The file refers to the input model by its path; it holds no copy of it.
class Reproducer {
public:
  /// `path` is where the file goes; empty: nowhere. `command` repeats the run. Signals that end the process (a crash)
  /// write the file too, while this object lives.
  Reproducer(std::string path, std::string command, const std::string &input);
  ~Reproducer();
  Reproducer(const Reproducer &) = delete;
  /// The pass that runs from now on.
  void enter(const std::string &pass);
  /// Writes the file and tells standard error where it is.
  void write(const std::string &what) const;

private:
  std::string path_, head_, pass_;
};

} // namespace onnxopt
