#include "tiers/ssd/segment_scan.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "tiers/io/buffer_pool.h"

namespace banyan::tiers {
namespace {

// Records smaller than this are read many at once.
constexpr uint64_t kSmallRecordBytes = 32 * kKiB;
// A huge page: the device takes it in one piece.
constexpr uint64_t kWindowBytes = 2 * kMiB;
// To look for an end, which is mostly at once.
constexpr uint64_t kEndWindowBytes = 64 * kKiB;

// Part of the file in memory.
class Window {
 public:
  Window(File& file, uint64_t segment_bytes, uint64_t window_bytes)
      : file_(file),
        segment_bytes_(segment_bytes),
        window_bytes_(std::max(window_bytes, kRecordHeaderBytesMax)),
        pool_(window_bytes_) {}

  absl::Status Open() {
    BANYAN_ASSIGN_OR_RETURN(buffer_, pool_.Take(window_bytes_));
    return absl::OkStatus();
  }

  // At least `bytes` at `offset`, fewer at the end of the segment; reads
  // `ahead` bytes if it has to read.
  absl::StatusOr<absl::Span<const std::byte>> At(uint64_t offset,
                                                 uint64_t bytes,
                                                 uint64_t ahead) {
    bytes = std::min(bytes, segment_bytes_ - offset);
    if (offset < begin_ || offset + bytes > begin_ + size_) {
      size_ = 0;
      const uint64_t size = std::min(
          {std::max(bytes, ahead), window_bytes_, segment_bytes_ - offset});
      BANYAN_RETURN_IF_ERROR(file_.ReadAt(offset, buffer_.bytes().first(size)));
      begin_ = offset;
      size_ = size;
      read_bytes_ += size;
    }
    return absl::Span<const std::byte>(buffer_.bytes())
        .subspan(offset - begin_, size_ - (offset - begin_));
  }

  uint64_t read_bytes() const { return read_bytes_; }

 private:
  File& file_;
  const uint64_t segment_bytes_;
  const uint64_t window_bytes_;
  BufferPool pool_;
  PooledBuffer buffer_;
  uint64_t begin_ = 0;
  uint64_t size_ = 0;
  uint64_t read_bytes_ = 0;
};

// The record at this place; nullopt if none starts here.
absl::StatusOr<std::optional<FoundRecord>> ReadRecord(
    Window& window, const SegmentHeader& segment, uint64_t offset,
    uint64_t ahead) {
  BANYAN_ASSIGN_OR_RETURN(absl::Span<const std::byte> bytes,
                          window.At(offset, kIoAlignment, ahead));
  const uint64_t header_bytes = PeekRecordHeaderBytes(bytes);
  if (header_bytes == 0 || offset + header_bytes > segment.segment_bytes) {
    return std::nullopt;
  }
  BANYAN_ASSIGN_OR_RETURN(bytes, window.At(offset, header_bytes, ahead));
  auto header =
      ParseRecordHeader(bytes, {.segment = segment.name, .offset = offset});
  if (!header.ok()) return std::nullopt;
  FoundRecord found;
  found.offset = offset;
  found.bytes =
      RecordBytes(header->block.payload_bytes, header->block.piece_count());
  if (found.bytes > segment.segment_bytes - offset) return std::nullopt;
  found.header = *std::move(header);
  found.header_checksum = LoadChecksum(&bytes[header_bytes - kChecksumBytes]);
  return found;
}

}  // namespace

absl::StatusOr<SegmentHeader> ReadSegmentHeader(File& file,
                                                const Checksum128& node,
                                                uint64_t segment_id) {
  BANYAN_ASSIGN_OR_RETURN(const uint64_t file_bytes, file.Size());
  const uint64_t bytes = file_bytes & ~(kIoAlignment - 1);
  if (bytes <= kSegmentHeaderBytes) {
    return MakeError(absl::StatusCode::kDataLoss, "HEADER",
                     "ssd: segment file is too short");
  }
  Window window(file, bytes, kEndWindowBytes);
  BANYAN_RETURN_IF_ERROR(window.Open());
  BANYAN_ASSIGN_OR_RETURN(const absl::Span<const std::byte> page,
                          window.At(0, kIoAlignment, kIoAlignment));
  auto header = ParseSegmentHeader(page.first(kSegmentHeaderBytes));
  if (header.ok()) {
    header->segment_bytes = std::min(header->segment_bytes, bytes);
    return header;
  }
  for (uint64_t at = kSegmentHeaderBytes; at < bytes; at += kIoAlignment) {
    BANYAN_ASSIGN_OR_RETURN(const absl::Span<const std::byte> found,
                            window.At(at, kIoAlignment, kWindowBytes));
    if (PeekRecordHeaderBytes(found) == 0) continue;
    const SegmentHeader claimed = {.name = PeekRecordSegment(found, node),
                                   .segment_bytes = bytes};
    if (claimed.name.id != segment_id) continue;
    BANYAN_ASSIGN_OR_RETURN(const auto record,
                            ReadRecord(window, claimed, at, kWindowBytes));
    if (record.has_value()) return claimed;
  }
  return header.status();
}

absl::StatusOr<ScanResult> ScanSegment(
    File& file, const SegmentHeader& segment, uint64_t from,
    BadHeader bad_header, absl::FunctionRef<void(FoundRecord)> found) {
  ScanResult result;
  result.end_offset = from;
  Window window(
      file, segment.segment_bytes,
      bad_header == BadHeader::kSkips ? kWindowBytes : kEndWindowBytes);
  BANYAN_RETURN_IF_ERROR(window.Open());
  uint64_t ahead = kIoAlignment;
  for (uint64_t at = from; at < segment.segment_bytes;) {
    BANYAN_ASSIGN_OR_RETURN(std::optional<FoundRecord> record,
                            ReadRecord(window, segment, at, ahead));
    if (!record.has_value()) {
      if (bad_header == BadHeader::kEnds) break;
      ahead = kWindowBytes;
      at += kIoAlignment;
      continue;
    }
    result.skipped_bytes += at - result.end_offset;
    at += record->bytes;
    result.end_offset = at;
    ++result.record_count;
    ahead = record->bytes <= kSmallRecordBytes ? kWindowBytes : kIoAlignment;
    found(*std::move(record));
  }
  result.read_bytes = window.read_bytes();
  return result;
}

}  // namespace banyan::tiers
