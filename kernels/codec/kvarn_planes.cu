// The kernels of the kvarn codecs, and their launchers. To decode, a warp has a
// part of a head's rows. To encode, a block has a tile: it keeps it in shared
// memory, where its sides are balanced in turns. What tokens have of a head then
// lies together, and other blocks bring it into the format's order.
// Format: docs/formats/codec_kvarn.md.
#include <cuda_runtime.h>

#include "kernels/codec/hadamard_lanes.cuh"
#include "kernels/codec/int_planes.cuh"
#include "kernels/codec/kvarn_planes.cuh"
#include "kernels/codec/packed_rows.cuh"
#include "kernels/codec/plane_batch.cuh"

namespace banyan::codec {
namespace {

struct KvarnBatch {
  PlaneBatch planes;
  bool is_channel;      // Groups are channels.
  uint32_t parts;       // Of a row.
  uint32_t row_bytes;   // Of codes.
  uint64_t unit_bytes;  // Of whole units.
  bool has_words;       // Codes of all rows are read and written by 4 bytes.
  bool has_vectors;     // Rows of elements by what a lane has.
  bool has_halves;      // Likewise halves of channels.
  uint32_t run_tokens;  // To encode: whose halves are staged by heads.
  RotationBits signs;
};

// The unit of a token.
struct Unit {
  std::byte* scales;
  std::byte* minimums;
  std::byte* factors;
  std::byte* codes;
  uint32_t first_token;
  uint32_t tokens;
};

BANYAN_HD inline uint64_t GroupsOf(const KvarnBatch& b, uint32_t tokens) {
  return uint64_t{b.planes.heads} * (b.is_channel ? b.planes.dim : tokens);
}
BANYAN_HD inline uint64_t FactorsOf(const KvarnBatch& b, uint32_t tokens) {
  return uint64_t{b.planes.heads} * (b.is_channel ? tokens : b.planes.dim);
}

__device__ __forceinline__ Unit UnitOf(const KvarnBatch& b, uint32_t index) {
  Unit unit;
  unit.first_token = index * kKvarnDeviceTileTokens;
  unit.tokens =
      SmallerOf(kKvarnDeviceTileTokens, b.planes.tokens - unit.first_token);
  unit.scales = EncodedOf(b.planes) + index * b.unit_bytes;
  unit.minimums = unit.scales + 2 * GroupsOf(b, unit.tokens);
  unit.factors = unit.minimums + 2 * GroupsOf(b, unit.tokens);
  unit.codes = unit.factors + 2 * FactorsOf(b, unit.tokens);
  return unit;
}

// `token` is counted in the unit.
__device__ __forceinline__ std::byte* CodesOf(const KvarnBatch& b,
                                              const Unit& unit, uint32_t token,
                                              uint32_t head) {
  return unit.codes + (uint64_t{token} * b.planes.heads + head) * b.row_bytes;
}

// Where the half of a channel, or of a token, of a head is.
__device__ __forceinline__ uint32_t HalfAt(const KvarnBatch& b,
                                           bool is_of_channels, uint32_t head,
                                           uint32_t i) {
  return 2 *
         (is_of_channels ? head * b.planes.dim + i : i * b.planes.heads + head);
}

// Where it is written first. Tokens' halves lie in runs of tokens, and in a run by
// heads, so that a block of threads writes whole sectors.
__device__ __forceinline__ uint32_t StagedHalfAt(const KvarnBatch& b,
                                                 const Unit& unit,
                                                 bool is_of_channels,
                                                 uint32_t head, uint32_t i) {
  if (is_of_channels) return HalfAt(b, true, head, i);
  const uint32_t in_run = i % b.run_tokens;
  const uint32_t first = i - in_run;
  const uint32_t tokens = SmallerOf(b.run_tokens, unit.tokens - first);
  return 2 * (first * b.planes.heads + head * tokens + in_run);
}

// A part of a row, by its number.
struct Part {
  uint32_t at;
  uint32_t size;
};
__device__ __forceinline__ Part PartAt(const KvarnBatch& b, uint32_t number) {
  Part part = {0, PartOf(b.planes.dim)};
  for (; number > 0; --number) {
    part.at += part.size;
    part.size = PartOf(b.planes.dim - part.at);
  }
  return part;
}

// ---- Decoding ----

constexpr uint32_t kThreads = 256;  // At most.
constexpr uint32_t kWarps = kThreads / 32;

// Blocks that fill half an SM.
constexpr uint32_t kDecodeBlocks = 4;

// Tokens of one block, all of one unit: what is read of channels serves so many
// rows.
constexpr uint32_t kBlockTokens = 16;
static_assert(kKvarnDeviceTileTokens % kBlockTokens == 0);

// What is read once, as floats: of tokens, of the block's heads; of channels, what
// each thread has, which takes no registers.
struct DecodeShared {
  float of_tokens[2][kBlockTokens][kWarps];
  float of_channels[2][kRotatedPartMax / 32][kThreads];
};

// A block's parts of heads, of all heads one behind the other: one for each of
// `jobs` warps; the others have the same ones of other tokens.
struct Jobs {
  uint32_t count;
  uint32_t first;
  uint32_t first_head;
  uint32_t heads;
};
BANYAN_HD inline uint32_t JobsOfBlock(const KvarnBatch& b) {
  return SmallerOf(kWarps, b.planes.heads * b.parts);
}
BANYAN_HD inline uint32_t JobBlocks(const KvarnBatch& b) {
  const uint32_t jobs = JobsOfBlock(b);
  return (b.planes.heads * b.parts + jobs - 1) / jobs;
}
__device__ __forceinline__ Jobs JobsOf(const KvarnBatch& b, uint32_t block) {
  Jobs jobs;
  jobs.count = JobsOfBlock(b);
  jobs.first = block * jobs.count;
  jobs.first_head = jobs.first / b.parts;
  const uint32_t end =
      SmallerOf(jobs.first + jobs.count, b.planes.heads * b.parts);
  jobs.heads = (end - 1) / b.parts + 1 - jobs.first_head;
  return jobs;
}

// Halves of tokens from the unit's `first` on, of the block's heads. False if one
// is not finite.
__device__ __forceinline__ bool LoadTokenHalves(
    const KvarnBatch& b, const std::byte* from, uint32_t first, uint32_t tokens,
    const Jobs& jobs, float (&values)[kBlockTokens][kWarps]) {
  bool is_good = true;
  for (uint32_t i = threadIdx.x; i < tokens * jobs.heads; i += blockDim.x) {
    const uint32_t token = i / jobs.heads;
    const uint32_t head = i % jobs.heads;
    const uint32_t bits = LoadHalf(
        from + HalfAt(b, false, jobs.first_head + head, first + token));
    is_good &= IsFiniteFp16(bits);
    values[token][head] = Fp16::Value(bits);
  }
  return is_good;
}

// Halves of a lane's channels. False if one is not finite.
template <int kCount>
__device__ __forceinline__ bool LoadChannelHalves(
    bool has_halves, const std::byte* from,
    float (&of_threads)[kRotatedPartMax / 32][kThreads]) {
  float values[kCount];
  bool is_good = true;
  if (has_halves) {
    const Packet<2 * kCount> packet = LoadPacket<2 * kCount>(from);
#pragma unroll
    for (int i = 0; i < kCount; ++i) is_good &= IsFiniteFp16(packet.Half(i));
    ValuesOf<Fp16>(packet, values);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const uint32_t bits = LoadHalf(from + 2 * i);
      is_good &= IsFiniteFp16(bits);
      values[i] = Fp16::Value(bits);
    }
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) of_threads[i][threadIdx.x] = values[i];
  return is_good;
}

// What a lane has of a part of a head: elements that follow each other.
template <int kCount>
struct LaneElements {
  uint32_t lanes;  // That have some.
  uint32_t first;
  bool is_live;
  uint32_t signs;  // Bits.
  float turn;

