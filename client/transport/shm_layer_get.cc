// Reading by layers through shared memory: one slot holds the blocks; the node
// is asked for the next pieces, in the order of layers, and each is copied out
// of the arena while what was written is summed.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/block_header.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "client/transport/key_runs.h"
#include "client/transport/layer_tracker.h"
#include "client/transport/shm_layer_messages.h"
#include "client/transport/shm_slot_hold.h"
#include "client/transport/shm_transport.h"

namespace banyan::transport {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

// Of one question, for news of a writer.
constexpr milliseconds kWait{1000};
// The node answers so long before the deadline, so that the call ends in time.
constexpr milliseconds kAnswerTime{3};
// An answer that waited for a writer comes so late at most from a node that is
// well, on a busy machine, too.
constexpr milliseconds kLatenessMax{100};
// Of one answer: few enough that the first layer is not kept waiting.
constexpr uint32_t kPiecesPerQuestion = 512;

}  // namespace

class ShmTransport::LayerGet {
 public:
  // All outlive *this.
  LayerGet(const ShmTransport& transport, const LayersRequest& request,
           const Call& call, SlotHold& hold, GetResult& result)
      : transport_(transport),
        request_(request),
        call_(call),
        hold_(hold),
        result_(result),
        seeds_(ChecksumSeeds(BlocksOf(request))),
        tracker_(request.layers.first, request.buffers.size(), request.sink) {}

  static Blocks BlocksOf(const LayersRequest& request) {
    return {.namespace_id = request.namespace_id,
            .salt = request.salt,
            .run = request.run};
  }

  absl::Status Run() {
    BANYAN_RETURN_IF_ERROR(Open());
    while (layer_ <= end_layer() && left_ > 0) {
      BANYAN_RETURN_IF_ERROR(TakeSome());
    }
    return TellDamaged();
  }

 private:
  uint32_t end_layer() const { return opened_.first_layer + opened_.layers; }
  uint64_t payload_bytes() const {
    return opened_.total_layers * opened_.layer_bytes;
  }

  absl::Status Open() {
    const ShmKind kind =
        request_.follower.empty() ? ShmKind::kOpenLayers : ShmKind::kFollow;
    ShmBlocksQuestion question =
        QuestionOf(kind, BlocksOf(request_), request_.run);
    question.first_piece = request_.layers.first;
    question.piece_count = request_.layers.count;
    question.quality = request_.quality;
    if (QuestionBytes(question) > kShmAreaBytes) {
      return MakeError(
          absl::StatusCode::kUnavailable, "QUESTION",
          absl::StrCat("shm: a question with ", request_.run.size(),
                       " keys has no room. Use gRPC."));
    }
    hold_.Post(question);
    BANYAN_ASSIGN_OR_RETURN(const auto answer, hold_.Await(call_));
    BANYAN_ASSIGN_OR_RETURN(opened_, ParseLayersOpened(answer));
    BANYAN_RETURN_IF_ERROR(CheckOpened());
    if (opened_.blocks < request_.buffers.size()) {
      tracker_.OnLost(opened_.blocks);
    }
    layer_ = opened_.first_layer;
    left_ = opened_.blocks;
    return CheckBuffers();
  }

  absl::Status CheckOpened() {
    const Layers& asked = request_.layers;
    const bool is_asked_for =
        opened_.first_layer == asked.first && opened_.layers > 0 &&
        opened_.total_layers <= kPiecesMax &&
        opened_.layers <= opened_.total_layers &&
        asked.first <= opened_.total_layers - opened_.layers &&
        (asked.count == 0 ? asked.first + opened_.layers == opened_.total_layers
                          : asked.count == opened_.layers);
    // No overflow below: an arena has less than 2^40 bytes.
    const bool is_possible =
        opened_.layer_bytes > 0 &&
        opened_.layer_bytes <= transport_.arena_.bytes().size();
    if (is_asked_for && is_possible &&
        opened_.blocks <= request_.buffers.size()) {
      return absl::OkStatus();
    }
    return BadAnswer("other layers than it was asked for");
  }

  absl::Status CheckBuffers() const {
    for (size_t i = 0; i < opened_.blocks; ++i) {
      const size_t room = request_.buffers[i].size();
      if (room >= payload_bytes()) continue;
      return MakeError(
          absl::StatusCode::kInvalidArgument, "BUFFER",
          absl::StrCat("buffers[", i, "]: ", room, " bytes, block has ",
                       payload_bytes(), ". Give a larger one."));
    }
    return absl::OkStatus();
  }

  // What a call without an answer ends with that was `due`. A deadline that passes
  // while the node keeps to what it said is the writer's.
  absl::Status EndOf(const absl::Status& status,
                     SteadyClock::time_point due) const {
    const bool is_writers = !request_.follower.empty() &&
                            absl::IsDeadlineExceeded(status) &&
                            call_.deadline < due + kLatenessMax;
    return is_writers ? WriterIsSlow() : status;
  }

