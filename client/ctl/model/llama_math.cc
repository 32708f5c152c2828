#include "client/ctl/model/llama_math.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "kernels/dense/panel.h"

namespace banyan::ctl {
namespace {

// Partial sums in a fixed order that compilers may still keep in vectors.
float Dot(const float* a, const float* b, size_t count) {
  constexpr size_t kLanes = 16;
  float lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += a[i + lane] * b[i + lane];
    }
  }
  for (size_t lane = 0; i < count; ++i, ++lane) lanes[lane] += a[i] * b[i];
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t lane = 0; lane < half; ++lane)
      lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

// The rows of a few tokens, from the first of them on.
template <typename Float>
struct TokenRows {
  TokenRows(absl::Span<Float> rows, size_t tokens, size_t first,
            size_t tokens_now)
      : elements(static_cast<uint32_t>(rows.size() / tokens)) {
    for (size_t i = 0; i < tokens_now; ++i) {
      pointers[i] = &rows[(first + i) * elements];
    }
  }
  uint32_t elements;  // Of a row.
  Float* pointers[dense::kPanelColumns];
};

// The products of some tokens' rows with what `view_of` makes of each matrix.
template <typename ViewOf>
void MultiplyRows(const std::vector<float>& from, size_t tokens,
                  std::initializer_list<Product> products,
                  const ViewOf& view_of) {
  std::vector<float> panel;
  std::vector<float> result;
  for (size_t first = 0; first < tokens; first += dense::kPanelColumns) {
    const auto count = static_cast<uint32_t>(
        std::min<size_t>(dense::kPanelColumns, tokens - first));
    const uint32_t width = dense::PanelWidth(count);
    const TokenRows<const float> rows(from, tokens, first, count);
    panel.resize(size_t{rows.elements} * width);
    dense::Pack(rows.pointers, count, rows.elements, panel.data());
    for (const auto& [matrix, to] : products) {
      const TokenRows<float> out(to, tokens, first, count);
      BANYAN_DCHECK(matrix.size() == size_t{rows.elements} * out.elements);
      result.resize(size_t{out.elements} * width);
      dense::Multiply(view_of(matrix, out.elements, rows.elements),
                      panel.data(), width, result.data());
      dense::Unpack(result.data(), count, out.elements, out.pointers);
    }
  }
}

}  // namespace

void Multiply(const std::vector<float>& from, size_t tokens,
              std::initializer_list<Product> products) {
  MultiplyRows(
      from, tokens, products,
      [](const std::vector<float>& matrix, uint32_t rows, uint32_t columns) {
        return dense::MatrixView{.elements = matrix.data(),
                                 .row_stride = columns,
                                 .rows = rows,
                                 .columns = columns};
      });
}

void MultiplyTurned(const std::vector<float>& from, size_t tokens,
                    std::initializer_list<Product> products) {
  MultiplyRows(
      from, tokens, products,
      [](const std::vector<float>& matrix, uint32_t rows, uint32_t columns) {
        return dense::MatrixView{.elements = matrix.data(),
                                 .row_stride = 1,
                                 .column_stride = rows,
                                 .rows = rows,
                                 .columns = columns};
      });
}

void AddTo(std::vector<float>& sum, const std::vector<float>& part) {
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
}

void NormRows(const std::vector<float>& weight, float epsilon,
              const std::vector<float>& from, std::vector<float>& to) {
  const size_t dim = weight.size();
  for (size_t at = 0; at < from.size(); at += dim) {
    const float mean = Dot(&from[at], &from[at], dim) / static_cast<float>(dim);
    const float scale = 1.0f / std::sqrt(mean + epsilon);
    for (size_t i = 0; i < dim; ++i)
      to[at + i] = weight[i] * from[at + i] * scale;
  }
}

void Rotate(const codec::RopeTable& table, uint32_t first, size_t tokens,
            Turn turn, std::vector<float>& rows) {
  const float sign = turn == Turn::kForth ? 1.0f : -1.0f;
  const size_t token_elements = rows.size() / tokens;
  for (size_t i = 0; i < rows.size(); i += 2) {
    const size_t position = first + i / token_elements;
    const size_t at = position * table.pairs + i / 2 % table.pairs;
    const float a = rows[i];
    const float b = rows[i + 1];
    const float sine = sign * table.sines[at];
    rows[i] = a * table.cosines[at] - b * sine;
    rows[i + 1] = b * table.cosines[at] + a * sine;
  }
}

}  // namespace banyan::ctl
