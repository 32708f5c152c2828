#include "client/transport/arriving_pieces.h"

#include <algorithm>
#include <cstring>

#include "base/block_header.h"

namespace banyan::transport {

ArrivingPieces::ArrivingPieces(absl::Span<std::byte> payload,
                               uint64_t piece_bytes, uint32_t first,
                               uint64_t end, uint64_t checksum_seed,
                               Verification verification)
    : payload_(payload),
      piece_bytes_(piece_bytes),
      checksum_seed_(checksum_seed),
      verification_(verification),
      at_(first * piece_bytes),
      end_(end) {
  Begin(first);
}

void ArrivingPieces::Begin(uint32_t piece) {
  piece_ = piece;
  piece_end_ = at_ + std::min(left_bytes(), piece_bytes_);
  copy_ = PartedCopy(payload_.subspan(at_, piece_end_ - at_),
                     PieceSeed(checksum_seed_, piece));
}

bool ArrivingPieces::Take(absl::Span<const std::byte>& bytes) {
  if (bytes.empty()) return false;
  if (at_ == piece_end_) Begin(piece_ + 1);
  const auto part =
      bytes.first(std::min<uint64_t>(bytes.size(), piece_end_ - at_));
  if (verification_ == Verification::kOffForBench) {
    std::memcpy(payload_.data() + at_, part.data(), part.size());
  } else {
    copy_.Add(part);
  }
  at_ += part.size();
  bytes.remove_prefix(part.size());
  return at_ == piece_end_;
}

}  // namespace banyan::transport
