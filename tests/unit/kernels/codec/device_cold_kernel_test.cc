// Goal: on a device, cold planes are encoded to the host's bytes, decoded to them,
// and refused where the host refuses them; sectors are used well.
// Method: as in device_codec_kernel_test.cc. Planes that are decoded were encoded by
// the host; they differ in length, and lie one behind the other. Damage hits sizes,
// heads, factors and the coder's bytes.
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "kernels/codec/codec_table.h"
#include "kernels/codec/device_codec.h"
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

enum class Fill {
  kOwn,     // All elements have nothing to do with each other.
  kShared,  // Mixtures of two processes, and some noise.
  kRare,    // One in thirty is the largest that there is.
  kZeros,
  kHalf,    // Of each head one channel, one half as large, and else zeros.
  kEquals,  // All channels are alike.
};

// What the second plane has that no encoder takes.
enum class Unfit { kNothing, kNan, kInfinity, kLarge, kRotated, kComponents };

struct ColdCase {
  std::string name;
  std::string spec = "cold3";  // Of a plane.
  uint32_t planes = 2;
  uint32_t tokens = 16;
  uint32_t heads = 2;
  uint32_t dim = 16;
  ElementType type = ElementType::kFp16;
  TokenOrder order = TokenOrder::kNhd;
  Fill fill = Fill::kOwn;
  RopePairs pairs = RopePairs::kHalves;
  uint32_t rotary_dim = 0;  // 0: no embedding.
  uint32_t begin = 0;       // Of the encoded bytes, behind a multiple of 256.
  Unfit unfit = Unfit::kNothing;
};

std::vector<ColdCase> Cases() {
  constexpr auto kBf16 = ElementType::kBf16;
  constexpr auto kHnd = TokenOrder::kHnd;
  return {
      // Two tiles of columns, two groups of tokens.
      {.name = "Shared",
       .tokens = 20,
       .heads = 3,
       .dim = 45,
       .fill = Fill::kShared},
      // The reader begins where one line of the ring ends.
      {.name = "Few",
       .spec = "cold4",
       .tokens = 3,
       .type = kBf16,
       .begin = 114},
      {.name = "OneElement", .tokens = 1, .heads = 1, .dim = 1, .begin = 2},
      {.name = "TwoUnits",
       .spec = "cold2",
       .tokens = 130,
       .heads = 1,
       .dim = 5,
       .begin = 1},
      {.name = "Hnd",
       .spec = "cold4",
       .tokens = 30,
       .type = kBf16,
       .order = kHnd,
       .fill = Fill::kShared,
       .begin = 3},
      {.name = "Rare",
       .spec = "cold4",
       .tokens = 10,
       .heads = 1,
       .dim = 30,
       .fill = Fill::kRare},
      {.name = "Zeros", .spec = "cold1", .tokens = 8, .fill = Fill::kZeros},
      {.name = "Pre", .spec = "cold3:pre", .tokens = 15, .rotary_dim = 16},
      {.name = "Neighbours",
       .spec = "cold3:pre",
       .tokens = 6,
       .dim = 21,
       .type = kBf16,
       .pairs = RopePairs::kNeighbours,
       .rotary_dim = 12},
      {.name = "PartOfHalves",
       .spec = "cold3:pre",
       .tokens = 5,
       .dim = 17,
       .rotary_dim = 10},
      {.name = "Weighted",
       .spec = "cold2:weighted:pre",
       .tokens = 18,
       .dim = 12,
       .fill = Fill::kShared,
       .rotary_dim = 8},
      // Two channels get all bits that they may have.
      {.name = "Half",
       .tokens = 12,
       .heads = 1,
       .dim = 30,
       .fill = Fill::kHalf},
      {.name = "Equals",
       .spec = "cold2",
       .tokens = 11,
       .fill = Fill::kEquals,
       .begin = 5},
      // More pairs than threads, more components than terms.
      {.name = "WeightedWide",
       .spec = "cold2:weighted",
       .planes = 1,
       .tokens = 2,
       .heads = 1,
       .dim = 131,
       .type = kBf16},
  };
}

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

