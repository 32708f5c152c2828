// Settings of glibc's malloc for programs that move blocks.
#pragma once

#include <malloc.h>

namespace banyan {

// glibc gives every large buffer a mapping of its own, and page faults with it;
// with these settings such buffers stay in the heap and are used again. Call it
// first in main. It is for the program to decide, so no library of ours does.
// Measured: reading 2 MiB blocks over gRPC without it in the client is half as
// fast.
inline void TuneMallocForBlocks() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  mallopt(M_TOP_PAD, 16 << 20);
#endif
}

}  // namespace banyan
