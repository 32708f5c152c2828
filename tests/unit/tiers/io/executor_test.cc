// Goal: jobs run, a full queue refuses, and the end waits for what was taken.
// Method: a gate that the test opens holds the threads where it wants them.
#include "tiers/io/executor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>

namespace banyan::tiers {
namespace {

TEST(ExecutorTest, RunsEveryJobItTook) {
  std::atomic<int> ran{0};
  int taken = 0;
  {
    Executor executor({.threads = 3, .queue_max = 1000});
    for (int i = 0; i < 1000; ++i) {
      taken += executor.TrySubmit([&ran] { ++ran; }) ? 1 : 0;
    }
  }
  EXPECT_EQ(taken, 1000);
  EXPECT_EQ(ran, 1000);
}

TEST(ExecutorTest, AFullQueueRefuses) {
  std::latch started(2);
  std::latch gate(1);
  std::atomic<int> ran{0};
  {
    Executor executor({.threads = 2, .queue_max = 3});
    const auto job = [&] {
      started.count_down();
      gate.wait();
      ++ran;
    };
    ASSERT_TRUE(executor.TrySubmit(job));
    ASSERT_TRUE(executor.TrySubmit(job));
    started.wait();  // Both threads are busy.

    const auto next = [&] { ++ran; };
    EXPECT_TRUE(executor.TrySubmit(next));
    EXPECT_TRUE(executor.TrySubmit(next));
    EXPECT_TRUE(executor.TrySubmit(next));
    EXPECT_EQ(executor.queued(), 3u);
    EXPECT_FALSE(executor.TrySubmit(next));

    gate.count_down();
  }
  EXPECT_EQ(ran, 5);
}

}  // namespace
}  // namespace banyan::tiers
