// The kernels that encode lossless planes, and their launcher: bytes are counted,
// codes made of the counts, strings measured, and then written.
// Format: docs/formats/codec_lossless.md. The host's way is lossless_codec.cc.
#include <cuda_runtime.h>

#include "kernels/codec/lossless_planes.cuh"
#include "kernels/codec/staged_bytes.cuh"

namespace banyan::codec {
namespace {

// A thread for each value of a byte, a warp for each string.
constexpr uint32_t kThreads = kLosslessSymbols;
constexpr uint32_t kWarps = kThreads / 32;
static_assert(kWarps == kLosslessKinds * kLosslessStrings);

// Elements that a lane has at once, which follow each other.
constexpr uint32_t kElements = 4;

// The kind and the string of a warp.
__device__ __forceinline__ uint32_t KindOfWarp() {
  return threadIdx.x / 32 / kLosslessStrings;
}
__device__ __forceinline__ uint32_t StringOfWarp() {
  return threadIdx.x / 32 % kLosslessStrings;
}

// Bits of `count` elements, kElements at most, of a unit.
__device__ __forceinline__ void LoadElements(const LosslessBatch& b,
                                             uint32_t unit, uint32_t element,
                                             uint32_t count,
                                             uint32_t (&bits)[kElements]) {
  const std::byte* const from = PlaceOf(b, unit, element);
  const bool is_vector = count == kElements && b.planes.dim % kElements == 0 &&
                         element % kElements == 0 &&
                         reinterpret_cast<uintptr_t>(from) % 8 == 0;
  if (is_vector) {
    const Packet<8> packet = LoadPacket<8>(from);
#pragma unroll
    for (uint32_t i = 0; i < kElements; ++i) {
      bits[i] = packet.Half(static_cast<int>(i));
    }
    return;
  }
#pragma unroll
  for (uint32_t i = 0; i < kElements; ++i) {
    if (i >= count) break;
    bits[i] = LoadPacket<2>(PlaceOf(b, unit, element + i)).words[0];
  }
}

// ---- Counts ----

// blockIdx.x: the unit; blockIdx.y: the plane. A warp has counts of its own.
__global__ void __launch_bounds__(kThreads)
    CountLosslessBytes(const __grid_constant__ LosslessBatch b) {
  constexpr uint32_t kCounts = kLosslessKinds * kLosslessSymbols;
  BANYAN_SHARED(uint32_t, counts, [kWarps][kCounts]);
  for (uint32_t i = threadIdx.x; i < kWarps * kCounts; i += kThreads) {
    counts[i / kCounts][i % kCounts] = 0;
  }
  __syncthreads();
  const uint32_t elements = ElementsOf(b, blockIdx.x);
  uint32_t* const mine = counts[threadIdx.x / 32];
#pragma unroll 1
  for (uint32_t e = threadIdx.x * kElements; e < elements;
       e += kThreads * kElements) {
    const uint32_t count = SmallerOf(kElements, elements - e);
    uint32_t bits[kElements] = {};
    LoadElements(b, blockIdx.x, e, count, bits);
#pragma unroll
    for (uint32_t i = 0; i < kElements; ++i) {
      if (i >= count) break;
#pragma unroll
      for (uint32_t kind = 0; kind < kLosslessKinds; ++kind) {
        const uint32_t symbol = ByteOfElement(bits[i], kind);
        atomicAdd(mine + kind * kLosslessSymbols + symbol, 1u);
      }
    }
  }
  __syncthreads();
  uint32_t* const of_plane = b.units.counts + blockIdx.y * kCounts;
  for (uint32_t i = threadIdx.x; i < kCounts; i += kThreads) {
    uint32_t sum = 0;
    for (uint32_t warp = 0; warp < kWarps; ++warp) sum += counts[warp][i];
    if (sum > 0) atomicAdd(of_plane + i, sum);
  }
}

// ---- Codes ----

struct HuffmanShared {
  uint32_t counts[kLosslessSymbols];
  uint32_t leaves[kLosslessSymbols];       // Counts in rising order.
  uint32_t joints[kLosslessSymbols];       // In the order they are made.
  uint16_t parents[2 * kLosslessSymbols];  // Of leaves, then of joints.
  uint32_t most;                           // Of all depths.
  uint32_t number;                         // Of threads that were counted.
  uint8_t lengths[kLosslessSymbols];
};

// How many threads say so. All of the block are here.
__device__ __forceinline__ uint32_t CountThreads(bool is_one,
                                                 HuffmanShared& s) {
  if (threadIdx.x == 0) s.number = 0;
  __syncthreads();
  if (is_one) atomicAdd(&s.number, 1u);
  __syncthreads();
  const uint32_t number = s.number;
  __syncthreads();
  return number;
}

// Joins the two smallest until one is left: leaves before joints as large.
__device__ __forceinline__ void JoinLeaves(uint32_t leaves, HuffmanShared& s) {
  uint32_t next_leaf = 0;
  uint32_t next_joint = 0;
#pragma unroll 1
  for (uint32_t made = 0; made + 1 < leaves; ++made) {
    uint32_t sum = 0;
    for (int child = 0; child < 2; ++child) {
      const bool is_leaf =
          next_leaf < leaves &&
          (next_joint == made || s.leaves[next_leaf] <= s.joints[next_joint]);
      const uint32_t node = is_leaf ? next_leaf : leaves + next_joint;
      sum += is_leaf ? s.leaves[next_leaf] : s.joints[next_joint];
      next_leaf += is_leaf ? 1 : 0;
      next_joint += is_leaf ? 0 : 1;
      s.parents[node] = static_cast<uint16_t>(leaves + made);
    }
    s.joints[made] = sum;
  }
}

// The place of the thread's symbol among those that occur.
__device__ __forceinline__ uint32_t RankOf(uint32_t count,
                                           const HuffmanShared& s) {
  uint32_t rank = 0;
#pragma unroll 4
  for (uint32_t other = 0; other < kLosslessSymbols; ++other) {
    const uint32_t of_other = s.counts[other];
    const bool is_before =
        of_other < count || (of_other == count && other < threadIdx.x);
    rank += of_other > 0 && is_before ? 1 : 0;
  }
  return rank;
}

// The length of the code of the thread's symbol, which occurs so often. All
// threads of the block are here.
__device__ __forceinline__ uint32_t HuffmanLength(uint32_t count,
                                                  HuffmanShared& s) {
  while (true) {
    s.counts[threadIdx.x] = count;
    if (threadIdx.x == 0) s.most = 0;
    const uint32_t leaves = CountThreads(count > 0, s);
    const uint32_t rank = RankOf(count, s);
    if (count > 0) s.leaves[rank] = count;
    __syncthreads();
    if (threadIdx.x == 0) JoinLeaves(leaves, s);
    __syncthreads();
    uint32_t depth = 0;
    if (count > 0) {
      const uint32_t root = 2 * leaves - 2;
      for (uint32_t node = rank; node != root; node = s.parents[node]) ++depth;
      atomicMax(&s.most, depth);
    }
    __syncthreads();
    if (s.most <= kLosslessBitsMax) return depth;
    count = count / 2 + count % 2;
    __syncthreads();
  }
}

// blockIdx.x: the kind; blockIdx.y: the plane.
__global__ void __launch_bounds__(kThreads)
    MakeLosslessLengths(const __grid_constant__ LosslessBatch b) {
  BANYAN_SHARED(HuffmanShared, all_shared, [1]);
  HuffmanShared& s = all_shared[0];
  const uint32_t symbol = threadIdx.x;
  const uint32_t kind = blockIdx.x;
  const uint32_t* const counts =
      b.units.counts + (blockIdx.y * kLosslessKinds + kind) * kLosslessSymbols;
  uint32_t count = counts[symbol];
  const uint32_t occurring = CountThreads(count > 0, s);
  // A code for one symbol is a code for two.
  if (occurring == 1 && counts[symbol ^ 1] > 0) count = 1;
  s.lengths[symbol] = static_cast<uint8_t>(HuffmanLength(count, s));
  __syncthreads();
  if (symbol >= kLosslessSymbols / 2) return;
  const uint32_t both =
      s.lengths[2 * symbol] | uint32_t{s.lengths[2 * symbol + 1]} << 4;
  StorePacket<1>({{both}}, LengthsOf(b, PlaneOf(b), kind) + symbol);
}

// Lengths of both kinds, by symbol.
struct Lengths {
  uint8_t of[kLosslessKinds][kLosslessSymbols];
};
__device__ __forceinline__ void LoadLengths(const LosslessBatch& b,
                                            std::byte* plane,
                                            Lengths& lengths) {
  const uint32_t symbol = threadIdx.x;
  for (uint32_t kind = 0; kind < kLosslessKinds; ++kind) {
    const uint32_t both =
        LoadPacket<1>(LengthsOf(b, plane, kind) + symbol / 2).words[0];
    lengths.of[kind][symbol] =
        static_cast<uint8_t>(symbol % 2 == 0 ? both & 15 : both >> 4);
  }
  __syncthreads();
}

// ---- Sizes ----

// The symbols of a warp's string.
struct StringSymbols {
  uint32_t first;  // In the unit.
  uint32_t count;
};
__device__ __forceinline__ StringSymbols SymbolsOfWarp(uint32_t elements) {
  const uint32_t quarter = (elements + kLosslessStrings - 1) / kLosslessStrings;
  const uint32_t first = SmallerOf(StringOfWarp() * quarter, elements);
  return {first, SmallerOf(quarter, elements - first)};
}

// blockIdx.x: the unit; blockIdx.y: the plane.
__global__ void __launch_bounds__(kThreads)
    SizeLosslessUnits(const __grid_constant__ LosslessBatch b) {
  BANYAN_SHARED(Lengths, lengths, [1]);
  BANYAN_SHARED(uint32_t, sizes, [kWarps]);
  std::byte* const plane = PlaneOf(b);
  LoadLengths(b, plane, lengths[0]);
  const uint32_t elements = ElementsOf(b, blockIdx.x);
  const StringSymbols string = SymbolsOfWarp(elements);
  const uint32_t kind = KindOfWarp();
  uint32_t length = 0;  // Bits: 2^14 symbols of 11 at most.
#pragma unroll 1
  for (uint32_t at = threadIdx.x % 32 * kElements; at < string.count;
       at += 32 * kElements) {
    const uint32_t count = SmallerOf(kElements, string.count - at);
    uint32_t bits[kElements] = {};
    LoadElements(b, blockIdx.x, string.first + at, count, bits);
#pragma unroll
    for (uint32_t i = 0; i < kElements; ++i) {
      if (i >= count) break;
      length += lengths[0].of[kind][ByteOfElement(bits[i], kind)];
    }
  }
  length = __reduce_add_sync(~0u, length);
  if (threadIdx.x % 32 == 0) sizes[threadIdx.x / 32] = (length + 7) / 8;
  __syncthreads();
  if (threadIdx.x >= kWarps) return;
  const uint32_t of_kind = threadIdx.x / kLosslessStrings;
  KindSizes s = {};
  for (uint32_t i = 0; i < kLosslessStrings; ++i) {
    s.coded += sizes[of_kind * kLosslessStrings + i];
  }
  StoreHalf(s.IsGood(elements) ? sizes[threadIdx.x] : 0,
            SizesAt(plane, blockIdx.x, of_kind) +
                2 * (threadIdx.x % kLosslessStrings));
}

// ---- Strings ----

// Blocks that leave a thread 48 registers.
constexpr uint32_t kWriteBlocks = 5;

// A line of a string that is begun, and the bits of a round: each lane has kElements
// codes of 11 bits at most.
constexpr uint32_t kLineWords = kLineBytes / 4;
constexpr uint32_t kStagedWords = 80;
static_assert(kLineWords + kElements * kLosslessBitsMax <= kStagedWords);

struct StringShared {
  Lengths lengths;
  uint16_t codes[kLosslessKinds][kLosslessSymbols];  // The first bit lowest.
  uint32_t words[kWarps][kStagedWords];
};

__device__ __forceinline__ void MakeCodes(StringShared& s) {
  const uint32_t symbol = threadIdx.x;
  for (uint32_t kind = 0; kind < kLosslessKinds; ++kind) {
    const uint8_t* const of_all = s.lengths.of[kind];
    const uint32_t mine = of_all[symbol];
    uint32_t before = 0;
#pragma unroll 4
    for (uint32_t other = 0; other < kLosslessSymbols; ++other) {
      before += EntriesBefore(of_all[other], other, mine, symbol);
    }
    s.codes[kind][symbol] = static_cast<uint16_t>(ReversedCode(before, mine));
  }
  __syncthreads();
}

// A string that a warp writes, line by line.
struct StringWriter {
  std::byte* line;   // The next.
  uint32_t skipped;  // Bytes of it that are not this string's.
  uint32_t filled;   // Bits of it, with those.

