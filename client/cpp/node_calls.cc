#include "client/cpp/node_calls.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/representation.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "client/cpp/wire.h"
#include "client/transport/grpc_status.h"

namespace banyan::client {
namespace {

// For a caller that has had an error already.
constexpr absl::Duration kAbortTimeout = absl::Milliseconds(100);

namespace pb = banyan::v1;

constexpr uint32_t kGroupBlocksUnknown = 32;

// Other than gRPC, which needs no picking.
bool IsOneTransportOnly(const ClientOptions& options) {
  return options.transport == TransportKind::kShm ||
         options.transport == TransportKind::kUcx;
}

const char* NameOf(TransportKind kind) {
  return kind == TransportKind::kShm ? "shm" : "ucx";
}

}  // namespace

absl::Status NodeCalls::CheckBlocks(const Blocks& blocks, size_t count) {
  if (blocks.key_bytes == 0 || blocks.key_bytes > kKeyBytesMax ||
      blocks.keys.empty() || blocks.keys.size() % blocks.key_bytes != 0) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "KEYS",
        absl::StrCat("keys: ", blocks.keys.size(),
                     " bytes are no positive multiple of key_bytes ",
                     blocks.key_bytes, " (1 to 64)."));
  }
  const size_t keys = blocks.keys.size() / blocks.key_bytes;
  if (blocks.first <= keys && count <= keys - blocks.first) {
    return absl::OkStatus();
  }
  return MakeError(absl::StatusCode::kInvalidArgument, "KEYS",
                   absl::StrCat("keys: the chain has ", keys, ", asked for ",
                                count, " from ", blocks.first, " on."));
}

transport::Blocks NodeCalls::BlocksOf(const Blocks& blocks, const KeyRun& run) {
  return {.namespace_id = blocks.namespace_id, .salt = blocks.salt, .run = run};
}

NodeCalls::NodeCalls(const ClientOptions& options,
                     std::shared_ptr<grpc::Channel> channel,
                     std::string client_id)
    : options_(options),
      channel_(std::move(channel)),
      stub_(pb::Cache::NewStub(channel_)),
      grpc_(channel_, options.verify_checksums
                          ? transport::Verification::kOn
                          : transport::Verification::kOffForBench),
      picker_(options_, *stub_),
      breaker_(Clock::Monotonic()),
      session_(channel_, std::move(client_id), options.engine, picker_) {}

ClientStats NodeCalls::stats() const {
  ClientStats stats{.connections_given_up = picker_.given_up()};
  MutexLock lock(stats_mutex_);
  stats += stats_;
  return stats;
}

absl::Status NodeCalls::Run(
    absl::Duration timeout, int tries,
    absl::FunctionRef<absl::Status(const transport::Call&)> attempt,
    std::stop_token cancel) {
  const transport::Call call{.deadline = std::chrono::steady_clock::now() +
                                         absl::ToChronoNanoseconds(timeout),
                             .cancel = std::move(cancel)};
  while (true) {
    BANYAN_RETURN_IF_ERROR(breaker_.Admit());
    const absl::Status status = attempt(call);
    breaker_.Report(status);
    // A deadline that passed is the call's own; there is no time for another.
    if (!absl::IsUnavailable(status) || !IsNodeGone(status) || --tries == 0 ||
        !breaker_.TakeRetry()) {
      return status;
    }
  }
}

absl::Status NodeCalls::RunRpc(
    absl::Duration timeout, int tries,
    absl::FunctionRef<grpc::Status(grpc::ClientContext&)> rpc) {
  const auto deadline =
      std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout);
  return Run(timeout, tries, [&](const transport::Call&) {
    grpc::ClientContext context;
    context.set_deadline(deadline);
    return transport::FromGrpc(rpc(context));
  });
}

absl::Duration NodeCalls::LoadTimeout(uint64_t bytes) const {
  const uint64_t parts = std::max<uint64_t>(1, CeilDiv(bytes, 64 * kMiB));
  return absl::Milliseconds(options_.load_timeout_ms) * parts;
}

