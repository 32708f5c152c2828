// What the readers of frames over gRPC share.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/sync_stream.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "banyan/v1/cache.pb.h"
#include "base/representation.h"
#include "client/transport/frame_codec.h"

namespace banyan::transport {

// kInternal, reason PROTOCOL.
absl::Status ServerBrokeProtocol(absl::string_view what);

// Whether the node says that the block is as good as it was asked for. A node that
// does not know the question does not say.
bool IsGoodEnough(const QualityFloor& quality,
                  const banyan::v1::BlockHead& head);

// Reads frames with chunks in kGetChunks until the stream ends, or until one is
// bad: kInvalidArgument reason FRAME, or the sink's error. The caller finishes
// the stream.
absl::Status ReadFrames(grpc::ClientReader<grpc::ByteBuffer>& reader,
                        FrameSink& sink);

}  // namespace banyan::transport
