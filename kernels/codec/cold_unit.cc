#include "kernels/codec/cold_unit.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <iterator>

#include "base/bytes.h"
#include "kernels/codec/bit_allocation.h"
#include "kernels/codec/coefficient_coder.h"
#include "kernels/codec/cold_matrix.h"
#include "kernels/codec/trellis.h"

namespace banyan::codec {
namespace {

constexpr uint32_t kRankEnd = 64;
constexpr uint32_t kRankTokensMin = 8;  // Fewer share too little.

// Steps are 2^(exponent / 32).
constexpr int kOctaveBits = 5;
constexpr int kOctave = 1 << kOctaveBits;
constexpr int kExponentMin = -26 * kOctave;
constexpr int kExponentMax = 24 * kOctave;  // Then all that is coded is zeros.
static_assert(std::size(kColdOctaveParts) == kOctave);

// About what the exponent must change by for each byte of an element more or
// less: two thirds of a bit an octave.
constexpr uint64_t kExponentsOfByte = 8 * kOctave * 3 / 2;

// Then a search for a step no longer trusts that.
constexpr int kGuesses = 8;

// Squared error, in squares of a step, that a bit is worth: about what errors
// grow by when a step that is larger saves one.
constexpr float kBitWorth = 0.08f;

constexpr size_t kHeadBytes = 5;
constexpr size_t kFactorBytes = 2;

struct Step {
  explicit Step(int exponent)
      : size(static_cast<float>(
            std::ldexp(kColdOctaveParts[exponent & (kOctave - 1)],
                       exponent >> kOctaveBits))),
        inverse(1 / size) {}

  // How many steps, the sign of x; to 0 if less than `round_up_from`.
  float Count(float x, float round_up_from) const {
    const float steps = std::floor(std::fabs(x) * inverse + 1 - round_up_from);
    return x < 0 ? -steps : steps;
  }

  float size;
  float inverse;
};

// The least exponent whose step is no less than x. Requires: x > 0.
int ExponentOf(double x) {
  int exponent = 0;
  const double mantissa = 2 * std::frexp(x, &exponent);
  int part = 0;
  while (part < kOctave && kColdOctaveParts[part] < mantissa) ++part;
  return std::clamp(kOctave * (exponent - 1) + part, kExponentMin,
                    kExponentMax);
}

// Within 0.01; far below all others for 0.
double Log2(double x) {
  if (!(x > 0)) return -1000;
  int exponent = 0;
  const double z = 2 * std::frexp(x, &exponent) - 1;
  return exponent - 1 + z * (1.34 - 0.34 * z);
}

// Twice the bits of a number of this variance, over that of a number that takes
// none. Both are logarithms.
double TwiceBits(double variance, double least) {
  return std::max(variance - least, 0.0);
}

// The highest 16 bits of a float, which is positive.
uint16_t UpperBits(float x) {
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16);
}
float OfUpperBits(uint16_t bits) {
  return std::bit_cast<float>(uint32_t{bits} << 16);
}

// The sizes of all that a quantizer made a 1, in steps. They are decoded to
// their mean.
class Ones {
 public:
  void Add(float size) {
    sum_ += size;
    ++count_;
  }

  // How much nearer to zero than the level they are, in 256ths of it.
  int8_t Shrink(float level) const {
    if (count_ == 0) return 0;
    const double mean = sum_ / static_cast<double>(count_) / level;
    return static_cast<int8_t>(
        std::clamp(std::floor((1 - mean) * 256 + 0.5), -128.0, 127.0));
  }

 private:
  double sum_ = 0;
  uint64_t count_ = 0;
};

using RestModel = CoefficientModel<kQuantizers>;

struct Models {
  CoefficientModel<> means;
  CoefficientModel<> rows;
  CoefficientModel<> columns;
  RestModel rest;
};

}  // namespace

float ColdStepOf(int exponent) { return Step(exponent).size; }

// Floats; the first `tokens` rows of matrices are used.
struct ColdUnits::Room {
  uint32_t tokens;
  uint32_t freqs;   // Without the mean.
  float* elements;  // [token, channel]; then what factors leave.
  float* coefficients;
  float* cosines;
  float* products;
  float* basis;  // [factor, frequency]
  float* room;
  float* columns;        // [factor, channel]
  float* norms;          // Of each factor; 0: there are no more.
  float* coded_columns;  // As columns; what they are decoded to.
  float* coded_rows;     // [factor, frequency]; what times a column is added.
  float* of_rows;        // One for each frequency, and for each channel.
  float* of_columns;
  float* row_levels;
  float* column_levels;
  float* numbers;  // Of a row of channels.
  float* sizes;
  float* costs;
  uint8_t* trace;
  float* order;
  uint8_t* bits;
};