absl::StatusOr<SessionFacts> NodeCalls::AwaitSession(absl::Duration timeout) {
  auto session = session_.Current();
  if (session.ok()) return session;
  BANYAN_RETURN_IF_ERROR(breaker_.Admit());
  session = session_.Wait(
      std::min(timeout, absl::Milliseconds(options_.lookup_timeout_ms)));
  breaker_.Report(session.status());
  return session;
}

absl::StatusOr<std::shared_ptr<transport::Transport>> NodeCalls::Picked(
    absl::Duration wait) {
  auto picked = picker_.picked();
  if (picked != nullptr && picked->is_alive()) return picked;
  if (!IsOneTransportOnly(options_)) {
    if (picked != nullptr)
      picker_.CountFallback();  // Its end is not known yet.
    return nullptr;
  }
  BANYAN_RETURN_IF_ERROR(session_.Wait(wait).status());
  picked = picker_.picked();
  if (picked != nullptr && picked->is_alive()) return picked;
  return MakeError(absl::StatusCode::kUnavailable, "TRANSPORT",
                   absl::StrCat("transport: ", NameOf(options_.transport),
                                " was asked for; ", picker_.facts().why));
}

absl::Status NodeCalls::OnTransport(
    const transport::Call& call,
    absl::FunctionRef<absl::Status(transport::Transport&)> attempt) {
  const absl::Duration left =
      absl::FromChrono(call.deadline - std::chrono::steady_clock::now());
  BANYAN_ASSIGN_OR_RETURN(
      const auto picked,
      Picked(std::min(left, absl::Milliseconds(options_.lookup_timeout_ms))));
  if (picked == nullptr) return attempt(grpc_);
  const absl::Status status = attempt(*picked);
  const std::string reason = ErrorReason(status);
  const bool is_for_grpc =
      reason == "COLD" || reason == "QUESTION" || reason == "LAYERS";
  const bool is_its_fault =
      is_for_grpc || absl::IsUnavailable(status) || reason == "LEASE";
  if (!is_its_fault) return status;
  if (IsOneTransportOnly(options_) && !is_for_grpc) return status;
  picker_.CountFallback();
  return attempt(grpc_);
}

std::shared_ptr<const BlockCoding> NodeCalls::CodingOf(
    const std::string& namespace_id) {
  MutexLock lock(codings_mutex_);
  const auto found = codings_.find(namespace_id);
  return found == codings_.end() ? nullptr : found->second;
}

absl::Status NodeCalls::RefuseEncoded(const std::string& namespace_id,
                                      std::string_view call) {
  if (CodingOf(namespace_id) == nullptr) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, "CODEC",
                   absl::StrCat(absl::string_view(call.data(), call.size()),
                                ": the blocks of this namespace are encoded. "
                                "Use Get and Put."));
}

void NodeCalls::Match(const Blocks& blocks, Completion& out) {
  out.status = CheckBlocks(blocks, 0);
  if (!out.status.ok()) return;
  const auto keys =
      static_cast<uint32_t>(blocks.keys.size() / blocks.key_bytes);
  const KeyRun run =
      RunOf(blocks.keys, blocks.key_bytes, 0, keys, kGroupBlocksUnknown);
  out.status =
      Run(absl::Milliseconds(options_.lookup_timeout_ms), 3,
          [&](const transport::Call& call) {
            return OnTransport(call, [&](transport::Transport& transport) {
              const auto hits = transport.Match(BlocksOf(blocks, run), call);
              if (hits.ok()) out.hit_blocks = *hits;
              return hits.status();
            });
          });
}

