// Goal: sectors and bank conflicts are counted as the hardware's rules say.
// Method: kernels whose requests are counted by hand.
#include <gtest/gtest.h>

#include "tests/testing/simt/checker.h"
#include "tests/testing/simt/device_memory.h"
#include "tests/testing/simt/sample_kernels.cuh"
#include "tests/testing/simt/traffic.h"

namespace banyan::simt {
namespace {

class TrafficTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!BANYAN_SIMT_CHECKED) GTEST_SKIP() << "only a checked program sees it";
  }

  Traffic Of(void (*kernel)(const float*, float*), Dim3 block) {
    const DeviceArray<float> in(std::vector<float>(2048, 1.0f));
    const DeviceArray<float> out(1024);
    Traffic traffic;
    Checker::Get().CountTraffic(&traffic);
    const absl::Status status =
        RunKernel("kernel", kernel, 1, block, 0, in.get(), out.get());
    Checker::Get().CountTraffic(nullptr);
    EXPECT_TRUE(status.ok()) << status;
    return traffic;
  }
};

__global__ void CopyInOrder(const float* in, float* out) {
  out[threadIdx.x] = in[threadIdx.x];
}

TEST_F(TrafficTest, NeighboursShareSectors) {
  const Traffic traffic = Of(CopyInOrder, 256);

  EXPECT_EQ(traffic.read_bytes, 1024u);
  EXPECT_EQ(traffic.written_bytes, 1024u);
  EXPECT_EQ(traffic.read_sectors, 32u);
  EXPECT_EQ(traffic.written_sectors, 32u);
  EXPECT_EQ(traffic.requests, 16u);
  EXPECT_DOUBLE_EQ(traffic.sector_use(), 1.0);
}

__global__ void CopyEverySecond(const float* in, float* out) {
  out[threadIdx.x] = in[2 * threadIdx.x];
}

TEST_F(TrafficTest, StridesWasteSectors) {
  const Traffic traffic = Of(CopyEverySecond, 256);

  EXPECT_EQ(traffic.read_sectors, 64u);
  EXPECT_DOUBLE_EQ(traffic.sector_use(), 2048.0 / (96 * 32));
}

// Each lane leaves one row out.
__global__ void CopyRowsWithHoles(const float* in, float* out) {
#pragma GCC unroll 1
  for (unsigned row = 0; row < 32; ++row) {
    const unsigned i = row * 32 + threadIdx.x;
    if (threadIdx.x != row) out[i] = in[i];
    __syncwarp();
  }
}

TEST_F(TrafficTest, LanesAreInStepWhereTheyMeet) {
  const Traffic traffic = Of(CopyRowsWithHoles, 32);

  EXPECT_EQ(traffic.read_bytes, 32u * 31 * 4);
  EXPECT_EQ(traffic.read_sectors, 32u * 4);
  EXPECT_EQ(traffic.written_sectors, 32u * 4);
  EXPECT_EQ(traffic.requests, 2u * 32);
}

__global__ void TransposeInConflict(const float* in, float* out) {
  BANYAN_SHARED(float, tile, [32][32]);
  const unsigned i = threadIdx.y * 32 + threadIdx.x;
  tile[threadIdx.y][threadIdx.x] = in[i];
  __syncthreads();
  out[i] = tile[threadIdx.x][threadIdx.y];
}

__global__ void TransposePadded(const float* in, float* out) {
  BANYAN_SHARED(float, tile, [32][33]);
  const unsigned i = threadIdx.y * 32 + threadIdx.x;
  tile[threadIdx.y][threadIdx.x] = in[i];
  __syncthreads();
  out[i] = tile[threadIdx.x][threadIdx.y];
}

TEST_F(TrafficTest, BankConflictsTakeMoreWavefronts) {
  const Traffic bad = Of(TransposeInConflict, Dim3(32, 32));
  const Traffic good = Of(TransposePadded, Dim3(32, 32));

  EXPECT_EQ(bad.shared_wavefronts_ideal, 64u);
  EXPECT_EQ(bad.shared_wavefronts, 32u + 32 * 32);
  EXPECT_EQ(good.shared_wavefronts, 64u);
}

}  // namespace
}  // namespace banyan::simt
