// The kernels of the rotlm codecs, and their launchers.
#include <cuda_runtime.h>

#include "kernels/codec/launch_codec.h"
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

constexpr uint32_t kDimMax = 1024;

struct RotLmBatch {
  PlaneBatch planes;
  RotLmCodes codes;
  uint32_t head_prefix_bytes;
  uint32_t row_bytes;    // Of codes.
  uint32_t token_bytes;  // Of a unit.
  uint32_t pitch;        // Floats from row to row in shared memory.
  bool has_words;        // Codes of all rows are read and written by 4 bytes.
  bool has_vectors;      // Rows of elements by 8 bytes.
  uint64_t signs[kDimMax / 64];
};

__device__ __forceinline__ std::byte* RowOf(const RotLmBatch& b, uint32_t token,
                                            uint32_t head) {
  return b.planes.rows + blockIdx.y * b.planes.plane_stride +
         token * b.planes.token_stride + head * b.planes.head_stride;
}

__device__ __forceinline__ std::byte* PrefixOf(const RotLmBatch& b,
                                               uint32_t head) {
  return b.planes.encoded + blockIdx.y * b.planes.encoded_stride +
         uint64_t{head} * b.head_prefix_bytes;
}

__device__ __forceinline__ std::byte* UnitOf(const RotLmBatch& b,
                                             uint32_t token) {
  return PrefixOf(b, b.planes.heads) + uint64_t{token} * b.token_bytes;
}

__device__ __forceinline__ uint32_t SignBit(const RotLmBatch& b,
                                            uint32_t element) {
  return static_cast<uint32_t>(b.signs[element / 64] >> (element % 64)) & 1;
}

__device__ __forceinline__ void SetVerdict(const RotLmBatch& b,
                                           Verdict verdict) {
  atomicOr(b.planes.verdicts + blockIdx.y, verdict);
}

// Halves of the encoded form may lie at odd addresses.
__device__ __forceinline__ uint32_t LoadHalf(const std::byte* from) {
  return reinterpret_cast<uintptr_t>(from) % 2 == 0
             ? LoadPacket<2>(from).words[0]
             : LoadBytes<2>(from);
}
__device__ __forceinline__ void StoreHalf(uint32_t bits, std::byte* to) {
  if (reinterpret_cast<uintptr_t>(to) % 2 == 0) {
    StorePacket<2>({{bits}}, to);
  } else {
    StoreBytes<2>(bits, to);
  }
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

// ---- Transforms ----

// Elements lie kCount a lane; `lanes` of the warp, a power of two, have some.
// All lanes of the warp are there.
template <int kCount, class T>
__device__ __forceinline__ void Hadamard(uint32_t lanes, T (&x)[kCount]) {
  HadamardInLane(x);
  for (uint32_t step = 1; step < lanes; step *= 2) {
    const bool is_second = (threadIdx.x & step) != 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const T other = __shfl_xor_sync(~0u, x[i], static_cast<int>(step));
      x[i] = is_second ? other - x[i] : other + x[i];
    }
  }
}

template <int kCount>
struct ElementCount {
  static constexpr int kValue = kCount;
};

// Calls run(count) with the elements a lane has of a part, as a constant.
template <class Run>
__device__ __forceinline__ void WithElementsOfLane(uint32_t part,
                                                   const Run& run) {
  if (part == 256) {
    run(ElementCount<8>());
  } else if (part == 128) {
    run(ElementCount<4>());
  } else if (part == 64) {
    run(ElementCount<2>());
  } else {
    run(ElementCount<1>());
  }
}

// ---- Codes ----

BANYAN_HD constexpr uint32_t RunBytes(uint32_t dim, uint32_t bits) {
  const uint32_t fields = 8 / bits;
  return (dim + fields - 1) / fields;
}

// Adds the fields of kBits of the elements from `first` on, shifted.
template <int kBits, int kCount>
__device__ __forceinline__ void AddFields(const std::byte* run, uint32_t stride,
                                          uint32_t first, bool has_words,
                                          int shift,
                                          uint32_t (&codes)[kCount]) {
  constexpr uint32_t kMask = (1u << kBits) - 1;
  if (kCount % 4 == 0 && has_words) {
    const uint32_t field = first / stride;
    const std::byte* const from = run + (first - field * stride);
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const uint32_t word = LoadPacket<4>(from + i).words[0] >> field * kBits;
#pragma unroll
      for (int j = 0; j < 4 && i + j < kCount; ++j) {
        codes[i + j] |= (word >> (8 * j) & kMask) << shift;
      }
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const uint32_t field = (first + i) / stride;
      const std::byte* const from = run + (first + i - field * stride);
      const uint32_t byte = LoadPacket<1>(from).words[0];
      codes[i] |= (byte >> field * kBits & kMask) << shift;
    }
  }
}

