// Goal: on a CUDA device, bytes move as the oracle says; where there is none, or
// the build has no CUDA, callers are told so and nothing breaks.
// Method: the product's own launcher and runtime. On a machine with a device,
// every case of layout_cases.h; elsewhere that part is skipped, and
// gather_blocks_kernel_test.cc runs the same cases on the CPU.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "base/error.h"
#include "kernels/layout/gather_blocks.h"
#include "tests/testing/layout_cases.h"

#ifdef BANYAN_HAS_CUDA
#include <cuda_runtime_api.h>
#endif

namespace banyan::layout {
namespace {

using testing::LayoutCase;
using testing::MoveMemory;

#ifdef BANYAN_HAS_CUDA

// A machine without a driver leaves the count as it was.
bool HasDevice() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

// Bytes on the device, and back.
class DeviceBytes {
 public:
  explicit DeviceBytes(const std::vector<std::byte>& bytes)
      : size_(bytes.size()) {
    void* begin = nullptr;
    EXPECT_EQ(cudaMalloc(&begin, size_), cudaSuccess);
    begin_ = static_cast<std::byte*>(begin);
    EXPECT_EQ(cudaMemcpy(begin_, bytes.data(), size_, cudaMemcpyHostToDevice),
              cudaSuccess);
  }
  ~DeviceBytes() { cudaFree(begin_); }
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;

  std::byte* get() const { return begin_; }

  // Waits for what was launched before.
  std::vector<std::byte> Values() const {
    std::vector<std::byte> bytes(size_);
    EXPECT_EQ(cudaMemcpy(bytes.data(), begin_, size_, cudaMemcpyDeviceToHost),
              cudaSuccess);
    return bytes;
  }

 private:
  size_t size_;
  std::byte* begin_ = nullptr;
};

#else

bool HasDevice() { return false; }

// Stands for it where the tests are skipped.
class DeviceBytes {
 public:
  explicit DeviceBytes(const std::vector<std::byte>& bytes) : bytes_(bytes) {}
  std::byte* get() { return bytes_.data(); }
  std::vector<std::byte> Values() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

#endif

absl::Status MoveOnDevice(Direction direction, const LayoutCase& c,
                          const MoveRequest& request, std::byte* blocks,
                          const std::vector<std::byte*>& pools) {
  const KvLayout block = *KvLayout::Make(c.block);
  const PagedLayout paged = *PagedLayout::Make(c.paged);
  if (direction == Direction::kScatter) {
    return ScatterBlocksOnDevice(block, paged, request, blocks, pools, {});
  }
  return GatherBlocksOnDevice(
      block, paged, request,
      std::vector<const std::byte*>(pools.begin(), pools.end()), blocks, {});
}

constexpr Direction kDirections[] = {Direction::kGather, Direction::kScatter};

class GatherBlocksDeviceTest : public ::testing::TestWithParam<LayoutCase> {};

TEST_P(GatherBlocksDeviceTest, MovesExactlyTheSlice) {
  if (!HasDevice()) GTEST_SKIP() << "no CUDA device here";
  const MoveMemory memory = testing::MakeMoveMemory(GetParam());
  for (const Direction direction : kDirections) {
    MoveMemory want = memory;
    testing::MoveByteByByte(direction, GetParam(), &want);
    DeviceBytes blocks(memory.blocks);
    std::vector<std::unique_ptr<DeviceBytes>> pools;
    std::vector<std::byte*> addresses;
    for (const auto& pool : memory.pools) {
      pools.push_back(std::make_unique<DeviceBytes>(pool));
      addresses.push_back(pools.back()->get());
    }

    const absl::Status status = MoveOnDevice(
        direction, GetParam(), testing::RequestOf(GetParam(), memory),
        blocks.get(), addresses);

    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(blocks.Values(), want.blocks);
    for (size_t i = 0; i < pools.size(); ++i) {
      EXPECT_EQ(pools[i]->Values(), want.pools[i]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, GatherBlocksDeviceTest,
                         ::testing::ValuesIn(testing::LayoutCases()),
                         [](const auto& c) { return c.param.name; });

TEST(NoDeviceTest, IsSaidAndNothingBreaks) {
  if (HasDevice()) GTEST_SKIP() << "there is a CUDA device here";
  const LayoutCase c = testing::LayoutCases().front();
  MoveMemory memory = testing::MakeMoveMemory(c);
  const std::vector<std::byte*> pools(c.pools, nullptr);
  for (const Direction direction : kDirections) {
    const absl::Status status = MoveOnDevice(
        direction, c, testing::RequestOf(c, memory), nullptr, pools);

    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_EQ(ErrorReason(status), "CUDA");
  }
}

}  // namespace
}  // namespace banyan::layout
