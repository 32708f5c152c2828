// Goal: the mover's thread makes room by itself, scrubs when asked, and ends
// when it is told to.
// Method: a store that is over its watermark, on a disk in memory; waiting is
// for conditions that the thread brings about.
#include "cache_server/engine/mover.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/testing/fault_disk.h"
#include "tests/testing/poll.h"
#include "tests/testing/store_driver.h"

namespace banyan::engine {
namespace {

class MoverTest : public ::testing::Test {
 protected:
  MoverTest() {
    testing::StoreDriver::Options options{.capacity_bytes = 2 * kMiB};
    options.ssd = testing::SsdOptionsOn(disk_);
    options.ssd.capacity_bytes = 16 * kMiB;
    options.cold.demote_above = 0.5;
    driver_ = std::make_unique<testing::StoreDriver>(options);
    const std::string session = driver_->OpenSession("client");
    const auto put =
        driver_->Put(session, driver_->On(keys_), 16 * kKiB, 16 * kKiB);
    EXPECT_TRUE(put.ok()) << put.status();
  }

  testing::FaultDisk disk_;
  const std::string keys_ = testing::ChainKeys(1, 1, 96);
  std::unique_ptr<testing::StoreDriver> driver_;
};

TEST_F(MoverTest, MakesRoomByItself) {
  const uint64_t used = driver_->host().usage().used_bytes;
  ASSERT_GT(used, kMiB);

  const Mover mover(driver_->cold(), {});

  EXPECT_TRUE(testing::PollUntil(
      [&] { return driver_->host().usage().used_bytes <= kMiB; }));
  EXPECT_GT(driver_->ssd().usage().blocks, 0u);
}

TEST_F(MoverTest, ScrubsOnceWhenAsked) {
  Mover mover(driver_->cold(), {});
  ASSERT_TRUE(
      testing::PollUntil([&] { return driver_->ssd().usage().blocks > 0; }));

  mover.StartScrub();

  EXPECT_TRUE(
      testing::PollUntil([&] { return !mover.scrub_status().is_running; }));
  EXPECT_GT(mover.scrub_status().records, 0u);
  EXPECT_EQ(mover.scrub_status().findings, 0u);
  EXPECT_GE(mover.scrub_status().passes, 1u);
}

}  // namespace
}  // namespace banyan::engine
