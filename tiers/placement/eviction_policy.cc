#include "tiers/placement/eviction_policy.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "tiers/placement/lru_policy.h"

namespace banyan::tiers {

absl::StatusOr<std::unique_ptr<EvictionPolicy>> MakeEvictionPolicy(
    absl::string_view name) {
  if (name == "lru") return std::make_unique<LruPolicy>();
  return MakeError(
      absl::StatusCode::kInvalidArgument, "EVICTION",
      absl::StrCat("eviction: \"", Echo(name), "\" is not a policy. Use lru."));
}

}  // namespace banyan::tiers
