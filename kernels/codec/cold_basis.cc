#include "kernels/codec/cold_basis.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "kernels/codec/half.h"

namespace banyan::codec {
namespace {

// Added to weights, of their mean: no component is worth nothing.
constexpr double kFloor = 1e-3;
constexpr double kLeast = 1e-30;

// Of a matrix' largest number: what is below is nothing but rounding.
constexpr double kPivotMin = 0x1p-40;

constexpr int kSweepsMax = 30;
constexpr double kOffDiagonal = 1e-12;  // Of all squares: good enough.

using Matrix = std::vector<double>;  // [size, size]

// The lower factor L of a positive definite matrix L L^T.
Matrix Cholesky(uint32_t size, const Matrix& matrix) {
  Matrix factor(matrix.size());
  for (uint32_t i = 0; i < size; ++i) {
    for (uint32_t j = 0; j <= i; ++j) {
      double sum = matrix[i * size + j];
      for (uint32_t k = 0; k < j; ++k) {
        sum -= factor[i * size + k] * factor[j * size + k];
      }
      factor[i * size + j] = i == j ? std::sqrt(std::max(sum, kLeast))
                                    : sum / factor[j * size + j];
    }
  }
  return factor;
}

Matrix Product(uint32_t size, const Matrix& a, const Matrix& b) {
  Matrix product(a.size());
  for (uint32_t i = 0; i < size; ++i) {
    for (uint32_t k = 0; k < size; ++k) {
      for (uint32_t j = 0; j < size; ++j) {
        product[i * size + j] += a[i * size + k] * b[k * size + j];
      }
    }
  }
  return product;
}

Matrix Turned(uint32_t size, const Matrix& matrix) {
  Matrix turned(matrix.size());
  for (uint32_t i = 0; i < size; ++i) {
    for (uint32_t j = 0; j < size; ++j) {
      turned[j * size + i] = matrix[i * size + j];
    }
  }
  return turned;
}

void Rotate(double c, double s, double& a, double& b) {
  const double before = a;
  a = c * before - s * b;
  b = s * before + c * b;
}

// Jacobi's method: makes a symmetric matrix diagonal; columns of `vectors` are
// the eigenvectors.
void Diagonalize(uint32_t size, Matrix& matrix, Matrix& vectors) {
  vectors.assign(matrix.size(), 0);
  for (uint32_t i = 0; i < size; ++i) vectors[i * size + i] = 1;
  for (int sweep = 0; sweep < kSweepsMax; ++sweep) {
    double off = 0;
    double all = 0;
    for (uint32_t i = 0; i < size; ++i) {
      for (uint32_t j = 0; j < size; ++j) {
        const double square = matrix[i * size + j] * matrix[i * size + j];
        all += square;
        if (i != j) off += square;
      }
    }
    if (off <= kOffDiagonal * all) return;
    for (uint32_t p = 0; p < size; ++p) {
      for (uint32_t q = p + 1; q < size; ++q) {
        const double apq = matrix[p * size + q];
        if (apq == 0) continue;
        const double theta =
            (matrix[q * size + q] - matrix[p * size + p]) / (2 * apq);
        const double t = (theta < 0 ? -1 : 1) /
                         (std::fabs(theta) + std::sqrt(theta * theta + 1));
        const double c = 1 / std::sqrt(t * t + 1);
        const double s = t * c;
        for (uint32_t k = 0; k < size; ++k) {
          Rotate(c, s, matrix[k * size + p], matrix[k * size + q]);
        }
        for (uint32_t k = 0; k < size; ++k) {
          Rotate(c, s, matrix[p * size + k], matrix[q * size + k]);
        }
        for (uint32_t k = 0; k < size; ++k) {
          Rotate(c, s, vectors[k * size + p], vectors[k * size + q]);
        }
      }
    }
  }
}

void AddToDiagonal(uint32_t size, double x, Matrix& matrix) {
  for (uint32_t i = 0; i < size; ++i) matrix[i * size + i] += x;
}

// Largest variance first: what is large stands together.
std::vector<uint32_t> OrderOf(uint32_t size, const Matrix& diagonal) {
  std::vector<uint32_t> order(size);
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    const double x = diagonal[a * size + a];
    const double y = diagonal[b * size + b];
    return x > y || (x == y && a < b);
  });
  return order;
}

float ToHalf(double x) { return HalfValue(HalfBits(static_cast<float>(x))); }

double BitsOf(absl::Span<const double> variances, double error) {
  double bits = 0;
  for (const double variance : variances) {
    bits += std::max(0.5 * std::log2(std::max(variance, kLeast) / error), 0.0);
  }
  return bits / static_cast<double>(variances.size());
}

}  // namespace

bool Invert(uint32_t size, absl::Span<double> matrix) {
  double least = 0;
  for (const double x : matrix) least = std::max(least, std::fabs(x));
  least *= kPivotMin;
  std::vector<uint32_t> rows(size);
  const auto row = [&](uint32_t i) { return &matrix[size_t{i} * size]; };
  for (uint32_t step = 0; step < size; ++step) {
    uint32_t pivot = step;
    for (uint32_t i = step + 1; i < size; ++i) {
      if (std::fabs(row(i)[step]) > std::fabs(row(pivot)[step])) pivot = i;
    }
    rows[step] = pivot;
    std::swap_ranges(row(step), row(step) + size, row(pivot));
    if (!(std::fabs(row(step)[step]) > least)) return false;
    const double inverse = 1 / row(step)[step];
    row(step)[step] = 1;
    for (uint32_t j = 0; j < size; ++j) row(step)[j] *= inverse;
    for (uint32_t i = 0; i < size; ++i) {
      if (i == step) continue;
      const double factor = row(i)[step];
      row(i)[step] = 0;
      for (uint32_t j = 0; j < size; ++j) row(i)[j] -= factor * row(step)[j];
    }
  }
  for (uint32_t step = size; step-- > 0;) {
    for (uint32_t i = 0; i < size; ++i) {
      std::swap(row(i)[step], row(i)[rows[step]]);
    }
  }
  return std::all_of(matrix.begin(), matrix.end(),
                     [](double x) { return std::isfinite(x); });
}

