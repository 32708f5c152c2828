// The kernels of the int codecs, and their launchers.
#include <cuda_runtime.h>

#include "kernels/codec/int_planes.cuh"
#include "kernels/codec/plane_batch.cuh"
#include "kernels/codec/staged_bytes.cuh"

namespace banyan::codec {
namespace {

constexpr uint32_t kThreads = 256;
constexpr uint32_t kWarps = kThreads / 32;

// Units along the head.
constexpr uint32_t kDimUnitTokens = 16;

// How codes lie: a row is whole runs, then maybe a shorter one.
struct IntBatch {
  PlaneBatch planes;
  uint32_t unit_tokens;
  uint64_t unit_bytes;  // Of whole units.
  uint32_t row_bytes;   // Of codes.
  uint32_t row_groups;  // Along the head; along the tokens, dim.
  uint32_t run;         // Elements of whole runs.
  uint32_t stride;      // Bytes of whole runs.
  uint32_t tail;        // Elements of the shorter run, or 0.
  bool is_channel;      // Groups are along the tokens.
  // Of rows that are staged: how a block takes them.
  uint32_t piece_groups;
  uint32_t row_pieces;  // If more than one, a block takes one.
  uint32_t block_pieces;
};

// The unit of a token.
struct Unit {
  std::byte* scales;
  std::byte* minimums;
  std::byte* codes;
  uint32_t first_token;
  uint32_t tokens;
};

__device__ __forceinline__ Unit UnitOf(const IntBatch& b, std::byte* encoded,
                                       uint32_t token) {
  const uint32_t index = token / b.unit_tokens;
  Unit unit;
  unit.first_token = index * b.unit_tokens;
  unit.tokens = SmallerOf(b.unit_tokens, b.planes.tokens - unit.first_token);
  const uint64_t groups = uint64_t{b.planes.heads} * b.row_groups *
                          (b.is_channel ? 1 : unit.tokens);
  unit.scales = encoded + index * b.unit_bytes;
  unit.minimums = unit.scales + 2 * groups;
  unit.codes = unit.minimums + 2 * groups;
  return unit;
}

// ---- Decoding ----

// kCount scales or minimums.
template <int kCount>
__device__ __forceinline__ void LoadFp16(const std::byte* from,
                                         float (&values)[kCount],
                                         bool& is_bad) {
  if constexpr (kCount == 1) {
    const uint32_t bits = LoadBytes<2>(from);
    is_bad |= !IsFiniteFp16(bits);
    values[0] = Fp16::Value(bits);
  } else {
    const Packet<2 * kCount> packet = LoadPacket<2 * kCount>(from);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      is_bad |= !IsFiniteFp16(packet.Half(i));
      values[i] = Fp16::Value(packet.Half(i));
    }
  }
}

// A field of kCount bytes of codes, to elements that follow each other.
template <class Element, int kBits, int kCount>
__device__ __forceinline__ void DecodeField(const Packet<kCount>& codes,
                                            int field,
                                            const float (&scales)[kCount],
                                            const float (&minimums)[kCount],
                                            std::byte* to) {
  float values[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const uint32_t code =
        codes.Byte(i) >> (field * kBits) & ((1u << kBits) - 1);
    values[i] = static_cast<float>(code) * scales[i] + minimums[i];
  }
  StorePacket<2 * kCount>(ElementsOf<Element>(values), to);
}

// Every thread decodes kCount bytes of codes. blockIdx.x: kThreads of them;
// blockIdx.y: the plane.
template <class Element, int kBits, bool kIsChannel, int kCount>
__global__ void __launch_bounds__(kThreads)
    DecodeIntPlanes(const __grid_constant__ IntBatch b) {
  const uint32_t vectors_per_row = b.row_bytes / kCount;
  const uint32_t vector = blockIdx.x * kThreads + threadIdx.x;
  const uint32_t row = vector / vectors_per_row;
  const uint32_t token = row / b.planes.heads;
  if (token >= b.planes.tokens) return;
  const uint32_t head = row % b.planes.heads;
  const uint32_t at = vector % vectors_per_row * kCount;
  const Unit unit = UnitOf(b, EncodedOf(b.planes), token);
  const uint32_t unit_row = (token - unit.first_token) * b.planes.heads + head;
  const Packet<kCount> codes =
      LoadPacket<kCount>(unit.codes + uint64_t{unit_row} * b.row_bytes + at);
  const uint32_t run = at / b.stride;
  const bool is_tail = (run + 1) * b.run > b.planes.dim;
  const uint32_t count = is_tail ? b.tail : b.run;
  const uint32_t stride =
      is_tail ? (b.tail + 8 / kBits - 1) / (8 / kBits) : b.stride;
  const uint32_t first = run * b.run;
  const uint32_t place = at - run * b.stride;
  std::byte* const to = RowOf(b.planes, token, head);
  float scales[kCount];
  float minimums[kCount];
  bool is_bad = false;
  if constexpr (!kIsChannel) {
    const uint64_t group = uint64_t{unit_row} * b.row_groups + run;
    float one[1];
    LoadFp16<1>(unit.scales + 2 * group, one, is_bad);
    for (float& scale : scales) scale = one[0];
    LoadFp16<1>(unit.minimums + 2 * group, one, is_bad);
    for (float& minimum : minimums) minimum = one[0];
  }
#pragma unroll
  for (int field = 0; field < 8 / kBits; ++field) {
    const uint32_t element = place + field * stride;
    if (element >= count) break;
    if constexpr (kIsChannel) {
      const uint64_t group = uint64_t{head} * b.planes.dim + element;
      LoadFp16<kCount>(unit.scales + 2 * group, scales, is_bad);
      LoadFp16<kCount>(unit.minimums + 2 * group, minimums, is_bad);
    }
    DecodeField<Element, kBits>(codes, field, scales, minimums,
                                to + 2 * (first + element));
  }
  if (is_bad) SetVerdict(b.planes, kVerdictBadCode);
}

// ---- Encoding, groups along the head ----

// Lanes of a warp share a group; each has kParts runs of 8 bytes of codes, and
// all 8 / kBits fields of those. So what it reads and writes with its neighbours
// is whole sectors.
template <int kBits>
inline constexpr uint32_t kParts = kBits == 8 ? 2 : 1;

// Requires: the lanes of a group are a power of two, 32 at most. All lanes of
// the warp are there.
__device__ __forceinline__ KeyRange RangeOfLanes(KeyRange range,
                                                 uint32_t lanes) {
  for (uint32_t step = lanes / 2; step > 0; step /= 2) {
    KeyRange other;
    other.low = __shfl_xor_sync(~0u, range.low, static_cast<int>(step));
    other.high = __shfl_xor_sync(~0u, range.high, static_cast<int>(step));
    range.Add(other);
  }
  return range;
}

template <class Element, int kBits>
__global__ void __launch_bounds__(kThreads)
    EncodeIntGroups(const __grid_constant__ IntBatch b) {
  constexpr uint32_t kFields = 8 / kBits;
  const uint32_t lanes = b.stride / (8 * kParts<kBits>);
  const uint32_t index = blockIdx.x * kThreads + threadIdx.x;
  const uint32_t lane = index % lanes;
  const uint32_t row = index / lanes / b.row_groups;
  const uint32_t run = index / lanes % b.row_groups;
  const uint32_t head = row % b.planes.heads;
  const bool is_live = row / b.planes.heads < b.planes.tokens;
  const uint32_t token = is_live ? row / b.planes.heads : 0;
  const std::byte* const from = RowOf(b.planes, token, head) + 2 * run * b.run;
  Packet<16> packets[kParts<kBits>][kFields];
  KeyRange range;
#pragma unroll
  for (uint32_t part = 0; part < kParts<kBits>; ++part) {
    const uint32_t place = 8 * (lane + part * lanes);
#pragma unroll
    for (uint32_t field = 0; field < kFields; ++field) {
      Packet<16>& packet = packets[part][field];
      if (is_live) {
        packet = LoadPacket<16>(from + 2 * (place + field * b.stride));
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) range.Add(packet.Half(i));
    }
  }
  range = RangeOfLanes(range, lanes);
  if (!is_live) return;
  const IntParameters p = ParametersOf<Element, kBits>(range);
  const Unit unit = UnitOf(b, EncodedOf(b.planes), token);
  const uint32_t unit_row = (token - unit.first_token) * b.planes.heads + head;
  if (lane == 0) {
    const uint64_t group = uint64_t{unit_row} * b.row_groups + run;
    StorePacket<2>({{p.scale_bits}}, unit.scales + 2 * group);
    StorePacket<2>({{p.minimum_bits}}, unit.minimums + 2 * group);
    if (!p.is_good) SetVerdict(b.planes, kVerdictUnfitValue);
  }
  std::byte* const to =
      unit.codes + uint64_t{unit_row} * b.row_bytes + run * b.stride;
#pragma unroll
  for (uint32_t part = 0; part < kParts<kBits>; ++part) {
    Packet<8> codes = {};
#pragma unroll
    for (uint32_t field = 0; field < kFields; ++field) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const float x = Element::Value(packets[part][field].Half(i));
        codes.words[i / 4] |= IntCodeOf<kBits>(x, p.minimum, p.inverse)
                              << (i % 4 * 8 + field * kBits);
      }
    }
    StorePacket<8>(codes, to + 8 * (lane + part * lanes));
  }
}