  __device__ __forceinline__ LaneElements(const KvarnBatch& b, const Part& part)
      : lanes(part.size / kCount),
        first(part.at + threadIdx.x % 32 * kCount),
        is_live(threadIdx.x % 32 < lanes),
        signs(is_live ? b.signs.From(first) : 0),
        turn(InverseRoot(part.size)) {}
};

template <class Element, int kCount>
__device__ __forceinline__ void StoreElements(const float (&values)[kCount],
                                              bool has_vectors, std::byte* to) {
  const Packet<2 * kCount> packet = ElementsOf<Element>(values);
  if (has_vectors) {
    StorePacket<2 * kCount>(packet, to);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      StorePacket<2>({{packet.Half(i)}}, to + 2 * i);
    }
  }
}

// A warp's part of a head, of some tokens of a unit. False if a half of its
// channels is not finite.
template <class Element, int kBits, bool kIsChannel, int kCount>
__device__ __forceinline__ bool DecodePart(const KvarnBatch& b,
                                           const Unit& unit, const Part& part,
                                           uint32_t head, uint32_t in_block,
                                           uint32_t first_token,
                                           uint32_t end_token, uint32_t step,
                                           DecodeShared& shared) {
  const LaneElements<kCount> lane(b, part);

  bool is_good = true;
  if (lane.is_live) {
    const uint32_t at = HalfAt(b, true, head, lane.first);
    const std::byte* const from = kIsChannel ? unit.scales : unit.factors;
    is_good = LoadChannelHalves<kCount>(b.has_halves, from + at,
                                        shared.of_channels[0]);
    if (kIsChannel) {
      is_good &= LoadChannelHalves<kCount>(b.has_halves, unit.minimums + at,
                                           shared.of_channels[1]);
    }
  }
#pragma unroll 1
  for (uint32_t token = first_token; token < end_token; token += step) {
    __syncwarp();  // Keeps what is in shared memory there.
    uint32_t codes[kCount] = {};
    if (lane.is_live) {
      LoadCodes<kBits>(b.planes.dim, b.has_words, CodesOf(b, unit, token, head),
                       lane.first, codes);
    }
    const float first = shared.of_tokens[0][token % kBlockTokens][in_block];
    const float second =
        kIsChannel ? 0 : shared.of_tokens[1][token % kBlockTokens][in_block];
    float x[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const auto code = static_cast<float>(codes[i]);
      x[i] = 0;
      if (!lane.is_live) continue;
      const float mine = shared.of_channels[0][i][threadIdx.x];
      x[i] = kIsChannel
                 ? (code * mine + shared.of_channels[1][i][threadIdx.x]) * first
                 : (code * first + second) * mine;
    }
    Hadamard(lane.lanes, x);
    if (!lane.is_live) continue;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      x[i] = Cut<Element>(WithSign(x[i] * lane.turn, lane.signs >> i & 1));
    }
    StoreElements<Element>(
        x, b.has_vectors,
        RowOf(b.planes, unit.first_token + token, head) + 2 * lane.first);
  }
  return is_good;
}

