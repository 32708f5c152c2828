// Goal: on a device, lossless planes are encoded to the host's bytes, decoded to
// the bytes that were encoded, and refused where the host refuses them; sectors
// are used well.
// Method: as in device_codec_kernel_test.cc. Planes that are decoded were encoded
// by the host; they differ in length, and lie one behind the other.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <map>

#include "kernels/codec/device_codec.h"
#include "kernels/codec/lossless_codec.h"
#include "tests/testing/codec_cases.h"
#include "tests/testing/simt/checker.h"
#include "tests/testing/simt/device_memory.h"
#include "tests/testing/simt/ptx_cases.h"
#include "tests/testing/simt/ptx_machine.h"
#include "tests/testing/simt/run_kernel.h"

namespace banyan::codec {
namespace {

using simt::DeviceArray;
using simt::Executor;

enum class Fill { kNormal, kRandom, kConstant, kFew };

struct LosslessCase {
  std::string name;
  uint32_t tokens = 16;
  uint32_t heads = 2;
  uint32_t dim = 128;
  ElementType type = ElementType::kBf16;
  TokenOrder order = TokenOrder::kNhd;
  Fill fill = Fill::kNormal;
  uint32_t begin = 0;  // Of the encoded bytes, behind a multiple of 256.
};

constexpr uint32_t kPlanes = 2;

std::vector<LosslessCase> Cases() {
  constexpr auto kFp16 = ElementType::kFp16;
  constexpr auto kHnd = TokenOrder::kHnd;
  return {
      {.name = "Bf16"},
      {.name = "Fp16", .tokens = 9, .type = kFp16},
      {.name = "Hnd", .tokens = 7, .heads = 4, .dim = 64, .order = kHnd},
      {.name = "OneElement", .tokens = 1, .heads = 1, .dim = 1},
      {.name = "OddDim", .tokens = 5, .heads = 3, .dim = 75, .begin = 1},
      {.name = "Latent", .tokens = 3, .heads = 1, .dim = 576},
      // Units of one token, more than a block has warps.
      {.name = "ManyUnits", .tokens = 10, .heads = 17, .dim = 1024, .begin = 2},
      {.name = "Random", .fill = Fill::kRandom},
      {.name = "Constant", .fill = Fill::kConstant},
      {.name = "Few", .fill = Fill::kFew},
  };
}

// Planes in host memory, encoded.
class HostPlanes {
 public:
  explicit HostPlanes(const LosslessCase& c)
      : c_(c),
        layout_(
            testing::CodecLayout(c.order, c.tokens, c.heads, c.dim, kPlanes)),
        codec_(shape()) {
    FillRows();
    scratch_.resize(codec_.ScratchFloats(c.tokens));
    encoded.resize(c.begin);
    for (uint32_t plane = 0; plane < kPlanes; ++plane) {
      begins.push_back(encoded.size() - c.begin);
      std::vector<std::byte> room(codec_.EncodedBytes(c.tokens));
      const PlaneTarget target = Rows(plane, rows);
      const auto bytes = codec_.EncodeSized(
          {target.bytes, target.token_stride_bytes, target.head_stride_bytes,
           target.tokens},
          nullptr, absl::MakeSpan(scratch_), absl::MakeSpan(room));
      BANYAN_CHECK(bytes.ok());
      encoded.insert(encoded.end(), room.begin(), room.begin() + *bytes);
    }
    plane_end = encoded.size();
    // The most that a plane may have, of what follows too.
    encoded.resize(encoded.size() + codec_.EncodedBytes(c.tokens));
  }

  // As BlockCodec does it, unit by unit.
  absl::Status Decode(uint32_t plane, std::vector<std::byte>& out) {
    auto bytes = absl::MakeConstSpan(encoded).subspan(c_.begin + begins[plane]);
    const auto prefix = bytes.first(codec_.PrefixBytes(c_.tokens));
    bytes.remove_prefix(prefix.size());
    const PlaneTarget target = Rows(plane, out);
    for (uint32_t token = 0; token < c_.tokens; token += codec_.unit_tokens()) {
      const uint32_t count = std::min(codec_.unit_tokens(), c_.tokens - token);
      const uint64_t size = codec_.SizedUnitBytes(prefix, token, count);
      if (size > codec_.UnitBytes(count)) return VerdictStatus(kBadCode);
      const absl::Status status =
          codec_.Decode(prefix, bytes.first(size), token, nullptr,
                        absl::MakeSpan(scratch_), target);
      if (!status.ok()) return status;
      bytes.remove_prefix(size);
    }
    return absl::OkStatus();
  }