  // One question: the next pieces.
  absl::Status TakeSome() {
    const auto asked = SteadyClock::now();
    BANYAN_RETURN_IF_ERROR(EndOf(transport_.CheckCall(call_), asked));
    const auto left =
        std::chrono::duration_cast<milliseconds>(call_.deadline - asked) -
        kAnswerTime;
    if (!request_.follower.empty() && left <= milliseconds(0)) {
      return WriterIsSlow();
    }
    const milliseconds wait = std::clamp(left, milliseconds(1), kWait);
    hold_.Post(EncodeQuestion(
        ShmLayersQuestion{.layer = layer_,
                          .block = block_,
                          .blocks = opened_.blocks,
                          .pieces = kPiecesPerQuestion,
                          .wait_ms = static_cast<uint32_t>(wait.count())}));
    const auto bytes = hold_.Await(call_);
    if (!bytes.ok()) return EndOf(bytes.status(), asked + wait);
    BANYAN_ASSIGN_OR_RETURN(const auto answer, ParsePieces(*bytes));
    if (answer.pieces.size() > kPiecesPerQuestion) {
      return BadAnswer("more pieces than it was asked for");
    }
    lease_end_ = asked + milliseconds(answer.lease_ms);
    for (const ShmPiece& piece : answer.pieces) {
      if (layer_ > end_layer()) return BadAnswer("pieces of no layer");
      BANYAN_RETURN_IF_ERROR(transport_.CheckCall(call_));
      // Of a block that was lost nothing more is wanted.
      if (result_.blocks[block_].result == ReadResult::kMiss) {
        BANYAN_RETURN_IF_ERROR(Take(piece));
      }
      if (++block_ < opened_.blocks) continue;
      block_ = 0;
      ++layer_;
    }
    return absl::OkStatus();
  }

  absl::Status Take(const ShmPiece& piece) {
    BlockRead& read = result_.blocks[block_];
    if (piece.state == ShmPieceState::kWithdrawn) {
      Lose(ReadResult::kWithdrawn);
      return absl::OkStatus();
    }
    if (layer_ == end_layer()) {
      read.result = ReadResult::kHit;
      read.payload_bytes = payload_bytes();
      ++result_.found.hit_blocks;
      return absl::OkStatus();
    }
    BANYAN_ASSIGN_OR_RETURN(
        const auto from,
        transport_.InArena(
            {.offset = piece.offset, .payload_bytes = opened_.layer_bytes}));
    std::byte* const to =
        request_.buffers[block_].data() + layer_ * opened_.layer_bytes;
    if (!Copy(from, to, piece.checksum)) return OnDamaged();
    ++read.landed_pieces;
    tracker_.OnLanded(block_);
    return absl::OkStatus();
  }

  bool Copy(std::span<const std::byte> from, std::byte* to,
            const Checksum128& want) const {
    const auto source = absl::MakeConstSpan(from.data(), from.size());
    const Checksum128 sum = CopyPiece(seeds_[block_], layer_, source, to);
    return sum == want ||
           transport_.options_.verification == Verification::kOffForBench;
  }

  absl::Status OnDamaged() {
    if (SteadyClock::now() >= lease_end_) {
      return MakeError(absl::StatusCode::kAborted, "LEASE",
                       "shm: copying took longer than the blocks were pinned "
                       "for. Treat as a miss.");
    }
    ++result_.found.corrupt_checksum;
    damaged_.push_back(block_);
    Lose(ReadResult::kCorrupt);
    return absl::OkStatus();
  }

  void Lose(ReadResult why) {
    result_.blocks[block_].result = why;
    --left_;
    tracker_.OnLost(block_);
  }

  absl::Status TellDamaged() {
    for (const uint32_t block : damaged_) {
      hold_.Post(EncodeQuestion(ShmCheck{.ordinal = block}));
      BANYAN_RETURN_IF_ERROR(hold_.Await(call_).status());
    }
    return absl::OkStatus();
  }

  absl::Status BadAnswer(absl::string_view what) {
    ++result_.found.broken_order;
    return ShmBrokeProtocol(what);
  }

  const ShmTransport& transport_;
  const LayersRequest& request_;
  const Call& call_;
  SlotHold& hold_;
  GetResult& result_;
  const std::vector<uint64_t> seeds_;
  LayerTracker tracker_;
  ShmLayersOpened opened_;
  uint32_t layer_ = 0;  // The next piece; one past the last layer: the ends.
  uint32_t block_ = 0;
  uint32_t left_ = 0;  // Blocks that are not lost.
  SteadyClock::time_point lease_end_;
  std::vector<uint32_t> damaged_;
};

namespace {

// Who waits for a writer keeps a slot all the time; half of them are for others,
// the writer among them.
constexpr uint32_t kFollowsMax = kShmSlots / 2;

class FollowPlace {
 public:
  FollowPlace(std::atomic<uint32_t>& follows, bool is_follow)
      : follows_(follows), is_follow_(is_follow) {
    is_taken_ = !is_follow || ++follows <= kFollowsMax;
  }
  ~FollowPlace() {
    if (is_follow_) --follows_;
  }
  FollowPlace(const FollowPlace&) = delete;
  FollowPlace& operator=(const FollowPlace&) = delete;

  bool is_taken() const { return is_taken_; }

 private:
  std::atomic<uint32_t>& follows_;
  const bool is_follow_;
  bool is_taken_;
};

// gRPC takes it.
absl::Status TooManyFollows() {
  return MakeError(absl::StatusCode::kUnavailable, "LAYERS",
                   absl::StrCat("shm: ", kFollowsMax,
                                " calls of this client wait for writers, the "
                                "limit. Use gRPC for others."));
}

}  // namespace

absl::Status ShmTransport::GetLayers(const LayersRequest& request,
                                     const Call& call, GetResult& result) {
  result = {.blocks = std::vector<BlockRead>(request.buffers.size())};
  BANYAN_RETURN_IF_ERROR(CheckKeys(LayerGet::BlocksOf(request)));
  const FollowPlace place(follows_, !request.follower.empty());
  if (!place.is_taken()) return TooManyFollows();
  BANYAN_ASSIGN_OR_RETURN(const uint32_t slot, TakeSlot(call));
  SlotHold hold(*this, slot);
  return LayerGet(*this, request, call, hold, result).Run();
}

}  // namespace banyan::transport
