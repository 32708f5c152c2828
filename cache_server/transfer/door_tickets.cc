#include "cache_server/transfer/door_tickets.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/random_id.h"

namespace banyan::transfer {

void DoorTickets::AddDoor(absl::string_view name, absl::string_view address) {
  MutexLock lock(mutex_);
  addresses_[name] = std::string(address);
}

absl::StatusOr<DoorTickets::Ticket> DoorTickets::Issue(
    absl::string_view door, absl::string_view session_id) {
  const absl::Duration now = clock_.Now();
  MutexLock lock(mutex_);
  const auto address = addresses_.find(door);
  if (address == addresses_.end()) {
    return MakeError(
        absl::StatusCode::kNotFound, "DOOR",
        absl::StrCat("door: this node has no \"", Echo(door), "\". Use gRPC."));
  }
  Ticket ticket{.address = address->second,
                .token = RandomId(),
                .proof = RandomId(),
                .ttl = options_.ttl};
  if (issued_.size() >= options_.tickets_max) {
    absl::erase_if(issued_,
                   [&](const auto& entry) { return entry.second.end < now; });
  }
  if (issued_.size() >= options_.tickets_max) {
    return WithRetryDelay(
        MakeError(absl::StatusCode::kResourceExhausted, "TICKETS",
                  absl::StrCat("tickets: ", issued_.size(),
                               " are out, the limit. Retry, or use gRPC.")),
        options_.ttl);
  }
  issued_[ticket.token] = {
      .door = std::string(door),
      .guest = {.session_id = std::string(session_id), .proof = ticket.proof},
      .end = now + options_.ttl};
  return ticket;
}

absl::StatusOr<DoorTickets::Guest> DoorTickets::Redeem(
    absl::string_view door, absl::string_view token) {
  const absl::Status bad =
      MakeError(absl::StatusCode::kUnauthenticated, "TICKET",
                "ticket: unknown, used or too old. Get one with OpenDoor.");
  MutexLock lock(mutex_);
  const auto found = issued_.find(token);
  if (found == issued_.end()) return bad;
  Issued issued = std::move(found->second);
  issued_.erase(found);
  if (issued.door != door || issued.end < clock_.Now()) return bad;
  return std::move(issued.guest);
}

}  // namespace banyan::transfer
