// The kernels of the nuq codecs, and their launchers.
#include <cuda_runtime.h>

#include "kernels/codec/nuq_planes.cuh"
#include "kernels/codec/plane_batch.cuh"
#include "kernels/codec/rotate_rows.cuh"
#include "kernels/codec/staged_bytes.cuh"

namespace banyan::codec {
namespace {

// A block's threads are teams of whole warps, which have a token each: as many
// as shared memory has room for.
constexpr uint32_t kThreads = 256;
constexpr uint32_t kWarps = kThreads / 32;
constexpr uint32_t kTeamsMax = kWarps;

// Four blocks fill half an SM; so many have room in 164 KiB.
constexpr uint32_t kBlocks = 4;

// A token's floats, and as many words for what is on its way: on one hand the
// channels of those that may be kept, 16 bits each, both sides; on the other its
// encoded bytes.
constexpr uint32_t kSharedWords = 2 * kNuqDeviceWidthMax;

// Of a thread.
constexpr uint32_t kElementsMax = kNuqDeviceWidthMax / kThreads;

// Of all teams: a half of a block has a token of half as many elements, with as
// many slots or a few more.
constexpr uint32_t kSlotsMax = 64;

constexpr uint32_t kEmpty = 0xFFFF;

struct NuqBatch {
  PlaneBatch planes;
  NuqCodes codes;
  uint32_t width;       // Elements of a token.
  uint32_t slots;       // Both sides.
  uint32_t slots_at;    // In a unit.
  uint32_t codes_at;    // In a unit.
  uint32_t row_bytes;   // Of codes.
  uint32_t unit_bytes;  // Of a token.
  uint32_t team;        // Threads.
  bool has_words;       // Codes of all rows are read and written by 4 bytes.
  bool has_vectors;     // Rows of elements by 8 bytes.
};

// What the teams of a block share.
struct NuqShared {
  float levels[kNuqLevelFloats];
  float thresholds[kNuqLevelFloats];
  uint64_t bars[2][kWarps];       // Beyond them are all that matter.
  uint32_t counts[kTeamsMax][2];  // Of those that may be kept.
  float ends[kTeamsMax][2];       // Of the range.
  uint32_t faults[kTeamsMax];     // Not 0: no good.
  uint16_t kept[kSlotsMax];       // Channels, or kEmpty; of all teams.
};

// A thread's place in its team, and what that has.
struct Team {
  uint32_t thread;
  uint32_t threads;
  uint32_t index;  // In the block.
  uint32_t token;
  bool is_live;
  float* x;
  uint32_t* words;
  std::byte* staged;  // The unit.
};

__device__ __forceinline__ std::byte* UnitOf(const NuqBatch& b,
                                             uint32_t token) {
  return EncodedOf(b.planes) + uint64_t{token} * b.unit_bytes;
}

__device__ __forceinline__ Team TeamOf(const NuqBatch& b, uint32_t* area) {
  Team team;
  team.threads = b.team;
  team.thread = threadIdx.x % b.team;
  team.index = threadIdx.x / b.team;
  team.token = blockIdx.x * (kThreads / b.team) + team.index;
  team.is_live = team.token < b.planes.tokens;
  uint32_t* const words =
      area + team.index * (kSharedWords / kThreads * b.team);
  team.x = reinterpret_cast<float*>(words);
  team.words = words + (b.width + 3) / 4 * 4;
  team.staged = StagedFor(UnitOf(b, team.token),
                          reinterpret_cast<std::byte*>(team.words));
  return team;
}

// ---- Tables ----

__device__ __forceinline__ const float* TableOf(const NuqBatch& b) {
  return b.codes.tables + blockIdx.y * b.codes.table_stride;
}

__device__ __forceinline__ void LoadLevels(const NuqBatch& b,
                                           NuqShared& shared) {
  const float* const table = TableOf(b);
  if (threadIdx.x < kNuqLevelFloats) {
    shared.levels[threadIdx.x] = table[threadIdx.x];
  } else if (threadIdx.x < 2 * kNuqLevelFloats) {
    shared.thresholds[threadIdx.x - kNuqLevelFloats] = table[threadIdx.x];
  }
}

// The centre, and the scale or its inverse, of elements of a token: the token's
// own, or those of channels.
struct NuqRange {
  bool is_channel;
  const float* centres;  // Of channels.
  const float* factors;
  float centre;
  float factor;

