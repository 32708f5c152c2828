#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "base/check.h"
#include "kernels/codec/cold_matrix.h"
#include "kernels/codec/rope.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/codec/cold_matrix_simd.cc"
#include "hwy/foreach_target.h"
#include "kernels/codec/simd_elements.h"

HWY_BEFORE_NAMESPACE();
namespace banyan::codec::HWY_NAMESPACE {

using One = hn::CappedTag<float, 1>;

// What is left of a vector that the others span: none of it.
constexpr float kIndependentMin = 0x1p-12f;
constexpr int kIterations = 6;

// ---- Sums of rows

template <class D>
HWY_INLINE auto AddProduct(D d, float factor, hn::Vec<D> x, hn::Vec<D> sum) {
  return hn::Add(sum, hn::Mul(hn::Set(d, factor), x));
}

// Four rows of the result, two vectors of channels: as many sums at a time as
// there are registers for.
template <class D>
HWY_INLINE void SumBlock(D d, const RowSums& s, uint32_t row, uint32_t column) {
  const size_t lanes = hn::Lanes(d);
  const float* factor = s.factors + row * s.row_stride;
  const float* from = s.from + column;
  auto a0 = hn::Zero(d), a1 = a0, b0 = a0, b1 = a0;
  auto c0 = a0, c1 = a0, e0 = a0, e1 = a0;
  if (s.start != nullptr) {
    const float* start = s.start + size_t{row} * s.width + column;
    a0 = hn::LoadU(d, start);
    a1 = hn::LoadU(d, start + lanes);
    b0 = hn::LoadU(d, start += s.width);
    b1 = hn::LoadU(d, start + lanes);
    c0 = hn::LoadU(d, start += s.width);
    c1 = hn::LoadU(d, start + lanes);
    e0 = hn::LoadU(d, start += s.width);
    e1 = hn::LoadU(d, start + lanes);
  }
  for (uint32_t i = 0; i < s.count; ++i) {
    const auto x0 = hn::LoadU(d, from);
    const auto x1 = hn::LoadU(d, from + lanes);
    a0 = AddProduct(d, factor[0], x0, a0);
    a1 = AddProduct(d, factor[0], x1, a1);
    b0 = AddProduct(d, factor[s.row_stride], x0, b0);
    b1 = AddProduct(d, factor[s.row_stride], x1, b1);
    c0 = AddProduct(d, factor[2 * s.row_stride], x0, c0);
    c1 = AddProduct(d, factor[2 * s.row_stride], x1, c1);
    e0 = AddProduct(d, factor[3 * s.row_stride], x0, e0);
    e1 = AddProduct(d, factor[3 * s.row_stride], x1, e1);
    factor += s.stride;
    from += s.width;
  }
  float* to = s.to + size_t{row} * s.width + column;
  hn::StoreU(a0, d, to);
  hn::StoreU(a1, d, to + lanes);
  hn::StoreU(b0, d, to += s.width);
  hn::StoreU(b1, d, to + lanes);
  hn::StoreU(c0, d, to += s.width);
  hn::StoreU(c1, d, to + lanes);
  hn::StoreU(e0, d, to += s.width);
  hn::StoreU(e1, d, to + lanes);
}

template <class D>
HWY_INLINE void SumVector(D d, const RowSums& s, uint32_t row,
                          uint32_t column) {
  const float* factor = s.factors + row * s.row_stride;
  const float* from = s.from + column;
  auto sum = s.start == nullptr
                 ? hn::Zero(d)
                 : hn::LoadU(d, s.start + size_t{row} * s.width + column);
  for (uint32_t i = 0; i < s.count; ++i) {
    sum = AddProduct(d, *factor, hn::LoadU(d, from), sum);
    factor += s.stride;
    from += s.width;
  }
  hn::StoreU(sum, d, s.to + size_t{row} * s.width + column);
}

void SumRowsHere(const RowSums& s, uint32_t rows) {
  const hn::CappedTag<float, 16> d;
  const auto lanes = static_cast<uint32_t>(hn::Lanes(d));
  const uint32_t in_pairs = s.width - s.width % (2 * lanes);
  const uint32_t in_vectors = s.width - s.width % lanes;
  const uint32_t in_fours = rows - rows % 4;
  for (uint32_t column = 0; column < in_pairs; column += 2 * lanes) {
    for (uint32_t row = 0; row < in_fours; row += 4) {
      SumBlock(d, s, row, column);
    }
  }
  for (uint32_t row = 0; row < rows; ++row) {
    const uint32_t done = row < in_fours ? in_pairs : 0;
    for (uint32_t c = done; c < in_vectors; c += lanes) SumVector(d, s, row, c);
    for (uint32_t c = in_vectors; c < s.width; ++c) SumVector(One(), s, row, c);
  }
}

// ---- Eight sums, of elements i mod 8.

// Adds all whole eights of `term(d, i)` to them.
template <class Term>
HWY_INLINE void AddEights(uint32_t count, const Term& term, float* sums) {
  const hn::CappedTag<float, 8> d;
  const auto lanes = static_cast<uint32_t>(hn::Lanes(d));
  for (uint32_t at = 0; at < 8; at += lanes) {
    auto sum = hn::LoadU(d, sums + at);
    for (uint32_t i = at; i + 8 <= count + at; i += 8) {
      sum = hn::Add(sum, term(d, i));
    }
    hn::StoreU(sum, d, sums + at);
  }
}

float DotHere(const float* a, const float* b, uint32_t count) {
  alignas(32) float sums[8] = {};
  AddEights(
      count,
      [&](auto d, uint32_t i) BANYAN_INLINE_LAMBDA {
        return hn::Mul(hn::LoadU(d, a + i), hn::LoadU(d, b + i));
      },
      sums);
  for (uint32_t i = count - count % 8; i < count; ++i) {
    sums[i % 8] += a[i] * b[i];
  }
  for (uint32_t width = 4; width > 0; width /= 2) {
    for (uint32_t j = 0; j < width; ++j) sums[j] += sums[j + width];
  }
  return sums[0];
}

void AddPositiveHere(const float* numbers, float more, uint32_t count,
                     float* sums) {
  AddEights(
      count,
      [&](auto d, uint32_t i) BANYAN_INLINE_LAMBDA {
        const auto x = hn::Add(hn::LoadU(d, numbers + i), hn::Set(d, more));
        return hn::Max(x, hn::Zero(d));
      },
      sums);
  for (uint32_t i = count - count % 8; i < count; ++i) {
    sums[i % 8] += std::max(numbers[i] + more, 0.0f);
  }
}

// ---- Orthonormal rows

template <class D>
HWY_INLINE void AddScaledVector(D d, float factor, const float* from,
                                float* to) {
  hn::StoreU(AddProduct(d, factor, hn::LoadU(d, from), hn::LoadU(d, to)), d,
             to);
}

HWY_INLINE void AddScaledHere(float factor, const float* from, uint32_t count,
                              float* to) {
  const hn::CappedTag<float, 16> d;
  const auto lanes = static_cast<uint32_t>(hn::Lanes(d));
  uint32_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    AddScaledVector(d, factor, from + i, to + i);
  }
  for (; i < count; ++i) AddScaledVector(One(), factor, from + i, to + i);
}

