#include "kernels/codec/kvarn_simd.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/bytes.h"
#include "base/units.h"
#include "kernels/codec/half.h"
#include "kernels/codec/rotation.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/codec/kvarn_simd.cc"
#include "hwy/foreach_target.h"
#include "kernels/codec/simd_elements.h"
#include "kernels/codec/simd_hadamard.h"
#include "kernels/codec/simd_ranges.h"
#include "kernels/codec/simd_rows.h"

HWY_BEFORE_NAMESPACE();
namespace banyan::codec::HWY_NAMESPACE {

constexpr int kBalanceSteps = 16;

// Of a channel: token t is in sum t mod 4.
constexpr uint32_t kTokenSums = 4;

// Of factors: e^-0.3 and e^10.
constexpr float kFactorMin = 0.7408182f;
constexpr float kFactorMax = 22026.465f;

// So much of a tile's size goes into its factors, so that they fit fp16.
constexpr float kSizeMax = 1024;

// What rotated elements must be within, so that their squares do not overflow.
// Larger ones are beyond fp16, times any row's length.
constexpr float kRotatedMax = 0x1p30f;

// Arrays of one value for each channel are [padded_dim], of one for each token
// [kKvarnTileTokens].
struct Tile {
  uint32_t tokens;
  uint32_t dim;
  uint32_t padded_dim;
  float* rows;  // [token, padded_dim]

