// The kernel that decodes cold planes, and its launcher. A block of threads has a
// unit. Its first warp reads the numbers, one after the other; then all of them
// make the sums of rows that are a transform's, factors' or a basis', in the order
// that the host has.
// Format: docs/formats/codec_cold.md. The host's way is cold_unit.cc.
#include <cuda_runtime.h>

#include "kernels/codec/cold_numbers.cuh"
#include "kernels/codec/cold_planes.cuh"
#include "kernels/codec/cold_sums.cuh"

namespace banyan::codec {
namespace {

constexpr uint32_t kBlocksMin = 16;  // Of an SM.

// A unit. Its places are counted from the scratch on.
struct ColdUnit {
  uint32_t first_token;
  uint32_t tokens;
  uint32_t factors_max;
  uint32_t cosines;     // In the plane's table.
  uint64_t rows;        // [frequency, channel]
  uint64_t components;  // [token, channel], if it is weighted.
  uint64_t columns;     // [factor, channel]
  uint64_t factors;     // [factor, frequency]
  uint64_t column_levels;
  uint64_t row_levels;
};

struct ColdShared {
  union {
    ColdNumbers numbers;
    ColdTerms terms;
  };
  ColdUnit unit;  // Here, as it would take too many registers.
  uint32_t factors;
  uint32_t is_good;
};

__device__ __forceinline__ ColdUnit UnitOf(const ColdBatch& b) {
  const uint32_t unit = blockIdx.x;
  const uint32_t t = b.codes.unit_tokens;
  const uint64_t matrix = uint64_t{t} * b.width;
  const bool is_weighted = b.codes.is_weighted;
  ColdUnit u;
  u.first_token = unit * t;
  u.tokens = ColdTokensOf(b, unit);
  const bool is_whole = u.tokens == t;
  u.factors_max = is_whole ? b.codes.factors_max : b.codes.factors_max_of_last;
  u.cosines = is_whole ? kColdCosinesAt : kColdLastCosinesAt;
  u.rows = (uint64_t{blockIdx.y} * b.units + unit) * b.codes.unit_floats;
  u.components = u.rows + matrix;
  u.columns = u.components + (is_weighted ? matrix : 0);
  u.factors = u.columns + uint64_t{b.codes.factors_max} * b.width;
  u.column_levels = u.factors + b.codes.factors_max * t;
  u.row_levels = u.column_levels + b.width;
  return u;
}

// ---- Numbers, by the first warp ----

// Of this block's unit. False if no encoder writes such sizes.
__device__ __forceinline__ bool FindBytes(const ColdBatch& b,
                                          ColdBytes& bytes) {
  const std::byte* const plane = ColdPlaneOf(b);
  const uint32_t unit = blockIdx.x;
  uint64_t before = 0;
  bool is_good = true;
#pragma unroll 1
  for (uint32_t other = threadIdx.x; other <= unit; other += 32) {
    const uint32_t size = LoadBytes<4>(plane + kColdSizeBytes * other);
    is_good &= size <= ColdBytesMax(b, ColdTokensOf(b, other));
    before += other < unit ? size : 0;
  }
  for (int step = 16; step > 0; step /= 2) {
    before += __shfl_xor_sync(~0u, before, step);
  }
  bytes.begin = plane + kColdSizeBytes * b.units + before;
  bytes.bytes = LoadBytes<4>(plane + kColdSizeBytes * unit);
  bytes.skew = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(bytes.begin) %
                                     kLineBytes);
  return __all_sync(~0u, is_good);
}

// What stands in front of the numbers.
struct ColdHead {
  int exponent;
  uint32_t factors;
  float step;
  float ones[2];  // As of ColdRowKind.
};

// False if no encoder writes that.
__device__ __forceinline__ bool ReadHead(const ColdBatch& b, const ColdUnit& u,
                                         const ColdBytes& bytes, ColdHead& h) {
  if (bytes.bytes < kColdHeadBytes) return false;
  const auto byte = [&](uint32_t at) {
    return LoadPacket<1>(bytes.begin + at).words[0];
  };
  h.exponent = static_cast<int16_t>(byte(0) | byte(1) << 8);
  h.factors = byte(2);
  if (h.exponent < kColdExponentMin || h.exponent > kColdExponentMax ||
      h.factors > u.factors_max ||
      bytes.bytes < kColdHeadBytes + kColdFactorBytes * h.factors) {
    return false;
  }
  h.step = ColdStepAt(b, h.exponent);
#pragma unroll
  for (uint32_t q = 0; q < 2; ++q) {
    const auto shrink = static_cast<int8_t>(byte(3 + q));
    h.ones[q] = (256 - static_cast<float>(shrink)) / 256 * (q == 0 ? 1 : 0.5f);
  }
  return true;
}

__device__ __forceinline__ bool IsNorm(float norm) {
  return norm >= 0x1p-24f && norm <= 0x1p40f;
}

// Where the numbers of a row go, and what they are divided by.
struct ColdSink {
  uint32_t count;
  float* to;
  float* levels;    // Of the columns; nullptr: 0.
  bool has_levels;  // Else they are still 0.
  float step;
  float norm;  // 0: none.
};

// All that is learned is forgotten. The barrier is the caller's.
__device__ __forceinline__ void Forget(ColdNumbers& shared) {
  uint32_t* const odds = &shared.odds[0][0];
  for (uint32_t i = threadIdx.x; i < kColdSets * kColdClasses * kColdOnesPitch;
       i += 32) {
    odds[i] = kColdEvenOdds;
  }
  uint32_t* const lengths = &shared.lengths[0][0];
  for (uint32_t i = threadIdx.x; i < kColdSets * kColdLengths; i += 32) {
    lengths[i] = kColdEvenOdds;
  }
}

// One row of numbers, to device memory.
__device__ __forceinline__ void TakeRow(const ColdRowKind& kind,
                                        const ColdSink& sink, ColdBytes& bytes,
                                        ColdRow& row, ColdNumbers& shared) {
  const uint32_t lane = threadIdx.x;
  row.level = 0;
#pragma unroll 1
  for (uint32_t first = 0; first < sink.count && row.is_good;
       first += kColdTile) {
    const uint32_t count = SmallerOf(kColdTile, sink.count - first);
    for (uint32_t i = lane; i < count; i += 32) {
      shared.column_levels[i] = sink.has_levels ? sink.levels[first + i] : 0;
    }
    uint32_t done = 0;
    do {
      FillColdRing(bytes, 2 * row.reader.half, shared.ring);
      __syncwarp();
      if (lane == 0) {
        done = TakeColdNumbers(kind, bytes, done, count, row, shared);
      }
      __syncwarp();
      done = __shfl_sync(~0u, done, 0);
      row.reader.half = __shfl_sync(~0u, row.reader.half, 0);
    } while (done < count);
    row.is_good = __shfl_sync(~0u, uint32_t{row.is_good}, 0) != 0;
    if (!row.is_good) return;
    for (uint32_t i = lane; i < count; i += 32) {
      float x = shared.values[i] * sink.step;
      if (sink.norm > 0) x = x / sink.norm;
      row.is_good &= sink.norm == 0 || (x <= 2 && x >= -2);
      sink.to[first + i] = x;
      if (sink.levels != nullptr) {
        sink.levels[first + i] = shared.column_levels[i];
      }
    }
    row.is_good = __all_sync(~0u, row.is_good);
  }
}

// The rows of a unit: of each factor its channels and its frequencies; means; the
// other frequencies.
__device__ __forceinline__ bool TakeRows(const ColdBatch& b, const ColdUnit& u,
                                         const ColdHead& head, ColdBytes& bytes,
                                         ColdRow& row, ColdNumbers& shared) {
  const uint32_t means = 2 * head.factors;
#pragma unroll 1
  for (uint32_t i = 0; i < means + u.tokens && row.is_good; ++i) {
    ColdRowKind kind = {.set = 0, .is_trellis = false, .ones = {1, 1}};
    ColdSink sink = {.count = b.width,
                     .to = b.codes.scratch + u.rows,
                     .levels = b.codes.scratch + u.column_levels,
                     .has_levels = true,
                     .step = head.step,
                     .norm = 0};
    if (i == 0 || i == means || i == means + 1) {
      Forget(shared);
      row.state = 0;
    }
    if (i < means) {
      const uint32_t k = i / 2;
      const float norm = FloatOfBits(
          LoadBytes<2>(bytes.begin + kColdHeadBytes + kColdFactorBytes * k)
          << 16);
      row.is_good &= IsNorm(norm);
      sink.has_levels = k > 0;
      if (i % 2 == 0) {
        sink.to = b.codes.scratch + u.columns + uint64_t{k} * b.width;
      } else {
        kind.set = 1;
        sink.count = u.tokens - 1;
        sink.to = b.codes.scratch + u.factors + k * b.codes.unit_tokens;
        sink.levels = b.codes.scratch + u.row_levels;
        sink.norm = norm;
      }
    } else if (i == means) {
      sink.levels = nullptr;
      sink.has_levels = false;
    } else {
      kind.is_trellis = true;
      kind.ones[0] = head.ones[0];
      kind.ones[1] = head.ones[1];
      sink.to = b.codes.scratch + u.rows + uint64_t{i - means} * b.width;
      sink.has_levels = i > means + 1;
    }
    if (row.is_good) TakeRow(kind, sink, bytes, row, shared);
  }
  return row.is_good;
}

// The first warp's part: all numbers of the unit. False if no encoder writes that.
__device__ __forceinline__ bool TakeUnit(const ColdBatch& b, const ColdUnit& u,
                                         ColdNumbers& shared,
                                         uint32_t& factors) {
  ColdBytes bytes;
  ColdHead head;
  if (!FindBytes(b, bytes) || !ReadHead(b, u, bytes, head)) return false;
  const uint32_t begin =
      bytes.skew + kColdHeadBytes + kColdFactorBytes * head.factors;
  bytes.filled = begin / kLineBytes * kLineBytes;
  FillColdRing(bytes, begin, shared.ring);
  __syncwarp();
  ColdRow row = {};
  row.is_good = StartColdReader(begin, shared.ring, row.reader);
  __syncwarp();
  if (!TakeRows(b, u, head, bytes, row, shared)) return false;
  const bool is_at_end =
      row.reader.begin + row.reader.ReadBytes() == bytes.skew + bytes.bytes &&
      row.reader.window >> 32 == 0;
  factors = head.factors;
  return __shfl_sync(~0u, uint32_t{is_at_end}, 0) != 0;
}

// ---- Factors, by all threads ----

// Factors' sums are added to the rows of frequencies.
__device__ __forceinline__ void AddFactors(const ColdBatch& b,
                                           const ColdUnit& u, uint32_t factors,
                                           ColdShared& shared) {
#pragma unroll 1
  for (uint32_t f = 1; f < u.tokens; f += kColdRows) {
    const uint32_t rows = SmallerOf(kColdRows, u.tokens - f);
    FillColdTerms<ColdOrder::kRows>(
        factors, rows,
        [&](uint32_t k, uint32_t row) {
          return b.codes
              .scratch[u.factors + k * b.codes.unit_tokens + (f - 1 + row)];
        },
        shared.terms);
    __syncthreads();
    const uint32_t pairs = ColdPairsOf(b.width, 0);
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < pairs; i += kColdThreads) {
      const ColdPair pair = ColdPairOf(b.width, {}, i);
      ColdSums sums = {};
      AddColdTerms(shared.terms, factors, b.codes.scratch + u.columns, b.width,
                   pair, sums);
#pragma unroll
      for (uint32_t row = 0; row < kColdRows; ++row) {
        if (row >= rows) continue;
        float* const to =
            b.codes.scratch + u.rows + uint64_t{f + row} * b.width;
        to[pair.first] = sums.first[row] + to[pair.first];
        if (!pair.has_second) continue;
        to[pair.second] = sums.second[row] + to[pair.second];
      }
    }
    __syncthreads();
  }
}

