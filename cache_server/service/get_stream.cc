// GetBlocks: verified pieces, streamed from where they lie. One frame is in
// flight at a time, so a slow reader costs one frame of memory, no more.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "cache_server/service/cache_service.h"
#include "cache_server/service/status_to_grpc.h"
#include "cache_server/service/wire.h"
#include "client/transport/frame_codec.h"

namespace banyan::service {
namespace {

namespace pb = banyan::v1;

constexpr size_t kFrameBytes = kMiB;

// One call. Deletes itself when gRPC is done with it.
class GetStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  GetStream(CacheService& service, grpc::CallbackServerContext& context,
            const grpc::ByteBuffer& request)
      : service_(service), context_(context) {
    absl::Status status = service.Enter(context);
    has_entered_ = status.ok();
    if (has_entered_) {
      service_.TellDeadline(context);
      ticket_ = service_.watch().Join(StreamWatch::Kind::kCall, context);
      status = Parse(request);
    }
    if (status.ok()) status = Pin(engine::ColdReads::kDefer);
    if (!engine::IsDeferred(status)) {
      Begin(status);
      // gRPC keeps the call until it was finished, so the job may use it.
    } else if (!service_.executor().TrySubmit([this] { BeginCold(); })) {
      Begin(Pin(engine::ColdReads::kSkip));
    }
  }

  void OnWriteDone(bool is_ok) override {
    if (!is_ok) return Finish(grpc::Status::CANCELLED);
    service_.watch().NoteProgress(ticket_);
    WriteNext();
  }

  void OnDone() override {
    service_.store().CountRead(tiers::TierKind::kHost, sent_.blocks,
                               sent_.bytes);
    service_.store().CountRead(tiers::TierKind::kSsd, cold_sent_.blocks,
                               cold_sent_.bytes);
    service_.watch().Leave(ticket_);
    if (has_entered_) service_.Leave();
    delete this;
  }

 private:
  struct Sent {
    uint64_t blocks = 0;
    uint64_t bytes = 0;
  };

  absl::Status Parse(const grpc::ByteBuffer& bytes) {
    grpc::ByteBuffer copy(bytes);
    if (!grpc::SerializationTraits<pb::GetBlocksRequest>::Deserialize(&copy,
                                                                      &request_)
             .ok()) {
      return MakeError(absl::StatusCode::kInvalidArgument, "FRAME",
                       "request: not a GetBlocksRequest.");
    }
    first_piece_ = request_.first_piece();
    piece_count_ = request_.piece_count();
    return absl::OkStatus();
  }

  absl::Status Pin(engine::ColdReads cold) {
    if (request_.has_by_keys()) {
      const auto& by_keys = request_.by_keys();
      BANYAN_ASSIGN_OR_RETURN(const auto mode, ModeOf(by_keys.mode()));
      BANYAN_ASSIGN_OR_RETURN(const engine::Target target,
                              ReadTargetOf(by_keys));
      quality_ = target.quality;
      BANYAN_ASSIGN_OR_RETURN(
          pins_,
          service_.store().Read(target, mode, cold, TimeForDisk(context_)));
      request_blocks_ = by_keys.run().keys().size() / by_keys.run().key_bytes();
    } else if (request_.has_by_lease()) {
      const auto& by_lease = request_.by_lease();
      BANYAN_ASSIGN_OR_RETURN(pins_,
                              service_.store().ReadLease(by_lease.session_id(),
                                                         by_lease.lease_id()));
      wanted_.assign(by_lease.ordinals().begin(), by_lease.ordinals().end());
      std::sort(wanted_.begin(), wanted_.end());
    } else {
      return MakeError(absl::StatusCode::kInvalidArgument, "SOURCE",
                       "source: missing. Send by_keys or by_lease.");
    }
    return CheckPieces();
  }

  void BeginCold() {
    if (context_.deadline() <= std::chrono::system_clock::now()) {
      return Begin(MakeError(absl::StatusCode::kDeadlineExceeded, "DEADLINE",
                             "deadline passed before work began."));
    }
    Begin(Pin(engine::ColdReads::kRead));
  }

  void Begin(const absl::Status& status) {
    if (status.ok()) {
      WriteNext();
    } else {
      Finish(ToGrpc(status));
    }
  }

  absl::Status CheckPieces() const {
    for (const lease::PinnedBlock& block : *pins_) {
      const uint32_t count = block.pin->header().piece_count();
      const uint64_t end = uint64_t{first_piece_} + piece_count_;
      if (first_piece_ < count && end <= count) continue;
      return MakeError(absl::StatusCode::kOutOfRange, "RANGE",
                       absl::StrCat("range: ends at piece ",
                                    std::max<uint64_t>(end, first_piece_ + 1),
                                    ", block has ", count, "."));
    }
    return absl::OkStatus();
  }

