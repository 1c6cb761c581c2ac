// What was on trial when a test crashed.
#pragma once

#include <csignal>
#include <cstdio>
#include <string>

namespace onnxopt {

/// While it lives, a crash prints `onTrial`.
class CrashReport {
public:
  CrashReport() {
    for (int signal : {SIGABRT, SIGSEGV, SIGFPE})
      std::signal(signal, show);
  }
  ~CrashReport() {
    for (int signal : {SIGABRT, SIGSEGV, SIGFPE})
      std::signal(signal, SIG_DFL);
  }
  static inline std::string onTrial;

private:
  static void show(int signal) {
    std::fprintf(stderr, "crashed on:\n%s\n", onTrial.c_str());
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
};

} // namespace onnxopt