// blockIdx.x: tokens, and in them parts of heads; blockIdx.y: the plane.
template <class Element, int kBits, bool kIsChannel>
__global__ void __launch_bounds__(kThreads, kDecodeBlocks)
    DecodeKvarnPlanes(const __grid_constant__ KvarnBatch b) {
  BANYAN_SHARED(DecodeShared, all_shared, [1]);
  DecodeShared& shared = all_shared[0];
  const uint32_t job_blocks = JobBlocks(b);
  const Jobs jobs = JobsOf(b, blockIdx.x % job_blocks);
  const uint32_t token = blockIdx.x / job_blocks * kBlockTokens;
  const Unit unit = UnitOf(b, token / kKvarnDeviceTileTokens);
  const uint32_t first = token % kKvarnDeviceTileTokens;
  const uint32_t end = SmallerOf(first + kBlockTokens, unit.tokens);
  bool is_good = true;
  if (kIsChannel) {
    is_good = LoadTokenHalves(b, unit.factors, first, end - first, jobs,
                              shared.of_tokens[0]);
  } else {
    is_good = LoadTokenHalves(b, unit.scales, first, end - first, jobs,
                              shared.of_tokens[0]);
    is_good &= LoadTokenHalves(b, unit.minimums, first, end - first, jobs,
                               shared.of_tokens[1]);
  }
  __syncthreads();
  const uint32_t warp = threadIdx.x / 32;
  const uint32_t job = jobs.first + warp % jobs.count;
  const uint32_t head = job / b.parts;
  if (head < b.planes.heads) {
    const Part part = PartAt(b, job % b.parts);
    WithElementsOfLane(part.size, [&](auto count) {
      is_good &=
          DecodePart<Element, kBits, kIsChannel, decltype(count)::kValue>(
              b, unit, part, head, head - jobs.first_head,
              first + warp / jobs.count, end, blockDim.x / 32 / jobs.count,
              shared);
    });
  }
  if (!is_good) SetVerdict(b.planes, kVerdictBadCode);
}

// ---- Encoding: the tile ----

// Four threads have a token, each thread a channel.
constexpr uint32_t kTokenThreads = 4;
constexpr uint32_t kEncodeThreads =
    kTokenThreads * kKvarnDeviceTileTokens;  // At most.
constexpr uint32_t kEncodeWarps = kEncodeThreads / 32;

// Blocks that fill half an SM: rows of 128 leave room for two in 164 KiB.
constexpr uint32_t kEncodeBlocks = 2;

// Every fourth token of a channel has sums of its own.
constexpr uint32_t kTokenSums = 4;

// A block's tile, and what is known of its sides. Rows are whole blocks of 16
// elements, zeros behind the last; so are values of sides.
struct Tile {
  uint32_t tokens;
  uint32_t dim;
  uint32_t padded_dim;
  uint32_t pitch;      // Floats.
  float* rows;         // [token, pitch]
  float* of_channels;  // [pitch]; what elements are multiplied with.
  float* of_tokens;    // [kKvarnDeviceTileTokens]
  // [2, kTokenSums, pitch]: of channels, before they are joined; later what groups
  // have.
  float* parts;
  uint32_t* extremes;  // [4, kEncodeWarps]
};

// Elements of a row that is read four at a time without bank conflicts: an odd
// number of blocks of 16.
BANYAN_HD inline uint32_t PitchOf(uint32_t dim) {
  return (dim + 15) / 16 * 16 | 16;
}
BANYAN_HD inline uint32_t PartFloats(uint32_t pitch) {
  return LargerOf(2 * kTokenSums * pitch, 3 * kKvarnDeviceTileTokens);
}
BANYAN_HD inline uint32_t TileFloats(uint32_t dim) {
  const uint32_t pitch = PitchOf(dim);
  return (kKvarnDeviceTileTokens + 1) * pitch + kKvarnDeviceTileTokens +
         PartFloats(pitch) + 4 * kEncodeWarps;
}

