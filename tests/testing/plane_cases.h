// Planes of every kind for tests of codecs on devices, and what the host's
// codecs make of them.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "base/check.h"
#include "kernels/codec/codec_table.h"
#include "kernels/codec/rope.h"
#include "tests/testing/codec_cases.h"

namespace banyan::testing {

// What a plane's elements are.
enum class Fill {
  kNormal,    // Gaussian, with outlying channels.
  kConstant,  // Rows of one value each.
  kZeros,     // Of both signs.
  kSmall,     // Down to subnormals.
  kLarge,     // Up to what codecs take.
  kHasNan,    // Normal, but for one element of the last plane.
  kHasInfinity,
};

struct PlaneCase {
  std::string name;
  std::string spec;  // Of a plane.
  uint32_t tokens = 16;
  uint32_t heads = 2;
  uint32_t dim = 128;
  codec::ElementType type = codec::ElementType::kFp16;
  TokenOrder order = TokenOrder::kNhd;
  Fill fill = Fill::kNormal;
  codec::RopePairs pairs = codec::RopePairs::kHalves;
  uint32_t rotary_dim = 0;     // 0: all of dim.
  uint32_t encoded_begin = 0;  // Where it lies after a multiple of 256.
  // Codes, or bytes of them, that a kernel moves as one as far as shape and
  // addresses allow.
  int vector = 8;
  int encode_vector = 0;  // The same for encoding int codes; 0: as `vector`.
  bool is_only_decoded = false;  // The device refuses to encode it.
};

inline constexpr uint32_t kCasePlanes = 2;
inline constexpr uint64_t kCasePosition = 100;

inline double FilledValue(Fill fill, std::mt19937_64& rng, size_t row,
                          size_t element) {
  std::normal_distribution<double> normal;
  const double x =
      normal(rng) * (1 + 0.3 * (element % 4)) + (element % 13 == 5 ? 8 : 0);
  switch (fill) {
    case Fill::kConstant:
      return 0.37 * static_cast<double>(row) - 1;
    case Fill::kZeros:
      return x < 0 ? -0.0 : 0.0;
    case Fill::kSmall:
      return x * 3e-7;
    case Fill::kLarge:
      return std::clamp(x, -3.0, 3.0) * 20000;
    default:
      return x;
  }
}

// Tables as a calibration has them: levels that are closest in the middle, and
// ranges that most of kNormal's elements are in. No two planes have the same.
inline codec::NuqTables SomeNuqTables(const codec::PlaneSpec& spec,
                                      const codec::PlaneShape& shape,
                                      uint32_t plane) {
  codec::NuqTables tables;
  const int count = 1 << spec.bits;
  for (int i = 0; i < count; ++i) {
    const double place = (2.0 * i + 1 - count) / count;
    tables.levels.push_back(static_cast<float>(
        place * (0.6 + 0.4 * std::fabs(place)) + 0.01 * plane));
  }
  tables.norm_scale = 1.0625f + 0.03f * static_cast<float>(plane);
  tables.norm_shift = -0.015f;
  if (spec.axis != codec::Axis::kChannel) return tables;
  for (uint64_t i = 0; i < shape.token_elements(); ++i) {
    const uint64_t element = i % shape.dim;
    const double middle = element % 13 == 5 ? 8 : 0;
    const double half = 2.5 * (1 + 0.3 * (element % 4)) + 0.1 * plane;
    const auto fp16 = [](double x) {
      return static_cast<float>(Fp16Value(Fp16Bits(x)));
    };
    tables.lower.push_back(fp16(middle - half));
    tables.upper.push_back(fp16(middle + half + 0.05 * (i % 7)));
  }
  return tables;
}

// Planes in host memory, and the host's codec for them.
class HostPlanes {
 public:
  explicit HostPlanes(const PlaneCase& c)
      : c_(c),
        layout_(CodecLayout(c.order, c.tokens, c.heads, c.dim, kCasePlanes)) {
    spec = codec::ParseBlockSpec(absl::StrCat("k=", c.spec, ",v=raw"))->keys;
    shape = {.type = c.type, .heads = c.heads, .dim = c.dim};
    for (uint32_t plane = 0; plane < kCasePlanes; ++plane) {
      codec::PlaneTables tables;
      if (spec.id == codec::CodecId::kNuq) {
        nuq_tables.push_back(SomeNuqTables(spec, shape, plane));
        tables.nuq = nuq_tables.back();
      }
      codecs_.push_back(*codec::MakePlaneCodec(
          spec, shape, spec.wants_calibration() ? &tables : nullptr));
    }
    FillRows();
    scratch_.resize(codecs_[0]->ScratchFloats(c.tokens));
    encoded_bytes = codecs_[0]->EncodedBytes(c.tokens);
    // Each plane's begins as odd as its size has it.
    encoded.resize(c.encoded_begin + kCasePlanes * encoded_bytes);
    if (spec.is_pre_rope) MakeRope();
  }