// ---- Elements ----

// So many tokens of a head.
struct ColdPlace {
  uint32_t first_token;  // Of the plane.
  uint32_t tokens;
  uint32_t head;
};

// Puts the rotary embedding on, and stores.
template <class Element>
__device__ __forceinline__ void StoreElements(const ColdBatch& b,
                                              const ColdPlace& place,
                                              const ColdPair& pair,
                                              uint32_t index,
                                              const ColdSums& sums) {
  const Rotation& r = b.codes.rotation;
#pragma unroll
  for (uint32_t row = 0; row < kColdRows; ++row) {
    if (row >= place.tokens) continue;
    const uint32_t token = place.first_token + row;
    float x = sums.first[row];
    float y = sums.second[row];
    if (pair.is_rotated) {
      const uint64_t at = uint64_t{token} * r.pairs + index;
      const float cosine = r.cosines[at];
      const float sine = r.sines[at];
      const float rotated = x * cosine - y * sine;
      y = y * cosine + x * sine;
      x = rotated;
    }
    std::byte* const to = RowOf(b.planes, token, place.head);
    StorePacket<2>({{Element::Bits(Cut<Element>(x))}}, to + 2 * pair.first);
    if (!pair.has_second) continue;
    StorePacket<2>({{Element::Bits(Cut<Element>(y))}}, to + 2 * pair.second);
  }
}

