// Leases keep pins for as long as they last, for their session only.
#include "cache_server/lease/lease_table.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "base/error.h"
#include "base/units.h"
#include "tests/testing/fake_clock.h"
#include "tests/testing/self_describing.h"
#include "tiers/host/host_tier.h"

namespace banyan::lease {
namespace {

constexpr uint64_t kBytes = 1000;

class LeaseTableTest : public ::testing::Test {
 protected:
  LeaseTableTest() {
    for (uint64_t n = 0; n < 4; ++n) {
      EXPECT_TRUE(testing::StoreNo(*tier_, n, kBytes).ok());
    }
  }

  absl::StatusOr<LeaseTable::Lease> Grant(absl::string_view session, uint64_t n,
                                          uint64_t request = 0) {
    std::vector<PinnedBlock> pins;
    pins.push_back(
        {.ordinal = 0,
         .pin = *tier_->Pin(testing::IdNo(n), testing::IdentityNo(n))});
    return table_.Grant(
        session, request,
        std::make_shared<const std::vector<PinnedBlock>>(std::move(pins)),
        absl::Seconds(10));
  }
  std::string GrantId(absl::string_view session, uint64_t n,
                      uint64_t request = 0) {
    return Grant(session, n, request)->id;
  }
  bool IsPinned(uint64_t n) const { return tier_->IsPinned(testing::IdNo(n)); }

  std::unique_ptr<tiers::HostTier> tier_ = *tiers::HostTier::Open(
      {.capacity_bytes = 4 * kMiB, .prefault = false, .huge_pages = false});
  testing::FakeClock clock_;
  LeaseTable table_{{.leases_max = 3, .leased_bytes_max = 2 * kBytes}, clock_};
};

TEST_F(LeaseTableTest, LeasePinsUntilReleased) {
  const std::string id = GrantId("s", 1);
  EXPECT_TRUE(IsPinned(1));
  EXPECT_EQ(table_.leased_bytes(), kBytes);
  EXPECT_TRUE(
      testing::CheckPinNo(*(**table_.Pins("s", id))[0].pin, 1, kBytes).ok());
  table_.Release("other", id);
  EXPECT_TRUE(IsPinned(1)) << "another session cannot release it";
  table_.Release("s", id);
  EXPECT_FALSE(IsPinned(1));
  EXPECT_EQ(table_.size(), 0u);
  EXPECT_EQ(table_.leased_bytes(), 0u);
}

TEST_F(LeaseTableTest, PinsInFlightOutliveTheLease) {
  const std::string id = GrantId("s", 1);
  PinSet in_flight = *table_.Pins("s", id);
  table_.Release("s", id);
  EXPECT_TRUE(IsPinned(1));
  in_flight = nullptr;
  EXPECT_FALSE(IsPinned(1));
}

TEST_F(LeaseTableTest, LeaseEndsWithItsTime) {
  const std::string id = GrantId("s", 1);
  clock_.Advance(absl::Seconds(10));
  EXPECT_TRUE(table_.Pins("s", id).ok());
  EXPECT_EQ(table_.Expire(), 0u);
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(ErrorReason(table_.Pins("s", id).status()), "LEASE");
  EXPECT_FALSE(table_.Renew("s", id, absl::Seconds(10)));
  EXPECT_TRUE(IsPinned(1));
  EXPECT_EQ(table_.Expire(), 1u);
  EXPECT_FALSE(IsPinned(1));
}

TEST_F(LeaseTableTest, RenewMovesTheEnd) {
  const std::string id = GrantId("s", 1);
  clock_.Advance(absl::Seconds(9));
  EXPECT_FALSE(table_.Renew("other", id, absl::Seconds(10)));
  EXPECT_TRUE(table_.Renew("s", id, absl::Seconds(10)));
  clock_.Advance(absl::Seconds(9));
  EXPECT_EQ(table_.Expire(), 0u);
}

TEST_F(LeaseTableTest, RequestFindsItsLiveLease) {
  const std::string id = GrantId("s", 1, 7);
  GrantId("s", 2, 0);
  EXPECT_EQ(table_.FindRequest("s", 7).id, id);
  EXPECT_EQ(table_.FindRequest("s", 8).id, "");
  EXPECT_EQ(table_.FindRequest("other", 7).id, "");
  EXPECT_EQ(table_.FindRequest("s", 0).id, "");
  clock_.Advance(absl::Seconds(11));
  EXPECT_EQ(table_.FindRequest("s", 7).id, "");
}

TEST_F(LeaseTableTest, EndOfASessionEndsItsLeasesOnly) {
  GrantId("s", 1);
  const std::string kept = GrantId("other", 2);
  table_.ReleaseSession("s");
  EXPECT_FALSE(IsPinned(1));
  EXPECT_TRUE(IsPinned(2));
  EXPECT_TRUE(table_.Pins("other", kept).ok());
}

TEST_F(LeaseTableTest, LimitsHoldAndTheRefusedPinsAreDropped) {
  GrantId("s", 1);
  GrantId("s", 2);
  const absl::Status full = Grant("s", 3).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(full), "LEASES");
  EXPECT_GT(RetryDelay(full), absl::ZeroDuration());
  EXPECT_FALSE(IsPinned(3));
  EXPECT_EQ(table_.leased_bytes(), 2 * kBytes);
  table_.ReleaseSession("s");
  EXPECT_TRUE(Grant("s", 3).ok());
}

}  // namespace
}  // namespace banyan::lease
