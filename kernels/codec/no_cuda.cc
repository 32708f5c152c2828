// Stands for CUDA's files in builds without it.
#include "base/error.h"
#include "kernels/codec/device_codec.h"

namespace banyan::codec {
namespace {

absl::Status NoCuda() {
  return MakeError(absl::StatusCode::kUnavailable, "CUDA",
                   "this build has no CUDA. Use the host's codecs, or build "
                   "with BANYAN_CUDA=ON.");
}

}  // namespace

absl::Status EncodePlanesOnDevice(const PlaneSpec&, const PlaneShape&,
                                  const DevicePlanes&, const DeviceRope&,
                                  DeviceStream) {
  return NoCuda();
}

absl::Status DecodePlanesOnDevice(const PlaneSpec&, const PlaneShape&,
                                  const DevicePlanes&, const DeviceRope&,
                                  DeviceStream) {
  return NoCuda();
}

absl::Status CheckPiecesOnDevice(const DevicePieces&, DeviceStream) {
  return NoCuda();
}

}  // namespace banyan::codec
