#include "tests/testing/simt/fiber.h"

#include <sys/mman.h>

#include <cstring>

#include "base/check.h"

#ifdef BANYAN_SIMT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__SANITIZE_THREAD__)
#define BANYAN_SIMT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BANYAN_SIMT_TSAN 1
#endif
#endif
#ifdef BANYAN_SIMT_TSAN
#include <sanitizer/tsan_interface.h>
#endif

// Stores the stack's top in *save, then goes on at the top `load`.
extern "C" void BanyanSimtSwitch(void** save, void* load);

#if defined(__x86_64__)
asm(R"(
  .text
  .type BanyanSimtSwitch, @function
BanyanSimtSwitch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size BanyanSimtSwitch, . - BanyanSimtSwitch
)");
#elif defined(__aarch64__)
asm(R"(
  .text
  .type BanyanSimtSwitch, %function
BanyanSimtSwitch:
  sub sp, sp, #176
  stp x19, x20, [sp]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #176
  ret
  .size BanyanSimtSwitch, . - BanyanSimtSwitch
)");
#else
#error "Add a stack switch for this processor."
#endif

namespace banyan::simt {
namespace {

// What the switch pops: words in all, and the one it returns to.
#if defined(__x86_64__)
constexpr size_t kFrameWords = 8;
constexpr size_t kReturnWord = 6;
#else
constexpr size_t kFrameWords = 22;
constexpr size_t kReturnWord = 11;
#endif

constexpr size_t kGuardBytes = 4096;
// Sanitizers and debug builds have larger frames. Pages that no kernel reaches
// take no memory.
constexpr size_t kStackBytes = size_t{256} << 10;
constexpr size_t kTopGapBytes = 64;

}  // namespace

std::byte* MapPages(size_t bytes) {
  void* const pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  BANYAN_CHECK(pages != MAP_FAILED);
  return static_cast<std::byte*>(pages);
}

std::unique_ptr<Fiber> Fiber::WithStack() {
  auto fiber = std::make_unique<Fiber>();
  std::byte* const pages = MapPages(kGuardBytes + kStackBytes);
  BANYAN_CHECK(mprotect(pages, kGuardBytes, PROT_NONE) == 0);
  fiber->base_ = pages + kGuardBytes;
  fiber->bytes_ = kStackBytes;
  fiber->is_mapped_ = true;
  return fiber;
}

Fiber::~Fiber() {
#ifdef BANYAN_SIMT_TSAN
  if (is_mapped_ && sanitizer_fiber_ != nullptr) {
    __tsan_destroy_fiber(sanitizer_fiber_);
  }
#endif
  if (is_mapped_) munmap(base_ - kGuardBytes, kGuardBytes + bytes_);
}

void Fiber::Arm(void (*entry)()) {
#ifdef BANYAN_SIMT_ASAN
  ASAN_UNPOISON_MEMORY_REGION(base_, bytes_);
#endif
#ifdef BANYAN_SIMT_TSAN
  if (sanitizer_fiber_ != nullptr) __tsan_destroy_fiber(sanitizer_fiber_);
  sanitizer_fiber_ = __tsan_create_fiber(0);
#endif
  auto** const frame =
      reinterpret_cast<void**>(base_ + bytes_ - kTopGapBytes) - kFrameWords;
  std::memset(frame, 0, kFrameWords * sizeof(void*));
  frame[kReturnWord] = reinterpret_cast<void*>(entry);
  top_ = frame;
  is_idle_ = false;
  fake_stack_ = nullptr;
}

void Fiber::Switch(Fiber& from, Fiber& to, Leave leave) {
  from.is_idle_ = leave == Leave::kIdle;
#ifdef BANYAN_SIMT_ASAN
  __sanitizer_start_switch_fiber(
      leave == Leave::kForever ? nullptr : &from.fake_stack_, to.base_,
      to.bytes_);
#endif
#ifdef BANYAN_SIMT_TSAN
  if (from.sanitizer_fiber_ == nullptr) {
    from.sanitizer_fiber_ = __tsan_get_current_fiber();
  }
  __tsan_switch_to_fiber(to.sanitizer_fiber_, 0);
#endif
  BanyanSimtSwitch(&from.top_, to.top_);
  from.is_idle_ = false;
#ifdef BANYAN_SIMT_ASAN
  __sanitizer_finish_switch_fiber(from.fake_stack_, nullptr, nullptr);
#endif
}

void Fiber::Enter([[maybe_unused]] Fiber& caller) {
#ifdef BANYAN_SIMT_ASAN
  const void* base = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(nullptr, &base, &bytes);
  if (caller.base_ == nullptr) {
    caller.base_ = static_cast<std::byte*>(const_cast<void*>(base));
    caller.bytes_ = bytes;
  }
#endif
}

}  // namespace banyan::simt
