// Goal: jobs run in their order, as many at a time as there may be threads, and
// each that was taken runs once, also when the lane closes.
// Method: jobs that wait for the test.
#include "client/cpp/work_lane.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "tests/testing/poll.h"

namespace banyan::client {
namespace {

using testing::PollUntil;

TEST(WorkLaneTest, OneThreadKeepsTheOrder) {
  std::vector<int> ran;
  {
    WorkLane lane({.threads_max = 1, .queue_max = 100});
    for (int i = 0; i < 100; ++i) {
      // Full is full: the thread may not have taken one yet.
      EXPECT_TRUE(lane.TrySubmit([&ran, i] { ran.push_back(i); }));
    }
  }
  ASSERT_EQ(ran.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(ran[i], i);
}

TEST(WorkLaneTest, SoManyRunAtATimeAndSoManyWait) {
  std::atomic<bool> may_end{false};
  std::atomic<int> running{0};
  std::atomic<int> ended{0};
  const auto job = [&] {
    ++running;
    while (!may_end) std::this_thread::yield();
    --running;
    ++ended;
  };
  WorkLane lane({.threads_max = 3, .queue_max = 5});
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(lane.TrySubmit(job));
    EXPECT_TRUE(PollUntil([&] { return running == i + 1; }));
  }
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(lane.TrySubmit(job));

  EXPECT_FALSE(lane.TrySubmit(job)) << "too many wait";
  EXPECT_EQ(running, 3);

  may_end = true;
  lane.Close();
  EXPECT_EQ(ended, 8);
}

TEST(WorkLaneTest, AnIdleLaneCloses) {
  WorkLane lane({.threads_max = 2, .queue_max = 1});
  std::atomic<int> ran{0};
  ASSERT_TRUE(lane.TrySubmit([&] { ++ran; }));
  EXPECT_TRUE(PollUntil([&] { return ran == 1; }));
  ASSERT_TRUE(lane.TrySubmit([&] { ++ran; }));
  lane.Close();
  EXPECT_EQ(ran, 2);
  lane.Close();

  WorkLane unused({.threads_max = 2, .queue_max = 1});
}

}  // namespace
}  // namespace banyan::client
