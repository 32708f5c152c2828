// The kernels that encode cold planes, and their launcher. A block of threads has a
// unit: its elements are transformed, factors found, a first step chosen; then it
// is coded as often as it takes to find the step that fits. At last units are moved
// to where the ones before end.
// Format: docs/formats/codec_cold.md. The host's way is cold_unit.cc.
#include <cuda_runtime.h>

#include "kernels/codec/cold_coder.cuh"
#include "kernels/codec/cold_encode.cuh"
#include "kernels/codec/cold_plan.cuh"

namespace banyan::codec {
namespace {

constexpr float kElementMax = 65504;

// ---- Elements ----

struct TransformShared {
  ColdEncodeUnit unit;
  ColdTerms terms;
  uint32_t fit_warps[kColdThreads / 32];
};

// Elements less means, without their rotary embedding. False if some are unfit.
template <class Element>
__device__ __forceinline__ bool LoadUnit(const ColdBatch& b,
                                         const ColdEncodeUnit& u, float* to) {
  const Rotation& r = b.codes.rotation;
  const uint32_t dim = b.planes.dim;
  const uint32_t pairs = ColdPairsOf(dim, r.pairs);
  const uint32_t of_token = b.planes.heads * pairs;
  const float* const means = ColdTableOf(b) + kColdMeansAt;
  bool is_fit = true;
#pragma unroll 1
  for (uint32_t i = threadIdx.x; i < u.tokens * of_token; i += kColdThreads) {
    const uint32_t token = i / of_token;
    const uint32_t head = i % of_token / pairs;
    const uint32_t index = i % pairs;
    const ColdPair pair = ColdPairOf(dim, r, index);
    const std::byte* const from = RowOf(b.planes, u.first_token + token, head);
    float x = Element::Value(LoadPacket<2>(from + 2 * pair.first).words[0]);
    float y =
        pair.has_second
            ? Element::Value(LoadPacket<2>(from + 2 * pair.second).words[0])
            : 0;
    if (pair.is_rotated) {
      const uint64_t at = uint64_t{u.first_token + token} * r.pairs + index;
      const float cosine = r.cosines[at];
      const float sine = r.sines[at];
      const float rotated = x * cosine - y * sine;
      y = y * cosine + x * sine;
      x = rotated;
    }
    is_fit &= fabsf(x) <= kElementMax && fabsf(y) <= kElementMax;
    const uint32_t channel = head * dim;
    float* const row = to + uint64_t{token} * b.width + channel;
    const bool is_weighted = b.codes.is_weighted;
    row[pair.first] = is_weighted ? x - means[channel + pair.first] : x;
    if (!pair.has_second) continue;
    row[pair.second] = is_weighted ? y - means[channel + pair.second] : y;
  }
  return is_fit;
}

// Components of what LoadUnit left among the coefficients.
__device__ __forceinline__ bool TurnUnit(const ColdBatch& b,
                                         const ColdEncodeUnit& u,
                                         ColdTerms& terms) {
  const uint32_t dim = b.planes.dim;
  const float* const inverses =
      ColdTableOf(b) + kColdMeansAt + b.width + uint64_t{b.width} * dim;
#pragma unroll 1
  for (uint32_t head = 0; head < b.planes.heads; ++head) {
    const float* const rows = FloatsAt(b, u.coefficients) + head * dim;
    SumLongColdRows<ColdOrder::kTerms>(
        {.rows = u.tokens,
         .count = dim,
         .from = inverses + uint64_t{head} * dim * dim,
         .from_stride = dim,
         .width = dim,
         .to = FloatsAt(b, u.elements) + head * dim,
         .to_stride = b.width},
        [&](uint32_t i, uint32_t row) {
          return rows[uint64_t{row} * b.width + i];
        },
        terms);
  }
  __syncthreads();
  bool is_fit = true;
#pragma unroll 1
  for (uint32_t i = threadIdx.x; i < u.tokens * b.width; i += kColdThreads) {
    is_fit &= fabsf(FloatsAt(b, u.elements)[i]) <= kElementMax;
  }
  return is_fit;
}

// blockIdx.x: a unit; blockIdx.y: the plane; so for all but the last kernel.
template <class Element>
__global__ void __launch_bounds__(kColdThreads, 16)
    TransformColdUnits(const __grid_constant__ ColdBatch b) {
  BANYAN_SHARED(TransformShared, all_shared, [1]);
  TransformShared& s = all_shared[0];
  const ColdEncodeUnit& u = s.unit;
  if (threadIdx.x == 0) s.unit = EncodeUnitOf(b);
  __syncthreads();
  const uint32_t circle = 4 * u.tokens;
  for (uint32_t i = threadIdx.x; i <= circle; i += kColdThreads) {
    s.terms.cosines[i] = ColdTableOf(b)[u.cosines + i];
  }
  const bool is_weighted = b.codes.is_weighted;
  bool is_fit = LoadUnit<Element>(
      b, u,
      is_weighted ? FloatsAt(b, u.coefficients) : FloatsAt(b, u.elements));
  __syncthreads();
  if (is_weighted) is_fit &= TurnUnit(b, u, s.terms);
  const bool is_warp_fit = __all_sync(~0u, is_fit) != 0;
  if (threadIdx.x % 32 == 0) s.fit_warps[threadIdx.x / 32] = is_warp_fit;
  __syncthreads();
  if (threadIdx.x == 0) {
    const uint32_t is_unit_fit = s.fit_warps[0] & s.fit_warps[1];
    StateOf(b, u)->is_fit = is_unit_fit;
    if (is_unit_fit == 0) SetVerdict(b.planes, kVerdictUnfitValue);
  }
  SumColdRows<ColdOrder::kRows>(
      {.rows = u.tokens,
       .count = u.tokens,
       .from = FloatsAt(b, u.elements),
       .from_stride = b.width,
       .width = b.width,
       .to = FloatsAt(b, u.coefficients),
       .to_stride = b.width},
      [&](uint32_t t, uint32_t f) {
        return s.terms.cosines[f == 0 ? circle : (2 * t + 1) * f % circle];
      },
      s.terms);
}

// ---- Factors ----

constexpr int kIterations = 6;
constexpr float kIndependentMin = 0x1p-12f;

// Products of so many rows with as many, of as many channels at a time.
constexpr uint32_t kProductTile = 32;
struct ProductTiles {
  float rows[2][kProductTile][kProductTile + 1];
};

struct FactorShared {
  ColdEncodeUnit unit;
  union {
    ProductTiles tiles;
    ColdTerms terms;
    float row[kColdUnitTokensMax];  // By the first warp.
  };
  uint32_t count;
};

// A lane's part of rows of frequencies, which are padded by zeros.
constexpr uint32_t kParts = kColdUnitTokensMax / 32;

// Products of all rows of frequencies with each other.
__device__ __forceinline__ void FillProducts(const ColdBatch& b,
                                             const ColdEncodeUnit& u,
                                             ProductTiles& tiles) {
  constexpr uint32_t kThreadRows = 4;
  constexpr uint32_t kThreadColumns = 4;
  constexpr uint32_t kColumnStep = kProductTile / kThreadColumns;
  static_assert(kColdThreads == kProductTile / kThreadRows * kColumnStep);
  const float* const matrix = FloatsAt(b, u.coefficients) + b.width;
  const uint32_t row = threadIdx.x / kColumnStep * kThreadRows;
  const uint32_t column = threadIdx.x % kColumnStep;
  const uint32_t edge = (u.freqs + kProductTile - 1) / kProductTile;
#pragma unroll 1
  for (uint32_t tile = 0; tile < edge * edge; ++tile) {
    const uint32_t begins[2] = {tile / edge * kProductTile,
                                tile % edge * kProductTile};
    float sums[kThreadRows][kThreadColumns] = {};
#pragma unroll 1
    for (uint32_t c = 0; c < b.width; c += kProductTile) {
      const uint32_t count = SmallerOf(kProductTile, b.width - c);
#pragma unroll 1
      for (uint32_t at = threadIdx.x; at < 2 * kProductTile * kProductTile;
           at += kColdThreads) {
        const uint32_t which = at / (kProductTile * kProductTile);
        const uint32_t i = at / kProductTile % kProductTile;
        const uint32_t j = at % kProductTile;
        const uint32_t f = (which == 0 ? begins[0] : begins[1]) + i;
        tiles.rows[which][i][j] = f < u.freqs && j < count
                                      ? matrix[uint64_t{f} * b.width + c + j]
                                      : 0;
      }
      __syncthreads();
#pragma unroll 1
      for (uint32_t j = 0; j < count; ++j) {
#pragma unroll
        for (uint32_t x = 0; x < kThreadRows; ++x) {
          const float factor = tiles.rows[0][row + x][j];
#pragma unroll
          for (uint32_t y = 0; y < kThreadColumns; ++y) {
            sums[x][y] += factor * tiles.rows[1][column + y * kColumnStep][j];
          }
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (uint32_t x = 0; x < kThreadRows; ++x) {
#pragma unroll
      for (uint32_t y = 0; y < kThreadColumns; ++y) {
        const uint32_t i = begins[0] + row + x;
        const uint32_t j = begins[1] + column + y * kColumnStep;
        if (i < u.freqs && j < u.freqs)
          FloatsAt(b, u.products)[i * u.pitch + j] = sums[x][y];
      }
    }
  }
}

__device__ __forceinline__ void LoadRow(const float* from, uint32_t count,
                                        float (&parts)[kParts]) {
#pragma unroll
  for (uint32_t m = 0; m < kParts; ++m) {
    const uint32_t i = threadIdx.x + 32 * m;
    parts[m] = i < count ? from[i] : 0;
  }
}
__device__ __forceinline__ void StoreRow(const float (&parts)[kParts],
                                         uint32_t count, float* to) {
#pragma unroll
  for (uint32_t m = 0; m < kParts; ++m) {
    const uint32_t i = threadIdx.x + 32 * m;
    if (i < count) to[i] = parts[m];
  }
}

// The product of two rows, as DotProduct has it, by the first warp.
__device__ __forceinline__ float DotOf(const float (&a)[kParts],
                                       const float (&b)[kParts],
                                       float (&row)[kColdUnitTokensMax]) {
#pragma unroll
  for (uint32_t m = 0; m < kParts; ++m) {
    row[threadIdx.x + 32 * m] = a[m] * b[m];
  }
  __syncwarp();
  float sum = 0;
#pragma unroll
  for (uint32_t i = 0; i < kColdUnitTokensMax; i += 8) {
    sum += row[i + threadIdx.x % 8];
  }
  __syncwarp();
  return SumColdEights(sum);
}

// Whether more than `rank` directions matter; by the first warp.
__device__ __forceinline__ bool IsSpread(const ColdBatch& b,
                                         const ColdEncodeUnit& u,
                                         FactorShared& s) {
  double trace = 0;
  double squares = 0;
#pragma unroll 1
  for (uint32_t f = 0; f < u.freqs; ++f) {
    float parts[kParts];
    LoadRow(FloatsAt(b, u.products) + f * u.pitch, u.freqs, parts);
    StoreRow(parts, u.freqs, s.row);
    __syncwarp();
    if (threadIdx.x == 0) {
      trace += s.row[f];
#pragma unroll 1
      for (uint32_t i = 0; i < u.freqs; ++i) {
        const double x = s.row[i];
        squares += x * x;
      }
    }
    __syncwarp();
  }
  const bool is_spread = !(trace * trace <= u.factors_max * squares);
  return __shfl_sync(~0u, uint32_t{is_spread}, 0) != 0;
}

// Rows, made orthonormal in their order; those that add nothing left out. Returns
// how many are left; by the first warp, each lane of which keeps its parts.
__device__ __forceinline__ uint32_t MakeOrthonormal(const ColdEncodeUnit& u,
                                                    uint32_t count,
                                                    float* basis,
                                                    FactorShared& s) {
  uint32_t kept = 0;
#pragma unroll 1
  for (uint32_t k = 0; k < count; ++k) {
    float mine[kParts];
    LoadRow(basis + k * u.pitch, u.freqs, mine);
    const float before = __fsqrt_rn(DotOf(mine, mine, s.row));
#pragma unroll 1
    for (uint32_t j = 0; j < kept; ++j) {
      float other[kParts];
      LoadRow(basis + j * u.pitch, u.freqs, other);
      const float factor = -DotOf(mine, other, s.row);
#pragma unroll
      for (uint32_t m = 0; m < kParts; ++m) mine[m] += factor * other[m];
    }
    const float length = __fsqrt_rn(DotOf(mine, mine, s.row));
    if (!(length > before * kIndependentMin)) continue;
    const float inverse = 1 / length;
#pragma unroll
    for (uint32_t m = 0; m < kParts; ++m) mine[m] *= inverse;
    StoreRow(mine, u.freqs, basis + kept * u.pitch);
    ++kept;
  }
  return kept;
}

// Returns how many rows there are.
__device__ __forceinline__ uint32_t FindBasis(const ColdBatch& b,
                                              FactorShared& s) {
  const ColdEncodeUnit& u = s.unit;
  if (threadIdx.x < 32) {
    const uint32_t most = IsSpread(b, u, s) ? 0 : u.factors_max;
    if (threadIdx.x == 0) s.count = most;
  }
  __syncthreads();
  // Odd rounds begin with the one, even rounds with the other.
  static_assert(kIterations % 2 == 0);
  float* from = FloatsAt(b, u.basis);
  float* to = FloatsAt(b, u.other_basis);
#pragma unroll 1
  for (int round = 0; round < kIterations; ++round) {
    const uint32_t count = s.count;
    if (round == 0) {
#pragma unroll 1
      for (uint32_t i = threadIdx.x; i < count * u.freqs; i += kColdThreads) {
        const uint32_t at = i / u.freqs * u.pitch + i % u.freqs;
        to[at] = FloatsAt(b, u.products)[at];
      }
    } else {
      SumColdRows<ColdOrder::kTerms>(
          {.rows = count,
           .count = u.freqs,
           .from = FloatsAt(b, u.products),
           .from_stride = u.pitch,
           .width = u.freqs,
           .to = to,
           .to_stride = u.pitch},
          [&](uint32_t i, uint32_t row) { return from[row * u.pitch + i]; },
          s.terms);
    }
    __syncthreads();
    if (threadIdx.x < 32) {
      const uint32_t left = MakeOrthonormal(u, count, to, s);
      if (threadIdx.x == 0) s.count = left;
    }
    __syncthreads();
    float* const next = from;
    from = to;
    to = next;
  }
  return s.count;
}

__global__ void __launch_bounds__(kColdThreads, 16)
    FindColdFactors(const __grid_constant__ ColdBatch b) {
  BANYAN_SHARED(FactorShared, all_shared, [1]);
  FactorShared& s = all_shared[0];
  const ColdEncodeUnit& u = s.unit;
  if (threadIdx.x == 0) s.unit = EncodeUnitOf(b);
  __syncthreads();
  if (u.factors_max == 0 || StateOf(b, u)->is_fit == 0) return;
  FillProducts(b, u, s.tiles);
  __syncthreads();
  const uint32_t count = FindBasis(b, s);
  SumColdRows<ColdOrder::kTerms>(
      {.rows = count,
       .count = u.freqs,
       .from = FloatsAt(b, u.coefficients) + b.width,
       .from_stride = b.width,
       .width = b.width,
       .to = FloatsAt(b, u.columns),
       .to_stride = b.width},
      [&](uint32_t i, uint32_t row) {
        return FloatsAt(b, u.basis)[row * u.pitch + i];
      },
      s.terms);
  __syncthreads();
#pragma unroll 1
  for (uint32_t first = 0; first < u.factors_max; first += kColdThreads / 8) {
    const uint32_t k = first + threadIdx.x / 8;
    const float length =
        __fsqrt_rn(ColdSquares(FloatsAt(b, u.columns) + uint64_t{k} * b.width,
                               k < count ? b.width : 0));
    const float norm = FloatOfBits(BitsOfFloat(length) & 0xFFFF0000);
    if (k < u.factors_max && threadIdx.x % 8 == 0) {
      FloatsAt(b, u.norms)[k] = norm >= 0x1p-24f ? norm : 0;
    }
  }
}

// ---- The first step ----

__global__ void __launch_bounds__(kColdThreads, 16)
    PlanColdUnits(const __grid_constant__ ColdBatch b) {
  BANYAN_SHARED(ColdPlanShared, all_shared, [1]);
  ColdPlanShared& s = all_shared[0];
  if (threadIdx.x == 0) s.unit = EncodeUnitOf(b);
  __syncthreads();
  if (StateOf(b, s.unit)->is_fit == 0) return;
  FillColdSquares(b, s);
  uint32_t rank = 0;
  int exponent = ColdStepFor(b, rank, s);
#pragma unroll 1
  for (int round = 0; round < 2; ++round) {
    rank = BestColdRank(b, ColdStepAt(b, exponent), s);
    exponent = ColdStepFor(b, rank, s);
  }
  if (threadIdx.x == 0) {
    StateOf(b, s.unit)->rank = rank;
    StateOf(b, s.unit)->exponent = exponent;
  }
}

// ---- Numbers ----

constexpr uint32_t kTile = kColdPutTile;
constexpr float kNumberEnd = 0x1p23f;

// About what the exponent must change by for each byte of an element.
constexpr uint64_t kExponentsOfByte = 384;
constexpr int kGuesses = 8;

// The sizes of all that a quantizer made a 1.
struct ColdMean {
  double sum;
  uint32_t count;
};

// A search for the step.
struct Search {
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

struct FitShared {
  ColdEncodeUnit unit;
  union {
    ColdCoder coder;
    ColdTerms terms;
  };
  ColdBytesOut out;
  ColdWriter writer;  // Between factors and the rest.
  ColdMean ones[2];
  Search search;
  uint32_t bytes;
  uint32_t is_good;
};

// A row of numbers that are rounded one by one.
struct PlainRow {
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
__device__ __forceinline__ bool PutPlainRow(const PlainRow& row, ColdWriter& w,
                                            FitShared& s) {
  const uint32_t lane = threadIdx.x;
  ColdPutRow put = {
      .set = row.set, .is_trellis = false, .level = 0, .state = 0};
#pragma unroll 1
  for (uint32_t first = 0; first < row.count; first += kTile) {
    const uint32_t count = SmallerOf(kTile, row.count - first);
    bool is_good = true;
#pragma unroll 1
    for (uint32_t i = lane; i < count; i += 32) {
      const float x = row.from[first + i] * row.scale;
      const float steps = ColdStepsOf(x, s.search.inverse);
      const bool is_small = steps < kNumberEnd;
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

__device__ __forceinline__ bool PutFactors(const ColdBatch& b, ColdWriter& w,
                                           FitShared& s) {
  const ColdEncodeUnit& u = s.unit;
  ForgetCold(s.coder);
#pragma unroll 1
  for (uint32_t i = 0; i < 2 * s.search.rank; ++i) {
    const uint32_t k = i / 2;
    const bool is_column = i % 2 == 0;
    const uint64_t column = uint64_t{k} * b.width;
    const uint32_t of_row = k * u.pitch;
    const float norm = FloatsAt(b, u.norms)[k];
    const PlainRow row = {.from = is_column ? FloatsAt(b, u.columns) + column
                                            : FloatsAt(b, u.basis) + of_row,
                          .scale = is_column ? 1 : norm,
                          .count = is_column ? b.width : u.freqs,
                          .set = is_column ? 0u : 1u,
                          .levels = is_column ? FloatsAt(b, u.column_levels)
                                              : FloatsAt(b, u.row_levels),
                          .has_levels = k > 0,
                          .to = is_column
                                    ? FloatsAt(b, u.coded_columns) + column
                                    : FloatsAt(b, u.coded_rows) + of_row,
                          .norm = is_column ? 0 : norm};
    if (!PutPlainRow(row, w, s)) return false;
  }
  return true;
}

// A row of what factors leave.
struct RestRow {
  const float* from;
  float* levels;
  bool has_levels;
};

// The tile that begins there: sizes, and levels of columns. False if one is too
// large.
__device__ __forceinline__ bool LoadTile(const RestRow& row, uint32_t first,
                                         uint32_t count, FitShared& s) {
  bool is_good = true;
#pragma unroll 1
  for (uint32_t i = threadIdx.x; i < count; i += 32) {
    const float size = fabsf(row.from[first + i]) * s.search.inverse;
    is_good &= size < kNumberEnd - 1;
    s.coder.sizes[i] = size;
    s.coder.column_levels[i] = row.has_levels ? row.levels[first + i] : 0;
  }
  is_good = __all_sync(~0u, is_good) != 0;
  __syncwarp();
  return is_good;
}

// Sets `state`, in which the row begins, to that in which its best path ends, and
// traces. False if some number is too large.
__device__ __forceinline__ bool SearchRow(const ColdBatch& b,
                                          const RestRow& row, uint32_t& state,
                                          FitShared& s) {
  auto* const traces = reinterpret_cast<uint8_t*>(FloatsAt(b, s.unit.traces));
  ColdPaths paths = ColdPathsFrom(state);
#pragma unroll 1
  for (uint32_t first = 0; first < b.width; first += kTile) {
    const uint32_t count = SmallerOf(kTile, b.width - first);
    if (!LoadTile(row, first, count, s)) return false;
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
__device__ __forceinline__ void FollowRow(const ColdBatch& b,
                                          const RestRow& row, uint32_t state,
                                          FitShared& s) {
  const auto* const traces =
      reinterpret_cast<const uint8_t*>(FloatsAt(b, s.unit.traces));
  auto* const numbers =
      reinterpret_cast<uint32_t*>(FloatsAt(b, s.unit.numbers));
#pragma unroll 1
  for (uint32_t end = b.width; end > 0;) {
    const uint32_t first = (end - 1) / kTile * kTile;
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
__device__ __forceinline__ void PutRow(const ColdBatch& b, const RestRow& row,
                                       uint32_t& state, ColdWriter& w,
                                       FitShared& s) {
  const auto* const numbers =
      reinterpret_cast<const uint32_t*>(FloatsAt(b, s.unit.numbers));
  ColdPutRow put = {.set = 0, .is_trellis = true, .level = 0, .state = state};
#pragma unroll 1
  for (uint32_t first = 0; first < b.width; first += kTile) {
    const uint32_t count = SmallerOf(kTile, b.width - first);
    LoadTile(row, first, count, s);
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

__device__ __forceinline__ bool PutRest(const ColdBatch& b, ColdWriter& w,
                                        FitShared& s) {
  const ColdEncodeUnit& u = s.unit;
  ForgetCold(s.coder);
  const PlainRow means = {.from = FloatsAt(b, u.coefficients),
                          .scale = 1,
                          .count = b.width,
                          .set = 0,
                          .levels = nullptr,
                          .has_levels = false,
                          .to = nullptr,
                          .norm = 0};
  if (!PutPlainRow(means, w, s)) return false;
  ForgetCold(s.coder);
  FillBitsOfColdOdds(s.coder);
  if (threadIdx.x < 2) s.ones[threadIdx.x] = {};
  __syncwarp();
  uint32_t state = 0;
#pragma unroll 1
  for (uint32_t f = 0; f < u.freqs; ++f) {
    const RestRow row = {
        .from = FloatsAt(b, u.elements) + uint64_t{f + 1} * b.width,
        .levels = FloatsAt(b, u.column_levels),
        .has_levels = f > 0};
    FillColdCosts(s.coder);
    uint32_t last = state;
    if (!SearchRow(b, row, last, s)) return false;
    FollowRow(b, row, last, s);
    PutRow(b, row, state, w, s);
  }
  return true;
}

// How much nearer to zero than the level ones are, in 256ths of it.
__device__ __forceinline__ uint32_t ShrinkOf(const ColdMean& ones,
                                             double level) {
  if (ones.count == 0) return 0;
  const double mean = ones.sum / static_cast<double>(ones.count) / level;
  const double shrink = floor((1 - mean) * 256 + 0.5);
  const double at_least = shrink < -128 ? -128 : shrink;
  return static_cast<uint32_t>(
             static_cast<int>(at_least > 127 ? 127 : at_least)) &
         0xFF;
}

__device__ __forceinline__ void PutHead(const ColdBatch& b, std::byte* to,
                                        const FitShared& s) {
  StoreBytes<2>(static_cast<uint32_t>(s.search.exponent) & 0xFFFF, to);
  StorePacket<1>({{s.search.rank}}, to + 2);
  StorePacket<1>({{ShrinkOf(s.ones[0], 1)}}, to + 3);
  StorePacket<1>({{ShrinkOf(s.ones[1], 0.5)}}, to + 4);
#pragma unroll 1
  for (uint32_t k = 0; k < s.search.rank; ++k) {
    StoreBytes<2>(BitsOfFloat(FloatsAt(b, s.unit.norms)[k]) >> 16,
                  to + kColdHeadBytes + kColdFactorBytes * k);
  }
}

// Sets the bytes, which may be more than fit; 0 if there is no such code. All
// threads are here.
__device__ __forceinline__ void TryEncode(const ColdBatch& b, FitShared& s) {
  const ColdEncodeUnit& u = s.unit;
  const uint32_t head_bytes = kColdHeadBytes + kColdFactorBytes * s.search.rank;
  if (threadIdx.x < 32) {
    ColdWriter w = StartColdBytes(ColdSlotOf(b, blockIdx.x) + head_bytes,
                                  u.bytes - head_bytes, s.out);
    const bool is_good = PutFactors(b, w, s);
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
  if (!PutRest(b, w, s)) return;
  if (threadIdx.x == 0) {
    for (int i = 0; i < 4; ++i) PutColdByte(w, s.out);
    PutHead(b, ColdSlotOf(b, blockIdx.x), s);
    s.bytes = head_bytes + w.written;
  }
  __syncwarp();
  w.written = __shfl_sync(~0u, w.written, 0);
  StoreColdBytes(true, w, s.out);
}

// What to try next, to about the least step that fits: by how much a try was too
// long, or too short, says where. By one thread.
__device__ __forceinline__ void ChooseStep(const ColdBatch& b, FitShared& s) {
  Search& search = s.search;
  if (search.fitting - search.below <= 1) {
    search.is_last = true;
    search.exponent = search.fitting;
    if (search.fitting == kColdExponentMax) search.rank = 0;
  } else {
    int exponent = search.exponent;
    if (search.tries >= kGuesses) {
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
__device__ __forceinline__ void Learn(const ColdBatch& b, FitShared& s) {
  Search& search = s.search;
  search.is_done = search.is_last;
  if (search.is_last) return;
  const bool fits = s.bytes > 0 && s.bytes <= s.unit.bytes;
  (fits ? search.fitting : search.below) = search.exponent;
  if (s.bytes == 0) {  // Numbers that are far too large.
    search.exponent += 4 * static_cast<int>(kColdOctaveSteps);
    return;
  }
  const uint64_t off = fits ? s.unit.bytes - s.bytes : s.bytes - s.unit.bytes;
  const auto by = static_cast<int>(off * kExponentsOfByte /
                                   (uint64_t{s.unit.tokens} * b.width));
  search.exponent += fits ? -by : 1 + by;
  search.is_done = fits && (by == 0 || search.fitting - search.below <= 1);
}

__global__ void __launch_bounds__(kColdThreads, 16)
    FitColdUnits(const __grid_constant__ ColdBatch b) {
  BANYAN_SHARED(FitShared, all_shared, [1]);
  FitShared& s = all_shared[0];
  if (threadIdx.x == 0) s.unit = EncodeUnitOf(b);
  __syncthreads();
  if (threadIdx.x == 0) {
    const ColdState& state = *StateOf(b, s.unit);
    const bool is_fit = state.is_fit != 0;
    s.bytes = 0;
    s.search = {.rank = is_fit ? state.rank : 0,
                .exponent = is_fit ? state.exponent : 0,
                .below = kColdExponentMin - 1,
                .fitting = kColdExponentMax,
                .is_done = !is_fit};
  }
  __syncthreads();
#pragma unroll 1
  while (!s.search.is_done) {
    __syncthreads();
    if (threadIdx.x == 0) ChooseStep(b, s);
    __syncthreads();
    TryEncode(b, s);
    __syncthreads();
    if (threadIdx.x == 0) Learn(b, s);
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    StoreBytes<4>(s.bytes, ColdPlaneOf(b) + kColdSizeBytes * blockIdx.x);
  }
}

// ---- Places ----

constexpr uint32_t kMovedBytes = 2048;

// Stores bytes that are in shared memory, by words of device memory.
__device__ __forceinline__ void StoreMoved(const std::byte* from,
                                           uint32_t bytes, std::byte* to) {
  const auto skew =
      static_cast<uint32_t>(reinterpret_cast<uintptr_t>(to) % kLineBytes);
  const uint32_t end = skew + bytes;
#pragma unroll 1
  for (uint32_t at = 4 * threadIdx.x; at < end; at += 4 * kColdThreads) {
    std::byte* const word = to + (int64_t{at} - skew);
    if (at >= skew && at + 4 <= end) {
      StorePacket<4>({{LoadBytes<4>(from + (at - skew))}}, word);
      continue;
    }
    for (uint32_t i = 0; i < 4; ++i) {
      if (at + i < skew || at + i >= end) continue;
      StorePacket<1>(LoadPacket<1>(from + (at + i - skew)), word + i);
    }
  }
}

// Moves the units of a plane to where they belong. blockIdx.y: the plane.
__global__ void __launch_bounds__(kColdThreads, 16)
    PlaceColdUnits(const __grid_constant__ ColdBatch b) {
  BANYAN_SHARED(uint32_t, area, [kMovedBytes / 4 + 1]);
  std::byte* const plane = ColdPlaneOf(b);
  std::byte* to = plane + kColdSizeBytes * b.units;
#pragma unroll 1
  for (uint32_t unit = 0; unit < b.units; ++unit) {
    const uint32_t bytes = LoadBytes<4>(plane + kColdSizeBytes * unit);
    const std::byte* const from = ColdSlotOf(b, unit);
    const uint32_t moved = from == to ? 0 : bytes;
#pragma unroll 1
    for (uint32_t at = 0; at < moved; at += kMovedBytes) {
      const uint32_t count = SmallerOf(kMovedBytes, moved - at);
      std::byte* const staged =
          StagedFor(from + at, reinterpret_cast<std::byte*>(area));
      LoadStaged(from + at, count, staged, threadIdx.x, kColdThreads);
      __syncthreads();
      StoreMoved(staged, count, to + at);
      __syncthreads();
    }
    to += bytes;
  }
  if (threadIdx.x == 0) {
    b.codes.sizes[blockIdx.y] = static_cast<uint64_t>(to - plane);
  }
}

}  // namespace

int LaunchColdEncode(const PlaneBatch& batch, const ColdCodes& codes,
                     void* stream) {
  const ColdBatch b = ColdBatchOf(batch, codes);
  const auto launch = [&](auto* kernel, uint64_t blocks) {
    const cudaLaunchConfig_t config =
        ConfigOf(batch, blocks, kColdThreads, 0, stream);
    return cudaLaunchKernelEx(&config, kernel, b);
  };
  cudaError_t error = launch(
      batch.is_bf16 ? TransformColdUnits<Bf16> : TransformColdUnits<Fp16>,
      b.units);
  if (error == cudaSuccess) error = launch(FindColdFactors, b.units);
  if (error == cudaSuccess) error = launch(PlanColdUnits, b.units);
  if (error == cudaSuccess) error = launch(FitColdUnits, b.units);
  if (error == cudaSuccess) error = launch(PlaceColdUnits, 1);
  return error;
}

}  // namespace banyan::codec
