#include "tests/bench/harness/cpu_share.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace banyan::bench {
namespace {

// User and system time of a process, all its threads.
uint64_t TicksOf(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string text((std::istreambuf_iterator<char>(file)), {});
  const size_t name_end = text.rfind(')');  // The name may hold spaces.
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  uint64_t user = 0;
  uint64_t system = 0;
  fields >> user >> system;
  return user + system;
}

}  // namespace

double CpuSecondsOf(const std::vector<pid_t>& pids) {
  double seconds = 0;
  for (const pid_t pid : pids) {
    clockid_t clock{};
    timespec used{};
    BANYAN_CHECK(clock_getcpuclockid(pid, &clock) == 0 &&
                 clock_gettime(clock, &used) == 0);
    seconds += static_cast<double>(used.tv_sec) +
               static_cast<double>(used.tv_nsec) / 1e9;
  }
  return seconds;
}

CpuShare::CpuShare(std::vector<pid_t> children)
    : children_(std::move(children)) {
  Start();
}

void CpuShare::Start() { start_ = Read(); }

CpuShare::Reading CpuShare::Read() const {
  Reading reading;
  std::ifstream file("/proc/stat");
  std::string name;
  uint64_t user = 0;
  uint64_t nice = 0;
  uint64_t system = 0;
  file >> name >> user >> nice >> system;
  reading.all_ticks = user + nice + system;
  reading.own_ticks = TicksOf(getpid());
  for (const pid_t child : children_) reading.own_ticks += TicksOf(child);
  reading.seconds = std::chrono::duration<double>(
                        std::chrono::steady_clock::now().time_since_epoch())
                        .count();
  return reading;
}

double CpuShare::OthersSinceStart() const {
  const Reading end = Read();
  const double all = static_cast<double>(end.all_ticks - start_.all_ticks);
  const double own = static_cast<double>(end.own_ticks - start_.own_ticks);
  const double ticks_per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
  const double seconds = std::max(1e-3, end.seconds - start_.seconds);
  return std::max(0.0, (all - own) / ticks_per_second / seconds);
}

}  // namespace banyan::bench