ColdTables SomeTables(const ColdCase& c, uint32_t plane) {
  std::mt19937_64 rng(plane + 11);
  std::uniform_real_distribution<double> some(-0.4, 0.4);
  const auto fp16 = [](double x) {
    return static_cast<float>(testing::Fp16Value(testing::Fp16Bits(x)));
  };
  ColdTables tables = {.bits = static_cast<uint16_t>(150 + 40 * plane)};
  for (uint32_t i = 0; i < c.heads * c.dim; ++i) {
    tables.means.push_back(fp16(some(rng)));
  }
  for (uint32_t i = 0; i < c.heads * c.dim; ++i) {
    for (uint32_t j = 0; j < c.dim; ++j) {
      const double own = i % c.dim == j ? 1.5 : 0;
      const double scale =
          plane == 1 && c.unfit == Unfit::kComponents ? 0x1p-14 : 1;
      tables.basis.push_back(
          fp16(scale * (own + some(rng) / std::sqrt(c.dim))));
    }
  }
  return tables;
}

// Planes in host memory, encoded.
class HostPlanes {
 public:
  explicit HostPlanes(const ColdCase& c)
      : spec(ParseBlockSpec(absl::StrCat("k=", c.spec, ",v=raw"))->keys),
        shape({.type = c.type, .heads = c.heads, .dim = c.dim}),
        layout(
            testing::CodecLayout(c.order, c.tokens, c.heads, c.dim, c.planes)),
        c_(c) {
    FillRows();
    if (c.rotary_dim > 0) MakeRope();
    encoded.resize(c.begin);
    for (uint32_t plane = 0; plane < c.planes; ++plane) AddPlane(plane);
    end = encoded.size();
    // The most that a plane may have, of the last one too.
    encoded.resize(begins.back() + c.begin + bytes_max);
  }

  // As BlockCodec does it, unit by unit.
  absl::Status Decode(uint32_t plane, std::vector<std::byte>& out) {
    const PlaneCodec& codec = *codecs_[plane];
    auto bytes = absl::MakeConstSpan(encoded).subspan(c_.begin + begins[plane]);
    const auto prefix = bytes.first(codec.PrefixBytes(c_.tokens));
    bytes.remove_prefix(prefix.size());
    const uint32_t step = codec.unit_tokens();
    for (uint32_t token = 0; token < c_.tokens; token += step) {
      const uint32_t count = std::min(step, c_.tokens - token);
      const uint64_t size = codec.SizedUnitBytes(prefix, token, count);
      if (size > codec.UnitBytes(count)) return VerdictStatus(kBadCode);
      const absl::Status status = codec.Decode(
          prefix, bytes.first(size), token, on.has_value() ? &*on : nullptr,
          absl::MakeSpan(scratch_), Rows(plane, out));
      if (!status.ok()) return status;
      bytes.remove_prefix(size);
    }
    return absl::OkStatus();
  }

  // What the host made of a plane.
  absl::Span<const std::byte> Encoded(uint32_t plane) const {
    const uint64_t begin = c_.begin + begins[plane];
    const uint64_t behind =
        plane + 1 < c_.planes ? c_.begin + begins[plane + 1] : end;
    return absl::MakeConstSpan(encoded).subspan(begin, behind - begin);
  }

  // How many factors the first unit has.
  int Factors(uint32_t plane) const {
    const uint64_t at = c_.begin + begins[plane] + Prefix(plane) + 2;
    return std::to_integer<int>(encoded[at]);
  }
  uint64_t Prefix(uint32_t plane) const {
    return codecs_[plane]->PrefixBytes(c_.tokens);
  }

  std::vector<float> Tables() const {
    const uint64_t floats = ColdTableFloats(spec, shape);
    std::vector<float> all(floats * c_.planes);
    for (uint32_t plane = 0; plane < c_.planes; ++plane) {
      FillColdTable(spec, shape, c_.tokens,
                    spec.is_weighted ? &tables_[plane].cold : nullptr,
                    absl::MakeSpan(all).subspan(plane * floats, floats));
    }
    return all;
  }