// ---- Groups along the head that lie anywhere ----

// A piece is some groups of a row that follow each other, a whole row if it has
// room. A block stages pieces that follow each other in their unit, and each of
// its threads has a group there.
constexpr uint32_t kStagedElementBytes = 16 * 1024;
constexpr uint32_t kStagedCodeBytes = kStagedElementBytes / 2;

// A row's elements begin at any multiple of 2.
BANYAN_HD inline uint32_t PieceBytes(uint32_t elements) {
  return (2 * elements + 3) / 4 * 4 + 4;
}

struct StagedPieces {
  uint32_t elements[kStagedElementBytes / 4];
  uint32_t codes[kStagedCodeBytes / 4 + 1];
  uint32_t scales[kThreads / 2 + 1];
  uint32_t minimums[kThreads / 2 + 1];
};

// A block's pieces, by their numbers in their unit.
struct Chunk {
  Unit unit;
  uint32_t first;
  uint32_t end;
  uint32_t groups;
  // Encoded form in device memory, its size, and where it is staged.
  std::byte* encoded_scales;
  std::byte* encoded_minimums;
  std::byte* encoded_codes;
  uint32_t code_bytes;
  std::byte* scales;
  std::byte* minimums;
  std::byte* codes;
};

// What is in a unit before a piece.
__device__ __forceinline__ uint64_t GroupsBefore(const IntBatch& b,
                                                 uint32_t piece) {
  return uint64_t{piece / b.row_pieces} * b.row_groups +
         piece % b.row_pieces * b.piece_groups;
}
__device__ __forceinline__ uint64_t CodesBefore(const IntBatch& b,
                                                uint32_t piece) {
  return uint64_t{piece / b.row_pieces} * b.row_bytes +
         piece % b.row_pieces * b.piece_groups * b.stride;
}

