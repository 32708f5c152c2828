// Goal: the kernels, as C++ on the executor and as the PTX that nvcc made for
// each architecture, leave the bytes that the oracle leaves, which are also the
// host's (gather_blocks_test.cc), and use memory well.
// Method: the launcher itself runs, on fake device memory; its launches go to
// the executor, or to the interpreter of PTX. Every case of layout_cases.h under
// the usual schedules; long tables; the sectors of a real model's shape.
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "kernels/layout/gather_blocks.h"
#include "tests/testing/layout_cases.h"
#include "tests/testing/simt/checker.h"
#include "tests/testing/simt/device_memory.h"
#include "tests/testing/simt/ptx_cases.h"
#include "tests/testing/simt/ptx_machine.h"
#include "tests/testing/simt/run_kernel.h"

namespace banyan::layout {
namespace {

using simt::DeviceArray;
using simt::Executor;
using testing::LayoutCase;
using testing::MoveMemory;

// A MoveMemory on the fake device.
class OnDevice {
 public:
  explicit OnDevice(const MoveMemory& memory)
      : blocks_(memory.blocks), pages_(memory.pages) {
    for (const auto& pool : memory.pools) {
      pools_.push_back(std::make_unique<DeviceArray<std::byte>>(pool));
      addresses_.push_back(pools_.back()->get());
    }
  }

  absl::Status Move(Direction direction, const LayoutCase& c) {
    MoveMemory tables;
    tables.pages = pages_;
    const MoveRequest request = testing::RequestOf(c, tables);
    const KvLayout block = *KvLayout::Make(c.block);
    const PagedLayout paged = *PagedLayout::Make(c.paged);
    simt::KeepLaunchStatus(absl::OkStatus());
    const absl::Status status =
        direction == Direction::kGather
            ? GatherBlocksOnDevice(block, paged, request,
                                   std::vector<const std::byte*>(
                                       addresses_.begin(), addresses_.end()),
                                   blocks_.get(), {})
            : ScatterBlocksOnDevice(block, paged, request, blocks_.get(),
                                    addresses_, {});
    const absl::Status& launch = simt::LastLaunchStatus();
    return launch.ok() ? status : launch;
  }

  MoveMemory Memory() const {
    MoveMemory memory;
    memory.blocks = blocks_.Values();
    memory.pages = pages_;
    for (const auto& pool : pools_) memory.pools.push_back(pool->Values());
    return memory;
  }

 private:
  DeviceArray<std::byte> blocks_;
  std::vector<uint32_t> pages_;
  std::vector<std::unique_ptr<DeviceArray<std::byte>>> pools_;
  std::vector<std::byte*> addresses_;
};

void ExpectMovesAsTheOracle(Direction direction, const LayoutCase& c) {
  const MoveMemory memory = testing::MakeMoveMemory(c);
  MoveMemory want = memory;
  testing::MoveByteByByte(direction, c, &want);
  OnDevice device(memory);

  const absl::Status status = device.Move(direction, c);

  ASSERT_TRUE(status.ok()) << status;
  const MoveMemory found = device.Memory();
  EXPECT_EQ(found.blocks, want.blocks);
  EXPECT_EQ(found.pools, want.pools);
}

constexpr Direction kDirections[] = {Direction::kGather, Direction::kScatter};

class GatherBlocksKernelTest : public ::testing::TestWithParam<LayoutCase> {
 protected:
  void TearDown() override { Executor::Get().SetSchedule({}); }
};

TEST_P(GatherBlocksKernelTest, MovesExactlyTheSliceUnderAnySchedule) {
  for (const simt::Schedule& schedule : simt::UsualSchedules()) {
    Executor::Get().SetSchedule(schedule);
    for (const Direction direction : kDirections) {
      ExpectMovesAsTheOracle(direction, GetParam());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, GatherBlocksKernelTest,
                         ::testing::ValuesIn(testing::LayoutCases()),
                         [](const auto& c) { return c.param.name; });

LayoutCase Small(uint32_t layers, uint32_t pages) {
  LayoutCase c = testing::LayoutCases().front();
  c.block.layers = layers;
  c.pools = layers;
  c.block.kv_heads = c.paged.kv_heads = 1;
  c.block.head_dim = c.paged.head_dim = 8;
  c.block.block_tokens = 1;
  c.blocks = pages;
  c.paged.page_tokens = 1;
  c.paged.pages = pages;
  return c;
}

TEST(GatherBlocksLaunchTest, TablesLongerThanALaunchTakes) {
  for (const Direction direction : kDirections) {
    ExpectMovesAsTheOracle(direction, Small(3, 1100));
    ExpectMovesAsTheOracle(direction, Small(70, 5));
  }
}

TEST(GatherBlocksLaunchTest, SaysWhatTheLaunchSaid) {
  LayoutCase c = Small(1, 1);
  c.paged.page_tokens = 1;
  const MoveMemory memory = testing::MakeMoveMemory(c);
  OnDevice device(memory);
  simt::SetLaunchRoute([](const auto&, const auto&) {
    return absl::InvalidArgumentError("no such launch");
  });

  const KvLayout block = *KvLayout::Make(c.block);
  const PagedLayout paged = *PagedLayout::Make(c.paged);
  const std::byte* const pool = nullptr;
  const absl::Status status = GatherBlocksOnDevice(
      block, paged, testing::RequestOf(c, memory), {&pool, 1}, nullptr, {});
  simt::SetLaunchRoute(nullptr);

  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "CUDA error 9")) << status;
}

// Launches go to PTX: the kernel whose vectors and direction the test says.
class GatherBlocksPtxTest : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    BANYAN_SKIP_WITHOUT_PTX();
    auto module =
        simt::ptx::Module::Read(simt::PtxPath("gather_blocks", GetParam()));
    ASSERT_TRUE(module.ok()) << module.status();
    module_ = *std::move(module);
  }
  void TearDown() override {
    simt::SetLaunchRoute(nullptr);
    Executor::Get().SetSchedule({});
  }