  PlaneSpec spec;
  PlaneShape shape;
  KvLayout layout;
  std::vector<std::byte> rows;
  std::vector<std::byte> encoded;
  std::vector<uint64_t> begins;    // Of each plane.
  std::vector<uint32_t> verdicts;  // Likewise, by the host's encoder.
  uint64_t end = 0;                // Of the last one.
  uint64_t bytes_max = 0;          // Of a plane.
  std::optional<RopeTable> off;
  std::optional<RopeTable> on;

 private:
  static constexpr uint32_t kUnfitValue = 1;
  static constexpr uint32_t kBadCode = 2;

  PlaneTarget Rows(uint32_t plane, std::vector<std::byte>& bytes) const {
    return {bytes.data() + plane * layout.plane_bytes(),
            layout.token_stride_bytes(), layout.head_stride_bytes(), c_.tokens};
  }

  double Value(std::mt19937_64& rng, size_t row, size_t element) const {
    std::normal_distribution<double> normal;
    const double own = normal(rng);
    const auto t = static_cast<double>(row);
    const auto e = static_cast<double>(element);
    switch (c_.fill) {
      case Fill::kShared:
        return 3 * std::sin(0.3 * t) * std::cos(e) + std::cos(0.7 * t + e) +
               0.2 * own;
      case Fill::kRare:
        return rng() % 30 == 0 ? (own < 0 ? -65504 : 65504) : own;
      case Fill::kZeros:
        return own < 0 ? -0.0 : 0.0;
      case Fill::kHalf:
        return element > 1 ? 0 : std::round(9 * std::sin(t)) / (2 - e);
      case Fill::kEquals:
        return std::sin(t * t);
      default:
        return 4 * own;
    }
  }

  void FillRows() {
    std::mt19937_64 rng(c_.tokens * 1000003 + c_.dim * 101 + c_.heads);
    std::vector<double> values(layout.layer_bytes() / 2);
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t row = c_.order == TokenOrder::kNhd ? i / c_.dim / c_.heads
                                                      : i / c_.dim % c_.tokens;
      values[i] = Value(rng, row, i % c_.dim);
    }
    rows = testing::Elements(c_.type, values);
    const bool is_fp16 = c_.type == ElementType::kFp16;
    std::byte* const end = rows.data() + 2 * layout.plane_bytes();
    switch (c_.unfit) {
      case Unfit::kNan:
        return StoreLe16(is_fp16 ? 0x7E00 : 0x7FC0, end - 2);
      case Unfit::kInfinity:
        return StoreLe16(is_fp16 ? 0xFC00 : 0xFF80, end - 2);
      case Unfit::kLarge:  // 65536
        return StoreLe16(0x4780, end - 2);
      case Unfit::kRotated:
        for (std::byte* at = end - layout.plane_bytes(); at < end; at += 2) {
          StoreLe16(0x7BFF, at);
        }
        return;
      default:
        return;
    }
  }

  void MakeRope() {
    RopeSpec wanted = testing::SomeRope(c_.rotary_dim);
    wanted.pairs = c_.pairs;
    const auto rope = *Rope::Make(wanted, c_.tokens);
    off = rope->MakeTable();
    rope->Fill(100, Rope::Direction::kTakeOff, *off);
    on = rope->MakeTable();
    rope->Fill(100, Rope::Direction::kPutOn, *on);
  }

  void AddPlane(uint32_t plane) {
    if (spec.is_weighted) {
      tables_.push_back({.nuq = {}, .cold = SomeTables(c_, plane)});
    }
    codecs_.push_back(*MakePlaneCodec(
        spec, shape, spec.is_weighted ? &tables_.back() : nullptr));
    const PlaneCodec& codec = *codecs_.back();
    scratch_.resize(codec.ScratchFloats(c_.tokens));
    begins.push_back(encoded.size() - c_.begin);
    std::vector<std::byte> room(codec.EncodedBytes(c_.tokens));
    bytes_max = std::max<uint64_t>(bytes_max, room.size());
    const PlaneTarget target = Rows(plane, rows);
    const auto bytes =
        codec.EncodeSized({target.bytes, target.token_stride_bytes,
                           target.head_stride_bytes, target.tokens},
                          off.has_value() ? &*off : nullptr,
                          absl::MakeSpan(scratch_), absl::MakeSpan(room));
    verdicts.push_back(bytes.ok() ? 0 : kUnfitValue);
    EXPECT_EQ(bytes.status(), VerdictStatus(verdicts.back()));
    if (!bytes.ok()) return;
    encoded.insert(encoded.end(), room.begin(), room.begin() + *bytes);
  }

  ColdCase c_;
  std::vector<PlaneTables> tables_;  // Of each plane, if it is weighted.
  std::vector<std::unique_ptr<PlaneCodec>> codecs_;
  std::vector<float> scratch_;
};

