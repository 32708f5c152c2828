// Goal: the host moves exactly the bytes of the slice, between all layouts, and
// refuses what does not fit without moving any.
// Method: every case of layout_cases.h against its oracle. Whole buffers are
// compared, so bytes outside of the slice are, too.
#include "kernels/layout/gather_blocks.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/testing/layout_cases.h"

namespace banyan::layout {
namespace {

using testing::LayoutCase;
using testing::MoveMemory;

class GatherBlocksTest : public ::testing::TestWithParam<LayoutCase> {
 protected:
  const LayoutCase& case_ = GetParam();
  const KvLayout block_ = *KvLayout::Make(case_.block);
  const PagedLayout paged_ = *PagedLayout::Make(case_.paged);
};

absl::Status Gather(const KvLayout& block, const PagedLayout& paged,
                    const MoveRequest& request, MoveMemory* memory) {
  std::vector<absl::Span<const std::byte>> pools(memory->pools.begin(),
                                                 memory->pools.end());
  return GatherBlocks(block, paged, request, pools,
                      absl::MakeSpan(memory->blocks));
}

absl::Status Scatter(const KvLayout& block, const PagedLayout& paged,
                     const MoveRequest& request, MoveMemory* memory) {
  std::vector<absl::Span<std::byte>> pools;
  for (auto& pool : memory->pools) pools.push_back(absl::MakeSpan(pool));
  return ScatterBlocks(block, paged, request, memory->blocks, pools);
}

TEST_P(GatherBlocksTest, GatherMovesExactlyTheSlice) {
  MoveMemory memory = testing::MakeMoveMemory(case_);
  MoveMemory want = memory;
  testing::MoveByteByByte(Direction::kGather, case_, &want);

  const absl::Status status =
      Gather(block_, paged_, testing::RequestOf(case_, memory), &memory);

  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(memory.blocks, want.blocks);
  EXPECT_EQ(memory.pools, want.pools);
}

TEST_P(GatherBlocksTest, ScatterMovesExactlyTheSlice) {
  MoveMemory memory = testing::MakeMoveMemory(case_);
  MoveMemory want = memory;
  testing::MoveByteByByte(Direction::kScatter, case_, &want);

  const absl::Status status =
      Scatter(block_, paged_, testing::RequestOf(case_, memory), &memory);

  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(memory.pools, want.pools);
  EXPECT_EQ(memory.blocks, want.blocks);
}

INSTANTIATE_TEST_SUITE_P(Layouts, GatherBlocksTest,
                         ::testing::ValuesIn(testing::LayoutCases()),
                         [](const auto& c) { return c.param.name; });

// The first case, with one thing wrong.
class RefusedMoveTest : public ::testing::Test {
 protected:
  std::string MessageOf(const absl::Status& status) {
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_EQ(ErrorReason(status), "LAYOUT");
    return std::string(status.message());
  }

