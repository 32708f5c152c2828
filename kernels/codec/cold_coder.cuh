// Writes the numbers of a cold unit, one after the other, and chooses those that
// have a trellis. One lane of a warp does that; all of its lanes bring what it
// needs to shared memory, and take bytes away. The host's way is
// coefficient_coder.h and trellis.cc.
// Format: docs/formats/codec_cold.md.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/codec/cold_numbers.cuh"

namespace banyan::codec {

// Numbers between two looks at device memory.
inline constexpr uint32_t kColdPutTile = 64;

// Bytes that are not in device memory yet.
inline constexpr uint32_t kColdBytesRing = 512;

inline constexpr uint32_t kColdCosts = kColdOnes + 1;
inline constexpr float kColdBitWorth = 0.08f;
inline constexpr uint32_t kColdStates = 4;

struct ColdCoder {
  uint32_t odds[kColdSets * kColdClasses][kColdOnes];
  uint32_t lengths[kColdSets][kColdLengths];
  float bits_of_odds[256];  // That something takes of (i + 1/2) in 256.
  float costs[kColdSets * kColdClasses][kColdCosts];
  // Of a tile.
  float column_levels[kColdPutTile];
  float sizes[kColdPutTile];
  uint32_t numbers[kColdPutTile];  // Magnitudes; the sign is the highest bit.
  uint8_t traces[kColdPutTile];
};

inline constexpr uint32_t kColdNegative = 1u << 31;

// ---- Bytes ----

// Where bytes go, and those that are not there yet: they lie as they do in lines
// of device memory.
struct ColdBytesOut {
  alignas(16) std::byte ring[kColdBytesRing];
  std::byte* begin;
  uint32_t room;  // Bytes behind it are left out.
  uint32_t skew;  // Of the first, in its line.
};

// All of the warp's lanes know how much was written and stored.
struct ColdWriter {
  uint32_t written;
  uint32_t stored;  // In device memory.
  uint32_t low;
  uint32_t range;
};

__device__ __forceinline__ ColdWriter StartColdBytes(std::byte* begin,
                                                     uint32_t room,
                                                     ColdBytesOut& out) {
  if (threadIdx.x == 0) {
    out.begin = begin;
    out.room = room;
    out.skew =
        static_cast<uint32_t>(reinterpret_cast<uintptr_t>(begin) % kLineBytes);
  }
  __syncwarp();
  return {.written = 0, .stored = 0, .low = 0, .range = ~0u};
}

__device__ __forceinline__ void PutColdByte(ColdWriter& w, ColdBytesOut& out) {
  StorePacket<1>({{w.low >> 24}},
                 out.ring + (out.skew + w.written) % kColdBytesRing);
  ++w.written;
  w.low <<= 8;
}

// One more than what was written.
__device__ __forceinline__ void CarryCold(const ColdWriter& w,
                                          ColdBytesOut& out) {
#pragma unroll 1
  for (uint32_t i = w.written; i-- > 0;) {
    const bool is_stored = i < w.stored;
    if (is_stored && i >= out.room) continue;
    std::byte* const at =
        is_stored ? out.begin + i : out.ring + (out.skew + i) % kColdBytesRing;
    const uint32_t more = (LoadPacket<1>(at).words[0] + 1) & 0xFF;
    StorePacket<1>({{more}}, at);
    if (more != 0) return;
  }
}

// The range becomes its first part, or else the second.
__device__ __forceinline__ void CutColdPart(uint32_t first, bool bit,
                                            ColdWriter& w, ColdBytesOut& out) {
  const uint32_t low = w.low + (bit ? first : 0);
  if (low < w.low) CarryCold(w, out);
  w.low = low;
  w.range = bit ? w.range - first : first;
#pragma unroll 1
  while (w.range < 1u << 24) {
    PutColdByte(w, out);
    w.range <<= 8;
  }
}

__device__ __forceinline__ void PutColdBit(uint32_t& odds, bool bit,
                                           ColdWriter& w, ColdBytesOut& out) {
  CutColdPart((w.range >> 16) * ColdOddsOf(odds), bit, w, out);
  odds = ColdOddsBehind(odds, bit);
}

__device__ __forceinline__ void PutColdEven(bool bit, ColdWriter& w,
                                            ColdBytesOut& out) {
  CutColdPart(w.range >> 1, bit, w, out);
}

// Stores whole lines, or all. All lanes are here.
__device__ __forceinline__ void StoreColdBytes(bool is_all, ColdWriter& w,
                                               const ColdBytesOut& out) {
  uint32_t end = out.skew + w.written;
  if (!is_all) end = end / kLineBytes * kLineBytes;
  const uint32_t from = out.skew + w.stored;
  if (end <= from) return;
  const uint32_t room_end = SmallerOf(end, out.skew + out.room);
#pragma unroll 1
  for (uint32_t at = from / kLineBytes * kLineBytes + 4 * threadIdx.x;
       at < room_end; at += kLineBytes) {
    const std::byte* const word = out.ring + at % kColdBytesRing;
    std::byte* const to = out.begin + (int64_t{at} - out.skew);
    if (at >= from && at + 4 <= room_end) {
      StorePacket<4>(LoadPacket<4>(word), to);
      continue;
    }
    for (uint32_t i = 0; i < 4; ++i) {
      if (at + i < from || at + i >= room_end) continue;
      StorePacket<1>(LoadPacket<1>(word + i), to + i);
    }
  }
  w.stored = end - out.skew;
}

// ---- Numbers ----

__device__ __forceinline__ void PutColdRest(uint32_t rest,
                                            uint32_t (&odds)[kColdLengths],
                                            ColdWriter& w, ColdBytesOut& out) {
  const auto length = 31 - static_cast<uint32_t>(__clz(static_cast<int>(rest)));
#pragma unroll 1
  for (uint32_t i = 0; i <= length && i < kColdLengths; ++i) {
    PutColdBit(odds[i], i < length, w, out);
  }
#pragma unroll 1
  for (uint32_t i = length; i-- > 0;) {
    PutColdEven((rest >> i & 1) != 0, w, out);
  }
}

// Of a row: which odds it has; and where it is by now.
struct ColdPutRow {
  uint32_t set;  // Of what quantizer 0 has; quantizer 1 has the next.
  bool is_trellis;
  float level;
  uint32_t state;
};

__device__ __forceinline__ void PutColdNumber(uint32_t number,
                                              float& column_level,
                                              ColdPutRow& row, ColdWriter& w,
                                              ColdCoder& coder,
                                              ColdBytesOut& out) {
  const uint32_t magnitude = number & ~kColdNegative;
  const uint32_t quantizer = row.is_trellis ? row.state / 2 : 0;
  const uint32_t of = ColdClassOf(column_level, row.level);
  uint32_t* const odds = coder.odds[(row.set + quantizer) * kColdClasses + of];
#pragma unroll 1
  for (uint32_t step = 0; step < kColdOnes; ++step) {
    PutColdBit(odds[step], magnitude > step, w, out);
    if (magnitude == step) break;
  }
  if (magnitude >= kColdOnes) {
    PutColdRest(magnitude - kColdOnes + 1, coder.lengths[row.set], w, out);
  }
  if (magnitude > 0) PutColdEven((number & kColdNegative) != 0, w, out);
  const auto x = static_cast<float>(magnitude);
  column_level += (x - column_level) * 0.25f;
  row.level += (x - row.level) * 0.125f;
  row.state = ColdStateBehind(row.state, magnitude);
}

// The numbers of a tile; `then(i, state)` is told of each, by the first lane. All
// lanes are here, and what is in shared memory has been seen by them.
template <class Then>
__device__ __forceinline__ void PutColdTile(uint32_t count, ColdPutRow& row,
                                            ColdWriter& w, ColdCoder& coder,
                                            ColdBytesOut& out,
                                            const Then& then) {
  uint32_t done = 0;
#pragma unroll 1
  do {
    if (threadIdx.x == 0) {
#pragma unroll 1
      while (done < count &&
             w.written - w.stored <= kColdBytesRing - kColdNumberBytes) {
        then(done, row.state);
        PutColdNumber(coder.numbers[done], coder.column_levels[done], row, w,
                      coder, out);
        ++done;
      }
    }
    __syncwarp();
    done = __shfl_sync(~0u, done, 0);
    w.written = __shfl_sync(~0u, w.written, 0);
    StoreColdBytes(false, w, out);
    __syncwarp();
  } while (done < count);
}

// All that is learned is forgotten.
__device__ __forceinline__ void ForgetCold(ColdCoder& coder) {
  uint32_t* const odds = &coder.odds[0][0];
  for (uint32_t i = threadIdx.x; i < kColdSets * kColdClasses * kColdOnes;
       i += 32) {
    odds[i] = kColdEvenOdds;
  }
  uint32_t* const lengths = &coder.lengths[0][0];
  for (uint32_t i = threadIdx.x; i < kColdSets * kColdLengths; i += 32) {
    lengths[i] = kColdEvenOdds;
  }
  __syncwarp();
}

// ---- Costs ----

__device__ __forceinline__ void FillBitsOfColdOdds(ColdCoder& coder) {
#pragma unroll 1
  for (uint32_t i = threadIdx.x; i < 256; i += 32) {
    const uint32_t x = 2 * i + 1;
    const int log = 31 - __clz(static_cast<int>(x));
    const double z = x * __hiloint2double((1023 - log) << 20, 0) - 1;
    coder.bits_of_odds[i] =
        static_cast<float>(-((log - 9) + z * (1.34 - 0.34 * z)));
  }
  __syncwarp();
}

// About what magnitudes take of a bit's worth, with their signs.
__device__ __forceinline__ void FillColdCosts(ColdCoder& coder) {
#pragma unroll 1
  for (uint32_t of = threadIdx.x; of < kColdSets * kColdClasses; of += 32) {
    float before = 0;
#pragma unroll 1
    for (uint32_t m = 0; m < kColdOnes; ++m) {
      const uint32_t odds = ColdOddsOf(coder.odds[of][m]);
      coder.costs[of][m] =
          before + kColdBitWorth * coder.bits_of_odds[odds >> 8];
      if (m == 0) before = kColdBitWorth;  // The sign.
      before += kColdBitWorth * coder.bits_of_odds[(65536 - odds) >> 8];
    }
    coder.costs[of][kColdOnes] = before;
  }
  __syncwarp();
}

// ---- The trellis, by one lane ----

// The largest magnitude whose level is not above the size.
__device__ __forceinline__ uint32_t ColdBelow(float size, uint32_t quantizer) {
  return static_cast<uint32_t>(quantizer == 0 ? size : size + 0.5f);
}

__device__ __forceinline__ float ColdCostOf(uint32_t magnitude,
                                            const float* costs) {
  if (magnitude < kColdOnes) return costs[magnitude];
  const auto rest = static_cast<int>(magnitude - kColdOnes + 1);
  return costs[kColdOnes] +
         kColdBitWorth * static_cast<float>(2 * (32 - __clz(rest)) - 1);
}

// The best way into each state.
struct ColdPaths {
  float costs[kColdStates];
  float row_levels[kColdStates];
};

__device__ __forceinline__ ColdPaths ColdPathsFrom(uint32_t state) {
  ColdPaths paths = {};
#pragma unroll
  for (uint32_t s = 0; s < kColdStates; ++s) {
    paths.costs[s] = s == state ? 0 : FloatOfBits(0x7F800000);
  }
  return paths;
}

// A way that goes on: its cost, and the magnitude.
struct ColdWay {
  float cost;
  float magnitude;
};

// What may become of a number, and its squared errors.
struct ColdChoices {
  uint32_t below;
  float under_error;
  float over_error;
  float zero_error;
};

__device__ __forceinline__ ColdChoices ColdChoicesOf(float size,
                                                     uint32_t quantizer) {
  const uint32_t below = ColdBelow(size, quantizer);
  const auto magnitude = static_cast<float>(below);
  const float shift = quantizer == 0 ? 0 : 0.5f;
  const float under = size - (below == 0 ? 0 : magnitude - shift);
  const float over = size - (magnitude + 1 - shift);
  return {below, under * under, over * over, size * size};
}

// Brings the paths a number further. Returns a bit for each state: in the lower
// four, that the even choice of that state is 0; above, that the best way into that
// state is the second one.
__device__ __forceinline__ uint32_t GoOnCold(float size, float column_level,
                                             const ColdCoder& coder,
                                             ColdPaths& paths) {
  uint32_t trace = 0;
  ColdWay even[kColdStates];
  ColdWay odd[kColdStates];
#pragma unroll
  for (uint32_t s = 0; s < kColdStates; ++s) {
    const ColdChoices c = ColdChoicesOf(size, s / 2);
    const uint32_t of = ColdClassOf(column_level, paths.row_levels[s]);
    const float* const costs = coder.costs[s / 2 * kColdClasses + of];
    const float zero = paths.costs[s] + (c.zero_error + costs[0]);
    const ColdWay below = {
        paths.costs[s] + (c.under_error + ColdCostOf(c.below, costs)),
        static_cast<float>(c.below)};
    const ColdWay above = {
        paths.costs[s] + (c.over_error + ColdCostOf(c.below + 1, costs)),
        static_cast<float>(c.below + 1)};
    const bool is_odd = c.below % 2 != 0;
    even[s] = is_odd ? above : below;
    odd[s] = is_odd ? below : above;
    if (zero < even[s].cost) {
      even[s] = {zero, 0};
      trace |= 1u << s;
    }
  }
  ColdPaths next;
#pragma unroll
  for (uint32_t s = 0; s < kColdStates; ++s) {
    const uint32_t from = s % 2 * 2;
    const ColdWay& first = s < 2 ? even[from] : odd[from];
    const ColdWay& second = s < 2 ? odd[from + 1] : even[from + 1];
    const bool is_second = second.cost < first.cost;
    next.costs[s] = is_second ? second.cost : first.cost;
    const float magnitude = is_second ? second.magnitude : first.magnitude;
    const float level =
        is_second ? paths.row_levels[from + 1] : paths.row_levels[from];
    next.row_levels[s] = level + (magnitude - level) * 0.125f;
    if (is_second) trace |= 16u << s;
  }
  paths = next;
  return trace;
}

__device__ __forceinline__ uint32_t BestColdState(const ColdPaths& paths) {
  uint32_t best = 0;
  float cost = paths.costs[0];
#pragma unroll
  for (uint32_t s = 1; s < kColdStates; ++s) {
    if (!(paths.costs[s] < cost)) continue;
    cost = paths.costs[s];
    best = s;
  }
  return best;
}

// The magnitude behind which the path is in `state`, which then is the one before.
__device__ __forceinline__ uint32_t FollowCold(float size, uint32_t trace,
                                               uint32_t& state) {
  const uint32_t is_second = trace >> (4 + state) & 1;
  const uint32_t is_even = (state < 2 ? 1 : 0) ^ is_second;
  state = state % 2 * 2 + is_second;
  if (is_even != 0 && (trace >> state & 1) != 0) return 0;
  const uint32_t below = ColdBelow(size, state / 2);
  return below + ((below ^ is_even ^ 1) & 1);
}

}  // namespace banyan::codec
