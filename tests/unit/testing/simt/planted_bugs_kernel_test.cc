// Goal: no bug that the executor and the checker are for gets past them.
// Method: kernels with one bug each. The plain program has to find what the
// executor promises; the checked program has to find all. Each is run under the
// usual schedules, in the first of which some bugs do no harm.
#include <gtest/gtest.h>

#include <functional>

#include "tests/testing/simt/device_memory.h"
#include "tests/testing/simt/sample_kernels.cuh"

namespace banyan::simt {
namespace {

std::vector<int> Ascending(int size) {
  std::vector<int> values(static_cast<size_t>(size));
  for (int i = 0; i < size; ++i) values[static_cast<size_t>(i)] = i + 1;
  return values;
}

// The first finding under any schedule, or "".
std::string Found(const std::function<absl::Status()>& run) {
  for (const Schedule& schedule : UsualSchedules()) {
    Executor::Get().SetSchedule(schedule);
    const absl::Status status = run();
    Executor::Get().SetSchedule({});
    if (!status.ok()) return std::string(status.message());
  }
  return "";
}

// Runs kernel(in, out), with 256 numbers in.
std::string FoundIn(void (*kernel)(const int*, int*), Dim3 grid, Dim3 block,
                    size_t out_size) {
  return Found([&] {
    const DeviceArray<int> in(Ascending(256));
    const DeviceArray<int> out(std::vector<int>(out_size, 0));
    return RunKernel("kernel", kernel, grid, block, 0, in.get(), out.get());
  });
}

#define BANYAN_EXPECT_FOUND(found, what) \
  EXPECT_NE((found).find(what), std::string::npos) << (found)

// What the executor finds by itself.

__global__ void BarrierInBothBranches(const int* in, int* out) {
  if (threadIdx.x < 32) {
    out[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
  } else {
    out[threadIdx.x] = -in[threadIdx.x];
    __syncthreads();
  }
}

TEST(ExecutorFindsTest, BarriersAtDifferentLines) {
  BANYAN_EXPECT_FOUND(FoundIn(BarrierInBothBranches, 1, 64, 64),
                      "barrier divergence: thread");
}

__global__ void ReturnBeforeBarrier(const int* in, int* out) {
  if (threadIdx.x >= 40) return;
  out[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
}

TEST(ExecutorFindsTest, ThreadsThatMissABarrier) {
  BANYAN_EXPECT_FOUND(FoundIn(ReturnBeforeBarrier, 1, 64, 64),
                      "24 of 64 threads exited before a barrier");
}

__global__ void ShuffleInHalfAWarp(const int* in, int* out) {
  int value = in[threadIdx.x];
  if (threadIdx.x < 16) value += __shfl_xor_sync(kAllLanes, value, 1);
  out[threadIdx.x] = value;
}

TEST(ExecutorFindsTest, ShufflesThatLanesMiss) {
  BANYAN_EXPECT_FOUND(FoundIn(ShuffleInHalfAWarp, 1, 32, 32), "exit");
}

__global__ void ShuffleOutsideMask(const int* in, int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  if (lane < 16) out[lane] = __shfl_sync(0xffffu, in[lane], lane + 8);
}

TEST(ExecutorFindsTest, ShufflesFromLanesOutsideTheMask) {
  BANYAN_EXPECT_FOUND(FoundIn(ShuffleOutsideMask, 1, 32, 32),
                      "which takes no part");
}

__global__ void MaskWithoutCaller(const int* in, int* out) {
  out[threadIdx.x] = __shfl_xor_sync(0xffff0000u, in[threadIdx.x], 1);
}

TEST(ExecutorFindsTest, MasksWithoutTheCaller) {
  BANYAN_EXPECT_FOUND(FoundIn(MaskWithoutCaller, 1, 32, 32),
                      "warp mask leaves out the calling lane");
}

__global__ void MaskOfMissingLanes(const int* in, int* out) {
  out[threadIdx.x] = __shfl_xor_sync(kAllLanes, in[threadIdx.x], 1);
}

TEST(ExecutorFindsTest, MasksOfLanesThatTheBlockDoesNotHave) {
  BANYAN_EXPECT_FOUND(FoundIn(MaskOfMissingLanes, 1, 20, 20),
                      "names a lane that the block does not have");
}

__global__ void VoteMeetsShuffle(const int* in, int* out) {
  int value = in[threadIdx.x];
  if (threadIdx.x % 2 == 0) {
    value = __shfl_sync(kAllLanes, value, 0);
  } else {
    value = __any_sync(kAllLanes, value);
  }
  out[threadIdx.x] = value;
}

TEST(ExecutorFindsTest, DifferentWarpOperationsThatMeet) {
  BANYAN_EXPECT_FOUND(FoundIn(VoteMeetsShuffle, 1, 32, 32), "warp divergence");
}

__global__ void BarrierAgainstShuffle(const int* in, int* out) {
  if (threadIdx.x == 0) {
    __syncthreads();
  } else if (threadIdx.x < 32) {
    out[threadIdx.x] = __shfl_sync(kAllLanes, in[threadIdx.x], 1);
  }
}

TEST(ExecutorFindsTest, Deadlocks) {
  const std::string found = FoundIn(BarrierAgainstShuffle, 1, 32, 32);

  BANYAN_EXPECT_FOUND(found, "deadlock: thread 0 waits in syncthreads at");
  BANYAN_EXPECT_FOUND(found, "thread 1 waits in shuffle at");
}

__global__ void UseDynamicShared(const int* in, int* out) {
  BANYAN_DYNAMIC_SHARED(int, values);
  values[threadIdx.x] = in[threadIdx.x];
  out[threadIdx.x] = values[threadIdx.x];
}

TEST(ExecutorFindsTest, SharedMemoryOverTheLimit) {
  const DeviceArray<int> in(Ascending(32));
  const DeviceArray<int> out(32);
  const auto run = [&](size_t bytes) {
    return RunKernel("kernel", UseDynamicShared, 1, 32, bytes, in.get(),
                     out.get());
  };

  EXPECT_TRUE(run(128).ok());
  BANYAN_EXPECT_FOUND(std::string(run(0).message()), "but none launched");
  BANYAN_EXPECT_FOUND(std::string(run(100 * 1024).message()), "over the limit");
}

TEST(ExecutorFindsTest, SharedMemoryThatNobodyAskedFor) {
  const DeviceArray<int> in(Ascending(32));
  const DeviceArray<int> out(32);
  const cudaLaunchConfig_t config = {1, 32, 49 * 1024};
  const auto launch = [&] {
    return cudaLaunchKernelEx(&config, UseDynamicShared, in.get(), out.get());
  };

  EXPECT_EQ(launch(), cudaErrorInvalidConfiguration);
  cudaFuncSetAttribute(UseDynamicShared,
                       cudaFuncAttributeMaxDynamicSharedMemorySize, 49 * 1024);
  EXPECT_EQ(launch(), cudaSuccess);
}

__global__ void MisalignedCopy(const int* in, int* out) {
  BANYAN_SHARED(int, stage, [64]);
  __pipeline_memcpy_async(&stage[1], &in[0], 16);
  __pipeline_commit();
  __pipeline_wait_prior(0);
  out[0] = stage[1];
}

TEST(ExecutorFindsTest, MisalignedAsynchronousCopies) {
  BANYAN_EXPECT_FOUND(FoundIn(MisalignedCopy, 1, 1, 1),
                      "aligned on both sides");
}

// What takes the checker.

class CheckerFindsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!BANYAN_SIMT_CHECKED) GTEST_SKIP() << "only a checked program sees it";
  }
};

__global__ void NoBarrier(const int* in, int* out) {
  BANYAN_SHARED(int, values, [128]);
  values[threadIdx.x] = in[threadIdx.x];
  if (threadIdx.x == 0) {
    int sum = 0;
    for (int value : values) sum += value;
    out[0] = sum;
  }
}

TEST_F(CheckerFindsTest, ReadsThatNoBarrierOrders) {
  BANYAN_EXPECT_FOUND(FoundIn(NoBarrier, 1, 128, 1), "shared memory");
}

__global__ void NoSecondBarrier(const int* in, int* out) {
  BANYAN_SHARED(int, values, [64]);
  int sum = 0;
  for (int run = 0; run < 4; ++run) {
    values[threadIdx.x] = in[run * 64 + static_cast<int>(threadIdx.x)];
    __syncthreads();
    sum += values[63 - threadIdx.x];
  }
  out[threadIdx.x] = sum;
}

TEST_F(CheckerFindsTest, WritesOverWhatOthersStillRead) {
  BANYAN_EXPECT_FOUND(FoundIn(NoSecondBarrier, 1, 64, 64), "race:");
}

__global__ void NoWarpBarrier(const int* in, int* out) {
  BANYAN_SHARED(int, values, [32]);
  values[threadIdx.x] = in[threadIdx.x];
  out[threadIdx.x] = values[threadIdx.x ^ 1];
}

TEST_F(CheckerFindsTest, LanesThatNothingOrders) {
  const std::string found = FoundIn(NoWarpBarrier, 1, 32, 32);

  EXPECT_NE(found, "");
}

__global__ void ShuffleForAFence(const int* in, int* out) {
  BANYAN_SHARED(int, values, [32]);
  values[threadIdx.x] = in[threadIdx.x];
  __shfl_xor_sync(kAllLanes, 0, 1);
  out[threadIdx.x] = values[threadIdx.x ^ 1];
}

TEST_F(CheckerFindsTest, ShufflesTakenForFences) {
  const std::string found = FoundIn(ShuffleForAFence, 1, 32, 32);

  BANYAN_EXPECT_FOUND(found, "race: read after write at planted_bugs_kernel");
}

__global__ void WarpBarrierOrders(const int* in, int* out) {
  BANYAN_SHARED(int, values, [32]);
  values[threadIdx.x] = in[threadIdx.x];
  __syncwarp();
  out[threadIdx.x] = values[threadIdx.x ^ 1];
}

TEST_F(CheckerFindsTest, NothingWhereAWarpBarrierOrders) {
  EXPECT_EQ(FoundIn(WarpBarrierOrders, 1, 32, 32), "");
}

__global__ void WritePastTheEnd(const int* in, int* out) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i <= 100) out[i] = i < 100 ? in[i] : 0;
}

