#include "kernels/codec/cold_matrix.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/codec/rope.h"

namespace banyan::codec {
namespace {

constexpr int kIterations = 6;

// What is left of a vector that the others span: none of it.
constexpr float kIndependentMin = 0x1p-12f;

// Cosine of pi * steps / (2 * tokens); exact where it is 0.
double CosineOf(uint64_t steps, uint32_t tokens) {
  steps %= uint64_t{4} * tokens;
  if (steps == tokens || steps == uint64_t{3} * tokens) return 0;
  return SineCosineOf(static_cast<double>(steps) * std::numbers::pi /
                      (2.0 * tokens))
      .cosine;
}

// Makes vector k of `basis` orthogonal to those before it, and of length 1.
// False if nothing is left of it.
bool MakeNormal(uint32_t k, uint32_t size, float* basis) {
  float* const vector = basis + size_t{k} * size;
  const float before = std::sqrt(DotProduct(vector, vector, size));
  for (uint32_t j = 0; j < k; ++j) {
    const float* const other = basis + size_t{j} * size;
    AddScaled(-DotProduct(vector, other, size), other, size, vector);
  }
  const float length = std::sqrt(DotProduct(vector, vector, size));
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

}  // namespace

float DotProduct(const float* a, const float* b, uint32_t count) {
  float sums[8] = {};
  uint32_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (uint32_t j = 0; j < 8; ++j) sums[j] += a[i + j] * b[i + j];
  }
  for (uint32_t j = 0; i < count; ++i, ++j) sums[j] += a[i] * b[i];
  for (uint32_t width = 4; width > 0; width /= 2) {
    for (uint32_t j = 0; j < width; ++j) sums[j] += sums[j + width];
  }
  return sums[0];
}

void FillCosines(uint32_t tokens, float* cosines) {
  for (uint32_t f = 0; f < tokens; ++f) {
    const double norm = std::sqrt((f == 0 ? 1.0 : 2.0) / tokens);
    for (uint32_t t = 0; t < tokens; ++t) {
      *cosines++ = static_cast<float>(
          norm * CosineOf((uint64_t{2} * t + 1) * f, tokens));
    }
  }
}

void TransformRows(const float* cosines, const float* from, uint32_t tokens,
                   uint32_t width, float* to) {
  std::fill_n(to, size_t{tokens} * width, 0.0f);
  for (uint32_t f = 0; f < tokens; ++f) {
    for (uint32_t t = 0; t < tokens; ++t) {
      AddScaled(cosines[size_t{f} * tokens + t], from + size_t{t} * width,
                width, to + size_t{f} * width);
    }
  }
}

void RestoreRows(const float* cosines, const float* from, uint32_t tokens,
                 uint32_t width, float* to) {
  std::fill_n(to, size_t{tokens} * width, 0.0f);
  for (uint32_t t = 0; t < tokens; ++t) {
    for (uint32_t f = 0; f < tokens; ++f) {
      AddScaled(cosines[size_t{f} * tokens + t], from + size_t{f} * width,
                width, to + size_t{t} * width);
    }
  }
}

void FillProducts(const float* matrix, uint32_t rows, uint32_t width,
                  float* turned, float* products) {
  for (uint32_t i = 0; i < rows; ++i) {
    for (uint32_t c = 0; c < width; ++c) {
      turned[size_t{c} * rows + i] = matrix[size_t{i} * width + c];
    }
  }
  std::fill_n(products, size_t{rows} * rows, 0.0f);
  for (uint32_t i = 0; i < rows; ++i) {
    for (uint32_t c = 0; c < width; ++c) {
      const float* const column = turned + size_t{c} * rows;
      AddScaled(column[i], column, rows, products + size_t{i} * rows);
    }
  }
}

uint32_t FindBasis(const float* products, uint32_t size, uint32_t rank,
                   float* room, float* basis) {
  rank = std::min(rank, size);
  if (rank == 0 || IsSpread(products, size, rank)) return 0;
  std::copy_n(products, size_t{rank} * size, basis);
  uint32_t count = MakeOrthonormal(rank, size, basis);
  for (int iteration = 1; iteration < kIterations; ++iteration) {
    std::copy_n(basis, size_t{count} * size, room);
    std::fill_n(basis, size_t{count} * size, 0.0f);
    for (uint32_t k = 0; k < count; ++k) {
      for (uint32_t j = 0; j < size; ++j) {
        AddScaled(room[size_t{k} * size + j], products + size_t{j} * size, size,
                  basis + size_t{k} * size);
      }
    }
    count = MakeOrthonormal(count, size, basis);
  }
  return count;
}

}  // namespace banyan::codec