  PlaneShape shape() const {
    return {.type = c_.type, .heads = c_.heads, .dim = c_.dim};
  }
  const KvLayout& layout() const { return layout_; }

  std::vector<std::byte> rows;
  std::vector<std::byte> encoded;
  std::vector<uint64_t> begins;
  uint64_t plane_end = 0;

 private:
  static constexpr uint32_t kBadCode = 2;

  PlaneTarget Rows(uint32_t plane, std::vector<std::byte>& bytes) const {
    return {bytes.data() + plane * layout_.plane_bytes(),
            layout_.token_stride_bytes(), layout_.head_stride_bytes(),
            c_.tokens};
  }

  void FillRows() {
    rows = testing::SomeLayer(layout_, c_.type, c_.tokens * 31 + c_.dim);
    std::mt19937_64 rng(5);
    for (size_t i = 0; i < rows.size(); ++i) {
      if (c_.fill == Fill::kRandom) rows[i] = static_cast<std::byte>(rng());
      if (c_.fill == Fill::kConstant) rows[i] = std::byte{0x3C};
      // Lengths from 1 to the limit: each byte half as often as the one before.
      if (c_.fill == Fill::kFew) {
        rows[i] = static_cast<std::byte>(std::countr_zero(rng() | 1u << 14));
      }
    }
  }