// The transform back: elements, or components, of kColdRows tokens at a time.
template <class Element>
__device__ __forceinline__ void RestoreTokens(const ColdBatch& b,
                                              const ColdUnit& u,
                                              ColdShared& shared) {
  const uint32_t circle = 4 * u.tokens;
  for (uint32_t i = threadIdx.x; i <= circle; i += kColdThreads) {
    shared.terms.cosines[i] = ColdTableOf(b)[u.cosines + i];
  }
  __syncthreads();
  const uint32_t pairs = ColdPairsOf(b.planes.dim, b.codes.rotation.pairs);
#pragma unroll 1
  for (uint32_t t = 0; t < u.tokens; t += kColdRows) {
    const uint32_t tokens = SmallerOf(kColdRows, u.tokens - t);
    FillColdTerms<ColdOrder::kRows>(
        u.tokens, tokens,
        [&](uint32_t f, uint32_t row) {
          const uint32_t steps = (2 * (t + row) + 1) * f % circle;
          return shared.terms.cosines[f == 0 ? circle : steps];
        },
        shared.terms);
    __syncthreads();
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < b.planes.heads * pairs;
         i += kColdThreads) {
      const uint32_t head = i / pairs;
      const uint32_t index = i % pairs;
      const ColdPair pair = ColdPairOf(b.planes.dim, b.codes.rotation, index);
      ColdSums sums = {};
      AddColdTerms(shared.terms, u.tokens,
                   b.codes.scratch + u.rows + head * b.planes.dim, b.width,
                   pair, sums);
      if (!b.codes.is_weighted) {
        StoreElements<Element>(b, {u.first_token + t, tokens, head}, pair,
                               index, sums);
        continue;
      }
#pragma unroll
      for (uint32_t row = 0; row < kColdRows; ++row) {
        if (row >= tokens) continue;
        float* const to = b.codes.scratch + u.components +
                          uint64_t{t + row} * b.width + head * b.planes.dim;
        to[pair.first] = sums.first[row];
        if (pair.has_second) to[pair.second] = sums.second[row];
      }
    }
    __syncthreads();
  }
}