// Makes vector k of `basis` orthogonal to those before it, and of length 1.
// False if nothing is left of it.
bool MakeNormal(uint32_t k, uint32_t size, float* basis) {
  float* const vector = basis + size_t{k} * size;
  const float before = std::sqrt(DotHere(vector, vector, size));
  for (uint32_t j = 0; j < k; ++j) {
    const float* const other = basis + size_t{j} * size;
    AddScaledHere(-DotHere(vector, other, size), other, size, vector);
  }
  const float length = std::sqrt(DotHere(vector, vector, size));
  if (!(length > before * kIndependentMin)) return false;
  const float inverse = 1 / length;
  for (uint32_t i = 0; i < size; ++i) vector[i] *= inverse;
  return true;
}

// Vectors, made orthonormal in their order; those that add nothing left out.
uint32_t MakeOrthonormal(uint32_t count, uint32_t size, float* basis) {
  uint32_t kept = 0;
  for (uint32_t k = 0; k < count; ++k) {
    std::copy_n(basis + size_t{k} * size, size, basis + size_t{kept} * size);
    kept += MakeNormal(kept, size, basis);
  }
  return kept;
}

// Whether more than `rank` directions matter: the square of the sum of all
// eigenvalues over the sum of their squares says how many there are.
bool IsSpread(const float* products, uint32_t size, uint32_t rank) {
  double trace = 0;
  double squares = 0;
  for (uint32_t i = 0; i < size; ++i) {
    trace += products[size_t{i} * size + i];
    for (uint32_t j = 0; j < size; ++j) {
      const double x = products[size_t{i} * size + j];
      squares += x * x;
    }
  }
  return !(trace * trace <= rank * squares);
}