__device__ __forceinline__ Chunk ChunkOf(const IntBatch& b,
                                         StagedPieces& staged) {
  const uint32_t unit_pieces = b.unit_tokens * b.planes.heads * b.row_pieces;
  const uint32_t unit_chunks =
      (unit_pieces + b.block_pieces - 1) / b.block_pieces;
  Chunk c;
  c.unit =
      UnitOf(b, EncodedOf(b.planes), blockIdx.x / unit_chunks * b.unit_tokens);
  c.first = blockIdx.x % unit_chunks * b.block_pieces;
  c.end = SmallerOf(c.first + b.block_pieces,
                    c.unit.tokens * b.planes.heads * b.row_pieces);
  c.end = LargerOf(c.end, c.first);  // The last unit may have fewer.
  const uint64_t groups_before = GroupsBefore(b, c.first);
  const uint64_t codes_before = CodesBefore(b, c.first);
  c.groups = static_cast<uint32_t>(GroupsBefore(b, c.end) - groups_before);
  c.code_bytes = static_cast<uint32_t>(CodesBefore(b, c.end) - codes_before);
  c.encoded_scales = c.unit.scales + 2 * groups_before;
  c.encoded_minimums = c.unit.minimums + 2 * groups_before;
  c.encoded_codes = c.unit.codes + codes_before;
  const auto bytes = [](uint32_t* words) {
    return reinterpret_cast<std::byte*>(words);
  };
  c.scales = StagedFor(c.encoded_scales, bytes(staged.scales));
  c.minimums = StagedFor(c.encoded_minimums, bytes(staged.minimums));
  c.codes = StagedFor(c.encoded_codes, bytes(staged.codes));
  return c;
}

