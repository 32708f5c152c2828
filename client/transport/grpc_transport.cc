#include "client/transport/grpc_transport.h"

#include <grpcpp/support/sync_stream.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "base/block_header.h"
#include "base/error.h"
#include "base/units.h"
#include "client/transport/frame_codec.h"
#include "client/transport/grpc_get_reader.h"
#include "client/transport/grpc_layer_reader.h"
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

template <typename Message>
void SetQuality(const QualityFloor& quality, Message* out) {
  if (quality.is_any()) return;
  out->mutable_quality()->set_error_max(quality.error_max());
}

// Sends blocks in frames of about kFrameBytes. Each part is copied first, since
// gRPC may hold a slice longer than the call lasts.
class BlockSender {
 public:
  BlockSender(std::string_view session_id, std::string_view write_id,
              grpc::ClientWriter<grpc::ByteBuffer>& writer)
      : writer_(writer) {
    frame_.AddBytes(kPutSessionId, {session_id.data(), session_id.size()});
    frame_.AddBytes(kPutWriteId, {write_id.data(), write_id.size()});
  }

  // Bytes that lie at `offset` of a block. False: the node takes no more.
  bool Send(uint32_t ordinal, uint64_t offset,
            std::span<const std::byte> bytes) {
    for (size_t at = 0; at < bytes.size();) {
      const size_t size = std::min(bytes.size() - at, kFrameBytes);
      frame_.AddChunkCopy(kPutChunks, ordinal, offset + at,
                          absl::MakeConstSpan(bytes.data() + at, size));
      at += size;
      if (frame_.bytes() >= kFrameBytes && !Flush()) return false;
    }
    return true;
  }

  // The checksum of a piece, after its bytes.
  void SendSum(uint32_t ordinal, uint32_t piece, const Checksum128& checksum) {
    std::byte packed[kChecksumBytes];
    StoreChecksum(checksum, packed);
    pb::PieceSums sums;
    sums.set_ordinal(ordinal);
    sums.set_first_piece(piece);
    sums.set_checksums(packed, sizeof(packed));
    frame_.AddBytes(kPutSums, sums.SerializeAsString());
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
  SetQuality(request.quality, message.mutable_by_keys());
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
  BlockSender sender(request.session_id, request.write_id, *writer);
  bool is_open = true;
  for (const OutgoingBlock& block : request.blocks) {
    is_open = is_open && sender.Send(block.ordinal, 0, block.payload);
    // Now that the bytes are in the caches, and others are on their way.
    sent.push_back(
        PackedChecksums(block.checksum_seed, block.payload, block.piece_bytes));
  }
  if (is_open) sender.Flush();
  writer->WritesDone();
  return FromGrpc(writer->Finish());
}

absl::Status GrpcTransport::GetLayers(const LayersRequest& request,
                                      const Call& call, GetResult& result) {
  pb::GetLayersRequest message;
  SetBlocks(Blocks{.namespace_id = request.namespace_id,
                   .salt = request.salt,
                   .run = request.run},
            &message);
  SetQuality(request.quality, &message);
  message.set_first_layer(request.layers.first);
  message.set_layer_count(request.layers.count);
  message.set_follow(!request.follower.empty());
  message.set_session_id(request.follower.data(), request.follower.size());
  CallContext context(call);
  GrpcLayerReader reader(request, verification_, result);
  const absl::Status status =
      FromGrpc(reader.Read(*channel_, *context, message));
  if (absl::IsDeadlineExceeded(status) && reader.IsWaitingForWriter()) {
    return WriterIsSlow();
  }
  return status;
}

absl::Status GrpcTransport::PutPieces(const PiecesRequest& request,
                                      const Call& call,
                                      std::vector<Checksum128>& sums) {
  sums.clear();
  CallContext context(call);
  grpc::ByteBuffer response;
  const grpc::internal::RpcMethod method(
      "/banyan.v1.Cache/PutLayers",
      grpc::internal::RpcMethod::CLIENT_STREAMING);
  const std::unique_ptr<grpc::ClientWriter<grpc::ByteBuffer>> writer(
      grpc::internal::ClientWriterFactory<grpc::ByteBuffer>::Create(
          channel_.get(), method, context.get(), &response));
  BlockSender sender(request.session_id, request.write_id, *writer);
  bool is_open = true;
  for (const OutgoingPiece& piece : request.pieces) {
    sums.push_back(PieceChecksum(
        piece.checksum_seed, piece.piece,
        absl::MakeConstSpan(piece.bytes.data(), piece.bytes.size())));
    is_open =
        is_open && sender.Send(piece.ordinal, piece.piece * request.piece_bytes,
                               piece.bytes);
    if (is_open) sender.SendSum(piece.ordinal, piece.piece, sums.back());
  }
  if (is_open) sender.Flush();
  writer->WritesDone();
  return FromGrpc(writer->Finish());
}

}  // namespace banyan::transport
