// Rotary position embedding: what an engine has done to the keys it stores, so
// that a codec can take it off before it encodes and put it on after it has
// decoded, at the same positions or at others.
//
// A key's first `rotary_dim` elements are pairs; the pair i of the token at
// position p is rotated by p times the frequency i, and multiplied by the
// attention scale:  (a, b) -> s (a cos - b sin, b cos + a sin).
//
// Error:   cosines and sines are within 2^-24 of the true ones, so putting on
//          what was taken off changes a key by no more than a few 2^-24 of it.
// Threads: Rope is immutable; a RopeTable is thread-compatible.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace banyan::codec {

// Numbers are those of the format.
enum class RopePairs : uint8_t {
  kHalves = 0,      // (x[i], x[i + rotary_dim / 2]), as transformers has it.
  kNeighbours = 1,  // (x[2 i], x[2 i + 1]), as llama.cpp has it.
};
enum class RopeScaling : uint8_t {
  kNone = 0,
  kLinear = 1,  // Every frequency over `factor`.
  kNtk = 2,     // A larger base.
  kYarn = 3,
  kLlama3 = 4,
};

struct RopeSpec {
  double base = 10000;
  uint32_t rotary_dim = 0;
  RopePairs pairs = RopePairs::kHalves;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1;
  double attention_scale = 1;        // For YaRN, 0: 1 + ln(factor) / 10.
  uint32_t original_positions = 0;   // kYarn, kLlama3.
  double beta_fast = 32;             // kYarn.
  double beta_slow = 1;              // kYarn.
  double low_frequency_factor = 1;   // kLlama3.
  double high_frequency_factor = 4;  // kLlama3.

  // Names all of the above, for comparing.
  uint64_t Digest() const;
};

// Errors: kInvalidArgument, reason ROPE, naming the field that is wrong.
absl::Status Validate(const RopeSpec& spec);

// Radians a position of each pair. Requires: spec is valid.
std::vector<double> RopeFrequencies(const RopeSpec& spec);

// Cosines and sines of some consecutive positions.
struct RopeTable {
  uint32_t pairs = 0;
  RopePairs order = RopePairs::kHalves;
  std::vector<float> cosines;  // [token, pair]
  std::vector<float> sines;
};

// Positions end here.
inline constexpr uint64_t kRopePositionEnd = uint64_t{1} << 25;

class Rope {
 public:
  enum class Direction : uint8_t { kTakeOff, kPutOn };

  // For tables of up to so many tokens.
  static absl::StatusOr<std::unique_ptr<Rope>> Make(const RopeSpec& spec,
                                                    uint32_t tokens_max);

  RopeTable MakeTable() const;  // With room for `tokens_max`.

  // Requires: first_position + tokens_max <= kRopePositionEnd; the table is of
  // MakeTable.
  void Fill(uint64_t first_position, Direction direction,
            RopeTable& table) const;

  const RopeSpec& spec() const { return spec_; }

 private:
  Rope(const RopeSpec& spec, uint32_t tokens_max);

  RopeSpec spec_;
  uint32_t tokens_max_;
  std::vector<double> frequencies_;
  std::vector<double> cosines_;  // Of positions from 0: [token, pair]
  std::vector<double> sines_;
};

// Sine and cosine with one rounding that does not depend on a mathematical
// library. Requires: 0 <= x < kRopePositionEnd.
struct SineCosine {
  double sine;
  double cosine;
};
SineCosine SineCosineOf(double x);

}  // namespace banyan::codec
