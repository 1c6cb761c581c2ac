// Writing it in the usual way, and from a signal handler.
#include "onnxopt/tools/Reproducer.h"

#include "onnxopt/ir/Export.h"

#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace onnxopt {
namespace {

// What a signal handler may use: texts that are ready, and system calls.
char crashPath[4096], crashText[16384], crashPass[256];
constexpr int kSignals[] = {SIGSEGV, SIGABRT, SIGFPE, SIGBUS, SIGILL};

void put(int fd, const char *text) {
  if (write(fd, text, strlen(text)) < 0)
    return; // there is nobody left to tell
}

void onCrash(int signal) {
  int fd = open(crashPath, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd >= 0) {
    put(fd, crashText);
    put(fd, "# pass: ");
    put(fd, crashPass[0] ? crashPass : "none");
    put(fd, "\n# crashed\n");
    close(fd);
    put(2, "error: onnx-opt crashed in ");
    put(2, crashPass[0] ? crashPass : "reading or writing");
    put(2, "; to see it again: ");
    put(2, crashPath);
    put(2, "\n");
  }
  std::signal(signal, SIG_DFL);
  raise(signal);
}

} // namespace

Reproducer::Reproducer(std::string path, std::string command, const std::string &input) : path_(std::move(path)) {
  struct stat st;
  bool known = stat(input.c_str(), &st) == 0;
  head_ = "# onnx-opt reproducer\n# input: " + input +
          (known ? ", " + std::to_string(st.st_size) + " bytes" : std::string()) + "\n" + command + "\n";
  if (path_.empty() || path_.size() >= sizeof crashPath || head_.size() >= sizeof crashText)
    return;
  std::strcpy(crashPath, path_.c_str());
  std::strcpy(crashText, head_.c_str());
  crashPass[0] = 0;
  for (int s : kSignals)
    std::signal(s, onCrash);
}

Reproducer::~Reproducer() {
  for (int s : kSignals)
    std::signal(s, SIG_DFL);
}

void Reproducer::enter(const std::string &pass) {
  pass_ = pass;
  std::snprintf(crashPass, sizeof crashPass, "%s", pass.c_str());
}

void Reproducer::write(const std::string &what) const {
  if (path_.empty())
    return;
  std::string line = what;
  for (char &c : line)
    if (c == '\n')
      c = ' ';
  std::string text = head_ + "# pass: " + (pass_.empty() ? "none" : pass_) + "\n# " + line + "\n";
  if (absl::Status s = writeFileAtomically(path_, text); !s.ok())
    std::fprintf(stderr, "the reproducer was not written: %s\n", std::string(s.message()).c_str());
  else
    std::fprintf(stderr, "to see it again: %s\n", path_.c_str());
}

} // namespace onnxopt
