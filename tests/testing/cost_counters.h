// What this program asks of the system, counted: memory and locks, of its own code and
// of the libraries that it uses. A test that includes this takes the place of malloc
// and pthread_mutex_lock: include it in one source of a program only.
//
// Not under a sanitizer, which takes that place itself: then kCountsCosts is false, and
// nothing is counted.
//
// Threads: thread-safe; what is held is of the thread that asks.
#pragma once

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "tests/testing/repetitions.h"

namespace banyan::testing {

inline constexpr bool kCountsCosts = !kIsSanitized;

inline std::atomic<uint64_t> allocations_made{0};
inline std::atomic<uint64_t> locks_taken{0};
inline thread_local int locks_held = 0;

}  // namespace banyan::testing

#ifndef BANYAN_IS_SANITIZED

extern "C" {

// The C library's own.
void* __libc_malloc(size_t);          // NOLINT
void* __libc_calloc(size_t, size_t);  // NOLINT
void* __libc_realloc(void*, size_t);  // NOLINT

void* malloc(size_t bytes) {
  ++banyan::testing::allocations_made;
  return __libc_malloc(bytes);
}
void* calloc(size_t count, size_t bytes) {
  ++banyan::testing::allocations_made;
  return __libc_calloc(count, bytes);
}
void* realloc(void* old, size_t bytes) {
  ++banyan::testing::allocations_made;
  return __libc_realloc(old, bytes);
}

int pthread_mutex_lock(pthread_mutex_t* mutex) {
  static const auto real = reinterpret_cast<decltype(&pthread_mutex_lock)>(
      dlsym(RTLD_NEXT, "pthread_mutex_lock"));
  const int result = real(mutex);
  ++banyan::testing::locks_taken;
  ++banyan::testing::locks_held;
  return result;
}
int pthread_mutex_trylock(pthread_mutex_t* mutex) {
  static const auto real = reinterpret_cast<decltype(&pthread_mutex_trylock)>(
      dlsym(RTLD_NEXT, "pthread_mutex_trylock"));
  const int result = real(mutex);
  if (result == 0) ++banyan::testing::locks_taken;
  if (result == 0) ++banyan::testing::locks_held;
  return result;
}
int pthread_mutex_unlock(pthread_mutex_t* mutex) {
  static const auto real = reinterpret_cast<decltype(&pthread_mutex_unlock)>(
      dlsym(RTLD_NEXT, "pthread_mutex_unlock"));
  --banyan::testing::locks_held;
  return real(mutex);
}

}  // extern "C"

#endif  // BANYAN_IS_SANITIZED
