#include "client/ctl/replay_payload.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "client/ctl/payload.h"

namespace banyan::ctl {
namespace {

absl::string_view ViewOf(std::string_view text) {
  return {text.data(), text.size()};
}

// Makes any bits finite numbers of magnitude 1/8 to 2: of the exponent, two
// bits stay.
void MakeNumbers(bool is_bf16, std::span<std::byte> elements) {
  const uint64_t kept = is_bf16 ? 0x81FF'81FF'81FF'81FF : 0x8FFF'8FFF'8FFF'8FFF;
  const uint64_t set = is_bf16 ? 0x3E00'3E00'3E00'3E00 : 0x3000'3000'3000'3000;
  size_t at = 0;
  for (; at + 8 <= elements.size(); at += 8) {
    StoreLe64((LoadLe64(&elements[at]) & kept) | set, &elements[at]);
  }
  for (; at < elements.size(); at += 2) {
    StoreLe16(static_cast<uint16_t>((LoadLe16(&elements[at]) & kept) | set),
              &elements[at]);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ReplayPayload>> ReplayPayload::Make(
    std::string space, const Fingerprint& fingerprint, uint64_t block_bytes) {
  std::unique_ptr<client::BlockCoding> coding;
  if (!fingerprint.kv_codec.empty()) {
    BANYAN_ASSIGN_OR_RETURN(coding, client::BlockCoding::Make(fingerprint, {}));
    if (fingerprint.data_type != "bf16" && fingerprint.data_type != "fp16") {
      return MakeError(absl::StatusCode::kInvalidArgument, "CODEC",
                       "kv-codec: a replay has numbers of bf16 and fp16 only.");
    }
  }
  return absl::WrapUnique(new ReplayPayload(std::move(space), block_bytes,
                                            fingerprint.data_type == "bf16",
                                            std::move(coding)));
}

void ReplayPayload::Fill(std::string_view key, std::span<std::byte> out) const {
  FillPayload(space_, ViewOf(key), absl::MakeSpan(out.data(), out.size()));
  if (coding_ != nullptr) MakeNumbers(is_bf16_, out);
}

absl::Status ReplayPayload::Verify(std::string_view key, uint32_t block,
                                   std::span<const std::byte> bytes) const {
  if (bytes.size() != block_bytes_) {
    return MakeError(
        absl::StatusCode::kDataLoss, "LENGTH",
        absl::StrCat("block: ", bytes.size(), " bytes, not ", block_bytes_));
  }
  if (coding_ == nullptr) {
    return VerifyPayload(space_, ViewOf(key),
                         absl::MakeConstSpan(bytes.data(), bytes.size()), 0,
                         block_bytes_);
  }
  std::vector<std::byte> expected(block_bytes_);
  Fill(key, expected);
  const std::span<const std::byte> payload(expected);
  BANYAN_ASSIGN_OR_RETURN(const auto encoded,
                          coding_->Encode(block, {payload}));
  const auto stored = encoded.blocks.front().payload;
  std::memmove(expected.data(), stored.data(), stored.size());
  BANYAN_RETURN_IF_ERROR(
      coding_->DecodeInPlace(block, expected, stored.size()));
  if (std::memcmp(bytes.data(), expected.data(), bytes.size()) == 0) {
    return absl::OkStatus();
  }
  const auto wrong = std::ranges::mismatch(bytes, expected);
  return MakeError(absl::StatusCode::kDataLoss, "PAYLOAD",
                   absl::StrCat("block: byte ", wrong.in1 - bytes.begin(),
                                " is not what the codec makes of it"));
}

uint64_t ReplayPayload::stored_bytes() const {
  return coding_ == nullptr ? block_bytes_ : coding_->stored_bytes();
}

}  // namespace banyan::ctl