  // Of kCount channels that follow each other; a multiple of them.
  template <int kCount>
  __device__ __forceinline__ void Load(uint32_t channel,
                                       float (&of_centre)[kCount],
                                       float (&of_factor)[kCount]) const {
    if (!is_channel) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        of_centre[i] = centre;
        of_factor[i] = factor;
      }
    } else if constexpr (kCount == 4) {
      const float4 c = *reinterpret_cast<const float4*>(centres + channel);
      const float4 f = *reinterpret_cast<const float4*>(factors + channel);
      of_centre[0] = c.x, of_centre[1] = c.y;
      of_centre[2] = c.z, of_centre[3] = c.w;
      of_factor[0] = f.x, of_factor[1] = f.y;
      of_factor[2] = f.z, of_factor[3] = f.w;
    } else {
      of_centre[0] = centres[channel];
      of_factor[0] = factors[channel];
    }
  }

  __device__ __forceinline__ float Normalised(float x, uint32_t channel) const {
    float of_centre[1];
    float of_factor[1];
    Load(channel, of_centre, of_factor);
    return (x - of_centre[0]) * of_factor[0];
  }
};

// Of all channels: with their scales, or the inverse of those. Without, what a
// token has is not known yet.
__device__ __forceinline__ NuqRange RangeOfChannels(const NuqBatch& b,
                                                    bool is_inverse) {
  const float* const channels = TableOf(b) + 2 * kNuqLevelFloats;
  const uint32_t pitch = (b.width + 3) / 4 * 4;
  return {b.codes.is_channel, channels, channels + (is_inverse ? 2 : 1) * pitch,
          0, 0};
}

// ---- Codes ----

// kCount bytes of one run of a head's codes, from byte `at` on: field f of byte i
// is of the element at + i + f * stride. Bits of no element are zero.
// Calls of_elements(element, values) for kCount elements at a time.
template <int kBits, int kCount, class OfElements>
__device__ __forceinline__ void ForEachField(uint32_t dim, uint32_t at,
                                             const OfElements& of_elements) {
  constexpr uint32_t kFields = 8 / kBits;
  const uint32_t stride = (dim + kFields - 1) / kFields;
#pragma unroll
  for (uint32_t field = 0; field < kFields; ++field) {
    const uint32_t element = at + field * stride;
    if (element >= dim) break;
    of_elements(field, element);
  }
}

// Calls run(head, at, is_high) for every kCount bytes of a token's codes, each
// for one thread: byte `at` of the head's run; is_high: with 3 bits, the run of
// the third one.
template <int kBits, int kCount, class Run>
__device__ __forceinline__ void ForEachPacket(const NuqBatch& b,
                                              const Team& team,
                                              const Run& run) {
  const uint32_t packets_per_row = b.row_bytes / kCount;
  const uint32_t low_bytes = kBits == 3 ? (b.planes.dim + 3) / 4 : b.row_bytes;
#pragma unroll 1
  for (uint32_t i = team.thread; i < b.planes.heads * packets_per_row;
       i += team.threads) {
    const uint32_t at = i % packets_per_row * kCount;
    std::byte* const codes = team.staged + b.codes_at + i * kCount;
    const uint32_t first = i / packets_per_row * b.planes.dim;
    const bool is_high = kBits == 3 && at >= low_bytes;
    run(codes, first, is_high ? at - low_bytes : at, is_high);
  }
}

// ---- Decoding ----