// A piece's elements, in device memory and staged.
struct PieceElements {
  std::byte* row;
  std::byte* staged;
  uint32_t count;
};
__device__ __forceinline__ PieceElements ElementsOf(const IntBatch& b,
                                                    const Chunk& c,
                                                    uint32_t piece,
                                                    StagedPieces& staged) {
  const uint32_t row = piece / b.row_pieces;
  const uint32_t first = piece % b.row_pieces * b.piece_groups * b.run;
  PieceElements e;
  e.row = RowOf(b.planes, c.unit.first_token + row / b.planes.heads,
                row % b.planes.heads) +
          2 * first;
  e.count = SmallerOf(b.planes.dim - first, b.piece_groups * b.run);
  e.staged = StagedFor(e.row, reinterpret_cast<std::byte*>(staged.elements) +
                                  (piece - c.first) * PieceBytes(e.count));
  return e;
}

// A thread's group.
struct StagedGroup {
  std::byte* elements;
  std::byte* codes;
  uint32_t count;   // Of elements.
  uint32_t stride;  // Bytes of codes.
};
template <int kBits>
__device__ __forceinline__ StagedGroup GroupOf(const IntBatch& b,
                                               const Chunk& c,
                                               StagedPieces& staged) {
  const uint32_t piece = c.first + threadIdx.x / b.piece_groups;
  const uint32_t run = threadIdx.x % b.piece_groups;
  const PieceElements e = ElementsOf(b, c, piece, staged);
  StagedGroup g;
  g.elements = e.staged + 2 * run * b.run;
  g.codes = c.codes + (CodesBefore(b, piece) - CodesBefore(b, c.first)) +
            run * b.stride;
  g.count = SmallerOf(e.count - run * b.run, b.run);
  g.stride = (g.count + 8 / kBits - 1) / (8 / kBits);
  return g;
}

// Calls run(i) for 0 to count - 1, each thread from another one on: groups are
// equally long, and their first elements in the same banks.
template <class Run>
__device__ __forceinline__ void ForEachApart(uint32_t count, const Run& run) {
  uint32_t at = threadIdx.x % count;
#pragma unroll 1
  for (uint32_t i = 0; i < count; ++i) {
    run(at);
    at = at + 1 == count ? 0 : at + 1;
  }
}

