// Goal: a node that is gone is not asked for a while, and one that answers is
// asked, whatever it answers.
// Method: statuses by hand under a fake clock.
#include "client/cpp/breaker.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/testing/fake_clock.h"

namespace banyan::client {
namespace {

absl::Status Refusal(absl::string_view reason) {
  return MakeError(absl::StatusCode::kUnavailable, reason, "no");
}

class BreakerTest : public ::testing::Test {
 protected:
  // True if the breaker is open after so many calls with this outcome.
  bool OpensAfter(int calls, const absl::Status& outcome) {
    for (int i = 0; i < calls; ++i) {
      if (!breaker_.Admit().ok()) return true;
      breaker_.Report(outcome);
    }
    return breaker_.is_open();
  }

  testing::FakeClock clock_;
  Breaker breaker_{clock_};
};

TEST_F(BreakerTest, OpensAfterThreeCallsWithoutAnAnswer) {
  EXPECT_FALSE(OpensAfter(2, absl::UnavailableError("connection refused")));
  EXPECT_TRUE(OpensAfter(1, absl::DeadlineExceededError("")));
  EXPECT_EQ(ErrorReason(breaker_.Admit()), "BREAKER");
}

TEST_F(BreakerTest, OneTrialAtATimeClosesIt) {
  ASSERT_TRUE(OpensAfter(3, absl::UnavailableError("")));
  clock_.Advance(absl::Seconds(1));

  EXPECT_TRUE(breaker_.Admit().ok());
  EXPECT_FALSE(breaker_.Admit().ok());
  breaker_.Report(absl::OkStatus());

  EXPECT_TRUE(breaker_.Admit().ok());
}

TEST_F(BreakerTest, ANodeWhoseDiskFailsIsThere) {
  EXPECT_FALSE(OpensAfter(10, Refusal("DURABILITY")));
  EXPECT_FALSE(OpensAfter(10, Refusal("SSD_READ_ONLY")));
  EXPECT_FALSE(OpensAfter(10, Refusal("SSD_NOT_ANSWERING")));
}

TEST_F(BreakerTest, ANodeThatIsDrainingIsAsGoodAsGone) {
  EXPECT_TRUE(OpensAfter(3, Refusal("DRAINING")));
}

TEST_F(BreakerTest, ANodeThatOpensNoSessionIsGone) {
  EXPECT_TRUE(OpensAfter(3, Refusal("SESSION")));
}

TEST_F(BreakerTest, ACallThatWasCancelledSaysNothingOfTheNode) {
  EXPECT_FALSE(OpensAfter(10, absl::CancelledError("")));
  ASSERT_FALSE(OpensAfter(2, absl::UnavailableError("")));
  breaker_.Report(absl::CancelledError(""));
  EXPECT_TRUE(OpensAfter(1, absl::UnavailableError("")))
      << "the third in a row";

  // Nor does a trial that was: the next one is as good.
  clock_.Advance(absl::Seconds(1));
  ASSERT_TRUE(breaker_.Admit().ok());
  breaker_.Report(absl::CancelledError(""));
  EXPECT_TRUE(breaker_.is_open());
  EXPECT_TRUE(breaker_.Admit().ok());
}

}  // namespace
}  // namespace banyan::client
