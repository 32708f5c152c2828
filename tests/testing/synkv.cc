#include "tests/testing/synkv.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace banyan::testing {
namespace {

using Rng = std::mt19937_64;

double Normal(Rng& rng) { return std::normal_distribution<double>()(rng); }

// What a channel's elements are drawn from.
struct Channels {
  std::vector<double> mean;
  std::vector<double> deviation;
};

Channels DrawChannels(uint32_t dim, Rng& rng) {
  Channels c;
  for (uint32_t i = 0; i < dim; ++i) {
    c.mean.push_back(0.3 * Normal(rng));
    c.deviation.push_back(std::exp(0.35 * Normal(rng)));
  }
  for (int outlier = 0; outlier < 4; ++outlier) {
    const uint32_t i = rng() % dim;
    c.mean[i] = (6 + 3 * std::fabs(Normal(rng))) * (rng() % 2 ? 1 : -1);
    c.deviation[i] = 2;
  }
  return c;
}

// Tokens of a first-order process with heavy tails.
class Process {
 public:
  explicit Process(uint32_t dim) : state_(dim) {}

  const std::vector<double>& Next(Rng& rng) {
    std::student_t_distribution<double> tail(6);
    for (double& z : state_) {
      z = 0.7 * z + std::sqrt(1 - 0.49) * tail(rng) / std::sqrt(1.5);
    }
    return state_;
  }

