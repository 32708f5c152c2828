// A cold unit, coded with a step; and the search for the step with which it fits.
// Format: docs/formats/codec_cold.md. The host's way is cold_unit.cc.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/codec/cold_coder.cuh"
#include "kernels/codec/cold_encode.cuh"

namespace banyan::codec {

// In steps, as a float.
inline constexpr float kColdStepsEnd = kColdNumberEnd;

// About what the exponent must change by for each byte of an element.
inline constexpr uint64_t kColdExponentsOfByte = 384;
inline constexpr int kColdGuesses = 8;

// The sizes of all that a quantizer made a 1.
struct ColdMean {
  double sum;
  uint32_t count;
};

// A search for the step.
struct ColdSearch {
  uint32_t rank;
  int exponent;  // That is tried.
  float step;
  float inverse;
  int below;  // Does not fit.
  int fitting;
  int tries;
  bool is_done;
  bool is_last;  // Whatever it takes.
};

struct ColdFitShared {
  ColdEncodeUnit unit;
  union {
    ColdCoder coder;
    ColdTerms terms;
  };
  ColdBytesOut out;
  ColdWriter writer;  // Between factors and the rest.
  ColdMean ones[2];
  ColdSearch search;
  uint32_t bytes;
  uint32_t is_good;
};

// A row of numbers that are rounded one by one.
struct ColdPlainRow {
  const float* from;
  float scale;  // Of what is read.
  uint32_t count;
  uint32_t set;
  float* levels;    // Of the columns; nullptr: 0.
  bool has_levels;  // Else they are still 0.
  float* to;        // What they are decoded to; nullptr: nobody wants it.
  float norm;       // 0: none; else they are divided by this, and negative.
};

// False if some number is too large. All of this is the first warp's.
__device__ __forceinline__ bool PutColdPlainRow(const ColdPlainRow& row,
                                                ColdWriter& w,
                                                ColdFitShared& s) {
  const uint32_t lane = threadIdx.x;
  ColdPutRow put = {
      .set = row.set, .is_trellis = false, .level = 0, .state = 0};
#pragma unroll 1
  for (uint32_t first = 0; first < row.count; first += kColdPutTile) {
    const uint32_t count = SmallerOf(kColdPutTile, row.count - first);
    bool is_good = true;
#pragma unroll 1
    for (uint32_t i = lane; i < count; i += 32) {
      const float x = row.from[first + i] * row.scale;
      const float steps = ColdStepsOf(x, s.search.inverse);
      const bool is_small = steps < kColdStepsEnd;
      is_good &= is_small;
      const bool is_negative = x < 0;
      s.coder.numbers[i] = (is_small ? static_cast<uint32_t>(steps) : 0) |
                           (is_negative ? kColdNegative : 0);
      s.coder.column_levels[i] = row.has_levels ? row.levels[first + i] : 0;
      if (row.to == nullptr) continue;
      const float value = (is_negative ? -steps : steps) * s.search.step;
      row.to[first + i] = row.norm > 0 ? -(value / row.norm) : value;
    }
    if (!__all_sync(~0u, is_good)) return false;
    __syncwarp();
    PutColdTile(count, put, w, s.coder, s.out, [](uint32_t, uint32_t) {});
    if (row.levels == nullptr) continue;
#pragma unroll 1
    for (uint32_t i = lane; i < count; i += 32) {
      row.levels[first + i] = s.coder.column_levels[i];
    }
  }
  return true;
}

__device__ __forceinline__ bool PutColdFactors(const ColdBatch& b,
                                               ColdWriter& w,
                                               ColdFitShared& s) {
  const ColdEncodeUnit& u = s.unit;
  ForgetCold(s.coder);
#pragma unroll 1
  for (uint32_t i = 0; i < 2 * s.search.rank; ++i) {
    const uint32_t k = i / 2;
    const bool is_column = i % 2 == 0;
    const uint64_t column = uint64_t{k} * b.width;
    const uint32_t of_row = k * u.pitch;
    const float norm = FloatsAt(b, u.norms)[k];
    const ColdPlainRow row = {
        .from = is_column ? FloatsAt(b, u.columns) + column
                          : FloatsAt(b, u.basis) + of_row,
        .scale = is_column ? 1 : norm,
        .count = is_column ? b.width : u.freqs,
        .set = is_column ? 0u : 1u,
        .levels = is_column ? FloatsAt(b, u.column_levels)
                            : FloatsAt(b, u.row_levels),
        .has_levels = k > 0,
        .to = is_column ? FloatsAt(b, u.coded_columns) + column
                        : FloatsAt(b, u.coded_rows) + of_row,
        .norm = is_column ? 0 : norm};
    if (!PutColdPlainRow(row, w, s)) return false;
  }
  return true;
}

// A row of what factors leave.
struct ColdRestRow {
  const float* from;
  float* levels;
  bool has_levels;
};

// The tile that begins there: sizes, and levels of columns. False if one is too
// large.
__device__ __forceinline__ bool LoadColdTile(const ColdRestRow& row,
                                             uint32_t first, uint32_t count,
                                             ColdFitShared& s) {
  bool is_good = true;
#pragma unroll 1
  for (uint32_t i = threadIdx.x; i < count; i += 32) {
    const float size = fabsf(row.from[first + i]) * s.search.inverse;
    is_good &= size < kColdStepsEnd - 1;
    s.coder.sizes[i] = size;
    s.coder.column_levels[i] = row.has_levels ? row.levels[first + i] : 0;
  }
  is_good = __all_sync(~0u, is_good) != 0;
  __syncwarp();
  return is_good;
}

// Sets `state`, in which the row begins, to that in which its best path ends, and
// traces. False if some number is too large.
__device__ __forceinline__ bool SearchColdRow(const ColdBatch& b,
                                              const ColdRestRow& row,
                                              uint32_t& state,
                                              ColdFitShared& s) {
  auto* const traces = reinterpret_cast<uint8_t*>(FloatsAt(b, s.unit.traces));
  ColdPaths paths = ColdPathsFrom(state);
#pragma unroll 1
  for (uint32_t first = 0; first < b.width; first += kColdPutTile) {
    const uint32_t count = SmallerOf(kColdPutTile, b.width - first);
    if (!LoadColdTile(row, first, count, s)) return false;
    if (threadIdx.x == 0) {
#pragma unroll 1
      for (uint32_t i = 0; i < count; ++i) {
        s.coder.traces[i] = static_cast<uint8_t>(GoOnCold(
            s.coder.sizes[i], s.coder.column_levels[i], s.coder, paths));
      }
    }
    __syncwarp();
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < count; i += 32) {
      traces[first + i] = s.coder.traces[i];
    }
    __syncwarp();
  }
  state = __shfl_sync(~0u, BestColdState(paths), 0);
  return true;
}