struct ColdUnits::Plan {
  uint32_t rank = 0;
  int exponent = 0;
};

uint32_t ColdUnits::RankMax(uint32_t tokens) const {
  if (tokens < kRankTokensMin) return 0;
  const uint64_t even = uint64_t{tokens} * width_ / (tokens + width_);
  return static_cast<uint32_t>(
      std::min<uint64_t>({kRankEnd, tokens - 1, even}));
}

uint64_t ColdUnits::ScratchFloats() const {
  const uint64_t t = tokens_max_;
  const uint64_t w = width_ + 16;
  const uint64_t rank = RankMax(tokens_max_);
  return 2 * t * w + 2 * t * t + rank * (3 * t + 2 * w + 1) + 2 * t + 7 * w +
         kQuantizers * RestModel::kCostsOfSet;
}

ColdUnits::Room ColdUnits::RoomIn(absl::Span<float> scratch,
                                  uint32_t tokens) const {
  float* next = scratch.data();
  const auto take = [&](uint64_t count) {
    float* const taken = next;
    next += count;
    return taken;
  };
  const uint64_t t = tokens_max_;
  const uint64_t w = width_ + 16;
  const uint64_t rank = RankMax(tokens_max_);
  Room room{.tokens = tokens, .freqs = tokens - 1};
  room.elements = take(t * w);
  room.coefficients = take(t * w);
  room.cosines = take(t * t);
  room.products = take(t * t);
  room.basis = take(rank * t);
  room.room = take(rank * t);
  room.columns = take(rank * w);
  room.coded_columns = take(rank * w);
  room.coded_rows = take(rank * t);
  room.norms = take(rank);
  room.of_rows = take(t);
  room.row_levels = take(t);
  room.of_columns = take(w);
  room.column_levels = take(w);
  room.numbers = take(w);
  room.sizes = take(w);
  room.costs = take(kQuantizers * RestModel::kCostsOfSet);
  static_assert(kTrellisStates == sizeof(float));
  room.trace = reinterpret_cast<uint8_t*>(take(w));
  room.order = take(w);
  room.bits = reinterpret_cast<uint8_t*>(take(w));
  return room;
}

// Rows and columns whose products are most of the coefficients but the means.
void ColdUnits::FindFactors(const Room& room) const {
  const uint32_t most = RankMax(room.tokens);
  if (most == 0) return;
  const float* const matrix = room.coefficients + width_;
  FillProducts(matrix, room.freqs, width_, room.elements, room.products);
  const uint32_t rank =
      FindBasis(room.products, room.freqs, most, room.room, room.basis);
  std::fill_n(room.norms, most, 0.0f);
  SumRows({.factors = room.basis,
           .row_stride = room.freqs,
           .stride = 1,
           .count = room.freqs,
           .from = matrix,
           .width = width_,
           .to = room.columns},
          rank);
  for (uint32_t k = 0; k < rank; ++k) {
    const float* const column = room.columns + size_t{k} * width_;
    const float norm =
        OfUpperBits(UpperBits(std::sqrt(DotProduct(column, column, width_))));
    if (!(norm >= 0x1p-24f)) break;
    room.norms[k] = norm;
  }
}