__device__ __forceinline__ Tile TileOf(const KvarnBatch& b, uint32_t tokens,
                                       float* shared) {
  Tile tile;
  tile.tokens = tokens;
  tile.dim = b.planes.dim;
  tile.padded_dim = (tile.dim + 15) / 16 * 16;
  tile.pitch = PitchOf(tile.dim);
  tile.rows = shared;
  tile.of_channels = tile.rows + kKvarnDeviceTileTokens * tile.pitch;
  tile.of_tokens = tile.of_channels + tile.pitch;
  tile.parts = tile.of_tokens + kKvarnDeviceTileTokens;
  tile.extremes =
      reinterpret_cast<uint32_t*>(tile.parts + PartFloats(tile.pitch));
  return tile;
}

template <class Element, int kCount>
__device__ __forceinline__ void LoadElements(const std::byte* from,
                                             bool has_vectors,
                                             float (&values)[kCount]) {
  if (has_vectors) {
    ValuesOf<Element>(LoadPacket<2 * kCount>(from), values);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      values[i] = Element::Value(LoadPacket<2>(from + 2 * i).words[0]);
    }
  }
}

// A warp's part of a row, rotated. False if that is too large.
template <class Element, int kCount>
__device__ __forceinline__ bool RotatePart(const KvarnBatch& b,
                                           const Part& part,
                                           const std::byte* from, float* row) {
  const LaneElements<kCount> lane(b, part);
  float x[kCount] = {};
  if (lane.is_live) {
    LoadElements<Element>(from + 2 * lane.first, b.has_vectors, x);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      x[i] = WithSign(x[i], lane.signs >> i & 1);
    }
  }
  Hadamard(lane.lanes, x);
  bool is_good = true;
  if (!lane.is_live) return is_good;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    x[i] = x[i] * lane.turn;
    is_good &= x[i] >= -kKvarnRotatedMax && x[i] <= kKvarnRotatedMax;
    row[lane.first + i] = x[i];
  }
  return is_good;
}

// False if an element is too large. A barrier follows.
template <class Element>
__device__ __forceinline__ bool LoadTile(const KvarnBatch& b, const Unit& unit,
                                         uint32_t head, const Tile& tile) {
  bool is_good = true;
#pragma unroll 1
  for (uint32_t i = threadIdx.x / 32; i < tile.tokens * b.parts;
       i += blockDim.x / 32) {
    const uint32_t token = i / b.parts;
    const Part part = PartAt(b, i % b.parts);
    const std::byte* const from =
        RowOf(b.planes, unit.first_token + token, head);
    float* const row = tile.rows + token * tile.pitch;
    WithElementsOfLane(part.size, [&](auto count) {
      is_good &=
          RotatePart<Element, decltype(count)::kValue>(b, part, from, row);
    });
  }
  const uint32_t behind = tile.padded_dim - tile.dim;
  for (uint32_t i = threadIdx.x; i < tile.tokens * behind; i += blockDim.x) {
    tile.rows[i / behind * tile.pitch + tile.dim + i % behind] = 0;
  }
  for (uint32_t i = threadIdx.x; i < tile.pitch; i += blockDim.x) {
    tile.of_channels[i] = 0;
  }
  for (uint32_t i = threadIdx.x; i < kKvarnDeviceTileTokens; i += blockDim.x) {
    tile.of_tokens[i] = 0;
  }
  return is_good;
}

// ---- Encoding: sides ----

// Of what one token has, times what channels have: to all four of its threads.
// Of: Moments or FloatRange. Each thread has four of the sixteen sums.
template <class Of>
__device__ __forceinline__ Of OfToken(const Tile& tile) {
  const uint32_t token = threadIdx.x / kTokenThreads;
  const uint32_t end = token < tile.tokens ? tile.padded_dim : 0;
  Of of[4];
#pragma unroll 2
  for (uint32_t at = threadIdx.x % kTokenThreads * 4; at < end; at += 16) {
    const float4 x =
        *reinterpret_cast<const float4*>(tile.rows + token * tile.pitch + at);
    const float4 by = *reinterpret_cast<const float4*>(tile.of_channels + at);
    const float products[4] = {x.x * by.x, x.y * by.y, x.z * by.z, x.w * by.w};
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      if (Of::kTakesZeros || at + i < tile.dim) of[i].Add(products[i]);
    }
  }
  for (int step = 2; step > 0; step /= 2) {
#pragma unroll
    for (Of& mine : of) {
      const auto [a, b] = mine;
      mine.Join({__shfl_xor_sync(~0u, a, step), __shfl_xor_sync(~0u, b, step)});
    }
  }
  of[0].Join(of[2]);
  of[1].Join(of[3]);
  of[0].Join(of[1]);
  return of[0];
}