uint32_t FindBasisHere(const float* products, uint32_t size, uint32_t rank,
                       float* room, float* basis) {
  rank = std::min(rank, size);
  if (rank == 0 || IsSpread(products, size, rank)) return 0;
  std::copy_n(products, size_t{rank} * size, basis);
  uint32_t count = MakeOrthonormal(rank, size, basis);
  for (int iteration = 1; iteration < kIterations; ++iteration) {
    std::copy_n(basis, size_t{count} * size, room);
    SumRowsHere({.factors = room,
                 .row_stride = size,
                 .stride = 1,
                 .count = size,
                 .from = products,
                 .width = size,
                 .to = basis},
                count);
    count = MakeOrthonormal(count, size, basis);
  }
  return count;
}

// ---- Steps

template <class D>
HWY_INLINE auto CountVector(D d, const float* x, float inverse,
                            float round_up_from, hn::Vec<D> most, float* to) {
  const auto element = hn::LoadU(d, x);
  const auto scaled = hn::Mul(hn::Abs(element), hn::Set(d, inverse));
  const auto steps = hn::Floor(
      hn::Sub(hn::Add(scaled, hn::Set(d, 1)), hn::Set(d, round_up_from)));
  hn::StoreU(hn::CopySign(steps, element), d, to);
  return hn::Max(most, steps);
}

float CountStepsHere(const float* x, uint32_t count, float inverse,
                     float round_up_from, float* numbers) {
  const hn::CappedTag<float, 16> d;
  const auto lanes = static_cast<uint32_t>(hn::Lanes(d));
  auto most = hn::Zero(d);
  auto most_of_rest = hn::Zero(One());
  uint32_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    most = CountVector(d, x + i, inverse, round_up_from, most, numbers + i);
  }
  for (; i < count; ++i) {
    most_of_rest = CountVector(One(), x + i, inverse, round_up_from,
                               most_of_rest, numbers + i);
  }
  return std::max(hn::GetLane(hn::MaxOfLanes(d, most)),
                  hn::GetLane(most_of_rest));
}

template <class D>
HWY_INLINE auto ScaleVector(D d, const float* x, float factor, hn::Vec<D> most,
                            float* to) {
  const auto size = hn::Mul(hn::Abs(hn::LoadU(d, x)), hn::Set(d, factor));
  hn::StoreU(size, d, to);
  return hn::Max(most, size);
}