  float* Row(uint32_t token) const { return rows + size_t{token} * padded_dim; }
};

// ---- Rotation ----

void ApplyTo(uint32_t padded_dim, const float* by, float* row) {
  const Floats d;
  for (uint32_t i = 0; i < padded_dim; i += hn::Lanes(d)) {
    hn::StoreU(hn::Mul(hn::LoadU(d, row + i), hn::LoadU(d, by + i)), d,
               row + i);
  }
}

void Transform(const KvarnShape& shape, float* row) {
  uint32_t at = 0;
  for (const uint32_t part : shape.parts) {
    Hadamard(row + at, part);
    at += part;
  }
}

// ---- Deviations ----

// Of the elements of each row, times by[channel].
void TokenDeviations(const Tile& tile, const float* by, float* deviations) {
  const Floats d;
  for (uint32_t token = 0; token < tile.tokens; ++token) {
    const float* const row = tile.Row(token);
    BlockSum sum;
    BlockSum squares;
    for (uint32_t at = 0; at < tile.padded_dim; at += 16) {
      for (size_t i = 0; i < BlockSum::kVectors; ++i) {
        const size_t element = at + i * hn::Lanes(d);
        const auto x =
            hn::Mul(hn::LoadU(d, row + element), hn::LoadU(d, by + element));
        sum.Add(i, x);
        squares.Add(i, hn::Mul(x, x));
      }
    }
    const auto count = static_cast<float>(tile.dim);
    const float mean = sum.Total() / count;
    const float variance = squares.Total() / count - mean * mean;
    deviations[token] = variance > 0 ? std::sqrt(variance) : 0;
  }
}

// Of the elements of each channel, times by[token]. Every fourth token has sums
// of its own, so that none waits for the one before.
void ChannelDeviations(const Tile& tile, const float* by, float* deviations) {
  const Floats d;
  const auto zero = hn::Zero(d);
  const auto count = hn::Set(d, static_cast<float>(tile.tokens));
  for (uint32_t at = 0; at < tile.padded_dim; at += hn::Lanes(d)) {
    hn::Vec<Floats> sums[kTokenSums] = {zero, zero, zero, zero};
    hn::Vec<Floats> squares[kTokenSums] = {zero, zero, zero, zero};
    const auto add = [&](uint32_t token, uint32_t i) BANYAN_INLINE_LAMBDA {
      const auto x =
          hn::Mul(hn::LoadU(d, tile.Row(token) + at), hn::Set(d, by[token]));
      sums[i] = hn::Add(sums[i], x);
      squares[i] = hn::Add(squares[i], hn::Mul(x, x));
    };
    uint32_t token = 0;
    for (; token + kTokenSums <= tile.tokens; token += kTokenSums) {
      for (uint32_t i = 0; i < kTokenSums; ++i) add(token + i, i);
    }
    for (uint32_t i = 0; token + i < tile.tokens; ++i) add(token + i, i);
    const auto joined = [&](const auto& x) BANYAN_INLINE_LAMBDA {
      return hn::Add(hn::Add(x[0], x[2]), hn::Add(x[1], x[3]));
    };
    const auto mean = hn::Div(joined(sums), count);
    const auto variance =
        hn::Sub(hn::Div(joined(squares), count), hn::Mul(mean, mean));
    const auto is_some = hn::Gt(variance, zero);  // False for NaN.
    hn::StoreU(hn::IfThenElseZero(is_some, hn::Sqrt(variance)), d,
               deviations + at);
  }
}

// ---- Balance ----

// One side of a tile, its tokens or its channels.
struct Side {
  bool is_channels;
  uint32_t count;
  float* deviations;  // Of elements over the factors of the other side.
  float* factors;
  float* inverses;  // What elements are multiplied with for these factors.
};

// A deviation is a factor as far as it is within bounds.
void TakeFactors(float inverse_size, const Side& side) {
  for (uint32_t i = 0; i < side.count; ++i) {
    const float x = side.deviations[i];
    const float factor = x > kFactorMin ? std::min(x, kFactorMax) : kFactorMin;
    side.factors[i] = factor;
    side.inverses[i] = inverse_size / factor;
  }
}

// The largest deviation of what is over both factors, over the smallest.
float Imbalance(const Side& side) {
  float most = 0;
  float least = INFINITY;
  for (uint32_t i = 0; i < side.count; ++i) {
    const float x = side.deviations[i] / side.factors[i];
    most = std::max(most, x);
    least = std::min(least, x);
  }
  return most / std::max(least, 1e-8f);
}

// Of this side, by the inverses of the other one.
void Deviate(const Tile& tile, const Side& side, const float* by) {
  side.is_channels ? ChannelDeviations(tile, by, side.deviations)
                   : TokenDeviations(tile, by, side.deviations);
}

// Of a tile: the root of the mean square of this side's deviations; 1 if there
// are none.
float SizeOf(const Side& side) {
  const auto whole = static_cast<uint32_t>(RoundUp(side.count, 16));
  std::fill(side.deviations + side.count, side.deviations + whole, 0.0f);
  BlockSum sum;
  for (uint32_t i = 0; i < whole; i += 16) sum.AddSquares(side.deviations + i);
  const float size = std::sqrt(sum.Total() / static_cast<float>(side.count));
  return size > 0 ? size : 1;
}

// Makes the deviations of rows and of channels alike, in turns, and leaves in
// `best` the factors of `across` with which they were most so, times the size
// of the tile as far as fp16 has room for it.
void BalanceTile(const Tile& tile, const Side& across, const Side& groups,
                 float* best) {
  std::fill_n(groups.inverses, groups.count, 1.0f);
  Deviate(tile, across, groups.inverses);
  const float size = SizeOf(across);
  const float inverse_size = 1 / size;
  for (const Side* const side : {&across, &groups}) {
    std::fill_n(side->factors, side->count, 1.0f);
    std::fill_n(side->inverses, side->count, inverse_size);
  }
  Deviate(tile, across, groups.inverses);
  Deviate(tile, groups, across.inverses);
  float least = Imbalance(across) + Imbalance(groups);
  std::copy_n(across.factors, across.count, best);
  for (int step = 0; step < kBalanceSteps; ++step) {
    TakeFactors(inverse_size, across);
    Deviate(tile, groups, across.inverses);
    TakeFactors(inverse_size, groups);
    Deviate(tile, across, groups.inverses);
    const float imbalance = Imbalance(across) + Imbalance(groups);
    if (!(imbalance <= least)) continue;
    least = imbalance;
    std::copy_n(across.factors, across.count, best);
  }
  const float room = std::min(size, kSizeMax);
  for (uint32_t i = 0; i < across.count; ++i) best[i] *= room;
}

// ---- Ranges ----

// Of each channel over all tokens, of elements times by[token].
void ChannelRanges(const Tile& tile, const float* by, float* low, float* high) {
  const Floats d;
  for (uint32_t at = 0; at < tile.padded_dim; at += hn::Lanes(d)) {
    auto min = hn::Set(d, INFINITY);
    auto max = hn::Set(d, -INFINITY);
    for (uint32_t token = 0; token < tile.tokens; ++token) {
      const auto x =
          hn::Mul(hn::LoadU(d, tile.Row(token) + at), hn::Set(d, by[token]));
      min = hn::Min(min, x);
      max = hn::Max(max, x);
    }
    hn::StoreU(min, d, low + at);
    hn::StoreU(max, d, high + at);
  }
}

// Of each token, of elements times by[channel].
void TokenRanges(const Tile& tile, const float* by, float* low, float* high) {
  const Floats d;
  const OneFloat one;
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(d));
  for (uint32_t token = 0; token < tile.tokens; ++token) {
    const float* const row = tile.Row(token);
    auto min = hn::Set(d, INFINITY);
    auto max = hn::Set(d, -INFINITY);
    uint32_t at = 0;
    for (; at + lanes <= tile.dim; at += lanes) {
      const auto x = hn::Mul(hn::LoadU(d, row + at), hn::LoadU(d, by + at));
      min = hn::Min(min, x);
      max = hn::Max(max, x);
    }
    low[token] = hn::GetLane(hn::MinOfLanes(d, min));
    high[token] = hn::GetLane(hn::MaxOfLanes(d, max));
    for (; at < tile.dim; ++at) {
      const float x = hn::GetLane(
          hn::Mul(hn::LoadU(one, row + at), hn::LoadU(one, by + at)));
      low[token] = std::min(low[token], x);
      high[token] = std::max(high[token], x);
    }
  }
}

