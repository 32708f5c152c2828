#include "tests/testing/simt/kernel_calls.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "tests/testing/simt/executor.h"

namespace banyan::simt {
namespace {

int64_t Signed(uint64_t value, size_t bytes) {
  return bytes == 4 ? static_cast<int32_t>(value) : static_cast<int64_t>(value);
}

uint64_t AddFloats(uint64_t a, uint64_t b) {
  const float sum = std::bit_cast<float>(static_cast<uint32_t>(a)) +
                    std::bit_cast<float>(static_cast<uint32_t>(b));
  return std::bit_cast<uint32_t>(sum);
}

uint64_t Updated(AtomicOp op, size_t bytes, uint64_t old, uint64_t operand,
                 uint64_t expected) {
  const bool is_less = Signed(operand, bytes) < Signed(old, bytes);
  switch (op) {
    case AtomicOp::kAdd:
      return old + operand;
    case AtomicOp::kAddFloat:
      return AddFloats(old, operand);
    case AtomicOp::kMin:
      return std::min(old, operand);
    case AtomicOp::kMax:
      return std::max(old, operand);
    case AtomicOp::kSignedMin:
      return is_less ? operand : old;
    case AtomicOp::kSignedMax:
      return is_less ? old : operand;
    case AtomicOp::kAnd:
      return old & operand;
    case AtomicOp::kOr:
      return old | operand;
    case AtomicOp::kXor:
      return old ^ operand;
    case AtomicOp::kExchange:
      return operand;
    case AtomicOp::kCompareExchange:
      return old == expected ? operand : old;
  }
  return old;
}

bool IsAligned(const void* at, size_t bytes) {
  return reinterpret_cast<uintptr_t>(at) % bytes == 0;
}

}  // namespace

Dim3 ThreadIndex() { return Executor::Get().thread().index; }
Dim3 BlockIndex() { return Executor::Get().block_index(); }
Dim3 BlockSize() { return Executor::Get().block_size(); }
Dim3 GridSize() { return Executor::Get().grid_size(); }
unsigned Lane() { return Executor::Get().thread().lane; }

std::byte* SharedArray(const void* declaration, size_t bytes, size_t align) {
  return Executor::Get().SharedArray(declaration, bytes, align);
}

std::byte* DynamicShared() { return Executor::Get().DynamicShared(); }

uint64_t Barrier(bool predicate, Site site) {
  return Executor::Get().Barrier(predicate, site);
}

uint64_t WarpOperation(WarpOp op, uint32_t mask, uint64_t value,
                       unsigned source_lane, Site site) {
  return Executor::Get().WarpOperation(op, mask, value, source_lane, site);
}

void Preempt() { Executor::Get().Preempt(); }

unsigned SourceLane(ShuffleKind kind, unsigned operand, int width) {
  const auto segment = static_cast<unsigned>(width);
  if (width < 1 || segment > kWarpLanes || !std::has_single_bit(segment)) {
    Executor::Get().Fail("a shuffle's width is no power of two up to 32");
  }
  const unsigned lane = Lane();
  const unsigned first = lane & ~(segment - 1);
  const unsigned last = lane | (segment - 1);
  switch (kind) {
    case ShuffleKind::kIndex:
      return first | (operand & (segment - 1));
    case ShuffleKind::kUp:
      return lane < first + operand ? lane : lane - operand;
    case ShuffleKind::kDown:
      return lane + operand > last ? lane : lane + operand;
    case ShuffleKind::kXor:
      return (lane ^ operand) > last ? lane : lane ^ operand;
  }
  return lane;
}

void BeginCopy(void* to, const void* from, size_t bytes, size_t zero_bytes) {
  if ((bytes != 4 && bytes != 8 && bytes != 16) || zero_bytes > bytes ||
      !IsAligned(to, bytes) || !IsAligned(from, bytes)) {
    Executor::Get().Fail(
        "cp.async takes 4, 8 or 16 bytes, aligned on both sides");
  }
  Executor::Get().BeginCopy({.to = static_cast<std::byte*>(to),
                             .from = static_cast<const std::byte*>(from),
                             .bytes = bytes,
                             .zero_bytes = zero_bytes},
                            __builtin_return_address(0));
}

void CommitCopies() { Executor::Get().CommitCopies(); }
void AwaitCopies(size_t groups) { Executor::Get().AwaitCopies(groups); }

uint64_t Atomically(AtomicOp op, void* at, size_t bytes, uint64_t operand,
                    uint64_t expected) {
  Executor& executor = Executor::Get();
  const Executor::HostScope host;
  if (!IsAligned(at, bytes)) executor.Fail("misaligned atomic operation");
  if (executor.monitor() != nullptr) {
    executor.monitor()->Accesses(at, bytes, Access::kAtomic,
                                 __builtin_return_address(0));
  }
  uint64_t old = 0;
  std::memcpy(&old, at, bytes);
  const uint64_t updated = Updated(op, bytes, old, operand, expected);
  std::memcpy(at, &updated, bytes);
  if (op == AtomicOp::kCompareExchange && old != expected) executor.Preempt();
  return old;
}

}  // namespace banyan::simt
