// T-ROPE: frequencies of every scaling rule, and tables that undo themselves.
//
// Method: golden frequencies were computed from the rules' formulas in another
// language; sines are compared with the library's in long double.
#include "kernels/codec/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/error.h"

namespace banyan::codec {
namespace {

RopeSpec Llama3() {
  return {.base = 500000,
          .rotary_dim = 128,
          .scaling = RopeScaling::kLlama3,
          .factor = 8,
          .original_positions = 8192};
}

RopeSpec Yarn() {
  return {.base = 1e6,
          .rotary_dim = 128,
          .scaling = RopeScaling::kYarn,
          .factor = 4,
          .attention_scale = 0,
          .original_positions = 32768};
}

void ExpectFrequencies(const RopeSpec& spec,
                       const std::vector<std::pair<size_t, double>>& golden) {
  ASSERT_TRUE(Validate(spec).ok()) << Validate(spec);
  const std::vector<double> frequencies = RopeFrequencies(spec);
  ASSERT_EQ(frequencies.size(), spec.rotary_dim / 2);
  for (const auto& [pair, frequency] : golden) {
    EXPECT_NEAR(frequencies[pair] / frequency, 1, 1e-12) << "pair " << pair;
  }
}

TEST(RopeTest, FrequenciesAreThoseOfTheRule) {
  RopeSpec plain{.base = 10000, .rotary_dim = 64};
  ExpectFrequencies(
      plain, {{0, 1}, {1, 0.7498942093324559}, {31, 0.0001333521432163324}});
  plain.scaling = RopeScaling::kLinear;
  plain.factor = 4;
  ExpectFrequencies(plain, {{0, 0.25}, {31, 0.0001333521432163324 / 4}});
  plain.scaling = RopeScaling::kNtk;
  ExpectFrequencies(
      plain,
      {{0, 1}, {1, 0.7170983281048126}, {31, 0.0001333521432163324 / 4}});
  ExpectFrequencies(Llama3(), {{0, 1},
                               {28, 0.003211445994752591},
                               {29, 0.002166570763503359},
                               {34, 0.0001785078127679964},
                               {35, 9.556212353964683e-05},
                               {63, 3.068925988914511e-07}});
  ExpectFrequencies(Yarn(), {{0, 1},
                             {23, 0.006978305848598663},
                             {24, 0.005375321490790102},
                             {39, 6.490394320837029e-05},
                             {40, 4.445698525097307e-05},
                             {63, 3.102344401879299e-07}});
}

TEST(RopeTest, SinesAreThoseOfTheLibrary) {
  std::mt19937_64 rng(5);
  std::uniform_real_distribution<double> log_x(-20, std::log(3.3e7));
  for (int i = 0; i < 200000; ++i) {
    const double x = i == 0 ? 0 : std::exp(log_x(rng));
    const SineCosine found = SineCosineOf(x);
    ASSERT_NEAR(found.sine, std::sin(static_cast<long double>(x)), 3e-16) << x;
    ASSERT_NEAR(found.cosine, std::cos(static_cast<long double>(x)), 3e-16)
        << x;
  }
}

TEST(RopeTest, TablesHoldCosinesAndSinesOfTheirPositions) {
  for (const RopeSpec& spec : {Llama3(), Yarn()}) {
    const auto rope = Rope::Make(spec, 9);
    ASSERT_TRUE(rope.ok()) << rope.status();
    const std::vector<double> frequencies = RopeFrequencies(spec);
    const double scale = spec.scaling == RopeScaling::kYarn
                             ? 0.1 * std::log(spec.factor) + 1
                             : 1;
    RopeTable on = (*rope)->MakeTable();
    RopeTable off = (*rope)->MakeTable();
    for (const uint64_t first :
         {uint64_t{0}, uint64_t{77}, uint64_t{131072}, kRopePositionEnd - 9}) {
      (*rope)->Fill(first, Rope::Direction::kPutOn, on);
      (*rope)->Fill(first, Rope::Direction::kTakeOff, off);
      for (size_t i = 0; i < on.cosines.size(); ++i) {
        const size_t pair = i % on.pairs;
        const long double angle =
            static_cast<double>(first + i / on.pairs) * frequencies[pair];
        // Sums of two angles are each rounded once more.
        const double bound = 1e-7 + static_cast<double>(angle) * 3e-16;
        ASSERT_NEAR(on.cosines[i], scale * std::cos(angle), bound);
        ASSERT_NEAR(on.sines[i], scale * std::sin(angle), bound);
        ASSERT_NEAR(off.cosines[i], std::cos(angle) / scale, bound);
        ASSERT_NEAR(off.sines[i], -std::sin(angle) / scale, bound);
      }
    }
  }
}

TEST(RopeTest, DigestDependsOnEveryField) {
  const RopeSpec spec = Yarn();
  std::vector<RopeSpec> others(10, spec);
  others[0].base += 1;
  others[1].rotary_dim -= 2;
  others[2].pairs = RopePairs::kNeighbours;
  others[3].scaling = RopeScaling::kLinear;
  others[4].factor = 5;
  others[5].attention_scale = 1;
  others[6].original_positions = 4096;
  others[7].beta_fast = 31;
  others[8].beta_slow = 2;
  others[9].low_frequency_factor = 2;
  for (const RopeSpec& other : others) {
    EXPECT_NE(other.Digest(), spec.Digest());
  }
  EXPECT_EQ(Yarn().Digest(), spec.Digest());
}

TEST(RopeTest, NonsenseIsRefused) {
  std::vector<RopeSpec> bad(12, Yarn());
  bad[0].base = 1;
  bad[1].base = NAN;
  bad[2].rotary_dim = 0;
  bad[3].rotary_dim = 7;
  bad[4].pairs = static_cast<RopePairs>(2);
  bad[5].scaling = static_cast<RopeScaling>(5);
  bad[6].factor = 0.5;
  bad[7].attention_scale = -1;
  bad[8].original_positions = 0;
  bad[9].beta_fast = 0.5;
  bad[10] = Llama3();
  bad[10].high_frequency_factor = 1;
  bad[11] = {.base = 10000,
             .rotary_dim = 2,
             .scaling = RopeScaling::kNtk,
             .factor = 2};
  for (size_t i = 0; i < bad.size(); ++i) {
    const absl::Status status = Validate(bad[i]);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << i;
    EXPECT_EQ(ErrorReason(status), "ROPE") << i;
  }
}

}  // namespace
}  // namespace banyan::codec
