#include "client/transport/grpc_transport.h"

#include <grpcpp/support/sync_stream.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/units.h"
#include "client/transport/frame_codec.h"
#include "client/transport/grpc_get_reader.h"
#include "client/transport/grpc_status.h"

namespace banyan::transport {
namespace {

namespace pb = banyan::v1;

constexpr size_t kFrameBytes = kMiB;

std::chrono::system_clock::time_point OnSystemClock(
    std::chrono::steady_clock::time_point time) {
  return std::chrono::system_clock::now() +
         std::chrono::duration_cast<std::chrono::system_clock::duration>(
             time - std::chrono::steady_clock::now());
}

// A context with the deadline of a call, ended when the call is cancelled.
class CallContext {
 public:
  explicit CallContext(const Call& call)
      : on_cancel_(call.cancel, [this] { context_.TryCancel(); }) {
    context_.set_deadline(OnSystemClock(call.deadline));
  }

  grpc::ClientContext& operator*() { return context_; }
  grpc::ClientContext* get() { return &context_; }

 private:
  grpc::ClientContext context_;
  const std::stop_callback<std::function<void()>> on_cancel_;
};

void SetRun(const KeyRun& run, pb::KeyRun* out) {
  out->set_keys(run.keys.data(), run.keys.size());
  out->set_key_bytes(static_cast<uint32_t>(run.key_bytes));
  out->set_first_block(run.first_block);
  out->set_lead(run.lead.data(), run.lead.size());
}

template <typename Message>
void SetBlocks(const Blocks& blocks, Message* out) {
  out->set_namespace_id(blocks.namespace_id.data(), blocks.namespace_id.size());
  out->set_salt(blocks.salt.data(), blocks.salt.size());
  SetRun(blocks.run, out->mutable_run());
}

// Sends blocks in frames of about kFrameBytes. Each part is copied first, since
// gRPC may hold a slice longer than the call lasts.
class BlockSender {
 public:
  BlockSender(const PutRequest& request,
              grpc::ClientWriter<grpc::ByteBuffer>& writer)
      : writer_(writer) {
    frame_.AddBytes(kPutSessionId,
                    {request.session_id.data(), request.session_id.size()});
    frame_.AddBytes(kPutWriteId,
                    {request.write_id.data(), request.write_id.size()});
  }

  // False: the node takes no more.
  bool Send(const OutgoingBlock& block) {
    for (size_t at = 0; at < block.payload.size();) {
      const size_t size = std::min(block.payload.size() - at, kFrameBytes);
      frame_.AddChunkCopy(kPutChunks, block.ordinal, at,
                          absl::MakeConstSpan(block.payload.data() + at, size));
      at += size;
      if (frame_.bytes() >= kFrameBytes && !Flush()) return false;
    }
    return true;
  }

  bool Flush() { return frame_.empty() || writer_.Write(frame_.Finish()); }

 private:
  grpc::ClientWriter<grpc::ByteBuffer>& writer_;
  FrameWriter frame_;
};

}  // namespace

GrpcTransport::GrpcTransport(std::shared_ptr<grpc::Channel> channel,
                             Verification verification)
    : channel_(std::move(channel)),
      stub_(pb::Cache::NewStub(channel_)),
      verification_(verification),
      match_streams_(*stub_) {}

absl::StatusOr<uint32_t> GrpcTransport::Match(const Blocks& blocks,
                                              const Call& call) {
  pb::MatchPrefixRequest request;
  SetBlocks(blocks, &request);
  pb::MatchPrefixResponse response;
  CallContext context(call);
  // The streams know a deadline only.
  std::optional<grpc::Status> status;
  if (!call.cancel.stop_possible()) {
    status = match_streams_.Ask(request, (*context).deadline(), response);
  }
  if (!status.has_value()) {
    status = stub_->MatchPrefix(context.get(), request, &response);
  }
  if (!status->ok()) return FromGrpc(*status);
  return std::min(response.hit_blocks(),
                  static_cast<uint32_t>(blocks.run.size()));
}

absl::Status GrpcTransport::Get(const GetRequest& request, const Call& call,
                                GetResult& result) {
  pb::GetBlocksRequest message;
  SetBlocks(request.blocks, message.mutable_by_keys());
  message.mutable_by_keys()->set_mode(pb::ACQUIRE_MODE_LONGEST_PREFIX);
  message.set_first_piece(request.pieces.first);
  message.set_piece_count(request.pieces.count);
  CallContext context(call);
  GrpcGetReader reader(request, verification_, result);
  return FromGrpc(reader.Read(*channel_, *context, message));
}

absl::Status GrpcTransport::Put(const PutRequest& request, const Call& call,
                                SentChecksums& sent) {
  sent.clear();
  CallContext context(call);
  grpc::ByteBuffer response;
  const grpc::internal::RpcMethod method(
      "/banyan.v1.Cache/PutBlocks",
      grpc::internal::RpcMethod::CLIENT_STREAMING);
  const std::unique_ptr<grpc::ClientWriter<grpc::ByteBuffer>> writer(
      grpc::internal::ClientWriterFactory<grpc::ByteBuffer>::Create(
          channel_.get(), method, context.get(), &response));
  BlockSender sender(request, *writer);
  bool is_open = true;
  for (const OutgoingBlock& block : request.blocks) {
    is_open = is_open && sender.Send(block);
    // Now that the bytes are in the caches, and others are on their way.
    sent.push_back(
        PackedChecksums(block.checksum_seed, block.payload, block.piece_bytes));
  }
  if (is_open) sender.Flush();
  writer->WritesDone();
  return FromGrpc(writer->Finish());
}

}  // namespace banyan::transport
