// Goal: kernels that are right under CUDA's rules give the right values on the
// executor, whatever the schedule; launches that CUDA refuses are refused.
// Method: sample kernels against plain loops, bit for bit, under all of the
// usual schedules; the arithmetic of the stand-in headers against the
// processor's own.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "tests/testing/simt/device_memory.h"
#include "tests/testing/simt/executor.h"
#include "tests/testing/simt/sample_kernels.cuh"

namespace banyan::simt {
namespace {

class ExecutorTest : public ::testing::TestWithParam<Schedule> {
 protected:
  void SetUp() override { Executor::Get().SetSchedule(GetParam()); }
  void TearDown() override { Executor::Get().SetSchedule({}); }
};

std::vector<float> Normal(size_t size) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> values(size);
  for (float& value : values) value = normal(random);
  return values;
}

template <class To, class From>
const To* As(const DeviceArray<From>& array) {
  return reinterpret_cast<const To*>(array.get());
}

// The same tree of additions as the kernel's.
float SumOfRow(const float* row, int columns) {
  float lanes[256] = {};
  for (int i = 0; i < columns / 4; ++i) {
    const float* v = row + 4 * i;
    lanes[i % 256] += (v[0] + v[1]) + (v[2] + v[3]);
  }
  for (int distance = 16; distance > 0; distance /= 2) {
    float next[256];
    for (int i = 0; i < 256; ++i) next[i] = lanes[i] + lanes[i ^ distance];
    std::memcpy(lanes, next, sizeof(lanes));
  }
  float sum = lanes[0];
  for (int warp = 1; warp < 8; ++warp) sum += lanes[32 * warp];
  return sum;
}

TEST_P(ExecutorTest, ShufflesAndABarrierReduceRows) {
  constexpr int kRows = 5;
  constexpr int kColumns = 1284;
  const std::vector<float> values = Normal(kRows * kColumns);
  const DeviceArray<float> rows(values);
  const DeviceArray<RowStat> stats(kRows);

  const absl::Status status =
      RunKernel("RowStats", RowStats<256>, kRows, 256, 0, As<float4>(rows),
                stats.get(), kColumns);

  ASSERT_TRUE(status.ok()) << status;
  const std::vector<RowStat> found = stats.Values();
  for (size_t row = 0; row < kRows; ++row) {
    const float* const begin = &values[row * kColumns];
    float abs_max = 0;
    for (int i = 0; i < kColumns; ++i) {
      abs_max = std::max(abs_max, std::fabs(begin[i]));
    }
    EXPECT_EQ(found[row].sum, SumOfRow(begin, kColumns));
    EXPECT_EQ(found[row].abs_max, abs_max);
  }
}

TEST_P(ExecutorTest, AsynchronousCopiesArriveWhenTheyAreWaitedFor) {
  constexpr int kRuns = 7;
  std::vector<unsigned> values(kRuns * 128 * 4);
  for (unsigned i = 0; i < values.size(); ++i) values[i] = i;
  const DeviceArray<unsigned> from(values);
  const DeviceArray<uint4> to(kRuns * 128);

  const absl::Status status = RunKernel("ReverseRuns", ReverseRuns<128>, 1, 128,
                                        0, As<uint4>(from), to.get(), kRuns);

  ASSERT_TRUE(status.ok()) << status;
  const std::vector<uint4> found = to.Values();
  for (unsigned i = 0; i < found.size(); ++i) {
    const unsigned source = i / 128 * 128 + 127 - i % 128;
    ASSERT_EQ(found[i].x, 4 * source);
    ASSERT_EQ(found[i].w, 4 * source + 3);
  }
}

TEST_P(ExecutorTest, AtomicsAndBallotsCount) {
  std::mt19937 random(3);
  std::vector<unsigned> values(1000);
  std::vector<unsigned> want(16, 0);
  unsigned want_odd = 0;
  for (unsigned& value : values) {
    value = static_cast<unsigned>(random());
    ++want[value % 16];
    want_odd += value & 1;
  }
  const DeviceArray<unsigned> in(values);
  const DeviceArray<unsigned> counts(std::vector<unsigned>(16, 0));
  const DeviceArray<unsigned> odd(std::vector<unsigned>(1, 0));

  const absl::Status status =
      RunKernel("CountValues", CountValues, 3, 128, 0, in.get(), counts.get(),
                odd.get(), static_cast<int>(values.size()));

  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(counts.Values(), want);
  EXPECT_EQ(odd.Values()[0], want_odd);
}

INSTANTIATE_TEST_SUITE_P(Schedules, ExecutorTest,
                         ::testing::ValuesIn(UsualSchedules()),
                         [](const auto& schedule) {
                           return std::to_string(schedule.index);
                         });

__global__ void Nothing() {}

TEST(ExecutorLaunchTest, WhatCudaRefusesIsRefused) {
  EXPECT_TRUE(
      absl::IsInvalidArgument(RunKernel("no blocks", Nothing, Dim3(0), 32, 0)));
  EXPECT_TRUE(absl::IsInvalidArgument(
      RunKernel("no threads", Nothing, 1, Dim3(32, 0), 0)));
  EXPECT_TRUE(absl::IsInvalidArgument(
      RunKernel("too many threads", Nothing, 1, Dim3(32, 33), 0)));
  EXPECT_TRUE(absl::IsInvalidArgument(
      RunKernel("too high", Nothing, Dim3(1, 65536), 32, 0)));
  EXPECT_TRUE(
      RunKernel("fits", Nothing, Dim3(3, 5, 7), Dim3(4, 8, 32), 0).ok());
}

__global__ void MarkThreads(unsigned* marks) {
  const unsigned block =
      (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread =
      (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  marks[block * (blockDim.x * blockDim.y * blockDim.z) + thread] = block;
}

TEST(ExecutorLaunchTest, EveryThreadOfEveryBlockRunsOnce) {
  const DeviceArray<unsigned> marks(2 * 3 * 2 * 5 * 3 * 2);

  ASSERT_TRUE(RunKernel("MarkThreads", MarkThreads, Dim3(2, 3, 2),
                        Dim3(5, 3, 2), 0, marks.get())
                  .ok());

  const std::vector<unsigned> found = marks.Values();
  for (unsigned i = 0; i < found.size(); ++i) EXPECT_EQ(found[i], i / 30);
}

__global__ void ShuffleAll(unsigned* out) {
  const unsigned lane = threadIdx.x;
  unsigned* const mine = out + 5 * lane;
  mine[0] = __shfl_sync(kAllLanes, lane, 35, 16);
  mine[1] = __shfl_up_sync(kAllLanes, lane, 3, 8);
  mine[2] = __shfl_down_sync(kAllLanes, lane, 3, 8);
  mine[3] = __shfl_xor_sync(kAllLanes, lane, 5, 8);
  mine[4] = __match_any_sync(kAllLanes, lane % 3);
}

TEST(ExecutorLaunchTest, ShufflesStayInTheirSegments) {
  const DeviceArray<unsigned> out(5 * 32);

  ASSERT_TRUE(RunKernel("ShuffleAll", ShuffleAll, 1, 32, 0, out.get()).ok());

  const std::vector<unsigned> found = out.Values();
  for (unsigned lane = 0; lane < 32; ++lane) {
    const unsigned in_segment = lane % 8;
    EXPECT_EQ(found[5 * lane], lane / 16 * 16 + 3);
    EXPECT_EQ(found[5 * lane + 1], in_segment < 3 ? lane : lane - 3);
    EXPECT_EQ(found[5 * lane + 2], in_segment > 4 ? lane : lane + 3);
    EXPECT_EQ(found[5 * lane + 3], lane ^ 5);
    unsigned same = 0;
    for (unsigned i = lane % 3; i < 32; i += 3) same |= 1u << i;
    EXPECT_EQ(found[5 * lane + 4], same);
  }
}

__global__ void BarrierVotes(int* out, int live) {
  const int thread = static_cast<int>(threadIdx.x);
  const int count = __syncthreads_count(thread < live);
  const int any = __syncthreads_or(thread < live);
  const int all = __syncthreads_and(thread < live);
  if (thread == 0) {
    out[0] = count;
    out[1] = any;
    out[2] = all;
  }
}

TEST(ExecutorLaunchTest, BarriersVote) {
  for (const int live : {0, 37, 96}) {
    const DeviceArray<int> out(3);

    ASSERT_TRUE(
        RunKernel("BarrierVotes", BarrierVotes, 1, 96, 0, out.get(), live)
            .ok());

    EXPECT_EQ(out.Values(), (std::vector<int>{live, live > 0, live == 96}));
  }
}

TEST(StandInArithmeticTest, HalvesConvertAsIeeeSays) {
  for (unsigned bits = 0; bits <= 0xffff; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    _Float16 native;
    std::memcpy(&native, &half, sizeof(native));
    const float want = static_cast<float>(native);
    const float found = __half2float(__ushort_as_half(half));
    if (std::isnan(want)) {
      EXPECT_TRUE(std::isnan(found)) << bits;
    } else {
      EXPECT_EQ(__float_as_uint(found), __float_as_uint(want)) << bits;
      EXPECT_EQ(__half_as_ushort(__float2half_rn(found)), half) << bits;
    }
  }
}

TEST(StandInArithmeticTest, FloatsRoundToTheNearestHalf) {
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 4099) {
    const float value = __uint_as_float(static_cast<unsigned>(bits));
    const uint16_t found = __half_as_ushort(__float2half_rn(value));
    if (std::isnan(value)) {
      EXPECT_EQ(found, 0x7fff);
      continue;
    }
    const auto want = static_cast<_Float16>(value);
    uint16_t want_bits = 0;
    std::memcpy(&want_bits, &want, sizeof(want_bits));
    ASSERT_EQ(found, want_bits) << value;
  }
}

TEST(StandInArithmeticTest, IntegersSaturate) {
  EXPECT_EQ(__float2int_rn(std::nanf("")), 0);
  EXPECT_EQ(__float2int_rn(3e9f), 2147483647);
  EXPECT_EQ(__float2int_rn(-3e9f), -2147483647 - 1);
  EXPECT_EQ(__float2int_rn(2.5f), 2);
  EXPECT_EQ(__float2int_rn(-3.5f), -4);
  EXPECT_EQ(__float2uint_rn(-1.0f), 0u);
  EXPECT_EQ(__float2uint_rn(5e9f), 4294967295u);
}

TEST(DeviceMemoryDeathTest, IsClosedToTheHost) {
  const DeviceArray<int> array(std::vector<int>{1, 2, 3});
  const volatile int* const device = array.get();

  EXPECT_DEATH(static_cast<void>(device[1]), "");
  EXPECT_EQ(array.Values(), (std::vector<int>{1, 2, 3}));
}

}  // namespace
}  // namespace banyan::simt