void NodeCalls::Hint(const Blocks& blocks, const ReuseHint& hint,
                     Completion& out) {
  out.status = CheckBlocks(blocks, 0);
  if (!out.status.ok()) return;
  pb::HintRequest request;
  request.set_namespace_id(blocks.namespace_id);
  request.set_salt(blocks.salt);
  request.mutable_run()->set_keys(blocks.keys);
  request.mutable_run()->set_key_bytes(static_cast<uint32_t>(blocks.key_bytes));
  SetHint(hint, request.mutable_hint());
  pb::HintResponse response;
  out.status = RunRpc(absl::Milliseconds(options_.lookup_timeout_ms), 3,
                      [&](grpc::ClientContext& context) {
                        return stub_->Hint(&context, request, &response);
                      });
  if (out.status.ok()) out.hit_blocks = response.hinted_blocks();
}

// Of the node; without asking it where that does not matter.
absl::StatusOr<uint32_t> NodeCalls::GroupBlocks(const Blocks& blocks,
                                                absl::Duration timeout) {
  if (blocks.first == 0) return kGroupBlocksUnknown;
  BANYAN_ASSIGN_OR_RETURN(const SessionFacts session, AwaitSession(timeout));
  return session.limits.group_blocks();
}

void NodeCalls::Get(const Blocks& blocks,
                    const std::vector<std::span<std::byte>>& buffers,
                    const GetOptions& options, Completion& out) {
  out.reads.assign(buffers.size(), ReadResult::kMiss);
  out.read_bytes.assign(buffers.size(), 0);
  out.read_tiers.assign(buffers.size(), Tier::kHost);
  out.status = CheckBlocks(blocks, buffers.size());
  const auto quality = FloorOf(options.error_max);
  out.status.Update(quality.status());
  if (!out.status.ok() || buffers.empty()) return;
  const auto group_blocks =
      GroupBlocks(blocks, absl::Milliseconds(options_.load_timeout_ms));
  out.status = group_blocks.status();
  if (!out.status.ok()) return;
  const KeyRun run =
      RunOf(blocks.keys, blocks.key_bytes, blocks.first,
            static_cast<uint32_t>(buffers.size()), *group_blocks);
  const auto coding = CodingOf(blocks.namespace_id);
  uint64_t bytes = 0;
  for (const auto& buffer : buffers) {
    bytes += buffer.size();
    if (coding == nullptr || buffer.size() >= coding->block_bytes()) continue;
    out.status = MakeError(
        absl::StatusCode::kInvalidArgument, "BUFFER",
        absl::StrCat("buffer: ", buffer.size(), " bytes, a block has ",
                     coding->block_bytes(), "."));
    return;
  }
  transport::GetResult result;
  out.status = Run(LoadTimeout(bytes), 1, [&](const transport::Call& call) {
    return OnTransport(call, [&](transport::Transport& transport) {
      // What was found wrong before a fallback counts, what was read does not.
      ClientStats before = std::exchange(result.found, {});
      before.hit_blocks = 0;
      const absl::Status status =
          transport.Get({.blocks = BlocksOf(blocks, run),
                         .buffers = buffers,
                         .quality = *quality},
                        call, result);
      result.found += before;
      return status;
    });
  });
  if (coding != nullptr) Decode(*coding, blocks.first, buffers, result);
  Take(result, buffers.size(), out);
}

void NodeCalls::Decode(const BlockCoding& coding, uint32_t first,
                       const std::vector<std::span<std::byte>>& buffers,
                       transport::GetResult& result) {
  for (size_t i = 0; i < result.blocks.size(); ++i) {
    transport::BlockRead& read = result.blocks[i];
    if (read.result != ReadResult::kHit) continue;
    const absl::Status status = coding.DecodeInPlace(
        first + static_cast<uint32_t>(i), buffers[i], read.payload_bytes);
    read.payload_bytes = coding.block_bytes();
    if (status.ok()) continue;
    read.result = ReadResult::kCorrupt;
    --result.found.hit_blocks;
    ++result.found.corrupt_codec;
  }
}

