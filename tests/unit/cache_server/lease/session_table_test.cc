// Sessions: one a client, alive while they are heard of.
#include "cache_server/lease/session_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/testing/fake_clock.h"

namespace banyan::lease {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class SessionTableTest : public ::testing::Test {
 protected:
  testing::FakeClock clock_;
  SessionTable table_{{.sessions_max = 2, .timeout = absl::Seconds(30)},
                      clock_};
};

TEST_F(SessionTableTest, OpenSessionLivesUntilItEnds) {
  const auto opened = table_.Open("a");
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(opened->fenced_id, "");
  EXPECT_TRUE(table_.Touch(opened->id).ok());
  EXPECT_TRUE(table_.End(opened->id));
  EXPECT_FALSE(table_.End(opened->id));
  EXPECT_EQ(ErrorReason(table_.Touch(opened->id)), "SESSION");
  EXPECT_EQ(table_.size(), 0u);
}

TEST_F(SessionTableTest, NewerSessionFencesTheOlder) {
  const std::string older = table_.Open("a")->id;
  const auto newer = table_.Open("a");
  EXPECT_EQ(newer->fenced_id, older);
  EXPECT_FALSE(table_.Touch(older).ok());
  EXPECT_FALSE(table_.End(older)) << "and does not end the newer";
  EXPECT_TRUE(table_.Touch(newer->id).ok());
  EXPECT_EQ(table_.size(), 1u);
}

TEST_F(SessionTableTest, FullTableStillTakesKnownClients) {
  ASSERT_TRUE(table_.Open("a").ok());
  ASSERT_TRUE(table_.Open("b").ok());
  const absl::Status full = table_.Open("c").status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(full), "SESSIONS");
  EXPECT_EQ(RetryDelay(full), absl::Seconds(1));
  EXPECT_TRUE(table_.Open("b").ok());
}

TEST_F(SessionTableTest, LongNotesAreCutBetweenCharacters) {
  const std::string id = table_.Open("a")->id;
  const std::string x255(255, 'x');
  table_.SetNote(id, {.engine = std::string(300, 'e'),
                      .transport = x255 + "\u00e9 and more",
                      .why = x255.substr(2) + "\u20ac and more"});

  const auto note = table_.List().at(0).note;
  EXPECT_EQ(note.engine, std::string(256, 'e'));
  EXPECT_EQ(note.transport, x255);
  EXPECT_EQ(note.why, x255.substr(2) + "\u20ac");  // 253 and 3.
}

TEST_F(SessionTableTest, SilentSessionsExpire) {
  const std::string silent = table_.Open("a")->id;
  const std::string loud = table_.Open("b")->id;
  clock_.Advance(absl::Seconds(30));
  EXPECT_THAT(table_.Expire(), IsEmpty()) << "not yet longer than the limit";
  ASSERT_TRUE(table_.Touch(loud).ok());
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_THAT(table_.Expire(), ElementsAre(silent));
  EXPECT_EQ(table_.Open("a")->fenced_id, "");
}

TEST_F(SessionTableTest, ClientIdIsValidated) {
  EXPECT_EQ(table_.Open("").status().message(),
            "client_id: 0 bytes, need 1 to 128.");
  EXPECT_EQ(table_.Open(std::string(129, 'c')).status().message(),
            "client_id: 129 bytes, need 1 to 128.");
  EXPECT_TRUE(table_.Open(std::string(128, 'c')).ok());
}

}  // namespace
}  // namespace banyan::lease
