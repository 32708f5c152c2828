// What is there of UCX in a build without it: nothing, and that it says.
#include "base/error.h"
#include "cache_server/transfer/ucx.h"

namespace banyan::transfer {

absl::StatusOr<std::unique_ptr<Door>> OpenUcxDoor(const UcxDoorOptions&,
                                                  engine::BlockStore&,
                                                  tiers::Executor&,
                                                  DoorTickets&, const Clock&) {
  return MakeError(absl::StatusCode::kUnimplemented, "UCX_ABSENT",
                   "ucx-port: no UCX in this build. Build with libucx-dev, or "
                   "pass --ucx-port off.");
}

}  // namespace banyan::transfer
