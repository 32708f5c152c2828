// Tickets for the doors beside gRPC: a client gets one in its session, over
// gRPC, and shows it where it comes in. So a door knows whose session it serves
// without a secret of its own, and who has no session cannot come in.
//
// Invariant: a ticket opens one door, once, within Options::ttl.
// Threads:   thread-safe.
#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace banyan::transfer {

class DoorTickets {
 public:
  struct Options {
    absl::Duration ttl = absl::Seconds(5);
    size_t tickets_max = 4096;
  };

  DoorTickets(const Options& options, const Clock& clock)
      : options_(options), clock_(clock) {}

  // `name` as in banyan.v1 ("shm"); `address` is for clients to connect to.
  void AddDoor(absl::string_view name, absl::string_view address);

  struct Ticket {
    std::string address;
    std::string token;  // 16 random bytes.
    std::string proof;  // 16 more, by which the client knows the door.
    absl::Duration ttl;
  };
  // Errors: kNotFound reason DOOR: no such door is open here;
  //         kResourceExhausted reason TICKETS.
  absl::StatusOr<Ticket> Issue(absl::string_view door,
                               absl::string_view session_id);

  struct Guest {
    std::string session_id;  // That the ticket was issued to.
    std::string proof;       // To be said to the client.
  };
  // The ticket is used up. Errors: kUnauthenticated reason TICKET.
  absl::StatusOr<Guest> Redeem(absl::string_view door, absl::string_view token);

 private:
  struct Issued {
    std::string door;
    Guest guest;
    absl::Duration end;
  };

  const Options options_;
  const Clock& clock_;
  Mutex mutex_;
  absl::flat_hash_map<std::string, std::string> addresses_  // By door.
      ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, Issued> issued_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::transfer