  LayoutCase case_ = testing::LayoutCases().front();
  MoveMemory memory_ = testing::MakeMoveMemory(case_);
  MoveRequest request_ = testing::RequestOf(case_, memory_);
  KvLayout block_ = *KvLayout::Make(case_.block);
  PagedLayout paged_ = *PagedLayout::Make(case_.paged);
};

TEST_F(RefusedMoveTest, BuffersOfAnotherSize) {
  const MoveMemory before = memory_;
  memory_.pools[1].pop_back();
  EXPECT_EQ(MessageOf(Gather(block_, paged_, request_, &memory_)),
            "move: a pool of 16895 bytes. The layout says 16896.");

  memory_ = before;
  memory_.blocks.push_back(std::byte{0});
  EXPECT_EQ(MessageOf(Scatter(block_, paged_, request_, &memory_)),
            "move: a buffer of 9217 bytes for 3 blocks of 3072. Give their "
            "bytes.");
  EXPECT_EQ(memory_.pools, before.pools);
}

TEST_F(RefusedMoveTest, PagesThatThereAreNot) {
  memory_.pages[2] = 11;
  request_.pages = memory_.pages;

  EXPECT_EQ(MessageOf(Gather(block_, paged_, request_, &memory_)),
            "move.pages: there is no page 11 of 11.");
}

TEST_F(RefusedMoveTest, TooManyOrTooFewPages) {
  request_.pages = absl::MakeSpan(memory_.pages).subspan(1);
  EXPECT_EQ(MessageOf(Gather(block_, paged_, request_, &memory_)),
            "move.pages: 2 for 24 tokens. Want 3.");

  request_.pages = memory_.pages;
  request_.first_slot = 1;
  EXPECT_EQ(MessageOf(Gather(block_, paged_, request_, &memory_)),
            "move.pages: 3 for 24 tokens. Want 4.");

  request_.first_slot = 8;
  EXPECT_EQ(MessageOf(Gather(block_, paged_, request_, &memory_)),
            "move.first_slot: 8; a page has 8.");
}

TEST_F(RefusedMoveTest, OnePageForTwoTokensToScatter) {
  memory_.pages[2] = memory_.pages[0];
  request_.pages = memory_.pages;

  EXPECT_TRUE(Gather(block_, paged_, request_, &memory_).ok());
  EXPECT_NE(MessageOf(Scatter(block_, paged_, request_, &memory_))
                .find("is there twice"),
            std::string::npos);
}

TEST_F(RefusedMoveTest, SlicesBeyondTheEnds) {
  request_.slice = {.block_layer = 1, .layers = 2};
  EXPECT_EQ(MessageOf(Gather(block_, paged_, request_, &memory_)),
            "move.slice: 2 layers of the block from 1 on, of 2. Take some that "
            "there are.");
  request_.slice = {.pool_layer = 1};
  EXPECT_EQ(MessageOf(Gather(block_, paged_, request_, &memory_)),
            "move.slice: 2 pools from 1 on, of 2. Take some that there are.");
  request_.slice = {.block_head = 3};
  EXPECT_EQ(MessageOf(Gather(block_, paged_, request_, &memory_)),
            "move.slice: 0 heads of the block from 3 on, of 3. Take some that "
            "there are.");
  request_.slice = {.pool_head = 1};
  EXPECT_EQ(MessageOf(Gather(block_, paged_, request_, &memory_)),
            "move.slice: 3 heads of the pages from 1 on, of 3. Take some that "
            "there are.");
}

TEST_F(RefusedMoveTest, LayoutsOfDifferentHeads) {
  case_.paged.head_dim = 8;
  const PagedLayout other = *PagedLayout::Make(case_.paged);

  EXPECT_NE(MessageOf(Gather(block_, other, request_, &memory_))
                .find("Both have to be the same."),
            std::string::npos);
}

TEST_F(RefusedMoveTest, TokensOfTooManyBytes) {
  case_.block.kv_heads = case_.paged.kv_heads = 1 << 15;
  case_.block.head_dim = case_.paged.head_dim = (1 << 15) + 1;
  case_.block.layers = case_.block.block_tokens = 1;
  const KvLayout block = *KvLayout::Make(case_.block);
  const PagedLayout paged = *PagedLayout::Make(case_.paged);

  EXPECT_NE(MessageOf(Gather(block, paged, request_, &memory_))
                .find("Move fewer heads."),
            std::string::npos);
}

TEST_F(RefusedMoveTest, NoBlocksAndTooMany) {
  request_.blocks = 0;
  EXPECT_EQ(MessageOf(Gather(block_, paged_, request_, &memory_)),
            "move.blocks: 0. Want at least one.");
  request_.blocks = 0xffffffffu;
  EXPECT_NE(MessageOf(Gather(block_, paged_, request_, &memory_))
                .find("Move fewer blocks at a time."),
            std::string::npos);
}

}  // namespace
}  // namespace banyan::layout
