// For programs of tests/tsan/no_threads.txt, in builds that have no sanitizer:
// takes the place of pthread_create, so that one that starts a thread fails.
#include <pthread.h>

#include <cstdio>
#include <cstdlib>

extern "C" int pthread_create(pthread_t* /*thread*/,
                              const pthread_attr_t* /*attributes*/,
                              void* (* /*start*/)(void*),
                              void* /*argument*/) noexcept {
  std::fputs(
      "tests/tsan/no_threads.txt names this program, but it starts a thread. "
      "Take it off the list, so that ThreadSanitizer sees it.\n",
      stderr);
  std::abort();
}