// About how many bits all takes with each number of factors; the number with
// the least.
uint32_t ColdUnits::BestRank(const Room& room, float step) const {
  const uint32_t most = RankMax(room.tokens);
  const double least = 2 * Log2(step) - Log2(12);
  std::fill_n(room.of_rows, room.freqs, 0.0f);
  std::fill_n(room.of_columns, width_, 0.0f);
  for (uint32_t f = 0; f < room.freqs; ++f) {
    const float* const row = room.coefficients + size_t{f + 1} * width_;
    room.of_rows[f] = DotProduct(row, row, width_);
    for (uint32_t c = 0; c < width_; ++c) room.of_columns[c] += row[c] * row[c];
  }
  double factors = 0;
  double best = 0;
  uint32_t best_rank = 0;
  for (uint32_t rank = 0;; ++rank) {
    // Every one at first, then fewer.
    if (rank < 4 || rank % (rank < 16 ? 2 : 4) == 0) {
      double energy = 0;
      for (uint32_t f = 0; f < room.freqs; ++f) energy += room.of_rows[f];
      for (uint32_t c = 0; c < width_; ++c) {
        room.numbers[c] = static_cast<float>(Log2(room.of_columns[c]));
      }
      double bits = factors;
      for (uint32_t f = 0; f < room.freqs; ++f) {
        const auto row =
            static_cast<float>(Log2(room.of_rows[f]) - Log2(energy) - least);
        float sums[8] = {};
        AddPositive(room.numbers, row, width_, sums);
        for (const float sum : sums) bits += sum;
      }
      if (rank == 0 || bits < best) {
        best = bits;
        best_rank = rank;
      }
    }
    if (rank == most || !(room.norms[rank] > 0)) return best_rank;
    const float* const column = room.columns + size_t{rank} * width_;
    const float* const row = room.basis + size_t{rank} * room.freqs;
    const float squares = room.norms[rank] * room.norms[rank];
    for (uint32_t c = 0; c < width_; ++c) {
      room.of_columns[c] =
          std::max(room.of_columns[c] - column[c] * column[c], 0.0f);
    }
    for (uint32_t f = 0; f < room.freqs; ++f) {
      room.of_rows[f] =
          std::max(room.of_rows[f] - squares * row[f] * row[f], 0.0f);
    }
    factors += room.freqs * TwiceBits(Log2(squares / room.freqs), least) +
               width_ * TwiceBits(Log2(squares / width_), least) + 32;
  }
}

// About the step with which so many factors and what they leave fit.
int ColdUnits::StepFor(const Room& room, uint32_t rank, uint64_t bytes) const {
  std::fill_n(room.of_columns, width_, 0.0f);
  for (uint32_t f = 0; f < room.freqs; ++f) {
    const float* const row = room.coefficients + size_t{f + 1} * width_;
    for (uint32_t c = 0; c < width_; ++c) room.of_columns[c] += row[c] * row[c];
  }
  for (uint32_t k = 0; k < rank; ++k) {
    const float* const column = room.columns + size_t{k} * width_;
    for (uint32_t c = 0; c < width_; ++c) {
      room.of_columns[c] =
          std::max(room.of_columns[c] - column[c] * column[c], 0.0f);
    }
  }
  for (uint32_t c = 0; c < width_; ++c) {
    room.of_columns[c] /= static_cast<float>(room.tokens);
  }
  constexpr uint64_t kFactorBits = 4;
  const uint64_t factors =
      kFactorBits * rank * (room.tokens + uint64_t{width_});
  const uint64_t budget =
      8 * bytes > factors ? (8 * bytes - factors) / room.tokens : 0;
  const double distortion =
      AllocateBits({room.of_columns, width_}, budget, {room.bits, width_},
                   {room.order, width_});
  if (!(distortion > 0)) return kExponentMin;
  return ExponentOf(std::sqrt(12 * distortion / width_));
}

// What coded factors add to rows of frequencies, which start as `start` says.
void ColdUnits::AddFactors(const Room& room, uint32_t rank, const float* start,
                           float* to) const {
  SumRows({.factors = room.coded_rows,
           .row_stride = 1,
           .stride = room.freqs,
           .count = rank,
           .from = room.coded_columns,
           .width = width_,
           .to = to,
           .start = start},
          room.freqs);
}

