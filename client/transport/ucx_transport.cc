#include "client/transport/ucx_transport.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/block_header.h"
#include "base/copy_checksum.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "client/transport/key_runs.h"

namespace banyan::transport {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

// A question names at most so many blocks, so that pins are held for no longer
// than it takes to send them.
constexpr size_t kBlocksPerQuestion = 512;
// Messages of one put that the node has not answered.
constexpr size_t kPutsOut = 4;
// For our last word to leave.
constexpr absl::Duration kByeTimeout = absl::Milliseconds(50);
// The first ones are enough: without them nobody reads the others.
constexpr size_t kChecksPerGet = 4;
// For the node to look at a block once more; nobody waits for it.
constexpr uint32_t kCheckTimeoutMs = 5000;

absl::Status Gone() {
  return absl::UnavailableError("ucx: the node has left. Treat as a miss.");
}

uint32_t MillisecondsLeft(const Call& call) {
  const auto left =
      std::chrono::ceil<milliseconds>(call.deadline - SteadyClock::now());
  return static_cast<uint32_t>(
      std::clamp<int64_t>(left.count(), 1, int64_t{UINT32_MAX}));
}

UcxQuestion QuestionOf(UcxToNodeKind kind, const Blocks& blocks,
                       const KeyRun& run) {
  return {
      .kind = kind,
      .namespace_id = {blocks.namespace_id.data(), blocks.namespace_id.size()},
      .salt = {blocks.salt.data(), blocks.salt.size()},
      .run = run};
}

size_t PieceBytesOf(const OutgoingBlock& block) {
  return block.piece_bytes == 0
             ? block.payload.size()
             : std::min<size_t>(block.piece_bytes, block.payload.size());
}

}  // namespace

// ------------------------------------------------------------------ coming in ---

absl::StatusOr<std::unique_ptr<Transport>> ConnectUcx(
    const UcxOptions& options) {
  BANYAN_ASSIGN_OR_RETURN(auto transport, UcxTransport::Connect(options));
  return std::unique_ptr<Transport>(std::move(transport));
}

absl::StatusOr<UcxTicket> UcxTicketOf(const std::string& grpc_peer,
                                      const std::string& port,
                                      const std::string& token,
                                      const std::string& proof) {
  uint32_t number = 0;
  if (!absl::SimpleAtoi(port, &number) || number == 0 || number > UINT16_MAX) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TICKET",
                     absl::StrCat("ucx: \"", Echo(port),
                                  "\" is no port. Use "
                                  "gRPC; check both versions."));
  }
  BANYAN_ASSIGN_OR_RETURN(std::string host, HostOfGrpcPeer(grpc_peer));
  return UcxTicket{.host = std::move(host),
                   .port = static_cast<uint16_t>(number),
                   .token = token,
                   .proof = proof};
}

absl::StatusOr<std::unique_ptr<UcxTransport>> UcxTransport::Connect(
    const UcxOptions& options) {
  const UcxTicket& ticket = options.ticket;
  if (ticket.token.size() != kUcxIdBytes ||
      ticket.proof.size() != kUcxIdBytes) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TICKET",
                     "ticket: token and proof need 16 bytes each.");
  }
  BANYAN_ASSIGN_OR_RETURN(const UcxAddress remote,
                          MakeUcxAddress(ticket.host, ticket.port));
  BANYAN_ASSIGN_OR_RETURN(const UcxAddress local, LocalAddressTo(remote));
  BANYAN_ASSIGN_OR_RETURN(std::string device, UcxDeviceOf(local));
  std::unique_ptr<UcxTransport> transport(new UcxTransport(options));
  BANYAN_ASSIGN_OR_RETURN(transport->worker_,
                          UcxWorker::Open({.device = std::move(device),
                                           .receives = kUcxToClient,
                                           .sends = kUcxToNode},
                                          *transport));
  BANYAN_RETURN_IF_ERROR(transport->worker_->Start());
  BANYAN_RETURN_IF_ERROR(transport->ComeIn(remote));
  return transport;
}