// Tables of a rotary embedding on the device.
class DeviceTable {
 public:
  explicit DeviceTable(const std::optional<RopeTable>& table) {
    if (!table.has_value()) return;
    rope = {.cosines = cosines_.emplace(table->cosines).get(),
            .sines = sines_.emplace(table->sines).get(),
            .pairs = table->pairs,
            .order = table->order};
  }

  DeviceRope rope;

 private:
  std::optional<DeviceArray<float>> cosines_;
  std::optional<DeviceArray<float>> sines_;
};

// How many planes both refused.
int ExpectDecodesAsTheHost(const ColdCase& c, HostPlanes& host) {
  const std::vector<std::byte> blank(host.rows.size(), std::byte{0xAB});
  const DeviceArray<std::byte> rows(blank);
  const DeviceArray<std::byte> encoded(host.encoded);
  const DeviceArray<uint64_t> begins(host.begins);
  const DeviceArray<float> tables(host.Tables());
  const DeviceArray<float> scratch(
      ColdScratchFloats(host.spec, host.shape, c.planes, c.tokens));
  const DeviceArray<uint32_t> verdicts(std::vector<uint32_t>(c.planes, 0));
  const DeviceTable on(host.on);
  const DevicePlanes planes = {
      .rows = rows.get(),
      .plane_stride_bytes = host.layout.plane_bytes(),
      .token_stride_bytes = host.layout.token_stride_bytes(),
      .head_stride_bytes = host.layout.head_stride_bytes(),
      .encoded = encoded.get() + c.begin,
      .encoded_stride_bytes = host.bytes_max,
      .encoded_begins = c.planes > 1 ? begins.get() : nullptr,
      .cold_tables = tables.get(),
      .cold_scratch = scratch.get(),
      .verdicts = verdicts.get(),
      .planes = c.planes,
      .tokens = c.tokens};
  simt::KeepLaunchStatus(absl::OkStatus());

  const absl::Status status =
      DecodePlanesOnDevice(host.spec, host.shape, planes, on.rope, {});

  EXPECT_TRUE(simt::LastLaunchStatus().ok()) << simt::LastLaunchStatus();
  EXPECT_TRUE(status.ok()) << status;
  const std::vector<std::byte> found = rows.Values();
  std::vector<std::byte> want = blank;
  int refused = 0;
  for (uint32_t plane = 0; plane < c.planes; ++plane) {
    const absl::Status said = host.Decode(plane, want);
    EXPECT_EQ(VerdictStatus(verdicts.Values()[plane]), said)
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

void ExpectEncodesAsTheHost(const ColdCase& c, const HostPlanes& host) {
  const DeviceArray<std::byte> rows(host.rows);
  const DeviceArray<std::byte> encoded(std::vector<std::byte>(
      c.begin + c.planes * host.bytes_max, std::byte{0xAB}));
  const DeviceArray<float> tables(host.Tables());
  const DeviceArray<float> scratch(
      ColdEncodeScratchFloats(host.spec, host.shape, c.planes, c.tokens));
  const DeviceArray<uint64_t> sizes(c.planes);
  const DeviceArray<uint32_t> verdicts(std::vector<uint32_t>(c.planes, 0));
  const DeviceTable off(host.off);
  const DevicePlanes planes = {
      .rows = rows.get(),
      .plane_stride_bytes = host.layout.plane_bytes(),
      .token_stride_bytes = host.layout.token_stride_bytes(),
      .head_stride_bytes = host.layout.head_stride_bytes(),
      .encoded = encoded.get() + c.begin,
      .encoded_stride_bytes = host.bytes_max,
      .cold_tables = tables.get(),
      .cold_scratch = scratch.get(),
      .cold_bytes = sizes.get(),
      .verdicts = verdicts.get(),
      .planes = c.planes,
      .tokens = c.tokens};
  simt::KeepLaunchStatus(absl::OkStatus());

  const absl::Status status =
      EncodePlanesOnDevice(host.spec, host.shape, planes, off.rope, {});

  EXPECT_TRUE(simt::LastLaunchStatus().ok()) << simt::LastLaunchStatus();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(verdicts.Values(), host.verdicts);
  const std::vector<std::byte> found = encoded.Values();
  for (uint32_t plane = 0; plane < c.planes; ++plane) {
    if (host.verdicts[plane] != 0) continue;
    const absl::Span<const std::byte> bytes = host.Encoded(plane);
    ASSERT_EQ(sizes.Values()[plane], bytes.size()) << "plane " << plane;
    EXPECT_EQ(std::memcmp(found.data() + c.begin + plane * host.bytes_max,
                          bytes.data(), bytes.size()),
              0)
        << "plane " << plane;
  }
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

TEST_P(DeviceColdKernelTest, EncodesAsTheHostUnderAnySchedule) {
  const HostPlanes host(GetParam());
  for (const simt::Schedule& schedule : simt::UsualSchedules()) {
    Executor::Get().SetSchedule(schedule);
    ExpectEncodesAsTheHost(GetParam(), host);
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

// As many factors as there may be, in many tiles.
TEST(DeviceColdCasesTest, EncodesAWholeUnitAsTheHost) {
  const ColdCase c = {.name = "Whole",
                      .spec = "cold2",
                      .planes = 1,
                      .tokens = 128,
                      .heads = 1,
                      .dim = 130,
                      .fill = Fill::kShared};
  ExpectEncodesAsTheHost(c, HostPlanes(c));
}

TEST(DeviceColdVerdictTest, RefusesThePlaneThatTheHostRefuses) {
  for (const ColdCase& c : UnfitCases()) {
    SCOPED_TRACE(c.name);
    const HostPlanes host(c);
    EXPECT_EQ(host.verdicts, std::vector<uint32_t>({0, 1}));
    ExpectEncodesAsTheHost(c, host);
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
  float room = 0;
  const DevicePlanes planes = {
      .cold_tables = &room, .cold_scratch = &room, .planes = 1, .tokens = 4};
  DevicePlanes without = planes;
  without.cold_scratch = nullptr;
  DevicePlanes with = planes;
  uint64_t bytes = 0;
  with.cold_bytes = &bytes;
  const PlaneShape wide = {ElementType::kFp16, 513, 128};
  for (const absl::Status& status :
       {EncodePlanesOnDevice(spec, shape, planes, {}, {}),
        EncodePlanesOnDevice(spec, wide, with, {}, {}),
        DecodePlanesOnDevice(spec, shape, without, {}, {}),
        DecodePlanesOnDevice(spec, wide, planes, {}, {})}) {
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_EQ(ErrorReason(status), "CODEC");
  }
}

// ---- PTX ----

class DeviceColdPtxTest : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override { BANYAN_SKIP_WITHOUT_PTX(); }
  void TearDown() override { simt::SetLaunchRoute(nullptr); }

  // The next launches are of these kernels, in turn.
  void RouteTo(const std::string& file, const std::vector<std::string>& names) {
    auto read = simt::ptx::Module::Read(simt::PtxPath(file, GetParam()));
    ASSERT_TRUE(read.ok()) << read.status();
    module_ = *std::move(read);
    std::vector<const simt::ptx::Kernel*> kernels;
    for (const std::string& name : names) {
      const auto kernel = module_.Find(name);
      ASSERT_TRUE(kernel.ok()) << kernel.status();
      kernels.push_back(*kernel);
    }
    simt::SetLaunchRoute([this, kernels, next = size_t{0}](
                             const auto& shape, const auto& arguments) mutable {
      const size_t kernel = next++ % kernels.size();
      const uint64_t before = simt::ptx::ExecutedInstructions();
      if (counts_traffic_) simt::Checker::Get().CountTraffic(&traffic_[kernel]);
      const absl::Status status =
          simt::ptx::RunPtxBytes(*kernels[kernel], shape, arguments);
      if (counts_traffic_) simt::Checker::Get().CountTraffic(nullptr);
      executed_[kernel] = simt::ptx::ExecutedInstructions() - before;
      return status;
    });
  }
  static std::string Of(const char* kernel, ElementType type) {
    return absl::StrCat(
        kernel, type == ElementType::kFp16 ? "INS0_4Fp16E" : "INS0_4Bf16E");
  }
  void RouteToDecoder(ElementType type) {
    RouteTo("cold_planes", {Of("DecodeColdPlanes", type)});
  }
  void RouteToEncoder(ElementType type) {
    RouteTo("cold_encode", {Of("TransformColdUnits", type), "FindColdFactors",
                            "PlanColdUnits", "FitColdUnits", "PlaceColdUnits"});
  }

  // Of each kernel.
  bool counts_traffic_ = false;
  std::array<simt::Traffic, 5> traffic_;
  std::array<uint64_t, 5> executed_ = {};
  simt::ptx::Module module_;
};

TEST_P(DeviceColdPtxTest, DecodesAsTheHost) {
  for (const ColdCase& c : Cases()) {
    SCOPED_TRACE(c.name);
    HostPlanes host(c);
    RouteToDecoder(c.type);
    EXPECT_EQ(ExpectDecodesAsTheHost(c, host), 0);
  }
}

TEST_P(DeviceColdPtxTest, EncodesAsTheHost) {
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

TEST_P(DeviceColdPtxTest, RefusesWhatTheHostRefuses) {
  RouteToDecoder(kDamaged.type);
  ExpectRefusesAsTheHost(kDamaged, 60);
}

#if BANYAN_SIMT_CHECKED  // Only such a program counts sectors.
// All rows of numbers fill whole warps.
const ColdCase kHead = {.name = "Head",
                        .planes = 1,
                        .tokens = 17,
                        .heads = 1,
                        .dim = 128,
                        .fill = Fill::kShared};

TEST_P(DeviceColdPtxTest, FetchesNextToNothingInVain) {
  HostPlanes host(kHead);
  EXPECT_GT(host.Factors(0), 0);
  counts_traffic_ = true;
  const auto expect_uses_sectors = [&](const char* what, const auto& run) {
    traffic_ = {};
    run();
    for (size_t i = 0; i < traffic_.size() && traffic_[i].requests > 0; ++i) {
      const double elements = kHead.tokens * kHead.dim;
      std::printf(
          "cold3 %s %zu sm_%d: %.2f B read, %.2f written, %.1f PTX an element,"
          " sectors %.3f, wavefronts %.3f\n",
          what, i, GetParam(), traffic_[i].read_sectors * 32 / elements,
          traffic_[i].written_sectors * 32 / elements,
          static_cast<double>(executed_[i]) / elements,
          traffic_[i].sector_use(),
          static_cast<double>(traffic_[i].shared_wavefronts_ideal) /
              static_cast<double>(traffic_[i].shared_wavefronts));
      EXPECT_GE(traffic_[i].sector_use(), 0.95);
    }
  };
  RouteToDecoder(kHead.type);
  expect_uses_sectors(
      "decode", [&] { EXPECT_EQ(ExpectDecodesAsTheHost(kHead, host), 0); });
  RouteToEncoder(kHead.type);
  expect_uses_sectors("encode", [&] { ExpectEncodesAsTheHost(kHead, host); });
}
#endif

INSTANTIATE_TEST_SUITE_P(Architectures, DeviceColdPtxTest,
                         ::testing::ValuesIn(simt::kPtxArchitectures));

}  // namespace
}  // namespace banyan::codec
