// The tiers that the contract suite runs on. A new tier adds one line to
// AllTiers and must pass unchanged.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tiers/tier.h"

namespace banyan::testing {

struct TierCase {
  std::string name;  // Letters and digits, for the name of the test.
  // An empty tier of `capacity_bytes`.
  std::function<std::unique_ptr<tiers::Tier>()> make;
  uint64_t capacity_bytes;
};

std::vector<TierCase> AllTiers();

}  // namespace banyan::testing