template <int kBits, int kCount>
__device__ __forceinline__ void LoadCodes(const RotLmBatch& b,
                                          const std::byte* row, uint32_t first,
                                          uint32_t (&codes)[kCount]) {
  const uint32_t dim = b.planes.dim;
#pragma unroll
  for (int i = 0; i < kCount; ++i) codes[i] = 0;
  if constexpr (kBits == 3) {
    const uint32_t low_bytes = RunBytes(dim, 2);
    AddFields<2>(row, low_bytes, first, b.has_words, 0, codes);
    AddFields<1>(row + low_bytes, RunBytes(dim, 1), first, b.has_words, 2,
                 codes);
  } else {
    AddFields<kBits>(row, RunBytes(dim, kBits), first, b.has_words, 0, codes);
  }
}

// Writes one run of the warp's codes, which lie in shared memory as bits of
// floats: the fields are kBits of each, from `shift` on.
template <int kBits>
__device__ __forceinline__ void StoreRun(const float* codes, uint32_t dim,
                                         int shift, bool has_words,
                                         std::byte* run) {
  constexpr uint32_t kFields = 8 / kBits;
  constexpr uint32_t kMask = (1u << kBits) - 1;
  const uint32_t stride = RunBytes(dim, kBits);
  // Of the last fields, some have no element.
  const auto byte_of = [&](uint32_t at) {
    uint32_t byte = 0;
#pragma unroll
    for (uint32_t field = 0; field < kFields; ++field) {
      const uint32_t element = at + field * stride;
      const uint32_t code = BitsOfFloat(codes[SmallerOf(element, dim - 1)]);
      const uint32_t bits = (code >> shift & kMask) << (field * kBits);
      byte |= element < dim ? bits : 0;
    }
    return byte;
  };
  const uint32_t lane = threadIdx.x % 32;
  if (has_words) {
#pragma unroll 1
    for (uint32_t at = 4 * lane; at < stride; at += 128) {
      const uint32_t word = byte_of(at) | byte_of(at + 1) << 8 |
                            byte_of(at + 2) << 16 | byte_of(at + 3) << 24;
      StorePacket<4>({{word}}, run + at);
    }
  } else {
#pragma unroll 1
    for (uint32_t at = lane; at < stride; at += 32) {
      StorePacket<1>({{byte_of(at)}}, run + at);
    }
  }
}

template <int kBits>
__device__ __forceinline__ void StoreCodes(const RotLmBatch& b,
                                           const float* codes, std::byte* row) {
  const uint32_t dim = b.planes.dim;
  if constexpr (kBits == 3) {
    StoreRun<2>(codes, dim, 0, b.has_words, row);
    StoreRun<1>(codes, dim, 2, b.has_words, row + RunBytes(dim, 2));
  } else {
    StoreRun<kBits>(codes, dim, 0, b.has_words, row);
  }
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
    rows.factors[e] = WithSign(factor, SignBit(b, e));
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
        LoadCodes<kBits>(b, codes, first, of_lane);
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
    for (int i = 0; i < kCount; ++i) {
      float x = row[e + i];
      if (Element::kIsFp16) {
        x = x < 65504.0f ? x : 65504.0f;
        x = x > -65504.0f ? x : -65504.0f;
      }
      values[i] = x;
    }
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
    std::byte* const to = RowOf(b, token, head);
    if (b.has_vectors) {
      StoreDecoded<Element, 4>(b, rows.row, to);
    } else {
      StoreDecoded<Element, 1>(b, rows.row, to);
    }
  }
  if (!is_good) SetVerdict(b, kVerdictBadCode);
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
  if (!IsFiniteFp16(bits)) SetVerdict(b, kVerdictUnfitValue);
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
    sum = sum + LoadElement<Element>(b, token, element, RowOf(b, token, head));
  }
  const float mean = StoreRounded(b, sum / count, prefix + 2 * element);
  if (b.codes.centre < 2) return;
  float squares = 0;