// Of what the thread's channel has, times what tokens have; threads without one
// get anything. All threads of the block are here.
template <class Of>
__device__ __forceinline__ Of OfChannel(const Tile& tile) {
  const uint32_t runs = (tile.dim + 31) / 32;
#pragma unroll 1
  for (uint32_t i = threadIdx.x / 32; i < kTokenSums * runs;
       i += blockDim.x / 32) {
    const uint32_t part = i % kTokenSums;
    const uint32_t channel = i / kTokenSums * 32 + threadIdx.x % 32;
    if (channel >= tile.dim) continue;
    Of of;
#pragma unroll 4
    for (uint32_t token = part; token < tile.tokens; token += kTokenSums) {
      of.Add(tile.rows[token * tile.pitch + channel] * tile.of_tokens[token]);
    }
    const auto [a, b] = of;
    tile.parts[part * tile.pitch + channel] = a;
    tile.parts[(kTokenSums + part) * tile.pitch + channel] = b;
  }
  __syncthreads();
  const uint32_t channel = SmallerOf(threadIdx.x, tile.dim - 1);
  Of of[kTokenSums];
#pragma unroll
  for (uint32_t part = 0; part < kTokenSums; ++part) {
    of[part] = {tile.parts[part * tile.pitch + channel],
                tile.parts[(kTokenSums + part) * tile.pitch + channel]};
  }
  of[0].Join(of[2]);
  of[1].Join(of[3]);
  of[0].Join(of[1]);
  return of[0];
}

// What a thread has of one side: a token, which it shares with three others, or
// a channel.
struct Side {
  bool is_channels;
  bool is_live;    // There is such a one.
  bool is_writer;  // And none of the others writes it.
  uint32_t index;
  uint32_t count;  // Of the side.
  float deviation;
  float factor;
};
__device__ __forceinline__ Side SideOf(const Tile& tile, bool is_channels) {
  const uint32_t threads = is_channels ? 1 : kTokenThreads;
  Side side;
  side.is_channels = is_channels;
  side.index = threadIdx.x / threads;
  side.count = is_channels ? tile.dim : tile.tokens;
  side.is_live = side.index < side.count;
  side.is_writer = side.is_live && threadIdx.x % threads == 0;
  side.deviation = 0;
  side.factor = 1;
  return side;
}

__device__ __forceinline__ float* SideValues(const Tile& tile,
                                             const Side& side) {
  return side.is_channels ? tile.of_channels : tile.of_tokens;
}

// What elements are multiplied with from now on. All threads of the block are
// here; nobody reads the values before that any more.
__device__ __forceinline__ void SetValues(const Tile& tile, const Side& side,
                                          float value) {
  if (side.is_writer) SideValues(tile, side)[side.index] = value;
  __syncthreads();
}

template <class Of>
__device__ __forceinline__ Of OfSide(const Tile& tile, const Side& side) {
  return side.is_channels ? OfChannel<Of>(tile) : OfToken<Of>(tile);
}

// By what the other side has.
__device__ __forceinline__ void Deviate(const Tile& tile, Side& side) {
  const uint32_t elements = side.is_channels ? tile.tokens : tile.dim;
  side.deviation =
      DeviationOf(OfSide<Moments>(tile, side), static_cast<float>(elements));
}

// ---- Encoding: balance ----

// The root of the mean square of a side's deviations; 1 if there are none.
// Barriers are before and after. Every warp adds all of them up.
__device__ __forceinline__ float SizeOf(const Tile& tile, const Side& side) {
  SetValues(tile, side, side.deviation);
  const float* const deviations = SideValues(tile, side);
  float sum = 0;
  for (uint32_t i = threadIdx.x % 16; i < side.count; i += 16) {
    sum = sum + deviations[i] * deviations[i];
  }
  for (int step = 8; step > 0; step /= 2) {
    sum = sum + __shfl_xor_sync(~0u, sum, step);
  }
  __syncthreads();
  const float size = __fsqrt_rn(sum / static_cast<float>(side.count));
  return size > 0 ? size : 1;
}

// The bits of floats that are not negative are ordered as they are.
constexpr uint32_t kInfinityBits = 0x7F800000;