  __device__ __forceinline__ explicit StringWriter(std::byte* begin)
      : skipped(static_cast<uint32_t>(reinterpret_cast<uintptr_t>(begin) %
                                      kLineBytes)) {
    line = begin - skipped;
    filled = 8 * skipped;
  }
};

// Sums of the lanes before each one, and of all.
struct Scan {
  uint32_t before;
  uint32_t all;
};
__device__ __forceinline__ Scan ScanOfWarp(uint32_t value) {
  uint32_t sum = value;
#pragma unroll
  for (uint32_t step = 1; step < 32; step *= 2) {
    const uint32_t other = __shfl_up_sync(~0u, sum, step);
    if (threadIdx.x % 32 >= step) sum += other;
  }
  return {sum - value, __shfl_sync(~0u, sum, 31)};
}

// Appends what the lanes have, `length` bits each, 44 at most, and writes the lines
// that are full; at the end of the string, the one that is begun, too.
__device__ __forceinline__ void Append(uint64_t bits, uint32_t length,
                                       bool is_last, StringWriter& writer,
                                       uint32_t (&words)[kStagedWords]) {
  const uint32_t lane = threadIdx.x % 32;
  const Scan scan = ScanOfWarp(length);
  const uint32_t at = writer.filled + scan.before;
  const uint32_t shift = at % 32;
  // Words that are not the first hold what the last round left there.
  const uint64_t low = bits << shift;
  const uint64_t high = shift == 0 ? 0 : bits >> (64 - shift);
  if (length > 0) {
    atomicOr(&words[at / 32], static_cast<uint32_t>(low));
    if (low >> 32 != 0) {
      atomicOr(&words[at / 32 + 1], static_cast<uint32_t>(low >> 32));
    }
    if (high != 0) {
      atomicOr(&words[at / 32 + 2], static_cast<uint32_t>(high));
    }
  }
  __syncwarp();
  writer.filled += scan.all;
  const uint32_t lines = writer.filled / (8 * kLineBytes);
  const uint32_t end = is_last ? (writer.filled + 7) / 8 : lines * kLineBytes;
  if (end == 0) return;
  const auto* const staged = reinterpret_cast<const std::byte*>(words);
  if (is_last || writer.skipped > 0) {
    StoreStaged(staged + writer.skipped, end - writer.skipped,
                writer.line + writer.skipped, lane, 32);
  } else {
#pragma unroll 1
    for (uint32_t at = 4 * lane; at < end; at += kLineBytes) {
      StorePacket<4>(LoadPacket<4>(staged + at), writer.line + at);
    }
  }
  const uint32_t behind = lines * kLineWords + lane;
  const uint32_t rest = behind < kStagedWords ? words[behind] : 0;
  __syncwarp();
  for (uint32_t i = lane; i < kStagedWords; i += 32) {
    words[i] = i == lane ? rest : 0;
  }
  __syncwarp();
  writer.line += lines * kLineBytes;
  writer.filled %= 8 * kLineBytes;
  writer.skipped = 0;
}

// A warp's string, of codes, or of bytes as they are.
__device__ __forceinline__ void WriteString(const LosslessBatch& b,
                                            uint32_t unit,
                                            const StringSymbols& string,
                                            bool is_coded, std::byte* to,
                                            StringShared& s) {
  const uint32_t kind = KindOfWarp();
  uint32_t(&words)[kStagedWords] = s.words[threadIdx.x / 32];
  for (uint32_t i = threadIdx.x % 32; i < kStagedWords; i += 32) words[i] = 0;
  __syncwarp();
  StringWriter writer(to);
#pragma unroll 1
  for (uint32_t round = 0; round < string.count; round += 32 * kElements) {
    const uint32_t at =
        SmallerOf(round + threadIdx.x % 32 * kElements, string.count);
    const uint32_t count = SmallerOf(kElements, string.count - at);
    uint32_t elements[kElements] = {};
    if (count > 0) LoadElements(b, unit, string.first + at, count, elements);
    uint64_t bits = 0;
    uint32_t length = 0;
#pragma unroll
    for (uint32_t i = 0; i < kElements; ++i) {
      if (i >= count) break;
      const uint32_t symbol = ByteOfElement(elements[i], kind);
      const uint32_t code = is_coded ? s.codes[kind][symbol] : symbol;
      bits |= uint64_t{code} << length;
      length += is_coded ? s.lengths.of[kind][symbol] : 8;
    }
    Append(bits, length, round + 32 * kElements >= string.count, writer, words);
  }
}

// blockIdx.x: the unit; blockIdx.y: the plane.
__global__ void __launch_bounds__(kThreads, kWriteBlocks)
    WriteLosslessUnits(const __grid_constant__ LosslessBatch b) {
  BANYAN_SHARED(StringShared, shared, [1]);
  std::byte* const plane = PlaneOf(b);
  LoadLengths(b, plane, shared[0].lengths);
  MakeCodes(shared[0]);
  const uint32_t unit = blockIdx.x;
  const uint32_t elements = ElementsOf(b, unit);
  const StringSymbols string = SymbolsOfWarp(elements);
  bool is_good = true;
  const uint64_t begin =
      b.units.prefix_bytes + BytesBefore(b, plane, unit, is_good);
  const KindSizes high = SizesOf(plane, unit, 0);
  const KindSizes low = SizesOf(plane, unit, 1);
  const uint32_t high_bytes = high.Bytes(elements);
  const bool is_high = KindOfWarp() == 0;
  const bool is_coded = (is_high ? high.coded : low.coded) > 0;
  uint32_t at = is_high ? 0 : high_bytes;
  if (!is_coded) at += string.first;
#pragma unroll
  for (uint32_t i = 0; i < kLosslessStrings; ++i) {
    const uint32_t size = is_high ? high.sizes[i] : low.sizes[i];
    if (is_coded && i < StringOfWarp()) at += size;
  }
  WriteString(b, unit, string, is_coded, plane + begin + at, shared[0]);
  if (unit + 1 == UnitsOf(b) && threadIdx.x == 0) {
    b.units.sizes[blockIdx.y] = begin + high_bytes + low.Bytes(elements);
  }
}

}  // namespace

int LaunchLosslessEncode(const PlaneBatch& batch, const LosslessUnits& units,
                         void* stream) {
  const LosslessBatch b = {batch, units};
  const auto launch = [&](auto* kernel, uint64_t blocks) {
    const cudaLaunchConfig_t config =
        ConfigOf(batch, blocks, kThreads, 0, stream);
    return cudaLaunchKernelEx(&config, kernel, b);
  };
  cudaError_t error = launch(CountLosslessBytes, UnitsOf(b));
  if (error == cudaSuccess) error = launch(MakeLosslessLengths, kLosslessKinds);
  if (error == cudaSuccess) error = launch(SizeLosslessUnits, UnitsOf(b));
  if (error == cudaSuccess) error = launch(WriteLosslessUnits, UnitsOf(b));
  return error;
}

}  // namespace banyan::codec
