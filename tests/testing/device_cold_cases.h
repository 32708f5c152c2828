// What tests of kernels for cold planes share: cases, planes that the host encoded,
// the same planes on a device, and nvcc's kernels in their place.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "kernels/codec/codec_table.h"
#include "kernels/codec/device_codec.h"
#include "tests/testing/codec_cases.h"
#include "tests/testing/simt/checker.h"
#include "tests/testing/simt/device_memory.h"
#include "tests/testing/simt/ptx_cases.h"
#include "tests/testing/simt/ptx_machine.h"
#include "tests/testing/simt/run_kernel.h"

namespace banyan::codec {

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

inline std::vector<ColdCase> Cases() {
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

inline ColdTables SomeTables(const ColdCase& c, uint32_t plane) {
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
    // Of the last plane, which is the second one where some are unfit.
    std::byte* const behind = rows.data() + rows.size();
    switch (c_.unfit) {
      case Unfit::kNan:
        return StoreLe16(is_fp16 ? 0x7E00 : 0x7FC0, behind - 2);
      case Unfit::kInfinity:
        return StoreLe16(is_fp16 ? 0xFC00 : 0xFF80, behind - 2);
      case Unfit::kLarge:  // 65536
        return StoreLe16(0x4780, behind - 2);
      case Unfit::kRotated:
        for (std::byte* at = behind - layout.plane_bytes(); at < behind;
             at += 2) {
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
  std::optional<simt::DeviceArray<float>> cosines_;
  std::optional<simt::DeviceArray<float>> sines_;
};

// Planes on the device, `encoded` and `rows` being as given; or what the host found.
class DeviceColdPlanes {
 public:
  DeviceColdPlanes(const ColdCase& c, const HostPlanes& host,
                   const std::vector<std::byte>& rows,
                   const std::vector<std::byte>& encoded,
                   uint64_t scratch_floats)
      : rows_(rows),
        encoded_(encoded),
        tables_(host.Tables()),
        scratch_(scratch_floats),
        verdicts_(std::vector<uint32_t>(c.planes, 0)) {
    planes = {.rows = rows_.get(),
              .plane_stride_bytes = host.layout.plane_bytes(),
              .token_stride_bytes = host.layout.token_stride_bytes(),
              .head_stride_bytes = host.layout.head_stride_bytes(),
              .encoded = encoded_.get() + c.begin,
              .encoded_stride_bytes = host.bytes_max,
              .cold_tables = tables_.get(),
              .cold_scratch = scratch_.get(),
              .verdicts = verdicts_.get(),
              .planes = c.planes,
              .tokens = c.tokens};
    simt::KeepLaunchStatus(absl::OkStatus());
  }

  std::vector<std::byte> rows() const { return rows_.Values(); }
  std::vector<std::byte> encoded() const { return encoded_.Values(); }
  std::vector<uint32_t> verdicts() const { return verdicts_.Values(); }

  DevicePlanes planes;

 private:
  const simt::DeviceArray<std::byte> rows_;
  const simt::DeviceArray<std::byte> encoded_;
  const simt::DeviceArray<float> tables_;
  const simt::DeviceArray<float> scratch_;
  const simt::DeviceArray<uint32_t> verdicts_;
};

// nvcc's kernels in the place of ours.
class ColdPtxTest : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override { BANYAN_SKIP_WITHOUT_PTX(); }
  void TearDown() override { simt::SetLaunchRoute(nullptr); }

  // The next launches are of these kernels, in turn.
  void RouteTo(const std::string& file, const std::vector<std::string>& names) {
    auto read = simt::ptx::Module::Read(simt::PtxPath(file, GetParam()));
    ASSERT_TRUE(read.ok()) << read.status();
    module_ = *std::move(read);
    std::vector<const simt::ptx::Kernel*> kernels;
    kernels_ = names.size();
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

#if BANYAN_SIMT_CHECKED  // Only such a program counts sectors.
  // What `run` launches uses sectors well.
  void ExpectUsesSectors(const char* what, const ColdCase& c,
                         const std::function<void()>& run) {
    counts_traffic_ = true;
    run();
    for (size_t i = 0; i < kernels_; ++i) {
      ASSERT_GT(traffic_[i].requests, 0u) << "kernel " << i;
      const double elements = c.tokens * c.dim;
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
  }
#endif

 private:
  bool counts_traffic_ = false;
  size_t kernels_ = 0;
  // Of each kernel.
  std::array<simt::Traffic, 5> traffic_;
  std::array<uint64_t, 5> executed_ = {};
  simt::ptx::Module module_;
};

// All rows of numbers fill whole warps.
inline ColdCase ColdHead() {
  return {.name = "Head",
          .planes = 1,
          .tokens = 17,
          .heads = 1,
          .dim = 128,
          .fill = Fill::kShared};
}

}  // namespace banyan::codec