  LosslessCase c_;
  KvLayout layout_;
  LosslessCodec codec_;
  std::vector<float> scratch_;
};

// How many planes both refused.
int ExpectDecodesAsTheHost(const LosslessCase& c, HostPlanes& host) {
  const std::vector<std::byte> blank(host.rows.size(), std::byte{0xAB});
  const DeviceArray<std::byte> rows(blank);
  const DeviceArray<std::byte> encoded(host.encoded);
  const DeviceArray<uint64_t> begins(host.begins);
  const DeviceArray<uint32_t> verdicts(std::vector<uint32_t>(kPlanes, 0));
  const DevicePlanes planes = {
      .rows = rows.get(),
      .plane_stride_bytes = host.layout().plane_bytes(),
      .token_stride_bytes = host.layout().token_stride_bytes(),
      .head_stride_bytes = host.layout().head_stride_bytes(),
      .encoded = encoded.get() + c.begin,
      .encoded_begins = begins.get(),
      .verdicts = verdicts.get(),
      .planes = kPlanes,
      .tokens = c.tokens};
  simt::KeepLaunchStatus(absl::OkStatus());

  const absl::Status status = DecodePlanesOnDevice(
      ParseBlockSpec("lossless")->keys, host.shape(), planes, {}, {});

  EXPECT_TRUE(simt::LastLaunchStatus().ok()) << simt::LastLaunchStatus();
  EXPECT_TRUE(status.ok()) << status;
  const std::vector<std::byte> found = rows.Values();
  std::vector<std::byte> want = blank;
  int refused = 0;
  for (uint32_t plane = 0; plane < kPlanes; ++plane) {
    const absl::Status said = host.Decode(plane, want);
    EXPECT_EQ(VerdictStatus(verdicts.Values()[plane]), said)
        << "plane " << plane;
    if (!said.ok()) ++refused;
    if (!said.ok()) continue;
    const uint64_t bytes = host.layout().plane_bytes();
    EXPECT_EQ(std::memcmp(found.data() + plane * bytes,
                          want.data() + plane * bytes, bytes),
              0)
        << "plane " << plane;
  }
  return refused;
}

void ExpectEncodesAsTheHost(const LosslessCase& c) {
  const HostPlanes host(c);
  const uint64_t room = LosslessCodec(host.shape()).EncodedBytes(c.tokens);
  const DeviceArray<std::byte> rows(host.rows);
  const DeviceArray<std::byte> encoded(
      std::vector<std::byte>(c.begin + kPlanes * room, std::byte{0xAB}));
  const DeviceArray<uint32_t> counts(
      std::vector<uint32_t>(kPlanes * kLosslessCounts, 0));
  const DeviceArray<uint64_t> sizes(kPlanes);
  const DeviceArray<uint32_t> verdicts(std::vector<uint32_t>(kPlanes, 0));
  const DevicePlanes planes = {
      .rows = rows.get(),
      .plane_stride_bytes = host.layout().plane_bytes(),
      .token_stride_bytes = host.layout().token_stride_bytes(),
      .head_stride_bytes = host.layout().head_stride_bytes(),
      .encoded = encoded.get() + c.begin,
      .encoded_stride_bytes = room,
      .lossless_counts = counts.get(),
      .lossless_bytes = sizes.get(),
      .verdicts = verdicts.get(),
      .planes = kPlanes,
      .tokens = c.tokens};
  simt::KeepLaunchStatus(absl::OkStatus());

  const absl::Status status = EncodePlanesOnDevice(
      ParseBlockSpec("lossless")->keys, host.shape(), planes, {}, {});

  EXPECT_TRUE(simt::LastLaunchStatus().ok()) << simt::LastLaunchStatus();
  ASSERT_TRUE(status.ok()) << status;
  const std::vector<std::byte> found = encoded.Values();
  for (uint32_t plane = 0; plane < kPlanes; ++plane) {
    const uint64_t begin = c.begin + host.begins[plane];
    const uint64_t end =
        plane + 1 < kPlanes ? c.begin + host.begins[plane + 1] : host.plane_end;
    ASSERT_EQ(sizes.Values()[plane], end - begin) << "plane " << plane;
    EXPECT_EQ(std::memcmp(found.data() + c.begin + plane * room,
                          host.encoded.data() + begin, end - begin),
              0)
        << "plane " << plane;
    EXPECT_EQ(verdicts.Values()[plane], 0u);
  }
}

class DeviceLosslessKernelTest : public ::testing::TestWithParam<LosslessCase> {
 protected:
  void TearDown() override { Executor::Get().SetSchedule({}); }
};

TEST_P(DeviceLosslessKernelTest, DecodesAsTheHostUnderAnySchedule) {
  HostPlanes host(GetParam());
  for (const simt::Schedule& schedule : simt::UsualSchedules()) {
    Executor::Get().SetSchedule(schedule);
    EXPECT_EQ(ExpectDecodesAsTheHost(GetParam(), host), 0);
  }
}

TEST_P(DeviceLosslessKernelTest, EncodesAsTheHostUnderAnySchedule) {
  for (const simt::Schedule& schedule : simt::UsualSchedules()) {
    Executor::Get().SetSchedule(schedule);
    ExpectEncodesAsTheHost(GetParam());
  }
}

INSTANTIATE_TEST_SUITE_P(Planes, DeviceLosslessKernelTest,
                         ::testing::ValuesIn(Cases()),
                         [](const auto& c) { return c.param.name; });

// Damage of sizes, of lengths of codes, and of strings of bits.
TEST(DeviceLosslessDamageTest, RefusesWhatTheHostRefuses) {
  const LosslessCase c = {.name = "Damaged", .tokens = 3, .dim = 64};
  HostPlanes host(c);
  const std::vector<std::byte> encoded = host.encoded;
  const uint64_t prefix = LosslessCodec(host.shape()).PrefixBytes(c.tokens);
  std::mt19937_64 rng(7);
  int refused = 0;
  for (int i = 0; i < 80; ++i) {
    host.encoded = encoded;
    const uint64_t reaches[] = {16, prefix, host.plane_end - host.begins[1]};
    const uint64_t at = host.begins[1] + rng() % reaches[i % 3];
    const uint64_t end = std::min(host.plane_end, at + 1 + rng() % 3);
    for (uint64_t j = at; j < end; ++j) {
      host.encoded[j] ^= static_cast<std::byte>(1 << rng() % 8);
    }
    refused += ExpectDecodesAsTheHost(c, host);
  }
  EXPECT_GT(refused, 20);
  EXPECT_LT(refused, 80);
}

// ---- PTX ----

class DeviceLosslessPtxTest : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override { BANYAN_SKIP_WITHOUT_PTX(); }
  void TearDown() override {
    simt::SetLaunchRoute(nullptr);
    Executor::Get().SetSchedule({});
  }

