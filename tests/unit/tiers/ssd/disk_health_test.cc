// Goal: what calls of the disk come to is counted, and becomes the trouble, the
// message and the lines of log that an operator needs, no more of them.
// Method: calls by hand under a fake clock.
#include "tiers/ssd/disk_health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/units.h"
#include "tests/testing/fake_clock.h"
#include "tiers/io/file.h"

namespace banyan::tiers {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Op = DiskHealth::Op;
using Trouble = DiskHealth::Trouble;

constexpr absl::Duration kLimit = absl::Seconds(2);

class DiskHealthTest : public ::testing::Test {
 protected:
  void TakeCalls(int count, Op op, absl::Duration time, uint64_t bytes = 0) {
    for (int i = 0; i < count; ++i) {
      DiskHealth::Call call = health_.Begin(op, kLimit, bytes);
      clock_.Advance(time);
    }
  }
  std::vector<Trouble> Troubles() {
    std::vector<Trouble> troubles;
    for (const auto& problem : health_.Problems()) {
      troubles.push_back(problem.trouble);
    }
    return troubles;
  }
  uint64_t Errors(const std::string& op, const std::string& name) {
    return health_.counters().errors[{op, name}];
  }

  testing::FakeClock clock_;
  std::vector<std::string> log_;
  DiskHealth health_{{.clock = &clock_, .log = [this](absl::string_view line) {
                        log_.emplace_back(line);
                      }}};
};

TEST_F(DiskHealthTest, ADiskThatWorksHasNoTrouble) {
  TakeCalls(100, Op::kRead, absl::Milliseconds(1));
  health_.Note(Op::kRead, absl::OkStatus());

  EXPECT_THAT(Troubles(), IsEmpty());
  EXPECT_TRUE(health_.CanWrite().ok());
  EXPECT_TRUE(health_.Answers());
  EXPECT_THAT(log_, IsEmpty());
}

TEST_F(DiskHealthTest, ACallThatIsOverdueIsNoticedByWhoeverLooks) {
  DiskHealth::Call call = health_.Begin(Op::kSync, kLimit);
  EXPECT_TRUE(health_.Answers());

  clock_.Advance(kLimit + absl::Milliseconds(1));

  EXPECT_FALSE(health_.Answers());
  EXPECT_THAT(Troubles(), ElementsAre(Trouble::kNotAnswering));
  EXPECT_EQ(ErrorReason(health_.CanWrite()), "SSD_NOT_ANSWERING");
  EXPECT_EQ(Errors("sync", "ETIMEDOUT"), 1u);
  EXPECT_THAT(log_, ElementsAre(AllOf(HasSubstr("not answering since"),
                                      HasSubstr("overdue: sync 1"),
                                      HasSubstr("Check the disk"))));
}

TEST_F(DiskHealthTest, ADiskThatAnswersAgainIsAskedAgain) {
  DiskHealth::Call call = health_.Begin(Op::kRead, kLimit);
  clock_.Advance(absl::Seconds(10));
  ASSERT_FALSE(health_.Answers());

  call.End();

  EXPECT_TRUE(health_.Answers());
  EXPECT_TRUE(health_.CanWrite().ok());
  EXPECT_THAT(log_, SizeIs(2));
  EXPECT_THAT(log_[1], HasSubstr("answers again"));
}

TEST_F(DiskHealthTest, ACallThatIsGivenUpCountsOnceAndEndsWithItself) {
  DiskHealth::Call call = health_.Begin(Op::kRead, kLimit);

  call.GiveUp();
  clock_.Advance(2 * kLimit);

  EXPECT_FALSE(health_.Answers());
  EXPECT_EQ(Errors("read", "ETIMEDOUT"), 1u);
  DiskHealth::Call moved = std::move(call);
  EXPECT_FALSE(health_.Answers());
  moved = DiskHealth::Call();
  EXPECT_TRUE(health_.Answers());
}

TEST_F(DiskHealthTest, AFullDiskHealsWhenTheSameKindOfCallWorks) {
  health_.Note(Op::kCreate, IoError(ENOSPC, "/ssd/7.seg"));
  health_.Note(Op::kCreate, IoError(ENOSPC, "/ssd/8.seg"));
  health_.Note(Op::kWrite, absl::OkStatus());  // Into space it had before.

  EXPECT_THAT(Troubles(), ElementsAre(Trouble::kFull));
  EXPECT_TRUE(health_.CanWrite().ok()) << "or nobody would find out";
  EXPECT_EQ(Errors("create", "ENOSPC"), 2u);
  EXPECT_THAT(log_, ElementsAre(AllOf(HasSubstr("disk full since"),
                                      HasSubstr("/ssd/7.seg"),
                                      HasSubstr("Free disk space"))));

  health_.Note(Op::kCreate, absl::OkStatus());

  EXPECT_THAT(Troubles(), IsEmpty());
  EXPECT_THAT(log_, SizeIs(2));
}

TEST_F(DiskHealthTest, ReadErrorsAreATroubleForAMinute) {
  health_.Note(Op::kRead, IoError(EIO, "/ssd/7.seg"));
  health_.Note(Op::kRead, IoError(EIO, "/ssd/7.seg"));

  EXPECT_THAT(Troubles(), ElementsAre(Trouble::kReadErrors));
  EXPECT_TRUE(health_.Answers());
  EXPECT_EQ(Errors("read", "EIO"), 2u);
  EXPECT_THAT(log_, ElementsAre(AllOf(HasSubstr("reads fail since"),
                                      HasSubstr("Input/output error"))));

  clock_.Advance(absl::Seconds(61));

  EXPECT_THAT(Troubles(), IsEmpty());
}

TEST_F(DiskHealthTest, ASlowDiskIsOneThatIsSlowMostOfTheTime) {
  TakeCalls(15, Op::kRead, absl::Milliseconds(6));
  EXPECT_THAT(Troubles(), IsEmpty());

  TakeCalls(1, Op::kRead, absl::Milliseconds(6));

  EXPECT_THAT(Troubles(), ElementsAre(Trouble::kSlow));
  EXPECT_TRUE(health_.Answers());
  EXPECT_THAT(log_, ElementsAre(HasSubstr("slow since")));
  const auto read = static_cast<size_t>(Op::kRead);
  EXPECT_EQ(health_.counters().slow_calls[read], 16u);
  EXPECT_EQ(health_.counters().calls[read], 16u);

  TakeCalls(25, Op::kRead, absl::Milliseconds(1));

  EXPECT_THAT(Troubles(), IsEmpty());
  EXPECT_THAT(log_, SizeIs(2));
}

TEST_F(DiskHealthTest, LargeCallsAndSyncsMayTakeLonger) {
  TakeCalls(32, Op::kWrite, absl::Milliseconds(150), 16 * kMiB);
  TakeCalls(32, Op::kSync, absl::Milliseconds(90));

  EXPECT_THAT(Troubles(), IsEmpty());
}

TEST_F(DiskHealthTest, ReadOnlyIsForGoodAndTheWorst) {
  health_.Note(Op::kRead, IoError(EIO, "/ssd/7.seg"));
  health_.Note(Op::kWrite, IoError(ENOSPC, "/ssd/7.seg"));

  health_.NoteReadOnly(MakeError(absl::StatusCode::kUnavailable,
                                 "SSD_READ_ONLY", "ssd tier read-only."));
  health_.NoteReadOnly(
      MakeError(absl::StatusCode::kUnavailable, "SSD_READ_ONLY", "again"));

  EXPECT_THAT(Troubles(), ElementsAre(Trouble::kReadOnly, Trouble::kReadErrors))
      << "a disk that is not written is not full";
  EXPECT_EQ(health_.Problems()[0].message, "ssd tier read-only.");
  EXPECT_EQ(ErrorReason(health_.CanWrite()), "SSD_READ_ONLY");
}

TEST_F(DiskHealthTest, MessagesAreOneLineOfBoundedLength) {
  const std::string path(1000, 'x');
  health_.Note(Op::kRead, IoError(EIO, path));
  health_.Note(Op::kCatalogue, IoError(ENOSPC, path));
  DiskHealth::Call call = health_.Begin(Op::kRead, kLimit);
  call.GiveUp();
  TakeCalls(16, Op::kSync, absl::Seconds(1));

  ASSERT_THAT(health_.Problems(), SizeIs(4));
  for (const auto& problem : health_.Problems()) {
    EXPECT_LE(problem.message.size(), kErrorBytesMax) << problem.message;
    EXPECT_EQ(problem.message.find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace banyan::tiers