absl::Status UcxTransport::ComeIn(const UcxAddress& remote) {
  worker_->Post([this, remote] {
    auto link = worker_->Connect(remote);
    if (!link.ok()) return Lose(link.status(), UcxCall::Cause::kLost);
    link_ = *std::move(link);
    link_->SendOwn(EncodeUcx(UcxHello{.token = options_.ticket.token}));
  });
  BANYAN_RETURN_IF_ERROR(
      hello_.Wait({.deadline = SteadyClock::now() + options_.timeout}));
  if (proof_ == options_.ticket.proof) return absl::OkStatus();
  return MakeError(absl::StatusCode::kPermissionDenied, "UCX_PEER",
                   "ucx: who listens there does not know what the node told "
                   "us. Use gRPC; check --ucx-port.");
}

UcxTransport::~UcxTransport() {
  if (worker_ == nullptr) return;
  UcxCall bye;
  worker_->Post([this, &bye] {
    if (link_ == nullptr) return bye.OnAnswer({});
    link_->SendOwn(EncodeUcxBye(), {},
                   [&bye](UcxLink::Outcome) { bye.OnAnswer({}); });
  });
  bye.Wait({.deadline =
                SteadyClock::now() + absl::ToChronoNanoseconds(kByeTimeout)})
      .IgnoreError();
  worker_ = nullptr;  // Before `bye`, and all else that it uses.
}

// ------------------------------------------------------------- UCX's thread ---

void UcxTransport::OnUcxMessage(ucp_ep_h, absl::Span<const std::byte> head,
                                const absl::Span<const std::byte>* body) {
  if (is_dead_) return;
  const absl::Status status =
      body == nullptr ? UcxProtocolError("bytes that do not come by themselves")
                      : Dispatch(head, *body);
  if (!status.ok()) Lose(status, UcxCall::Cause::kBroken);
}

