// What the stand-ins for CUDA's headers call. Nothing here is inline that
// reads the executor's memory: kernels are compiled with every access watched,
// and the executor's own is none of theirs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tests/testing/simt/gpu_thread.h"

namespace banyan::simt {

Dim3 ThreadIndex();
Dim3 BlockIndex();
Dim3 BlockSize();
Dim3 GridSize();
unsigned Lane();

std::byte* SharedArray(const void* declaration, size_t bytes, size_t align);
std::byte* DynamicShared();

// See Executor.
uint64_t Barrier(bool predicate, Site site);
uint64_t WarpOperation(WarpOp op, uint32_t mask, uint64_t value,
                       unsigned source_lane, Site site);
void Preempt();

enum class ShuffleKind { kIndex, kUp, kDown, kXor };

// The lane that a shuffle reads from. Fails the launch if width is none.
unsigned SourceLane(ShuffleKind kind, unsigned operand, int width);

void BeginCopy(void* to, const void* from, size_t bytes, size_t zero_bytes);
void CommitCopies();
void AwaitCopies(size_t groups);

enum class AtomicOp {
  kAdd,
  kAddFloat,
  kMin,
  kMax,
  kSignedMin,
  kSignedMax,
  kAnd,
  kOr,
  kXor,
  kExchange,
  kCompareExchange,
};

// Returns what was there. kCompareExchange stores `operand` if that is
// `expected`; if not, another thread goes on, so that waiting loops end.
// Requires: bytes is 4 or 8.
uint64_t Atomically(AtomicOp op, void* at, size_t bytes, uint64_t operand,
                    uint64_t expected);

}  // namespace banyan::simt