template <int kBits, int kCount>
__device__ __forceinline__ void DecodeCodes(const NuqBatch& b, const Team& team,
                                            const NuqRange& range,
                                            const float* levels) {
  const auto restore = [&](uint32_t channel, const uint32_t(&codes)[kCount]) {
    float centres[kCount];
    float scales[kCount];
    range.Load(channel, centres, scales);
    float x[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      x[i] = levels[codes[i]] * scales[i] + centres[i];
    }
    if constexpr (kCount == 4) {
      *reinterpret_cast<float4*>(team.x + channel) =
          make_float4(x[0], x[1], x[2], x[3]);
    } else {
      team.x[channel] = x[0];
    }
  };
  if constexpr (kBits == 3) {
    // By the bytes of the higher run: each has the third bit of eight elements.
    const uint32_t dim = b.planes.dim;
    const uint32_t stride = (dim + 3) / 4;
    const uint32_t packets_per_row = ((dim + 7) / 8 + kCount - 1) / kCount;
#pragma unroll 1
    for (uint32_t i = team.thread; i < b.planes.heads * packets_per_row;
         i += team.threads) {
      const uint32_t head = i / packets_per_row;
      const uint32_t at = i % packets_per_row * kCount;
      const std::byte* const low =
          team.staged + b.codes_at + head * b.row_bytes;
      const Packet<kCount> high = LoadPacket<kCount>(low + stride + at);
      ForEachField<1, kCount>(dim, at, [&](uint32_t field, uint32_t element) {
        const uint32_t low_field = element / stride;
        const Packet<kCount> two =
            LoadPacket<kCount>(low + (element - low_field * stride));
        uint32_t codes[kCount];
#pragma unroll
        for (int j = 0; j < kCount; ++j) {
          codes[j] = (two.Byte(j) >> 2 * low_field & 3) |
                     (high.Byte(j) >> field & 1) << 2;
        }
        restore(head * dim + element, codes);
      });
    }
  } else {
    ForEachPacket<kBits, kCount>(
        b, team, [&](const std::byte* from, uint32_t first, uint32_t at, bool) {
          const Packet<kCount> packet = LoadPacket<kCount>(from);
          ForEachField<kBits, kCount>(
              b.planes.dim, at, [&](uint32_t field, uint32_t element) {
                uint32_t codes[kCount];
#pragma unroll
                for (int i = 0; i < kCount; ++i) {
                  codes[i] =
                      packet.Byte(i) >> field * kBits & ((1u << kBits) - 1);
                }
                restore(first + element, codes);
              });
        });
  }
}

// Whether an encoder writes this slot behind the one before it.
template <class Element>
__device__ __forceinline__ bool IsGoodSlot(const NuqBatch& b,
                                           const std::byte* slots,
                                           uint32_t slot) {
  const uint32_t channel = LoadHalf(slots + 2 * slot);
  const uint32_t element = LoadHalf(slots + 2 * (b.slots + slot));
  if (channel == kEmpty) return b.codes.is_channel && element == 0;
  const bool is_finite =
      (element & Element::kInfinityBits) != Element::kInfinityBits;
  const bool is_behind =
      slot == 0 || channel > LoadHalf(slots + 2 * (slot - 1));
  return channel < b.width && is_behind && is_finite;
}

// The range of the token itself. False if no encoder writes it.
__device__ __forceinline__ bool LoadRange(const std::byte* unit,
                                          NuqRange& range) {
  const uint32_t centre = LoadHalf(unit);
  const uint32_t scale = LoadHalf(unit + 2);
  range.centre = Fp16::Value(centre);
  range.factor = Fp16::Value(scale);
  // A scale may be -0.
  return IsFiniteFp16(centre) && IsFiniteFp16(scale) && scale <= 0x8000;
}

template <class Element, int kCount>
__device__ __forceinline__ void StoreRows(const NuqBatch& b, const Team& team) {
  const uint32_t vectors_per_row = b.planes.dim / kCount;
#pragma unroll 1
  for (uint32_t i = team.thread; i < b.planes.heads * vectors_per_row;
       i += team.threads) {
    float values[kCount];
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      values[j] = Cut<Element>(team.x[i * kCount + j]);
    }
    StorePacket<2 * kCount>(ElementsOf<Element>(values),
                            RowOf(b.planes, team.token, i / vectors_per_row) +
                                2 * kCount * (i % vectors_per_row));
  }
}