 private:
  std::vector<double> state_;
};

void Rotate(double* x, uint32_t dim, double position) {
  for (uint32_t i = 0; i < dim / 2; ++i) {
    const double angle = position * std::pow(500000, -2.0 * i / dim);
    const double a = x[i];
    const double b = x[i + dim / 2];
    x[i] = a * std::cos(angle) - b * std::sin(angle);
    x[i + dim / 2] = b * std::cos(angle) + a * std::sin(angle);
  }
}

double Dot(const double* a, const double* b, uint32_t dim) {
  double sum = 0;
  for (uint32_t i = 0; i < dim; ++i) sum += a[i] * b[i];
  return sum;
}

std::vector<double> Logits(const SynKv& kv, const double* query,
                           const std::vector<double>& keys, uint32_t head) {
  std::vector<double> logits(kv.tokens);
  for (uint32_t t = 0; t < kv.tokens; ++t) {
    logits[t] = Dot(query, &keys[kv.at(head, t)], kv.dim) / std::sqrt(kv.dim);
  }
  return logits;
}

double KeySize(Rng& rng) { return std::exp(0.15 * Normal(rng)); }
double ValueSize(Rng& rng) { return 0.5 * std::exp(0.4 * Normal(rng)); }

// Processes that the heads of keys, or values, share.
struct Shared {
  std::vector<std::vector<double>> tokens;
  std::vector<double> sizes;
};

template <typename Size>
Shared DrawShared(const SynKv& kv, const Size& size, Rng& rng) {
  Shared shared;
  Process process(kLowRank);
  for (uint32_t t = 0; t < kv.tokens; ++t) {
    shared.tokens.push_back(process.Next(rng));
    shared.sizes.push_back(size(rng));
  }
  return shared;
}

// [channel, process] of one head.
std::vector<double> DrawMixture(uint32_t dim, Rng& rng) {
  std::vector<double> mixture(size_t{dim} * kLowRank);
  for (double& x : mixture) x = Normal(rng) / std::sqrt(kLowRank);
  return mixture;
}

std::vector<double> Mixed(const std::vector<double>& mixture,
                          const std::vector<double>& token,
                          std::vector<double> own) {
  for (size_t i = 0; i < own.size(); ++i) {
    own[i] *= 0.1;
    for (size_t k = 0; k < token.size(); ++k) {
      own[i] += std::sqrt(0.99) * mixture[i * token.size() + k] * token[k];
    }
  }
  return own;
}

// What a head has of the processes that all heads share.
struct LowRank {
  const Shared& keys;
  const Shared& values;
  std::vector<double> key_mixture;
  std::vector<double> value_mixture;
};

void DrawTokens(SynKv& kv, uint32_t head, const Channels& channels,
                const LowRank* low_rank, Rng& rng) {
  Process keys(kv.dim);
  Process values(kv.dim);
  for (uint32_t t = 0; t < kv.tokens; ++t) {
    std::vector<double> z = keys.Next(rng);
    std::vector<double> v = values.Next(rng);
    double key_size = KeySize(rng);
    double value_size = ValueSize(rng);
    if (low_rank != nullptr) {
      z = Mixed(low_rank->key_mixture, low_rank->keys.tokens[t], z);
      v = Mixed(low_rank->value_mixture, low_rank->values.tokens[t], v);
      key_size = low_rank->keys.sizes[t];
      value_size = low_rank->values.sizes[t];
    }
    double* const k = &kv.keys[kv.at(head, t)];
    for (uint32_t i = 0; i < kv.dim; ++i) {
      k[i] = t == 0
                 ? 3 * channels.mean[i] + 0.2 * Normal(rng)
                 : channels.mean[i] + channels.deviation[i] * key_size * z[i];
      kv.values[kv.at(head, t) + i] = value_size * v[i] * (t == 0 ? 0.05 : 1);
    }
  }
}

// A query that looks for four tokens, before the keys are rotated.
std::vector<double> DrawQuery(const SynKv& kv, uint32_t head,
                              const Channels& channels, Rng& rng) {
  std::vector<double> query(kv.dim);
  for (int target = 0; target < 4; ++target) {
    const uint32_t t = 1 + rng() % (kv.tokens - 1);
    std::vector<double> part(kv.dim);
    for (uint32_t i = 0; i < kv.dim; ++i) {
      const double k = kv.keys[kv.at(head, t) + i];
      part[i] = (k - channels.mean[i]) /
                (channels.deviation[i] * channels.deviation[i]);
    }
    Rotate(part.data(), kv.dim, t);
    for (uint32_t i = 0; i < kv.dim; ++i) query[i] += part[i];
  }
  for (uint32_t i = 0; i < kv.dim; ++i) {
    query[i] += 0.7 * Normal(rng) / channels.deviation[i];
  }
  return query;
}

// Logits of deviation 2.5, and the first token's 9 above their mean.
void ScaleQuery(const SynKv& kv, uint32_t head, double* query) {
  std::vector<double> logits = Logits(kv, query, kv.keys, head);
  double mean = 0;
  double squares = 0;
  for (const double x : logits) mean += x / kv.tokens;
  for (const double x : logits) squares += (x - mean) * (x - mean) / kv.tokens;
  std::vector<double> pull(kv.dim);
  for (uint32_t i = 0; i < kv.dim; ++i) {
    query[i] *= 2.5 / std::sqrt(squares);
    pull[i] = kv.keys[kv.at(head, 0) + i];
    for (uint32_t t = 0; t < kv.tokens; ++t) {
      pull[i] -= kv.keys[kv.at(head, t) + i] / kv.tokens;
    }
  }
  const double gap = Dot(query, pull.data(), kv.dim) / std::sqrt(kv.dim);
  const double step = Dot(pull.data(), pull.data(), kv.dim) / std::sqrt(kv.dim);
  for (uint32_t i = 0; i < kv.dim; ++i) query[i] += (9 - gap) / step * pull[i];
}

std::vector<double> Attention(std::vector<double> logits) {
  const double most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (double& x : logits) sum += x = std::exp(x - most);
  for (double& x : logits) x /= sum;
  return logits;
}

std::vector<double> Output(const SynKv& kv, const std::vector<double>& weights,
                           const std::vector<double>& values, uint32_t head) {
  std::vector<double> output(kv.dim);
  double* const out = output.data();
  for (uint32_t t = 0; t < kv.tokens; ++t) {
    const double weight = weights[t];
    const double* const row = &values[kv.at(head, t)];
    for (uint32_t i = 0; i < kv.dim; ++i) out[i] += weight * row[i];
  }
  return output;
}

void FillAttention(SynKv& kv) {
  for (uint32_t head = 0; head < kv.heads; ++head) {
    for (uint32_t i = 0; i < kv.queries; ++i) {
      const double* const query =
          &kv.query[(size_t{head} * kv.queries + i) * kv.dim];
      const auto p = Attention(Logits(kv, query, kv.keys, head));
      const auto o = Output(kv, p, kv.values, head);
      kv.attention.insert(kv.attention.end(), p.begin(), p.end());
      kv.output.insert(kv.output.end(), o.begin(), o.end());
    }
  }
}

double RelativeError(const std::vector<double>& values,
                     const std::vector<double>& decoded) {
  double error = 0;
  double squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    error += (values[i] - decoded[i]) * (values[i] - decoded[i]);
    squares += values[i] * values[i];
  }
  return error / squares;
}