  // The next launches are of these kernels, in turn. `begins` is told of each.
  using Begins = std::function<void(const std::string& name)>;
  void RouteTo(const std::string& file, const std::vector<std::string>& names,
               const Begins& begins) {
    auto read = simt::ptx::Module::Read(simt::PtxPath(file, GetParam()));
    ASSERT_TRUE(read.ok()) << read.status();
    module_ = *std::move(read);
    std::vector<const simt::ptx::Kernel*> kernels;
    for (const std::string& name : names) {
      const auto kernel = module_.Find(name);
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
  void RouteToDecoder(const Begins& begins = {}) {
    RouteTo("lossless_planes", {"DecodeLosslessPlanes"}, begins);
  }
  void RouteToEncoder(const Begins& begins = {}) {
    RouteTo("lossless_encode",
            {"CountLosslessBytes", "MakeLosslessLengths", "SizeLosslessUnits",
             "WriteLosslessUnits"},
            begins);
  }

  simt::ptx::Module module_;
};

TEST_P(DeviceLosslessPtxTest, EncodesAsTheHost) {
  RouteToEncoder();
  for (const LosslessCase& c : Cases()) {
    SCOPED_TRACE(c.name);
    ExpectEncodesAsTheHost(c);
  }
}

TEST_P(DeviceLosslessPtxTest, DecodesAsTheHost) {
  RouteToDecoder();
  for (const LosslessCase& c : Cases()) {
    SCOPED_TRACE(c.name);
    HostPlanes host(c);
    EXPECT_EQ(ExpectDecodesAsTheHost(c, host), 0);
  }
}

#if BANYAN_SIMT_CHECKED  // Only such a program counts sectors.
// Shape of Llama-3.1-8B: a unit is 32 tokens.
const LosslessCase kLlama = {.name = "Llama", .tokens = 64, .heads = 8};

// Each kernel uses 95 % of the bytes that sectors bring. Also the other half of the
// rooflines that docs/cuda.md works out.
class KernelTraffic {
 public:
  void Begins(const std::string& name) {
    simt::Checker::Get().CountTraffic(&traffics_[name]);
  }

  void ExpectGood(const char* what, int architecture) const {
    simt::Checker::Get().CountTraffic(nullptr);
    const double elements = kPlanes * 64.0 * 8 * 128;
    std::printf(
        "lossless %s sm_%d: %.1f PTX an element\n", what, architecture,
        static_cast<double>(simt::ptx::ExecutedInstructions() - before_) /
            elements);
    for (const auto& [name, traffic] : traffics_) {
      EXPECT_GE(traffic.sector_use(), 0.95) << name;
      std::printf("  %.2f B read, %.2f written, sectors %.3f: %s\n",
                  traffic.read_sectors * 32 / elements,
                  traffic.written_sectors * 32 / elements, traffic.sector_use(),
                  name.c_str());
    }
  }

 private:
  const uint64_t before_ = simt::ptx::ExecutedInstructions();
  std::map<std::string, simt::Traffic> traffics_;
};

TEST_P(DeviceLosslessPtxTest, FetchesNextToNothingInVain) {
  HostPlanes host(kLlama);
  KernelTraffic decode;
  RouteToDecoder([&](const std::string& name) { decode.Begins(name); });
  EXPECT_EQ(ExpectDecodesAsTheHost(kLlama, host), 0);
  decode.ExpectGood("decode", GetParam());

  KernelTraffic encode;
  RouteToEncoder([&](const std::string& name) { encode.Begins(name); });
  ExpectEncodesAsTheHost(kLlama);
  encode.ExpectGood("encode", GetParam());
}
#endif

INSTANTIATE_TEST_SUITE_P(Architectures, DeviceLosslessPtxTest,
                         ::testing::ValuesIn(simt::PtxArchitectures(
                             {"lossless_planes", "lossless_encode"})));

}  // namespace
}  // namespace banyan::codec