  codec::PlaneTarget Rows(uint32_t plane, std::vector<std::byte>& bytes) const {
    return {bytes.data() + plane * layout_.plane_bytes(),
            layout_.token_stride_bytes(), layout_.head_stride_bytes(),
            c_.tokens};
  }

  absl::Status Encode(uint32_t plane) {
    const codec::PlaneTarget target = Rows(plane, rows);
    return codecs_[plane]->Encode(
        {target.bytes, target.token_stride_bytes, target.head_stride_bytes,
         target.tokens},
        off.has_value() ? &*off : nullptr, absl::MakeSpan(scratch_),
        absl::MakeSpan(encoded).subspan(EncodedAt(plane), encoded_bytes));
  }

  absl::Status Decode(uint32_t plane, std::vector<std::byte>& out) {
    const auto bytes =
        absl::MakeConstSpan(encoded).subspan(EncodedAt(plane), encoded_bytes);
    const uint64_t prefix = codecs_[plane]->PrefixBytes(c_.tokens);
    return codecs_[plane]->Decode(bytes.first(prefix), bytes.subspan(prefix), 0,
                                  on.has_value() ? &*on : nullptr,
                                  absl::MakeSpan(scratch_), Rows(plane, out));
  }

  uint64_t EncodedAt(uint32_t plane) const {
    return c_.encoded_begin + plane * encoded_bytes;
  }
  const KvLayout& layout() const { return layout_; }

  codec::PlaneSpec spec;
  codec::PlaneShape shape;
  std::vector<codec::NuqTables> nuq_tables;  // Of each plane, if it is nuq.
  std::vector<std::byte> rows;
  std::vector<std::byte> encoded;
  uint64_t encoded_bytes = 0;
  std::optional<codec::RopeTable> off;
  std::optional<codec::RopeTable> on;

 private:
  void FillRows() {
    std::mt19937_64 rng(c_.tokens * 1000003 + c_.dim * 101 + c_.heads);
    std::vector<double> values(layout_.layer_bytes() / 2);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = FilledValue(c_.fill, rng, i / c_.dim, i % c_.dim);
    }
    rows = Elements(c_.type, values);
    std::byte* const odd = rows.data() + rows.size() - 2;
    const bool is_fp16 = c_.type == codec::ElementType::kFp16;
    if (c_.fill == Fill::kHasNan) StoreLe16(0xFFFF, odd);
    if (c_.fill == Fill::kHasInfinity)
      StoreLe16(is_fp16 ? 0xFC00 : 0xFF80, odd);
  }

  void MakeRope() {
    codec::RopeSpec wanted =
        SomeRope(c_.rotary_dim > 0 ? c_.rotary_dim : c_.dim / 2 * 2);
    wanted.pairs = c_.pairs;
    const auto rope = *codec::Rope::Make(wanted, c_.tokens);
    off = rope->MakeTable();
    rope->Fill(kCasePosition, codec::Rope::Direction::kTakeOff, *off);
    on = rope->MakeTable();
    rope->Fill(kCasePosition, codec::Rope::Direction::kPutOn, *on);
  }

  PlaneCase c_;
  KvLayout layout_;
  std::vector<std::unique_ptr<codec::PlaneCodec>> codecs_;  // Of each plane.
  std::vector<float> scratch_;
};

inline std::vector<PlaneCase> Fp8Cases() {
  constexpr auto kBf16 = codec::ElementType::kBf16;
  constexpr auto kHnd = TokenOrder::kHnd;
  return {
      {.name = "Fp8", .spec = "fp8"},
      {.name = "Fp8Bf16", .spec = "fp8", .tokens = 5, .type = kBf16},
      {.name = "Fp8Hnd", .spec = "fp8", .tokens = 7, .heads = 4, .order = kHnd},
      {.name = "Fp8OneToken", .spec = "fp8", .tokens = 1},
      {.name = "Fp8Latent", .spec = "fp8", .heads = 1, .dim = 576, .vector = 4},
      {.name = "Fp8OneElement",
       .spec = "fp8",
       .tokens = 1,
       .heads = 1,
       .dim = 1,
       .vector = 1},
      {.name = "Fp8OddDim",
       .spec = "fp8",
       .heads = 3,
       .dim = 33,
       .type = kBf16,
       .vector = 1},
      {.name = "Fp8OddPlace",
       .spec = "fp8",
       .dim = 64,
       .encoded_begin = 3,
       .vector = 1},
      {.name = "Fp8Constant", .spec = "fp8", .fill = Fill::kConstant},
      {.name = "Fp8Zeros", .spec = "fp8", .fill = Fill::kZeros},
      {.name = "Fp8Small", .spec = "fp8", .fill = Fill::kSmall},
      {.name = "Fp8SmallBf16",
       .spec = "fp8",
       .type = kBf16,
       .fill = Fill::kSmall},
      {.name = "Fp8Large", .spec = "fp8", .fill = Fill::kLarge},
      {.name = "Fp8Nan", .spec = "fp8", .fill = Fill::kHasNan},
      {.name = "Fp8NanBf16",
       .spec = "fp8",
       .type = kBf16,
       .fill = Fill::kHasNan},
      {.name = "Fp8Infinity", .spec = "fp8", .fill = Fill::kHasInfinity},
      {.name = "Fp8InfinityBf16",
       .spec = "fp8",
       .type = kBf16,
       .fill = Fill::kHasInfinity},
  };
}