#pragma unroll 4
  for (uint32_t token = 0; token < b.planes.tokens; ++token) {
    const float x =
        LoadElement<Element>(b, token, element, RowOf(b, token, head)) - mean;
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
    LoadRow<Element, 4>(b, RowOf(b, token, head), rows.row);
  } else {
    LoadRow<Element, 1>(b, RowOf(b, token, head), rows.row);
  }
  __syncwarp();
  RotateRow(b, token, rows.row);
  const float length = CentreRow(b, rows);
  __syncwarp();
  const float ratio = length > 0 ? root / length : 0;
  const auto squares = static_cast<float>(CodeRow<kBits>(b, ratio, rows.row));
  __syncwarp();
  StoreCodes<kBits>(b, rows.row, codes);
  const float scale = length / __fsqrt_rn(squares) * 32;
  // Beyond fp16, or a NaN.
  if (threadIdx.x % 32 == 0 && !(scale < 65520)) {
    SetVerdict(b, kVerdictUnfitValue);
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

// The signs are the bits of a sequence of numbers, as SplitMix64 makes them.
uint64_t SignBits(uint64_t number) {
  uint64_t x = (number + 1) * 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

RotLmBatch BatchOf(const PlaneBatch& planes, const RotLmCodes& codes) {
  RotLmBatch b = {};
  b.planes = planes;
  b.codes = codes;
  b.head_prefix_bytes = 2 * planes.dim * codes.centre;
  b.row_bytes = codes.bits == 3
                    ? RunBytes(planes.dim, 2) + RunBytes(planes.dim, 1)
                    : RunBytes(planes.dim, codes.bits);
  b.token_bytes = planes.heads * (2 + b.row_bytes);
  b.pitch = (planes.dim + 3) / 4 * 4;
  // Runs are whole words, with all fields full.
  const uint32_t least = codes.bits == 4 ? 8 : codes.bits == 3 ? 32 : 16;
  b.has_words =
      planes.dim % least == 0 &&
      (reinterpret_cast<uintptr_t>(planes.encoded) | planes.encoded_stride |
       planes.heads * b.head_prefix_bytes | b.token_bytes | 2 * planes.heads) %
              4 ==
          0;
  b.has_vectors =
      planes.dim % 4 == 0 &&
      (reinterpret_cast<uintptr_t>(planes.rows) | planes.plane_stride |
       planes.token_stride | planes.head_stride) %
              8 ==
          0;
  for (uint32_t i = 0; i < kDimMax / 64; ++i) b.signs[i] = SignBits(i);
  return b;
}

cudaLaunchConfig_t ConfigOf(const RotLmBatch& b, uint64_t blocks,
                            uint32_t threads, cudaStream_t stream) {
  return {dim3(static_cast<uint32_t>(blocks), b.planes.planes),
          dim3(threads),
          0,
          stream,
          nullptr,
          0};
}

template <class Element, int kBits>
cudaError_t LaunchRows(const RotLmBatch& b, bool is_decode,
                       cudaStream_t stream) {
  uint32_t warps = SmallerOf(kWarps, b.planes.heads);
  warps = SmallerOf(warps, kSharedFloats / (kRowsPerWarp * b.pitch));
  const uint64_t blocks = uint64_t{(b.planes.heads + warps - 1) / warps} *
                          ((b.planes.tokens + kBlockTokens - 1) / kBlockTokens);
  const cudaLaunchConfig_t config = ConfigOf(b, blocks, 32 * warps, stream);
  return is_decode
             ? cudaLaunchKernelEx(&config, DecodeRotLmPlanes<Element, kBits>, b)
             : cudaLaunchKernelEx(&config, EncodeRotLmPlanes<Element, kBits>,
                                  b);
}

template <class Element>
cudaError_t LaunchCentre(const RotLmBatch& b, cudaStream_t stream) {
  const uint64_t channels = uint64_t{b.planes.heads} * b.planes.dim;
  const cudaLaunchConfig_t config =
      ConfigOf(b, (channels + kCentreThreads - 1) / kCentreThreads,
               kCentreThreads, stream);
  return cudaLaunchKernelEx(&config, CentreRotLmPlanes<Element>, b);
}

template <class Element>
cudaError_t LaunchOfType(const RotLmBatch& b, bool is_decode,
                         cudaStream_t stream) {
  if (!is_decode && b.codes.centre > 0) {
    const cudaError_t error = LaunchCentre<Element>(b, stream);
    if (error != cudaSuccess) return error;
  }
  switch (b.codes.bits) {
    case 4:
      return LaunchRows<Element, 4>(b, is_decode, stream);
    case 3:
      return LaunchRows<Element, 3>(b, is_decode, stream);
    default:
      return LaunchRows<Element, 2>(b, is_decode, stream);
  }
}

int LaunchRotLm(const PlaneBatch& planes, const RotLmCodes& codes,
                bool is_decode, void* stream) {
  const RotLmBatch b = BatchOf(planes, codes);
  auto* const on = static_cast<cudaStream_t>(stream);
  return planes.is_bf16 ? LaunchOfType<Bf16>(b, is_decode, on)
                        : LaunchOfType<Fp16>(b, is_decode, on);
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