// Returns the bytes, which may be more than fit; 0 if there is no such code.
uint64_t ColdUnits::TryEncode(const Room& room, const Plan& plan,
                              absl::Span<std::byte> to) const {
  const size_t head_bytes = kHeadBytes + kFactorBytes * plan.rank;
  const Step step(plan.exponent);
  Models models;
  RangeEncoder encoder(to.subspan(head_bytes));
  // False if some number is too large.
  const auto count = [&](const float* x, float round_up_from) {
    return CountSteps(x, width_, step.inverse, round_up_from, room.numbers) <
           kCoefficientEnd;
  };
  std::fill_n(room.row_levels, room.freqs, 0.0f);
  std::fill_n(room.column_levels, width_, 0.0f);
  for (uint32_t k = 0; k < plan.rank; ++k) {
    const float norm = room.norms[k];
    StoreLe16(UpperBits(norm), &to[kHeadBytes + kFactorBytes * k]);
    if (!count(room.columns + size_t{k} * width_, 0.5f)) return 0;
    float* const column = room.coded_columns + size_t{k} * width_;
    models.columns.StartRow();
    for (uint32_t c = 0; c < width_; ++c) {
      models.columns.Put(room.numbers[c], room.column_levels[c], encoder);
      column[c] = room.numbers[c] * step.size;
    }
    const float* const row = room.basis + size_t{k} * room.freqs;
    float* const coded_row = room.coded_rows + size_t{k} * room.freqs;
    models.rows.StartRow();
    for (uint32_t f = 0; f < room.freqs; ++f) {
      const float number = step.Count(row[f] * norm, 0.5f);
      if (!(std::fabs(number) < kCoefficientEnd)) return 0;
      models.rows.Put(number, room.row_levels[f], encoder);
      coded_row[f] = -(number * step.size / norm);
    }
  }
  AddFactors(room, plan.rank, room.coefficients + width_,
             room.elements + width_);
  std::fill_n(room.column_levels, width_, 0.0f);
  models.means.StartRow();
  if (!count(room.coefficients, 0.5f)) return 0;
  for (uint32_t c = 0; c < width_; ++c) {
    float level = 0;
    models.means.Put(room.numbers[c], level, encoder);
  }
  std::array<Ones, kQuantizers> ones;
  uint32_t state = 0;
  for (uint32_t f = 0; f < room.freqs; ++f) {
    const float* const row = room.elements + size_t{f + 1} * width_;
    const float size_max = ScaleSizes(row, width_, step.inverse, room.sizes);
    if (!(size_max < kCoefficientEnd - 1)) return 0;
    models.rest.FillCosts(kBitWorth, room.costs);
    ChooseMagnitudes({.sizes = room.sizes,
                      .size_max = size_max,
                      .column_levels = room.column_levels,
                      .width = width_,
                      .costs = room.costs,
                      .bit_worth = kBitWorth},
                     state, room.trace, room.numbers);
    models.rest.StartRow();
    for (uint32_t c = 0; c < width_; ++c) {
      const float magnitude = room.numbers[c];
      const uint32_t quantizer = QuantizerOf(state);
      models.rest.Put(row[c] < 0 ? -magnitude : magnitude,
                      room.column_levels[c], encoder, quantizer);
      if (magnitude == 1) ones[quantizer].Add(room.sizes[c]);
      state = NextState(state, static_cast<uint32_t>(magnitude));
    }
  }
  StoreLe16(static_cast<uint16_t>(plan.exponent), &to[0]);
  to[2] = static_cast<std::byte>(plan.rank);
  for (uint32_t q = 0; q < kQuantizers; ++q) {
    to[3 + q] = static_cast<std::byte>(ones[q].Shrink(LevelOf(q, 1)));
  }
  return head_bytes + encoder.Finish();
}

uint64_t ColdUnits::Encode(uint32_t tokens, absl::Span<float> scratch,
                           absl::Span<std::byte> to) const {
  const Room room = RoomIn(scratch, tokens);
  FillCosines(tokens, room.cosines);
  TransformRows(room.cosines, room.elements, tokens, width_, room.coefficients);
  FindFactors(room);
  Plan plan{.exponent = StepFor(room, 0, to.size())};
  for (int round = 0; round < 2; ++round) {
    plan.rank = BestRank(room, Step(plan.exponent).size);
    plan.exponent = StepFor(room, plan.rank, to.size());
  }
  const uint64_t written = FitStep(room, to, plan);
  return written > 0 ? written : TryEncode(room, plan, to);
}

