// Failpoints do nothing until armed, and then what they were told.
#include "base/failpoint.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>

#include "base/error.h"

namespace banyan {
namespace {

class FailpointTest : public ::testing::Test {
 protected:
  void TearDown() override { ReleaseFailpoints(); }
};

TEST_F(FailpointTest, OffTheyDoNothing) {
  EXPECT_TRUE(HitFailpoint(Failpoint::kSsdBeforeRead).ok());
  EXPECT_EQ(FailpointHits(Failpoint::kSsdBeforeRead), 0u);
}

TEST_F(FailpointTest, NthFiresOnce) {
  ASSERT_TRUE(ArmFailpoints("ssd_before_read=2nd:error").ok());

  EXPECT_TRUE(HitFailpoint(Failpoint::kSsdBeforeRead).ok());
  EXPECT_EQ(ErrorReason(HitFailpoint(Failpoint::kSsdBeforeRead)), "FAILPOINT");
  EXPECT_TRUE(HitFailpoint(Failpoint::kSsdBeforeRead).ok());
  EXPECT_TRUE(HitFailpoint(Failpoint::kSsdAfterRecordWrite).ok());
  EXPECT_EQ(FailpointHits(Failpoint::kSsdBeforeRead), 3u);
}

TEST_F(FailpointTest, OddsAreAboutThoseAskedFor) {
  ASSERT_TRUE(ArmFailpoints("ssd_before_read=1in10:error").ok());
  int fired_count = 0;
  for (int i = 0; i < 10'000; ++i) {
    if (!HitFailpoint(Failpoint::kSsdBeforeRead).ok()) ++fired_count;
  }
  EXPECT_GT(fired_count, 800);
  EXPECT_LT(fired_count, 1200);
}

TEST_F(FailpointTest, PausedCallersGoOnWhenReleased) {
  ASSERT_TRUE(ArmFailpoints("ssd_before_read=1in1:pause").ok());
  std::thread paused(
      [] { EXPECT_TRUE(HitFailpoint(Failpoint::kSsdBeforeRead).ok()); });
  while (FailpointWaiters(Failpoint::kSsdBeforeRead) == 0) {
    std::this_thread::yield();
  }

  ReleaseFailpoints();
  paused.join();
}

TEST_F(FailpointTest, KillAndAbortEndTheProcess) {
  EXPECT_EXIT(
      {
        ArmFailpoints("ssd_before_read=1st:kill").IgnoreError();
        HitFailpoint(Failpoint::kSsdBeforeRead).IgnoreError();
      },
      ::testing::KilledBySignal(SIGKILL), "");
  EXPECT_EXIT(
      {
        ArmFailpoints("ssd_before_read=1st:abort").IgnoreError();
        HitFailpoint(Failpoint::kSsdBeforeRead).IgnoreError();
      },
      ::testing::KilledBySignal(SIGABRT), "");
}

TEST_F(FailpointTest, MalformedTextsChangeNothing) {
  ASSERT_TRUE(ArmFailpoints("ssd_before_read=1in1:error").ok());
  for (const char* const text :
       {"nonsense", "nonsense=1in1:kill", "ssd_before_read=1in0:kill",
        "ssd_before_read=0th:kill", "ssd_before_read=1in1:explode",
        "ssd_before_read=:kill", "ssd_before_read", "=1in1:kill"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ArmFailpoints(text))) << text;
  }
  EXPECT_FALSE(HitFailpoint(Failpoint::kSsdBeforeRead).ok());
}

TEST_F(FailpointTest, EveryNameIsUniqueAndCanBeArmed) {
  const auto names = FailpointNames();
  EXPECT_EQ(std::set(names.begin(), names.end()).size(), names.size());
  for (const absl::string_view name : names) {
    EXPECT_TRUE(ArmFailpoints(std::string(name) + "=1in5:error").ok()) << name;
  }
}

}  // namespace
}  // namespace banyan