// The largest of deviation / factor over the smallest, of both sides together, to
// all threads.
__device__ __forceinline__ float Imbalance(const Tile& tile,
                                           const Side (&sides)[2]) {
  const uint32_t warp = threadIdx.x / 32;
  const uint32_t lane = threadIdx.x % 32;
#pragma unroll
  for (uint32_t i = 0; i < 2; ++i) {
    const bool is_live = sides[i].is_live;
    const uint32_t bits = BitsOfFloat(sides[i].deviation / sides[i].factor);
    const uint32_t most = __reduce_max_sync(~0u, is_live ? bits : 0);
    const uint32_t least =
        __reduce_min_sync(~0u, is_live ? bits : kInfinityBits);
    if (lane == 0) {
      tile.extremes[2 * i * kEncodeWarps + warp] = most;
      tile.extremes[(2 * i + 1) * kEncodeWarps + warp] = least;
    }
  }
  __syncthreads();
  const bool is_warp = lane < blockDim.x / 32;
  float imbalances[2];
#pragma unroll
  for (uint32_t i = 0; i < 2; ++i) {
    const uint32_t* const of_warps = tile.extremes + 2 * i * kEncodeWarps;
    const float most =
        FloatOfBits(__reduce_max_sync(~0u, is_warp ? of_warps[lane] : 0));
    const float least = FloatOfBits(__reduce_min_sync(
        ~0u, is_warp ? of_warps[kEncodeWarps + lane] : kInfinityBits));
    imbalances[i] = most / (least > 1e-8f ? least : 1e-8f);
  }
  return imbalances[0] + imbalances[1];
}

// Makes the deviations of rows and of channels alike, in turns. Returns the
// factor of what the thread has across the groups, with which they were most so.
// A barrier is before it.
__device__ __forceinline__ float BalanceTile(const Tile& tile,
                                             bool has_channel_groups) {
  Side sides[2] = {SideOf(tile, !has_channel_groups),
                   SideOf(tile, has_channel_groups)};
  Side& across = sides[0];
  Side& groups = sides[1];
  SetValues(tile, groups, 1);
  Deviate(tile, across);
  const float size = SizeOf(tile, across);
  const float inverse_size = 1 / size;
  SetValues(tile, across, inverse_size);
  SetValues(tile, groups, inverse_size);
  Deviate(tile, across);
  Deviate(tile, groups);
  float least = Imbalance(tile, sides);
  float best = across.factor;
#pragma unroll 1
  for (int step = 0; step < kKvarnBalanceSteps; ++step) {
    across.factor = FactorOf(across.deviation);
    SetValues(tile, across, inverse_size / across.factor);
    Deviate(tile, groups);
    groups.factor = FactorOf(groups.deviation);
    SetValues(tile, groups, inverse_size / groups.factor);
    Deviate(tile, across);
    const float imbalance = Imbalance(tile, sides);
    if (!(imbalance <= least)) continue;
    least = imbalance;
    best = across.factor;
  }
  return best * (size < kKvarnSizeMax ? size : kKvarnSizeMax);
}

// ---- Encoding: halves and codes ----

// Each half is written by the thread of its number, whoever has it: neighbours lie
// together.

// Writes factors in fp16; what elements are multiplied with is left in the tile.
// False if one is beyond fp16.
__device__ __forceinline__ bool StoreFactors(const KvarnBatch& b,
                                             const Unit& unit, uint32_t head,
                                             const Tile& tile, float factor) {
  const Side across = SideOf(tile, !b.is_channel);
  const uint32_t bits = Fp16::Bits(factor);
  SetValues(tile, across, Fp16::Value(bits));
  float* const values = SideValues(tile, across);
  if (threadIdx.x < across.count) {
    const float rounded = values[threadIdx.x];
    StoreHalf(Fp16::Bits(rounded),
              unit.factors +
                  StagedHalfAt(b, unit, across.is_channels, head, threadIdx.x));
    values[threadIdx.x] = rounded > 0 ? 1 / rounded : 0;
  }
  __syncthreads();
  return !across.is_live || IsFiniteFp16(bits);
}

// What codes of groups are made with, and their scales and minimums as halves.
struct GroupValues {
  float* minimums;
  float* inverses;
  uint32_t* halves;
};
__device__ __forceinline__ GroupValues GroupValuesOf(const Tile& tile) {
  const uint32_t floats = PartFloats(tile.pitch) / 3;
  return {tile.parts, tile.parts + floats,
          reinterpret_cast<uint32_t*>(tile.parts + 2 * floats)};
}

// Writes scales and minimums of groups; what codes are made with is left in the
// tile. False if a value is beyond what they take.
template <int kBits>
__device__ __forceinline__ bool StoreRanges(const KvarnBatch& b,
                                            const Unit& unit, uint32_t head,
                                            const Tile& tile) {
  const Side groups = SideOf(tile, b.is_channel);
  const GroupValues values = GroupValuesOf(tile);
  const FloatRange range = OfSide<FloatRange>(tile, groups);
  __syncthreads();
  // -0 becomes 0.
  const IntParameters p =
      ParametersOf<kBits>(range.low + 0.0f, range.high + 0.0f);
  if (groups.is_writer) {
    values.minimums[groups.index] = p.minimum;
    values.inverses[groups.index] = p.inverse;
    values.halves[groups.index] = p.scale_bits | p.minimum_bits << 16;
  }
  __syncthreads();
  if (threadIdx.x < groups.count) {
    const uint32_t at =
        StagedHalfAt(b, unit, groups.is_channels, head, threadIdx.x);
    const uint32_t halves = values.halves[threadIdx.x];
    StoreHalf(halves & 0xFFFF, unit.scales + at);
    StoreHalf(halves >> 16, unit.minimums + at);
  }
  return !groups.is_live || p.is_good;
}

