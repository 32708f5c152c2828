// One start of an SsdTier: its steps in order, and what they share. Private to
// ssd_tier_open.cc, which claims, reads the catalogue and makes things fit, and
// ssd_tier_scan.cc, which looks into segments.
//
// Threads: Run is called once. It starts threads of its own and ends them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "base/mutex.h"
#include "tiers/ssd/ssd_tier.h"

namespace banyan::tiers {

class SsdTier::OpenRun {
 public:
  OpenRun(SsdTier& tier, uint64_t boot) : tier_(tier), boot_(boot) {}

  absl::Status Run();

 private:
  // A record that a scan found, ready to be taken over.
  struct Found {
    BlockId id;
    uint64_t generation = 0;
    Place place;
    std::string row;
    std::string annotation;
  };
  // What one segment holds behind its rows; or in all.
  struct Scanned {
    Segment* segment = nullptr;
    ScanResult result;
    std::vector<Found> records;
  };
  // Rows on their way from the catalogue into the books.
  struct RowBatch {
    struct Row {
      BlockId id;
      Segment* segment;
      Place place;
      uint32_t annotation_end;  // In `annotations`.
    };
    std::vector<Row> rows;
    std::string annotations;
    std::vector<std::string> refused_keys;
  };

  class ScanQueue;

  SsdOpenReport& report() { return tier_.open_report_; }
  std::string catalogue_path() const;
  Catalogue::Options CatalogueOptions() const;

  // ssd_tier_open.cc
  absl::Status OpenCatalogue();
  absl::Status WriteFormat();
  absl::Status ReplaceCatalogue(const absl::Status& why);
  void Rebuild(std::string reason);
  absl::Status FindSegments();
  absl::Status FindSegment(uint32_t directory, uint64_t id);
  absl::Status StartBoot();
  absl::Status ReadRows();
  absl::Status ReadSegmentRows();
  absl::Status ReadBlockRows();
  absl::Status ReadSomeBlockRows(absl::string_view begin,
                                 absl::string_view end);
  void AddRow(const BlockId& id, const BlockRowView& row, absl::string_view key,
              RowBatch& batch);
  void TakeRows(RowBatch& batch);
  void AddPlace(const BlockId& id, Segment& segment, const Place& place)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(tier_.mutex_);
  absl::Status MakeFit();
  absl::Status MakeFit(uint32_t directory);
  Segment* EmptiestSegment(uint32_t directory)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(tier_.mutex_);
  absl::Status WriteRows();
  absl::Status FlushRows();
  void Report();

  // ssd_tier_scan.cc
  absl::Status ScanSegments();
  void ForgetRows();
  Scanned Scan(Segment& segment);
  Found MakeFound(Segment& segment, FoundRecord record);
  absl::Status TakeOver(Scanned scanned);
  static bool IsWhole(const Segment& segment, const Place& place);
  bool Supersedes(const Segment& segment, const Found& record, uint64_t known);
  absl::StatusOr<bool> TakeRecord(Segment& segment, Found& record);
  absl::StatusOr<uint64_t> GenerationOf(const BlockId& id);
  static void SortByKey(std::vector<Edit>& edits);
  absl::Status WriteRowsLater();

  SsdTier& tier_;
  uint64_t boot_;
  uint64_t next_segment_id_ = 1;
  bool is_new_ = false;  // The catalogue; has no format row yet.
  bool has_waiting_rows_ = false;
  std::map<uint64_t, Segment*> segments_;               // By id.
  absl::flat_hash_set<uint64_t> has_row_;               // Ids of segments.
  absl::flat_hash_map<BlockId, uint64_t> generations_;  // Of scanned records.
};

}  // namespace banyan::tiers
