// The kernel that decodes lossless planes, and its launcher. Strings of bits are
// read one symbol after the other: each has a lane of its own.
// Format: docs/formats/codec_lossless.md. The host's way is lossless_codec.cc.
#include <cuda_runtime.h>

#include "kernels/codec/lossless_planes.cuh"
#include "kernels/codec/staged_bytes.cuh"

namespace banyan::codec {
namespace {

constexpr uint32_t kThreads = 256;
constexpr uint32_t kWarps = kThreads / 32;  // A unit each.

// Symbols of each string between two looks at what is loaded: even codes of 11
// bits take less than a line, with what is read ahead.
constexpr uint32_t kRoundSymbols = 64;
// Two lines of each string: the one that is read, and the next.
constexpr uint32_t kRingWords = 2 * kLineBytes / 4;

constexpr uint32_t kLanes = kLosslessKinds * kLosslessStrings;

struct LosslessShared {
  uint16_t tables[kLosslessKinds][kLosslessTableSize];
  uint8_t lengths[kLosslessKinds][kLosslessSymbols];
  uint32_t filled[kLosslessKinds];  // Of the table.
  uint32_t rings[kWarps][kLanes][kRingWords];
  uint8_t symbols[kWarps][kLanes][kRoundSymbols];
};

// ---- Tables ----

// What the next 11 bits mean, from the lengths of the codes. Each thread has a
// symbol. All threads of the block are here.
__device__ __forceinline__ void MakeTables(const std::byte* lengths,
                                           LosslessShared& shared) {
  const uint32_t symbol = threadIdx.x;
  if (symbol < kLosslessKinds) shared.filled[symbol] = 0;
  for (uint32_t kind = 0; kind < kLosslessKinds; ++kind) {
    const uint32_t both =
        LoadPacket<1>(lengths + kind * kLosslessSymbols / 2 + symbol / 2)
            .words[0];
    shared.lengths[kind][symbol] =
        static_cast<uint8_t>(symbol % 2 == 0 ? both & 15 : both >> 4);
  }
  __syncthreads();
  for (uint32_t kind = 0; kind < kLosslessKinds; ++kind) {
    const uint8_t* const of_all = shared.lengths[kind];
    const uint32_t mine = of_all[symbol];
    if (mine > kLosslessBitsMax) {
      atomicAdd(&shared.filled[kind], 2 * kLosslessTableSize);
    } else if (mine > 0) {
      atomicAdd(&shared.filled[kind], kLosslessTableSize >> mine);
    }
  }
  __syncthreads();
  for (uint32_t kind = 0; kind < kLosslessKinds; ++kind) {
    const uint8_t* const of_all = shared.lengths[kind];
    const uint32_t mine = of_all[symbol];
    if (shared.filled[kind] != kLosslessTableSize || mine == 0) continue;
    uint32_t before = 0;
#pragma unroll 4
    for (uint32_t other = 0; other < kLosslessSymbols; ++other) {
      before += EntriesBefore(of_all[other], other, mine, symbol);
    }
    const auto entry = static_cast<uint16_t>(symbol | mine << 8);
    const uint32_t code = ReversedCode(before, mine);
#pragma unroll 1
    for (uint32_t i = code; i < kLosslessTableSize; i += 1u << mine) {
      shared.tables[kind][i] = entry;
    }
  }
  __syncthreads();
}

// ---- Strings ----

// What a lane reads: its string, and how far it is.
struct StringReader {
  const std::byte* begin;
  uint32_t bytes;
  uint32_t symbols;       // That are left.
  const uint16_t* table;  // nullptr: bytes as they are.
  uint32_t consumed;      // Bits.
  uint64_t bits;          // That were read ahead, the next one lowest.
  uint32_t available;
  uint32_t word;   // The next to be read, counted from the first line on.
  uint32_t lines;  // That are loaded.