  void RouteTo(const LayoutCase& c, Direction direction) {
    const uint32_t head_bytes = c.block.element_bytes * c.block.head_dim;
    const char* const vector = head_bytes % 16 == 0  ? "5uint4"
                               : head_bytes % 4 == 0 ? "j"
                                                     : "h";
    const auto kernel = module_.Find(
        absl::StrCat("MovePagesI", vector, "LNS0_9DirectionE",
                     direction == Direction::kGather ? 0 : 1, "E"));
    ASSERT_TRUE(kernel.ok()) << kernel.status();
    simt::SetLaunchRoute([kernel](const auto& shape, const auto& arguments) {
      return simt::ptx::RunPtxBytes(**kernel, shape, arguments);
    });
  }

  simt::ptx::Module module_;
};

TEST_P(GatherBlocksPtxTest, MovesExactlyTheSlice) {
  for (const LayoutCase& c : testing::LayoutCases()) {
    SCOPED_TRACE(c.name);
    for (const Direction direction : kDirections) {
      RouteTo(c, direction);
      ExpectMovesAsTheOracle(direction, c);
    }
  }
}

TEST_P(GatherBlocksPtxTest, MovesTheSameUnderAnySchedule) {
  const LayoutCase c = testing::LayoutCases()[3];
  for (const simt::Schedule& schedule : simt::UsualSchedules()) {
    Executor::Get().SetSchedule(schedule);
    RouteTo(c, Direction::kScatter);
    ExpectMovesAsTheOracle(Direction::kScatter, c);
  }
}

#if BANYAN_SIMT_CHECKED  // Only such a program counts sectors.
// Llama-3.1-8B: heads of 256 bytes.
LayoutCase Llama(TokenOrder block_order) {
  LayoutCase c = testing::LayoutCases().front();
  c.block = {.order = block_order,
             .element_bytes = 2,
             .layers = 1,
             .planes = 2,
             .block_tokens = 16,
             .kv_heads = 8,
             .head_dim = 128};
  c.paged.page_tokens = 16;
  c.paged.kv_heads = 8;
  c.paged.head_dim = 128;
  c.blocks = 2;
  c.pools = 1;
  return c;
}

// Also the other half of the roofline that docs/cuda.md works out.
TEST_P(GatherBlocksPtxTest, FetchesNothingInVainAndCountsFewInstructions) {
  for (const TokenOrder order : {TokenOrder::kNhd, TokenOrder::kHnd}) {
    const LayoutCase c = Llama(order);
    const MoveMemory memory = testing::MakeMoveMemory(c);
    for (const Direction direction : kDirections) {
      OnDevice device(memory);
      RouteTo(c, direction);
      simt::Traffic traffic;
      const uint64_t before = simt::ptx::ExecutedInstructions();
      simt::Checker::Get().CountTraffic(&traffic);
      const absl::Status status = device.Move(direction, c);
      simt::Checker::Get().CountTraffic(nullptr);
      const uint64_t instructions = simt::ptx::ExecutedInstructions() - before;

      ASSERT_TRUE(status.ok()) << status;
      EXPECT_EQ(traffic.read_bytes, memory.blocks.size());
      EXPECT_EQ(traffic.written_bytes, memory.blocks.size());
      EXPECT_DOUBLE_EQ(traffic.sector_use(), 1.0);
      EXPECT_LE(instructions, 70 * (memory.blocks.size() / 16));
      RecordProperty(
          "instructions_a_vector",
          static_cast<int>(instructions * 16 / memory.blocks.size()));
    }
  }
}
#endif

INSTANTIATE_TEST_SUITE_P(
    Architectures, GatherBlocksPtxTest,
    ::testing::ValuesIn(simt::PtxArchitectures({"gather_blocks"})));

}  // namespace
}  // namespace banyan::layout
