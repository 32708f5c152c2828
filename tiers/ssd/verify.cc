#include "tiers/ssd/verify.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "tiers/io/buffer_pool.h"
#include "tiers/ssd/catalogue.h"
#include "tiers/ssd/catalogue_row.h"
#include "tiers/ssd/directory.h"
#include "tiers/ssd/segment_scan.h"

namespace banyan::tiers {
namespace {

// Segment id, then offset.
using RecordAt = std::pair<uint64_t, uint64_t>;

class Verification {
 public:
  Verification(const std::string& path, FileSystem& file_system)
      : path_(path), file_system_(file_system), pool_(kGiB) {}

  absl::StatusOr<VerifyReport> Run() {
    BANYAN_RETURN_IF_ERROR(ReadLabel());
    BANYAN_RETURN_IF_ERROR(ReadRows());
    BANYAN_RETURN_IF_ERROR(ReadSegments());
    for (const auto& [at, sum] : rows_) {
      ++report_.headers_damaged;
      Tell(absl::StrCat("segment ", at.first, " offset ", at.second,
                        ": the catalogue names a record that is not there"));
    }
    return std::move(report_);
  }

 private:
  void Tell(std::string finding) {
    if (report_.findings.size() < kFindingsTold) {
      report_.findings.push_back(std::move(finding));
    }
  }

  absl::Status ReadLabel() {
    BANYAN_ASSIGN_OR_RETURN(const std::string text,
                            file_system_.ReadSmall(path_ + "/label"));
    BANYAN_ASSIGN_OR_RETURN(lock_, file_system_.Lock(path_ + "/lock"));
    BANYAN_ASSIGN_OR_RETURN(const DirectoryLabel label, ParseLabel(text));
    report_.node_id = label.node_id;
    node_ = NodeDigest(label.node_id);
    number_ = label.number;
    return absl::OkStatus();
  }

  absl::Status ReadRows() {
    if (number_ != 0) return absl::OkStatus();
    auto catalogue =
        Catalogue::Open({.directory = path_ + "/catalogue",
                         .access = Catalogue::Options::Access::kReadOnly});
    absl::Status status = catalogue.status();
    if (status.ok()) {
      report_.has_catalogue = true;
      status = (*catalogue)
                   ->ForEach("b", [&](absl::string_view key,
                                      absl::string_view value) {
                     ReadRow(key, value);
                     return absl::OkStatus();
                   });
    }
    if (status.ok()) return status;
    ++report_.rows_damaged;
    Tell(std::string(status.message()));
    return absl::OkStatus();
  }

  void ReadRow(absl::string_view key, absl::string_view value) {
    const auto row = ParseBlockRow(key, value);
    if (!row.ok()) {
      ++report_.rows_damaged;
      Tell(std::string(row.status().message()));
      return;
    }
    if (row->directory != number_) return;
    ++report_.rows;
    rows_[{row->segment_id, row->offset}] = row->header_checksum;
  }

  absl::Status ReadSegments() {
    BANYAN_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                            file_system_.List(path_ + "/segments"));
    for (const std::string& name : names) {
      uint64_t id = 0;
      if (!ParseSegmentFileName(name, id)) continue;
      ++report_.segments;
      const absl::Status status = ReadSegment(name, id);
      if (status.ok()) continue;
      ++report_.segments_unreadable;
      Tell(absl::StrCat(name, ": ", std::string(status.message())));
    }
    return absl::OkStatus();
  }

  absl::Status ReadSegment(const std::string& name, uint64_t id) {
    BANYAN_ASSIGN_OR_RETURN(
        const std::unique_ptr<File> file,
        file_system_.Open(path_ + "/segments/" + name, OpenMode::kRead));
    BANYAN_ASSIGN_OR_RETURN(const SegmentHeader header,
                            ReadSegmentHeader(*file, node_, id));
    BANYAN_ASSIGN_OR_RETURN(
        const ScanResult scan,
        ScanSegment(
            *file, header, kSegmentHeaderBytes, BadHeader::kSkips,
            [&](FoundRecord record) { ReadRecord(*file, name, id, record); }));
    report_.read_bytes += scan.read_bytes;
    report_.skipped_bytes += scan.skipped_bytes;
    return absl::OkStatus();
  }

  void ReadRecord(File& file, const std::string& name, uint64_t id,
                  const FoundRecord& record) {
    ++report_.records;
    const auto row = rows_.find({id, record.offset});
    // A record that nothing speaks of may be a half-written last one.
    const bool has_row = row != rows_.end();
    if (has_row) {
      rows_.erase(row);
    } else if (report_.has_catalogue) {
      ++report_.records_without_row;
    }
    const absl::Status status = CheckPayload(file, record);
    if (status.ok() || (report_.has_catalogue && !has_row)) return;
    ++report_.records_damaged;
    Tell(absl::StrCat(name, " offset ", record.offset, ": ",
                      std::string(status.message())));
  }

  absl::Status CheckPayload(File& file, const FoundRecord& record) {
    const BlockHeader& block = record.header.block;
    const uint64_t header_bytes = RecordHeaderBytes(block.piece_count());
    const uint64_t bytes = record.bytes - header_bytes;
    BANYAN_ASSIGN_OR_RETURN(const PooledBuffer buffer, pool_.Take(bytes));
    BANYAN_RETURN_IF_ERROR(
        file.ReadAt(record.offset + header_bytes, buffer.bytes().first(bytes)));
    report_.read_bytes += bytes;
    const uint64_t seed = block.identity.ChecksumSeed();
    for (uint32_t i = 0; i < block.piece_count(); ++i) {
      const auto piece =
          buffer.bytes().subspan(block.PieceOffset(i), block.PieceSize(i));
      if (PieceChecksum(seed, i, piece) == block.pieces[i]) continue;
      return MakeError(absl::StatusCode::kDataLoss, "CHECKSUM",
                       absl::StrCat("checksum mismatch in piece ", i, " of ",
                                    block.piece_count()));
    }
    return absl::OkStatus();
  }

  const std::string path_;
  FileSystem& file_system_;
  BufferPool pool_;
  std::unique_ptr<FileLock> lock_;
  Checksum128 node_;
  uint32_t number_ = 0;
  std::map<RecordAt, Checksum128> rows_;  // Whose record was not seen yet.
  VerifyReport report_;
};

}  // namespace

absl::StatusOr<VerifyReport> VerifyDirectory(const std::string& path,
                                             FileSystem& file_system) {
  return Verification(path, file_system).Run();
}

}  // namespace banyan::tiers
