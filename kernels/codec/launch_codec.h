// The launchers of the codecs' kernels, for host code. They queue work on a
// cudaStream_t, allocate nothing and wait for nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/host_device.h"

namespace banyan::codec {

// Planes of one shape, and where they lie in encoded form. Addresses are the
// device's; strides are in bytes. Rows and their strides are multiples of 2.
struct PlaneBatch {
  std::byte* rows;
  uint64_t plane_stride;
  uint64_t token_stride;
  uint64_t head_stride;
  std::byte* encoded;
  uint64_t encoded_stride;
  uint32_t* verdicts;  // [planes]; bits of Verdict are set in them.
  uint32_t planes;     // At most kBatchPlanesMax.
  uint32_t tokens;
  uint32_t heads;
  uint32_t dim;
  bool is_bf16;  // Else fp16.
};

// What a grid's second dimension takes.
inline constexpr uint32_t kBatchPlanesMax = 65535;

// What kernels found; 0 is good.
enum Verdict : uint32_t {
  kVerdictUnfitValue = 1,  // Encode: a value that the format has no room for.
  kVerdictBadCode = 2,     // Decode: bytes that no encoder writes.
  kVerdictBadChecksum = 4,
};

struct IntCodes {
  uint32_t bits;   // 8, 4 or 2.
  uint32_t group;  // Elements.
  bool is_channel;
};

// A rotary embedding that is taken off or put on.
struct Rotation {
  const float* cosines;  // [token, pair]
  const float* sines;
  uint32_t pairs;  // 0: none.
  bool is_interleaved;
};

struct RotLmCodes {
  uint32_t bits;    // 4, 3 or 2.
  uint32_t centre;  // 0: none; 1: means; 2: and deviations.
  Rotation rotation;
};

struct NuqCodes {
  uint32_t bits;  // 4, 3 or 2.
  bool is_channel;
  uint32_t slots_a_side;
  const float* tables;    // [planes]; of each, as FillNuqTable writes it.
  uint64_t table_stride;  // Floats.
  Rotation rotation;
};

struct KvarnCodes {
  uint32_t bits;    // 4, 3 or 2.
  bool is_channel;  // Groups are channels, else tokens.
};

// How a lossless plane is divided.
struct LosslessUnits {
  uint32_t unit_tokens;
  uint64_t prefix_bytes;
  const uint64_t* begins;  // [planes], or nullptr: by encoded_stride.
  // To encode only.
  uint32_t* counts;  // [planes, kind, value of its bytes], zeros.
  uint64_t* sizes;   // [planes], written: bytes of each.
};

struct ColdCodes {
  uint32_t unit_tokens;
  uint32_t factors_max;          // Of a whole unit.
  uint32_t factors_max_of_last;  // Of one with what tokens are left.
  bool is_weighted;
  const uint64_t* begins;  // [planes], or nullptr: by encoded_stride.
  const float* tables;     // [planes]; of each, as FillColdTable writes it.
  uint64_t table_stride;   // Floats.
  float* scratch;          // [planes, unit, unit_floats]
  uint64_t unit_floats;    // ColdUnitFloats; to encode, ColdEncodeFloats.
  Rotation rotation;
  uint64_t* sizes;  // To encode only: [planes], written: bytes of each.
};

// What blocks of threads have room for: elements of a token.
inline constexpr uint32_t kNuqDeviceWidthMax = 4096;

inline constexpr uint32_t kKvarnDeviceTileTokens = 128;

// Elements of a row; to encode, a tile has to fit the shared memory of a block.
inline constexpr uint32_t kKvarnDeviceDimMax = 1024;
inline constexpr uint32_t kKvarnDeviceEncodeDimMax = 256;

// A table is levels, thresholds, and of each channel its centre, its scale and
// the inverse of that: so many floats each. Channels only if they have ranges.
inline constexpr uint32_t kNuqLevelFloats = 16;
inline uint32_t NuqChannelFloats(uint32_t width) { return (width + 3) / 4 * 4; }

// A table of a cold plane: steps of an octave; the bits of an element, in 64ths;
// cosines of a whole unit, and of one with what tokens are left; the steps of an
// octave in double, a lower and a higher half each; if it is weighted, means of
// channels, the basis, [head, row, element], and its inverse, [head, element, row].
inline constexpr uint32_t kColdUnitTokensMax = 128;
inline constexpr uint32_t kColdOctaveSteps = 32;
inline constexpr uint32_t kColdBitsAt = kColdOctaveSteps;
// Of the transform of T tokens, [i] is what (2 t + 1) f mod 4 T = i makes of
// frequencies f above 0; behind 4 T of them, that of frequency 0.
inline constexpr uint32_t kColdCosines = 4 * kColdUnitTokensMax + 4;
inline constexpr uint32_t kColdCosinesAt = kColdBitsAt + 4;
inline constexpr uint32_t kColdLastCosinesAt = kColdCosinesAt + kColdCosines;
inline constexpr uint32_t kColdPartsAt = kColdLastCosinesAt + kColdCosines;
inline constexpr uint32_t kColdMeansAt = kColdPartsAt + 2 * kColdOctaveSteps;

// The most factors of a unit.
inline uint32_t ColdFactorsMax(uint64_t tokens, uint64_t width) {
  if (tokens < 8) return 0;
  const uint64_t even = tokens * width / (tokens + width);
  const uint64_t most = tokens - 1 < 64 ? tokens - 1 : 64;
  return static_cast<uint32_t>(even < most ? even : most);
}

// Floats that a block of threads writes on the way: rows of frequencies; factors'
// channels and frequencies; levels of columns; components, if it is weighted.
constexpr uint64_t ColdUnitFloats(uint64_t tokens, uint64_t width,
                                  uint64_t factors, bool is_weighted) {
  return tokens * width * (is_weighted ? 2 : 1) + factors * (width + tokens) +
         width + tokens;
}

// Where a block of threads that encodes has what, in floats behind the first. Each
// begins with a line of device memory.
struct ColdRooms {
  uint64_t state;          // What kernels tell those behind them.
  uint64_t elements;       // [token, channel]; then what factors leave.
  uint64_t coefficients;   // [frequency, channel]
  uint64_t products;       // [frequency, frequency]
  uint64_t basis;          // [factor, frequency]
  uint64_t other_basis;    // Likewise: what the next one is made of.
  uint64_t columns;        // [factor, channel]
  uint64_t norms;          // Of factors; 0: there are no more.
  uint64_t coded_columns;  // As columns; what they are decoded to.
  uint64_t coded_rows;     // As basis; what times a column is added.
  uint64_t row_squares;    // Of frequencies, and of channels.
  uint64_t column_squares;
  uint64_t row_levels;
  uint64_t column_levels;
  uint64_t numbers;  // Of a row of channels.
  uint64_t traces;   // Likewise, a byte each.
  uint64_t end;
};

BANYAN_HD constexpr ColdRooms ColdRoomsOf(uint64_t tokens, uint64_t width,
                                          uint64_t factors) {
  uint64_t next = 0;
  const auto take = [&next](uint64_t floats) {
    const uint64_t taken = next;
    next += (floats + 31) / 32 * 32;
    return taken;
  };
  ColdRooms r = {};
  r.state = take(32);
  r.elements = take(tokens * width);
  r.coefficients = take(tokens * width);
  r.products = take(tokens * tokens);
  r.basis = take(factors * tokens);
  r.other_basis = take(factors * tokens);
  r.columns = take(factors * width);
  r.norms = take(factors);
  r.coded_columns = take(factors * width);
  r.coded_rows = take(factors * tokens);
  r.row_squares = take(tokens);
  r.column_squares = take(width);
  r.row_levels = take(tokens);
  r.column_levels = take(width);
  r.numbers = take(width);
  r.traces = take((width + 3) / 4);
  r.end = next;
  return r;
}

// Floats that it writes on the way.
constexpr uint64_t ColdEncodeFloats(uint64_t tokens, uint64_t width,
                                    uint64_t factors) {
  return ColdRoomsOf(tokens, width, factors).end;
}

// Pieces of one size, and the checksums that they must have.
struct PieceBatch {
  const std::byte* pieces;
  uint64_t stride;  // Bytes.
  uint64_t bytes;   // At least kCheckedBytesMin.
  const uint64_t* seeds;
  const uint64_t* checksums;  // [piece], low and high.
  uint32_t* verdicts;
  uint32_t count;
  uint64_t secret[24];  // XXH3's default one.
};

// XXH3 sums shorter inputs in other ways.
inline constexpr uint64_t kCheckedBytesMin = 241;

// All return a cudaError_t: 0 if all launches were taken.
int LaunchFp8Encode(const PlaneBatch& batch, void* stream);
int LaunchFp8Decode(const PlaneBatch& batch, void* stream);
int LaunchIntEncode(const PlaneBatch& batch, const IntCodes& codes,
                    void* stream);
int LaunchIntDecode(const PlaneBatch& batch, const IntCodes& codes,
                    void* stream);
int LaunchRotLmEncode(const PlaneBatch& batch, const RotLmCodes& codes,
                      void* stream);
int LaunchRotLmDecode(const PlaneBatch& batch, const RotLmCodes& codes,
                      void* stream);
int LaunchNuqEncode(const PlaneBatch& batch, const NuqCodes& codes,
                    void* stream);
int LaunchNuqDecode(const PlaneBatch& batch, const NuqCodes& codes,
                    void* stream);
int LaunchKvarnEncode(const PlaneBatch& batch, const KvarnCodes& codes,
                      void* stream);
int LaunchKvarnDecode(const PlaneBatch& batch, const KvarnCodes& codes,
                      void* stream);
int LaunchLosslessEncode(const PlaneBatch& batch, const LosslessUnits& units,
                         void* stream);
int LaunchLosslessDecode(const PlaneBatch& batch, const LosslessUnits& units,
                         void* stream);
int LaunchColdEncode(const PlaneBatch& batch, const ColdCodes& codes,
                     void* stream);
int LaunchColdDecode(const PlaneBatch& batch, const ColdCodes& codes,
                     void* stream);
int LaunchXxh3Check(const PieceBatch& batch, void* stream);

}  // namespace banyan::codec