// Ranges as fp16 scales and minimums, and as what codes are made with: these
// take the places of low and high. Handles whole vectors: arrays are padded.
bool CodeRanges(uint32_t levels, uint32_t groups, float* low, float* high,
                uint16_t* scale_bits, uint16_t* minimum_bits) {
  const Floats d;
  const hn::Rebind<uint16_t, Floats> du16;
  const auto zero = hn::Zero(d);
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(d));
  std::fill_n(low + groups, RoundUp(groups, 16) - groups, 0.0f);
  std::fill_n(high + groups, RoundUp(groups, 16) - groups, 0.0f);
  bool is_good = true;
  for (uint32_t i = 0; i < groups; i += lanes) {
    const auto min = hn::Add(hn::LoadU(d, low + i), zero);  // -0 becomes 0.
    const auto max = hn::Add(hn::LoadU(d, high + i), zero);
    const auto most = hn::Set(d, kRangeValueMax);
    is_good &=
        hn::AllTrue(d, hn::And(hn::Ge(min, hn::Neg(most)), hn::Le(max, most)));
    const auto range = RangeOf(d, min, max, static_cast<float>(levels));
    hn::StoreU(range.scale_bits, du16, scale_bits + i);
    hn::StoreU(range.minimum_bits, du16, minimum_bits + i);
    hn::StoreU(range.minimum, d, low + i);
    hn::StoreU(range.inverse, d, high + i);
  }
  return is_good;
}

// ---- Codes ----

// A value for each element of a row, or one for all.
struct OfChannels {
  const float* values;
  template <class D>
  HWY_INLINE hn::Vec<D> At(D d, uint32_t element) const {
    return hn::LoadU(d, values + element);
  }
};
struct OfToken {
  float value;
  template <class D>
  HWY_INLINE hn::Vec<D> At(D d, uint32_t /*element*/) const {
    return hn::Set(d, value);
  }
};

// Calls run(of groups, of across) with what makes values of a row's elements.
template <class Run>
HWY_INLINE void WithSides(bool has_channel_groups, uint32_t token,
                          const Run& run) {
  const auto of_channels = [](const float* x)
                               BANYAN_INLINE_LAMBDA { return OfChannels{x}; };
  const auto of_token = [token](const float* x)
                            BANYAN_INLINE_LAMBDA { return OfToken{x[token]}; };
  has_channel_groups ? run(of_channels, of_token) : run(of_token, of_channels);
}

template <class Group, class Factor>
void CodesOfRow(const float* row, uint32_t padded_dim, Group minimum,
                Group inverse, Factor by, uint8_t* codes) {
  const Floats d;
  const hn::RebindToUnsigned<Floats> du;
  const hn::Rebind<uint8_t, Floats> du8;
  // The sum with 2^23 has the rounded code in its lowest byte.
  const auto magic = hn::Set(d, 0x1p23f);
  for (uint32_t at = 0; at < padded_dim; at += hn::Lanes(d)) {
    const auto x = hn::Mul(hn::LoadU(d, row + at), by.At(d, at));
    const auto scaled =
        hn::Mul(hn::Sub(x, minimum.At(d, at)), inverse.At(d, at));
    const auto code = hn::BitCast(du, hn::Add(scaled, magic));
    hn::StoreU(hn::TruncateTo(du8, hn::And(code, hn::Set(du, 0xFF))), du8,
               codes + at);
  }
}

