// SSD tiers for tests: small segments in a directory that is given.
#pragma once

#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"
#include "base/units.h"
#include "tests/testing/fault_disk.h"
#include "tests/testing/self_describing.h"
#include "tiers/ssd/ssd_tier.h"

namespace banyan::testing {

// Remembers what a tier found at start, by annotation.
class FoundBlocks final : public tiers::SsdFoundSink {
 public:
  void OnFound(absl::Span<const tiers::FoundBlock> blocks) override {
    const MutexLock lock(mutex_);
    for (const tiers::FoundBlock& block : blocks) {
      by_annotation_[std::string(block.annotation)] = block.id;
    }
  }
  void OnForgotten() override {
    const MutexLock lock(mutex_);
    by_annotation_.clear();
  }
  std::map<std::string, BlockId> by_annotation() const {
    const MutexLock lock(mutex_);
    return by_annotation_;
  }

 private:
  mutable Mutex mutex_;
  std::map<std::string, BlockId> by_annotation_ ABSL_GUARDED_BY(mutex_);
};

inline tiers::SsdTier::Options SsdOptionsIn(std::string directory) {
  tiers::SsdTier::Options options;
  options.directories = {std::move(directory)};
  options.capacity_bytes = 8 * kMiB;
  options.segment_bytes = 512 * kKiB;
  options.node_id = "node-1";
  options.stage_bytes = 8 * kMiB;
  options.read_bytes = 8 * kMiB;
  options.queue_depth = 4;
  return options;
}

// On a disk in memory, one request after the other.
inline tiers::SsdTier::Options SsdOptionsOn(FaultDisk& disk) {
  tiers::SsdTier::Options options = SsdOptionsIn("/ssd");
  options.file_system = &disk;
  options.catalogue_file_system = disk.ForRocksDb();
  options.make_engine = tiers::MakeInlineEngine;
  return options;
}

inline std::unique_ptr<tiers::SsdTier> OpenSsd(
    const tiers::SsdTier::Options& options) {
  auto tier = tiers::SsdTier::Open(options);
  if (!tier.ok()) {
    std::fprintf(stderr, "%s\n", tier.status().ToString().c_str());
  }
  BANYAN_CHECK(tier.ok());
  return *std::move(tier);
}

// Stores block n, durably or not, with an annotation that tells its number.
inline absl::Status StoreSsdNo(tiers::SsdTier& tier, uint64_t n,
                               uint64_t payload_bytes,
                               tiers::SsdTier::Durability durability) {
  auto staged = tier.Stage(payload_bytes);
  if (!staged.ok()) return staged.status();
  FillPayloadNo(n, (*staged)->bytes());
  std::vector<tiers::SsdTier::StoreRequest> one;
  one.push_back({.id = IdNo(n),
                 .header = HeaderNo(n, (*staged)->bytes()),
                 .staged = *std::move(staged),
                 .annotation = "note " + std::to_string(n)});
  return tier.StoreBatch(std::move(one), durability)[0];
}

}  // namespace banyan::testing
