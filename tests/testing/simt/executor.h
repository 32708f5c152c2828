// The Executor runs CUDA kernels on the CPU: block after block, with one fiber
// for each thread of a block. It is exact about what CUDA promises and nothing
// more: barriers that some threads miss, wrong shuffle masks, lanes that have
// exited and deadlocks are errors, whatever a GPU would make of them.
//
// It knows no CUDA names; tests/testing/simt/cuda gives kernels those.
//
// Threads:  belongs to one OS thread, and so do all GPU threads: a seed always
//           gives the same run.
// Errors:   Run returns kInternal with one line for each finding, and the block
//           and thread of each.
// Not here: time, weak memory, grid-wide and named barriers, textures.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "tests/testing/simt/gpu_thread.h"
#include "tests/testing/simt/monitor.h"

namespace banyan::simt {

// Which ready thread goes next. Right kernels give the same bytes for each.
enum class Order { kForward, kReverse, kRandom };

struct Schedule {
  Order order = Order::kForward;
  uint64_t seed = 1;
  bool has_shuffled_blocks = false;
  // With a monitor: another thread goes on after about every that many
  // accesses to memory; 0 for never.
  unsigned preempt_accesses = 0;
};

// Forward, reverse and a few random ones.
std::vector<Schedule> UsualSchedules();

struct Launch {
  std::string name;
  Dim3 grid;
  Dim3 block;
  size_t dynamic_shared_bytes = 0;
  // Where the kernel's arguments lie, for the monitor.
  absl::Span<const std::byte> arguments;
};

class Executor {
 public:
  // What blocks may have: sm_80 has 163 KiB, sm_90 and sm_100 227 KiB.
  static constexpr size_t kSharedBytesDefault = size_t{99} << 10;
  static constexpr size_t kSharedArenaBytes = size_t{256} << 10;
  static constexpr size_t kRedZoneBytes = 64;

  // The one of this process: CUDA's built-in variables are global, too.
  static Executor& Get();

  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Between launches.
  void SetSchedule(const Schedule& schedule) { schedule_ = schedule; }
  void SetMonitor(Monitor* monitor) { monitor_ = monitor; }
  void SetSharedBytesMax(size_t bytes) { shared_bytes_max_ = bytes; }
  // Called with true before and false after each launch.
  void SetDeviceGate(void (*gate)(bool is_open)) { gate_ = gate; }

  const Schedule& schedule() const { return schedule_; }
  Monitor* monitor() const { return monitor_; }

  // Calls body(context) as each thread of each block.
  absl::Status Run(const Launch& launch, void (*body)(void*), void* context);

  // What follows is for the running thread of a kernel.

  GpuThread& thread() { return *thread_; }
  const Dim3& block_index() const { return block_index_; }
  const Dim3& block_size() const { return launch_->block; }
  const Dim3& grid_size() const { return launch_->grid; }
  absl::Span<const std::byte> arguments() const { return launch_->arguments; }

  // The block's array that belongs to `declaration`, filled with 0xFF.
  std::byte* SharedArray(const void* declaration, size_t bytes, size_t align);
  std::byte* DynamicShared();

  // Low half: how many threads say `predicate`; high half: 1 if all do.
  uint64_t Barrier(bool predicate, Site site);
  uint64_t WarpOperation(WarpOp op, uint32_t mask, uint64_t value,
                         unsigned source_lane, Site site);
  void Preempt();
  uint64_t Random() { return random_(); }

  void BeginCopy(const AsyncCopy& copy, const void* place);
  void CommitCopies();
  // All but the newest `groups` are done on return.
  void AwaitCopies(size_t groups);

  // Ends the launch with a finding. Objects on the thread's stack are not
  // destroyed, so kernels and interpreters own nothing there.
  [[noreturn]] void Fail(std::string finding);
  std::string WhereIs(const GpuThread* thread) const;

  // True while kernel code itself runs. A HostScope is a stretch in which it
  // does not: the executor's own accesses are nobody's business.
  bool is_kernel_code() const { return is_kernel_code_; }
  class HostScope {
   public:
    HostScope() : was_kernel_code_(Get().is_kernel_code_) {
      Get().is_kernel_code_ = false;
    }
    ~HostScope() { Get().is_kernel_code_ = was_kernel_code_; }
    HostScope(const HostScope&) = delete;
    HostScope& operator=(const HostScope&) = delete;
    bool was_kernel_code() const { return was_kernel_code_; }

   private:
    const bool was_kernel_code_;
  };

 private:
  struct Warp {
    unsigned lanes = 0;
    uint32_t exited = 0;
    std::vector<std::pair<uint32_t, uint32_t>> waits;  // Mask, who came.
  };

  Executor();

  std::string InvalidLaunch() const;
  void RunBlock();
  void ResetSharedArena();
  void ResetThreads();
  GpuThread* NextReady();
  void Wait();
  void Resume(Fiber& from, GpuThread* next, Fiber::Leave leave);
  static void FiberMain();
  void Exit(GpuThread& thread);
  void ReleaseBarrier();
  std::string BarrierDivergence() const;
  void FinishWarpOperation(unsigned warp, uint32_t mask);
  std::string InvalidMask(uint32_t mask, Site site) const;
  void FinishCopies(const std::vector<AsyncCopy>& group);
  std::string Deadlock() const;

  Schedule schedule_;
  Monitor* monitor_ = nullptr;
  void (*gate_)(bool) = nullptr;
  size_t shared_bytes_max_ = kSharedBytesDefault;

  // Of the launch.
  const Launch* launch_ = nullptr;
  void (*body_)(void*) = nullptr;
  void* context_ = nullptr;
  std::mt19937_64 random_;
  std::string finding_;
  // Volatile: compilers take the hooks of memory accesses for leaves that read
  // none of our variables.
  volatile bool is_kernel_code_ = false;

  // Of the block.
  Dim3 block_index_;
  GpuThread* thread_ = nullptr;
  unsigned threads_ = 0;
  unsigned alive_ = 0;
  unsigned at_barrier_ = 0;
  std::vector<GpuThread> all_threads_;
  std::vector<Warp> warps_;
  std::vector<GpuThread*> ready_;  // From ready_begin_ on.
  size_t ready_begin_ = 0;
  std::vector<std::pair<const void*, std::byte*>> shared_arrays_;
  std::byte* shared_arena_;
  size_t shared_end_ = kSharedArenaBytes;
  size_t shared_bytes_ = 0;

  Fiber main_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_fibers_;
};

}  // namespace banyan::simt
