// Encodes planes that lie on a CUDA device, and decodes them there: the same
// bytes as PlaneCodec has, which is the host's way. A call takes planes of one
// shape, such as the keys of all layers of a block, and queues its work on a
// stream; what the kernels found is read from `verdicts` once that got there.
//
// Not here: heads of layers (64 bytes, written by BlockCodec), rows that are
// kept as they are (copy them), checksums (verify before you decode).
//
// Threads: pure functions of their arguments.
// Errors:  kInvalidArgument reason CODEC: a spec that has no kernel, or planes
//          that it does not take; nothing was queued. kUnavailable reason CUDA:
//          this build has no CUDA, the machine has none, or a launch failed.
//          Values that do not fit, and bytes that no encoder writes, are said by
//          verdicts only.
// Format:  docs/formats/codec_block.md.
// Oracle:  the host's codecs; tests/testing/plane_cases.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
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
  // [planes], zeroed by the caller: see VerdictStatus.
  uint32_t* verdicts = nullptr;
  uint32_t planes = 0;  // At most 65535.
  uint32_t tokens = 0;
};

// A RopeTable of these tokens; wanted by specs with ":pre", and by no other.
struct DeviceRope {
  const float* cosines = nullptr;  // [token, pair]
  const float* sines = nullptr;
  uint32_t pairs = 0;
  RopePairs order = RopePairs::kHalves;
};

// Writes `encoded`, reads `rows`. Neither overlaps the other.
absl::Status EncodePlanesOnDevice(const PlaneSpec& spec,
                                  const PlaneShape& shape,
                                  const DevicePlanes& planes,
                                  const DeviceRope& rope, DeviceStream stream);

// Writes `rows`, reads `encoded`.
absl::Status DecodePlanesOnDevice(const PlaneSpec& spec,
                                  const PlaneShape& shape,
                                  const DevicePlanes& planes,
                                  const DeviceRope& rope, DeviceStream stream);

// What PlaneCodec's Encode or Decode would have said of the plane. Unless it is
// OK, what was written for that plane means nothing.
absl::Status VerdictStatus(uint32_t verdict);

}  // namespace banyan::codec