// Back along the path that ends in `state`, to the numbers.
__device__ __forceinline__ void FollowColdRow(const ColdBatch& b,
                                              const ColdRestRow& row,
                                              uint32_t state,
                                              ColdFitShared& s) {
  const auto* const traces =
      reinterpret_cast<const uint8_t*>(FloatsAt(b, s.unit.traces));
  auto* const numbers =
      reinterpret_cast<uint32_t*>(FloatsAt(b, s.unit.numbers));
#pragma unroll 1
  for (uint32_t end = b.width; end > 0;) {
    const uint32_t first = (end - 1) / kColdPutTile * kColdPutTile;
    const uint32_t count = end - first;
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < count; i += 32) {
      s.coder.sizes[i] = fabsf(row.from[first + i]) * s.search.inverse;
      s.coder.traces[i] = traces[first + i];
    }
    __syncwarp();
    if (threadIdx.x == 0) {
#pragma unroll 1
      for (uint32_t i = count; i-- > 0;) {
        s.coder.numbers[i] =
            FollowCold(s.coder.sizes[i], s.coder.traces[i], state);
      }
    }
    __syncwarp();
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < count; i += 32) {
      const bool is_negative = row.from[first + i] < 0;
      numbers[first + i] =
          s.coder.numbers[i] | (is_negative ? kColdNegative : 0);
    }
    __syncwarp();
    end = first;
  }
}