// Adds the cases of one spec; their names are the spec's and what they are.
class CasesOf {
 public:
  CasesOf(std::string spec, std::vector<PlaneCase>& cases)
      : spec_(std::move(spec)), cases_(cases) {
    bool is_first = true;
    for (const char c : spec_) {
      if (c != ':') name_ += is_first ? absl::ascii_toupper(c) : c;
      is_first = c == ':';
    }
  }

  const std::string& name() const { return name_; }

  void Add(const std::string& what, PlaneCase c) {
    c.name = name_ + what;
    c.spec = spec_;
    cases_.push_back(std::move(c));
  }

  // Of this shape, with all kinds of elements but normal ones.
  void AddFills(PlaneCase shape) {
    const auto add = [&](const std::string& what, Fill fill) {
      shape.fill = fill;
      Add(what, shape);
    };
    add("Constant", Fill::kConstant);
    add("Zeros", Fill::kZeros);
    add("Small", Fill::kSmall);
    add("Large", Fill::kLarge);
    add("Nan", Fill::kHasNan);
    shape.type = codec::ElementType::kBf16;
    add("InfinityBf16", Fill::kHasInfinity);
  }

 private:
  std::string spec_;
  std::string name_;
  std::vector<PlaneCase>& cases_;
};

inline std::vector<PlaneCase> IntCases() {
  constexpr auto kBf16 = codec::ElementType::kBf16;
  constexpr auto kHnd = TokenOrder::kHnd;
  std::vector<PlaneCase> cases;
  for (const char* const spec : {"int8", "int4", "int2", "int8:channel",
                                 "int4:channel", "int2:channel"}) {
    CasesOf of(spec, cases);
    of.Add("", {.tokens = 32});
    of.Add("TwoUnits",
           {.tokens = 40, .heads = 4, .type = kBf16, .order = kHnd});
    of.Add("OneToken", {.tokens = 1, .heads = 4});
    of.Add("OneElement", {.tokens = 1, .heads = 1, .dim = 1, .vector = 1});
    of.Add("OddDim", {.tokens = 19, .heads = 3, .dim = 75, .vector = 1});
    of.Add("OddPlace", {.tokens = 17, .encoded_begin = 1, .vector = 1});
    of.Add("Latent",
           {.tokens = 33,
            .heads = 1,
            .dim = 80,
            .vector = of.name() == "Int8Channel" ? 8 : 1,
            .encode_vector = absl::StrContains(of.name(), "Channel") ? 2 : 1});
    of.AddFills({});
  }
  cases.push_back({.name = "Int4G32", .spec = "int4:g32"});
  cases.push_back({.name = "Int2G24", .spec = "int2:g24", .vector = 1});
  cases.push_back({.name = "Int4G104Long",
                   .spec = "int4:g104",
                   .tokens = 2,
                   .heads = 3,
                   .dim = 9005,
                   .vector = 1});
  cases.push_back({.name = "Int8G128", .spec = "int8:g128", .dim = 256});
  cases.push_back(
      {.name = "Int2ChannelG8", .spec = "int2:channel:g8", .tokens = 20});
  return cases;
}

inline std::vector<PlaneCase> RotLmCases() {
  constexpr auto kBf16 = codec::ElementType::kBf16;
  constexpr auto kHnd = TokenOrder::kHnd;
  std::vector<PlaneCase> cases;
  for (const char* const spec :
       {"rotlm4", "rotlm3", "rotlm2", "rotlm3:centre", "rotlm4:white",
        "rotlm4:white:pre", "rotlm3:white:pre", "rotlm2:white:pre"}) {
    CasesOf of(spec, cases);
    of.Add("", {.tokens = 10});
    of.Add("Bf16",
           {.tokens = 9, .heads = 10, .dim = 64, .type = kBf16, .order = kHnd});
    of.Add("OneToken", {.tokens = 1, .heads = 1});
    of.Add("OddDim", {.tokens = 3, .heads = 3, .dim = 75});
    of.Add("OddPlace", {.tokens = 5, .encoded_begin = 1});
    of.Add("Latent", {.tokens = 3, .heads = 1, .dim = 576});
    of.Add("Neighbours", {.tokens = 4,
                          .dim = 96,
                          .pairs = codec::RopePairs::kNeighbours,
                          .rotary_dim = 64});
    of.AddFills({.tokens = 4});
  }
  cases.push_back({.name = "Rotlm4Wide", .spec = "rotlm4", .dim = 1024});
  cases.push_back({.name = "Rotlm3OneElement",
                   .spec = "rotlm3",
                   .tokens = 1,
                   .heads = 1,
                   .dim = 1});
  return cases;
}

