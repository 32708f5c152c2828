// What code compiled with -fsanitize=thread calls, in programs that are linked
// without that: each access of a kernel goes to the Checker. Accesses of other
// code that was compiled so are none of its business.
#include <cstring>

#include "tests/testing/simt/checker.h"
#include "tests/testing/simt/executor.h"

namespace banyan::simt {
namespace {

void Hook(const void* at, size_t bytes, Access access, const void* place) {
  if (Executor::Get().is_kernel_code()) {
    Checker::Get().Accesses(at, bytes, access, place);
  }
}

}  // namespace
}  // namespace banyan::simt

// NOLINTBEGIN: the names are the compiler's.

#define BANYAN_HOOK(name, bytes, access)                        \
  void name(void* at) {                                         \
    banyan::simt::Hook(at, bytes, banyan::simt::Access::access, \
                       __builtin_return_address(0));            \
  }
#define BANYAN_HOOKS(bytes)                                 \
  BANYAN_HOOK(__tsan_read##bytes, bytes, kRead)             \
  BANYAN_HOOK(__tsan_write##bytes, bytes, kWrite)           \
  BANYAN_HOOK(__tsan_unaligned_read##bytes, bytes, kRead)   \
  BANYAN_HOOK(__tsan_unaligned_write##bytes, bytes, kWrite) \
  BANYAN_HOOK(__tsan_volatile_read##bytes, bytes, kRead)    \
  BANYAN_HOOK(__tsan_volatile_write##bytes, bytes, kWrite)

extern "C" {

BANYAN_HOOKS(1)
BANYAN_HOOKS(2)
BANYAN_HOOKS(4)
BANYAN_HOOKS(8)
BANYAN_HOOKS(16)

void __tsan_read_range(void* at, size_t bytes) {
  banyan::simt::Hook(at, bytes, banyan::simt::Access::kRead,
                     __builtin_return_address(0));
}
void __tsan_write_range(void* at, size_t bytes) {
  banyan::simt::Hook(at, bytes, banyan::simt::Access::kWrite,
                     __builtin_return_address(0));
}

// std::atomic, which tests use and kernels do not.
#define BANYAN_ATOMICS(Word, bits)                                          \
  Word __tsan_atomic##bits##_load(const volatile Word* at, int) {           \
    return __atomic_load_n(at, __ATOMIC_SEQ_CST);                           \
  }                                                                         \
  void __tsan_atomic##bits##_store(volatile Word* at, Word v, int) {        \
    __atomic_store_n(at, v, __ATOMIC_SEQ_CST);                              \
  }                                                                         \
  Word __tsan_atomic##bits##_exchange(volatile Word* at, Word v, int) {     \
    return __atomic_exchange_n(at, v, __ATOMIC_SEQ_CST);                    \
  }                                                                         \
  Word __tsan_atomic##bits##_fetch_add(volatile Word* at, Word v, int) {    \
    return __atomic_fetch_add(at, v, __ATOMIC_SEQ_CST);                     \
  }                                                                         \
  Word __tsan_atomic##bits##_fetch_sub(volatile Word* at, Word v, int) {    \
    return __atomic_fetch_sub(at, v, __ATOMIC_SEQ_CST);                     \
  }                                                                         \
  int __tsan_atomic##bits##_compare_exchange_strong(                        \
      volatile Word* at, Word* expected, Word v, int, int) {                \
    return __atomic_compare_exchange_n(at, expected, v, false,              \
                                       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
  }

BANYAN_ATOMICS(uint8_t, 8)
BANYAN_ATOMICS(uint32_t, 32)
BANYAN_ATOMICS(uint64_t, 64)

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

}  // extern "C"

// NOLINTEND