// The numbers that were chosen.
__device__ __forceinline__ void PutColdRow(const ColdBatch& b,
                                           const ColdRestRow& row,
                                           uint32_t& state, ColdWriter& w,
                                           ColdFitShared& s) {
  const auto* const numbers =
      reinterpret_cast<const uint32_t*>(FloatsAt(b, s.unit.numbers));
  ColdPutRow put = {.set = 0, .is_trellis = true, .level = 0, .state = state};
#pragma unroll 1
  for (uint32_t first = 0; first < b.width; first += kColdPutTile) {
    const uint32_t count = SmallerOf(kColdPutTile, b.width - first);
    LoadColdTile(row, first, count, s);
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < count; i += 32) {
      s.coder.numbers[i] = numbers[first + i];
    }
    __syncwarp();
    PutColdTile(count, put, w, s.coder, s.out, [&](uint32_t i, uint32_t at) {
      if ((s.coder.numbers[i] & ~kColdNegative) != 1) return;
      ColdMean& of = s.ones[at / 2];
      of.sum += s.coder.sizes[i];
      ++of.count;
    });
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < count; i += 32) {
      row.levels[first + i] = s.coder.column_levels[i];
    }
  }
  state = __shfl_sync(~0u, put.state, 0);
}

__device__ __forceinline__ bool PutColdRestRows(const ColdBatch& b,
                                                ColdWriter& w,
                                                ColdFitShared& s) {
  const ColdEncodeUnit& u = s.unit;
  ForgetCold(s.coder);
  const ColdPlainRow means = {.from = FloatsAt(b, u.coefficients),
                              .scale = 1,
                              .count = b.width,
                              .set = 0,
                              .levels = nullptr,
                              .has_levels = false,
                              .to = nullptr,
                              .norm = 0};
  if (!PutColdPlainRow(means, w, s)) return false;
  ForgetCold(s.coder);
  FillBitsOfColdOdds(s.coder);
  if (threadIdx.x < 2) s.ones[threadIdx.x] = {};
  __syncwarp();
  uint32_t state = 0;
#pragma unroll 1
  for (uint32_t f = 0; f < u.freqs; ++f) {
    const ColdRestRow row = {
        .from = FloatsAt(b, u.elements) + uint64_t{f + 1} * b.width,
        .levels = FloatsAt(b, u.column_levels),
        .has_levels = f > 0};
    FillColdCosts(s.coder);
    uint32_t last = state;
    if (!SearchColdRow(b, row, last, s)) return false;
    FollowColdRow(b, row, last, s);
    PutColdRow(b, row, state, w, s);
  }
  return true;
}

// How much nearer to zero than the level ones are, in 256ths of it.
__device__ __forceinline__ uint32_t ColdShrinkOf(const ColdMean& ones,
                                                 double level) {
  if (ones.count == 0) return 0;
  const double mean = ones.sum / static_cast<double>(ones.count) / level;
  const double shrink = floor((1 - mean) * 256 + 0.5);
  const double at_least = shrink < -128 ? -128 : shrink;
  return static_cast<uint32_t>(
             static_cast<int>(at_least > 127 ? 127 : at_least)) &
         0xFF;
}

__device__ __forceinline__ void PutColdHead(const ColdBatch& b, std::byte* to,
                                            const ColdFitShared& s) {
  StoreBytes<2>(static_cast<uint32_t>(s.search.exponent) & 0xFFFF, to);
  StorePacket<1>({{s.search.rank}}, to + 2);
  StorePacket<1>({{ColdShrinkOf(s.ones[0], 1)}}, to + 3);
  StorePacket<1>({{ColdShrinkOf(s.ones[1], 0.5)}}, to + 4);
#pragma unroll 1
  for (uint32_t k = 0; k < s.search.rank; ++k) {
    StoreBytes<2>(BitsOfFloat(FloatsAt(b, s.unit.norms)[k]) >> 16,
                  to + kColdHeadBytes + kColdFactorBytes * k);
  }
}

