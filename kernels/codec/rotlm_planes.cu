// The kernels of the rotlm codecs, and their launchers.
#include <cuda_runtime.h>

#include "kernels/codec/hadamard_lanes.cuh"
#include "kernels/codec/packed_rows.cuh"
#include "kernels/codec/plane_batch.cuh"
#include "kernels/codec/rotate_rows.cuh"
#include "kernels/codec/rotlm_planes.cuh"
#include "kernels/codec/staged_bytes.cuh"

namespace banyan::codec {
namespace {

constexpr uint32_t kThreads = 256;  // At most: a warp for each head.
constexpr uint32_t kWarps = kThreads / 32;
constexpr uint32_t kCentreThreads = 128;

// Blocks of the encoder that fill half an SM: at 64 registers, none is spilled.
constexpr uint32_t kEncodeBlocks = 4;

// Tokens of one block: what is read of a head's prefix serves so many rows.
constexpr uint32_t kBlockTokens = 8;

// Floats that the warps of a block share, three rows each: six blocks fit an SM
// that has 164 KiB.
constexpr uint32_t kSharedFloats = 6144;
constexpr uint32_t kRowsPerWarp = 3;

// The codes of a token's heads that a block has, none longer than half a byte
// an element of the third of those floats.
constexpr uint32_t kStagedCodeBytes = kSharedFloats / kRowsPerWarp / 2;

struct RotLmBatch {
  PlaneBatch planes;
  RotLmCodes codes;
  uint32_t head_prefix_bytes;
  uint32_t row_bytes;    // Of codes.
  uint32_t token_bytes;  // Of a unit.
  uint32_t pitch;        // Floats from row to row in shared memory.
  bool has_words;        // Codes of all rows are read and written by 4 bytes.
  bool has_vectors;      // Rows of elements by 8 bytes.
  RotationBits signs;
};

__device__ __forceinline__ std::byte* PrefixOf(const RotLmBatch& b,
                                               uint32_t head) {
  return EncodedOf(b.planes) + uint64_t{head} * b.head_prefix_bytes;
}

__device__ __forceinline__ std::byte* UnitOf(const RotLmBatch& b,
                                             uint32_t token) {
  return PrefixOf(b, b.planes.heads) + uint64_t{token} * b.token_bytes;
}

// ---- Rotary embedding ----

// An element x with the embedding taken off, as the table has it.
// other(e) is the element e of the same row.
template <class Other>
__device__ __forceinline__ float Rotated(const Rotation& c, uint32_t token,
                                         uint32_t element, float x,
                                         const Other& other) {
  if (element >= 2 * c.pairs) return x;
  const bool is_first = c.is_interleaved ? element % 2 == 0 : element < c.pairs;
  const uint32_t distance = c.is_interleaved ? 1 : c.pairs;
  const uint32_t first = is_first ? element : element - distance;
  const uint64_t at =
      uint64_t{token} * c.pairs + (c.is_interleaved ? first / 2 : first);
  const float cosine = c.cosines[at];
  const float sine = c.sines[at];
  return is_first ? x * cosine - other(element + distance) * sine
                  : x * cosine + other(element - distance) * sine;
}

// A warp's row, all at once; its writes and reads are done before and after.
__device__ __forceinline__ void RotateRow(const RotLmBatch& b, uint32_t token,
                                          float* row) {
  if (b.codes.rotation.pairs == 0) return;
  RotateRows(b.codes.rotation, token, row, 1, 0, threadIdx.x % 32, 32);
  __syncwarp();
}

// ---- Decoding ----

// What a warp keeps of its head, each `dim` floats, and its row on the way.
struct WarpRows {
  float* means;
  float* factors;  // Signed.
  float* row;
};

__device__ __forceinline__ WarpRows RowsOfWarp(const RotLmBatch& b,
                                               float* shared) {
  float* const first = shared + threadIdx.x / 32 * kRowsPerWarp * b.pitch;
  return {first, first + b.pitch, first + 2 * b.pitch};
}

// Means, and deviations or their inverses. False if one is not finite.
__device__ __forceinline__ bool LoadPrefix(const RotLmBatch& b, uint32_t head,
                                           bool is_inverse,
                                           const WarpRows& rows) {
  const std::byte* const prefix = PrefixOf(b, head);
  bool is_good = true;
#pragma unroll 1
  for (uint32_t e = threadIdx.x % 32; e < b.planes.dim; e += 32) {
    uint32_t mean = 0;
    float factor = 1;
    if (b.codes.centre > 0) mean = LoadHalf(prefix + 2 * e);
    if (b.codes.centre > 1) {
      const uint32_t bits = LoadHalf(prefix + 2 * (b.planes.dim + e));
      is_good &= IsFiniteFp16(bits);
      factor = Fp16::Value(bits);
      if (is_inverse) factor = factor > 0 ? 1 / factor : 0;
    }
    is_good &= IsFiniteFp16(mean);
    rows.means[e] = Fp16::Value(mean);
    rows.factors[e] = WithSign(factor, b.signs.Of(e));
  }
  return is_good;
}

// Levels of a row's codes, rotated back, to floats.
template <int kBits>
__device__ __forceinline__ void DecodeRow(const RotLmBatch& b,
                                          const std::byte* codes, float scale,
                                          const WarpRows& rows) {
  const uint32_t lane = threadIdx.x % 32;
  uint32_t part = 0;
#pragma unroll 1
  for (uint32_t at = 0; at < b.planes.dim; at += part) {
    part = PartOf(b.planes.dim - at);
    const float factor = scale * (InverseRoot(part) / 32);
    WithElementsOfLane(part, [&](auto count) {
      constexpr int kCount = decltype(count)::kValue;
      const uint32_t lanes = part / kCount;
      const uint32_t first = at + lane * kCount;
      int32_t sums[kCount] = {};
      if (lane < lanes) {
        uint32_t of_lane[kCount];
        LoadCodes<kBits>(b.planes.dim, b.has_words, codes, first, of_lane);
#pragma unroll
        for (int i = 0; i < kCount; ++i) sums[i] = LevelOf<kBits>(of_lane[i]);
      }
      Hadamard(lanes, sums);
      if (lane >= lanes) return;
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        float x =
            static_cast<float>(sums[i]) * factor * rows.factors[first + i];
        if (b.codes.centre > 0) x = x + rows.means[first + i];
        rows.row[first + i] = x;
      }
    });
  }
}

template <class Element, int kCount>
__device__ __forceinline__ void StoreDecoded(const RotLmBatch& b,
                                             const float* row, std::byte* to) {
#pragma unroll 1
  for (uint32_t e = threadIdx.x % 32 * kCount; e < b.planes.dim;
       e += 32 * kCount) {
    float values[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = Cut<Element>(row[e + i]);
    StorePacket<2 * kCount>(ElementsOf<Element>(values), to + 2 * e);
  }
}

// A warp has a head and kBlockTokens tokens. blockIdx.x: tokens, and in them
// the heads by as many as the block has warps; blockIdx.y: the plane.
template <class Element, int kBits>
__global__ void __launch_bounds__(kThreads)
    DecodeRotLmPlanes(const __grid_constant__ RotLmBatch b) {
  BANYAN_SHARED(float, shared, [kSharedFloats]);
  const uint32_t warps = blockDim.x / 32;
  const uint32_t head_blocks = (b.planes.heads + warps - 1) / warps;
  const uint32_t head = blockIdx.x % head_blocks * warps + threadIdx.x / 32;
  if (head >= b.planes.heads) return;
  const WarpRows rows = RowsOfWarp(b, shared);
  bool is_good = LoadPrefix(b, head, false, rows);
  const uint32_t first = blockIdx.x / head_blocks * kBlockTokens;
  const uint32_t end = SmallerOf(first + kBlockTokens, b.planes.tokens);
#pragma unroll 1
  for (uint32_t token = first; token < end; ++token) {
    const std::byte* const unit = UnitOf(b, token);
    const uint32_t scale = LoadHalf(unit + 2 * head);
    is_good &= IsFiniteFp16(scale);
    __syncwarp();
    DecodeRow<kBits>(b, unit + 2 * b.planes.heads + head * b.row_bytes,
                     Fp16::Value(scale), rows);
    __syncwarp();
    RotateRow(b, token, rows.row);
    std::byte* const to = RowOf(b.planes, token, head);
    if (b.has_vectors) {
      StoreDecoded<Element, 4>(b, rows.row, to);
    } else {
      StoreDecoded<Element, 1>(b, rows.row, to);
    }
  }
  if (!is_good) SetVerdict(b.planes, kVerdictBadCode);
}

// ---- Encoding ----

// An element with its rotary embedding taken off.
template <class Element>
__device__ __forceinline__ float LoadElement(const RotLmBatch& b,
                                             uint32_t token, uint32_t element,
                                             const std::byte* row) {
  const auto load = [&](uint32_t e) {
    return Element::Value(LoadPacket<2>(row + 2 * e).words[0]);
  };
  const float x = load(element);
  const Rotation& rotation = b.codes.rotation;
  return rotation.pairs == 0 ? x : Rotated(rotation, token, element, x, load);
}

// Rounds a mean or a deviation to fp16, where it is stored.
__device__ __forceinline__ float StoreRounded(const RotLmBatch& b, float value,
                                              std::byte* to) {
  const uint32_t bits = Fp16::Bits(value);
  if (!IsFiniteFp16(bits)) SetVerdict(b.planes, kVerdictUnfitValue);
  StoreHalf(bits, to);
  return Fp16::Value(bits);
}

// Each thread has a channel, and adds up its tokens in their order.
template <class Element>
__global__ void __launch_bounds__(kCentreThreads)
    CentreRotLmPlanes(const __grid_constant__ RotLmBatch b) {
  const uint32_t channel = blockIdx.x * kCentreThreads + threadIdx.x;
  const uint32_t head = channel / b.planes.dim;
  if (head >= b.planes.heads) return;
  const uint32_t element = channel % b.planes.dim;
  const auto count = static_cast<float>(b.planes.tokens);
  std::byte* const prefix = PrefixOf(b, head);
  float sum = 0;
#pragma unroll 4
  for (uint32_t token = 0; token < b.planes.tokens; ++token) {
    sum = sum +
          LoadElement<Element>(b, token, element, RowOf(b.planes, token, head));
  }
  const float mean = StoreRounded(b, sum / count, prefix + 2 * element);
  if (b.codes.centre < 2) return;
  float squares = 0;
#pragma unroll 4
  for (uint32_t token = 0; token < b.planes.tokens; ++token) {
    const float x =
        LoadElement<Element>(b, token, element, RowOf(b.planes, token, head)) -
        mean;
    squares = squares + x * x;
  }
  StoreRounded(b, __fsqrt_rn(squares / count),
               prefix + 2 * (b.planes.dim + element));
}

// A row as it is, to floats.
template <class Element, int kCount>
__device__ __forceinline__ void LoadRow(const RotLmBatch& b,
                                        const std::byte* from, float* row) {
#pragma unroll 1
  for (uint32_t e = threadIdx.x % 32 * kCount; e < b.planes.dim;
       e += 32 * kCount) {
    float values[kCount];
    ValuesOf<Element>(LoadPacket<2 * kCount>(from + 2 * e), values);
#pragma unroll
    for (int i = 0; i < kCount; ++i) row[e + i] = values[i];
  }
}

// Centres a row and sets its signs. Returns its length, to all lanes: sixteen
// sums of squares, which lanes 0 to 15 have, and their tree.
__device__ __forceinline__ float CentreRow(const RotLmBatch& b,
                                           const WarpRows& rows) {
  const uint32_t lane = threadIdx.x % 32;
  float sum = 0;
#pragma unroll 1
  for (uint32_t at = 0; at < b.planes.dim; at += 32) {
    const uint32_t e = at + lane;
    float x = 0;
    if (e < b.planes.dim) {
      x = rows.row[e];
      if (b.codes.centre > 0) x = x - rows.means[e];
      x = x * rows.factors[e];
      rows.row[e] = x;
    }
    const float square = x * x;
    sum = sum + square;
    sum = sum + __shfl_down_sync(~0u, square, 16);
  }
  for (uint32_t width = 8; width > 0; width /= 2) {
    sum = sum + __shfl_down_sync(~0u, sum, width);
  }
  return __fsqrt_rn(__shfl_sync(~0u, sum, 0));
}

// Rotates a row and codes it, where it lies. Returns the sum of the squared
// levels, to all lanes.
template <int kBits>
__device__ __forceinline__ uint32_t CodeRow(const RotLmBatch& b, float ratio,
                                            float* row) {
  const uint32_t lane = threadIdx.x % 32;
  uint32_t squares = 0;
  uint32_t part = 0;
#pragma unroll 1
  for (uint32_t at = 0; at < b.planes.dim; at += part) {
    part = PartOf(b.planes.dim - at);
    const float factor = kLevelUnit<kBits> * ratio * InverseRoot(part);
    WithElementsOfLane(part, [&](auto count) {
      constexpr int kCount = decltype(count)::kValue;
      const uint32_t lanes = part / kCount;
      float* const mine = row + at + lane * kCount;
      float x[kCount] = {};
      if (lane < lanes) {
#pragma unroll
        for (int i = 0; i < kCount; ++i) x[i] = mine[i];
      }
      Hadamard(lanes, x);
      if (lane >= lanes) return;
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const uint32_t code = RotLmCodeOf<kBits>(x[i], factor);
        const uint32_t level = LevelMagnitude<kBits>(code);
        squares += level * level;
        mine[i] = FloatOfBits(code);
      }
    });
  }
  return __reduce_add_sync(~0u, squares);
}

// A warp's row: stages its codes, returns its scale.
template <class Element, int kBits>
__device__ __forceinline__ float EncodeRow(const RotLmBatch& b, uint32_t token,
                                           uint32_t head, float root,
                                           const WarpRows& rows,
                                           std::byte* codes) {
  __syncwarp();
  if (b.has_vectors) {
    LoadRow<Element, 4>(b, RowOf(b.planes, token, head), rows.row);
  } else {
    LoadRow<Element, 1>(b, RowOf(b.planes, token, head), rows.row);
  }
  __syncwarp();
  RotateRow(b, token, rows.row);
  const float length = CentreRow(b, rows);
  __syncwarp();
  const float ratio = length > 0 ? root / length : 0;
  const auto squares = static_cast<float>(CodeRow<kBits>(b, ratio, rows.row));
  __syncwarp();
  StoreCodes<kBits>(b.planes.dim, b.has_words, rows.row, codes);
  const float scale = length / __fsqrt_rn(squares) * 32;
  // Beyond fp16, or a NaN.
  if (threadIdx.x % 32 == 0 && !(scale < 65520)) {
    SetVerdict(b.planes, kVerdictUnfitValue);
  }
  return scale;
}

template <class Element, int kBits>
__global__ void __launch_bounds__(kThreads, kEncodeBlocks)
    EncodeRotLmPlanes(const __grid_constant__ RotLmBatch b) {
  BANYAN_SHARED(float, shared, [kSharedFloats]);
  BANYAN_SHARED(uint32_t, scales, [kBlockTokens][kWarps]);
  BANYAN_SHARED(uint32_t, codes, [2][kStagedCodeBytes / 4 + 1]);
  const uint32_t warps = blockDim.x / 32;
  const uint32_t head_blocks = (b.planes.heads + warps - 1) / warps;
  const uint32_t first_head = blockIdx.x % head_blocks * warps;
  const uint32_t warp = threadIdx.x / 32;
  const uint32_t head = first_head + warp;
  const bool is_live = head < b.planes.heads;
  const WarpRows rows = RowsOfWarp(b, shared);
  const uint32_t first = blockIdx.x / head_blocks * kBlockTokens;
  const uint32_t end = SmallerOf(first + kBlockTokens, b.planes.tokens);
  const float root = __fsqrt_rn(static_cast<float>(b.planes.dim));
  if (is_live) LoadPrefix(b, head, true, rows);
  const uint32_t heads = SmallerOf(warps, b.planes.heads - first_head);
#pragma unroll 1
  for (uint32_t token = first; token < end; ++token) {
    std::byte* const unit_codes =
        UnitOf(b, token) + 2 * b.planes.heads + first_head * b.row_bytes;
    // Of two tokens in turn: those of one are written while the next are made.
    std::byte* const staged =
        StagedFor(unit_codes, reinterpret_cast<std::byte*>(codes[token % 2]));
    if (is_live) {
      const float scale = EncodeRow<Element, kBits>(
          b, token, head, root, rows, staged + warp * b.row_bytes);
      if (threadIdx.x % 32 == 0)
        scales[token - first][warp] = Fp16::Bits(scale);
    }
    __syncthreads();
    StoreStaged(staged, heads * b.row_bytes, unit_codes, threadIdx.x,
                blockDim.x);
  }
  // Scales of neighbouring heads are written at once.
  for (uint32_t i = threadIdx.x; i < (end - first) * warps; i += blockDim.x) {
    const uint32_t token = i / warps;
    const uint32_t of_head = i % warps;
    if (first_head + of_head >= b.planes.heads) continue;
    StoreHalf(scales[token][of_head],
              UnitOf(b, first + token) + 2 * (first_head + of_head));
  }
}

// ---- Launchers ----

RotLmBatch BatchOf(const PlaneBatch& planes, const RotLmCodes& codes) {
  RotLmBatch b = {};
  b.planes = planes;
  b.codes = codes;
  b.head_prefix_bytes = 2 * planes.dim * codes.centre;
  b.row_bytes = RowBytes(planes.dim, codes.bits);
  b.token_bytes = planes.heads * (2 + b.row_bytes);
  b.pitch = (planes.dim + 3) / 4 * 4;
  b.has_words = HasWordsOfCodes(
      planes, codes.bits,
      planes.heads * b.head_prefix_bytes | b.token_bytes | 2 * planes.heads);
  b.has_vectors = planes.dim % 4 == 0 && AreRowsMultiplesOf(planes, 8);
  b.signs = MakeRotationBits();
  return b;
}

template <class Element, int kBits>
cudaError_t LaunchRows(const RotLmBatch& b, bool is_decode, void* stream) {
  uint32_t warps = SmallerOf(kWarps, b.planes.heads);
  warps = SmallerOf(warps, kSharedFloats / (kRowsPerWarp * b.pitch));
  const uint64_t blocks = uint64_t{(b.planes.heads + warps - 1) / warps} *
                          ((b.planes.tokens + kBlockTokens - 1) / kBlockTokens);
  const cudaLaunchConfig_t config =
      ConfigOf(b.planes, blocks, 32 * warps, 0, stream);
  return is_decode
             ? cudaLaunchKernelEx(&config, DecodeRotLmPlanes<Element, kBits>, b)
             : cudaLaunchKernelEx(&config, EncodeRotLmPlanes<Element, kBits>,
                                  b);
}

template <class Element>
cudaError_t LaunchCentre(const RotLmBatch& b, void* stream) {
  const uint64_t channels = uint64_t{b.planes.heads} * b.planes.dim;
  const cudaLaunchConfig_t config =
      ConfigOf(b.planes, (channels + kCentreThreads - 1) / kCentreThreads,
               kCentreThreads, 0, stream);
  return cudaLaunchKernelEx(&config, CentreRotLmPlanes<Element>, b);
}

int LaunchRotLm(const PlaneBatch& planes, const RotLmCodes& codes,
                bool is_decode, void* stream) {
  const RotLmBatch b = BatchOf(planes, codes);
  return WithTypeAndBits(planes, codes.bits, [&](auto element, auto bits) {
    using Element = decltype(element);
    if (!is_decode && codes.centre > 0) {
      const cudaError_t error = LaunchCentre<Element>(b, stream);
      if (error != cudaSuccess) return error;
    }
    return LaunchRows<Element, decltype(bits)::kValue>(b, is_decode, stream);
  });
}

}  // namespace

int LaunchRotLmEncode(const PlaneBatch& batch, const RotLmCodes& codes,
                      void* stream) {
  return LaunchRotLm(batch, codes, false, stream);
}

int LaunchRotLmDecode(const PlaneBatch& batch, const RotLmCodes& codes,
                      void* stream) {
  return LaunchRotLm(batch, codes, true, stream);
}

}  // namespace banyan::codec
