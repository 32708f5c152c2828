// BANYAN_CHECK: ends the process when the program itself is wrong, so that it
// never goes on to serve wrong bytes. Always on; never for input from network
// or disk. BANYAN_DCHECK: the same in builds without NDEBUG, else nothing.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace banyan::internal {

[[noreturn]] inline void CheckFailed(const char* file, int line,
                                     const char* condition) {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace banyan::internal

#define BANYAN_CHECK(condition) \
  ((condition)                  \
       ? static_cast<void>(0)   \
       : ::banyan::internal::CheckFailed(__FILE__, __LINE__, #condition))

#ifdef NDEBUG
#define BANYAN_DCHECK(condition) static_cast<void>(0)
#else
#define BANYAN_DCHECK(condition) BANYAN_CHECK(condition)
#endif
