#include "tiers/placement/admission_policy.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace banyan::tiers {
namespace {

// Admits what has been touched often enough; writing counts as the first time.
class ByTouches final : public AdmissionPolicy {
 public:
  ByTouches(absl::string_view name, uint32_t touches_min)
      : name_(name), touches_min_(touches_min) {}

  absl::string_view name() const override { return name_; }
  bool Admits(const LeavingBlock& block) const override {
    return block.touches >= touches_min_;
  }

 private:
  const std::string name_;
  const uint32_t touches_min_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AdmissionPolicy>> MakeAdmissionPolicy(
    absl::string_view name) {
  if (name == "all") return std::make_unique<ByTouches>(name, 0);
  if (name == "touched") return std::make_unique<ByTouches>(name, 2);
  if (name == "none") return std::make_unique<ByTouches>(name, UINT32_MAX);
  return MakeError(absl::StatusCode::kInvalidArgument, "ADMISSION",
                   absl::StrCat("ssd-admission: \"", Echo(name),
                                "\" is not known. Use all, touched or none."));
}

}  // namespace banyan::tiers
