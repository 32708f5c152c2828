#include "tests/testing/self_describing.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/checksum.h"
#include "base/status_macros.h"
#include "client/ctl/payload.h"

namespace banyan::testing {
namespace {

constexpr absl::string_view kSpace = "banyan-test-space";
constexpr uint64_t kIdSeed = 7;

std::string KeyNo(uint64_t n) { return absl::StrCat("block-", n); }

}  // namespace

BlockIdentity IdentityNo(uint64_t n) {
  return {.namespace_id = std::string(kSpace.substr(0, kNamespaceIdBytes)),
          .salt_digest = SaltDigest(""),
          .key = *BlockKey::FromBytes(KeyNo(n))};
}

BlockId IdNo(uint64_t n) {
  const Checksum128 hash = Xxh3_128(AsBytes(KeyNo(n)), kIdSeed);
  return {.low = hash.low, .high = hash.high};
}

void FillPayloadNo(uint64_t n, absl::Span<std::byte> out) {
  ctl::FillPayload(kSpace, KeyNo(n), out);
}

std::vector<std::byte> PayloadNo(uint64_t n, uint64_t payload_bytes) {
  std::vector<std::byte> payload(payload_bytes);
  FillPayloadNo(n, absl::MakeSpan(payload));
  return payload;
}

BlockHeader HeaderNo(uint64_t n, absl::Span<const std::byte> payload,
                     uint64_t piece_bytes) {
  BlockHeader header;
  header.identity = IdentityNo(n);
  header.payload_bytes = payload.size();
  header.piece_bytes = piece_bytes == 0 ? payload.size() : piece_bytes;
  const uint32_t count = PieceCount(header.payload_bytes, header.piece_bytes);
  BANYAN_CHECK(count > 0);
  const uint64_t seed = header.identity.ChecksumSeed();
  for (uint32_t i = 0; i < count; ++i) {
    header.pieces.push_back(PieceChecksum(
        seed, i, payload.subspan(header.PieceOffset(i), header.PieceSize(i))));
  }
  return header;
}

absl::Status StoreNo(tiers::Tier& tier, uint64_t n, uint64_t payload_bytes,
                     uint64_t piece_bytes) {
  BANYAN_ASSIGN_OR_RETURN(std::unique_ptr<tiers::StagedBlock> staged,
                          tier.Stage(payload_bytes));
  FillPayloadNo(n, staged->bytes());
  BlockHeader header = HeaderNo(n, staged->bytes(), piece_bytes);
  return tier.Store(IdNo(n), std::move(header), std::move(staged));
}

absl::Status CheckPinNo(const tiers::BlockPin& pin, uint64_t n,
                        uint64_t payload_bytes) {
  const BlockHeader& header = pin.header();
  if (!(header.identity == IdentityNo(n)) ||
      header.payload_bytes != payload_bytes) {
    return absl::InternalError("the pin has the header of another block");
  }
  for (uint32_t i = 0; i < header.piece_count(); ++i) {
    BANYAN_ASSIGN_OR_RETURN(const tiers::VerifiedBytes piece, pin.ReadPiece(i));
    const absl::Status status = ctl::VerifyPayload(
        kSpace, KeyNo(n), piece.bytes(), header.PieceOffset(i), payload_bytes);
    if (!status.ok()) {
      return absl::InternalError(
          absl::StrCat("wrong bytes served: ", status.ToString()));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadNo(tiers::Tier& tier, uint64_t n, uint64_t payload_bytes) {
  BANYAN_ASSIGN_OR_RETURN(const std::unique_ptr<tiers::BlockPin> pin,
                          tier.Pin(IdNo(n), IdentityNo(n)));
  return CheckPinNo(*pin, n, payload_bytes);
}

std::string Describe(absl::Span<const std::byte> bytes) {
  return ctl::DescribePayload(bytes);
}

}  // namespace banyan::testing
