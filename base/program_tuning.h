// Process-wide settings for programs that move blocks over gRPC.
#pragma once

#include <malloc.h>

#include "absl/synchronization/mutex.h"

namespace banyan {

// Call it first in main. It is for the program to decide, so no library of ours
// does.
//
// - glibc gives every large buffer a mapping of its own, and page faults with
//   it; here such buffers stay in the heap and are used again. Without it in the
//   client, reading 2 MiB blocks is half as fast.
// - Debian's Abseil looks for lock cycles at every lock that gRPC takes; that
//   costs 4 % of a small call. Our own locks are not Abseil's.
inline void TuneProgramForBlocks() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  mallopt(M_TOP_PAD, 16 << 20);
#endif
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

}  // namespace banyan
