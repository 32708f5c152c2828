#include "tests/bench/harness/child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "base/check.h"

namespace banyan::bench {

Child::Child(const std::string& path,
             const std::vector<std::string>& arguments) {
  int in[2];
  int out[2];
  BANYAN_CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
  std::vector<char*> argv;
  for (const std::string& each : arguments) {
    argv.push_back(const_cast<char*>(each.c_str()));
  }
  argv.push_back(nullptr);
  pid_ = fork();
  BANYAN_CHECK(pid_ >= 0);
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    execv(path.c_str(), argv.data());
    std::perror(path.c_str());
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  input_ = in[1];
  output_ = out[0];
}

Child::~Child() {
  close(input_);
  close(output_);
  kill(pid_, SIGTERM);
  constexpr int kTries = 200;  // Of 10 ms.
  for (int i = 0; i < kTries; ++i) {
    if (waitpid(pid_, nullptr, WNOHANG) == pid_) return;
    usleep(10'000);
  }
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

std::string Child::ReadLine() {
  std::string line;
  char c = 0;
  while (read(output_, &c, 1) == 1 && c != '\n') line += c;
  return line;
}

void Child::WriteLine(std::string_view line) {
  const std::string text = std::string(line) + "\n";
  BANYAN_CHECK(write(input_, text.data(), text.size()) ==
               static_cast<ssize_t>(text.size()));
}

}  // namespace banyan::bench
