#include <algorithm>

#include "kernels/dense/panel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dense/panel_simd.cc"
// clang-format off: this one comes first.
#include "hwy/foreach_target.h"
// clang-format on
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace banyan::dense::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, kColumnStep>;
using FloatVector = hn::Vec<Floats>;

// Rows of a panel that stay in the first cache, 32 KiB, and rows of the matrix
// whose sums stay there beside them.
constexpr uint32_t kDepth = 128;
constexpr uint32_t kRowBlock = 32;

// Sums that fit the registers, beside what is added to them.
#if HWY_TARGET <= HWY_AVX3
constexpr uint32_t kWide = 4;
#else
constexpr uint32_t kWide = 2;
#endif
constexpr uint32_t kTall = 4;

struct Part {
  const float* matrix;  // At its first row and column.
  uint64_t row_stride;
  uint64_t column_stride;
  const float* panel;  // At its first row and column.
  uint32_t width;
  uint32_t depth;
  bool is_first;  // Of the sums.
  float* to;
};

template <uint32_t kRows, uint32_t kVectors>
HWY_INLINE void AddProducts(const Part& part) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  FloatVector sums[kRows][kVectors];
  for (uint32_t row = 0; row < kRows; ++row) {
    for (uint32_t i = 0; i < kVectors; ++i) {
      sums[row][i] =
          part.is_first
              ? hn::Zero(d)
              : hn::LoadU(d, part.to + row * size_t{part.width} + i * lanes);
    }
  }
  const float* matrix = part.matrix;
  const float* panel = part.panel;
  for (uint32_t k = 0; k < part.depth; ++k) {
    FloatVector columns[kVectors];
    for (uint32_t i = 0; i < kVectors; ++i) {
      columns[i] = hn::LoadU(d, panel + i * lanes);
    }
    for (uint32_t row = 0; row < kRows; ++row) {
      const FloatVector factor = hn::Set(d, matrix[row * part.row_stride]);
      for (uint32_t i = 0; i < kVectors; ++i) {
        sums[row][i] = hn::MulAdd(factor, columns[i], sums[row][i]);
      }
    }
    matrix += part.column_stride;
    panel += part.width;
  }
  for (uint32_t row = 0; row < kRows; ++row) {
    for (uint32_t i = 0; i < kVectors; ++i) {
      hn::StoreU(sums[row][i], d,
                 part.to + row * size_t{part.width} + i * lanes);
    }
  }
}

// All columns of so many rows.
template <uint32_t kRows>
HWY_INLINE void AddRows(Part part) {
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(Floats()));
  uint32_t at = 0;
  const auto step = [&part, &at](uint32_t columns) HWY_ATTR {
    at += columns;
    part.panel += columns;
    part.to += columns;
  };
  while (at + kWide * lanes <= part.width) {
    AddProducts<kRows, kWide>(part);
    step(kWide * lanes);
  }
  while (at < part.width) {
    AddProducts<kRows, 1>(part);
    step(lanes);
  }
}

void MultiplyHere(const MatrixView& matrix, const float* panel, uint32_t width,
                  float* to) {
  for (uint32_t block = 0; block < matrix.rows; block += kRowBlock) {
    const uint32_t end = std::min(block + kRowBlock, matrix.rows);
    for (uint32_t k = 0; k < matrix.columns; k += kDepth) {
      const auto part = [&](uint32_t row) HWY_ATTR {
        return Part{.matrix = matrix.elements + row * matrix.row_stride +
                              k * matrix.column_stride,
                    .row_stride = matrix.row_stride,
                    .column_stride = matrix.column_stride,
                    .panel = panel + size_t{k} * width,
                    .width = width,
                    .depth = std::min(kDepth, matrix.columns - k),
                    .is_first = k == 0,
                    .to = to + size_t{row} * width};
      };
      uint32_t row = block;
      for (; row + kTall <= end; row += kTall) AddRows<kTall>(part(row));
      for (; row < end; ++row) AddRows<1>(part(row));
    }
  }
}

void SoftmaxHere(float scale, const uint32_t* counts, uint32_t rows,
                 uint32_t width, float* panel) {
  const Floats d;
  const hn::RebindToUnsigned<Floats> du;
  const hn::RebindToSigned<Floats> di;
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(d));
  const auto factor = hn::Set(d, scale);
  for (uint32_t at = 0; at < width; at += lanes) {
    const auto count = hn::BitCast(di, hn::LoadU(du, counts + at));
    const auto is_there = [&](uint32_t row) HWY_ATTR {
      return hn::RebindMask(
          d, hn::Gt(count, hn::Set(di, static_cast<int32_t>(row))));
    };
    auto top = hn::LoadU(d, panel + at);
    for (uint32_t row = 1; row < rows; ++row) {
      const auto x = hn::LoadU(d, panel + size_t{row} * width + at);
      top = hn::IfThenElse(is_there(row), hn::Max(top, x), top);
    }
    auto sum = hn::Zero(d);
    for (uint32_t row = 0; row < rows; ++row) {
      float* const x = panel + size_t{row} * width + at;
      const auto weight = hn::IfThenElseZero(
          is_there(row),
          hn::Exp(d, hn::Mul(factor, hn::Sub(hn::LoadU(d, x), top))));
      sum = hn::Add(sum, weight);
      hn::StoreU(weight, d, x);
    }
    for (uint32_t row = 0; row < rows; ++row) {
      float* const x = panel + size_t{row} * width + at;
      hn::StoreU(hn::Div(hn::LoadU(d, x), sum), d, x);
    }
  }
}

}  // namespace banyan::dense::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace banyan::dense {
namespace {

// Elements that are moved together: a cache line.
constexpr uint32_t kRun = 16;

}  // namespace

void Pack(const float* const* vectors, uint32_t count, uint32_t elements,
          float* panel) {
  const uint32_t width = PanelWidth(count);
  for (uint32_t at = 0; at < elements; at += kRun) {
    const uint32_t end = std::min(at + kRun, elements);
    for (uint32_t column = 0; column < width; ++column) {
      for (uint32_t i = at; i < end; ++i) {
        panel[size_t{i} * width + column] =
            column < count ? vectors[column][i] : 0;
      }
    }
  }
}

void Unpack(const float* panel, uint32_t count, uint32_t elements,
            float* const* vectors) {
  const uint32_t width = PanelWidth(count);
  for (uint32_t at = 0; at < elements; at += kRun) {
    const uint32_t end = std::min(at + kRun, elements);
    for (uint32_t column = 0; column < count; ++column) {
      for (uint32_t i = at; i < end; ++i) {
        vectors[column][i] = panel[size_t{i} * width + column];
      }
    }
  }
}

HWY_EXPORT(MultiplyHere);
HWY_EXPORT(SoftmaxHere);

void Multiply(const MatrixView& matrix, const float* panel, uint32_t width,
              float* to) {
  HWY_DYNAMIC_DISPATCH(MultiplyHere)(matrix, panel, width, to);
}

void Softmax(float scale, const uint32_t* counts, uint32_t rows, uint32_t width,
             float* panel) {
  HWY_DYNAMIC_DISPATCH(SoftmaxHere)(scale, counts, rows, width, panel);
}

}  // namespace banyan::dense
#endif
