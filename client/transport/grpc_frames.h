// What the readers of frames over gRPC share.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/sync_stream.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "banyan/v1/cache.pb.h"
#include "base/representation.h"
#include "client/transport/frame_codec.h"
#include "client/transport/read_result.h"

namespace banyan::transport {

// kInternal, reason PROTOCOL.
absl::Status ServerBrokeProtocol(absl::string_view what);

// The same, and counts what the node broke.
absl::Status BrokenFrame(absl::string_view what, ClientStats& found);
absl::Status BrokenOrder(absl::string_view what, ClientStats& found);

// Whether the node says that the block is as good as it was asked for. A node that
// does not know the question does not say.
bool IsGoodEnough(const QualityFloor& quality,
                  const banyan::v1::BlockHead& head);

// Reads frames with chunks in kGetChunks until the stream ends, or until one is
// bad: an error of BrokenFrame, or of the sink, which cancels the call.
grpc::Status ReadFrames(grpc::ClientReader<grpc::ByteBuffer>& reader,
                        grpc::ClientContext& context, FrameSink& sink,
                        ClientStats& found);

// Asks with a message, and reads the frames of the answer. Path:
// "/package.Service/Method".
template <class Message>
grpc::Status AskForFrames(const char* path, grpc::Channel& channel,
                          grpc::ClientContext& context, const Message& message,
                          FrameSink& sink, ClientStats& found) {
  const grpc::internal::RpcMethod method(
      path, grpc::internal::RpcMethod::SERVER_STREAMING);
  const std::unique_ptr<grpc::ClientReader<grpc::ByteBuffer>> reader(
      grpc::internal::ClientReaderFactory<grpc::ByteBuffer>::Create(
          &channel, method, &context, message));
  return ReadFrames(*reader, context, sink, found);
}

}  // namespace banyan::transport