// blockIdx.x: tokens, as many as a block has teams; blockIdx.y: the plane.
template <class Element, int kBits>
__global__ void __launch_bounds__(kThreads, kBlocks)
    DecodeNuqPlanes(const __grid_constant__ NuqBatch b) {
  BANYAN_SHARED(uint4, area, [kSharedWords / 4]);
  BANYAN_SHARED(NuqShared, shared, [1]);
  const Team team = TeamOf(b, reinterpret_cast<uint32_t*>(area));
  LoadLevels(b, shared[0]);
  if (team.thread == 0) shared[0].faults[team.index] = 0;
  if (team.is_live) {
    LoadStaged(UnitOf(b, team.token), b.unit_bytes, team.staged, team.thread,
               team.threads);
  }
  __syncthreads();
  if (team.is_live) {
    bool is_good = true;
    NuqRange range = RangeOfChannels(b, false);
    if (!b.codes.is_channel) is_good = LoadRange(team.staged, range);
    if (b.has_words) {
      DecodeCodes<kBits, 4>(b, team, range, shared[0].levels);
    } else {
      DecodeCodes<kBits, 1>(b, team, range, shared[0].levels);
    }
    if (team.thread < b.slots) {
      is_good &= IsGoodSlot<Element>(b, team.staged + b.slots_at, team.thread);
    }
    if (!is_good) atomicOr(&shared[0].faults[team.index], 1);
  }
  __syncthreads();
  const bool is_good = team.is_live && shared[0].faults[team.index] == 0;
  if (team.is_live && !is_good && team.thread == 0) {
    SetVerdict(b.planes, kVerdictBadCode);
  }
  if (is_good && team.thread < b.slots) {
    const std::byte* const slots = team.staged + b.slots_at;
    const uint32_t channel = LoadHalf(slots + 2 * team.thread);
    if (channel != kEmpty) {
      team.x[channel] =
          Element::Value(LoadHalf(slots + 2 * (b.slots + team.thread)));
    }
  }
  __syncthreads();
  if (b.codes.rotation.pairs > 0) {
    if (is_good) {
      RotateRows(b.codes.rotation, team.token, team.x, b.planes.heads,
                 b.planes.dim, team.thread, team.threads);
    }
    __syncthreads();
  }
  if (!is_good) return;
  if (b.has_vectors) {
    StoreRows<Element, 4>(b, team);
  } else {
    StoreRows<Element, 1>(b, team);
  }
}

// ---- Encoding: what is kept ----

template <class Element, int kCount>
__device__ __forceinline__ void LoadRows(const NuqBatch& b, const Team& team) {
  const uint32_t vectors_per_row = b.planes.dim / kCount;
#pragma unroll 1
  for (uint32_t i = team.thread; i < b.planes.heads * vectors_per_row;
       i += team.threads) {
    float values[kCount];
    ValuesOf<Element>(LoadPacket<2 * kCount>(
                          RowOf(b.planes, team.token, i / vectors_per_row) +
                          2 * kCount * (i % vectors_per_row)),
                      values);
#pragma unroll
    for (int j = 0; j < kCount; ++j) team.x[i * kCount + j] = values[j];
  }
}

__device__ __forceinline__ uint64_t LargestOfWarp(uint64_t value) {
  const auto high = static_cast<uint32_t>(value >> 32);
  const uint32_t most = __reduce_max_sync(~0u, high);
  const uint32_t low = high == most ? static_cast<uint32_t>(value) : 0;
  return uint64_t{most} << 32 | __reduce_max_sync(~0u, low);
}

// The `count`-th largest of the lanes' values, all different; 0 if there are
// fewer. At least as many elements of the warp are not below it.
__device__ __forceinline__ uint64_t BarOfWarp(uint64_t mine, uint32_t count) {
  uint64_t bar = 0;
#pragma unroll 1
  for (uint32_t i = 0; i < count; ++i) {
    bar = LargestOfWarp(mine);
    if (mine == bar) mine = 0;
  }
  return bar;
}

// What a token's elements are ordered by.
__device__ __forceinline__ float ValueOf(const Team& team,
                                         const NuqRange& range,
                                         uint32_t channel) {
  const float x = team.x[channel];
  return range.is_channel ? range.Normalised(x, channel) : x;
}