  __device__ __forceinline__ uint32_t skew() const {
    return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(begin) %
                                 kLineBytes);
  }
  // The lines that a round may read.
  __device__ __forceinline__ uint32_t LinesWanted() const {
    return (skew() + consumed / 8) / kLineBytes + 2;
  }
  // All is read but the rest of the last byte, which is zeros.
  __device__ __forceinline__ bool IsAtEnd() const {
    const uint32_t rest = (8 - consumed % 8) % 8;
    return (consumed + 7) / 8 == bytes && (bits & ((1u << rest) - 1)) == 0;
  }
};

__device__ __forceinline__ StringReader
ReaderOf(const std::byte* unit, const KindSizes (&kinds)[kLosslessKinds],
         uint32_t elements, const LosslessShared& shared) {
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t kind = lane / kLosslessStrings % kLosslessKinds;
  const uint32_t string = lane % kLosslessStrings;
  const uint32_t quarter = (elements + kLosslessStrings - 1) / kLosslessStrings;
  const KindSizes sizes = kind == 0 ? kinds[0] : kinds[1];
  StringReader r = {};
  uint32_t at = kind == 0 ? 0 : kinds[0].Bytes(elements);
#pragma unroll
  for (uint32_t i = 0; i < kLosslessStrings; ++i) {
    const uint32_t first = SmallerOf(i * quarter, elements);
    const uint32_t symbols = SmallerOf(quarter, elements - first);
    const uint32_t bytes = sizes.coded > 0 ? sizes.sizes[i] : symbols;
    if (i == string) {
      r.begin = unit + at;
      r.bytes = bytes;
      r.symbols = lane < kLanes ? symbols : 0;
    }
    at += bytes;
  }
  r.table = sizes.coded > 0 ? shared.tables[kind] : nullptr;
  r.word = r.skew() / 4;
  return r;
}

// A word of a string's line; zeros lie around the string.
__device__ __forceinline__ uint32_t LoadWord(const std::byte* begin,
                                             uint32_t bytes, int64_t at) {
  if (at >= 0 && at + 4 <= bytes) return LoadPacket<4>(begin + at).words[0];
  uint32_t word = 0;
  for (int i = 0; i < 4; ++i) {
    if (at + i < 0 || at + i >= bytes) continue;
    word |= LoadPacket<1>(begin + at + i).words[0] << (8 * i);
  }
  return word;
}

// Loads the lines that the warp's strings want, a line at a time.
__device__ __forceinline__ void LoadLines(
    StringReader& r, uint32_t (&rings)[kLanes][kRingWords]) {
  const uint32_t lane = threadIdx.x % 32;
  const bool is_reader = lane < kLanes && r.symbols > 0;
  uint32_t waiting = 0;
  while ((waiting = __ballot_sync(
              ~0u, is_reader && r.lines < r.LinesWanted())) != 0) {
    const int from = __popc(~waiting & (waiting - 1));  // The first.
    const auto begin = reinterpret_cast<const std::byte*>(__shfl_sync(
        ~0u, static_cast<uint64_t>(reinterpret_cast<uintptr_t>(r.begin)),
        from));
    const uint32_t bytes = __shfl_sync(~0u, r.bytes, from);
    const uint32_t line = __shfl_sync(~0u, r.lines, from);
    const auto skew =
        static_cast<uint32_t>(reinterpret_cast<uintptr_t>(begin) % kLineBytes);
    const uint32_t word = line * (kLineBytes / 4) + lane;
    rings[from][word % kRingWords] =
        LoadWord(begin, bytes, int64_t{4} * word - skew);
    if (static_cast<int>(lane) == from) ++r.lines;
  }
  __syncwarp();
}

// Decodes the next symbols of a lane's string.
__device__ __forceinline__ void DecodeRound(StringReader& r,
                                            const uint32_t (&ring)[kRingWords],
                                            uint8_t* symbols) {
  const uint32_t count = SmallerOf(r.symbols, kRoundSymbols);
  if (r.available == 0 && count > 0) {  // The first of all.
    const uint32_t behind = r.skew() % 4 * 8;
    r.bits = uint64_t{ring[r.word % kRingWords]} >> behind;
    r.available = 32 - behind;
    ++r.word;
  }
#pragma unroll 1
  for (uint32_t i = 0; i < count; ++i) {
    if (r.available < 32) {
      r.bits |= uint64_t{ring[r.word % kRingWords]} << r.available;
      r.available += 32;
      ++r.word;
    }
    const auto next = static_cast<uint32_t>(r.bits);
    const uint32_t entry = r.table != nullptr
                               ? r.table[next % kLosslessTableSize]
                               : 8u << 8 | (next & 0xFF);
    const uint32_t length = entry >> 8;
    r.bits >>= length;
    r.available -= length;
    r.consumed += length;
    symbols[i] = static_cast<uint8_t>(entry);
  }
  r.symbols -= count;
}

// ---- Elements ----

// The elements of a round, of each quarter of the unit: two a lane.
__device__ __forceinline__ void StoreRound(
    const LosslessBatch& b, uint32_t unit, uint32_t elements, uint32_t done,
    const uint8_t (&symbols)[kLanes][kRoundSymbols]) {
  const uint32_t quarter = (elements + kLosslessStrings - 1) / kLosslessStrings;
  const uint32_t at = threadIdx.x % 32 * 2;
  for (uint32_t string = 0; string < kLosslessStrings; ++string) {
    const uint32_t first = SmallerOf(string * quarter, elements);
    const uint32_t count = SmallerOf(quarter, elements - first);
    if (done + at >= count) continue;
    const auto element_of = [&](uint32_t i) {
      return ElementOfBytes(symbols[string][i],
                            symbols[kLosslessStrings + string][i]);
    };
    const uint32_t element = first + done + at;
    std::byte* const to = PlaceOf(b, unit, element);
    const bool has_second = done + at + 1 < count;
    const bool is_pair = has_second &&
                         element % b.planes.dim + 1 < b.planes.dim &&
                         reinterpret_cast<uintptr_t>(to) % 4 == 0;
    if (is_pair) {
      StorePacket<4>({{element_of(at) | element_of(at + 1) << 16}}, to);
      continue;
    }
    StorePacket<2>({{element_of(at)}}, to);
    if (has_second) {
      StorePacket<2>({{element_of(at + 1)}}, PlaceOf(b, unit, element + 1));
    }
  }
}

// A warp's unit. False if no encoder writes that.
__device__ __forceinline__ bool DecodeUnit(const LosslessBatch& b,
                                           std::byte* plane, uint32_t unit,
                                           LosslessShared& shared) {
  const uint32_t warp = threadIdx.x / 32;
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t elements = ElementsOf(b, unit);
  bool is_good = true;
  const uint64_t before = BytesBefore(b, plane, unit, is_good);
  KindSizes kinds[kLosslessKinds];
#pragma unroll
  for (uint32_t kind = 0; kind < kLosslessKinds; ++kind) {
    kinds[kind] = SizesOf(plane, unit, kind);
    is_good &=
        kinds[kind].IsGood(elements) &&
        (kinds[kind].coded == 0 || shared.filled[kind] == kLosslessTableSize);
  }
  if (!__all_sync(~0u, is_good)) return false;
  StringReader reader =
      ReaderOf(plane + b.units.prefix_bytes + before, kinds, elements, shared);
  const uint32_t quarter = (elements + kLosslessStrings - 1) / kLosslessStrings;
#pragma unroll 1
  for (uint32_t done = 0; done < quarter; done += kRoundSymbols) {
    LoadLines(reader, shared.rings[warp]);
    if (lane < kLanes) {
      DecodeRound(reader, shared.rings[warp][lane], shared.symbols[warp][lane]);
    }
    __syncwarp();
    StoreRound(b, unit, elements, done, shared.symbols[warp]);
    __syncwarp();
  }
  return lane >= kLanes || reader.IsAtEnd();
}

// blockIdx.x: kWarps units; blockIdx.y: the plane.
__global__ void __launch_bounds__(kThreads)
    DecodeLosslessPlanes(const __grid_constant__ LosslessBatch b) {
  BANYAN_SHARED(LosslessShared, shared, [1]);
  std::byte* const plane = PlaneOf(b);
  MakeTables(LengthsOf(b, plane, 0), shared[0]);
  const uint32_t unit = blockIdx.x * kWarps + threadIdx.x / 32;
  if (unit * b.units.unit_tokens >= b.planes.tokens) return;
  if (!DecodeUnit(b, plane, unit, shared[0])) {
    atomicOr(b.planes.verdicts + blockIdx.y, kVerdictBadCode);
  }
}

}  // namespace

int LaunchLosslessDecode(const PlaneBatch& batch, const LosslessUnits& units,
                         void* stream) {
  const LosslessBatch b = {batch, units};
  const uint32_t count = UnitsOf(b);
  const cudaLaunchConfig_t config =
      ConfigOf(batch, (count + kWarps - 1) / kWarps, kThreads, 0, stream);
  return cudaLaunchKernelEx(&config, DecodeLosslessPlanes, b);
}

}  // namespace banyan::codec
