#include "tiers/tier.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/status_macros.h"

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

absl::Span<const std::byte> BlockPin::PieceForVerifier(uint32_t piece) const {
  return PieceBytes(piece);
}

VerifiedBytes BlockPin::ReadPieceUnverifiedForBench(uint32_t piece) const {
  return VerifiedBytes(PieceBytes(piece));
}

PieceCheck::PieceCheck(std::shared_ptr<const BlockPin> pin, uint32_t piece)
    : pin_(std::move(pin)),
      piece_(piece),
      sum_(PieceSeed(pin_->checksum_seed_, piece)) {}

bool PieceCheck::Step(size_t bytes_max) {
  const auto rest = pin_->PieceBytes(piece_).subspan(seen_bytes_);
  const auto part = rest.subspan(0, bytes_max);
  sum_.Add(part);
  seen_bytes_ += part.size();
  return part.size() == rest.size();
}

absl::StatusOr<VerifiedBytes> PieceCheck::Finish() const {
  const auto bytes = pin_->PieceBytes(piece_);
  BANYAN_CHECK(seen_bytes_ == bytes.size());
  if (sum_.Sum() == pin_->header_.pieces[piece_]) return VerifiedBytes(bytes);
  return pin_->ReadPiece(piece_);  // Which knows what else to try.
}

absl::StatusOr<std::unique_ptr<BlockPin>> Tier::StorePinned(
    const BlockId& id, BlockHeader header,
    std::unique_ptr<StagedBlock>& staged) {
  const BlockIdentity identity = header.identity;
  BANYAN_RETURN_IF_ERROR(Store(id, std::move(header), std::move(staged)));
  auto pin = Pin(id, identity);
  if (!pin.ok()) Erase(id);
  return pin;
}

}  // namespace banyan::tiers
