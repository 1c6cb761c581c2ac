// fork, a pipe, and a limit on CPU time.
#include "onnxopt/tools/differential/Isolated.h"

#include <csignal>
#include <cstring>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace onnxopt::differential {

Isolated isolated(unsigned seconds, const std::function<std::string()> &body) {
  Isolated result;
  int ends[2];
  if (pipe(ends) != 0)
    return {false, "no pipe"};
  pid_t child = fork();
  if (child < 0)
    return {false, "no process"};
  if (child == 0) {
    close(ends[0]);
    rlimit limit = {seconds, seconds + 1};
    setrlimit(RLIMIT_CPU, &limit);
    std::string text = body();
    for (size_t done = 0; done < text.size();) {
      ssize_t n = write(ends[1], text.data() + done, text.size() - done);
      if (n <= 0)
        break;
      done += size_t(n);
    }
    _exit(0);
  }
  close(ends[1]);
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    result.text.append(buffer, size_t(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  result.finished = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (WIFSIGNALED(status))
    result.text = WTERMSIG(status) == SIGXCPU ? "takes too long" : strsignal(WTERMSIG(status));
  else if (!result.finished)
    result.text = "ended with exit code " + std::to_string(WEXITSTATUS(status));
  return result;
}

} // namespace onnxopt::differential
