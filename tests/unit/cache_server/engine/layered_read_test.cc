// Goal: who reads a block that is being written is told once of what it waits
// for, and leaves nothing with the block when it gives up.
// Method: one block by hand, watchers whose lives the test can see.
#include "cache_server/engine/layered_read.h"

#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "base/units.h"
#include "tests/testing/self_describing.h"
#include "tiers/host/host_tier.h"

namespace banyan::engine {
namespace {

constexpr uint64_t kLayerBytes = 300;
constexpr uint32_t kLayers = 4;
constexpr uint64_t kBytes = kLayers * kLayerBytes;

class Watcher final : public BlockWatcher {
 public:
  void OnGrowth() override { ++told; }
  int told = 0;
};

class LayeredReadTest : public ::testing::Test {
 protected:
  std::unique_ptr<LayeredRead> Read() {
    return std::make_unique<LayeredRead>(
        LayeredRead::Layers{
            .count = kLayers, .total = kLayers, .layer_bytes = kLayerBytes},
        std::vector<LayeredRead::Block>{{.growing = block_}}, counters_);
  }

  const std::unique_ptr<tiers::HostTier> tier_ = *tiers::HostTier::Open(
      {.capacity_bytes = 4 * kMiB, .prefault = false, .huge_pages = false});
  server::Counters counters_;
  std::shared_ptr<GrowingBlock> block_ = std::make_shared<GrowingBlock>(
      testing::IdentityNo(1), kBytes, kLayerBytes, *tier_->Stage(kBytes));
};

TEST_F(LayeredReadTest, AWatcherIsToldOnceOfItsLayer) {
  const auto read = Read();
  const auto watcher = std::make_shared<Watcher>();
  EXPECT_TRUE(read->Watch(0, 1, watcher));

  block_->Add(0, {});
  EXPECT_EQ(watcher->told, 0);
  block_->Add(1, {});
  block_->Add(2, {});

  EXPECT_EQ(watcher->told, 1);
  EXPECT_FALSE(read->Watch(0, 1, watcher)) << "it is there";
}

TEST_F(LayeredReadTest, TheEndOfAWriteEndsAllWaits) {
  const auto read = Read();
  const auto other = Read();
  const auto watcher = std::make_shared<Watcher>();
  EXPECT_TRUE(read->Watch(0, 1, watcher));
  EXPECT_TRUE(other->Watch(0, LayeredRead::kEnds, watcher));

  block_->Withdraw();

  EXPECT_EQ(watcher->told, 2);
}

TEST_F(LayeredReadTest, WhoGivesUpLeavesNothingWithTheBlock) {
  auto read = Read();
  auto watcher = std::make_shared<Watcher>();
  const std::weak_ptr<Watcher> left = watcher;
  EXPECT_TRUE(read->Watch(0, 1, watcher));

  watcher = nullptr;
  read = nullptr;

  EXPECT_TRUE(left.expired());
}

TEST_F(LayeredReadTest, AReadWaitsForOneThingAtATime) {
  const auto read = Read();
  std::vector<std::weak_ptr<Watcher>> left;
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    const auto watcher = std::make_shared<Watcher>();
    EXPECT_TRUE(read->Watch(0, layer, watcher));
    left.push_back(watcher);
  }

  for (uint32_t layer = 0; layer + 1 < kLayers; ++layer) {
    EXPECT_TRUE(left[layer].expired()) << layer;
  }
  EXPECT_FALSE(left.back().expired());
}

// A client in shared memory has one watcher for all that it reads.
TEST_F(LayeredReadTest, WhoGivesUpTakesNoOthersWaitAway) {
  auto read = Read();
  const auto other = Read();
  const auto watcher = std::make_shared<Watcher>();
  EXPECT_TRUE(read->Watch(0, 1, watcher));
  EXPECT_TRUE(other->Watch(0, 1, watcher));

  read = nullptr;
  block_->Add(1, {});

  EXPECT_EQ(watcher->told, 1);
}

}  // namespace
}  // namespace banyan::engine
