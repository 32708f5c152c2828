#include "client/transport/grpc_frames.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::transport {
namespace {

// Until the stream ends, or one is bad: kInvalidArgument reason FRAME, or the
// sink's error.
absl::Status ParseFrames(grpc::ClientReader<grpc::ByteBuffer>& reader,
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

}  // namespace

absl::Status ServerBrokeProtocol(absl::string_view what) {
  return MakeError(absl::StatusCode::kInternal, "PROTOCOL",
                   absl::StrCat("server: sent ", what,
                                ". Treat as a miss; check the network path "
                                "and both versions."));
}

absl::Status BrokenFrame(absl::string_view what, ClientStats& found) {
  ++found.broken_frame;
  return ServerBrokeProtocol(what);
}

absl::Status BrokenOrder(absl::string_view what, ClientStats& found) {
  ++found.broken_order;
  return ServerBrokeProtocol(what);
}

bool IsGoodEnough(const QualityFloor& quality,
                  const banyan::v1::BlockHead& head) {
  std::optional<uint8_t> error_class;
  if (head.has_error_class() && head.error_class() <= UINT8_MAX) {
    error_class = static_cast<uint8_t>(head.error_class());
  }
  return quality.Admits(error_class);
}

grpc::Status ReadFrames(grpc::ClientReader<grpc::ByteBuffer>& reader,
                        grpc::ClientContext& context, FrameSink& sink,
                        ClientStats& found) {
  absl::Status status = ParseFrames(reader, sink);
  if (ErrorReason(status) == "FRAME") {
    status = BrokenFrame("a broken frame", found);
  }
  if (!status.ok()) context.TryCancel();
  const grpc::Status finished = reader.Finish();
  if (status.ok()) return finished;
  return {static_cast<grpc::StatusCode>(status.code()),
          std::string(status.message())};
}

}  // namespace banyan::transport