// blockIdx.x: block_pieces of a unit; blockIdx.y: the plane.
template <class Element, int kBits>
__global__ void __launch_bounds__(kThreads)
    EncodeIntPieces(const __grid_constant__ IntBatch b) {
  BANYAN_SHARED(StagedPieces, all_staged, [1]);
  StagedPieces& staged = all_staged[0];
  const Chunk c = ChunkOf(b, staged);
  for (uint32_t piece = c.first + threadIdx.x / 32; piece < c.end;
       piece += kWarps) {
    const PieceElements e = ElementsOf(b, c, piece, staged);
    LoadStaged(e.row, 2 * e.count, e.staged, threadIdx.x % 32, 32);
  }
  __syncthreads();
  if (threadIdx.x < c.groups) {
    const StagedGroup g = GroupOf<kBits>(b, c, staged);
    KeyRange range;
    ForEachApart(g.count, [&](uint32_t i) {
      range.Add(LoadPacket<2>(g.elements + 2 * i).words[0]);
    });
    const IntParameters p = ParametersOf<Element, kBits>(range);
    if (!p.is_good) SetVerdict(b.planes, kVerdictUnfitValue);
    StoreBytes<2>(p.scale_bits, c.scales + 2 * threadIdx.x);
    StoreBytes<2>(p.minimum_bits, c.minimums + 2 * threadIdx.x);
    ForEachApart(g.stride, [&](uint32_t at) {
      uint32_t byte = 0;
#pragma unroll
      for (uint32_t field = 0; field < 8 / kBits; ++field) {
        const uint32_t element = at + field * g.stride;
        if (element >= g.count) break;
        const float x =
            Element::Value(LoadPacket<2>(g.elements + 2 * element).words[0]);
        byte |= IntCodeOf<kBits>(x, p.minimum, p.inverse) << (field * kBits);
      }
      StorePacket<1>({{byte}}, g.codes + at);
    });
  }
  __syncthreads();
  StoreStaged(c.scales, 2 * c.groups, c.encoded_scales, threadIdx.x, kThreads);
  StoreStaged(c.minimums, 2 * c.groups, c.encoded_minimums, threadIdx.x,
              kThreads);
  StoreStaged(c.codes, c.code_bytes, c.encoded_codes, threadIdx.x, kThreads);
}

template <class Element, int kBits>
__global__ void __launch_bounds__(kThreads)
    DecodeIntPieces(const __grid_constant__ IntBatch b) {
  BANYAN_SHARED(StagedPieces, all_staged, [1]);
  StagedPieces& staged = all_staged[0];
  const Chunk c = ChunkOf(b, staged);
  LoadStaged(c.encoded_scales, 2 * c.groups, c.scales, threadIdx.x, kThreads);
  LoadStaged(c.encoded_minimums, 2 * c.groups, c.minimums, threadIdx.x,
             kThreads);
  LoadStaged(c.encoded_codes, c.code_bytes, c.codes, threadIdx.x, kThreads);
  __syncthreads();
  if (threadIdx.x < c.groups) {
    const StagedGroup g = GroupOf<kBits>(b, c, staged);
    bool is_bad = false;
    float scale[1];
    float minimum[1];
    LoadFp16<1>(c.scales + 2 * threadIdx.x, scale, is_bad);
    LoadFp16<1>(c.minimums + 2 * threadIdx.x, minimum, is_bad);
    if (is_bad) SetVerdict(b.planes, kVerdictBadCode);
    ForEachApart(g.stride, [&](uint32_t at) {
      const Packet<1> codes = LoadPacket<1>(g.codes + at);
#pragma unroll
      for (uint32_t field = 0; field < 8 / kBits; ++field) {
        const uint32_t element = at + field * g.stride;
        if (element >= g.count) break;
        DecodeField<Element, kBits>(codes, static_cast<int>(field), scale,
                                    minimum, g.elements + 2 * element);
      }
    });
  }
  __syncthreads();
  for (uint32_t piece = c.first + threadIdx.x / 32; piece < c.end;
       piece += kWarps) {
    const PieceElements e = ElementsOf(b, c, piece, staged);
    StoreStaged(e.staged, 2 * e.count, e.row, threadIdx.x % 32, 32);
  }
}

// ---- Encoding, groups along the tokens ----

