// Running code that may crash or hang in a process of its own.
#pragma once

#include <functional>
#include <string>

namespace onnxopt::differential {

struct Isolated {
  bool finished = false; ///< false: a signal or the time limit ended it, which `text` names
  std::string text;      ///< what `body` gave
};

/// Runs `body` in a child process for at most `seconds` of CPU time and hands its text back.
Isolated isolated(unsigned seconds, const std::function<std::string()> &body);

} // namespace onnxopt::differential
