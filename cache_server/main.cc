// banyan-server: flags to Config to Server; nothing else.
//
// Exit: 0 stopped, 2 usage or configuration, 3 environment.
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "base/program_tuning.h"
#include "cache_server/config.h"
#include "cache_server/server.h"

namespace {

using banyan::server::Action;

constexpr absl::Duration kGrace = absl::Seconds(5);

int Fail(const absl::Status& status, int code) {
  std::fprintf(stderr, "banyan-server: %s\n",
               std::string(status.message()).c_str());
  return code;
}

// Waits for SIGTERM or SIGINT, drains; a second signal stops at once.
void ServeUntilSignal(banyan::server::Server& server, const sigset_t& signals) {
  int signal = 0;
  sigwait(&signals, &signal);
  std::thread second([&signals] {
    int again = 0;
    sigwait(&signals, &again);
    std::_Exit(128 + again);
  });
  second.detach();
  std::fprintf(stderr, "banyan-server: draining\n");
  server.Shutdown(kGrace);
}

int Serve(const banyan::server::Config& config) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // Before any thread starts.
  auto server = banyan::server::Server::Start(config);
  if (!server.ok()) {
    return Fail(server.status(),
                absl::IsInvalidArgument(server.status()) ? 2 : 3);
  }
  std::printf("%s\n", (*server)->ReadyLine().c_str());
  std::fflush(stdout);
  ServeUntilSignal(**server, signals);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  banyan::TuneProgramForBlocks();
  const auto line = banyan::server::ParseCommandLine(
      std::vector<std::string>(argv + 1, argv + argc), &std::getenv);
  if (!line.ok()) return Fail(line.status(), 2);
  switch (line->action) {
    case Action::kHelp:
      std::printf("%s", banyan::server::ConfigHelp().c_str());
      return 0;
    case Action::kVersion:
      std::printf("banyan-server %s\n", BANYAN_VERSION);
      return 0;
    case Action::kPrintConfig:
      for (const std::string& entry : line->effective) {
        std::printf("%s\n", entry.c_str());
      }
      return 0;
    case Action::kCheckConfig:
      return 0;
    case Action::kServe:
      return Serve(line->config);
  }
  return 1;
}