// A column is kCount bytes of codes in all rows of one head in a unit: the
// channels whose codes they are. threadIdx.x is a column, and warps share its
// tokens. blockIdx.x: 32 columns of a unit; blockIdx.y: the plane.
template <class Element, int kBits, int kCount>
__global__ void __launch_bounds__(kThreads)
    EncodeIntChannels(const __grid_constant__ IntBatch b) {
  constexpr uint32_t kFields = 8 / kBits;
  constexpr uint32_t kChannels = kFields * kCount;
  BANYAN_SHARED(uint32_t, ranges, [kWarps][kChannels][32]);
  const uint32_t columns_per_row = b.row_bytes / kCount;
  const uint32_t columns = b.planes.heads * columns_per_row;
  const uint32_t chunks = (columns + 31) / 32;
  const uint32_t column = blockIdx.x % chunks * 32 + threadIdx.x;
  const uint32_t head = column / columns_per_row;
  const uint32_t at = column % columns_per_row * kCount;
  const Unit unit =
      UnitOf(b, EncodedOf(b.planes), blockIdx.x / chunks * b.unit_tokens);
  const bool is_live = column < columns;
  const auto is_in_row = [&](uint32_t field) {
    return kCount > 1 || at + field * b.stride < b.planes.dim;
  };
  const auto load = [&](uint32_t token, uint32_t field) {
    return LoadPacket<2 * kCount>(
        RowOf(b.planes, unit.first_token + token, head) +
        2 * (at + field * b.stride));
  };
  KeyRange mine[kChannels];
  for (uint32_t t = threadIdx.y; is_live && t < unit.tokens; t += kWarps) {
#pragma unroll
    for (uint32_t field = 0; field < kFields; ++field) {
      if (!is_in_row(field)) continue;
      const Packet<2 * kCount> packet = load(t, field);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        mine[field * kCount + i].Add(packet.Half(i));
      }
    }
  }
#pragma unroll
  for (uint32_t c = 0; c < kChannels; ++c) {
    ranges[threadIdx.y][c][threadIdx.x] = mine[c].high << 16 | mine[c].low;
  }
  __syncthreads();
  if (!is_live) return;
  float minimums[kChannels];
  float inverses[kChannels];
  bool is_good = true;
#pragma unroll
  for (uint32_t field = 0; field < kFields; ++field) {
    if (!is_in_row(field)) continue;
    Packet<2 * kCount> scale_bits = {};
    Packet<2 * kCount> minimum_bits = {};
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const uint32_t c = field * kCount + i;
      KeyRange range;
      for (uint32_t warp = 0; warp < kWarps; ++warp) {
        KeyRange other;
        other.low = ranges[warp][c][threadIdx.x] & 0xFFFF;
        other.high = ranges[warp][c][threadIdx.x] >> 16;
        range.Add(other);
      }
      const IntParameters p = ParametersOf<Element, kBits>(range);
      minimums[c] = p.minimum;
      inverses[c] = p.inverse;
      is_good &= p.is_good;
      scale_bits.words[0] |= p.scale_bits << (16 * i);
      minimum_bits.words[0] |= p.minimum_bits << (16 * i);
    }
    if (threadIdx.y != 0) continue;
    const uint64_t group =
        uint64_t{head} * b.planes.dim + at + field * b.stride;
    if constexpr (kCount == 1) {
      StoreBytes<2>(scale_bits.words[0], unit.scales + 2 * group);
      StoreBytes<2>(minimum_bits.words[0], unit.minimums + 2 * group);
    } else {
      StorePacket<2 * kCount>(scale_bits, unit.scales + 2 * group);
      StorePacket<2 * kCount>(minimum_bits, unit.minimums + 2 * group);
    }
  }
  if (!is_good && threadIdx.y == 0) SetVerdict(b.planes, kVerdictUnfitValue);
  for (uint32_t t = threadIdx.y; t < unit.tokens; t += kWarps) {
    Packet<kCount> codes = {};
#pragma unroll
    for (uint32_t field = 0; field < kFields; ++field) {
      if (!is_in_row(field)) continue;
      const Packet<2 * kCount> packet = load(t, field);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const uint32_t c = field * kCount + i;
        codes.words[0] |= IntCodeOf<kBits>(Element::Value(packet.Half(i)),
                                           minimums[c], inverses[c])
                          << (8 * i + field * kBits);
      }
    }
    StorePacket<kCount>(
        codes,
        unit.codes + (uint64_t{t} * b.planes.heads + head) * b.row_bytes + at);
  }
}