// Codes of the tile's rows, a row a warp.
template <int kBits>
__device__ __forceinline__ void StoreRowsOfCodes(const KvarnBatch& b,
                                                 const Unit& unit,
                                                 uint32_t head,
                                                 const Tile& tile) {
  const GroupValues groups = GroupValuesOf(tile);
#pragma unroll 1
  for (uint32_t token = threadIdx.x / 32; token < tile.tokens;
       token += blockDim.x / 32) {
    float* const row = tile.rows + token * tile.pitch;
#pragma unroll 1
    for (uint32_t e = threadIdx.x % 32; e < tile.dim; e += 32) {
      const uint32_t group = b.is_channel ? e : token;
      const float by =
          b.is_channel ? tile.of_tokens[token] : tile.of_channels[e];
      row[e] = FloatOfBits(IntCodeOf<kBits>(row[e] * by, groups.minimums[group],
                                            groups.inverses[group]));
    }
    __syncwarp();
    StoreCodes<kBits>(tile.dim, b.has_words, row,
                      CodesOf(b, unit, token, head));
  }
}

// blockIdx.x: units, and in them heads; blockIdx.y: the plane.
template <class Element, int kBits>
__global__ void __launch_bounds__(kEncodeThreads, kEncodeBlocks)
    EncodeKvarnPlanes(const __grid_constant__ KvarnBatch b) {
  BANYAN_DYNAMIC_SHARED(float, shared);
  const Unit unit = UnitOf(b, blockIdx.x / b.planes.heads);
  const uint32_t head = blockIdx.x % b.planes.heads;
  const Tile tile = TileOf(b, unit.tokens, shared);
  bool is_good = LoadTile<Element>(b, unit, head, tile);
  __syncthreads();
  const float factor = BalanceTile(tile, b.is_channel);
  is_good &= StoreFactors(b, unit, head, tile, factor);
  is_good &= StoreRanges<kBits>(b, unit, head, tile);
  StoreRowsOfCodes<kBits>(b, unit, head, tile);
  if (!is_good) SetVerdict(b.planes, kVerdictUnfitValue);
}

// ---- Encoding: halves of tokens ----

constexpr uint32_t kTurnThreads = 128;
// That a block has room for: of 16 heads whole tiles, of 128 a sector each.
constexpr uint32_t kTurnHalves = 2304;

// Halves of a head, with what keeps heads in banks of their own.
BANYAN_HD inline uint32_t TurnPitch(uint32_t tokens) { return tokens + 2; }

// The tokens of a run. One, whose halves are in order already, where there is
// nothing to turn, or heads are too many.
uint32_t RunTokensOf(const PlaneBatch& planes) {
  if (planes.heads == 1) return 1;
  uint32_t tokens = kKvarnDeviceTileTokens;
  while (tokens > 1 && uint64_t{planes.heads} * TurnPitch(tokens) > kTurnHalves)
    tokens /= 2;
  return tokens;
}

// Sections that tokens have in a unit.
BANYAN_HD inline uint32_t TokenSections(const KvarnBatch& b) {
  return b.is_channel ? 1 : 2;
}

// Brings what tokens have into its order. blockIdx.x: runs of tokens, and of each
// the sections; blockIdx.y: the plane.
__global__ void __launch_bounds__(kTurnThreads)
    TurnKvarnHalves(const __grid_constant__ KvarnBatch b) {
  BANYAN_SHARED(uint16_t, halves, [kTurnHalves]);
  const uint32_t run = blockIdx.x / TokenSections(b);
  const uint32_t token = run * b.run_tokens;
  const Unit unit = UnitOf(b, token / kKvarnDeviceTileTokens);
  const uint32_t first = token % kKvarnDeviceTileTokens;
  const uint32_t tokens = SmallerOf(b.run_tokens, unit.tokens - first);
  const bool is_second = blockIdx.x % TokenSections(b) > 0;
  std::byte* const section = (b.is_channel ? unit.factors
                              : is_second  ? unit.minimums
                                           : unit.scales) +
                             HalfAt(b, false, 0, first);
  const uint32_t pitch = TurnPitch(tokens);
  const uint32_t count = tokens * b.planes.heads;
  for (uint32_t i = threadIdx.x; i < count; i += kTurnThreads) {
    halves[i / tokens * pitch + i % tokens] =
        static_cast<uint16_t>(LoadHalf(section + 2 * i));
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < count; i += kTurnThreads) {
    StoreHalf(halves[i % b.planes.heads * pitch + i / b.planes.heads],
              section + 2 * i);
  }
}

