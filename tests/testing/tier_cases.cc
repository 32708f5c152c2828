#include "tests/testing/tier_cases.h"

#include <utility>

#include "base/check.h"
#include "base/units.h"
#include "tests/testing/faulty_tier.h"
#include "tiers/host/host_tier.h"

namespace banyan::testing {
namespace {

std::unique_ptr<tiers::Tier> MakeHostTier(uint64_t capacity_bytes) {
  auto tier = tiers::HostTier::Open(
      {.capacity_bytes = capacity_bytes, .prefault = false});
  BANYAN_CHECK(tier.ok());
  return *std::move(tier);
}

TierCase HostCase(std::string name, uint64_t capacity_bytes) {
  return {std::move(name),
          [capacity_bytes] { return MakeHostTier(capacity_bytes); },
          capacity_bytes};
}

}  // namespace

std::vector<TierCase> AllTiers() {
  constexpr uint64_t kOddBytes = 1000 * 4096 + 77;
  return {
      HostCase("HostSmall", kMiB),
      HostCase("HostOddCapacity", kOddBytes),
      HostCase("HostMedium", 32 * kMiB),
      {"FaultyWithoutFaults",
       [] { return std::make_unique<FaultyTier>(MakeHostTier(kMiB)); }, kMiB},
  };
}

}  // namespace banyan::testing
