// The numbers of a cold unit, which are read one after the other: bits that are
// cut off a range by learned odds, and magnitudes made of them. One lane of a warp
// reads; all of its lanes bring the bytes, and what is usual in columns, to shared
// memory and take the numbers away. The host's way is coefficient_coder.h.
// Format: docs/formats/codec_cold.md.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/codec/device_elements.cuh"
#include "kernels/codec/staged_bytes.cuh"

namespace banyan::codec {

inline constexpr uint32_t kColdSets = 2;  // Kinds of numbers at a time.
inline constexpr uint32_t kColdClasses = 28;
inline constexpr uint32_t kColdOnes = 14;       // Of a magnitude, at most.
inline constexpr uint32_t kColdOnesPitch = 16;  // One more is read ahead.
inline constexpr uint32_t kColdLengths = 24;    // Of what is beyond, in bits.
inline constexpr uint32_t kColdNumberEnd = 1 << 23;

// Numbers between two looks at device memory.
inline constexpr uint32_t kColdTile = 128;

// Bytes that are ahead of the reader. Of a number, 38 learned bits take two bytes
// at most, and 25 even ones a byte.
inline constexpr uint32_t kColdRingWords = 128;
inline constexpr uint32_t kColdNumberBytes = 128;

// Odds of learned bits: the fast number in the lower half, the slow one above.
inline constexpr uint32_t kColdEvenOdds = 0x80008000;

struct ColdNumbers {
  uint32_t odds[kColdSets * kColdClasses][kColdOnesPitch];
  uint32_t lengths[kColdSets][kColdLengths];
  uint32_t ring[kColdRingWords];
  float column_levels[kColdTile];
  float values[kColdTile];
};

// ---- Arithmetic ----

// The odds of a 0, of 2^16. Always within 32 and 65504: behind ones only, the two
// numbers stay at 15 and 127, and at as much less than 2^16 - 1 behind zeros.
BANYAN_HD inline uint32_t ColdOddsOf(uint32_t odds) {
  return ((odds & 0xFFFF) + (odds >> 16)) / 2;
}

// Behind a 0 the same is done to what the odds of a 1 are.
BANYAN_HD inline uint32_t ColdOddsBehind(uint32_t odds, bool bit) {
  const uint32_t flip = bit ? 0 : ~0u;
  const uint32_t of_both = odds ^ flip;
  const uint32_t fast = of_both & 0xFFFF;
  const uint32_t slow = of_both >> 16;
  return ((fast - (fast >> 4)) | (slow - (slow >> 7)) << 16) ^ flip;
}

// Of a number, from what is usual around it: half an octave each.
BANYAN_HD inline uint32_t ColdClassOf(float column_level, float row_level) {
  constexpr uint32_t kFirst = 244;  // Half octaves from 2^-127 to 2^-5.
  const float level = column_level + column_level + row_level;
  const uint32_t half_octaves = BitsOfFloat(level) >> 22;
  return half_octaves < kFirst
             ? 0
             : SmallerOf(half_octaves - kFirst + 1, kColdClasses - 1);
}

// Two bits for each state and parity.
BANYAN_HD inline uint32_t ColdStateBehind(uint32_t state, uint32_t magnitude) {
  constexpr uint32_t kNext = 0x7D28;
  return kNext >> (4 * state + 2 * (magnitude & 1)) & 3;
}

// ---- Bytes ----

// A word of bytes [0, end) that begins at `at`; zeros lie around them.
__device__ __forceinline__ uint32_t ColdWordAt(const std::byte* bytes,
                                               uint32_t end, int64_t at) {
  if (at >= 0 && at + 4 <= end) return LoadPacket<4>(bytes + at).words[0];
  uint32_t word = 0;
  for (int i = 0; i < 4; ++i) {
    if (at + i < 0 || at + i >= end) continue;
    word |= LoadPacket<1>(bytes + at + i).words[0] << (8 * i);
  }
  return word;
}

// What the warp knows of a unit's bytes. Places count from the line of device
// memory that the first of them lies in.
struct ColdBytes {
  const std::byte* begin;
  uint32_t bytes;
  uint32_t skew;    // The place of the first.
  uint32_t filled;  // The ring has all up to here.
};

// Fills the ring as far as a reader at `place` leaves room. Halves of words have
// their first byte highest, as the coder wants them.
__device__ __forceinline__ void FillColdRing(ColdBytes& b, uint32_t place,
                                             uint32_t (&ring)[kColdRingWords]) {
  const uint32_t end = place / kLineBytes * kLineBytes + 4 * kColdRingWords;
#pragma unroll 1
  for (; b.filled < end; b.filled += kLineBytes) {
    const uint32_t at = b.filled + 4 * (threadIdx.x % 32);
    const uint32_t word = ColdWordAt(b.begin, b.bytes, int64_t{at} - b.skew);
    ring[at / 4 % kColdRingWords] =
        (word & 0x00FF00FF) << 8 | (word >> 8 & 0x00FF00FF);
  }
}

// ---- Bits ----

struct ColdReader {
  uint64_t
      window;  // The number above low in its upper half; then what follows.
  uint32_t range;
  uint32_t available;  // Bits behind the upper half.
  uint32_t half;       // The next of the ring, counted like places.
  uint32_t begin;      // The place of the first byte.

