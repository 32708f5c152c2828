// The door for clients on other hosts: UCX. A build without UCX has none: then
// OpenUcxDoor fails, and nothing else is different.
//
// Who may come in: whoever has the ticket of a session. Others are cut, and so is
//            who says nothing for 5 s. UCX itself trusts whoever reaches the port:
//            see docs/adr/0011-ucx-by-push.md.
// Threads:   one of its own.
// Lifetime:  what is passed in outlives the door.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/units.h"
#include "cache_server/engine/block_store.h"
#include "cache_server/transfer/door_tickets.h"
#include "tiers/io/executor.h"

namespace banyan::transfer {

struct UcxDoorOptions {
  std::string bind = "127.0.0.1";  // Numeric, or "localhost".
  uint16_t port = 0;               // 0: a free one.
  size_t clients_max = 64;
  absl::Duration hello_timeout = absl::Seconds(5);
  // A client that takes nothing of what is sent to it is cut after so long.
  absl::Duration stall_timeout = absl::Seconds(30);
  // Of one client, so that one that hangs costs little. Reads at a time; bytes
  // that they have pinned, beyond which others wait their turn; blocks of one; and
  // its time, whatever the client says.
  size_t reads_max = 256;
  uint64_t pinned_bytes_max = 256 * kMiB;
  size_t read_blocks_max = 512;
  absl::Duration read_time_max = absl::Seconds(30);
  size_t answers_max = 4096;  // Of one client that it has not taken.
};

class Door {
 public:
  virtual ~Door() = default;
  virtual uint16_t port() const = 0;
};

// Errors: kUnimplemented reason UCX_ABSENT (not in this build);
//         kFailedPrecondition reason UCX_VERSION, UCX (port taken, or the like);
//         kInvalidArgument reason ADDRESS.
absl::StatusOr<std::unique_ptr<Door>> OpenUcxDoor(const UcxDoorOptions& options,
                                                  engine::BlockStore& store,
                                                  tiers::Executor& executor,
                                                  DoorTickets& tickets,
                                                  const Clock& clock);

}  // namespace banyan::transfer
