// Goal: on a device, cold planes are decoded to the host's bytes, and refused where the
// host refuses them; sectors are used well.
// Method: as in device_codec_kernel_test.cc. Planes were encoded by the host; they
// differ in length, and lie one behind the other. Damage hits sizes, heads, factors
// and the coder's bytes.
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/testing/device_cold_cases.h"

namespace banyan::codec {
namespace {

using simt::DeviceArray;
using simt::Executor;

// How many planes both refused.
int ExpectDecodesAsTheHost(const ColdCase& c, HostPlanes& host) {
  const std::vector<std::byte> blank(host.rows.size(), std::byte{0xAB});
  DeviceColdPlanes device(
      c, host, blank, host.encoded,
      ColdScratchFloats(host.spec, host.shape, c.planes, c.tokens));
  const DeviceArray<uint64_t> begins(host.begins);
  if (c.planes > 1) device.planes.encoded_begins = begins.get();
  const DeviceTable on(host.on);

  const absl::Status status =
      DecodePlanesOnDevice(host.spec, host.shape, device.planes, on.rope, {});

  EXPECT_TRUE(simt::LastLaunchStatus().ok()) << simt::LastLaunchStatus();
  EXPECT_TRUE(status.ok()) << status;
  const std::vector<std::byte> found = device.rows();
  std::vector<std::byte> want = blank;
  int refused = 0;
  for (uint32_t plane = 0; plane < c.planes; ++plane) {
    const absl::Status said = host.Decode(plane, want);
    EXPECT_EQ(VerdictStatus(device.verdicts()[plane]), said)
        << "plane " << plane;
    if (!said.ok()) ++refused;
    if (!said.ok()) continue;
    const uint64_t bytes = host.layout.plane_bytes();
    EXPECT_EQ(std::memcmp(found.data() + plane * bytes,
                          want.data() + plane * bytes, bytes),
              0)
        << "plane " << plane;
  }
  return refused;
}

class DeviceColdKernelTest : public ::testing::TestWithParam<ColdCase> {
 protected:
  void TearDown() override { Executor::Get().SetSchedule({}); }
};

TEST_P(DeviceColdKernelTest, DecodesAsTheHostUnderAnySchedule) {
  HostPlanes host(GetParam());
  for (const simt::Schedule& schedule : simt::UsualSchedules()) {
    Executor::Get().SetSchedule(schedule);
    EXPECT_EQ(ExpectDecodesAsTheHost(GetParam(), host), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Planes, DeviceColdKernelTest,
                         ::testing::ValuesIn(Cases()),
                         [](const auto& c) { return c.param.name; });

TEST(DeviceColdCasesTest, HaveFactors) {
  for (const ColdCase& c : Cases()) {
    if (c.fill != Fill::kShared) continue;
    EXPECT_GT(HostPlanes(c).Factors(0), 0) << c.name;
  }
}

// Damage of the second plane, from the first byte of sizes on: bits, bytes that
// say a large number, or no more than the first bytes.
void Damage(const ColdCase& c, std::mt19937_64& rng, HostPlanes& host) {
  const uint64_t begin = c.begin + host.begins[1];
  const uint64_t head = begin + host.Prefix(1);
  const uint64_t reaches[] = {head - begin + 9, host.end - begin};
  const uint64_t at = begin + rng() % reaches[rng() % 2];
  const uint64_t end = std::min(host.end, at + 1 + rng() % 3);
  switch (rng() % 8) {
    case 0:
      for (uint64_t i = std::max(at, head); i < host.end; ++i) {
        host.encoded[i] = std::byte{0xFF};
      }
      break;
    case 1:
      StoreLe32(static_cast<uint32_t>(rng() % (host.end - head + 2)),
                &host.encoded[begin]);
      break;
    default:
      for (uint64_t i = at; i < end; ++i) {
        host.encoded[i] ^= static_cast<std::byte>(1 << rng() % 8);
      }
  }
}

// Refuses some of these planes, and decodes the others.
void ExpectRefusesAsTheHost(const ColdCase& c, int times) {
  HostPlanes host(c);
  const std::vector<std::byte> encoded = host.encoded;
  std::mt19937_64 rng(7);
  int refused = 0;
  for (int i = 0; i < times; ++i) {
    host.encoded = encoded;
    Damage(c, rng, host);
    refused += ExpectDecodesAsTheHost(c, host);
  }
  EXPECT_GT(refused, times / 4);
  EXPECT_LT(refused, times);
}

const ColdCase kDamaged = {.name = "Damaged",
                           .tokens = 9,
                           .heads = 1,
                           .dim = 20,
                           .fill = Fill::kShared};

TEST(DeviceColdDamageTest, RefusesWhatTheHostRefuses) {
  ExpectRefusesAsTheHost(kDamaged, 200);
  ExpectRefusesAsTheHost(
      {.name = "Units", .tokens = 130, .heads = 1, .dim = 2, .begin = 1}, 100);
}

TEST(DeviceColdLaunchTest, RefusesWhatItDoesNotTake) {
  const PlaneSpec spec = ParseBlockSpec("cold3")->keys;
  const PlaneShape shape = {.type = ElementType::kFp16, .heads = 2, .dim = 8};
  const PlaneShape wide = {ElementType::kFp16, 513, 128};
  float room = 0;
  const DevicePlanes planes = {
      .cold_tables = &room, .cold_scratch = &room, .planes = 1, .tokens = 4};
  DevicePlanes without = planes;
  without.cold_scratch = nullptr;
  for (const absl::Status& status :
       {DecodePlanesOnDevice(spec, shape, without, {}, {}),
        DecodePlanesOnDevice(spec, wide, planes, {}, {})}) {
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_EQ(ErrorReason(status), "CODEC");
  }
}

class DeviceColdPtxTest : public ColdPtxTest {
 protected:
  void RouteToDecoder(ElementType type) {
    RouteTo("cold_planes", {Of("DecodeColdPlanes", type)});
  }
};

TEST_P(DeviceColdPtxTest, DecodesAsTheHost) {
  for (const ColdCase& c : Cases()) {
    SCOPED_TRACE(c.name);
    HostPlanes host(c);
    RouteToDecoder(c.type);
    EXPECT_EQ(ExpectDecodesAsTheHost(c, host), 0);
  }
}

TEST_P(DeviceColdPtxTest, RefusesWhatTheHostRefuses) {
  RouteToDecoder(kDamaged.type);
  ExpectRefusesAsTheHost(kDamaged, 60);
}

#if BANYAN_SIMT_CHECKED
TEST_P(DeviceColdPtxTest, FetchesNextToNothingInVain) {
  const ColdCase c = ColdHead();
  HostPlanes host(c);
  EXPECT_GT(host.Factors(0), 0);
  RouteToDecoder(c.type);
  ExpectUsesSectors("decode", c,
                    [&] { EXPECT_EQ(ExpectDecodesAsTheHost(c, host), 0); });
}
#endif

INSTANTIATE_TEST_SUITE_P(
    Architectures, DeviceColdPtxTest,
    ::testing::ValuesIn(simt::PtxArchitectures({"cold_planes"})));

}  // namespace
}  // namespace banyan::codec