absl::Status UcxTransport::Dispatch(absl::Span<const std::byte> head,
                                    absl::Span<const std::byte> body) {
  BANYAN_ASSIGN_OR_RETURN(const UcxToClientKind kind, UcxToClientKindOf(head));
  switch (kind) {
    case UcxToClientKind::kBytes: {
      BANYAN_ASSIGN_OR_RETURN(const UcxBytes bytes, ParseUcxBytes(head));
      TakeBytes(bytes, body);
      return absl::OkStatus();
    }
    case UcxToClientKind::kBlock: {
      BANYAN_ASSIGN_OR_RETURN(const UcxBlock block, ParseUcxBlock(head, body));
      const auto call = pending_.Find(block.call_id);
      if (call != nullptr) call->OnBlock(block);
      return absl::OkStatus();
    }
    case UcxToClientKind::kAnswer: {
      BANYAN_ASSIGN_OR_RETURN(const UcxAnswer answer,
                              ParseUcxAnswer(head, body));
      // To nobody: why the node ends the connection.
      if (answer.call_id == 0) Lose(answer.status, UcxCall::Cause::kLost);
      if (answer.call_id == arriving_id_) arriving_ = nullptr;
      const auto call = pending_.Find(answer.call_id);
      if (call != nullptr) call->OnAnswer(answer);
      return absl::OkStatus();
    }
    case UcxToClientKind::kWelcome: {
      BANYAN_ASSIGN_OR_RETURN(const UcxWelcome welcome, ParseUcxWelcome(head));
      if (!proof_.empty()) return UcxProtocolError("a second welcome");
      proof_ = std::string(welcome.proof);
      group_blocks_ = std::max(1u, welcome.group_blocks);
      hello_.OnAnswer({});
      return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

// A call that has ended meanwhile drops them.
void UcxTransport::TakeBytes(const UcxBytes& bytes,
                             absl::Span<const std::byte> payload) {
  if (bytes.call_id != arriving_id_) {
    arriving_id_ = bytes.call_id;
    arriving_ = pending_.Find(bytes.call_id);
  }
  if (arriving_ != nullptr) arriving_->OnBytes(bytes, payload);
}

// Clients do not listen.
void UcxTransport::OnUcxRequest(ucp_conn_request_h) {}

void UcxTransport::OnUcxLost(UcxLink&) { Lose(Gone(), UcxCall::Cause::kLost); }

// While blocks come it sleeps in between: what has gathered meanwhile is received
// at once, and on few cores the node is faster.
UcxOwner::Next UcxTransport::OnUcxStep() {
  return short_calls_ > 0 ? Next::kAnswer : Next::kNothing;
}

void UcxTransport::OnUcxTime() {
  if (link_ == nullptr || is_dead_) return;
  const uint64_t bytes = link_->sending_bytes();
  const absl::Duration stuck = link_->stuck();
  if (bytes <= options_.untaken_bytes_max &&
      stuck <= absl::FromChrono(options_.untaken_max)) {
    return;
  }
  if (options_.given_up != nullptr) ++*options_.given_up;
  Lose(absl::UnavailableError(absl::StrCat(
           "ucx: the node has not taken ", bytes, " bytes, and nothing for ",
           absl::FormatDuration(stuck), ". Treat as a miss.")),
       UcxCall::Cause::kLost);
}

void UcxTransport::Lose(const absl::Status& status, UcxCall::Cause cause) {
  if (is_dead_.exchange(true)) return;
  hello_.OnFailure(status);
  // Whatever the node did wrong: for the caller it is not there.
  pending_.FailAll(ErrorReason(status).empty() ? status : Gone(), cause);
  if (link_ != nullptr) link_->Close();
}

// ------------------------------------------------------------ match and get ---

absl::StatusOr<KeyRun> UcxTransport::RunFor(const Blocks& blocks, size_t skip,
                                            size_t keys_max,
                                            std::string& lead) const {
  return Fitting(Advance(blocks.run, skip, group_blocks_, lead),
                 kUcxBodyBytesMax - blocks.salt.size(), keys_max);
}

// A call that tells nothing before its end needs no other thread.
bool UcxTransport::TryWorkFor(const UcxCall& waiting, const Call& call,
                              const std::function<void()>& send) {
  if (waiting.has_news()) return false;
  const std::stop_callback<std::function<void()>> wake(
      call.cancel, [this] { worker_->Post([] {}); });
  const auto is_over = [&] {
    return waiting.has_ended() || !CheckUcxCall(call).ok();
  };
  return worker_->TryWork(send, is_over, call.deadline);
}

absl::Status UcxTransport::Ask(UcxQuestion question,
                               const std::shared_ptr<UcxCall>& waiting,
                               const Call& call) {
  BANYAN_RETURN_IF_ERROR(CheckUcxCall(call));
  BANYAN_ASSIGN_OR_RETURN(question.call_id, pending_.Add(waiting));
  question.timeout_ms = MillisecondsLeft(call);
  const auto send = [this, head = EncodeUcx(question),
                     body = UcxBodyOf(question)] {
    link_->SendOwn(head, body);
  };
  const bool is_short = question.kind == UcxToNodeKind::kMatch;
  if (is_short) ++short_calls_;
  const bool has_worked = TryWorkFor(*waiting, call, send);
  if (!has_worked) worker_->Post(send);
  const absl::Status status = waiting->Wait(call);
  if (is_short) --short_calls_;
  pending_.Remove(question.call_id);
  if (has_worked && pending_.size() > 0) worker_->EndPause();
  if (waiting->is_left()) {
    worker_->Post(
        [this, cancel = EncodeUcx(UcxCancel{.call_id = question.call_id})] {
          link_->SendOwn(cancel);
        });
  }
  return status;
}

absl::StatusOr<uint32_t> UcxTransport::Match(const Blocks& blocks,
                                             const Call& call) {
  BANYAN_RETURN_IF_ERROR(CheckKeys(blocks));
  size_t hits = 0;
  while (hits < blocks.run.size()) {
    std::string lead;
    BANYAN_ASSIGN_OR_RETURN(const KeyRun run,
                            RunFor(blocks, hits, blocks.run.size(), lead));
    const auto waiting = std::make_shared<UcxCall>();
    BANYAN_RETURN_IF_ERROR(
        Ask(QuestionOf(UcxToNodeKind::kMatch, blocks, run), waiting, call));
    const uint32_t found = waiting->answer().blocks;
    if (found > run.size()) {
      return UcxProtocolError("more blocks than it was asked for");
    }
    hits += found;
    if (found < run.size()) break;
  }
  return static_cast<uint32_t>(hits);
}

absl::Status UcxTransport::Get(const GetRequest& request, const Call& call,
                               GetResult& result) {
  result = {.blocks = std::vector<BlockRead>(request.buffers.size())};
  BANYAN_RETURN_IF_ERROR(CheckKeys(request.blocks));
  const std::vector<uint64_t> seeds = ChecksumSeeds(request.blocks);
  size_t next = 0;
  bool is_over = false;
  while (!is_over && next < request.buffers.size()) {
    BANYAN_RETURN_IF_ERROR(
        GetSome(request, seeds, call, next, is_over, result));
  }
  return absl::OkStatus();
}

absl::Status UcxTransport::GetSome(const GetRequest& request,
                                   const std::vector<uint64_t>& seeds,
                                   const Call& call, size_t& next,
                                   bool& is_over, GetResult& result) {
  std::string lead;
  BANYAN_ASSIGN_OR_RETURN(
      const KeyRun run, RunFor(request.blocks, next, kBlocksPerQuestion, lead));
  const auto waiting = std::make_shared<UcxGetCall>(
      request, seeds, next, run.size(), options_.verification);
  UcxQuestion question = QuestionOf(UcxToNodeKind::kGet, request.blocks, run);
  question.quality = request.quality;
  question.first_piece = request.pieces.first;
  question.piece_count = request.pieces.count;
  const absl::Status status = Ask(question, waiting, call);
  // Blocks that were verified before an error count.
  std::copy(waiting->blocks().begin(), waiting->blocks().end(),
            result.blocks.begin() + static_cast<std::ptrdiff_t>(next));
  result.found += waiting->found();
  const auto& refuted = waiting->refuted();
  for (size_t i = 0; i < std::min(refuted.size(), kChecksPerGet); ++i) {
    AskForCheck(request, next + refuted[i]);
  }
  BANYAN_RETURN_IF_ERROR(status);
  next += waiting->answer().blocks;
  is_over = waiting->answer().blocks < run.size();
  return absl::OkStatus();
}

// The node drops the block if it is damaged there. What it answers is for nobody.
void UcxTransport::AskForCheck(const GetRequest& request, size_t block) {
  std::string lead;
  const auto run = RunFor(request.blocks, block, 1, lead);
  const auto call_id = pending_.Add(std::make_shared<UcxCall>());
  if (!run.ok() || !call_id.ok()) return;
  pending_.Remove(*call_id);
  UcxQuestion check = QuestionOf(UcxToNodeKind::kCheck, request.blocks, *run);
  check.call_id = *call_id;
  check.first_piece = request.pieces.first;
  check.piece_count = request.pieces.count;
  check.timeout_ms = kCheckTimeoutMs;
  worker_->Post(
      [this, head = EncodeUcx(check), body = UcxBodyOf(check)]() mutable {
        link_->SendOwn(head, std::move(body));
      });
}

// ---------------------------------------------------------------------- put ---

// Messages of one put, in order, of which some wait for the node.
class UcxTransport::PutPipeline {
 public:
  PutPipeline(UcxTransport& transport, std::string_view write_id,
              const Call& call)
      : transport_(transport), write_id_(write_id), call_(call) {}
  ~PutPipeline() {
    for (const Out& out : out_) transport_.pending_.Remove(out.call_id);
  }
  PutPipeline(const PutPipeline&) = delete;
  PutPipeline& operator=(const PutPipeline&) = delete;

  // The block, a message at a time; the checksums of its pieces are added to
  // `packed`. They are of what is sent, whatever becomes of the payload.
  absl::Status Send(const OutgoingBlock& block, std::string& packed) {
    const size_t piece_bytes = PieceBytesOf(block);
    Xxh3Sum sum(PieceSeed(block.checksum_seed, 0));
    for (size_t at = 0; at < block.payload.size();) {
      while (out_.size() >= kPutsOut) BANYAN_RETURN_IF_ERROR(AwaitFirst());
      BANYAN_RETURN_IF_ERROR(CheckUcxCall(call_));
      const auto body = transport_.bodies_->Take();
      const size_t bytes = piece_bytes > kUcxBodyBytesMax
                               ? FillPart(block, at, body.get(), sum, packed)
                               : FillPieces(block, at, body.get(), packed);
      BANYAN_RETURN_IF_ERROR(SendMessage(block.ordinal, at, body, bytes));
      at += bytes;
    }
    return absl::OkStatus();
  }

  absl::Status AwaitAll() {
    while (!out_.empty()) BANYAN_RETURN_IF_ERROR(AwaitFirst());
    return absl::OkStatus();
  }

 private:
  struct Out {
    uint64_t call_id = 0;
    std::shared_ptr<UcxCall> waiting;
  };

  absl::Status AwaitFirst() {
    const Out first = std::move(out_.front());
    out_.pop_front();
    const absl::Status status = first.waiting->Wait(call_);
    transport_.pending_.Remove(first.call_id);
    return status;
  }

  absl::Status SendMessage(uint32_t ordinal, uint64_t offset,
                           const std::shared_ptr<std::byte[]>& body,
                           size_t bytes) {
    const auto waiting = std::make_shared<UcxCall>();
    BANYAN_ASSIGN_OR_RETURN(const uint64_t call_id,
                            transport_.pending_.Add(waiting));
    out_.push_back({.call_id = call_id, .waiting = waiting});
    const UcxHead head =
        EncodeUcx(UcxPut{.call_id = call_id,
                         .write_id = {write_id_.data(), write_id_.size()},
                         .ordinal = ordinal,
                         .offset = offset});
    transport_.worker_->Post([&transport = transport_, head, body, bytes] {
      transport.link_->Send(head, {body.get(), bytes}, body);
    });
    return absl::OkStatus();
  }

  // Whole pieces, as many as a message holds.
  static size_t FillPieces(const OutgoingBlock& block, size_t at, std::byte* to,
                           std::string& packed) {
    const size_t piece_bytes = PieceBytesOf(block);
    const auto from =
        absl::MakeConstSpan(block.payload)
            .subspan(at, kUcxBodyBytesMax / piece_bytes * piece_bytes);
    for (size_t done = 0; done < from.size(); done += piece_bytes) {
      AddTo(packed,
            CopyPieceCached(block.checksum_seed,
                            static_cast<uint32_t>((at + done) / piece_bytes),
                            from.subspan(done, piece_bytes), to + done));
    }
    return from.size();
  }

  // What a message holds of a piece that is longer. `sum` is of what was sent of
  // the piece; at its end, of nothing.
  static size_t FillPart(const OutgoingBlock& block, size_t at, std::byte* to,
                         Xxh3Sum& sum, std::string& packed) {
    const size_t piece_bytes = PieceBytesOf(block);
    const size_t piece = at / piece_bytes;
    const size_t end =
        std::min(block.payload.size(), (piece + 1) * piece_bytes);
    const auto from = absl::MakeConstSpan(block.payload)
                          .subspan(at, std::min(end - at, kUcxBodyBytesMax));
    std::memcpy(to, from.data(), from.size());
    sum.Add({to, from.size()});
    if (at + from.size() == end) {
      AddTo(packed, sum.Sum());
      sum.Restart(
          PieceSeed(block.checksum_seed, static_cast<uint32_t>(piece + 1)));
    }
    return from.size();
  }

  static void AddTo(std::string& packed, const Checksum128& checksum) {
    packed.resize(packed.size() + kChecksumBytes);
    StoreChecksum(checksum, reinterpret_cast<std::byte*>(packed.data()) +
                                packed.size() - kChecksumBytes);
  }

  UcxTransport& transport_;
  const std::string_view write_id_;
  const Call& call_;
  std::deque<Out> out_;
};

absl::Status UcxTransport::Put(const PutRequest& request, const Call& call,
                               SentChecksums& sent) {
  sent.clear();
  PutPipeline pipeline(*this, request.write_id, call);
  for (const OutgoingBlock& block : request.blocks) {
    std::string packed;
    BANYAN_RETURN_IF_ERROR(pipeline.Send(block, packed));
    sent.push_back(std::move(packed));
  }
  return pipeline.AwaitAll();
}

}  // namespace banyan::transport