template <class Group, class Factor>
void ValuesOfCodes(const uint8_t* codes, uint32_t padded_dim, Group scale,
                   Group minimum, Factor factor, float* row) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::Rebind<uint8_t, Floats> du8;
  for (uint32_t at = 0; at < padded_dim; at += hn::Lanes(d)) {
    const auto code =
        hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(du8, codes + at)));
    const auto x = hn::Add(hn::Mul(code, scale.At(d, at)), minimum.At(d, at));
    hn::StoreU(hn::Mul(x, factor.At(d, at)), d, row + at);
  }
}

void PackCodes(uint32_t bits, const uint8_t* codes, uint32_t dim,
               std::byte* to) {
  switch (bits) {
    case 2:
      return PackRow<2>(codes, dim, to);
    case 3:
      return PackRow<3>(codes, dim, to);
    default:
      return PackRow<4>(codes, dim, to);
  }
}

void UnpackCodes(uint32_t bits, const std::byte* from, uint32_t dim,
                 uint8_t* codes) {
  switch (bits) {
    case 2:
      return UnpackRow<2>(from, dim, codes);
    case 3:
      return UnpackRow<3>(from, dim, codes);
    default:
      return UnpackRow<4>(from, dim, codes);
  }
}

// ---- Units ----

// Where the parts of a unit are. Of channels [head, dim], of tokens [token,
// head], halves; codes [token, head] rows.
struct Unit {
  uint64_t minimums;
  uint64_t factors;
  uint64_t codes;

  Unit(const KvarnShape& shape, uint32_t tokens)
      : minimums(uint64_t{2} * shape.plane.heads * shape.Groups(tokens)),
        factors(2 * minimums),
        codes(factors +
              uint64_t{2} * shape.plane.heads * shape.Factors(tokens)) {}

  uint64_t CodesOf(const KvarnShape& shape, uint32_t token,
                   uint32_t head) const {
    return codes +
           (uint64_t{token} * shape.plane.heads + head) * shape.RowBytes();
  }
};

// The half of one channel or token of a head.
uint64_t HalfAt(const KvarnShape& shape, bool is_of_channels, uint32_t head,
                uint32_t i) {
  return 2 * (is_of_channels ? uint64_t{head} * shape.plane.dim + i
                             : uint64_t{i} * shape.plane.heads + head);
}

// Scratch, cut up.
struct Scratch {
  Tile tile;
  Side channels;
  Side tokens;
  float* best;  // Of either side.
  float* low;   // Likewise, padded.
  float* high;
  uint16_t* scale_bits;
  uint16_t* minimum_bits;
  uint8_t* codes;  // Of a row.

  Scratch(const KvarnShape& shape, uint32_t token_count, float* memory) {
    const uint32_t padded = shape.padded_dim;
    const uint32_t side = std::max(padded, kKvarnTileTokens);
    const auto take = [&](size_t floats) {
      memory += floats;
      return memory - floats;
    };
    tile = {token_count, shape.plane.dim, padded,
            take(size_t{token_count} * padded)};
    channels = {true, shape.plane.dim, take(padded), take(padded),
                take(padded)};
    tokens = {false, token_count, take(kKvarnTileTokens),
              take(kKvarnTileTokens), take(kKvarnTileTokens)};
    best = take(side);
    low = take(side);
    high = take(side);
    scale_bits = reinterpret_cast<uint16_t*>(take(side / 2));
    minimum_bits = reinterpret_cast<uint16_t*>(take(side / 2));
    codes = reinterpret_cast<uint8_t*>(memory);
    // What is behind the channels of a row is zeros, and stays so.
    std::fill_n(channels.inverses, padded, 0.0f);
    std::fill_n(best, side, 0.0f);
  }

  const Side& Groups(const KvarnShape& shape) const {
    return shape.has_channel_groups() ? channels : tokens;
  }
  const Side& Across(const KvarnShape& shape) const {
    return shape.has_channel_groups() ? tokens : channels;
  }
};

