// Keys, values and queries of one made-up attention layer: channels with means
// and outliers of their own, tokens that resemble those before them, a first
// token that much attention goes to. And what attention makes of them, by plain
// arithmetic in double.
//
// It tells whether a codec got worse, and which of two is better on such data;
// it is no evidence of a model's quality.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace banyan::testing {

struct SynKv {
  uint32_t heads = 4;
  uint32_t dim = 128;
  uint32_t tokens = 1024;
  uint32_t queries = 32;  // Of each head.
  // [head, token, dim]; keys have their rotary embedding on, base 500000,
  // halves.
  std::vector<double> keys;
  std::vector<double> values;
  std::vector<double> query;  // [head, query, dim]
  // What these queries see: attention [head, query, token], and its output, as
  // `query`. Empty in other sequences.
  std::vector<double> attention;
  std::vector<double> output;

  size_t at(uint32_t head, uint32_t token) const {
    return (size_t{head} * tokens + token) * dim;
  }
};

// `sequence` other than 0: other tokens of the same model, without queries that
// make sense; for calibration.
SynKv MakeSynKv(uint64_t seed, uint64_t sequence = 0);

// The same, but for channels of all heads being mixtures of kLowRank processes,
// and a tenth of each its own: the planted low rank across heads.
inline constexpr uint32_t kLowRank = 32;
SynKv MakeLowRankKv(uint64_t seed, uint64_t sequence = 0);

struct KvError {
  double keys = 0;  // Squared error over squared size.
  double values = 0;
  double output = 0;      // Mean of |o - o'| / |o|.
  double divergence = 0;  // Mean KL of attention, nats.
  double norm95 = 0;      // 95th percentile of ||k| - |k'|| / |k|.
};

// Keys and values as a codec gives them back. `kv` is of sequence 0.
KvError Compare(const SynKv& kv, const std::vector<double>& keys,
                const std::vector<double>& values);

}  // namespace banyan::testing
