// What a transformer spends its time with, in fp32: a matrix times some columns,
// and the softmax of columns. Columns, such as the tokens of a prompt, lie next
// to each other in a panel, [row, column], so that they share what is read of
// the matrix, and each has a lane of its own.
//
// Invariant: what becomes of a column does not depend on the others of its
//            panel, nor on their number: sums run over rows in their order, one
//            at a time.
// Domain:    finite numbers. Multiplications and additions are fused where the
//            processor can, so results differ by rounding between processors.
// Threads:   thread-safe. Nothing is allocated.
// Source:    Goto and van de Geijn, Anatomy of High-Performance Matrix
//            Multiplication (2008): one part stays in the first cache while the
//            others stream by.
#pragma once

#include <cstddef>
#include <cstdint>

namespace banyan::dense {

// The most columns of a panel, and what their number is a multiple of.
inline constexpr uint32_t kPanelColumns = 64;
inline constexpr uint32_t kColumnStep = 16;

// Columns of a panel for so many vectors. Requires: 1 to kPanelColumns.
constexpr uint32_t PanelWidth(uint32_t vectors) {
  return (vectors + kColumnStep - 1) / kColumnStep * kColumnStep;
}

// An element is at row * row_stride + column * column_stride. Not owned.
struct MatrixView {
  const float* elements = nullptr;
  uint64_t row_stride = 0;
  uint64_t column_stride = 1;
  uint32_t rows = 0;
  uint32_t columns = 0;
};

// Puts vectors of so many elements into the columns [element, width] of a panel;
// zeros behind the last one. Requires: width == PanelWidth(vectors).
void Pack(const float* const* vectors, uint32_t count, uint32_t elements,
          float* panel);

// The reverse.
void Unpack(const float* panel, uint32_t count, uint32_t elements,
            float* const* vectors);

// to[row, column] = sum over k of matrix[row, k] * panel[k, column].
// Panels of so many columns: a multiple of kColumnStep, up to kPanelColumns.
void Multiply(const MatrixView& matrix, const float* panel, uint32_t width,
              float* to);

// Turns the first `counts[column]` numbers of each column, times `scale`, into
// weights that sum to 1; those below, up to `rows`, into zeros.
// Requires: counts are 1 to rows.
void Softmax(float scale, const uint32_t* counts, uint32_t rows, uint32_t width,
             float* panel);

}  // namespace banyan::dense