inline std::vector<PlaneCase> NuqCases() {
  constexpr auto kBf16 = codec::ElementType::kBf16;
  constexpr auto kHnd = TokenOrder::kHnd;
  std::vector<PlaneCase> cases;
  for (const char* const spec :
       {"nuq4", "nuq3", "nuq2", "nuq3:dense", "nuq4:qnorm", "nuq2:pre",
        "nuq4:channel", "nuq3:channel:pre", "nuq2:channel:qnorm",
        "nuq4:channel:dense"}) {
    CasesOf of(spec, cases);
    of.Add("", {.tokens = 10});
    of.Add("Bf16",
           {.tokens = 5, .heads = 10, .dim = 64, .type = kBf16, .order = kHnd});
    const bool has_rope = absl::StrContains(of.name(), "Pre");
    of.Add("Least", {.tokens = 1, .heads = 1, .dim = has_rope ? 2u : 1u});
    of.Add("FourElements", {.tokens = 9, .heads = 2, .dim = 2});
    of.Add("OddDim", {.tokens = 3, .heads = 3, .dim = 75});
    of.Add("OddPlace", {.tokens = 3, .encoded_begin = 1});
    of.Add("Latent", {.tokens = 5, .heads = 1, .dim = 576});
    of.Add("Wide", {.tokens = 2, .heads = 16, .dim = 256});
    of.Add("Neighbours", {.tokens = 3,
                          .heads = 12,
                          .dim = 96,
                          .pairs = codec::RopePairs::kNeighbours,
                          .rotary_dim = 64});
    of.AddFills({.tokens = 4});
  }
  return cases;
}

inline std::vector<PlaneCase> KvarnCases() {
  constexpr auto kBf16 = codec::ElementType::kBf16;
  constexpr auto kHnd = TokenOrder::kHnd;
  std::vector<PlaneCase> cases;
  for (const char* const spec : {"kvarn4", "kvarn3", "kvarn2", "kvarn4:channel",
                                 "kvarn3:channel", "kvarn2:channel"}) {
    CasesOf of(spec, cases);
    of.Add("", {.tokens = 10});
    of.Add("Bf16",
           {.tokens = 17, .heads = 3, .dim = 64, .type = kBf16, .order = kHnd});
    of.Add("OneToken", {.tokens = 1, .heads = 1});
    of.Add("OneElement", {.tokens = 1, .heads = 1, .dim = 1});
    of.Add("OddDim", {.tokens = 6, .heads = 2, .dim = 75});
    of.Add("OddPlace", {.tokens = 5, .heads = 1, .encoded_begin = 1});
    of.AddFills({.tokens = 4, .heads = 1, .dim = 32});
  }
  cases.push_back({.name = "Kvarn4ChannelTwoUnits",
                   .spec = "kvarn4:channel",
                   .tokens = 133,
                   .heads = 1,
                   .dim = 24});
  cases.push_back({.name = "Kvarn3TwoUnits",
                   .spec = "kvarn3",
                   .tokens = 130,
                   .heads = 2,
                   .dim = 12});
  // Halves of tokens are turned in runs of 64.
  cases.push_back({.name = "Kvarn2ManyHeads",
                   .spec = "kvarn2",
                   .tokens = 66,
                   .heads = 20,
                   .dim = 4});
  cases.push_back(
      {.name = "Kvarn4Whole", .spec = "kvarn4", .tokens = 128, .heads = 1});
  cases.push_back(
      {.name = "Kvarn2Wide", .spec = "kvarn2", .tokens = 3, .dim = 256});
  cases.push_back({.name = "Kvarn3ChannelLatent",
                   .spec = "kvarn3:channel",
                   .tokens = 18,
                   .heads = 1,
                   .dim = 576,
                   .is_only_decoded = true});
  return cases;
}

inline std::vector<PlaneCase> PlaneCases() {
  std::vector<PlaneCase> cases = Fp8Cases();
  for (PlaneCase& c : IntCases()) cases.push_back(std::move(c));
  for (PlaneCase& c : RotLmCases()) cases.push_back(std::move(c));
  for (PlaneCase& c : NuqCases()) cases.push_back(std::move(c));
  for (PlaneCase& c : KvarnCases()) cases.push_back(std::move(c));
  return cases;
}

}  // namespace banyan::testing
