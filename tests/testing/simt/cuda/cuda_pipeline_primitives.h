// Stands in for CUDA's header of cp.async, see cuda_runtime.h.
#pragma once

#include <cstddef>

#include "tests/testing/simt/kernel_calls.h"

// NOLINTBEGIN: the names are CUDA's.

inline void __pipeline_memcpy_async(void* to, const void* from, size_t bytes,
                                    size_t zero_bytes = 0) {
  banyan::simt::BeginCopy(to, from, bytes, zero_bytes);
}
inline void __pipeline_commit() { banyan::simt::CommitCopies(); }
inline void __pipeline_wait_prior(size_t groups) {
  banyan::simt::AwaitCopies(groups);
}

// NOLINTEND