void NodeCalls::Take(const transport::GetResult& result, size_t blocks,
                     Completion& out) {
  out.reads.assign(blocks, ReadResult::kMiss);
  out.read_bytes.assign(blocks, 0);
  out.read_tiers.assign(blocks, Tier::kHost);
  for (size_t i = 0; i < result.blocks.size(); ++i) {
    out.reads[i] = result.blocks[i].result;
    out.read_bytes[i] = result.blocks[i].payload_bytes;
    out.read_tiers[i] = result.blocks[i].tier;
  }
  for (const ReadResult read : out.reads) {
    if (read != ReadResult::kHit) break;
    ++out.hit_blocks;
  }
  MutexLock lock(stats_mutex_);
  stats_ += result.found;
}

namespace {

// How long ending a view may take; the lease ends by itself, too.
constexpr std::chrono::milliseconds kReleaseTimeout{100};

class LeasedView final : public BlockView {
 public:
  LeasedView(std::shared_ptr<transport::ShmTransport> shm,
             transport::ShmTransport::Leased leased)
      : shm_(std::move(shm)), leased_(std::move(leased)) {}
  ~LeasedView() override {
    if (leased_.lease_id.empty()) return;
    shm_->Release(leased_.lease_id, CallFor(kReleaseTimeout)).IgnoreError();
  }

  const std::vector<std::span<const std::byte>>& blocks() const override {
    return leased_.blocks;
  }
  bool is_alive() const override {
    return std::chrono::steady_clock::now() < leased_.end && shm_->is_alive();
  }
  absl::Status Renew(int ttl_ms) override {
    BANYAN_ASSIGN_OR_RETURN(
        leased_.end,
        shm_->Renew(leased_.lease_id, std::chrono::milliseconds(ttl_ms),
                    CallFor(std::chrono::milliseconds(ttl_ms))));
    return absl::OkStatus();
  }

 private:
  static transport::Call CallFor(std::chrono::milliseconds timeout) {
    return {.deadline = std::chrono::steady_clock::now() + timeout};
  }

