// The kernels of the fp8 codec, and their launchers.
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/codec/fp8_planes.cuh"
#include "kernels/codec/launch_codec.h"

namespace banyan::codec {
namespace {

// Eight blocks fill an SM at 32 registers.
constexpr uint32_t kThreads = 256;
constexpr uint32_t kWarps = kThreads / 32;
// Loads that a thread of the decoder has in flight at once.
constexpr uint32_t kVectorsPerThread = 2;
constexpr uint32_t kVectorsPerBlock = kThreads * kVectorsPerThread;

// Where the code kCount * vector of a plane is decoded to; codes lie token by
// token, and in each the heads.
struct Place {
  std::byte* row;
  uint32_t head;
};
template <int kCount>
__device__ __forceinline__ Place PlaceOf(const PlaneBatch& b, std::byte* rows,
                                         uint32_t vector) {
  const uint32_t vectors_per_row = b.dim / kCount;
  const uint32_t row = vector / vectors_per_row;
  const uint32_t token = row / b.heads;
  const uint32_t head = row % b.heads;
  return {rows + token * b.token_stride + head * b.head_stride +
              2 * kCount * (vector % vectors_per_row),
          head};
}

template <int kCount>
__device__ __forceinline__ float LoadScale(const std::byte* prefix,
                                           uint32_t head) {
  const std::byte* const from = prefix + 4 * head;
  return FloatOfBits(kCount == 1 ? LoadBytes<4>(from)
                                 : LoadPacket<4>(from).words[0]);
}

template <class Element, int kCount>
__device__ __forceinline__ Packet<2 * kCount> Decoded(
    const Packet<kCount>& codes, float scale, bool& is_bad) {
  float values[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const uint32_t code = codes.Byte(i);
    is_bad |= IsFp8Nan(code);
    values[i] = FloatOfFp8(code) * scale;
  }
  return ElementsOf<Element>(values);
}

// blockIdx.x: kVectorsPerBlock vectors of kCount codes; blockIdx.y: the plane.
template <class Element, int kCount>
__global__ void __launch_bounds__(kThreads)
    DecodeFp8Planes(const __grid_constant__ PlaneBatch b) {
  const std::byte* const prefix = b.encoded + blockIdx.y * b.encoded_stride;
  const std::byte* const codes = prefix + 4 * b.heads;
  std::byte* const rows = b.rows + blockIdx.y * b.plane_stride;
  const uint32_t vectors = b.tokens * b.heads * (b.dim / kCount);
  const uint32_t first = blockIdx.x * kVectorsPerBlock + threadIdx.x;
  Packet<kCount> packets[kVectorsPerThread];
#pragma unroll
  for (uint32_t i = 0; i < kVectorsPerThread; ++i) {
    const uint32_t vector = first + i * kThreads;
    if (vector < vectors) {
      packets[i] = LoadPacket<kCount>(codes + uint64_t{vector} * kCount);
    }
  }
  bool is_bad = false;
#pragma unroll
  for (uint32_t i = 0; i < kVectorsPerThread; ++i) {
    const uint32_t vector = first + i * kThreads;
    if (vector >= vectors) break;
    const Place place = PlaceOf<kCount>(b, rows, vector);
    const float scale = LoadScale<kCount>(prefix, place.head);
    is_bad |= !(scale >= 0 && scale <= kFp8ScaleMax<Element>);
    StorePacket<2 * kCount>(Decoded<Element>(packets[i], scale, is_bad),
                            place.row);
  }
  if (is_bad) atomicOr(b.verdicts + blockIdx.y, kVerdictBadCode);
}

// The largest of all threads' values, for all of them.
__device__ __forceinline__ uint32_t LargestOfBlock(uint32_t value,
                                                   uint32_t* of_warps) {
  value = __reduce_max_sync(~0u, value);
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = value;
  __syncthreads();
  for (uint32_t i = 0; i < kWarps; ++i) value = LargerOf(value, of_warps[i]);
  return value;
}

// blockIdx.x: the head; blockIdx.y: the plane. Elements are read twice, the
// second time mostly from the L2 cache.
template <class Element, int kCount>
__global__ void __launch_bounds__(kThreads)
    EncodeFp8Planes(const __grid_constant__ PlaneBatch b) {
  std::byte* const prefix = b.encoded + blockIdx.y * b.encoded_stride;
  const std::byte* const rows =
      b.rows + blockIdx.y * b.plane_stride + blockIdx.x * b.head_stride;
  const uint32_t vectors_per_row = b.dim / kCount;
  const uint32_t vectors = b.tokens * vectors_per_row;
  const auto load = [&](uint32_t vector) {
    return LoadPacket<2 * kCount>(rows +
                                  vector / vectors_per_row * b.token_stride +
                                  2 * kCount * (vector % vectors_per_row));
  };
  BANYAN_SHARED(uint32_t, of_warps, [kWarps]);
  uint32_t most = 0;
  for (uint32_t v = threadIdx.x; v < vectors; v += kThreads) {
    const Packet<2 * kCount> packet = load(v);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      most = LargerOf(most, packet.Half(i) & 0x7FFF);
    }
  }
  most = LargestOfBlock(most, of_warps);
  if (most >= Element::kInfinityBits) {
    if (threadIdx.x == 0) atomicOr(b.verdicts + blockIdx.y, kVerdictUnfitValue);
    return;
  }
  const float scale = Fp8ScaleOf(Element::Value(most));
  const float factor = scale > 0 ? 1 / scale : 0;
  if (threadIdx.x == 0) {
    StoreBytes<4>(BitsOfFloat(scale), prefix + 4 * blockIdx.x);
  }
  std::byte* const codes = prefix + 4 * b.heads + uint64_t{blockIdx.x} * b.dim;
  for (uint32_t v = threadIdx.x; v < vectors; v += kThreads) {
    float values[kCount];
    ValuesOf<Element>(load(v), values);
    Packet<kCount> packet = {};
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      packet.words[i / 4] |= Fp8OfFloat(values[i] * factor) << (i % 4 * 8);
    }
    StorePacket<kCount>(
        packet, codes + uint64_t{v / vectors_per_row} * b.heads * b.dim +
                    kCount * (v % vectors_per_row));
  }
}

