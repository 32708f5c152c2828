// Prints how much of an SM a kernel's blocks keep busy, in percent of its warps,
// by the toolkit's own cuda_occupancy.h, which needs neither GPU nor driver.
//
// usage: occupancy ARCHITECTURE REGISTERS SHARED_BYTES THREADS
#include <cuda_occupancy.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int kKiB = 1024;

// Of the CUDA programming guide, table of compute capabilities.
struct Sm {
  const char* architecture;
  int major;
  int minor;
  int threads;
  int shared_kib;
  int shared_of_block_kib;
};
constexpr Sm kSms[] = {{"sm_80", 8, 0, 2048, 164, 163},
                       {"sm_90", 9, 0, 2048, 228, 227},
                       {"sm_100", 10, 0, 2048, 228, 227}};

cudaOccDeviceProp PropertiesOf(const Sm& sm) {
  cudaOccDeviceProp properties{};
  properties.computeMajor = sm.major;
  properties.computeMinor = sm.minor;
  properties.maxThreadsPerBlock = 1024;
  properties.maxThreadsPerMultiprocessor = sm.threads;
  properties.regsPerBlock = 65536;
  properties.regsPerMultiprocessor = 65536;
  properties.warpSize = 32;
  properties.numSms = 1;
  properties.sharedMemPerBlock = 48 * kKiB;
  properties.sharedMemPerMultiprocessor = sm.shared_kib * kKiB;
  properties.sharedMemPerBlockOptin = sm.shared_of_block_kib * kKiB;
  properties.reservedSharedMemPerBlock = 1 * kKiB;
  return properties;
}

int BlocksOf(const Sm& sm, int registers, int shared_bytes, int threads) {
  const cudaOccDeviceProp properties = PropertiesOf(sm);
  cudaOccFuncAttributes attributes{};
  attributes.maxThreadsPerBlock = 1024;
  attributes.numRegs = registers;
  attributes.sharedSizeBytes = static_cast<size_t>(shared_bytes);
  attributes.partitionedGCConfig = PARTITIONED_GC_OFF;
  attributes.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  attributes.maxDynamicSharedSizeBytes =
      properties.sharedMemPerBlockOptin - attributes.sharedSizeBytes;
  const cudaOccDeviceState state{};
  cudaOccResult result{};
  const cudaOccError error = cudaOccMaxActiveBlocksPerMultiprocessor(
      &result, &properties, &attributes, &state, threads, 0);
  return error == CUDA_OCC_SUCCESS ? result.activeBlocksPerMultiprocessor : -1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const int registers = std::atoi(argv[2]);
  const int shared_bytes = std::atoi(argv[3]);
  const int threads = std::atoi(argv[4]);
  for (const Sm& sm : kSms) {
    if (std::strcmp(sm.architecture, argv[1]) != 0) continue;
    const int blocks = BlocksOf(sm, registers, shared_bytes, threads);
    if (blocks < 0) return 1;
    const int warp_threads = (threads + 31) / 32 * 32;
    std::printf("%d\n", 100 * blocks * warp_threads / sm.threads);
    return 0;
  }
  std::fprintf(stderr, "occupancy: %s is not known\n", argv[1]);
  return 2;
}
