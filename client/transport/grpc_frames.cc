#include "client/transport/grpc_frames.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::transport {

absl::Status ServerBrokeProtocol(absl::string_view what) {
  return MakeError(absl::StatusCode::kInternal, "PROTOCOL",
                   absl::StrCat("server: sent ", what,
                                ". Treat as a miss; check the network path "
                                "and both versions."));
}

bool IsGoodEnough(const QualityFloor& quality,
                  const banyan::v1::BlockHead& head) {
  std::optional<uint8_t> error_class;
  if (head.has_error_class() && head.error_class() <= UINT8_MAX) {
    error_class = static_cast<uint8_t>(head.error_class());
  }
  return quality.Admits(error_class);
}

absl::Status ReadFrames(grpc::ClientReader<grpc::ByteBuffer>& reader,
                        FrameSink& sink) {
  grpc::ByteBuffer frame;
  std::vector<grpc::Slice> slices;
  while (reader.Read(&frame)) {
    slices.clear();
    if (!frame.Dump(&slices).ok()) {
      return MakeError(absl::StatusCode::kInvalidArgument, "FRAME",
                       "frame: cannot be read.");
    }
    BANYAN_RETURN_IF_ERROR(ParseFrame(slices, kGetChunks, sink));
  }
  return absl::OkStatus();
}

}  // namespace banyan::transport