double NormError95(const SynKv& kv, const std::vector<double>& keys) {
  std::vector<double> errors;
  for (size_t at = 0; at < keys.size(); at += kv.dim) {
    const double length = std::sqrt(Dot(&kv.keys[at], &kv.keys[at], kv.dim));
    const double decoded = std::sqrt(Dot(&keys[at], &keys[at], kv.dim));
    errors.push_back(std::fabs(length - decoded) / length);
  }
  std::sort(errors.begin(), errors.end());
  return errors[errors.size() * 95 / 100];
}

SynKv Make(uint64_t seed, uint64_t sequence, bool has_low_rank) {
  Rng rng(seed);
  Rng shared_rng(seed + 500 + sequence);
  SynKv kv;
  const Shared shared_keys = DrawShared(kv, KeySize, shared_rng);
  const Shared shared_values = DrawShared(kv, ValueSize, shared_rng);
  kv.keys.resize(size_t{kv.heads} * kv.tokens * kv.dim);
  kv.values.resize(kv.keys.size());
  for (uint32_t head = 0; head < kv.heads; ++head) {
    const Channels channels = DrawChannels(kv.dim, rng);
    Rng mixture_rng(seed + 700 + head);
    const LowRank shared{.keys = shared_keys,
                         .values = shared_values,
                         .key_mixture = DrawMixture(kv.dim, mixture_rng),
                         .value_mixture = DrawMixture(kv.dim, mixture_rng)};
    const LowRank* const low_rank = has_low_rank ? &shared : nullptr;
    DrawTokens(kv, head, channels, low_rank, rng);
    std::vector<double> queries;
    for (uint32_t i = 0; i < kv.queries; ++i) {
      const auto query = DrawQuery(kv, head, channels, rng);
      queries.insert(queries.end(), query.begin(), query.end());
    }
    if (sequence > 0) {
      Rng other(seed + 1000 * sequence + head);
      DrawTokens(kv, head, channels, low_rank, other);
    }
    for (uint32_t t = 0; t < kv.tokens; ++t) {
      Rotate(&kv.keys[kv.at(head, t)], kv.dim, t);
    }
    for (uint32_t i = 0; i < kv.queries; ++i) {
      ScaleQuery(kv, head, &queries[size_t{i} * kv.dim]);
    }
    kv.query.insert(kv.query.end(), queries.begin(), queries.end());
  }
  if (sequence == 0) FillAttention(kv);
  return kv;
}

}  // namespace

SynKv MakeSynKv(uint64_t seed, uint64_t sequence) {
  return Make(seed, sequence, false);
}

SynKv MakeLowRankKv(uint64_t seed, uint64_t sequence) {
  return Make(seed, sequence, true);
}

KvError Compare(const SynKv& kv, const std::vector<double>& keys,
                const std::vector<double>& values) {
  KvError error{.keys = RelativeError(kv.keys, keys),
                .values = RelativeError(kv.values, values),
                .norm95 = NormError95(kv, keys)};
  const double count = kv.heads * kv.queries;
  for (uint32_t head = 0; head < kv.heads; ++head) {
    for (uint32_t i = 0; i < kv.queries; ++i) {
      const size_t at = size_t{head} * kv.queries + i;
      const double* const p = &kv.attention[at * kv.tokens];
      const double* const o = &kv.output[at * kv.dim];
      const auto q = Attention(Logits(kv, &kv.query[at * kv.dim], keys, head));
      for (uint32_t t = 0; t < kv.tokens; ++t) {
        if (p[t] > 0) error.divergence += p[t] * std::log(p[t] / q[t]) / count;
      }
      auto difference = Output(kv, q, values, head);
      for (uint32_t e = 0; e < kv.dim; ++e) difference[e] -= o[e];
      error.output +=
          std::sqrt(Dot(difference.data(), difference.data(), kv.dim) /
                    Dot(o, o, kv.dim)) /
          count;
    }
  }
  return error;
}

}  // namespace banyan::testing