void LoadTile(const KvarnShape& shape, const PlaneSource& plane, uint32_t head,
              const Tile& tile) {
  for (uint32_t token = 0; token < tile.tokens; ++token) {
    float* const row = tile.Row(token);
    const std::byte* const from = plane.Row(token, head);
    shape.plane.type == ElementType::kFp16
        ? LoadRow<ElementType::kFp16>(from, tile.dim, tile.padded_dim, row)
        : LoadRow<ElementType::kBf16>(from, tile.dim, tile.padded_dim, row);
    ApplyTo(tile.padded_dim, shape.signs.data(), row);
    Transform(shape, row);
    ApplyTo(tile.padded_dim, shape.turns.data(), row);
  }
}

// Rounds factors to fp16, writes them, and leaves what elements are multiplied
// with. False if one is beyond fp16.
bool WriteFactors(const KvarnShape& shape, const Side& across, uint32_t head,
                  float* factors, std::byte* to) {
  bool is_good = true;
  for (uint32_t i = 0; i < across.count; ++i) {
    const uint16_t bits = HalfBits(factors[i]);
    StoreLe16(bits, to + HalfAt(shape, across.is_channels, head, i));
    const float factor = HalfValue(bits);
    is_good &= std::isfinite(factor);
    factors[i] = factor > 0 ? 1 / factor : 0;
  }
  return is_good;
}

// Ranges of the groups, of elements times `by`, written and left as what codes
// are made with.
bool WriteRanges(const KvarnShape& shape, uint32_t head, const float* by,
                 const Scratch& scratch, std::byte* scales,
                 std::byte* minimums) {
  const Side& groups = scratch.Groups(shape);
  groups.is_channels
      ? ChannelRanges(scratch.tile, by, scratch.low, scratch.high)
      : TokenRanges(scratch.tile, by, scratch.low, scratch.high);
  if (!CodeRanges((1u << shape.bits) - 1, groups.count, scratch.low,
                  scratch.high, scratch.scale_bits, scratch.minimum_bits)) {
    return false;
  }
  for (uint32_t i = 0; i < groups.count; ++i) {
    const uint64_t half = HalfAt(shape, groups.is_channels, head, i);
    StoreLe16(scratch.scale_bits[i], scales + half);
    StoreLe16(scratch.minimum_bits[i], minimums + half);
  }
  return true;
}

bool EncodeHead(const KvarnShape& shape, const PlaneSource& plane,
                uint32_t head, const Scratch& scratch, std::byte* unit) {
  const Tile& tile = scratch.tile;
  const Side& across = scratch.Across(shape);
  const Unit at(shape, tile.tokens);
  float* const by = scratch.best;
  LoadTile(shape, plane, head, tile);
  if (!AreWithin(kRotatedMax, tile.rows, tile.tokens * tile.padded_dim)) {
    return false;
  }
  BalanceTile(tile, across, scratch.Groups(shape), by);
  if (!WriteFactors(shape, across, head, by, unit + at.factors) ||
      !WriteRanges(shape, head, by, scratch, unit, unit + at.minimums)) {
    return false;
  }
  for (uint32_t token = 0; token < tile.tokens; ++token) {
    WithSides(shape.has_channel_groups(), token,
              [&](auto of_group, auto of_across) BANYAN_INLINE_LAMBDA {
                CodesOfRow(tile.Row(token), tile.padded_dim,
                           of_group(scratch.low), of_group(scratch.high),
                           of_across(by), scratch.codes);
              });
    std::memset(scratch.codes + tile.dim, 0, kCodePadding);
    PackCodes(shape.bits, scratch.codes, tile.dim,
              unit + at.CodesOf(shape, token, head));
  }
  return true;
}

// The halves of one side of a head as floats. False if one is not finite.
bool LoadHalves(const KvarnShape& shape, const Side& side, uint32_t head,
                const std::byte* from, float* to) {
  if (side.is_channels) {
    LoadRow<ElementType::kFp16>(from + HalfAt(shape, true, head, 0),
                                shape.plane.dim, shape.padded_dim, to);
    return AreWithin(65504.0f, to, shape.padded_dim);
  }
  bool is_good = true;
  for (uint32_t i = 0; i < side.count; ++i) {
    to[i] = HalfValue(LoadLe16(from + HalfAt(shape, false, head, i)));
    is_good &= std::isfinite(to[i]);
  }
  return is_good;
}

