// A small command line: options with values, flags, positional arguments.
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringRef.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

namespace onnxopt {

/// Accepts `--name=value`, `--name value` and, for flags, `--name`.
class CommandLine {
public:
  CommandLine(int argc, char **argv, std::vector<std::string> valued, std::vector<std::string> flags) {
    for (int i = 1; i < argc; ++i) {
      llvm::StringRef arg = argv[i];
      if (!arg.starts_with("-") || arg == "-") {
        positional_.push_back(arg.str());
        continue;
      }
      auto [name, value] = arg.split('=');
      bool hasValue = arg.contains('=');
      if (llvm::is_contained(valued, name)) {
        if (!hasValue && i + 1 >= argc) {
          error_ = "option " + name.str() + " needs a value";
          return;
        }
        values_[name.str()].push_back(hasValue ? value.str() : argv[++i]);
      } else if (llvm::is_contained(flags, name)) {
        values_[name.str()].push_back(hasValue ? value.str() : "");
      } else {
        error_ = "unknown option " + name.str() + " (--help lists them)";
        return;
      }
    }
  }
  const std::string &error() const { return error_; }
  bool has(const std::string &name) const { return values_.count(name) != 0; }
  std::string value(const std::string &name, std::string otherwise = "") const {
    auto it = values_.find(name);
    return it == values_.end() ? otherwise : it->second.back();
  }
  std::vector<std::string> values(const std::string &name) const {
    auto it = values_.find(name);
    return it == values_.end() ? std::vector<std::string>() : it->second;
  }
  double number(const std::string &name, double otherwise) const {
    return has(name) ? std::strtod(value(name).c_str(), nullptr) : otherwise;
  }
  const std::vector<std::string> &positional() const { return positional_; }

private:
  std::map<std::string, std::vector<std::string>> values_;
  std::vector<std::string> positional_;
  std::string error_;
};

/// Prints "error: ..." on standard error. Gives exit code 1.
inline int reportError(const std::string &message) {
  std::fprintf(stderr, "error: %s\n", message.c_str());
  return 1;
}

} // namespace onnxopt
