// The kernel of PageMoves, and its launcher.
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/layout/gather_blocks.cuh"
#include "kernels/layout/launch_move.h"

namespace banyan::layout {
namespace {

// At the 36 registers of the widest vectors, six blocks fill 75 % of an SM.
constexpr uint32_t kThreads = 256;
// Loads that a thread has in flight at once.
constexpr uint32_t kVectorsPerThread = 4;
constexpr uint32_t kVectorsPerBlock = kThreads * kVectorsPerThread;

// What one launch takes along: the tables travel with its arguments, which may
// have 4 KiB, so nothing is allocated and no copy has to be waited for.
constexpr uint32_t kPoolsMax = 64;
constexpr uint32_t kPagesMax = 512;
// The indices of a launch's vectors fit into 32 bits, with room for the tail.
constexpr uint32_t kVectorsMax = uint32_t{1} << 31;

struct DeviceMove {
  PageMove move;
  std::byte* blocks;
  uint32_t first_token;  // Of this launch.
  uint32_t tokens;       // Of this launch.
  uint32_t first_page;   // Index of pages[0] in the whole table.
  uint32_t vectors_per_head;
  uint32_t vectors;  // Of a layer's plane, in this launch.
  uint32_t pages[kPagesMax];
  std::byte* pools[kPoolsMax];
};
static_assert(sizeof(DeviceMove) <= 4096);

// The two ends of a vector's copy.
template <class Vector>
struct Ends {
  Vector* block;
  Vector* pool;
};

// Vectors are counted in the order of a block's bytes, so that neighbours write
// or read neighbouring ones there; runs of a head are runs on both sides.
template <class Vector>
__device__ __forceinline__ Ends<Vector> EndsOf(const DeviceMove& m,
                                               uint32_t layer, uint32_t plane,
                                               uint32_t index) {
  const uint32_t row = index / m.vectors_per_head;
  const uint32_t vector = index % m.vectors_per_head;
  const uint32_t inner = m.move.is_head_major ? m.tokens : m.move.heads;
  const uint32_t slow = row / inner;
  const uint32_t fast = row % inner;
  const uint32_t token = m.move.is_head_major ? fast : slow;
  const uint32_t head = m.move.is_head_major ? slow : fast;
  const TokenPlace place = PlaceOfToken(m.move, m.first_token + token);
  const uint32_t page = m.pages[place.page - m.first_page];
  std::byte* const block =
      m.blocks + BlockOffset(m.move, layer, plane, place, head);
  std::byte* const pool =
      m.pools[layer] + PoolOffset(m.move, page, plane, place, head);
  return {reinterpret_cast<Vector*>(block) + vector,
          reinterpret_cast<Vector*>(pool) + vector};
}

// blockIdx.x: kVectorsPerBlock vectors; blockIdx.y: layer and plane.
template <class Vector, Direction kDirection>
__global__ void __launch_bounds__(kThreads)
    MovePages(const __grid_constant__ DeviceMove m) {
  const uint32_t layer = blockIdx.y / m.move.planes;
  const uint32_t plane = blockIdx.y % m.move.planes;
  const uint32_t first = blockIdx.x * kVectorsPerBlock + threadIdx.x;
  constexpr bool kIsGather = kDirection == Direction::kGather;
  Vector values[kVectorsPerThread];
  Vector* to[kVectorsPerThread];
#pragma unroll
  for (uint32_t i = 0; i < kVectorsPerThread; ++i) {
    const uint32_t index = first + i * kThreads;
    if (index < m.vectors) {
      const Ends<Vector> ends = EndsOf<Vector>(m, layer, plane, index);
      values[i] = kIsGather ? *ends.pool : *ends.block;
      to[i] = kIsGather ? ends.block : ends.pool;
    }
  }
#pragma unroll
  for (uint32_t i = 0; i < kVectorsPerThread; ++i) {
    if (first + i * kThreads < m.vectors) *to[i] = values[i];
  }
}

template <class Vector>
cudaError_t Launch(const DeviceMove& m, Direction direction, uint32_t layers,
                   cudaStream_t stream) {
  const uint32_t blocks = (m.vectors + kVectorsPerBlock - 1) / kVectorsPerBlock;
  const cudaLaunchConfig_t config = {dim3(blocks, layers * m.move.planes),
                                     dim3(kThreads),
                                     0,
                                     stream,
                                     nullptr,
                                     0};
  return direction == Direction::kGather
             ? cudaLaunchKernelEx(&config,
                                  MovePages<Vector, Direction::kGather>, m)
             : cudaLaunchKernelEx(&config,
                                  MovePages<Vector, Direction::kScatter>, m);
}

// The widest of 16, 4 and 1 bytes that every address is a multiple of.
uint32_t VectorBytes(const PageMove& move, const MoveBuffers& buffers) {
  uintptr_t all = reinterpret_cast<uintptr_t>(buffers.blocks) | move.head_bytes;
  for (uint32_t i = 0; i < move.layers; ++i) {
    all |= reinterpret_cast<uintptr_t>(buffers.pools[move.first_pool + i]);
  }
  return all % 16 == 0 ? 16 : all % 4 == 0 ? 4 : 1;
}

cudaError_t LaunchAs(uint32_t vector_bytes, const DeviceMove& m,
                     Direction direction, uint32_t layers,
                     cudaStream_t stream) {
  switch (vector_bytes) {
    case 16:
      return Launch<uint4>(m, direction, layers, stream);
    case 4:
      return Launch<uint32_t>(m, direction, layers, stream);
    default:
      return Launch<uint8_t>(m, direction, layers, stream);
  }
}

// All tokens, for the layers whose pools `m` has.
cudaError_t LaunchTokens(DeviceMove m, Direction direction, uint32_t layers,
                         const uint32_t* pages, uint32_t vector_bytes,
                         cudaStream_t stream) {
  const PageMove& move = m.move;
  const uint32_t tokens = move.blocks * move.tokens;
  const uint32_t vectors_per_token = move.heads * m.vectors_per_head;
  const uint64_t slots = uint64_t{move.first_slot} + tokens;
  for (m.first_token = 0; m.first_token < tokens; m.first_token += m.tokens) {
    m.first_page = (move.first_slot + m.first_token) / move.page_tokens;
    const uint64_t slots_end = std::min(
        slots, (uint64_t{m.first_page} + kPagesMax) * move.page_tokens);
    m.tokens = static_cast<uint32_t>(
        std::min<uint64_t>(slots_end - move.first_slot - m.first_token,
                           kVectorsMax / vectors_per_token));
    m.vectors = m.tokens * vectors_per_token;
    const uint32_t last_page =
        (move.first_slot + m.first_token + m.tokens - 1) / move.page_tokens;
    std::copy(pages + m.first_page, pages + last_page + 1, m.pages);
    const cudaError_t error =
        LaunchAs(vector_bytes, m, direction, layers, stream);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace

int LaunchMove(const PageMove& move, Direction direction,
               const MoveBuffers& buffers, void* stream) {
  const uint32_t vector_bytes = VectorBytes(move, buffers);
  for (uint32_t layer = 0; layer < move.layers; layer += kPoolsMax) {
    const uint32_t layers = std::min(kPoolsMax, move.layers - layer);
    DeviceMove m = {};
    m.move = move;
    m.blocks = buffers.blocks + layer * move.block_layer_stride;
    m.vectors_per_head = move.head_bytes / vector_bytes;
    std::byte* const* const pools = buffers.pools + move.first_pool + layer;
    std::copy(pools, pools + layers, m.pools);
    const cudaError_t error =
        LaunchTokens(m, direction, layers, buffers.pages, vector_bytes,
                     static_cast<cudaStream_t>(stream));
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace banyan::layout
