#include "base/block_key.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/sha256.h"

namespace banyan {
namespace {

// Separates these digests from any other use of SHA-256.
constexpr absl::string_view kDomain = "banyan.key.v1";

std::string Length32(size_t length) {
  std::string out(4, '\0');
  StoreLe32(static_cast<uint32_t>(length),
            reinterpret_cast<std::byte*>(out.data()));
  return out;
}

bool IsHex(absl::string_view text) {
  return text.find_first_not_of("0123456789abcdefABCDEF") ==
         absl::string_view::npos;
}

}  // namespace

absl::StatusOr<BlockKey> BlockKey::FromBytes(absl::string_view bytes) {
  if (bytes.empty() || bytes.size() > kKeyBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "key: ", bytes.size(), " bytes, need 1 to ", kKeyBytesMax, "."));
  }
  BlockKey key;
  key.size_ = static_cast<uint8_t>(bytes.size());
  std::memcpy(key.bytes_.data(), bytes.data(), bytes.size());
  return key;
}

absl::StatusOr<BlockKey> BlockKey::FromHex(absl::string_view hex) {
  if (hex.size() % 2 != 0 || !IsHex(hex)) {
    return absl::InvalidArgumentError(
        absl::StrCat("key: \"", absl::CEscape(hex.substr(0, 64)),
                     "\" is not hex (want an even number of 0-9 a-f)."));
  }
  return FromBytes(absl::HexStringToBytes(hex));
}

std::string BlockKey::hex() const { return absl::BytesToHexString(bytes()); }

BlockKey ChainKey(absl::string_view fingerprint, const BlockKey& parent,
                  absl::Span<const uint32_t> tokens, absl::string_view extra) {
  BANYAN_CHECK(fingerprint.size() == kFingerprintBytes);
  const absl::string_view token_bytes(
      reinterpret_cast<const char*>(tokens.data()),
      tokens.size() * sizeof(uint32_t));
  const Sha256Digest digest = Sha256(
      {kDomain, fingerprint, Length32(parent.bytes().size()), parent.bytes(),
       Length32(tokens.size()), token_bytes, Length32(extra.size()), extra});
  return *BlockKey::FromBytes(AsText(digest));
}

}  // namespace banyan