  const std::shared_ptr<transport::ShmTransport> shm_;
  transport::ShmTransport::Leased leased_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BlockView>> NodeCalls::GetView(
    const Blocks& blocks, uint32_t count, const ViewOptions& options) {
  BANYAN_RETURN_IF_ERROR(CheckBlocks(blocks, count));
  BANYAN_RETURN_IF_ERROR(RefuseEncoded(blocks.namespace_id, "view"));
  if (count == 0) {
    return MakeError(absl::StatusCode::kInvalidArgument, "KEYS",
                     "view: of 0 blocks. Ask for one or more.");
  }
  const absl::Duration timeout = absl::Milliseconds(options_.lookup_timeout_ms);
  BANYAN_ASSIGN_OR_RETURN(const uint32_t group_blocks,
                          GroupBlocks(blocks, timeout));
  if (IsOneTransportOnly(options_)) {
    BANYAN_RETURN_IF_ERROR(AwaitSession(timeout).status());
  }
  BANYAN_ASSIGN_OR_RETURN(const auto picked, Picked(absl::ZeroDuration()));
  const auto shm = picker_.shm();
  if (picked == nullptr || picked != shm) {
    const TransportFacts facts = picker_.facts();
    return MakeError(absl::StatusCode::kFailedPrecondition, "TRANSPORT",
                     absl::StrCat("view: blocks are read in place through "
                                  "shared memory only. Use Get. It is ",
                                  facts.name, ": ", facts.why));
  }
  const KeyRun run =
      RunOf(blocks.keys, blocks.key_bytes, blocks.first, count, group_blocks);
  BANYAN_ASSIGN_OR_RETURN(const QualityFloor quality,
                          FloorOf(options.error_max));
  const auto check = options.check == ViewOptions::Check::kNow
                         ? transport::ViewCheck::kNow
                         : transport::ViewCheck::kAtCommit;
  transport::ShmTransport::Leased leased;
  ClientStats found;
  const absl::Status status =
      Run(timeout, 1, [&](const transport::Call& call) -> absl::Status {
        BANYAN_ASSIGN_OR_RETURN(
            leased, shm->Lease(BlocksOf(blocks, run),
                               std::chrono::milliseconds(options.ttl_ms), check,
                               call, found, quality));
        return absl::OkStatus();
      });
  {
    MutexLock lock(stats_mutex_);
    stats_ += found;
  }
  BANYAN_RETURN_IF_ERROR(status);
  return std::make_unique<LeasedView>(shm, std::move(leased));
}

void NodeCalls::Put(const Blocks& blocks,
                    const std::vector<std::span<const std::byte>>& payloads,
                    const PutOptions& options, Completion& out) {
  out.status = CheckBlocks(blocks, payloads.size());
  if (!out.status.ok() || payloads.empty()) return;
  if (const auto coding = CodingOf(blocks.namespace_id)) {
    return PutEncoded(*coding, blocks, payloads, options, out);
  }
  PutAsIs(blocks, payloads, {}, options, out);
}

// In runs of blocks with pieces of one length: those of the first tokens, and
// what is not encoded, have others.
void NodeCalls::PutEncoded(
    const BlockCoding& coding, const Blocks& blocks,
    const std::vector<std::span<const std::byte>>& payloads,
    const PutOptions& options, Completion& out) {
  const auto encoded = coding.Encode(blocks.first, payloads);
  out.status = encoded.status();
  size_t begin = 0;
  while (out.status.ok() && begin < payloads.size()) {
    PutOptions run_options = options;
    run_options.piece_bytes = encoded->blocks[begin].piece_bytes;
    Blocks run = blocks;
    run.first = blocks.first + static_cast<uint32_t>(begin);
    std::vector<std::span<const std::byte>> sent;
    std::vector<uint8_t> errors;
    while (begin < payloads.size() &&
           encoded->blocks[begin].piece_bytes == run_options.piece_bytes) {
      errors.push_back(encoded->blocks[begin].error_class);
      sent.push_back(encoded->blocks[begin++].payload);
    }
    PutAsIs(run, sent, errors, run_options, out);
  }
}

void NodeCalls::PutAsIs(const Blocks& blocks,
                        const std::vector<std::span<const std::byte>>& payloads,
                        absl::Span<const uint8_t> errors,
                        const PutOptions& options, Completion& out) {
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
    out.status =
        PutSome(part, {payloads.begin() + begin, payloads.begin() + end},
                errors.subspan(std::min(begin, errors.size())), options, out);
    begin = end;
  }
}

absl::Status NodeCalls::SendAndCommit(
    const SessionFacts& session, const Blocks& blocks, const KeyRun& run,
    const pb::ReserveResponse& reserved,
    const std::vector<std::span<const std::byte>>& payloads,
    absl::Span<const uint8_t> errors, const PutOptions& options) {
  const std::vector<uint64_t> seeds =
      transport::ChecksumSeeds(BlocksOf(blocks, run));
  std::vector<transport::OutgoingBlock> outgoing;
  uint64_t bytes = 0;
  for (size_t i = 0; i < payloads.size(); ++i) {
    if (reserved.verdicts(static_cast<int>(i)) != pb::WRITE_VERDICT_WRITE) {
      continue;
    }
    outgoing.push_back({.ordinal = static_cast<uint32_t>(i),
                        .checksum_seed = seeds[i],
                        .payload = payloads[i],
                        .piece_bytes = options.piece_bytes});
    bytes += payloads[i].size();
  }
  BANYAN_ASSIGN_OR_RETURN(const auto picked, Picked(absl::ZeroDuration()));
  transport::SentChecksums sent;
  BANYAN_RETURN_IF_ERROR(
      Run(LoadTimeout(bytes), 1, [&](const transport::Call& call) {
        transport::Transport* transport = &grpc_;
        if (picked != nullptr) transport = picked.get();
        return transport->Put({.session_id = session.id,
                               .write_id = reserved.write_id(),
                               .blocks = outgoing},
                              call, sent);
      }));
  pb::CommitRequest commit;
  commit.set_session_id(session.id);
  commit.set_write_id(reserved.write_id());
  for (size_t i = 0; i < outgoing.size(); ++i) {
    auto* const block = commit.add_blocks();
    block->set_ordinal(outgoing[i].ordinal);
    block->set_checksums(std::move(sent[i]));
    if (!errors.empty()) block->set_error_class(errors[outgoing[i].ordinal]);
  }
  return Commit(commit, options.durability);
}

absl::Status NodeCalls::Commit(const pb::CommitRequest& commit,
                               Durability durability) {
  pb::CommitResponse committed;
  BANYAN_RETURN_IF_ERROR(RunRpc(absl::Milliseconds(options_.load_timeout_ms), 3,
                                [&](grpc::ClientContext& context) {
                                  return stub_->Commit(&context, commit,
                                                       &committed);
                                }));
  if (committed.outcomes_size() != commit.blocks_size()) {
    return absl::InternalError("server: wrong number of outcomes.");
  }
  const bool is_durable = committed.durability() == pb::DURABILITY_DURABLE;
  if (is_durable != (durability == Durability::kDurable)) {
    return absl::InternalError("server: less durable than was asked for.");
  }
  return absl::OkStatus();
}

absl::Status NodeCalls::Reserve(const SessionFacts& session,
                                const pb::ReserveRequest& request,
                                pb::ReserveResponse& reserved) {
  const absl::Status status =
      RunRpc(absl::Milliseconds(options_.load_timeout_ms), 1,
             [&](grpc::ClientContext& context) {
               return stub_->Reserve(&context, request, &reserved);
             });
  if (ErrorReason(status) == "SESSION") session_.Lost(session.id);
  BANYAN_RETURN_IF_ERROR(status);
  const size_t keys = request.run().keys().size() / request.run().key_bytes();
  if (reserved.verdicts_size() != static_cast<int>(keys)) {
    return absl::InternalError("server: wrong number of verdicts.");
  }
  return absl::OkStatus();
}

// The node may not know yet that it is over. If it does not answer at once it
// finds out by itself, when the write is idle.
void NodeCalls::Abort(const SessionFacts& session,
                      const std::string& write_id) {
  pb::AbortRequest abort;
  abort.set_session_id(session.id);
  abort.set_write_id(write_id);
  pb::AbortResponse aborted;
  RunRpc(kAbortTimeout, 1, [&](grpc::ClientContext& context) {
    return stub_->Abort(&context, abort, &aborted);
  }).IgnoreError();
}

absl::Status NodeCalls::PutSome(
    const Blocks& blocks,
    const std::vector<std::span<const std::byte>>& payloads,
    absl::Span<const uint8_t> errors, const PutOptions& options,
    Completion& out) {
  BANYAN_ASSIGN_OR_RETURN(
      const SessionFacts session,
      AwaitSession(absl::Milliseconds(options_.load_timeout_ms)));
  const KeyRun run = RunOf(blocks.keys, blocks.key_bytes, blocks.first,
                           static_cast<uint32_t>(payloads.size()),
                           session.limits.group_blocks());
  pb::ReserveRequest reserve;
  reserve.set_session_id(session.id);
  reserve.set_namespace_id(blocks.namespace_id);
  reserve.set_salt(blocks.salt);
  reserve.set_piece_bytes(options.piece_bytes);
  reserve.set_durability(options.durability == Durability::kDurable
                             ? pb::DURABILITY_DURABLE
                             : pb::DURABILITY_MEMORY);
  SetRun(run, reserve.mutable_run());
  for (const auto& payload : payloads) {
    reserve.add_payload_bytes(payload.size());
  }
  pb::ReserveResponse reserved;
  BANYAN_RETURN_IF_ERROR(Reserve(session, reserve, reserved));
  for (const int verdict : reserved.verdicts()) {
    out.writes.push_back(WriteResultOf(verdict));
  }
  if (reserved.write_id().empty()) return absl::OkStatus();

  const absl::Status status =
      SendAndCommit(session, blocks, run, reserved, payloads, errors, options);
  if (!status.ok()) Abort(session, reserved.write_id());
  return status;
}

}  // namespace banyan::client
