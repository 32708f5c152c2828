#include "tests/testing/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>

#include "base/check.h"

namespace banyan::testing {
namespace {

using Pipe = std::array<int, 2>;  // Read end, write end.

Pipe MakePipe() {
  Pipe ends{};
  BANYAN_CHECK(pipe2(ends.data(), O_CLOEXEC) == 0);
  return ends;
}

int CodeOf(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int WaitFor(pid_t pid) {
  int status = 0;
  BANYAN_CHECK(waitpid(pid, &status, 0) == pid);
  return CodeOf(status);
}

// Starts the program with these three descriptors; -1 keeps ours.
pid_t Spawn(const std::string& program,
            const std::vector<std::string>& arguments,
            const std::vector<std::string>& environment, int in, int out,
            int err) {
  const std::string path = std::string(BANYAN_BIN_DIR "/") + program;
  std::vector<char*> argv = {const_cast<char*>(path.c_str())};
  for (const std::string& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  const pid_t pid = fork();
  BANYAN_CHECK(pid >= 0);
  if (pid > 0) return pid;
  if (in >= 0) dup2(in, STDIN_FILENO);
  if (out >= 0) dup2(out, STDOUT_FILENO);
  if (err >= 0) dup2(err, STDERR_FILENO);
  for (const std::string& entry : environment) {
    putenv(const_cast<char*>(entry.c_str()));
  }
  execv(path.c_str(), argv.data());
  _exit(127);
}

// Reads both pipes to their ends, and writes `in` meanwhile.
void Exchange(const std::string& in, int in_fd, Output& output, int out_fd,
              int err_fd) {
  size_t written = 0;
  if (in.empty()) {
    close(in_fd);
    in_fd = -1;
  }
  while (out_fd >= 0 || err_fd >= 0) {
    std::array<pollfd, 3> fds = {pollfd{in_fd, POLLOUT, 0},
                                 pollfd{out_fd, POLLIN, 0},
                                 pollfd{err_fd, POLLIN, 0}};
    poll(fds.data(), fds.size(), -1);
    if (in_fd >= 0 && fds[0].revents != 0) {
      const ssize_t put =
          write(in_fd, in.data() + written, in.size() - written);
      written += put > 0 ? static_cast<size_t>(put) : 0;
      if (put < 0 || written == in.size()) {
        close(in_fd);
        in_fd = -1;
      }
    }
    const auto drain = [](int& fd, short events, std::string& text) {
      if (fd < 0 || events == 0) return;
      std::array<char, 65536> part{};
      const ssize_t got = read(fd, part.data(), part.size());
      if (got > 0) {
        text.append(part.data(), static_cast<size_t>(got));
      } else {
        close(fd);
        fd = -1;
      }
    };
    drain(out_fd, fds[1].revents, output.out);
    drain(err_fd, fds[2].revents, output.err);
  }
  if (in_fd >= 0) close(in_fd);
}

}  // namespace

Output RunProgram(const std::string& program,
                  const std::vector<std::string>& arguments,
                  const std::string& in) {
  std::signal(SIGPIPE, SIG_IGN);
  const Pipe in_pipe = MakePipe();
  const Pipe out_pipe = MakePipe();
  const Pipe err_pipe = MakePipe();
  const pid_t pid =
      Spawn(program, arguments, {}, in_pipe[0], out_pipe[1], err_pipe[1]);
  close(in_pipe[0]);
  close(out_pipe[1]);
  close(err_pipe[1]);
  Output output;
  Exchange(in, in_pipe[1], output, out_pipe[0], err_pipe[0]);
  output.code = WaitFor(pid);
  return output;
}

ServerProcess::~ServerProcess() {
  if (pid_ > 0) Stop(SIGKILL);
}

bool ServerProcess::Start(const std::vector<std::string>& arguments,
                          const std::vector<std::string>& environment) {
  BANYAN_CHECK(pid_ < 0);
  const Pipe out = MakePipe();
  pid_ = Spawn("banyan-server", arguments, environment, -1, out[1], -1);
  close(out[1]);
  out_ = out[0];
  ready_line_.clear();
  char c = 0;
  while (read(out_, &c, 1) == 1 && c != '\n') ready_line_.push_back(c);
  if (ready_line_.rfind("READY ", 0) == 0) return true;
  Wait();
  return false;
}

int ServerProcess::Stop(int signal) {
  kill(pid_, signal);
  return Wait();
}

int ServerProcess::Wait() {
  rest_.clear();
  std::array<char, 4096> part{};
  ssize_t got = 0;
  while ((got = read(out_, part.data(), part.size())) > 0) {
    rest_.append(part.data(), static_cast<size_t>(got));
  }
  close(out_);
  out_ = -1;
  const int code = WaitFor(pid_);
  pid_ = -1;
  return code;
}

std::string ServerProcess::endpoint() const {
  const size_t begin = ready_line_.find("grpc=") + 5;
  return ready_line_.substr(begin, ready_line_.find(' ', begin) - begin);
}

std::string ServerProcess::port() const {
  const std::string address = endpoint();
  return address.substr(address.rfind(':') + 1);
}

}  // namespace banyan::testing
