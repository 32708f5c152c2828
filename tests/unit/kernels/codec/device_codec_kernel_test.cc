// Goal: on a device, planes are encoded and decoded to the host's bytes, and
// refused where the host refuses them; memory is used well.
// Method: the launchers themselves run, on fake device memory; their launches go
// to the executor, or to the interpreter of the PTX that nvcc made for each
// architecture. Every case of plane_cases.h, some under the usual schedules;
// encoded bytes with random damage; the sectors of a real model's shape.
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "absl/strings/match.h"
#include "base/error.h"
#include "kernels/codec/device_codec.h"
#include "tests/testing/plane_cases.h"
#include "tests/testing/simt/checker.h"
#include "tests/testing/simt/device_memory.h"
#include "tests/testing/simt/ptx_cases.h"
#include "tests/testing/simt/ptx_machine.h"
#include "tests/testing/simt/run_kernel.h"

namespace banyan::codec {
namespace {

using simt::DeviceArray;
using simt::Executor;
using testing::Fill;
using testing::HostPlanes;
using testing::kCasePlanes;
using testing::PlaneCase;

enum class Way { kEncode, kDecode };

// Of a block, of any architecture.
constexpr size_t kSharedBytesMax = size_t{163} << 10;

// Of all planes.
std::vector<float> TablesOf(const HostPlanes& host) {
  const uint64_t floats = NuqTableFloats(host.spec, host.shape);
  std::vector<float> tables(host.nuq_tables.size() * floats);
  for (size_t plane = 0; plane < host.nuq_tables.size(); ++plane) {
    FillNuqTable(host.spec, host.shape, host.nuq_tables[plane],
                 absl::MakeSpan(tables).subspan(plane * floats, floats));
  }
  return tables;
}

// Planes on the fake device.
class OnDevice {
 public:
  OnDevice(const std::vector<std::byte>& rows,
           const std::vector<std::byte>& encoded)
      : rows_(rows),
        encoded_(encoded),
        verdicts_(std::vector<uint32_t>(kCasePlanes, 0)) {}

  // Launches go where the route says.
  absl::Status Run(Way way, const PlaneCase& c, const HostPlanes& host) {
    std::optional<DeviceArray<float>> tables;
    if (!host.nuq_tables.empty()) tables.emplace(TablesOf(host));
    const DevicePlanes planes = {
        .rows = rows_.get(),
        .plane_stride_bytes = host.layout().plane_bytes(),
        .token_stride_bytes = host.layout().token_stride_bytes(),
        .head_stride_bytes = host.layout().head_stride_bytes(),
        .encoded = encoded_.get() + c.encoded_begin,
        .encoded_stride_bytes = host.encoded_bytes,
        .nuq_tables = tables.has_value() ? tables->get() : nullptr,
        .verdicts = verdicts_.get(),
        .planes = kCasePlanes,
        .tokens = c.tokens};
    const auto& table = way == Way::kEncode ? host.off : host.on;
    std::optional<DeviceArray<float>> cosines;
    std::optional<DeviceArray<float>> sines;
    DeviceRope rope;
    if (table.has_value()) {
      rope = {.cosines = cosines.emplace(table->cosines).get(),
              .sines = sines.emplace(table->sines).get(),
              .pairs = table->pairs,
              .order = table->order};
    }
    simt::KeepLaunchStatus(absl::OkStatus());
    const absl::Status status =
        way == Way::kEncode
            ? EncodePlanesOnDevice(host.spec, host.shape, planes, rope, {})
            : DecodePlanesOnDevice(host.spec, host.shape, planes, rope, {});
    const absl::Status& launch = simt::LastLaunchStatus();
    return launch.ok() ? status : launch;
  }

  std::vector<std::byte> Rows() const { return rows_.Values(); }
  std::vector<std::byte> Encoded() const { return encoded_.Values(); }
  absl::Status Verdict(uint32_t plane) const {
    return VerdictStatus(verdicts_.Values()[plane]);
  }