// Sets the bytes, which may be more than fit; 0 if there is no such code. All
// threads are here.
__device__ __forceinline__ void TryColdCode(const ColdBatch& b,
                                            ColdFitShared& s) {
  const ColdEncodeUnit& u = s.unit;
  const uint32_t head_bytes = kColdHeadBytes + kColdFactorBytes * s.search.rank;
  if (threadIdx.x < 32) {
    ColdWriter w = StartColdBytes(ColdSlotOf(b, blockIdx.x) + head_bytes,
                                  u.bytes - head_bytes, s.out);
    const bool is_good = PutColdFactors(b, w, s);
    if (threadIdx.x == 0) {
      s.writer = w;
      s.bytes = 0;
      s.is_good = is_good;
    }
  }
  __syncthreads();
  if (s.is_good == 0) return;
  SumColdRows<ColdOrder::kRows>(
      {.rows = u.freqs,
       .count = s.search.rank,
       .from = FloatsAt(b, u.coded_columns),
       .from_stride = b.width,
       .width = b.width,
       .to = FloatsAt(b, u.elements) + b.width,
       .to_stride = b.width,
       .start = FloatsAt(b, u.coefficients) + b.width},
      [&](uint32_t k, uint32_t row) {
        return FloatsAt(b, u.coded_rows)[k * u.pitch + row];
      },
      s.terms);
  __syncthreads();
  if (threadIdx.x >= 32) return;
  ColdWriter w = s.writer;
  if (!PutColdRestRows(b, w, s)) return;
  if (threadIdx.x == 0) {
    for (int i = 0; i < 4; ++i) PutColdByte(w, s.out);
    PutColdHead(b, ColdSlotOf(b, blockIdx.x), s);
    s.bytes = head_bytes + w.written;
  }
  __syncwarp();
  w.written = __shfl_sync(~0u, w.written, 0);
  StoreColdBytes(true, w, s.out);
}

// What to try next, to about the least step that fits: by how much a try was too
// long, or too short, says where. By one thread.
__device__ __forceinline__ void ChooseColdStep(const ColdBatch& b,
                                               ColdFitShared& s) {
  ColdSearch& search = s.search;
  if (search.fitting - search.below <= 1) {
    search.is_last = true;
    search.exponent = search.fitting;
    if (search.fitting == kColdExponentMax) search.rank = 0;
  } else {
    int exponent = search.exponent;
    if (search.tries >= kColdGuesses) {
      exponent = search.below + (search.fitting - search.below) / 2;
    }
    exponent = exponent > search.below ? exponent : search.below + 1;
    search.exponent = exponent < search.fitting ? exponent : search.fitting - 1;
  }
  ++search.tries;
  search.step = ColdStepAt(b, search.exponent);
  search.inverse = 1 / search.step;
}

// What a try says of the next one. By one thread.
__device__ __forceinline__ void LearnOfColdTry(const ColdBatch& b,
                                               ColdFitShared& s) {
  ColdSearch& search = s.search;
  search.is_done = search.is_last;
  if (search.is_last) return;
  const bool fits = s.bytes > 0 && s.bytes <= s.unit.bytes;
  (fits ? search.fitting : search.below) = search.exponent;
  if (s.bytes == 0) {  // Numbers that are far too large.
    search.exponent += 4 * static_cast<int>(kColdOctaveSteps);
    return;
  }
  const uint64_t off = fits ? s.unit.bytes - s.bytes : s.bytes - s.unit.bytes;
  const auto by = static_cast<int>(off * kColdExponentsOfByte /
                                   (uint64_t{s.unit.tokens} * b.width));
  search.exponent += fits ? -by : 1 + by;
  search.is_done = fits && (by == 0 || search.fitting - search.below <= 1);
}

}  // namespace banyan::codec
