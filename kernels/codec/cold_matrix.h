// What the cold codec does to a matrix of floats, [token, channel], before its
// numbers are coded: a cosine transform along the tokens, and a basis for what
// the rows of the result have in common. All of it in one order of operations,
// so that every processor gets the same.
// Format:  docs/formats/codec_cold.md.
// Threads: functions between buffers; nothing is allocated.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace banyan::codec {

// to[r] is the sum of start[r] and, over i rising, factors[r, i] * from[i]; rows
// are of `width` floats, and `to` is apart from the others.
struct RowSums {
  const float* factors;
  size_t row_stride;  // Of factors, from one r to the next.
  size_t stride;      // From one i to the next.
  uint32_t count;     // Rows of `from`.
  const float* from;
  uint32_t width;
  float* to;
  const float* start = nullptr;  // Null: zeros.
};
void SumRows(const RowSums& sums, uint32_t rows);

// Eight sums, of the elements i mod 8, and then (0 + 4) + (2 + 6) and so on.
float DotProduct(const float* a, const float* b, uint32_t count);

// sums[i mod 8] += max(numbers[i] + more, 0).
void AddPositive(const float* numbers, float more, uint32_t count, float* sums);

// How many steps each x is, with its sign: down to a whole number, up from
// `round_up_from` of a step on. `inverse` is 1 over a step. Returns the largest
// magnitude.
float CountSteps(const float* x, uint32_t count, float inverse,
                 float round_up_from, float* numbers);

// Their magnitudes times the factor; returns the largest.
float ScaleSizes(const float* x, uint32_t count, float factor, float* sizes);

inline constexpr uint32_t kCosineTokensMax = 128;

// The orthonormal cosine transform of so many tokens, [frequency, token].
// Requires: tokens <= kCosineTokensMax.
void FillCosines(uint32_t tokens, float* cosines);

// to[frequency] is the sum over tokens of cosine and row; to[token] the
// reverse. All are [tokens, width]; from and to are apart.
void TransformRows(const float* cosines, const float* from, uint32_t tokens,
                   uint32_t width, float* to);
void RestoreRows(const float* cosines, const float* from, uint32_t tokens,
                 uint32_t width, float* to);

// [rows, rows] products of rows with each other. `turned` has room for as many
// floats as `matrix`.
void FillProducts(const float* matrix, uint32_t rows, uint32_t width,
                  float* turned, float* products);

// Orthonormal rows, [rank, size], that nearly span what a symmetric matrix
// [size, size] makes largest: orthogonal iteration from its first columns.
// Returns how many there are, of `rank` at most; fewer if the matrix has a
// lower rank, and none if no so few rows hold most of it. `room` is as large as
// `basis`.
uint32_t FindBasis(const float* products, uint32_t size, uint32_t rank,
                   float* room, float* basis);

}  // namespace banyan::codec