// Elements of kColdRows tokens of a head, from components. All threads are here.
template <class Element>
__device__ __forceinline__ void TurnHead(const ColdBatch& b, const ColdUnit& u,
                                         uint32_t t, uint32_t head,
                                         ColdShared& shared) {
  const uint32_t dim = b.planes.dim;
  const uint32_t pairs = ColdPairsOf(dim, b.codes.rotation.pairs);
  const uint32_t tokens = SmallerOf(kColdRows, u.tokens - t);
  const float* const means = ColdTableOf(b) + kColdMeansAt + head * dim;
  const float* const basis =
      ColdTableOf(b) + kColdMeansAt + b.width + uint64_t{head} * dim * dim;
#pragma unroll 1
  for (uint32_t first = 0; first < pairs; first += kColdThreads) {
    const uint32_t index = first + threadIdx.x;
    const bool has_pair = index < pairs;
    const ColdPair pair =
        ColdPairOf(dim, b.codes.rotation, has_pair ? index : first);
    ColdSums sums = {};
#pragma unroll 1
    for (uint32_t begin = 0; begin < dim; begin += kColdTerms) {
      const uint32_t count = SmallerOf(kColdTerms, dim - begin);
      FillColdTerms<ColdOrder::kTerms>(
          count, tokens,
          [&](uint32_t i, uint32_t row) {
            return b.codes.scratch[u.components + uint64_t{t + row} * b.width +
                                   head * dim + begin + i];
          },
          shared.terms);
      __syncthreads();
      if (has_pair) {
        AddColdTerms(shared.terms, count, basis + uint64_t{begin} * dim, dim,
                     pair, sums);
      }
      __syncthreads();
    }
    if (!has_pair) continue;
#pragma unroll
    for (uint32_t row = 0; row < kColdRows; ++row) {
      sums.first[row] += means[pair.first];
      if (pair.has_second) sums.second[row] += means[pair.second];
    }
    StoreElements<Element>(b, {u.first_token + t, tokens, head}, pair, index,
                           sums);
  }
}

