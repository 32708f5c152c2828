#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/xxh3_secret.h"
#include "kernels/codec/device_codec.h"
#include "kernels/codec/launch_codec.h"
#include "kernels/cuda_status.h"

namespace banyan::codec {
namespace {

// What a grid's first dimension takes.
constexpr uint32_t kPiecesMax = 0x7FFFFFFF;

absl::Status Bad(absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "CODEC",
                   absl::StrCat("codec: on a device, a check ", what));
}

}  // namespace

absl::Status CheckPiecesOnDevice(const DevicePieces& pieces,
                                 DeviceStream stream) {
  if (pieces.pieces == 0 || pieces.pieces > kPiecesMax) {
    return Bad(absl::StrCat("takes 1 to ", kPiecesMax, " pieces, got ",
                            pieces.pieces, "."));
  }
  if (pieces.piece_bytes < kCheckedBytesMin) {
    return Bad(absl::StrCat("takes pieces of ", kCheckedBytesMin,
                            " bytes at least, got ", pieces.piece_bytes,
                            ". Verify them on the host."));
  }
  PieceBatch batch = {.pieces = pieces.bytes,
                      .stride = pieces.stride_bytes,
                      .bytes = pieces.piece_bytes,
                      .seeds = pieces.seeds,
                      .checksums = pieces.checksums,
                      .verdicts = pieces.verdicts,
                      .count = pieces.pieces,
                      .secret = {}};
  const auto* const secret =
      reinterpret_cast<const std::byte*>(kXxh3Secret.data());
  for (size_t i = 0; i < std::size(batch.secret); ++i) {
    batch.secret[i] = LoadLe64(secret + 8 * i);
  }
  return CudaStatus(LaunchXxh3Check(batch, stream.handle), "check of pieces");
}

}  // namespace banyan::codec
