// Goal: the device's range coder writes the host's bytes, whatever is stored
// already when a carry comes.
// Method: skewed bits, learned and even ones, with whole lines stored behind each
// short run, so that carries run into lines that are in device memory; at odd
// addresses, and with too little room. The oracle is RangeEncoder.
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/codec/cold_coder.cuh"
#include "kernels/codec/range_coder.h"
#include "tests/testing/simt/device_memory.h"
#include "tests/testing/simt/run_kernel.h"

namespace banyan::codec {
namespace {

using simt::DeviceArray;

constexpr uint32_t kOdds = 8;
constexpr uint32_t kBits = 100'000;

// Of each byte of `bits`: the bit, whether it is an even one, and whose odds.
__global__ void PutBits(const uint8_t* bits, uint32_t count, uint32_t run,
                        std::byte* begin, uint32_t room, uint32_t* written) {
  BANYAN_SHARED(ColdBytesOut, out, [1]);
  BANYAN_SHARED(uint32_t, odds, [kOdds]);
  if (threadIdx.x < kOdds) odds[threadIdx.x] = kColdEvenOdds;
  ColdWriter w = StartColdBytes(begin, room, out[0]);
  for (uint32_t i = 0; i < count; i += run) {
    if (threadIdx.x == 0) {
      for (uint32_t j = i; j < i + run && j < count; ++j) {
        const bool bit = (bits[j] & 1) != 0;
        if ((bits[j] & 2) != 0) {
          PutColdEven(bit, w, out[0]);
        } else {
          PutColdBit(odds[bits[j] >> 2], bit, w, out[0]);
        }
      }
    }
    __syncwarp();
    w.written = __shfl_sync(~0u, w.written, 0);
    StoreColdBytes(false, w, out[0]);
    __syncwarp();
  }
  if (threadIdx.x == 0) {
    for (uint32_t i = 0; i < kRangeTailBytes; ++i) PutColdByte(w, out[0]);
  }
  __syncwarp();
  w.written = __shfl_sync(~0u, w.written, 0);
  StoreColdBytes(true, w, out[0]);
  if (threadIdx.x == 0) *written = w.written;
}

std::vector<uint8_t> SomeBits() {
  std::mt19937_64 rng(5);
  std::vector<uint8_t> bits(kBits);
  for (uint8_t& b : bits) {
    const auto of = static_cast<uint32_t>(rng() % kOdds);
    const bool is_even = rng() % 4 == 0;
    const bool bit = is_even ? rng() % 2 != 0 : rng() % (of + 2) != 0;
    b = static_cast<uint8_t>(of << 2 | uint32_t{is_even} << 1 | uint32_t{bit});
  }
  return bits;
}

// What the host writes into so much room, and how much it would.
size_t PutOnHost(const std::vector<uint8_t>& bits, absl::Span<std::byte> to) {
  std::array<AdaptiveBit, kOdds> odds;
  RangeEncoder encoder(to);
  for (const uint8_t b : bits) {
    const bool bit = (b & 1) != 0;
    if ((b & 2) != 0) {
      encoder.PutEven(bit);
    } else {
      encoder.Put(odds[b >> 2], bit);
    }
  }
  return encoder.Finish();
}

constexpr std::byte kUntouched{0xAB};

// What a device writes into memory with so much room at `begin`, and how much it
// would.
struct Put {
  std::vector<std::byte> memory;
  size_t size = 0;
};
Put PutOnDevice(const std::vector<uint8_t>& bits, uint32_t run, uint32_t begin,
                size_t room) {
  const DeviceArray<uint8_t> in(bits);
  const DeviceArray<std::byte> out(
      std::vector<std::byte>(begin + room + 200, kUntouched));
  const DeviceArray<uint32_t> written(1);
  const absl::Status status = simt::RunKernel(
      "PutBits", PutBits, 1, 32, 0, in.get(), kBits, run, out.get() + begin,
      static_cast<uint32_t>(room), written.get());
  EXPECT_TRUE(status.ok()) << status;
  return {out.Values(), written.Values()[0]};
}

TEST(DeviceColdCoderTest, PutsTheHostsBytes) {
  const std::vector<uint8_t> bits = SomeBits();
  std::vector<std::byte> host(kBits);
  host.resize(PutOnHost(bits, absl::MakeSpan(host)));
  for (const uint32_t run : {1u, 7u}) {
    for (const uint32_t begin : {0u, 77u}) {
      SCOPED_TRACE(absl::StrCat(run, " bits, at ", begin));
      std::vector<std::byte> want(begin, kUntouched);
      want.insert(want.end(), host.begin(), host.end());
      want.resize(want.size() + 200, kUntouched);
      const Put put = PutOnDevice(bits, run, begin, host.size());
      EXPECT_EQ(put.size, host.size());
      EXPECT_TRUE(put.memory == want);
    }
  }
}

// What lies in the room then means nothing.
TEST(DeviceColdCoderTest, LeavesOutWhatThereIsNoRoomFor) {
  const std::vector<uint8_t> bits = SomeBits();
  std::vector<std::byte> host(kBits);
  const size_t size = PutOnHost(bits, absl::MakeSpan(host));
  for (const uint32_t begin : {0u, 3u}) {
    SCOPED_TRACE(begin);
    const size_t room = size / 2 + 1;
    const Put put = PutOnDevice(bits, 1, begin, room);
    EXPECT_EQ(put.size, size);
    for (size_t i = 0; i < put.memory.size(); ++i) {
      const bool is_inside = i >= begin && i < begin + room;
      ASSERT_TRUE(is_inside || put.memory[i] == kUntouched) << i;
    }
  }
}

}  // namespace
}  // namespace banyan::codec
