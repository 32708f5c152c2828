// Every failpoint, by name and by what is being done when it is reached. A test
// visits each; add a line here, and HitFailpoint where it happens.
#pragma once

// X(enumerator, "name")
#define BANYAN_FAILPOINTS(X)                              \
  X(kSsdBeforeSegmentCreate, "ssd_before_segment_create") \
  X(kSsdAfterSegmentCreate, "ssd_after_segment_create")   \
  X(kSsdBeforeRecordWrite, "ssd_before_record_write")     \
  X(kSsdAfterRecordWrite, "ssd_after_record_write")       \
  X(kSsdBeforeSegmentSync, "ssd_before_segment_sync")     \
  X(kSsdAfterSegmentSync, "ssd_after_segment_sync")       \
  X(kSsdAfterCatalogueWrite, "ssd_after_catalogue_write") \
  X(kSsdReclaimAfterCarry, "ssd_reclaim_after_carry")     \
  X(kSsdReclaimBeforeRemove, "ssd_reclaim_before_remove") \
  X(kSsdReclaimAfterRemove, "ssd_reclaim_after_remove")   \
  X(kSsdOpenAfterLabel, "ssd_open_after_label")           \
  X(kSsdOpenAfterRecovery, "ssd_open_after_recovery")     \
  X(kSsdBeforeRead, "ssd_before_read")
