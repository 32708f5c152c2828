// How much processor time others used while a bench ran: the share of one core,
// from /proc. Interrupts count for nobody, since most are our own traffic.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace banyan::bench {

// Processor seconds that processes have used so far.
double CpuSecondsOf(const std::vector<pid_t>& pids);

// Processor seconds a GB of a measure that takes seconds and returns GB/s.
template <typename Measure>
double CpuSecondsPerGb(double seconds, const std::vector<pid_t>& pids,
                       const Measure& measure) {
  const double before = CpuSecondsOf(pids);
  const double rate = measure(seconds);
  return (CpuSecondsOf(pids) - before) / (rate * seconds);
}

class CpuShare {
 public:
  // `children`: processes whose time is ours, beside this process's.
  explicit CpuShare(std::vector<pid_t> children);  // And starts.

  // Starts a stretch.
  void Start();

  // Of other processes since Start: 0 to the number of cores.
  double OthersSinceStart() const;

 private:
  struct Reading {
    uint64_t all_ticks = 0;
    uint64_t own_ticks = 0;
    double seconds = 0;
  };
  Reading Read() const;

  const std::vector<pid_t> children_;
  Reading start_;
};

}  // namespace banyan::bench
