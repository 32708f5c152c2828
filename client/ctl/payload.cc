#include "client/ctl/payload.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/checksum.h"
#include "base/error.h"

namespace banyan::ctl {
namespace {

// Byte offsets in a label.
constexpr absl::string_view kMagic =
    "\xF1"
    "banyan\x01";
constexpr size_t kPageAt = 8;
constexpr size_t kNamespaceSizeAt = 16;
constexpr size_t kKeySizeAt = 17;
constexpr size_t kNamespaceAt = 18;
constexpr size_t kKeyAt = kNamespaceAt + kLabelNamespaceBytesMax;
constexpr size_t kKeyBytesMax = 64;
static_assert(kKeyAt + kKeyBytesMax <= kPayloadLabelBytes);

constexpr size_t kDescribedMax = 4;

// Independent xorshift generators, stepped together so that the compiler can
// keep them in vector registers.
constexpr size_t kLanes = 8;
constexpr uint64_t kGolden = 0x9e3779b97f4a7c15;

using Page = std::array<std::byte, kPayloadPageBytes>;

uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t StreamSeed(absl::string_view space, absl::string_view key) {
  return Xxh3_64(AsBytes(key), Xxh3_64(AsBytes(space), kGolden));
}

void FillStream(uint64_t seed, std::byte* out, size_t bytes) {
  std::array<uint64_t, kLanes> lanes;
  for (size_t i = 0; i < kLanes; ++i) {
    lanes[i] = Mix(seed + (i + 1) * kGolden) | 1;  // Never all zero.
  }
  std::array<uint64_t, kLanes> sums;
  for (size_t at = 0; at < bytes; at += sizeof(lanes)) {
    for (size_t i = 0; i < kLanes; ++i) {
      lanes[i] ^= lanes[i] << 13;
      lanes[i] ^= lanes[i] >> 7;
      lanes[i] ^= lanes[i] << 17;
      sums[i] = lanes[i] + kGolden;
    }
    std::memcpy(out + at, sums.data(), std::min(sizeof(sums), bytes - at));
  }
}

void FillLabel(absl::string_view space, absl::string_view key, uint64_t page,
               std::byte* out) {
  const absl::string_view shown = space.substr(0, kLabelNamespaceBytesMax);
  std::memset(out, 0, kPayloadLabelBytes);
  std::memcpy(out, kMagic.data(), kMagic.size());
  StoreLe64(page, out + kPageAt);
  out[kNamespaceSizeAt] = static_cast<std::byte>(shown.size());
  out[kKeySizeAt] = static_cast<std::byte>(key.size());
  if (!shown.empty()) {
    std::memcpy(out + kNamespaceAt, shown.data(), shown.size());
  }
  if (!key.empty()) std::memcpy(out + kKeyAt, key.data(), key.size());
}

// `out` is one page, or what there is of the last one.
void FillPage(absl::string_view space, absl::string_view key, uint64_t seed,
              uint64_t page, absl::Span<std::byte> out) {
  const uint64_t page_seed = seed + Mix(page + 1);
  if (out.size() < kPayloadLabelBytes) {
    FillStream(page_seed, out.data(), out.size());
    return;
  }
  FillLabel(space, key, page, out.data());
  FillStream(page_seed, out.data() + kPayloadLabelBytes,
             out.size() - kPayloadLabelBytes);
}

// "namespace 'x' key 0a0b page 3", if a label starts here.
bool ReadLabel(absl::string_view text, std::string& description) {
  if (text.size() < kPayloadLabelBytes) return false;
  const auto* const in = reinterpret_cast<const std::byte*>(text.data());
  const size_t space_size = static_cast<size_t>(in[kNamespaceSizeAt]);
  const size_t key_size = static_cast<size_t>(in[kKeySizeAt]);
  if (space_size > kLabelNamespaceBytesMax || key_size > kKeyBytesMax) {
    return false;
  }
  description = absl::StrCat(
      "namespace '", absl::CHexEscape(text.substr(kNamespaceAt, space_size)),
      "' key ", absl::BytesToHexString(text.substr(kKeyAt, key_size)), " page ",
      LoadLe64(in + kPageAt));
  return true;
}

}  // namespace

void FillPayload(absl::string_view space, absl::string_view key,
                 absl::Span<std::byte> out) {
  BANYAN_CHECK(key.size() <= kKeyBytesMax);
  const uint64_t seed = StreamSeed(space, key);
  for (uint64_t page = 0; page * kPayloadPageBytes < out.size(); ++page) {
    FillPage(space, key, seed, page,
             out.subspan(page * kPayloadPageBytes, kPayloadPageBytes));
  }
}

absl::Status VerifyPayload(absl::string_view space, absl::string_view key,
                           absl::Span<const std::byte> bytes,
                           uint64_t offset_bytes, uint64_t payload_bytes) {
  BANYAN_CHECK(key.size() <= kKeyBytesMax);
  BANYAN_CHECK(offset_bytes <= payload_bytes &&
               bytes.size() <= payload_bytes - offset_bytes);
  const uint64_t seed = StreamSeed(space, key);
  Page expected;
  for (size_t done = 0; done < bytes.size();) {
    const uint64_t at = offset_bytes + done;
    const uint64_t page = at / kPayloadPageBytes;
    const size_t begin = at % kPayloadPageBytes;
    const size_t page_size = static_cast<size_t>(std::min<uint64_t>(
        kPayloadPageBytes, payload_bytes - page * kPayloadPageBytes));
    const size_t count = std::min(page_size - begin, bytes.size() - done);
    FillPage(space, key, seed, page,
             absl::MakeSpan(expected.data(), page_size));
    if (std::memcmp(&bytes[done], &expected[begin], count) != 0) {
      const auto* const wrong =
          std::mismatch(&bytes[done], &bytes[done] + count, &expected[begin])
              .first;
      return MakeError(
          absl::StatusCode::kDataLoss, "PAYLOAD",
          absl::StrCat(
              "payload: wrong byte at ", offset_bytes + (wrong - bytes.data()),
              " of ", payload_bytes, "; around it: ",
              DescribePayload(bytes.subspan(done, kPayloadPageBytes))));
    }
    done += count;
  }
  return absl::OkStatus();
}

std::string DescribePayload(absl::Span<const std::byte> bytes) {
  const absl::string_view text = AsText(bytes);
  std::vector<std::string> found;
  for (size_t at = text.find(kMagic); at != absl::string_view::npos;
       at = text.find(kMagic, at + 1)) {
    std::string description;
    if (!ReadLabel(text.substr(at), description)) continue;
    found.push_back(absl::StrCat("byte ", at, ": ", description));
    if (found.size() == kDescribedMax) break;
  }
  if (found.empty())
    return absl::StrCat(bytes.size(), " bytes without a label");
  return absl::StrJoin(found, "; ");
}

}  // namespace banyan::ctl
