#include "client/cpp/node_calls.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "client/cpp/get_reader.h"
#include "client/cpp/wire.h"
#include "client/transport/frame_codec.h"
#include "google/rpc/error_details.pb.h"

namespace banyan::client {
namespace {

namespace pb = banyan::v1;

constexpr size_t kFrameBytes = kMiB;
constexpr uint32_t kGroupBlocksUnknown = 32;

absl::Status CheckBlocks(const NodeCalls::Blocks& blocks) {
  if (blocks.key_bytes != 0 && !blocks.keys.empty() &&
      blocks.keys.size() % blocks.key_bytes == 0) {
    return absl::OkStatus();
  }
  return MakeError(absl::StatusCode::kInvalidArgument, "KEYS",
                   absl::StrCat("keys: ", blocks.keys.size(),
                                " bytes are no positive multiple of key_bytes ",
                                blocks.key_bytes, "."));
}

void AddStats(const ClientStats& more, ClientStats& stats) {
  stats.hit_blocks += more.hit_blocks;
  stats.corrupt_checksum += more.corrupt_checksum;
  stats.corrupt_length += more.corrupt_length;
  stats.corrupt_server += more.corrupt_server;
  stats.broken_frame += more.broken_frame;
  stats.broken_order += more.broken_order;
  stats.unanswered += more.unanswered;
}

}  // namespace

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  details.ParseFromString(status.error_details());
  for (const auto& detail : details.details()) {
    if (detail.UnpackTo(&info)) break;
  }
  return MakeError(static_cast<absl::StatusCode>(status.error_code()),
                   info.reason(), status.error_message());
}

NodeCalls::NodeCalls(const ClientOptions& options,
                     std::shared_ptr<grpc::Channel> channel,
                     std::string client_id)
    : options_(options),
      channel_(std::move(channel)),
      stub_(pb::Cache::NewStub(channel_)),
      match_streams_(*stub_),
      breaker_(Clock::Monotonic()),
      session_(channel_, std::move(client_id), options.engine) {}

ClientStats NodeCalls::stats() const {
  MutexLock lock(stats_mutex_);
  return stats_;
}

template <typename Call>
absl::Status NodeCalls::Run(absl::Duration timeout, int tries,
                            const Call& call) {
  const auto deadline =
      std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout);
  while (true) {
    BANYAN_RETURN_IF_ERROR(breaker_.Admit());
    grpc::ClientContext context;
    context.set_deadline(deadline);
    const absl::Status status = FromGrpc(call(context));
    breaker_.Report(status);
    // A deadline that passed is the call's own; there is no time for another.
    if (!absl::IsUnavailable(status) || !IsNodeGone(status) || --tries == 0 ||
        !breaker_.TakeRetry()) {
      return status;
    }
  }
}

absl::Duration NodeCalls::LoadTimeout(uint64_t bytes) const {
  const uint64_t parts = std::max<uint64_t>(1, CeilDiv(bytes, 64 * kMiB));
  return absl::Milliseconds(options_.load_timeout_ms) * parts;
}

absl::StatusOr<OpenedNamespace> NodeCalls::OpenNamespace(
    std::string_view name, const Fingerprint& fingerprint) {
  pb::OpenNamespaceRequest request;
  request.set_name(std::string(name));
  SetFingerprint(fingerprint, request.mutable_fingerprint());
  pb::OpenNamespaceResponse response;
  BANYAN_RETURN_IF_ERROR(Run(absl::Milliseconds(options_.lookup_timeout_ms), 3,
                             [&](grpc::ClientContext& context) {
                               return stub_->OpenNamespace(&context, request,
                                                           &response);
                             }));
  OpenedNamespace opened{.id = response.namespace_id(),
                         .fingerprint = response.fingerprint(),
                         .name = response.name(),
                         .is_created = response.created()};
  for (const auto& near_miss : response.near_misses()) {
    opened.near_misses.push_back(
        absl::StrCat(near_miss.name(), " (", near_miss.fields(0), ")"));
  }
  return opened;
}

void NodeCalls::Match(const Blocks& blocks, Completion& out) {
  out.status = CheckBlocks(blocks);
  if (!out.status.ok()) return;
  pb::MatchPrefixRequest request;
  request.set_namespace_id(blocks.namespace_id);
  request.set_salt(blocks.salt);
  request.mutable_run()->set_keys(blocks.keys);
  request.mutable_run()->set_key_bytes(static_cast<uint32_t>(blocks.key_bytes));
  pb::MatchPrefixResponse response;
  out.status = Run(absl::Milliseconds(options_.lookup_timeout_ms), 3,
                   [&](grpc::ClientContext& context) {
                     const auto answered = match_streams_.Ask(
                         request, context.deadline(), response);
                     if (answered.has_value()) return *answered;
                     return stub_->MatchPrefix(&context, request, &response);
                   });
  const size_t keys = blocks.keys.size() / blocks.key_bytes;
  if (out.status.ok()) {
    out.hit_blocks =
        std::min(response.hit_blocks(), static_cast<uint32_t>(keys));
  }
}

