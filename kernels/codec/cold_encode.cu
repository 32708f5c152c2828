// The kernels that encode cold planes, and their launcher. A block of threads has a
// unit: its elements are transformed, factors found, a first step chosen; then it
// is coded as often as it takes to find the step that fits. At last units are moved
// to where the ones before end.
// Format: docs/formats/codec_cold.md. The host's way is cold_unit.cc.
#include <cuda_runtime.h>

#include "kernels/codec/cold_elements.cuh"
#include "kernels/codec/cold_encode.cuh"
#include "kernels/codec/cold_factors.cuh"
#include "kernels/codec/cold_fit.cuh"
#include "kernels/codec/cold_plan.cuh"

namespace banyan::codec {
namespace {

// blockIdx.x: a unit; blockIdx.y: the plane; so for all but the last kernel.
template <class Element>
__global__ void __launch_bounds__(kColdThreads, 16)
    TransformColdUnits(const __grid_constant__ ColdBatch b) {
  BANYAN_SHARED(ColdElementsShared, all_shared, [1]);
  ColdElementsShared& s = all_shared[0];
  const ColdEncodeUnit& u = s.unit;
  if (threadIdx.x == 0) s.unit = EncodeUnitOf(b);
  __syncthreads();
  const uint32_t circle = 4 * u.tokens;
  for (uint32_t i = threadIdx.x; i <= circle; i += kColdThreads) {
    s.terms.cosines[i] = ColdTableOf(b)[u.cosines + i];
  }
  const bool is_weighted = b.codes.is_weighted;
  bool is_fit = LoadColdUnit<Element>(
      b, u,
      is_weighted ? FloatsAt(b, u.coefficients) : FloatsAt(b, u.elements));
  __syncthreads();
  if (is_weighted) is_fit &= TurnColdUnit(b, u, s.terms);
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

__global__ void __launch_bounds__(kColdThreads, 16)
    FindColdFactors(const __grid_constant__ ColdBatch b) {
  BANYAN_SHARED(ColdFactorShared, all_shared, [1]);
  ColdFactorShared& s = all_shared[0];
  const ColdEncodeUnit& u = s.unit;
  if (threadIdx.x == 0) s.unit = EncodeUnitOf(b);
  __syncthreads();
  if (u.factors_max == 0 || StateOf(b, u)->is_fit == 0) return;
  FillColdProducts(b, u, s.tiles);
  __syncthreads();
  const uint32_t count = FindColdBasis(b, s);
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

__global__ void __launch_bounds__(kColdThreads, 16)
    FitColdUnits(const __grid_constant__ ColdBatch b) {
  BANYAN_SHARED(ColdFitShared, all_shared, [1]);
  ColdFitShared& s = all_shared[0];
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
    if (threadIdx.x == 0) ChooseColdStep(b, s);
    __syncthreads();
    TryColdCode(b, s);
    __syncthreads();
    if (threadIdx.x == 0) LearnOfColdTry(b, s);
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
