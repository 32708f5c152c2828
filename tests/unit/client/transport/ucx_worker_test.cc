// Goal: a worker of UCX takes our settings, and is not taken down while somebody works
// on it.
// Method: UCX's own warnings; a caller that works until it is stopped, at a worker
// without links.
#include "client/transport/ucx_worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "client/transport/ucx_log.h"
#include "client/transport/ucx_profile.h"
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

// What UCX says of settings when a worker is made. It takes any name before.
std::string WarningsOf(const UcxSettings& settings) {
  SetUpUcxProcess();
  ucp_config_t* config = nullptr;
  EXPECT_EQ(ucp_config_read(nullptr, nullptr, &config), UCS_OK);
  for (const auto& [name, value] : settings) {
    EXPECT_EQ(ucp_config_modify(config, name.c_str(), value.c_str()), UCS_OK)
        << name << "=" << value;
  }
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES;
  params.features = kUcxFeatures;
  ucp_context_h context = nullptr;
  EXPECT_EQ(ucp_init(&params, config, &context), UCS_OK);
  ucp_config_release(config);
  const UcxWarnings warnings;
  const ucp_worker_params_t worker_params{};
  ucp_worker_h worker = nullptr;
  EXPECT_EQ(ucp_worker_create(context, &worker_params, &worker), UCS_OK);
  ucp_worker_destroy(worker);
  ucp_cleanup(context);
  return warnings.text();
}

// The other profile's settings are all UCX's own, whose names it checks at once.
TEST(UcxWorkerTest, UcxKnowsEachSetting) {
  UcxSettings settings = UcxProfile(UcxNetwork::kTcp, "lo");
  EXPECT_EQ(WarningsOf(settings), "");

  settings.emplace_back("TCP_TX_SEG_SIZE", "8192");  // As in the environment.
  EXPECT_THAT(
      WarningsOf(settings),
      ::testing::AllOf(::testing::StartsWith(std::string(kUcxUnknownSettings)),
                       ::testing::HasSubstr("TCP_TX_SEG_SIZE")));
}

TEST(UcxWorkerTest, ItsEndWaitsForACallerThatWorks) {
  ExpectEndWaits(UcxOwner::Next::kMore);
}

TEST(UcxWorkerTest, ItsEndWakesACallerThatSleeps) {
  ExpectEndWaits(UcxOwner::Next::kNothing);
}

}  // namespace
}  // namespace banyan::transport