// ---- Launchers ----

// How rows are staged: whole ones if they have room.
void TakePieces(IntBatch& b) {
  const uint32_t most =
      SmallerOf(kThreads, (kStagedElementBytes - 8) / (2 * b.run));
  b.piece_groups = SmallerOf(b.row_groups, most);
  b.row_pieces = (b.row_groups + b.piece_groups - 1) / b.piece_groups;
  b.block_pieces = 1;
  if (b.row_pieces > 1) return;
  b.block_pieces =
      SmallerOf(SmallerOf(kThreads / b.row_groups,
                          kStagedElementBytes / PieceBytes(b.planes.dim)),
                b.unit_tokens * b.planes.heads);
}

IntBatch BatchOf(const PlaneBatch& planes, const IntCodes& codes) {
  IntBatch b = {};
  b.planes = planes;
  b.is_channel = codes.is_channel;
  b.run = codes.is_channel ? planes.dim : codes.group;
  b.stride = RunBytes(b.run, codes.bits);
  b.tail = planes.dim % b.run;
  b.row_bytes = planes.dim / b.run * b.stride + RunBytes(b.tail, codes.bits);
  b.unit_tokens = codes.is_channel ? codes.group : kDimUnitTokens;
  b.row_groups =
      codes.is_channel ? planes.dim : (planes.dim + b.run - 1) / b.run;
  const uint64_t groups = uint64_t{planes.heads} * b.row_groups *
                          (codes.is_channel ? 1 : b.unit_tokens);
  b.unit_bytes =
      4 * groups + uint64_t{b.unit_tokens} * planes.heads * b.row_bytes;
  if (!b.is_channel) TakePieces(b);
  return b;
}

// Scales, minimums and rows of codes, in all units.
bool IsEncodedMultipleOf(const IntBatch& b, uint32_t bytes) {
  const PlaneBatch& p = b.planes;
  const uint64_t row_groups = uint64_t{2} * p.heads * b.row_groups;
  const uint64_t last_tokens = p.tokens % b.unit_tokens;
  const uint64_t groups_bytes =
      b.is_channel ? row_groups
                   : row_groups * b.unit_tokens | row_groups * last_tokens;
  return (reinterpret_cast<uintptr_t>(p.encoded) | p.encoded_stride |
          b.unit_bytes | groups_bytes | b.row_bytes) %
             bytes ==
         0;
}

// Every byte of codes has all its fields.
bool AreBytesFull(const IntBatch& b, uint32_t bits) {
  return b.tail == 0 && b.run == b.stride * (8 / bits);
}

bool CanDecodeVectors(const IntBatch& b, uint32_t bits) {
  return AreBytesFull(b, bits) && b.stride % 8 == 0 &&
         AreRowsMultiplesOf(b.planes, 16) &&
         IsEncodedMultipleOf(b, b.is_channel ? 16 : 8);
}

bool CanEncodeVectors(const IntBatch& b, uint32_t bits) {
  if (b.is_channel) {
    return AreBytesFull(b, bits) && b.stride % 2 == 0 &&
           AreRowsMultiplesOf(b.planes, 4) && IsEncodedMultipleOf(b, 4);
  }
  const uint32_t part_bytes = bits == 8 ? 16 : 8;
  const uint32_t lanes = b.stride / part_bytes;
  return CanDecodeVectors(b, bits) && b.stride % part_bytes == 0 &&
         lanes <= 32 && (lanes & (lanes - 1)) == 0;
}

template <class Kernel>
cudaError_t Launch(Kernel kernel, const IntBatch& b, uint64_t blocks,
                   dim3 threads, cudaStream_t stream) {
  const cudaLaunchConfig_t config = {
      dim3(static_cast<uint32_t>(blocks), b.planes.planes),
      threads,
      0,
      stream,
      nullptr,
      0};
  return cudaLaunchKernelEx(&config, kernel, b);
}