std::vector<float> InverseBases(uint32_t dim, const std::vector<float>& basis) {
  const size_t size = size_t{dim} * dim;
  std::vector<float> inverses;
  for (size_t at = 0; at < basis.size(); at += size) {
    std::vector<double> head(&basis[at], &basis[at] + size);
    BANYAN_CHECK(Invert(dim, absl::MakeSpan(head)));
    for (const double x : head) inverses.push_back(static_cast<float>(x));
  }
  return inverses;
}

ColdMoments::ColdMoments(uint32_t heads, uint32_t dim)
    : heads_(heads),
      dim_(dim),
      sums_(size_t{heads} * dim),
      products_(size_t{heads} * dim * dim),
      gradients_(size_t{heads} * dim * dim) {}

void ColdMoments::Add(absl::Span<const float> token,
                      absl::Span<const float> gradient) {
  ++tokens_;
  for (size_t i = 0; i < sums_.size(); ++i) sums_[i] += token[i];
  for (uint32_t head = 0; head < heads_; ++head) {
    const size_t at = size_t{head} * dim_;
    for (uint32_t i = 0; i < dim_; ++i) {
      double* const products = &products_[(at + i) * dim_];
      double* const gradients = &gradients_[(at + i) * dim_];
      if (gradient.empty()) gradients[i] += 1;
      for (uint32_t j = 0; j < dim_; ++j) {
        products[j] += double{token[at + i]} * token[at + j];
        if (gradient.empty()) continue;
        gradients[j] += double{gradient[at + i]} * gradient[at + j];
      }
    }
  }
}

Matrix ColdMoments::Covariance(uint32_t head) const {
  const size_t at = size_t{head} * dim_;
  const auto count = static_cast<double>(tokens_);
  Matrix covariance(size_t{dim_} * dim_);
  for (uint32_t i = 0; i < dim_; ++i) {
    for (uint32_t j = 0; j < dim_; ++j) {
      covariance[i * dim_ + j] =
          products_[(at + i) * dim_ + j] / count -
          sums_[at + i] / count * (sums_[at + j] / count);
    }
  }
  return covariance;
}

Matrix ColdMoments::Metric(uint32_t head) const {
  const size_t at = size_t{head} * dim_ * dim_;
  Matrix metric(
      gradients_.begin() + static_cast<ptrdiff_t>(at),
      gradients_.begin() + static_cast<ptrdiff_t>(at + size_t{dim_} * dim_));
  for (double& x : metric) x /= static_cast<double>(tokens_);
  double trace = 0;  // Of all heads.
  for (size_t i = 0; i < sums_.size(); ++i) {
    trace += gradients_[i * dim_ + i % dim_];
  }
  const auto elements = static_cast<double>(tokens_ * sums_.size());
  AddToDiagonal(dim_, kFloor * trace / elements + kLeast, metric);
  return metric;
}

ColdTables ColdMoments::Tables(std::vector<double>& variances) const {
  BANYAN_CHECK(tokens_ > 0);
  ColdTables tables;
  variances.clear();
  for (const double sum : sums_) {
    tables.means.push_back(ToHalf(sum / static_cast<double>(tokens_)));
  }
  Matrix basis;
  double most = 0;
  for (uint32_t head = 0; head < heads_; ++head) {
    const Matrix root = Cholesky(dim_, Metric(head));
    Matrix diagonal = Product(dim_, Turned(dim_, root),
                              Product(dim_, Covariance(head), root));
    Matrix vectors;
    Diagonalize(dim_, diagonal, vectors);
    Matrix to_components = Product(dim_, root, vectors);
    for (const double x : to_components) most = std::max(most, std::fabs(x));
    BANYAN_CHECK(Invert(dim_, absl::MakeSpan(to_components)));
    for (const uint32_t k : OrderOf(dim_, diagonal)) {
      variances.push_back(std::max(diagonal[size_t{k} * dim_ + k], 0.0));
      const double* const row = &to_components[size_t{k} * dim_];
      basis.insert(basis.end(), row, row + dim_);
    }
  }
  // So that components are no larger than the sum of what they are made of.
  for (const double x : basis) tables.basis.push_back(ToHalf(x * most));
  return tables;
}

SharedBits ShareBits(absl::Span<const double> first,
                     absl::Span<const double> second, double bits) {
  double low = -200;  // Of the error's logarithm.
  double high = 200;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    const double error = std::exp2(middle);
    (BitsOf(first, error) + BitsOf(second, error) > bits ? low : high) = middle;
  }
  const double error = std::exp2(high);
  const double of_first = BitsOf(first, error);
  const double of_second = BitsOf(second, error);
  const double left = (bits - of_first - of_second) / 2;
  return {of_first + left, of_second + left};
}

}  // namespace banyan::codec
