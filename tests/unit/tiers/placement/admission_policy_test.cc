// Goal: each policy admits what its name says.
// Method: the borders of its rule.
#include "tiers/placement/admission_policy.h"

#include <gtest/gtest.h>

namespace banyan::tiers {
namespace {

TEST(AdmissionPolicyTest, AllAdmitsEverything) {
  const auto policy = *MakeAdmissionPolicy("all");
  EXPECT_EQ(policy->name(), "all");
  EXPECT_TRUE(policy->Admits({.touches = 0}));
}

TEST(AdmissionPolicyTest, TouchedAdmitsWhatWasAskedForAgain) {
  const auto policy = *MakeAdmissionPolicy("touched");
  EXPECT_FALSE(policy->Admits({.touches = 1}));
  EXPECT_TRUE(policy->Admits({.touches = 2}));
}

TEST(AdmissionPolicyTest, NoneAdmitsNothing) {
  const auto policy = *MakeAdmissionPolicy("none");
  EXPECT_FALSE(policy->Admits({.touches = 65535}));
}

TEST(AdmissionPolicyTest, OtherNamesAreInvalid) {
  EXPECT_TRUE(absl::IsInvalidArgument(MakeAdmissionPolicy("some").status()));
}

}  // namespace
}  // namespace banyan::tiers