void NodeCalls::Hint(const Blocks& blocks, const ReuseHint& hint,
                     Completion& out) {
  out.status = CheckBlocks(blocks);
  if (!out.status.ok()) return;
  pb::HintRequest request;
  request.set_namespace_id(blocks.namespace_id);
  request.set_salt(blocks.salt);
  request.mutable_run()->set_keys(blocks.keys);
  request.mutable_run()->set_key_bytes(static_cast<uint32_t>(blocks.key_bytes));
  SetHint(hint, request.mutable_hint());
  pb::HintResponse response;
  out.status = Run(absl::Milliseconds(options_.lookup_timeout_ms), 3,
                   [&](grpc::ClientContext& context) {
                     return stub_->Hint(&context, request, &response);
                   });
  if (out.status.ok()) out.hit_blocks = response.hinted_blocks();
}

void NodeCalls::Get(const Blocks& blocks,
                    const std::vector<std::span<std::byte>>& buffers,
                    Completion& out) {
  out.reads.assign(buffers.size(), ReadResult::kMiss);
  out.read_bytes.assign(buffers.size(), 0);
  out.read_tiers.assign(buffers.size(), Tier::kHost);
  out.status = CheckBlocks(blocks);
  if (!out.status.ok() || buffers.empty()) return;
  uint32_t group_blocks = kGroupBlocksUnknown;
  if (blocks.first > 0) {
    const auto session =
        session_.Wait(absl::Milliseconds(options_.lookup_timeout_ms));
    out.status = session.status();
    if (!session.ok()) return;
    group_blocks = session->limits.group_blocks();
  }
  pb::GetBlocksRequest request;
  auto* const by_keys = request.mutable_by_keys();
  by_keys->set_namespace_id(blocks.namespace_id);
  by_keys->set_salt(blocks.salt);
  by_keys->set_mode(pb::ACQUIRE_MODE_LONGEST_PREFIX);
  SetRun(blocks.keys, blocks.key_bytes, blocks.first,
         static_cast<uint32_t>(buffers.size()), group_blocks,
         by_keys->mutable_run());
  uint64_t bytes = 0;
  for (const auto& buffer : buffers) bytes += buffer.size();
  out.status = Run(LoadTimeout(bytes), 1, [&](grpc::ClientContext& context) {
    GetReader reader(blocks.namespace_id, blocks.salt, by_keys->run(), buffers,
                     options_.verify_checksums, out);
    const grpc::Status status = reader.Read(*channel_, context, request);
    MutexLock lock(stats_mutex_);
    AddStats(reader.stats(), stats_);
    return status;
  });
  for (const ReadResult read : out.reads) {
    if (read != ReadResult::kHit) break;
    ++out.hit_blocks;
  }
}

void NodeCalls::Put(const Blocks& blocks,
                    const std::vector<std::span<const std::byte>>& payloads,
                    const PutOptions& options, Completion& out) {
  out.status = CheckBlocks(blocks);
  if (!out.status.ok() || payloads.empty()) return;
  // In parts of bounded size, each reserved, sent and committed by itself.
  constexpr uint64_t kPartBytes = 128 * kMiB;
  size_t begin = 0;
  while (begin < payloads.size() && out.status.ok()) {
    size_t end = begin;
    uint64_t bytes = 0;
    while (end < payloads.size() &&
           (end == begin || bytes + payloads[end].size() <= kPartBytes)) {
      bytes += payloads[end++].size();
    }
    Blocks part = blocks;
    part.first = blocks.first + static_cast<uint32_t>(begin);
    out.status = PutSome(
        part, {payloads.begin() + begin, payloads.begin() + end}, options, out);
    begin = end;
  }
}