TEST_F(CheckerFindsTest, WritesPastTheEnd) {
  BANYAN_EXPECT_FOUND(FoundIn(WritePastTheEnd, 4, 32, 100),
                      "out of bounds or freed device memory");
}

__global__ void VectorOverTheEnd(const int* in, int* out) {
  const int4 last = reinterpret_cast<const int4*>(in)[7];
  out[0] = last.x;
}

TEST_F(CheckerFindsTest, VectorsThatReachOverTheEnd) {
  const DeviceArray<int> in(Ascending(30));
  const DeviceArray<int> out(1);

  const absl::Status status =
      RunKernel("kernel", VectorOverTheEnd, 1, 1, 0, in.get(), out.get());

  BANYAN_EXPECT_FOUND(std::string(status.message()), "out of bounds");
}

__global__ void SharedPastTheEnd(const int* in, int* out) {
  BANYAN_SHARED(int, values, [32]);
  int* const past = values;
  past[threadIdx.x + 1] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = past[threadIdx.x + 1];
}

TEST_F(CheckerFindsTest, SharedArraysPastTheEnd) {
  BANYAN_EXPECT_FOUND(FoundIn(SharedPastTheEnd, 1, 32, 32),
                      "out of bounds of a shared array");
}

__global__ void SharedUnwritten(const int* in, int* out) {
  BANYAN_SHARED(int, values, [64]);
  if (threadIdx.x < 63) values[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = values[threadIdx.x] > 1000000 ? 1 : 0;
}

TEST_F(CheckerFindsTest, SharedMemoryThatNobodyWrote) {
  BANYAN_EXPECT_FOUND(FoundIn(SharedUnwritten, 1, 64, 64),
                      "read of shared memory that nobody wrote");
}

__global__ void Copy(const int* in, int* out) {
  out[threadIdx.x] = in[threadIdx.x];
}

TEST_F(CheckerFindsTest, DeviceMemoryThatNobodyWrote) {
  const DeviceArray<int> in(64);
  const DeviceArray<int> out(64);

  const absl::Status status =
      RunKernel("kernel", Copy, 1, 64, 0, in.get(), out.get());

  BANYAN_EXPECT_FOUND(std::string(status.message()),
                      "read of device memory that nobody wrote");
}

__global__ void CountWithoutAtomics(const int* in, int* out) {
  if (in[blockIdx.x * blockDim.x + threadIdx.x] > 0) *out += 1;
}

TEST_F(CheckerFindsTest, LostUpdates) {
  BANYAN_EXPECT_FOUND(FoundIn(CountWithoutAtomics, 4, 64, 1), "race");
}

__global__ void OverlappingBlocks(const int* in, int* out) {
  out[blockIdx.x * 31 + threadIdx.x] = in[blockIdx.x];
}

TEST_F(CheckerFindsTest, BlocksThatOverlap) {
  BANYAN_EXPECT_FOUND(FoundIn(OverlappingBlocks, 3, 32, 128),
                      "race between blocks");
}

TEST_F(CheckerFindsTest, PointersOfTheHost) {
  const std::vector<int> in = Ascending(64);
  const DeviceArray<int> out(64);

  const absl::Status status =
      RunKernel("kernel", Copy, 1, 64, 0, in.data(), out.get());

  BANYAN_EXPECT_FOUND(std::string(status.message()), "illegal address");
}

TEST_F(CheckerFindsTest, FreedMemory) {
  const DeviceArray<int> out(64);
  const int* freed = nullptr;
  {
    const DeviceArray<int> in(Ascending(64));
    freed = in.get();
  }

  const absl::Status status =
      RunKernel("kernel", Copy, 1, 64, 0, freed, out.get());

  BANYAN_EXPECT_FOUND(std::string(status.message()), "freed device memory");
}

__global__ void NoWait(const int* in, int* out) {
  BANYAN_SHARED(int, stage, [32]);
  __pipeline_memcpy_async(&stage[threadIdx.x], &in[threadIdx.x], 4);
  __pipeline_commit();
  out[threadIdx.x] = stage[threadIdx.x];
}

TEST_F(CheckerFindsTest, AsynchronousCopiesNotWaitedFor) {
  BANYAN_EXPECT_FOUND(FoundIn(NoWait, 1, 32, 32), "cp.async not waited for");
}

__global__ void OthersLocal(const int* in, int* out) {
  BANYAN_SHARED(const int*, locals, [32]);
  int mine = in[threadIdx.x];
  locals[threadIdx.x] = &mine;
  __syncthreads();
  out[threadIdx.x] = *locals[threadIdx.x ^ 1];
  __syncthreads();
}

TEST_F(CheckerFindsTest, PointersToAnotherThreadsLocals) {
  BANYAN_EXPECT_FOUND(FoundIn(OthersLocal, 1, 32, 32), "illegal address");
}

// UndefinedBehaviorSanitizer is on in the checked program, too.

using CheckedProgramDeathTest = CheckerFindsTest;

__global__ void MisalignedVector(const int* in, int* out) {
  const auto* const at = reinterpret_cast<const char*>(in) + 4;
  out[0] = reinterpret_cast<const int4*>(at)->x;
}

TEST_F(CheckedProgramDeathTest, MisalignedVectorsAreFound) {
  EXPECT_DEATH(FoundIn(MisalignedVector, 1, 1, 1), "misaligned address");
}

__global__ void IndexOverflow(const int* in, int* out) {
  const int page = in[255] * 256;
  out[0] = in[(page * 65536) & 1];
}

TEST_F(CheckedProgramDeathTest, OverflowsOfIndicesAreFound) {
  EXPECT_DEATH(FoundIn(IndexOverflow, 1, 1, 1), "signed integer overflow");
}

}  // namespace
}  // namespace banyan::simt
