// A Fiber is a stack that one OS thread can switch to and back from: what a GPU
// thread runs on. x86-64 and AArch64; tells AddressSanitizer and
// ThreadSanitizer where it goes.
//
// Threads: all fibers of a process belong to one OS thread.
// Cost:    a switch saves the registers that calls keep: some nanoseconds.
#pragma once

#include <cstddef>
#include <memory>

#if defined(__SANITIZE_ADDRESS__)
#define BANYAN_SIMT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BANYAN_SIMT_ASAN 1
#endif
#endif

namespace banyan::simt {

// Zeroed pages that take memory when they are touched. Ends the process if
// there is no address space left.
std::byte* MapPages(size_t bytes);

class Fiber {
 public:
  // The caller's own stack: where the others return to.
  Fiber() = default;
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // A stack of its own; below it lies a page that nobody may touch.
  static std::unique_ptr<Fiber> WithStack();

  // The next switch to this fiber calls `entry`, which must not return.
  // Requires: WithStack made it.
  void Arm(void (*entry)());

  // Leaves `from`, goes on where `to` was left. kIdle: what ran on `from` has
  // ended, and it is ready for something else. kForever: `from` is armed anew
  // before anybody switches to it again.
  enum class Leave { kForAWhile, kIdle, kForever };
  static void Switch(Fiber& from, Fiber& to, Leave leave);

  // Left as kIdle, and not switched to since.
  bool is_idle() const { return is_idle_; }

  // The first thing that `entry` does; `caller` is the fiber of the first
  // switch of all.
  static void Enter(Fiber& caller);

  bool Holds(const void* at, size_t bytes) const {
    const auto* begin = static_cast<const std::byte*>(at);
    return begin >= base_ && begin + bytes <= base_ + bytes_;
  }

 private:
  std::byte* base_ = nullptr;
  size_t bytes_ = 0;
  bool is_mapped_ = false;  // By WithStack.
  bool is_idle_ = false;
  void* top_ = nullptr;                               // Where it was left.
  void* fake_stack_ = nullptr;                        // AddressSanitizer's.
  [[maybe_unused]] void* sanitizer_fiber_ = nullptr;  // ThreadSanitizer's.
};

}  // namespace banyan::simt
