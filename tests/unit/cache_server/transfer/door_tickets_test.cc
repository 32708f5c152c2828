// Goal: a ticket opens one door, once, in time, for one session.
#include "cache_server/transfer/door_tickets.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/testing/fake_clock.h"

namespace banyan::transfer {
namespace {

class DoorTicketsTest : public ::testing::Test {
 protected:
  DoorTicketsTest() { tickets_.AddDoor("shm", "/run/x.sock"); }

  testing::FakeClock clock_;
  DoorTickets tickets_{{.ttl = absl::Seconds(5), .tickets_max = 3}, clock_};
};

TEST_F(DoorTicketsTest, ATicketOpensItsDoorOnce) {
  const auto ticket = tickets_.Issue("shm", "session");
  ASSERT_TRUE(ticket.ok());
  EXPECT_EQ(ticket->address, "/run/x.sock");
  EXPECT_EQ(ticket->token.size(), 16u);

  EXPECT_EQ(ticket->proof.size(), 16u);
  EXPECT_NE(ticket->proof, ticket->token);
  const auto guest = tickets_.Redeem("shm", ticket->token);
  EXPECT_EQ(guest->session_id, "session");
  EXPECT_EQ(guest->proof, ticket->proof);
  EXPECT_EQ(ErrorReason(tickets_.Redeem("shm", ticket->token).status()),
            "TICKET");
}

TEST_F(DoorTicketsTest, AnotherDoorUsesItUp) {
  tickets_.AddDoor("other", "address");
  const auto ticket = tickets_.Issue("shm", "session");

  EXPECT_FALSE(tickets_.Redeem("other", ticket->token).ok());
  EXPECT_FALSE(tickets_.Redeem("shm", ticket->token).ok());
}

TEST_F(DoorTicketsTest, UnknownDoorsAndTokensAreRefused) {
  EXPECT_EQ(ErrorReason(tickets_.Issue("ucx", "session").status()), "DOOR");
  EXPECT_FALSE(tickets_.Redeem("shm", std::string(16, 'x')).ok());
  EXPECT_FALSE(tickets_.Redeem("shm", "").ok());
}

TEST_F(DoorTicketsTest, AnOldTicketIsWorthless) {
  const auto ticket = tickets_.Issue("shm", "session");
  clock_.Advance(absl::Seconds(6));

  EXPECT_FALSE(tickets_.Redeem("shm", ticket->token).ok());
}

TEST_F(DoorTicketsTest, TicketsAreBoundedAndOldOnesMakeRoom) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(tickets_.Issue("shm", "s").ok());
  EXPECT_EQ(ErrorReason(tickets_.Issue("shm", "s").status()), "TICKETS");

  clock_.Advance(absl::Seconds(6));

  EXPECT_TRUE(tickets_.Issue("shm", "s").ok());
}

}  // namespace
}  // namespace banyan::transfer