// ---- Launchers ----

// Halves and codes of whole units, and of the last one, begin at such.
bool IsUnitMultipleOf(const KvarnBatch& b, uint32_t bytes) {
  const uint32_t last = b.planes.tokens % kKvarnDeviceTileTokens;
  const auto places = [&](uint32_t tokens) {
    return 2 * GroupsOf(b, tokens) | 2 * FactorsOf(b, tokens);
  };
  return (reinterpret_cast<uintptr_t>(b.planes.encoded) |
          b.planes.encoded_stride | b.unit_bytes |
          places(kKvarnDeviceTileTokens) | places(last)) %
             bytes ==
         0;
}

KvarnBatch BatchOf(const PlaneBatch& planes, const KvarnCodes& codes) {
  KvarnBatch b = {};
  b.planes = planes;
  b.is_channel = codes.is_channel;
  for (uint32_t at = 0; at < planes.dim; at += PartOf(planes.dim - at)) {
    ++b.parts;
  }
  b.row_bytes = RowBytes(planes.dim, codes.bits);
  b.unit_bytes = 4 * GroupsOf(b, kKvarnDeviceTileTokens) +
                 2 * FactorsOf(b, kKvarnDeviceTileTokens) +
                 uint64_t{kKvarnDeviceTileTokens} * planes.heads * b.row_bytes;
  b.has_words =
      HasWordsOfCodes(planes, codes.bits, 0) && IsUnitMultipleOf(b, 4);
  b.has_vectors = AreRowsMultiplesOf(planes, 16);
  b.has_halves = planes.dim % 8 == 0 && IsUnitMultipleOf(b, 16);
  b.run_tokens = RunTokensOf(planes);
  b.signs = MakeRotationBits();
  return b;
}

template <class Element, int kBits>
cudaError_t LaunchDecode(const KvarnBatch& b, void* stream) {
  const uint64_t chunks = (b.planes.tokens + kBlockTokens - 1) / kBlockTokens;
  const uint32_t jobs = JobsOfBlock(b);
  const cudaLaunchConfig_t config = ConfigOf(
      b.planes, chunks * JobBlocks(b), kWarps / jobs * jobs * 32, 0, stream);
  const auto kernel = b.is_channel ? DecodeKvarnPlanes<Element, kBits, true>
                                   : DecodeKvarnPlanes<Element, kBits, false>;
  return cudaLaunchKernelEx(&config, kernel, b);
}

template <class Element, int kBits>
cudaError_t LaunchEncode(const KvarnBatch& b, void* stream) {
  const auto kernel = EncodeKvarnPlanes<Element, kBits>;
  const uint32_t tokens = SmallerOf(b.planes.tokens, kKvarnDeviceTileTokens);
  const uint32_t threads = LargerOf(tokens * kTokenThreads, b.planes.dim);
  const uint32_t shared_bytes = 4 * TileFloats(b.planes.dim);
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(shared_bytes));
  if (error != cudaSuccess) return error;
  const uint64_t units =
      (b.planes.tokens + kKvarnDeviceTileTokens - 1) / kKvarnDeviceTileTokens;
  const cudaLaunchConfig_t config =
      ConfigOf(b.planes, units * b.planes.heads, (threads + 31) / 32 * 32,
               shared_bytes, stream);
  return cudaLaunchKernelEx(&config, kernel, b);
}

cudaError_t LaunchTurn(const KvarnBatch& b, void* stream) {
  const uint64_t runs = (b.planes.tokens + b.run_tokens - 1) / b.run_tokens;
  const cudaLaunchConfig_t config =
      ConfigOf(b.planes, runs * TokenSections(b), kTurnThreads, 0, stream);
  return cudaLaunchKernelEx(&config, TurnKvarnHalves, b);
}

}  // namespace

int LaunchKvarnEncode(const PlaneBatch& batch, const KvarnCodes& codes,
                      void* stream) {
  const KvarnBatch b = BatchOf(batch, codes);
  const cudaError_t error =
      WithTypeAndBits(batch, codes.bits, [&](auto element, auto bits) {
        return LaunchEncode<decltype(element), decltype(bits)::kValue>(b,
                                                                       stream);
      });
  const bool is_in_order = b.run_tokens == 1;
  return error != cudaSuccess || is_in_order ? error : LaunchTurn(b, stream);
}

int LaunchKvarnDecode(const PlaneBatch& batch, const KvarnCodes& codes,
                      void* stream) {
  const KvarnBatch b = BatchOf(batch, codes);
  return WithTypeAndBits(batch, codes.bits, [&](auto element, auto bits) {
    return LaunchDecode<decltype(element), decltype(bits)::kValue>(b, stream);
  });
}

}  // namespace banyan::codec
