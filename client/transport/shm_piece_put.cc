// Writing by layers through shared memory: stretches of pieces go through the
// parts of two slots in turn, so that the node copies out of one while the
// caller fills the other.
#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "base/block_header.h"
#include "base/copy_checksum.h"
#include "base/status_macros.h"
#include "client/transport/shm_layer_messages.h"
#include "client/transport/shm_slot_hold.h"
#include "client/transport/shm_transport.h"

namespace banyan::transport {

class ShmTransport::PieceSender {
 public:
  PieceSender(ShmTransport& transport, uint32_t slot, std::string_view write_id,
              const Call& call)
      : transport_(transport), write_id_(write_id), call_(call) {
    holds_[0].emplace(transport, slot);
    uint32_t second = 0;
    if (transport.TryTakeSlot(second)) holds_[1].emplace(transport, second);
  }

  // Returns the piece's checksum. It may still be on its way.
  absl::StatusOr<Checksum128> Send(const OutgoingPiece& piece,
                                   uint64_t piece_bytes) {
    const uint64_t begin = piece.piece * piece_bytes;
    if (piece.bytes.size() <= kShmPartBytes) {
      BANYAN_RETURN_IF_ERROR(MakeRoom(piece.bytes.size()));
      const Checksum128 sum = CopyPieceCached(
          piece.checksum_seed, piece.piece,
          absl::MakeConstSpan(piece.bytes.data(), piece.bytes.size()),
          Part().data() + filled_);
      Add(piece, begin, piece.bytes.size(), sum, true);
      return sum;
    }
    const Checksum128 sum = PieceChecksum(
        piece.checksum_seed, piece.piece,
        absl::MakeConstSpan(piece.bytes.data(), piece.bytes.size()));
    for (size_t at = 0; at < piece.bytes.size();) {
      const size_t size =
          std::min<size_t>(kShmPartBytes, piece.bytes.size() - at);
      BANYAN_RETURN_IF_ERROR(MakeRoom(size));
      std::memcpy(Part().data() + filled_, piece.bytes.data() + at, size);
      Add(piece, begin + at, size, sum, at + size == piece.bytes.size());
      at += size;
    }
    return sum;
  }

  // All has arrived.
  absl::Status Finish() {
    BANYAN_RETURN_IF_ERROR(Post());
    BANYAN_RETURN_IF_ERROR(Await(*holds_[0]));
    return holds_[1].has_value() ? Await(*holds_[1]) : absl::OkStatus();
  }

 private:
  SlotHold& Hold() {
    return holds_[1].has_value() && is_second_ ? *holds_[1] : *holds_[0];
  }

  std::span<std::byte> Part() {
    return transport_.window_.bytes().subspan(
        uint64_t{Hold().slot()} * kShmPartBytes, kShmPartBytes);
  }

  // For a stretch of `bytes` in the part that is being filled.
  absl::Status MakeRoom(size_t bytes) {
    if (filled_ + bytes > kShmPartBytes ||
        stretches_.size() == kShmStretchesMax) {
      BANYAN_RETURN_IF_ERROR(Post());
    }
    // Its part is the node's until it has answered.
    return stretches_.empty() ? Await(Hold()) : absl::OkStatus();
  }

  void Add(const OutgoingPiece& piece, uint64_t offset, size_t bytes,
           const Checksum128& sum, bool is_last) {
    stretches_.push_back({.ordinal = piece.ordinal,
                          .piece = piece.piece,
                          .offset = offset,
                          .bytes = bytes,
                          .is_last = is_last,
                          .checksum = sum});
    filled_ += bytes;
  }

  // Hands over the part that is filled, after the one before it was taken, so
  // that the stretches of a piece arrive in order.
  absl::Status Post() {
    if (stretches_.empty()) return absl::OkStatus();
    SlotHold& hold = Hold();
    is_second_ = !is_second_;
    if (&Hold() != &hold) BANYAN_RETURN_IF_ERROR(Await(Hold()));
    BANYAN_RETURN_IF_ERROR(transport_.CheckCall(call_));
    hold.Post(EncodeQuestion(
        ShmPutPieces{.write_id = {write_id_.data(), write_id_.size()},
                     .stretches = std::exchange(stretches_, {})}));
    filled_ = 0;
    return absl::OkStatus();
  }

  absl::Status Await(SlotHold& hold) {
    if (!hold.is_open()) return absl::OkStatus();
    BANYAN_ASSIGN_OR_RETURN(const auto answer, hold.Await(call_));
    return ParseCount(answer).status();
  }

  ShmTransport& transport_;
  const std::string_view write_id_;
  const Call& call_;
  std::array<std::optional<SlotHold>, 2> holds_;
  bool is_second_ = false;  // Which one is being filled.
  std::vector<ShmStretch> stretches_;
  size_t filled_ = 0;
};

absl::Status ShmTransport::PutPieces(const PiecesRequest& request,
                                     const Call& call,
                                     std::vector<Checksum128>& sums) {
  sums.clear();
  BANYAN_ASSIGN_OR_RETURN(const uint32_t slot, TakeSlot(call));
  PieceSender sender(*this, slot, request.write_id, call);
  for (const OutgoingPiece& piece : request.pieces) {
    BANYAN_ASSIGN_OR_RETURN(const Checksum128 sum,
                            sender.Send(piece, request.piece_bytes));
    sums.push_back(sum);
  }
  return sender.Finish();
}

}  // namespace banyan::transport