  // Fills a frame and writes it; the last one ends the call.
  void WriteNext() {
    transport::FrameWriter frame;
    while (frame.bytes() < kFrameBytes && block_ < pins_->size()) {
      AddPiece(frame);
    }
    if (block_ < pins_->size()) {
      frame_ = frame.Finish();
      return StartWrite(&frame_);
    }
    AddMisses(frame);
    if (frame.empty()) return Finish(grpc::Status::OK);
    frame_ = frame.Finish();
    StartWriteAndFinish(&frame_, grpc::WriteOptions(), grpc::Status::OK);
  }

  bool IsWanted(uint32_t ordinal) const {
    return wanted_.empty() ||
           std::binary_search(wanted_.begin(), wanted_.end(), ordinal);
  }

  // Adds the next part of the current block: at most a frame's worth, since a
  // piece may be larger than a message may be.
  void AddPiece(transport::FrameWriter& frame) {
    const lease::PinnedBlock& block = (*pins_)[block_];
    const BlockHeader& header = block.pin->header();
    if (!IsWanted(block.ordinal)) return NextBlock();
    if (piece_ < first_piece_) piece_ = first_piece_;
    if (!has_sent_head_) {
      pb::BlockHead head;
      SetHead(header, quality_, &head);
      head.set_ordinal(block.ordinal);
      head.set_tier(ToProto(block.tier));
      frame.AddBytes(transport::kGetHeads, head.SerializeAsString());
      has_sent_head_ = true;
    }
    const uint32_t end =
        piece_count_ == 0 ? header.piece_count() : first_piece_ + piece_count_;
    if (at_ == 0 && !VerifyPiece(*block.pin)) {
      service_.store().ReportCorrupt(block, corrupt_);
      AddDone(block.ordinal, pb::BLOCK_STATUS_CHECKSUM, frame);
      return NextBlock();
    }
    const uint64_t size =
        std::min<uint64_t>(kFrameBytes, piece_bytes_.size() - at_);
    frame.AddChunk(transport::kGetChunks, block.ordinal,
                   header.PieceOffset(piece_) + at_,
                   piece_bytes_.subspan(at_, size), pins_);
    Sent& sent = block.tier == tiers::TierKind::kSsd ? cold_sent_ : sent_;
    sent.bytes += size;
    at_ += size;
    if (at_ < piece_bytes_.size()) return;
    at_ = 0;
    if (++piece_ < end) return;
    ++sent.blocks;
    AddDone(block.ordinal, pb::BLOCK_STATUS_HIT, frame);
    NextBlock();
  }

  bool VerifyPiece(const tiers::BlockPin& pin) {
    if (!service_.options().verify_reads) {
      piece_bytes_ = pin.ReadPieceUnverifiedForBench(piece_).bytes();
      return true;
    }
    const auto verified = pin.ReadPiece(piece_);
    if (!verified.ok()) {
      corrupt_ = verified.status();
      return false;
    }
    piece_bytes_ = verified->bytes();
    return true;
  }

  void NextBlock() {
    ++block_;
    piece_ = 0;
    at_ = 0;
    has_sent_head_ = false;
  }

  static void AddDone(uint32_t ordinal, pb::BlockStatus status,
                      transport::FrameWriter& frame) {
    pb::BlockDone done;
    done.set_ordinal(ordinal);
    done.set_status(status);
    frame.AddBytes(transport::kGetDone, done.SerializeAsString());
  }

  // Every key asked for gets an answer.
  void AddMisses(transport::FrameWriter& frame) const {
    size_t next = 0;
    for (uint32_t i = 0; i < request_blocks_; ++i) {
      if (next < pins_->size() && (*pins_)[next].ordinal == i) {
        ++next;
      } else {
        AddDone(i, pb::BLOCK_STATUS_MISS, frame);
      }
    }
  }

  CacheService& service_;
  const grpc::CallbackServerContext& context_;
  pb::GetBlocksRequest request_;
  bool has_entered_ = false;
  StreamWatch::Ticket ticket_ = 0;
  QualityFloor quality_;
  lease::PinSet pins_;
  std::vector<uint32_t> wanted_;  // Sorted; empty: all.
  size_t request_blocks_ = 0;
  uint32_t first_piece_ = 0;
  uint32_t piece_count_ = 0;

  size_t block_ = 0;
  uint32_t piece_ = 0;
  uint64_t at_ = 0;  // In the piece.
  bool has_sent_head_ = false;
  absl::Span<const std::byte> piece_bytes_;
  absl::Status corrupt_;
  Sent sent_;
  Sent cold_sent_;
  grpc::ByteBuffer frame_;
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* CacheService::GetBlocks(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  return new GetStream(*this, *context, *request);
}

}  // namespace banyan::service
