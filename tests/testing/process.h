// The built programs as processes: started, talked to, killed. Found in
// BANYAN_BIN_DIR, which the build sets.
//
// Threads: thread-compatible.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <string>
#include <vector>

namespace banyan::testing {

struct Output {
  int code = -1;  // Exit code; 128 + the signal that ended it.
  std::string out;
  std::string err;
};

// Runs the program to its end, with `in` as its standard input.
Output RunProgram(const std::string& program,
                  const std::vector<std::string>& arguments,
                  const std::string& in = "");

// A banyan-server. Killed with the object, if it still runs.
class ServerProcess {
 public:
  ServerProcess() = default;
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  // True once it has printed its READY line; false if it ended instead.
  // `environment` holds "NAME=value" entries to add.
  bool Start(const std::vector<std::string>& arguments,
             const std::vector<std::string>& environment = {});

  // Sends the signal and waits for the end. Returns the code as in Output.
  int Stop(int signal);

  // Waits for an end that comes by itself.
  int Wait();

  pid_t pid() const { return pid_; }
  const std::string& ready_line() const { return ready_line_; }
  std::string endpoint() const;  // "HOST:PORT" of the gRPC door.
  std::string port() const;
  // What came after the READY line; complete after Stop.
  const std::string& rest_of_stdout() const { return rest_; }

 private:
  pid_t pid_ = -1;
  int out_ = -1;
  std::string ready_line_;
  std::string rest_;
};

}  // namespace banyan::testing