// A thread's elements that are furthest out, or 0. False if a value is not
// finite.
__device__ __forceinline__ bool FindFurthest(const NuqBatch& b,
                                             const Team& team,
                                             const NuqRange& range,
                                             uint64_t (&furthest)[2]) {
  bool is_good = true;
  furthest[0] = furthest[1] = 0;
#pragma unroll 4
  for (uint32_t channel = team.thread; channel < b.width;
       channel += team.threads) {
    // An infinity or a NaN.
    is_good &= (BitsOfFloat(team.x[channel]) & 0x7F800000) != 0x7F800000;
    const float value = ValueOf(team, range, channel);
#pragma unroll
    for (uint32_t side = 0; side < 2; ++side) {
      const uint64_t order = NuqOrder(side, value, channel);
      furthest[side] = order > furthest[side] ? order : furthest[side];
    }
  }
  return is_good;
}

// Nothing that is kept is below it. Requires: all warps of the team are done.
__device__ __forceinline__ uint64_t BarOfTeam(const NuqBatch& b,
                                              const Team& team, uint32_t side,
                                              const NuqShared& shared) {
  // Only what is beyond the range of its channel.
  uint64_t bar =
      b.codes.is_channel
          ? (NuqOrder(side, side == kLargest ? 1.0f : -1.0f, 0) | 0xFFFFFFFF) +
                1
          : 0;
  const uint32_t warps = team.threads / 32;
  for (uint32_t i = 0; i < warps; ++i) {
    const uint64_t of_warp = shared.bars[side][team.index * warps + i];
    bar = of_warp > bar ? of_warp : bar;
  }
  return bar;
}

__device__ __forceinline__ uint16_t* CandidatesOf(const NuqBatch& b,
                                                  const Team& team,
                                                  uint32_t side) {
  return reinterpret_cast<uint16_t*>(team.words) + side * b.width;
}

// Lists the channels that are not below the bars, in any order.
__device__ __forceinline__ void ListCandidates(const NuqBatch& b,
                                               const Team& team,
                                               const NuqRange& range,
                                               NuqShared& shared) {
  const uint64_t bars[2] = {BarOfTeam(b, team, kLargest, shared),
                            BarOfTeam(b, team, kSmallest, shared)};
#pragma unroll 4
  for (uint32_t channel = team.thread; channel < b.width;
       channel += team.threads) {
    const float value = ValueOf(team, range, channel);
#pragma unroll
    for (uint32_t side = 0; side < 2; ++side) {
      if (NuqOrder(side, value, channel) < bars[side]) continue;
      CandidatesOf(b, team,
                   side)[atomicAdd(&shared.counts[team.index][side], 1)] =
          static_cast<uint16_t>(channel);
    }
  }
}

// Keeps the furthest candidates; the next one is an end of the token's range.
__device__ __forceinline__ void KeepFurthest(const NuqBatch& b,
                                             const Team& team,
                                             const NuqRange& range,
                                             uint32_t side, NuqShared& shared) {
  const uint32_t count = shared.counts[team.index][side];
  const uint16_t* const candidates = CandidatesOf(b, team, side);
  const auto order_of = [&](uint32_t i) {
    return NuqOrder(side, ValueOf(team, range, candidates[i]), candidates[i]);
  };
#pragma unroll 1
  for (uint32_t i = team.thread; i < count; i += team.threads) {
    const uint64_t mine = order_of(i);
    uint32_t further = 0;
#pragma unroll 1
    for (uint32_t j = 0; j < count; ++j) further += order_of(j) > mine ? 1 : 0;
    const uint32_t slots = b.codes.slots_a_side;
    if (further < slots) {
      shared.kept[team.index * b.slots + side * slots + further] =
          candidates[i];
    } else if (further == slots) {
      shared.ends[team.index][side] = team.x[candidates[i]];
    }
  }
}

// Stages what is kept in rising order of channels. False if an element is not
// finite.
template <class Element>
__device__ __forceinline__ bool StageSlots(const NuqBatch& b, const Team& team,
                                           const NuqShared& shared) {
  const uint16_t* const kept = shared.kept + team.index * b.slots;
  const uint32_t channel = kept[team.thread];
  uint32_t slot = 0;
#pragma unroll 1
  for (uint32_t i = 0; i < b.slots; ++i) {
    const uint32_t other = kept[i];
    slot += other < channel || (other == channel && i < team.thread) ? 1 : 0;
  }
  const uint32_t element =
      channel == kEmpty ? 0 : Element::Bits(team.x[channel]);
  std::byte* const slots = team.staged + b.slots_at;
  StoreHalf(channel, slots + 2 * slot);
  StoreHalf(element, slots + 2 * (b.slots + slot));
  return (element & Element::kInfinityBits) != Element::kInfinityBits;
}