bool DecodeHead(const KvarnShape& shape, const std::byte* unit, uint32_t head,
                const Scratch& scratch, const PlaneTarget& plane) {
  const Tile& tile = scratch.tile;
  const Side& groups = scratch.Groups(shape);
  const Side& across = scratch.Across(shape);
  const Unit at(shape, tile.tokens);
  float* const scales = scratch.low;
  float* const minimums = scratch.high;
  float* const factors = scratch.best;
  if (!LoadHalves(shape, groups, head, unit, scales) ||
      !LoadHalves(shape, groups, head, unit + at.minimums, minimums) ||
      !LoadHalves(shape, across, head, unit + at.factors, factors)) {
    return false;
  }
  for (uint32_t token = 0; token < tile.tokens; ++token) {
    float* const row = tile.rows;
    UnpackCodes(shape.bits, unit + at.CodesOf(shape, token, head), tile.dim,
                scratch.codes);
    std::memset(scratch.codes + tile.dim, 0, kCodePadding);
    WithSides(shape.has_channel_groups(), token,
              [&](auto of_group, auto of_across) BANYAN_INLINE_LAMBDA {
                ValuesOfCodes(scratch.codes, tile.padded_dim, of_group(scales),
                              of_group(minimums), of_across(factors), row);
              });
    Transform(shape, row);
    ApplyTo(tile.padded_dim, shape.turns.data(), row);
    ApplyTo(tile.padded_dim, shape.signs.data(), row);
    std::byte* const to = plane.Row(token, head);
    shape.plane.type == ElementType::kFp16
        ? StoreDecodedRow<ElementType::kFp16>(row, tile.dim, to)
        : StoreDecodedRow<ElementType::kBf16>(row, tile.dim, to);
  }
  return true;
}

bool EncodeKvarnUnitHere(const KvarnShape& shape, const PlaneSource& plane,
                         uint32_t tokens, float* memory, std::byte* unit) {
  const Scratch scratch(shape, tokens, memory);
  for (uint32_t head = 0; head < shape.plane.heads; ++head) {
    if (!EncodeHead(shape, plane, head, scratch, unit)) return false;
  }
  return true;
}

bool DecodeKvarnUnitHere(const KvarnShape& shape, const std::byte* unit,
                         uint32_t tokens, float* memory,
                         const PlaneTarget& plane) {
  const Scratch scratch(shape, tokens, memory);
  for (uint32_t head = 0; head < shape.plane.heads; ++head) {
    if (!DecodeHead(shape, unit, head, scratch, plane)) return false;
  }
  return true;
}

}  // namespace banyan::codec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace banyan::codec {

KvarnShape::KvarnShape(const PlaneSpec& spec, const PlaneShape& plane_shape)
    : plane(plane_shape),
      bits(spec.bits),
      axis(spec.axis),
      padded_dim(static_cast<uint32_t>(RoundUp(plane.dim, 16))),
      parts(HadamardParts(plane.dim)),
      signs(RotationSigns(plane.dim)) {
  signs.resize(padded_dim);
  for (const uint32_t part : parts) {
    turns.insert(turns.end(), part, 1 / std::sqrt(static_cast<float>(part)));
  }
  turns.resize(padded_dim);
}

uint64_t KvarnShape::ScratchFloats(uint32_t tokens) const {
  const uint64_t side = std::max(padded_dim, kKvarnTileTokens);
  return uint64_t{std::min(tokens, kKvarnTileTokens)} * padded_dim +
         3 * (uint64_t{padded_dim} + kKvarnTileTokens) + 4 * side +
         (padded_dim + 2 * kCodePadding) / 4;
}

HWY_EXPORT(EncodeKvarnUnitHere);
HWY_EXPORT(DecodeKvarnUnitHere);

bool EncodeKvarnUnit(const KvarnShape& shape, const PlaneSource& plane,
                     uint32_t tokens, float* scratch, std::byte* unit) {
  return HWY_DYNAMIC_DISPATCH(EncodeKvarnUnitHere)(shape, plane, tokens,
                                                   scratch, unit);
}

bool DecodeKvarnUnit(const KvarnShape& shape, const std::byte* unit,
                     uint32_t tokens, float* scratch,
                     const PlaneTarget& plane) {
  return HWY_DYNAMIC_DISPATCH(DecodeKvarnUnitHere)(shape, unit, tokens, scratch,
                                                   plane);
}

}  // namespace banyan::codec
#endif
