// Any bytes given to the parsers of segment and record headers: refused, or read
// as a header that is written as exactly those bytes. The checksums are repaired
// first, so that the fuzzer gets past them.
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "tiers/ssd/segment_format.h"

namespace banyan::tiers {
namespace {

// As in docs/formats/ssd_segment.md.
constexpr uint64_t kSegmentSeed = 0x62616e79616e7367;
constexpr uint64_t kRecordSeed = 0x62616e79616e7263;

const RecordPlace& Place() {
  static const RecordPlace* const place = new RecordPlace{
      .segment = {.node = NodeDigest("node-1"), .id = 1, .generation = 5},
      .offset = 4096};
  return *place;
}

uint64_t SeedOfPlace() {
  std::byte text[40];
  StoreChecksum(Place().segment.node, &text[0]);
  StoreLe64(Place().segment.id, &text[16]);
  StoreLe64(Place().segment.generation, &text[24]);
  StoreLe64(Place().offset, &text[32]);
  return Xxh3_64(text, kRecordSeed);
}

void Repair(absl::Span<std::byte> bytes, uint64_t seed) {
  const auto body = bytes.first(bytes.size() - kChecksumBytes);
  StoreChecksum(Xxh3_128(body, seed), bytes.data() + body.size());
}

void CheckSegment(absl::Span<const std::byte> page) {
  const auto header = ParseSegmentHeader(page);
  if (!header.ok()) return;
  std::vector<std::byte> again(kSegmentHeaderBytes);
  WriteSegmentHeader(*header, absl::MakeSpan(again));
  const auto parsed = ParseSegmentHeader(again);
  BANYAN_CHECK(parsed.ok() && *parsed == *header);
}

void CheckRecord(absl::Span<const std::byte> bytes) {
  const auto header = ParseRecordHeader(bytes, Place());
  if (!header.ok()) return;
  std::vector<std::byte> again(RecordHeaderBytes(header->block.piece_count()));
  WriteRecordHeader(*header, Place(), absl::MakeSpan(again));
  const auto parsed = ParseRecordHeader(again, Place());
  BANYAN_CHECK(parsed.ok() && *parsed == *header);
}

}  // namespace
}  // namespace banyan::tiers

// The input is cut, or filled with zeros, to whole pages.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace banyan::tiers;
  const auto* const begin = reinterpret_cast<const std::byte*>(data);
  std::vector<std::byte> bytes(begin, begin + size);
  bytes.resize((size / kIoAlignment + 1) * kIoAlignment);
  const absl::Span<std::byte> all = absl::MakeSpan(bytes);
  const auto page = all.first(kIoAlignment);
  CheckSegment(page);
  CheckRecord(all);
  const uint64_t header_bytes = PeekRecordHeaderBytes(page);
  if (header_bytes > 0 && header_bytes <= bytes.size()) {
    Repair(all.first(header_bytes), SeedOfPlace());
    CheckRecord(all);
  }
  Repair(page, kSegmentSeed);
  CheckSegment(page);
  return 0;
}