// ---- Encoding: codes ----

// The range of what a token does not keep, staged in fp16. False if that has no
// room for it.
__device__ __forceinline__ bool StageRange(const Team& team,
                                           const NuqShared& shared,
                                           NuqRange& range) {
  const float high = shared.ends[team.index][kLargest];
  const float low = shared.ends[team.index][kSmallest];
  const float centre = (high + low) * 0.5f;
  const float scale = (high - low) * 0.5f;
  const float magnitude = centre < 0 ? -centre : centre;
  const uint32_t centre_bits = Fp16::Bits(centre);
  const uint32_t scale_bits = Fp16::Bits(scale);
  if (team.thread == 0) {
    StoreHalf(centre_bits, team.staged);
    StoreHalf(scale_bits, team.staged + 2);
  }
  const float stored = Fp16::Value(scale_bits);
  range.centre = Fp16::Value(centre_bits);
  range.factor = stored > 0 ? 1 / stored : 0;
  return magnitude <= 65504.0f && scale <= 65504.0f;
}

// kCount elements from `channel` on, by their range.
template <int kCount>
__device__ __forceinline__ void NormaliseSome(const Team& team,
                                              const NuqRange& range,
                                              uint32_t channel,
                                              float (&z)[kCount]) {
  float centres[kCount];
  float inverses[kCount];
  range.Load(channel, centres, inverses);
  if constexpr (kCount == 4) {
    const float4 x = *reinterpret_cast<const float4*>(team.x + channel);
    z[0] = x.x, z[1] = x.y, z[2] = x.z, z[3] = x.w;
  } else {
    z[0] = team.x[channel];
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) z[i] = (z[i] - centres[i]) * inverses[i];
}

template <int kBits, int kCount>
__device__ __forceinline__ void StageCodes(const NuqBatch& b, const Team& team,
                                           const NuqRange& range,
                                           const float* thresholds) {
  ForEachPacket<kBits, kCount>(
      b, team, [&](std::byte* to, uint32_t first, uint32_t at, bool is_high) {
        uint32_t packet = 0;
        const auto add = [&](auto code_of, uint32_t shift, uint32_t element) {
          float z[kCount];
          NormaliseSome(team, range, first + element, z);
#pragma unroll
          for (int i = 0; i < kCount; ++i) {
            packet |= code_of(z[i]) << (8 * i + shift);
          }
        };
        if (is_high) {
          ForEachField<1, kCount>(
              b.planes.dim, at, [&](uint32_t field, uint32_t element) {
                add([&](float z) { return z > thresholds[3] ? 1u : 0u; }, field,
                    element);
              });
        } else {
          constexpr int kFieldBits = kBits == 3 ? 2 : kBits;
          ForEachField<kFieldBits, kCount>(
              b.planes.dim, at, [&](uint32_t field, uint32_t element) {
                add(
                    [&](float z) {
                      return NuqCodeOf<kBits>(z, thresholds) &
                             ((1u << kFieldBits) - 1);
                    },
                    field * kFieldBits, element);
              });
        }
        StorePacket<kCount>({{packet}}, to);
      });
}