uint64_t BlocksOf(uint64_t threads) {
  return (threads + kThreads - 1) / kThreads;
}

// Blocks that stage pieces.
uint64_t ChunksOf(const IntBatch& b) {
  const uint64_t units = (b.planes.tokens + b.unit_tokens - 1) / b.unit_tokens;
  const uint64_t pieces =
      uint64_t{b.unit_tokens} * b.planes.heads * b.row_pieces;
  return units * ((pieces + b.block_pieces - 1) / b.block_pieces);
}

template <class Element, int kBits>
cudaError_t LaunchDecode(const IntBatch& b, cudaStream_t stream) {
  const uint64_t bytes =
      uint64_t{b.planes.tokens} * b.planes.heads * b.row_bytes;
  const dim3 threads(kThreads);
  if (!CanDecodeVectors(b, kBits)) {
    return b.is_channel ? Launch(DecodeIntPlanes<Element, kBits, true, 1>, b,
                                 BlocksOf(bytes), threads, stream)
                        : Launch(DecodeIntPieces<Element, kBits>, b,
                                 ChunksOf(b), threads, stream);
  }
  const auto kernel = b.is_channel ? DecodeIntPlanes<Element, kBits, true, 8>
                                   : DecodeIntPlanes<Element, kBits, false, 8>;
  return Launch(kernel, b, BlocksOf(bytes / 8), threads, stream);
}

template <class Element, int kBits>
cudaError_t LaunchEncode(const IntBatch& b, cudaStream_t stream) {
  const PlaneBatch& p = b.planes;
  const bool has_vectors = CanEncodeVectors(b, kBits);
  if (b.is_channel) {
    const uint64_t units = (p.tokens + b.unit_tokens - 1) / b.unit_tokens;
    const uint64_t columns =
        uint64_t{p.heads} * b.row_bytes / (has_vectors ? 2 : 1);
    return Launch(has_vectors ? EncodeIntChannels<Element, kBits, 2>
                              : EncodeIntChannels<Element, kBits, 1>,
                  b, units * ((columns + 31) / 32), dim3(32, kWarps), stream);
  }
  if (!has_vectors) {
    return Launch(EncodeIntPieces<Element, kBits>, b, ChunksOf(b),
                  dim3(kThreads), stream);
  }
  const uint64_t groups = uint64_t{p.tokens} * p.heads * b.row_groups;
  const uint64_t lanes = b.stride / (8 * kParts<kBits>);
  return Launch(EncodeIntGroups<Element, kBits>, b, BlocksOf(groups * lanes),
                dim3(kThreads), stream);
}

template <class Element>
cudaError_t LaunchOfType(const IntBatch& b, uint32_t bits, bool is_decode,
                         cudaStream_t stream) {
  switch (bits) {
    case 8:
      return is_decode ? LaunchDecode<Element, 8>(b, stream)
                       : LaunchEncode<Element, 8>(b, stream);
    case 4:
      return is_decode ? LaunchDecode<Element, 4>(b, stream)
                       : LaunchEncode<Element, 4>(b, stream);
    default:
      return is_decode ? LaunchDecode<Element, 2>(b, stream)
                       : LaunchEncode<Element, 2>(b, stream);
  }
}

int LaunchInt(const PlaneBatch& planes, const IntCodes& codes, bool is_decode,
              void* stream) {
  const IntBatch b = BatchOf(planes, codes);
  auto* const on = static_cast<cudaStream_t>(stream);
  return planes.is_bf16 ? LaunchOfType<Bf16>(b, codes.bits, is_decode, on)
                        : LaunchOfType<Fp16>(b, codes.bits, is_decode, on);
}

}  // namespace

int LaunchIntEncode(const PlaneBatch& batch, const IntCodes& codes,
                    void* stream) {
  return LaunchInt(batch, codes, false, stream);
}

int LaunchIntDecode(const PlaneBatch& batch, const IntCodes& codes,
                    void* stream) {
  return LaunchInt(batch, codes, true, stream);
}

}  // namespace banyan::codec