float ScaleSizesHere(const float* x, uint32_t count, float factor,
                     float* sizes) {
  const hn::CappedTag<float, 16> d;
  const auto lanes = static_cast<uint32_t>(hn::Lanes(d));
  auto most = hn::Zero(d);
  auto most_of_rest = hn::Zero(One());
  uint32_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    most = ScaleVector(d, x + i, factor, most, sizes + i);
  }
  for (; i < count; ++i) {
    most_of_rest = ScaleVector(One(), x + i, factor, most_of_rest, sizes + i);
  }
  return std::max(hn::GetLane(hn::MaxOfLanes(d, most)),
                  hn::GetLane(most_of_rest));
}

}  // namespace banyan::codec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace banyan::codec {
namespace {

HWY_EXPORT(SumRowsHere);
HWY_EXPORT(DotHere);
HWY_EXPORT(AddPositiveHere);
HWY_EXPORT(FindBasisHere);
HWY_EXPORT(CountStepsHere);
HWY_EXPORT(ScaleSizesHere);

// Cosine of pi * steps / (2 * tokens); exact where it is 0.
double CosineOf(uint32_t steps, uint32_t tokens) {
  if (steps == tokens || steps == 3 * tokens) return 0;
  return SineCosineOf(steps * std::numbers::pi / (2.0 * tokens)).cosine;
}

}  // namespace

float DotProduct(const float* a, const float* b, uint32_t count) {
  return HWY_DYNAMIC_DISPATCH(DotHere)(a, b, count);
}

void AddPositive(const float* numbers, float more, uint32_t count,
                 float* sums) {
  HWY_DYNAMIC_DISPATCH(AddPositiveHere)(numbers, more, count, sums);
}

float CountSteps(const float* x, uint32_t count, float inverse,
                 float round_up_from, float* numbers) {
  return HWY_DYNAMIC_DISPATCH(CountStepsHere)(x, count, inverse, round_up_from,
                                              numbers);
}

float ScaleSizes(const float* x, uint32_t count, float factor, float* sizes) {
  return HWY_DYNAMIC_DISPATCH(ScaleSizesHere)(x, count, factor, sizes);
}

void FillCosines(uint32_t tokens, float* cosines) {
  BANYAN_CHECK(tokens <= kCosineTokensMax);
  std::array<double, 4 * kCosineTokensMax> of_steps;  // The whole circle.
  for (uint32_t steps = 0; steps < 4 * tokens; ++steps) {
    of_steps[steps] = CosineOf(steps, tokens);
  }
  for (uint32_t f = 0; f < tokens; ++f) {
    const double norm = std::sqrt((f == 0 ? 1.0 : 2.0) / tokens);
    for (uint32_t t = 0; t < tokens; ++t) {
      *cosines++ =
          static_cast<float>(norm * of_steps[(2 * t + 1) * f % (4 * tokens)]);
    }
  }
}

void SumRows(const RowSums& sums, uint32_t rows) {
  HWY_DYNAMIC_DISPATCH(SumRowsHere)(sums, rows);
}

void TransformRows(const float* cosines, const float* from, uint32_t tokens,
                   uint32_t width, float* to) {
  SumRows({.factors = cosines,
           .row_stride = tokens,
           .stride = 1,
           .count = tokens,
           .from = from,
           .width = width,
           .to = to},
          tokens);
}

void RestoreRows(const float* cosines, const float* from, uint32_t tokens,
                 uint32_t width, float* to) {
  SumRows({.factors = cosines,
           .row_stride = 1,
           .stride = tokens,
           .count = tokens,
           .from = from,
           .width = width,
           .to = to},
          tokens);
}

void FillProducts(const float* matrix, uint32_t rows, uint32_t width,
                  float* turned, float* products) {
  for (uint32_t i = 0; i < rows; ++i) {
    for (uint32_t c = 0; c < width; ++c) {
      turned[size_t{c} * rows + i] = matrix[size_t{i} * width + c];
    }
  }
  SumRows({.factors = matrix,
           .row_stride = width,
           .stride = 1,
           .count = width,
           .from = turned,
           .width = rows,
           .to = products},
          rows);
}

uint32_t FindBasis(const float* products, uint32_t size, uint32_t rank,
                   float* room, float* basis) {
  return HWY_DYNAMIC_DISPATCH(FindBasisHere)(products, size, rank, room, basis);
}

}  // namespace banyan::codec
#endif
