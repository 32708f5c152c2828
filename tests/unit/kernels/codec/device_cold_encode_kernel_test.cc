// Goal: on a device, cold planes are encoded to the host's bytes, and refused where the
// host refuses them; sectors are used well.
// Method: as in device_codec_kernel_test.cc.
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/testing/device_cold_cases.h"

namespace banyan::codec {
namespace {

using simt::DeviceArray;
using simt::Executor;

std::vector<ColdCase> UnfitCases() {
  constexpr auto kBf16 = ElementType::kBf16;
  return {{.name = "Nan", .unfit = Unfit::kNan},
          {.name = "Infinity",
           .tokens = 9,
           .type = kBf16,
           .unfit = Unfit::kInfinity},
          {.name = "Large", .tokens = 3, .type = kBf16, .unfit = Unfit::kLarge},
          {.name = "SecondUnit",
           .tokens = 130,
           .heads = 1,
           .dim = 2,
           .unfit = Unfit::kNan},
          {.name = "Rotated",
           .spec = "cold3:pre",
           .tokens = 9,
           .rotary_dim = 16,
           .unfit = Unfit::kRotated},
          {.name = "Components",
           .spec = "cold3:weighted",
           .tokens = 9,
           .unfit = Unfit::kComponents}};
}

// The planes lie by their stride, or the last one first.
enum class Places { kByStride, kBackwards };

void ExpectEncodesAsTheHost(const ColdCase& c, const HostPlanes& host,
                            Places places = Places::kByStride) {
  DeviceColdPlanes device(
      c, host, host.rows,
      std::vector<std::byte>(c.begin + c.planes * host.bytes_max,
                             std::byte{0xAB}),
      ColdEncodeScratchFloats(host.spec, host.shape, c.planes, c.tokens));
  const DeviceArray<uint64_t> sizes(c.planes);
  device.planes.cold_bytes = sizes.get();
  std::vector<uint64_t> begins(c.planes);
  for (uint32_t i = 0; i < c.planes; ++i) {
    begins[i] =
        host.bytes_max * (places == Places::kByStride ? i : c.planes - 1 - i);
  }
  const DeviceArray<uint64_t> device_begins(begins);
  if (places == Places::kBackwards) {
    device.planes.encoded_begins = device_begins.get();
  }
  const DeviceTable off(host.off);

  const absl::Status status =
      EncodePlanesOnDevice(host.spec, host.shape, device.planes, off.rope, {});

  EXPECT_TRUE(simt::LastLaunchStatus().ok()) << simt::LastLaunchStatus();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(device.verdicts(), host.verdicts);
  const std::vector<std::byte> found = device.encoded();
  for (uint32_t plane = 0; plane < c.planes; ++plane) {
    if (host.verdicts[plane] != 0) continue;
    const absl::Span<const std::byte> bytes = host.Encoded(plane);
    ASSERT_EQ(sizes.Values()[plane], bytes.size()) << "plane " << plane;
    EXPECT_EQ(std::memcmp(found.data() + c.begin + begins[plane], bytes.data(),
                          bytes.size()),
              0)
        << "plane " << plane;
  }
}

class DeviceColdEncodeTest : public ::testing::TestWithParam<ColdCase> {
 protected:
  void TearDown() override { Executor::Get().SetSchedule({}); }
};

TEST_P(DeviceColdEncodeTest, EncodesAsTheHostUnderAnySchedule) {
  const HostPlanes host(GetParam());
  for (const simt::Schedule& schedule : simt::UsualSchedules()) {
    Executor::Get().SetSchedule(schedule);
    ExpectEncodesAsTheHost(GetParam(), host);
  }
}

INSTANTIATE_TEST_SUITE_P(Planes, DeviceColdEncodeTest,
                         ::testing::ValuesIn(Cases()),
                         [](const auto& c) { return c.param.name; });

// All tokens of a unit, in many tiles.
TEST(DeviceColdEncodeCasesTest, EncodesAWholeUnitAsTheHost) {
  const ColdCase c = {.name = "Whole",
                      .spec = "cold2",
                      .planes = 1,
                      .tokens = 128,
                      .heads = 1,
                      .dim = 130,
                      .fill = Fill::kShared};
  const HostPlanes host(c);
  EXPECT_GT(host.Factors(0), 1);
  ExpectEncodesAsTheHost(c, host);
}

TEST(DeviceColdEncodeCasesTest, PutsPlanesWhereTheCallerWantsThem) {
  for (const ColdCase& c : Cases()) {
    if (c.planes == 1) continue;
    SCOPED_TRACE(c.name);
    ExpectEncodesAsTheHost(c, HostPlanes(c), Places::kBackwards);
  }
}

TEST(DeviceColdEncodeCasesTest, RefusesThePlaneThatTheHostRefuses) {
  for (const ColdCase& c : UnfitCases()) {
    SCOPED_TRACE(c.name);
    const HostPlanes host(c);
    EXPECT_EQ(host.verdicts, std::vector<uint32_t>({0, 1}));
    ExpectEncodesAsTheHost(c, host);
  }
}

TEST(DeviceColdEncodeLaunchTest, RefusesWhatItDoesNotTake) {
  const PlaneSpec spec = ParseBlockSpec("cold3")->keys;
  const PlaneShape shape = {.type = ElementType::kFp16, .heads = 2, .dim = 8};
  const PlaneShape wide = {ElementType::kFp16, 513, 128};
  float room = 0;
  const DevicePlanes without = {
      .cold_tables = &room, .cold_scratch = &room, .planes = 1, .tokens = 4};
  DevicePlanes with = without;
  uint64_t bytes = 0;
  with.cold_bytes = &bytes;
  for (const absl::Status& status :
       {EncodePlanesOnDevice(spec, shape, without, {}, {}),
        EncodePlanesOnDevice(spec, wide, with, {}, {})}) {
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_EQ(ErrorReason(status), "CODEC");
  }
}

class DeviceColdEncodePtxTest : public ColdPtxTest {
 protected:
  void RouteToEncoder(ElementType type) {
    RouteTo("cold_encode", {Of("TransformColdUnits", type), "FindColdFactors",
                            "PlanColdUnits", "FitColdUnits", "PlaceColdUnits"});
  }
};

TEST_P(DeviceColdEncodePtxTest, EncodesAsTheHost) {
  const auto expect = [&](const ColdCase& c) {
    SCOPED_TRACE(c.name);
    RouteToEncoder(c.type);
    ExpectEncodesAsTheHost(c, HostPlanes(c));
  };
  for (ColdCase c : Cases()) {
    c.planes = 1;
    expect(c);
  }
  for (const ColdCase& c : UnfitCases()) expect(c);
}

#if BANYAN_SIMT_CHECKED
TEST_P(DeviceColdEncodePtxTest, FetchesNextToNothingInVain) {
  const ColdCase c = ColdHead();
  const HostPlanes host(c);
  EXPECT_GT(host.Factors(0), 0);
  RouteToEncoder(c.type);
  ExpectUsesSectors("encode", c, [&] { ExpectEncodesAsTheHost(c, host); });
}
#endif

INSTANTIATE_TEST_SUITE_P(
    Architectures, DeviceColdEncodePtxTest,
    ::testing::ValuesIn(simt::PtxArchitectures({"cold_encode"})));

}  // namespace
}  // namespace banyan::codec
