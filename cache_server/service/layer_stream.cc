// GetLayers: verified pieces, layer by layer, streamed from where they lie. One
// frame is in flight at a time. Where a block is still being written the stream
// waits for its writer, without a thread, and goes on where the writer's news
// find it.
#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>
#include <vector>

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

using engine::LayeredRead;
using State = engine::LayeredRead::State;

constexpr size_t kFrameBytes = kMiB;

class LayerStream;

// Between a stream that waits and what ends its wait: a writer's news, or the
// end of the call. Whoever ends it owns the stream until it waits again or
// finishes. Outlives the stream where a writer still holds it.
class Waker final : public engine::BlockWatcher,
                    public std::enable_shared_from_this<Waker> {
 public:
  Waker(LayerStream& stream, tiers::Executor& executor)
      : stream_(&stream), executor_(executor) {}

  // News may come from here on, before Wait or after.
  void Prepare() {
    MutexLock lock(mutex_);
    has_news_ = false;
  }

  enum class Wait { kWaits, kNews, kCancelled };
  // kWaits: the stream is not the caller's any more.
  Wait Begin() {
    MutexLock lock(mutex_);
    if (is_cancelled_) return Wait::kCancelled;
    if (has_news_) return Wait::kNews;
    is_waiting_ = true;
    return Wait::kWaits;
  }

  // True: it was waiting, and is the caller's now.
  bool Cancel() {
    MutexLock lock(mutex_);
    is_cancelled_ = true;
    return std::exchange(is_waiting_, false);
  }

  void OnGrowth() override {
    const bool is_taken =
        executor_.TrySubmit([self = shared_from_this()] { self->Wake(); });
    if (!is_taken) Wake();
  }

 private:
  void Wake();

  Mutex mutex_;
  LayerStream* const stream_;  // Alive while it waits.
  tiers::Executor& executor_;
  bool is_waiting_ ABSL_GUARDED_BY(mutex_) = false;
  bool has_news_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

// One call. Deletes itself when gRPC is done with it.
class LayerStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  LayerStream(CacheService& service, grpc::CallbackServerContext& context,
              const grpc::ByteBuffer& request)
      : service_(service),
        context_(context),
        waker_(std::make_shared<Waker>(*this, service.wakes())) {
    is_made_.store(true, std::memory_order_release);
    absl::Status status = service.Enter(context);
    has_entered_ = status.ok();
    if (has_entered_) {
      service_.TellDeadline(context);
      status = Parse(request);
      ticket_ = service_.watch().Join(StreamWatch::Kind::kCall, context,
                                      request_.session_id());
    }
    if (status.ok() && request_.follow()) {
      status = service_.BecomeFollower();
      is_follower_ = status.ok();
    }
    if (status.ok()) status = Open(engine::ColdReads::kDefer);
    if (!engine::IsDeferred(status)) {
      Begin(status);
      // gRPC keeps the call until it was finished, so the job may use it.
    } else if (!service_.executor().TrySubmit([this] { BeginCold(); })) {
      Begin(Open(engine::ColdReads::kSkip));
    }
  }

  void OnWriteDone(bool is_ok) override {
    if (!is_ok) return Finish(grpc::Status::CANCELLED);
    service_.watch().NoteProgress(ticket_);
    WriteNext();
  }

  void OnCancel() override {
    // gRPC orders this after the constructor; here it shows.
    if (!is_made_.load(std::memory_order_acquire)) return;
    if (waker_->Cancel()) Finish(grpc::Status::CANCELLED);
  }

  void OnDone() override {
    service_.store().CountRead(tiers::TierKind::kHost, sent_.blocks,
                               sent_.bytes);
    service_.store().CountRead(tiers::TierKind::kSsd, cold_sent_.blocks,
                               cold_sent_.bytes);
    service_.watch().Leave(ticket_);
    if (is_follower_) {
      service_.LeaveFollower();
    } else if (has_entered_) {
      service_.Leave();
    }
    delete this;
  }

  // After a wait; the caller owns the stream.
  void GoOn() {
    service_.watch().NoteProgress(ticket_);
    WriteNext();
  }

 private:
  struct Sent {
    uint64_t blocks = 0;
    uint64_t bytes = 0;
  };

  absl::Status Parse(const grpc::ByteBuffer& bytes) {
    grpc::ByteBuffer copy(bytes);
    if (grpc::SerializationTraits<pb::GetLayersRequest>::Deserialize(&copy,
                                                                     &request_)
            .ok()) {
      return absl::OkStatus();
    }
    return MakeError(absl::StatusCode::kInvalidArgument, "FRAME",
                     "request: not a GetLayersRequest.");
  }

  absl::Status Open(engine::ColdReads cold) {
    if (request_.follow() && request_.session_id().empty()) {
      return MakeError(absl::StatusCode::kFailedPrecondition, "SESSION",
                       "session_id: missing. Following needs an open session.");
    }
    const absl::string_view follower =
        request_.follow() ? absl::string_view(request_.session_id())
                          : absl::string_view();
    BANYAN_ASSIGN_OR_RETURN(const engine::Target target,
                            ReadTargetOf(request_));
    quality_ = target.quality;
    BANYAN_ASSIGN_OR_RETURN(
        read_, service_.store().ReadLayers(target,
                                           {.first = request_.first_layer(),
                                            .count = request_.layer_count(),
                                            .follower = follower},
                                           cold, TimeForDisk(context_)));
    layer_ = read_->layers().first;
    is_over_.assign(read_->size(), false);
    return absl::OkStatus();
  }

  void BeginCold() {
    if (context_.deadline() <= std::chrono::system_clock::now()) {
      return Begin(MakeError(absl::StatusCode::kDeadlineExceeded, "DEADLINE",
                             "deadline passed before work began."));
    }
    Begin(Open(engine::ColdReads::kRead));
  }

  void Begin(const absl::Status& status) {
    if (status.ok()) {
      WriteNext();
    } else {
      Finish(ToGrpc(status));
    }
  }

  // Fills a frame and writes it, or waits; the last one ends the call.
  // Requires: the stream is the caller's, and nothing is in flight.
  void WriteNext() {
    while (true) {
      waker_->Prepare();
      transport::FrameWriter frame;
      const Step step = Fill(frame);
      if (step == Step::kEnd) return WriteLast(frame);
      if (!frame.empty()) {
        frame_ = frame.Finish();
        return StartWrite(&frame_);
      }
      if (!read_->Watch(block_, Row(), waker_)) continue;
      service_.watch().NoteWait(ticket_);
      switch (waker_->Begin()) {
        case Waker::Wait::kWaits:
          return;
        case Waker::Wait::kNews:
          service_.watch().NoteProgress(ticket_);
          continue;
        case Waker::Wait::kCancelled:
          return Finish(grpc::Status::CANCELLED);
      }
    }
  }

  void WriteLast(transport::FrameWriter& frame) {
    if (frame.empty()) return Finish(grpc::Status::OK);
    frame_ = frame.Finish();
    StartWriteAndFinish(&frame_, grpc::WriteOptions(), grpc::Status::OK);
  }

  enum class Step { kFull, kPending, kEnd };

  // Adds what is there, up to a frame's worth.
  Step Fill(transport::FrameWriter& frame) {
    while (heads_ < read_->size()) {
      if (frame.bytes() >= kFrameBytes) return Step::kFull;
      AddHead(heads_++, frame);
    }
    if (!has_sent_misses_) AddMisses(frame);
    while (layer_ <= read_->end_layer()) {
      if (frame.bytes() >= kFrameBytes) return Step::kFull;
      if (!SkipOver()) continue;
      switch (read_->Look(block_, Row())) {
        case State::kPending:
          return Step::kPending;
        case State::kWithdrawn:
          AddDone(block_, pb::BLOCK_STATUS_WITHDRAWN, frame);
          break;
        case State::kReady:
          AddReady(frame);
          break;
      }
    }
    return Step::kEnd;
  }

  // The row of the cursor: a layer, or the ends.
  uint32_t Row() const {
    return layer_ < read_->end_layer() ? layer_ : LayeredRead::kEnds;
  }

  // To the next block that is not over; false where that is in another row.
  bool SkipOver() {
    while (block_ < read_->size() && is_over_[block_]) ++block_;
    if (block_ < read_->size()) return true;
    block_ = 0;
    ++layer_;
    return false;
  }

  void Advance() {
    ++block_;
    at_ = 0;
  }

  void AddReady(transport::FrameWriter& frame) {
    if (Row() != LayeredRead::kEnds) return AddPiece(frame);
    ++SentOf(block_).blocks;
    AddDone(block_, pb::BLOCK_STATUS_HIT, frame);
  }

  void AddHead(size_t block, transport::FrameWriter& frame) {
    const LayeredRead::Layers& layers = read_->layers();
    pb::BlockHead head;
    if (read_->IsGrowing(block)) {
      head.set_growing(true);
      if (!quality_.is_any()) head.set_error_class(0);
      head.set_payload_bytes(layers.total * layers.layer_bytes);
      head.set_piece_bytes(layers.layer_bytes);
    } else {
      SetHead(read_->block(block).pin->header(), quality_, &head);
    }
    head.set_ordinal(static_cast<uint32_t>(block));
    head.set_tier(ToProto(read_->block(block).tier));
    frame.AddBytes(transport::kGetHeads, head.SerializeAsString());
  }

  // Every key asked for gets an answer.
  void AddMisses(transport::FrameWriter& frame) {
    const size_t keys = TargetOf(request_).run.size();
    for (size_t i = read_->size(); i < keys; ++i) {
      AddStatus(i, pb::BLOCK_STATUS_MISS, frame);
    }
    has_sent_misses_ = true;
  }

  // The next part of this piece, a frame's worth at most.
  void AddPiece(transport::FrameWriter& frame) {
    if (at_ == 0) {
      const auto bytes = read_->Read(block_, layer_);
      if (!bytes.ok()) return AddDamaged(bytes.status(), frame);
      bytes_ = *bytes;
      if (read_->IsGrowing(block_)) AddSum(frame);
    }
    const auto part =
        bytes_.subspan(at_, std::min(kFrameBytes, bytes_.size() - at_));
    frame.AddChunk(transport::kGetChunks, static_cast<uint32_t>(block_),
                   layer_ * read_->layers().layer_bytes + at_, part,
                   read_->OwnerOf(block_));
    SentOf(block_).bytes += part.size();
    at_ += part.size();
    if (at_ == bytes_.size()) Advance();
  }

  void AddSum(transport::FrameWriter& frame) {
    pb::PieceSums sums;
    sums.set_ordinal(static_cast<uint32_t>(block_));
    sums.set_first_piece(layer_);
    std::byte sum[kChecksumBytes];
    StoreChecksum(read_->ChecksumOf(block_, layer_), sum);
    sums.set_checksums(sum, sizeof(sum));
    frame.AddBytes(transport::kGetSums, sums.SerializeAsString());
  }

  void AddDamaged(const absl::Status& status, transport::FrameWriter& frame) {
    // Of one that is being written the commit decides.
    if (!read_->IsGrowing(block_)) {
      service_.store().ReportCorrupt(read_->block(block_).id, status);
    }
    AddDone(block_, pb::BLOCK_STATUS_CHECKSUM, frame);
  }

  void AddDone(size_t block, pb::BlockStatus status,
               transport::FrameWriter& frame) {
    is_over_[block] = true;
    AddStatus(block, status, frame);
    Advance();
  }

  static void AddStatus(size_t block, pb::BlockStatus status,
                        transport::FrameWriter& frame) {
    pb::BlockDone done;
    done.set_ordinal(static_cast<uint32_t>(block));
    done.set_status(status);
    frame.AddBytes(transport::kGetDone, done.SerializeAsString());
  }

  Sent& SentOf(size_t block) {
    return read_->block(block).tier == tiers::TierKind::kSsd ? cold_sent_
                                                             : sent_;
  }

  CacheService& service_;
  const grpc::CallbackServerContext& context_;
  const std::shared_ptr<Waker> waker_;
  std::atomic<bool> is_made_{false};
  pb::GetLayersRequest request_;
  bool has_entered_ = false;
  bool is_follower_ = false;
  StreamWatch::Ticket ticket_ = 0;
  QualityFloor quality_;
  std::unique_ptr<LayeredRead> read_;

  size_t heads_ = 0;  // Sent.
  bool has_sent_misses_ = false;
  // Where it stands: in this layer, or one past the last, and at this block.
  uint32_t layer_ = 0;
  size_t block_ = 0;
  uint64_t at_ = 0;  // In the piece.
  absl::Span<const std::byte> bytes_;
  std::vector<bool> is_over_;  // Blocks whose end was told.
  Sent sent_;
  Sent cold_sent_;
  grpc::ByteBuffer frame_;
};

void Waker::Wake() {
  {
    MutexLock lock(mutex_);
    if (!is_waiting_) {
      has_news_ = true;
      return;
    }
    is_waiting_ = false;
  }
  stream_->GoOn();
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* CacheService::GetLayers(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  return new LayerStream(*this, *context, *request);
}

}  // namespace banyan::service
