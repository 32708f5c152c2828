// One client at the UCX door: before its hello it may say nothing else, after it
// it asks on behalf of its session.
//
// Threads: all on the door's thread.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "cache_server/transfer/ucx.h"
#include "cache_server/transfer/ucx_cold_reads.h"
#include "cache_server/transfer/ucx_gets.h"
#include "client/transport/ucx_link.h"
#include "client/transport/ucx_messages.h"

namespace banyan::transfer {

class UcxConnection {
 public:
  // What all connections of a door share; outlives them.
  struct Shared {
    const UcxDoorOptions& options;
    engine::BlockStore& store;
    DoorTickets& tickets;
    UcxColdReads& cold;
    const Clock& clock;
  };

  UcxConnection(const Shared& shared, transport::UcxLinkPtr link,
                std::string peer);

  // An error: the client is to be cut, and the reason says why: FRAME (no message
  // of ours), TICKET, ANSWERS (it does not take what it asked for), BYE (it
  // leaves). `body` is null if it did not come with the message. Inside UCX.
  absl::Status OnMessage(absl::Span<const std::byte> head,
                         const absl::Span<const std::byte>* body);

  // A part of what it asked for. True if there may be more to do at once.
  bool Step() { return gets_->Step(); }

  // An error if its time is over: reason SILENT, SESSION or STALLED.
  absl::Status Look();

  // Lets go of all that UCX does not hold.
  void Drop() { gets_->Clear(); }

  bool is_welcome() const { return !session_id_.empty(); }
  bool is_pushing() const { return gets_->size() > 0 || link_->sending() > 0; }
  const std::string& peer() const { return peer_; }
  transport::UcxLink& link() { return *link_; }

 private:
  absl::Status Welcome(absl::Span<const std::byte> head);
  void Match(const transport::UcxQuestion& question);
  void Put(const transport::UcxPut& put, absl::Span<const std::byte> bytes);
  void Answer(const transport::UcxAnswer& answer);

  const Shared& shared_;
  const transport::UcxLinkPtr link_;
  const std::string peer_;
  const absl::Duration accepted_;
  const std::shared_ptr<UcxGets> gets_;  // Reads of the disk refer to it.
  std::string session_id_;               // Empty before its hello.
};

}  // namespace banyan::transfer