// blockIdx.x: a unit; blockIdx.y: the plane.
template <class Element>
__global__ void __launch_bounds__(kColdThreads, kBlocksMin)
    DecodeColdPlanes(const __grid_constant__ ColdBatch b) {
  BANYAN_SHARED(ColdShared, all_shared, [1]);
  ColdShared& shared = all_shared[0];
  const ColdUnit& u = shared.unit;
  if (threadIdx.x < 32) {
    if (threadIdx.x == 0) shared.unit = UnitOf(b);
    __syncwarp();
    uint32_t factors = 0;
    const bool is_good = TakeUnit(b, u, shared.numbers, factors);
    if (threadIdx.x == 0) {
      shared.factors = factors;
      shared.is_good = is_good;
      if (!is_good) SetVerdict(b.planes, kVerdictBadCode);
    }
  }
  __syncthreads();
  if (shared.is_good == 0) return;
  if (shared.factors > 0) AddFactors(b, u, shared.factors, shared);
  RestoreTokens<Element>(b, u, shared);
  if (!b.codes.is_weighted) return;
#pragma unroll 1
  for (uint32_t t = 0; t < u.tokens; t += kColdRows) {
#pragma unroll 1
    for (uint32_t head = 0; head < b.planes.heads; ++head) {
      TurnHead<Element>(b, u, t, head, shared);
    }
  }
}

}  // namespace

int LaunchColdDecode(const PlaneBatch& batch, const ColdCodes& codes,
                     void* stream) {
  const ColdBatch b = ColdBatchOf(batch, codes);
  const cudaLaunchConfig_t config =
      ConfigOf(batch, b.units, kColdThreads, 0, stream);
  const auto kernel =
      batch.is_bf16 ? DecodeColdPlanes<Bf16> : DecodeColdPlanes<Fp16>;
  return cudaLaunchKernelEx(&config, kernel, b);
}

}  // namespace banyan::codec