absl::Status NodeCalls::SendChunks(
    const SessionFacts& session, const std::string& write_id,
    const pb::ReserveResponse& reserved,
    const std::vector<std::span<const std::byte>>& payloads) {
  uint64_t bytes = 0;
  for (const auto& payload : payloads) bytes += payload.size();
  return Run(LoadTimeout(bytes), 1, [&](grpc::ClientContext& context) {
    grpc::ByteBuffer response;
    const grpc::internal::RpcMethod method(
        "/banyan.v1.Cache/PutBlocks",
        grpc::internal::RpcMethod::CLIENT_STREAMING);
    const std::unique_ptr<grpc::ClientWriter<grpc::ByteBuffer>> writer(
        grpc::internal::ClientWriterFactory<grpc::ByteBuffer>::Create(
            channel_.get(), method, &context, &response));
    transport::FrameWriter frame;
    frame.AddBytes(transport::kPutSessionId, session.id);
    frame.AddBytes(transport::kPutWriteId, write_id);
    bool is_open = true;
    for (size_t i = 0; i < payloads.size() && is_open; ++i) {
      if (reserved.verdicts(static_cast<int>(i)) != pb::WRITE_VERDICT_WRITE) {
        continue;
      }
      const auto& payload = payloads[i];
      for (size_t at = 0; at < payload.size() && is_open;) {
        const size_t size = std::min(payload.size() - at, kFrameBytes);
        // Copied: gRPC may hold a slice longer than the call lasts.
        frame.AddChunkCopy(transport::kPutChunks, static_cast<uint32_t>(i), at,
                           absl::MakeConstSpan(payload.data() + at, size));
        at += size;
        if (frame.bytes() >= kFrameBytes)
          is_open = writer->Write(frame.Finish());
      }
    }
    if (is_open && !frame.empty()) writer->Write(frame.Finish());
    writer->WritesDone();
    return writer->Finish();
  });
}

absl::Status NodeCalls::PutSome(
    const Blocks& blocks,
    const std::vector<std::span<const std::byte>>& payloads,
    const PutOptions& options, Completion& out) {
  BANYAN_ASSIGN_OR_RETURN(
      const SessionFacts session,
      session_.Wait(absl::Milliseconds(options_.lookup_timeout_ms)));
  const absl::Duration timeout = absl::Milliseconds(options_.load_timeout_ms);
  pb::ReserveRequest reserve;
  reserve.set_session_id(session.id);
  reserve.set_namespace_id(blocks.namespace_id);
  reserve.set_salt(blocks.salt);
  reserve.set_piece_bytes(options.piece_bytes);
  const bool is_durable = options.durability == Durability::kDurable;
  reserve.set_durability(is_durable ? pb::DURABILITY_DURABLE
                                    : pb::DURABILITY_MEMORY);
  SetRun(blocks.keys, blocks.key_bytes, blocks.first,
         static_cast<uint32_t>(payloads.size()), session.limits.group_blocks(),
         reserve.mutable_run());
  for (const auto& payload : payloads) {
    reserve.add_payload_bytes(payload.size());
  }
  pb::ReserveResponse reserved;
  absl::Status status = Run(timeout, 1, [&](grpc::ClientContext& context) {
    return stub_->Reserve(&context, reserve, &reserved);
  });
  if (ErrorReason(status) == "SESSION") session_.Lost(session.id);
  BANYAN_RETURN_IF_ERROR(status);
  if (reserved.verdicts_size() != static_cast<int>(payloads.size())) {
    return absl::InternalError("server: wrong number of verdicts.");
  }
  for (const int verdict : reserved.verdicts()) {
    out.writes.push_back(WriteResultOf(verdict));
  }
  if (reserved.write_id().empty()) return absl::OkStatus();

  const std::string write_id = reserved.write_id();
  status = SendChunks(session, write_id, reserved, payloads);
  if (status.ok()) {
    pb::CommitRequest commit;
    commit.set_session_id(session.id);
    commit.set_write_id(write_id);
    for (size_t i = 0; i < payloads.size(); ++i) {
      if (reserved.verdicts(static_cast<int>(i)) != pb::WRITE_VERDICT_WRITE) {
        continue;
      }
      auto* const block = commit.add_blocks();
      block->set_ordinal(static_cast<uint32_t>(i));
      block->set_checksums(Checksums(
          IdentityOf(blocks.namespace_id, blocks.salt, reserve.run(), i),
          payloads[i], options.piece_bytes));
    }
    pb::CommitResponse committed;
    status = Run(timeout, 3, [&](grpc::ClientContext& context) {
      return stub_->Commit(&context, commit, &committed);
    });
    if (status.ok() && committed.outcomes_size() != commit.blocks_size()) {
      status = absl::InternalError("server: wrong number of outcomes.");
    }
    if (status.ok() && committed.durability() != reserve.durability()) {
      status = absl::InternalError("server: less durable than was asked for.");
    }
  }
  if (!status.ok()) {  // The node may not know yet that it is over.
    pb::AbortRequest abort;
    abort.set_session_id(session.id);
    abort.set_write_id(write_id);
    pb::AbortResponse aborted;
    Run(timeout, 1, [&](grpc::ClientContext& context) {
      return stub_->Abort(&context, abort, &aborted);
    }).IgnoreError();
  }
  return status;
}

}  // namespace banyan::client
