// Goal: a worker of UCX is not taken down while somebody works on it.
// Method: a caller that works until it is stopped, at a worker without links.
#include "client/transport/ucx_worker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/testing/poll.h"

namespace banyan::transport {
namespace {

class Owner final : public UcxOwner {
 public:
  void OnUcxMessage(ucp_ep_h, absl::Span<const std::byte>,
                    const absl::Span<const std::byte>*) override {}
  void OnUcxRequest(ucp_conn_request_h) override {}
  void OnUcxLost(UcxLink&) override {}
  Next OnUcxStep() override {
    ++steps;
    return next;
  }

  std::atomic<uint64_t> steps{0};
  std::atomic<Next> next{Next::kNothing};
};

// `next`: whether the caller looks all the time, or sleeps.
void ExpectEndWaits(UcxOwner::Next next) {
  Owner owner;
  auto worker = *UcxWorker::Open({.device = "lo"}, owner);
  ASSERT_TRUE(worker->Start().ok());
  std::atomic<bool> is_working{false};
  std::thread caller([&owner, &is_working, at = worker.get()] {
    const auto end = std::chrono::steady_clock::now() + std::chrono::hours(1);
    const auto job = [&] { is_working = true; };
    while (!at->TryWork(job, [] { return false; }, end)) {
      std::this_thread::yield();
    }
  });
  ASSERT_TRUE(testing::PollUntil([&] { return is_working.load(); }));
  owner.next = next;

  worker = nullptr;

  const uint64_t steps = owner.steps;
  caller.join();
  EXPECT_EQ(owner.steps, steps) << "nobody worked on what was gone";
}

TEST(UcxWorkerTest, ItsEndWaitsForACallerThatWorks) {
  ExpectEndWaits(UcxOwner::Next::kMore);
}

TEST(UcxWorkerTest, ItsEndWakesACallerThatSleeps) {
  ExpectEndWaits(UcxOwner::Next::kNothing);
}

}  // namespace
}  // namespace banyan::transport
