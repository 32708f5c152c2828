// Encodes planes that lie on a CUDA device, and decodes them there: the same
// bytes as PlaneCodec has, which is the host's way. A call takes planes of one
// shape, such as the keys of all layers of a block, and queues its work on a
// stream; what the kernels found is read from `verdicts` once that got there.
//
// A piece, that is an encoded layer, is verified by CheckPiecesOnDevice: queue it
// on the same stream before the decoders, which then read from the device's cache.
//
// Not here: heads of layers (64 bytes, written by BlockCodec), rows that are
// kept as they are (copy them).
//
// Threads: pure functions of their arguments.
// Errors:  kInvalidArgument reason CODEC: a spec that has no kernel, or planes
//          that it does not take; nothing was queued. kUnavailable reason CUDA:
//          this build has no CUDA, the machine has none, or a launch failed.
//          Values that do not fit, bytes that no encoder writes, and checksums
//          that do not match are said by verdicts only.
// Format:  docs/formats/codec_block.md.
// Oracle:  the host's codecs; tests/testing/plane_cases.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/codec/calibration.h"
#include "kernels/codec/codec_spec.h"
#include "kernels/codec/plane.h"
#include "kernels/codec/rope.h"
#include "kernels/device_stream.h"

namespace banyan::codec {

// All addresses are the device's; strides are in bytes.
struct DevicePlanes {
  // Rows of the first plane; multiples of 2, like all strides. Vectors of 16
  // bytes are used where everything is a multiple of 16.
  std::byte* rows = nullptr;
  uint64_t plane_stride_bytes = 0;
  uint64_t token_stride_bytes = 0;
  uint64_t head_stride_bytes = 0;
  // PlaneCodec::EncodedBytes(tokens) of each plane; they lie anywhere.
  std::byte* encoded = nullptr;
  uint64_t encoded_stride_bytes = 0;
  // lossless and cold only: [planes], where each plane begins behind `encoded`, if
  // not by the stride: lengths of planes differ. Of each EncodedBytes(tokens) may
  // be read, or written, which is the most that it has.
  const uint64_t* encoded_begins = nullptr;
  // lossless only, to encode: [planes, kLosslessCounts], zeroed by the caller, and
  // [planes], written: how many bytes each plane has.
  uint32_t* lossless_counts = nullptr;
  uint64_t* lossless_bytes = nullptr;
  // nuq only: [planes] tables as FillNuqTable writes them, each of
  // NuqTableFloats; a multiple of 16.
  const float* nuq_tables = nullptr;
  // cold only: [planes] tables as FillColdTable writes them for so many tokens,
  // each of ColdTableFloats; room for ColdScratchFloats, or
  // ColdEncodeScratchFloats, which is no other work's until this has been done; and, to
  // encode, [planes], written: how many bytes each plane has.
  const float* cold_tables = nullptr;
  float* cold_scratch = nullptr;
  uint64_t* cold_bytes = nullptr;
  // [planes], zeroed by the caller: see VerdictStatus.
  uint32_t* verdicts = nullptr;
  uint32_t planes = 0;  // At most 65535.
  uint32_t tokens = 0;
};

// What lossless planes are counted in.
inline constexpr uint32_t kLosslessCounts = 2 * 256;

// A RopeTable of these tokens; wanted by specs with ":pre", and by no other.
struct DeviceRope {
  const float* cosines = nullptr;  // [token, pair]
  const float* sines = nullptr;
  uint32_t pairs = 0;
  RopePairs order = RopePairs::kHalves;
};

// What a device must have of the calibration of one plane: for every layer it
// is written once, and copied there. Requires: a nuq spec.
uint64_t NuqTableFloats(const PlaneSpec& spec, const PlaneShape& shape);

// Writes NuqTableFloats to the front of `to`.
// Requires: tables fit spec and shape, as for NuqCodec.
void FillNuqTable(const PlaneSpec& spec, const PlaneShape& shape,
                  const NuqTables& tables, absl::Span<float> to);

// The same of a plane of a cold codec, which has a table with and without a
// calibration. Requires: a cold spec.
uint64_t ColdTableFloats(const PlaneSpec& spec, const PlaneShape& shape);

// Writes ColdTableFloats to the front of `to`, for planes of so many tokens.
// `tables` are as for ColdCodec.
void FillColdTable(const PlaneSpec& spec, const PlaneShape& shape,
                   uint32_t tokens, const ColdTables* tables,
                   absl::Span<float> to);

// Floats that DecodePlanesOnDevice writes on the way: four bytes for each element,
// eight if the spec is weighted, and some more.
uint64_t ColdScratchFloats(const PlaneSpec& spec, const PlaneShape& shape,
                           uint32_t planes, uint32_t tokens);

// The same of EncodePlanesOnDevice: eight bytes for each element, and as much for
// its factors at most, and some more.
uint64_t ColdEncodeScratchFloats(const PlaneSpec& spec, const PlaneShape& shape,
                                 uint32_t planes, uint32_t tokens);

// Writes `encoded`, reads `rows`. Neither overlaps the other. kvarn takes rows of
// 256 at most. Of a cold plane's bytes all EncodedBytes(tokens) may be written.
absl::Status EncodePlanesOnDevice(const PlaneSpec& spec,
                                  const PlaneShape& shape,
                                  const DevicePlanes& planes,
                                  const DeviceRope& rope, DeviceStream stream);

// Writes `rows`, reads `encoded`. Of lossless and cold planes, bytes behind the last
// unit are not looked at.
absl::Status DecodePlanesOnDevice(const PlaneSpec& spec,
                                  const PlaneShape& shape,
                                  const DevicePlanes& planes,
                                  const DeviceRope& rope, DeviceStream stream);

// All addresses are the device's. Pieces lie anywhere; those that are multiples of
// 8, and their stride, are read eight bytes at a time.
struct DevicePieces {
  const std::byte* bytes = nullptr;  // Of the first piece.
  uint64_t stride_bytes = 0;
  uint64_t piece_bytes = 0;  // Of each; at least 241.
  // [pieces]; PieceSeed (base/block_header.h) of each.
  const uint64_t* seeds = nullptr;
  // [pieces, 2]; the checksum that each must have: low, high.
  const uint64_t* checksums = nullptr;
  uint32_t* verdicts = nullptr;  // [pieces], zeroed by the caller.
  uint32_t pieces = 0;
};

// Sums all pieces with XXH3-128; says by verdicts which are damaged. What was
// decoded from those means nothing.
absl::Status CheckPiecesOnDevice(const DevicePieces& pieces,
                                 DeviceStream stream);

// What PlaneCodec's Encode or Decode would have said of the plane. Unless it is
// OK, what was written for that plane means nothing.
absl::Status VerdictStatus(uint32_t verdict);

}  // namespace banyan::codec
