// Any bytes given to the header parser: it must refuse them or read a header
// that serialises to exactly those bytes. The checksum is repaired first, so
// that the fuzzer gets past it.
#include <cstdint>
#include <vector>

#include "base/block_header.h"
#include "base/check.h"

namespace banyan {
namespace {

// As in docs/formats/block_header.md.
constexpr uint64_t kHeaderSeed = 0x62616e79616e6864;

void CheckRoundTrip(const std::vector<std::byte>& bytes) {
  const auto header = ParseBlockHeader(bytes);
  if (!header.ok()) return;
  const auto again = ParseBlockHeader(SerializeBlockHeader(*header));
  BANYAN_CHECK(again.ok() && *again == *header);
}

}  // namespace
}  // namespace banyan

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto* const begin = reinterpret_cast<const std::byte*>(data);
  std::vector<std::byte> bytes(begin, begin + size);
  banyan::CheckRoundTrip(bytes);
  if (size < banyan::kChecksumBytes) return 0;
  const size_t body = size - banyan::kChecksumBytes;
  banyan::StoreChecksum(
      banyan::Xxh3_128(absl::MakeConstSpan(bytes.data(), body),
                       banyan::kHeaderSeed),
      bytes.data() + body);
  banyan::CheckRoundTrip(bytes);
  return 0;
}
