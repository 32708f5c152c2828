#include "tiers/placement/eviction_policy.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "tiers/placement/arc_policy.h"
#include "tiers/placement/hazard_policy.h"
#include "tiers/placement/lru_policy.h"
#include "tiers/placement/s3fifo_policy.h"
#include "tiers/placement/wtinylfu_policy.h"

namespace banyan::tiers {

std::vector<std::string> EvictionPolicyNames() {
  return {"hazard", "lru", "arc", "s3fifo", "wtinylfu"};
}

absl::StatusOr<std::unique_ptr<EvictionPolicy>> MakeEvictionPolicy(
    absl::string_view name) {
  if (name == "lru") return std::make_unique<LruPolicy>();
  if (name == "hazard") return std::make_unique<HazardPolicy>();
  if (name == "arc") return std::make_unique<ArcPolicy>();
  if (name == "s3fifo") return std::make_unique<S3FifoPolicy>();
  if (name == "wtinylfu") return std::make_unique<WTinyLfuPolicy>();
  return MakeError(
      absl::StatusCode::kInvalidArgument, "EVICTION",
      absl::StrCat("eviction: \"", Echo(name), "\" is not a policy. Use ",
                   absl::StrJoin(EvictionPolicyNames(), ", "), "."));
}

}  // namespace banyan::tiers
