#include "tiers/tier.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"

namespace banyan::tiers {

BlockPin::BlockPin(BlockHeader header)
    : header_(std::move(header)),
      checksum_seed_(header_.identity.ChecksumSeed()) {}

absl::Span<const std::byte> BlockPin::PieceBytes(uint32_t piece) const {
  BANYAN_CHECK(piece < header_.piece_count());
  return payload().subspan(header_.PieceOffset(piece),
                           header_.PieceSize(piece));
}

bool BlockPin::IsIntact(uint32_t piece,
                        absl::Span<const std::byte> bytes) const {
  return PieceChecksum(checksum_seed_, piece, bytes) == header_.pieces[piece];
}

absl::StatusOr<VerifiedBytes> BlockPin::ReadPiece(uint32_t piece) const {
  const absl::Span<const std::byte> bytes = PieceBytes(piece);
  if (IsIntact(piece, bytes)) return VerifiedBytes(bytes);
  const absl::Span<const std::byte> again = PayloadAgain();
  if (!again.empty()) {
    BANYAN_CHECK(again.size() == header_.payload_bytes);
    const absl::Span<const std::byte> second =
        again.subspan(header_.PieceOffset(piece), header_.PieceSize(piece));
    if (IsIntact(piece, second)) return VerifiedBytes(second);
  }
  OnDamaged();
  return MakeError(absl::StatusCode::kDataLoss, "CHECKSUM",
                   absl::StrCat("block: checksum mismatch in piece ", piece,
                                " of ", header_.piece_count()));
}

VerifiedBytes BlockPin::ReadPieceUnverifiedForBench(uint32_t piece) const {
  return VerifiedBytes(PieceBytes(piece));
}

}  // namespace banyan::tiers
