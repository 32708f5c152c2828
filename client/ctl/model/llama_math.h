// The parts that a pass through a llama model is made of, forth and back: on
// rows of tokens, [token, element].
//
// Threads: functions between buffers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "absl/types/span.h"
#include "kernels/codec/rope.h"

namespace banyan::ctl {

// A matrix, [row, column], and what it makes of the tokens.
struct Product {
  const std::vector<float>& matrix;
  absl::Span<float> to;
};

// product.to[token, row] = product.matrix[row] . from[token].
void Multiply(const std::vector<float>& from, size_t tokens,
              std::initializer_list<Product> products);

// The same of turned matrices: product.to[token, column] is the sum over rows of
// product.matrix[row, column] * from[token, row].
void MultiplyTurned(const std::vector<float>& from, size_t tokens,
                    std::initializer_list<Product> products);

void AddTo(std::vector<float>& sum, const std::vector<float>& part);

// Every row over its root mean square, times the weight.
void NormRows(const std::vector<float>& weight, float epsilon,
              const std::vector<float>& from, std::vector<float>& to);

// Rotates the heads of the rows, which stand at positions from `first` on; or
// takes that back.
enum class Turn { kForth, kBack };
void Rotate(const codec::RopeTable& table, uint32_t first, size_t tokens,
            Turn turn, std::vector<float>& rows);

}  // namespace banyan::ctl