  // Bytes that the upper half has seen.
  __device__ __forceinline__ uint32_t ReadBytes() const {
    return 2 * half - begin - available / 8;
  }
};

__device__ __forceinline__ uint32_t
ColdHalfAt(const uint32_t (&ring)[kColdRingWords], uint32_t half) {
  return ring[half / 2 % kColdRingWords] >> (half % 2 * 16) & 0xFFFF;
}

// False if no encoder writes such a beginning.
__device__ __forceinline__ bool StartColdReader(
    uint32_t begin, const uint32_t (&ring)[kColdRingWords], ColdReader& r) {
  r.range = ~0u;
  r.begin = begin;
  r.half = begin / 2;
  r.window = 0;
  uint32_t bits = 0;
  if (begin % 2 != 0) {
    r.window = uint64_t{ColdHalfAt(ring, r.half++)} << 56;
    bits = 8;
  }
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    r.window |= uint64_t{ColdHalfAt(ring, r.half++)} << (48 - bits);
    bits += 16;
  }
  r.available = bits - 32;
  return static_cast<uint32_t>(r.window >> 32) != ~0u;
}

// Whether it is the second part of the range; the first one ends there.
__device__ __forceinline__ bool CutColdRange(
    ColdReader& r, uint32_t first, const uint32_t (&ring)[kColdRingWords]) {
  const bool bit = static_cast<uint32_t>(r.window >> 32) >= first;
  r.window -= uint64_t{bit ? first : 0} << 32;
  const uint32_t range = bit ? r.range - first : first;
  const uint32_t shift = range >= 1u << 24 ? 0 : range >= 1u << 16 ? 8 : 16;
  r.range = range << shift;
  r.window <<= shift;
  r.available -= shift;
  if (r.available < 16) {
    r.window |= uint64_t{ColdHalfAt(ring, r.half)} << (16 - r.available);
    r.available += 16;
    ++r.half;
  }
  return bit;
}

__device__ __forceinline__ bool TakeColdBit(
    ColdReader& r, uint32_t& odds, const uint32_t (&ring)[kColdRingWords]) {
  const bool bit = CutColdRange(r, (r.range >> 16) * ColdOddsOf(odds), ring);
  odds = ColdOddsBehind(odds, bit);
  return bit;
}

__device__ __forceinline__ bool TakeColdEven(
    ColdReader& r, const uint32_t (&ring)[kColdRingWords]) {
  return CutColdRange(r, r.range >> 1, ring);
}

// ---- Numbers ----

// Of a row: which odds it has, and what its magnitudes stand for.
struct ColdRowKind {
  uint32_t set;     // Of what quantizer 0 has; quantizer 1 has the next.
  bool is_trellis;  // Else all is of quantizer 0.
  float ones[2];    // What a 1 of each quantizer stands for.
};

struct ColdRow {
  ColdReader reader;
  float level;     // Of the row.
  uint32_t state;  // Of the trellis.
  bool is_good;
};

// What is beyond the ones of a magnitude.
__device__ __forceinline__ uint32_t
TakeColdRest(ColdReader& r, uint32_t (&odds)[kColdLengths],
             const uint32_t (&ring)[kColdRingWords]) {
  uint32_t length = 0;
#pragma unroll 1
  while (length < kColdLengths && TakeColdBit(r, odds[length], ring)) ++length;
  uint32_t rest = 1;
#pragma unroll 1
  for (; length > 0; --length) rest = rest * 2 + TakeColdEven(r, ring);
  return rest;
}

// Sets is_good to false if no encoder writes that.
__device__ __forceinline__ uint32_t TakeColdMagnitude(
    uint32_t (&odds)[kColdOnesPitch], uint32_t (&lengths)[kColdLengths],
    ColdRow& row, ColdNumbers& shared) {
  uint32_t magnitude = 0;
  uint32_t now = odds[0];
#pragma unroll 1
  do {
    const uint32_t next = odds[magnitude + 1];
    const bool bit = TakeColdBit(row.reader, now, shared.ring);
    odds[magnitude] = now;
    if (!bit) return magnitude;
    now = next;
  } while (++magnitude < kColdOnes);
  magnitude += TakeColdRest(row.reader, lengths, shared.ring) - 1;
  row.is_good &= magnitude < kColdNumberEnd;
  return magnitude;
}

// The next number's value, in steps. Brings the column's level up to date.
__device__ __forceinline__ float TakeColdNumber(const ColdRowKind& kind,
                                                float& column_level,
                                                ColdRow& row,
                                                ColdNumbers& shared) {
  const uint32_t quantizer = kind.is_trellis ? row.state / 2 : 0;
  const uint32_t of = ColdClassOf(column_level, row.level);
  const uint32_t magnitude =
      TakeColdMagnitude(shared.odds[(kind.set + quantizer) * kColdClasses + of],
                        shared.lengths[kind.set], row, shared);
  const auto number = static_cast<float>(magnitude);
  column_level += (number - column_level) * 0.25f;
  row.level += (number - row.level) * 0.125f;
  row.state = ColdStateBehind(row.state, magnitude);
  if (magnitude == 0) return 0;
  const float one = quantizer == 0 ? kind.ones[0] : kind.ones[1];
  const float above = quantizer == 0 ? number : number - 0.5f;
  const float level = magnitude == 1 ? one : above;
  return TakeColdEven(row.reader, shared.ring) ? -level : level;
}

// Reads numbers from `done` on, as far as the ring has them for sure, `count` at
// most. Returns how many are done. Behind the last byte there are zeros.
__device__ __forceinline__ uint32_t
TakeColdNumbers(const ColdRowKind& kind, const ColdBytes& bytes, uint32_t done,
                uint32_t count, ColdRow& row, ColdNumbers& shared) {
  float next = shared.column_levels[done];
#pragma unroll 1
  while (2 * row.reader.half + kColdNumberBytes <= bytes.filled) {
    const uint32_t at = done++;
    float level = next;
    if (done < count) next = shared.column_levels[done];
    shared.values[at] = TakeColdNumber(kind, level, row, shared);
    shared.column_levels[at] = level;
    if (done == count) break;
  }
  return done;
}

}  // namespace banyan::codec