// To about the least step that fits: by how much a try is too long, or too
// short, says where to try next. Returns what the last try wrote if it is that;
// else 0.
uint64_t ColdUnits::FitStep(const Room& room, absl::Span<std::byte> to,
                            Plan& plan) const {
  const auto exponents_of = [&](uint64_t bytes) {
    const uint64_t elements = uint64_t{room.tokens} * width_;
    return static_cast<int>(bytes * kExponentsOfByte / elements);
  };
  int below = kExponentMin - 1;
  int fitting = kExponentMax;
  uint64_t written = 0;
  for (int tries = 0; fitting - below > 1; ++tries) {
    int& exponent = plan.exponent;
    if (tries >= kGuesses) exponent = below + (fitting - below) / 2;
    exponent = std::clamp(exponent, below + 1, fitting - 1);
    const uint64_t bytes = TryEncode(room, plan, to);
    const bool fits = bytes > 0 && bytes <= to.size();
    (fits ? fitting : below) = exponent;
    written = fits ? bytes : 0;
    if (bytes == 0) {  // Numbers that are far too large.
      exponent += 4 * kOctave;
    } else if (fits) {
      const int by = exponents_of(to.size() - bytes);
      if (by == 0) break;
      exponent -= by;
    } else {
      exponent += 1 + exponents_of(bytes - to.size());
    }
  }
  plan.exponent = fitting;
  if (fitting == kExponentMax) plan.rank = 0;
  return written;
}

bool ColdUnits::Decode(absl::Span<const std::byte> from, uint32_t tokens,
                       absl::Span<float> scratch) const {
  const Room room = RoomIn(scratch, tokens);
  if (from.size() < kHeadBytes) return false;
  const auto exponent = static_cast<int16_t>(LoadLe16(&from[0]));
  const auto rank = std::to_integer<uint32_t>(from[2]);
  const size_t head_bytes = kHeadBytes + kFactorBytes * rank;
  if (exponent < kExponentMin || exponent > kExponentMax ||
      rank > RankMax(tokens) || from.size() < head_bytes) {
    return false;
  }
  const Step step(exponent);
  Models models;
  RangeDecoder decoder(from.subspan(head_bytes));
  float* const means = room.coefficients;
  std::fill_n(room.row_levels, room.freqs, 0.0f);
  std::fill_n(room.column_levels, width_, 0.0f);
  float number = 0;
  for (uint32_t k = 0; k < rank; ++k) {
    const float norm =
        OfUpperBits(LoadLe16(&from[kHeadBytes + kFactorBytes * k]));
    if (!(norm >= 0x1p-24f && norm <= 0x1p40f)) return false;
    float* const column = room.coded_columns + size_t{k} * width_;
    models.columns.StartRow();
    for (uint32_t c = 0; c < width_; ++c) {
      if (!models.columns.Take(room.column_levels[c], decoder, number)) {
        return false;
      }
      column[c] = number * step.size;
    }
    float* const coded_row = room.coded_rows + size_t{k} * room.freqs;
    models.rows.StartRow();
    for (uint32_t f = 0; f < room.freqs; ++f) {
      if (!models.rows.Take(room.row_levels[f], decoder, number)) return false;
      const float factor = number * step.size / norm;
      if (!(std::fabs(factor) <= 2)) return false;
      coded_row[f] = factor;
    }
  }
  AddFactors(room, rank, nullptr, room.coefficients + width_);
  std::fill_n(room.column_levels, width_, 0.0f);
  models.means.StartRow();
  for (uint32_t c = 0; c < width_; ++c) {
    float level = 0;
    if (!models.means.Take(level, decoder, number)) return false;
    means[c] = number * step.size;
  }
  std::array<float, kQuantizers> one;
  for (uint32_t q = 0; q < kQuantizers; ++q) {
    const auto shrink = static_cast<int8_t>(from[3 + q]);
    one[q] = (256 - static_cast<float>(shrink)) / 256 * LevelOf(q, 1);
  }
  uint32_t state = 0;
  for (uint32_t f = 0; f < room.freqs; ++f) {
    float* const row = room.coefficients + size_t{f + 1} * width_;
    models.rest.StartRow();
    for (uint32_t c = 0; c < width_; ++c) {
      const uint32_t quantizer = QuantizerOf(state);
      if (!models.rest.Take(room.column_levels[c], decoder, number,
                            quantizer)) {
        return false;
      }
      const float magnitude = std::fabs(number);
      const float level =
          magnitude == 1 ? one[quantizer] : LevelOf(quantizer, magnitude);
      row[c] += std::copysign(level, number) * step.size;
      state = NextState(state, static_cast<uint32_t>(magnitude));
    }
  }
  if (!decoder.is_at_end()) return false;
  FillCosines(tokens, room.cosines);
  RestoreRows(room.cosines, room.coefficients, tokens, width_, room.elements);
  return true;
}

}  // namespace banyan::codec
