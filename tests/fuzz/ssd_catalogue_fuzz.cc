// Any bytes given to the parsers of catalogue rows and of directory labels:
// refused, or read as what is written as exactly those bytes. Checksums of rows
// are repaired first.
#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/check.h"
#include "base/checksum.h"
#include "tiers/ssd/catalogue_row.h"
#include "tiers/ssd/directory.h"

namespace banyan::tiers {
namespace {

constexpr uint64_t kRowSeed = 0x62616e79616e7277;  // docs/formats.

std::string WithSum(const std::string& key, std::string body) {
  std::byte sum[8];
  StoreLe64(Xxh3_64(AsBytes(body), Xxh3_64(AsBytes(key), kRowSeed)), sum);
  return body.append(reinterpret_cast<const char*>(sum), sizeof sum);
}

void CheckRows(const std::string& text) {
  const BlockId id = {.low = 1, .high = 2};
  for (const std::string& value :
       {text, WithSum(BlockRowKey(id), text), WithSum(SegmentRowKey(7), text),
        WithSum(NoteRowKey("k"), text)}) {
    const auto block = ParseBlockRow(BlockRowKey(id), value);
    if (block.ok()) BANYAN_CHECK(SerializeBlockRow(id, *block) == value);
    const auto segment = ParseSegmentRow(SegmentRowKey(7), value);
    if (segment.ok()) {
      const std::string again = SerializeSegmentRow(7, *segment);
      BANYAN_CHECK(*ParseSegmentRow(SegmentRowKey(7), again) == *segment);
    }
    const auto note = ParseNote(NoteRowKey("k"), value);
    if (note.ok()) BANYAN_CHECK(SerializeNote("k", *note) == value);
  }
}

void CheckLabel(const std::string& text) {
  const auto label = ParseLabel(text);
  if (label.ok()) BANYAN_CHECK(*ParseLabel(FormatLabel(*label)) == *label);
}

}  // namespace
}  // namespace banyan::tiers

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  banyan::tiers::CheckRows(text);
  banyan::tiers::CheckLabel(text);
  return 0;
}