// blockIdx.x: tokens, as many as a block has teams; blockIdx.y: the plane.
template <class Element, int kBits>
__global__ void __launch_bounds__(kThreads, kBlocks)
    EncodeNuqPlanes(const __grid_constant__ NuqBatch b) {
  BANYAN_SHARED(uint4, area, [kSharedWords / 4]);
  BANYAN_SHARED(NuqShared, all_shared, [1]);
  NuqShared& shared = all_shared[0];
  const Team team = TeamOf(b, reinterpret_cast<uint32_t*>(area));
  LoadLevels(b, shared);
  if (threadIdx.x < kSlotsMax) shared.kept[threadIdx.x] = kEmpty;
  if (team.thread < 2) shared.counts[team.index][team.thread] = 0;
  if (team.is_live) {
    if (b.has_vectors) {
      LoadRows<Element, 4>(b, team);
    } else {
      LoadRows<Element, 1>(b, team);
    }
  }
  __syncthreads();
  if (b.codes.rotation.pairs > 0) {
    if (team.is_live) {
      RotateRows(b.codes.rotation, team.token, team.x, b.planes.heads,
                 b.planes.dim, team.thread, team.threads);
    }
    __syncthreads();
  }
  NuqRange range = RangeOfChannels(b, true);
  bool is_good = true;
  // Dense and with ranges of channels, nothing is looked for.
  const uint32_t count = b.codes.slots_a_side + (b.codes.is_channel ? 0 : 1);
  if (team.is_live) {
    uint64_t furthest[2];
    is_good = FindFurthest(b, team, range, furthest);
    for (uint32_t side = 0; side < 2; ++side) {
      const uint64_t bar = BarOfWarp(furthest[side], count);
      if (threadIdx.x % 32 == 0) shared.bars[side][threadIdx.x / 32] = bar;
    }
  }
  __syncthreads();
  if (team.is_live && count > 0) ListCandidates(b, team, range, shared);
  __syncthreads();
  if (team.is_live) {
    for (uint32_t side = 0; side < 2; ++side) {
      KeepFurthest(b, team, range, side, shared);
    }
  }
  __syncthreads();
  if (team.is_live) {
    if (!b.codes.is_channel) is_good &= StageRange(team, shared, range);
    if (team.thread < b.slots) is_good &= StageSlots<Element>(b, team, shared);
    if (!is_good) SetVerdict(b.planes, kVerdictUnfitValue);
    if (b.has_words) {
      StageCodes<kBits, 4>(b, team, range, shared.thresholds);
    } else {
      StageCodes<kBits, 1>(b, team, range, shared.thresholds);
    }
  }
  __syncthreads();
  if (team.is_live) {
    StoreStaged(team.staged, b.unit_bytes, UnitOf(b, team.token), team.thread,
                team.threads);
  }
}

// ---- Launchers ----

NuqBatch BatchOf(const PlaneBatch& planes, const NuqCodes& codes) {
  NuqBatch b = {};
  b.planes = planes;
  b.codes = codes;
  b.width = planes.heads * planes.dim;
  b.slots = 2 * codes.slots_a_side;
  b.slots_at = codes.is_channel ? 0 : 4;
  b.codes_at = b.slots_at + 4 * b.slots;
  b.row_bytes = RowBytes(planes.dim, codes.bits);
  b.unit_bytes = b.codes_at + planes.heads * b.row_bytes;
  b.team = 32;
  while (b.team * kElementsMax < b.width) b.team *= 2;
  b.has_words = HasWordsOfCodes(planes, codes.bits, b.unit_bytes);
  b.has_vectors = planes.dim % 4 == 0 && AreRowsMultiplesOf(planes, 8);
  return b;
}

int LaunchNuq(const PlaneBatch& planes, const NuqCodes& codes, bool is_decode,
              void* stream) {
  const NuqBatch b = BatchOf(planes, codes);
  const uint32_t tokens = kThreads / b.team;
  const cudaLaunchConfig_t config = ConfigOf(
      planes, (planes.tokens + tokens - 1) / tokens, kThreads, 0, stream);
  return WithTypeAndBits(planes, codes.bits, [&](auto element, auto bits) {
    using Element = decltype(element);
    constexpr int kBits = decltype(bits)::kValue;
    return is_decode
               ? cudaLaunchKernelEx(&config, DecodeNuqPlanes<Element, kBits>, b)
               : cudaLaunchKernelEx(&config, EncodeNuqPlanes<Element, kBits>,
                                    b);
  });
}

}  // namespace

int LaunchNuqEncode(const PlaneBatch& batch, const NuqCodes& codes,
                    void* stream) {
  return LaunchNuq(batch, codes, false, stream);
}

int LaunchNuqDecode(const PlaneBatch& batch, const NuqCodes& codes,
                    void* stream) {
  return LaunchNuq(batch, codes, true, stream);
}

}  // namespace banyan::codec