// The most codes that can be moved as one: 8, 4 or 1.
uint32_t VectorCodes(const PlaneBatch& b) {
  const uint64_t rows = reinterpret_cast<uintptr_t>(b.rows) | b.plane_stride |
                        b.token_stride | b.head_stride;
  const uint64_t codes =
      (reinterpret_cast<uintptr_t>(b.encoded) + 4 * b.heads) |
      b.encoded_stride | b.dim;
  for (const uint32_t count : {8, 4}) {
    if (rows % (2 * count) == 0 && codes % count == 0) return count;
  }
  return 1;
}

enum class Direction { kEncode, kDecode };

template <class Element, int kCount>
cudaError_t Launch(const PlaneBatch& b, Direction direction,
                   cudaStream_t stream) {
  const uint32_t vectors = b.tokens * b.heads * (b.dim / kCount);
  const uint32_t blocks =
      direction == Direction::kEncode
          ? b.heads
          : (vectors + kVectorsPerBlock - 1) / kVectorsPerBlock;
  const cudaLaunchConfig_t config = {
      dim3(blocks, b.planes), dim3(kThreads), 0, stream, nullptr, 0};
  return direction == Direction::kEncode
             ? cudaLaunchKernelEx(&config, EncodeFp8Planes<Element, kCount>, b)
             : cudaLaunchKernelEx(&config, DecodeFp8Planes<Element, kCount>, b);
}

template <class Element>
cudaError_t LaunchOfType(const PlaneBatch& b, Direction direction,
                         cudaStream_t stream) {
  switch (VectorCodes(b)) {
    case 8:
      return Launch<Element, 8>(b, direction, stream);
    case 4:
      return Launch<Element, 4>(b, direction, stream);
    default:
      return Launch<Element, 1>(b, direction, stream);
  }
}

int LaunchFp8(const PlaneBatch& b, Direction direction, void* stream) {
  auto* const on = static_cast<cudaStream_t>(stream);
  return b.is_bf16 ? LaunchOfType<Bf16>(b, direction, on)
                   : LaunchOfType<Fp16>(b, direction, on);
}

}  // namespace

int LaunchFp8Encode(const PlaneBatch& batch, void* stream) {
  return LaunchFp8(batch, Direction::kEncode, stream);
}

int LaunchFp8Decode(const PlaneBatch& batch, void* stream) {
  return LaunchFp8(batch, Direction::kDecode, stream);
}

}  // namespace banyan::codec