 private:
  DeviceArray<std::byte> rows_;
  DeviceArray<std::byte> encoded_;
  DeviceArray<uint32_t> verdicts_;
};

std::vector<std::byte> PartOf(const std::vector<std::byte>& bytes,
                              uint64_t begin, uint64_t size) {
  return {bytes.begin() + begin, bytes.begin() + begin + size};
}

void ExpectEncodesAsTheHost(const PlaneCase& c) {
  HostPlanes host(c);
  OnDevice device(host.rows, host.encoded);

  const absl::Status status = device.Run(Way::kEncode, c, host);

  if (c.is_only_decoded) {
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return;
  }
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(device.Rows(), host.rows);
  const std::vector<std::byte> found = device.Encoded();
  for (uint32_t plane = 0; plane < kCasePlanes; ++plane) {
    const absl::Status said = host.Encode(plane);
    EXPECT_EQ(device.Verdict(plane), said) << "plane " << plane;
    if (!said.ok()) continue;
    const uint64_t begin = host.EncodedAt(plane);
    EXPECT_EQ(PartOf(found, begin, host.encoded_bytes),
              PartOf(host.encoded, begin, host.encoded_bytes))
        << "plane " << plane;
  }
}

// How many planes both refused.
int ExpectDecodesAsTheHost(const PlaneCase& c, HostPlanes& host) {
  const std::vector<std::byte> blank(host.rows.size(), std::byte{0xAB});
  OnDevice device(blank, host.encoded);

  const absl::Status status = device.Run(Way::kDecode, c, host);

  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(device.Encoded(), host.encoded);
  const std::vector<std::byte> found = device.Rows();
  std::vector<std::byte> want = blank;
  int refused = 0;
  for (uint32_t plane = 0; plane < kCasePlanes; ++plane) {
    const absl::Status said = host.Decode(plane, want);
    EXPECT_EQ(device.Verdict(plane), said) << "plane " << plane;
    if (!said.ok()) ++refused;
    if (!said.ok()) continue;
    const uint64_t bytes = host.layout().plane_bytes();
    EXPECT_EQ(PartOf(found, plane * bytes, bytes),
              PartOf(want, plane * bytes, bytes))
        << "plane " << plane;
  }
  return refused;
}

// Planes that the host can encode.
bool IsEncoded(HostPlanes& host) {
  bool is_good = true;
  for (uint32_t plane = 0; plane < kCasePlanes; ++plane) {
    is_good &= host.Encode(plane).ok();
  }
  return is_good;
}

// Overwrites some bytes of the second plane by what decoders may refuse.
void Damage(std::mt19937_64& rng, HostPlanes& host) {
  constexpr uint8_t kBytes[] = {0x7F, 0xFF, 0x7C, 0xFC, 0x80, 0x00};
  const uint64_t begin = host.EncodedAt(1);
  // Scales stand in front; half of the damage hits them.
  const uint64_t reach = rng() % 2 ? host.encoded_bytes
                                   : std::min<uint64_t>(host.encoded_bytes, 8);
  const uint64_t at = begin + rng() % reach;
  const uint64_t end =
      std::min<uint64_t>(at + 1 + rng() % 4, begin + host.encoded_bytes);
  for (uint64_t i = at; i < end; ++i) {
    host.encoded[i] = std::byte{kBytes[rng() % std::size(kBytes)]};
  }
}

class DeviceCodecKernelTest : public ::testing::TestWithParam<PlaneCase> {
 protected:
  void SetUp() override { Executor::Get().SetSharedBytesMax(kSharedBytesMax); }
  void TearDown() override { Executor::Get().SetSchedule({}); }
};

TEST_P(DeviceCodecKernelTest, EncodesAsTheHostUnderAnySchedule) {
  for (const simt::Schedule& schedule : simt::UsualSchedules()) {
    Executor::Get().SetSchedule(schedule);
    ExpectEncodesAsTheHost(GetParam());
  }
}

TEST_P(DeviceCodecKernelTest, DecodesAsTheHostUnderAnySchedule) {
  HostPlanes host(GetParam());
  if (!IsEncoded(host)) return;
  for (const simt::Schedule& schedule : simt::UsualSchedules()) {
    Executor::Get().SetSchedule(schedule);
    EXPECT_EQ(ExpectDecodesAsTheHost(GetParam(), host), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Planes, DeviceCodecKernelTest,
                         ::testing::ValuesIn(testing::PlaneCases()),
                         [](const auto& c) { return c.param.name; });

// The first case of each codec and option.
std::vector<PlaneCase> PlainCases() {
  std::vector<PlaneCase> plain;
  for (const PlaneCase& c : testing::PlaneCases()) {
    const bool is_new = std::none_of(
        plain.begin(), plain.end(),
        [&](const PlaneCase& other) { return other.spec == c.spec; });
    if (is_new) plain.push_back(c);
  }
  return plain;
}

TEST(DeviceCodecDamageTest, RefusesWhatTheHostRefuses) {
  for (const PlaneCase& c : PlainCases()) {
    SCOPED_TRACE(c.name);
    HostPlanes host(c);
    ASSERT_TRUE(IsEncoded(host));
    const std::vector<std::byte> encoded = host.encoded;
    std::mt19937_64 rng(7);
    int refused = 0;
    for (int i = 0; i < 40; ++i) {
      host.encoded = encoded;
      Damage(rng, host);
      refused += ExpectDecodesAsTheHost(c, host);
    }
    // Its bytes are codes, all of them.
    if (c.spec == "nuq4:channel:dense") continue;
    EXPECT_GT(refused, 0);
    EXPECT_LT(refused, 40);
  }
}

TEST(DeviceCodecLaunchTest, SaysWhatTheLaunchSaid) {
  const PlaneCase c = testing::PlaneCases().front();
  const HostPlanes host(c);
  OnDevice device(host.rows, host.encoded);
  simt::SetLaunchRoute([](const auto&, const auto&) {
    return absl::InvalidArgumentError("no such launch");
  });

  const DevicePlanes planes = {.planes = 1, .tokens = c.tokens};
  for (const Way way : {Way::kEncode, Way::kDecode}) {
    const absl::Status status =
        way == Way::kEncode
            ? EncodePlanesOnDevice(host.spec, host.shape, planes, {}, {})
            : DecodePlanesOnDevice(host.spec, host.shape, planes, {}, {});

    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_EQ(ErrorReason(status), "CUDA");
  }
  simt::SetLaunchRoute(nullptr);
}

TEST(DeviceCodecLaunchTest, RefusesWhatHasNoKernel) {
  const PlaneShape shape = {.type = ElementType::kFp16, .heads = 2, .dim = 8};
  const DevicePlanes planes = {.planes = 1, .tokens = 4};
  const auto expect_refused = [](const PlaneSpec& spec, const PlaneShape& s,
                                 const DevicePlanes& p) {
    for (const absl::Status& status :
         {EncodePlanesOnDevice(spec, s, p, {}, {}),
          DecodePlanesOnDevice(spec, s, p, {}, {})}) {
      EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
      EXPECT_EQ(ErrorReason(status), "CODEC");
    }
  };
  const PlaneSpec fp8 = ParseBlockSpec("fp8")->keys;

  expect_refused(ParseBlockSpec("raw")->keys, shape, planes);
  expect_refused(fp8, {ElementType::kFp32, 2, 8}, planes);
  expect_refused(fp8, {ElementType::kFp16, 0, 8}, planes);
  expect_refused(fp8, {ElementType::kFp16, 1u << 16, 1u << 16}, planes);
  expect_refused(fp8, shape, {.planes = 0, .tokens = 4});
  expect_refused(fp8, shape, {.planes = 65536, .tokens = 4});
  expect_refused(ParseBlockSpec("rotlm4")->keys, {ElementType::kFp16, 2, 1025},
                 planes);
  expect_refused(ParseBlockSpec("k=rotlm4:pre,v=raw")->keys, shape, planes);
  const PlaneSpec nuq = ParseBlockSpec("nuq4")->keys;
  alignas(16) float tables[4];
  DevicePlanes with_tables = planes;
  with_tables.nuq_tables = tables;
  expect_refused(nuq, shape, planes);
  expect_refused(nuq, {ElementType::kFp16, 33, 128}, with_tables);
}

// ---- PTX ----

// The kernels that a launcher runs, by a part of their names: which of them is
// part of what is tested.
std::string IntKernelOf(Way way, const PlaneCase& c, const PlaneSpec& spec,
                        absl::string_view element) {
  const std::string constants =
      absl::StrCat("I", element, "Li", static_cast<int>(spec.bits), "E");
  const bool is_channel = spec.axis == Axis::kChannel;
  const int vector =
      way == Way::kEncode && c.encode_vector > 0 ? c.encode_vector : c.vector;
  if (!is_channel && vector == 1) {
    return absl::StrCat(way == Way::kEncode ? "Encode" : "Decode", "IntPieces",
                        constants, "E");
  }
  if (way == Way::kDecode) {
    return absl::StrCat("DecodeIntPlanes", constants, "Lb", is_channel ? 1 : 0,
                        "ELi", c.vector, "EE");
  }
  if (is_channel) {
    return absl::StrCat("EncodeIntChannels", constants, "Li",
                        vector > 1 ? 2 : 1, "EE");
  }
  return absl::StrCat("EncodeIntGroups", constants, "E");
}

std::vector<std::string> KernelsOf(Way way, const PlaneCase& c,
                                   const PlaneSpec& spec) {
  const absl::string_view element =
      c.type == ElementType::kFp16 ? "NS0_4Fp16E" : "NS0_4Bf16E";
  const absl::string_view verb = way == Way::kEncode ? "Encode" : "Decode";
  if (spec.id == CodecId::kInt) return {IntKernelOf(way, c, spec, element)};
  if (spec.id == CodecId::kRotLm) {
    std::vector<std::string> kernels = {
        absl::StrCat(verb, "RotLmPlanesI", element, "Li",
                     static_cast<int>(spec.bits), "EE")};
    if (way == Way::kEncode && spec.centre != Centre::kNone) {
      kernels.insert(kernels.begin(),
                     absl::StrCat("CentreRotLmPlanesI", element, "E"));
    }
    return kernels;
  }
  if (spec.id == CodecId::kNuq) {
    return {absl::StrCat(verb, "NuqPlanesI", element, "Li",
                         static_cast<int>(spec.bits), "EE")};
  }
  if (spec.id == CodecId::kKvarn) {
    const bool is_channel = spec.axis == Axis::kChannel;
    std::vector<std::string> kernels = {absl::StrCat(
        verb, "KvarnPlanesI", element, "Li", static_cast<int>(spec.bits), "E",
        way == Way::kDecode ? absl::StrCat("Lb", is_channel ? 1 : 0, "EE")
                            : "E")};
    if (way == Way::kEncode && c.heads > 1) {
      kernels.push_back("TurnKvarnHalves");
    }
    return kernels;
  }
  return {absl::StrCat(verb, "Fp8PlanesI", element, "Li", c.vector, "EE")};
}

std::string FileOf(const PlaneSpec& spec) {
  switch (spec.id) {
    case CodecId::kInt:
      return "int_planes";
    case CodecId::kRotLm:
      return "rotlm_planes";
    case CodecId::kNuq:
      return "nuq_planes";
    case CodecId::kKvarn:
      return "kvarn_planes";
    default:
      return "fp8_planes";
  }
}

// Launches go to PTX of one architecture, which the test says.
class DeviceCodecPtxTest : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    BANYAN_SKIP_WITHOUT_PTX();
    Executor::Get().SetSharedBytesMax(kSharedBytesMax);
  }
  void TearDown() override {
    simt::SetLaunchRoute(nullptr);
    Executor::Get().SetSchedule({});
  }

  const simt::ptx::Module& ModuleOf(const std::string& file) {
    auto& module = modules_[file];
    if (module == nullptr) {
      auto read = simt::ptx::Module::Read(simt::PtxPath(file, GetParam()));
      EXPECT_TRUE(read.ok()) << read.status();
      BANYAN_CHECK(read.ok());
      module = std::make_unique<simt::ptx::Module>(*std::move(read));
    }
    return *module;
  }

  // The next launches are of these kernels, in turn. `begins` is told of each.
  void RouteTo(
      Way way, const PlaneCase& c, const HostPlanes& host,
      const std::function<void(const std::string& name)>& begins = {}) {
    const std::vector<std::string> names = KernelsOf(way, c, host.spec);
    std::vector<const simt::ptx::Kernel*> kernels;
    for (const std::string& name : names) {
      const auto kernel = ModuleOf(FileOf(host.spec)).Find(name);
      ASSERT_TRUE(kernel.ok()) << kernel.status();
      kernels.push_back(*kernel);
    }
    simt::SetLaunchRoute([names, kernels, begins, next = size_t{0}](
                             const auto& shape, const auto& arguments) mutable {
      const size_t i = next++ % kernels.size();
      if (begins) begins(names[i]);
      return simt::ptx::RunPtxBytes(*kernels[i], shape, arguments);
    });
  }

  std::map<std::string, std::unique_ptr<simt::ptx::Module>> modules_;
};

TEST_P(DeviceCodecPtxTest, EncodesAndDecodesAsTheHost) {
  for (const PlaneCase& c : testing::PlaneCases()) {
    SCOPED_TRACE(c.name);
    HostPlanes host(c);
    RouteTo(Way::kEncode, c, host);
    ExpectEncodesAsTheHost(c);
    if (!IsEncoded(host)) continue;
    RouteTo(Way::kDecode, c, host);
    EXPECT_EQ(ExpectDecodesAsTheHost(c, host), 0);
  }
}

TEST_P(DeviceCodecPtxTest, DoesTheSameUnderAnySchedule) {
  for (const PlaneCase& c : PlainCases()) {
    SCOPED_TRACE(c.name);
    HostPlanes host(c);
    ASSERT_TRUE(IsEncoded(host));
    for (const simt::Schedule& schedule : simt::UsualSchedules()) {
      Executor::Get().SetSchedule(schedule);
      RouteTo(Way::kEncode, c, host);
      ExpectEncodesAsTheHost(c);
      RouteTo(Way::kDecode, c, host);
      EXPECT_EQ(ExpectDecodesAsTheHost(c, host), 0);
    }
  }
}

#if BANYAN_SIMT_CHECKED  // Only such a program counts sectors.
// Each kernel uses 95 % of the bytes that sectors bring. Also the other half of the
// rooflines that docs/cuda.md works out. Shape of Llama-3.1-8B.
TEST_P(DeviceCodecPtxTest, FetchesNextToNothingInVain) {
  for (PlaneCase c : PlainCases()) {
    // To balance tiles takes long here: once, halves lie between eight heads'.
    const bool is_kvarn = absl::StartsWith(c.spec, "kvarn");
    c.tokens = is_kvarn ? 16 : 32;
    c.heads = is_kvarn && c.spec != "kvarn4" ? 2 : 8;
    c.dim = 128;
    HostPlanes host(c);
    ASSERT_TRUE(IsEncoded(host));
    const double elements = 1.0 * kCasePlanes * c.tokens * c.heads * c.dim;
    for (const Way way : {Way::kEncode, Way::kDecode}) {
      SCOPED_TRACE(absl::StrCat(c.name, way == Way::kEncode ? " in" : " out"));
      OnDevice device(host.rows, host.encoded);
      std::map<std::string, simt::Traffic> traffics;
      RouteTo(way, c, host, [&](const std::string& name) {
        simt::Checker::Get().CountTraffic(&traffics[name]);
      });
      const uint64_t before = simt::ptx::ExecutedInstructions();
      const absl::Status status = device.Run(way, c, host);
      simt::Checker::Get().CountTraffic(nullptr);

      ASSERT_TRUE(status.ok()) << status;
      const double instructions =
          static_cast<double>(simt::ptx::ExecutedInstructions() - before);
      std::printf("%s %s sm_%d: %.1f PTX an element\n", c.spec.c_str(),
                  way == Way::kEncode ? "encode" : "decode", GetParam(),
                  instructions / elements);
      for (const auto& [name, traffic] : traffics) {
        EXPECT_GE(traffic.sector_use(), 0.95) << name;
        std::printf("  %.2f B read, %.2f written, sectors %.3f: %s\n",
                    traffic.read_sectors * 32 / elements,
                    traffic.written_sectors * 32 / elements,
                    traffic.sector_use(), name.c_str());
      }
    }
  }
}
#endif

INSTANTIATE_TEST_SUITE_P(Architectures, DeviceCodecPtxTest,
                         ::testing::ValuesIn(simt::PtxArchitectures(
                             {"fp8_planes", "int_planes", "rotlm_planes",
                              "nuq_planes", "kvarn_planes"})));

}  // namespace
}  // namespace banyan::codec
