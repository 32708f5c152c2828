// Answers the questions of shared memory: decodes, makes one call to the engine
// and encodes its answer, like service/ does for gRPC. Payload is not touched
// here, but for puts, whose bytes are copied out of the writer's reach before
// they are looked at.
//
// Threads:  thread-safe; a Slot belongs to one thread.
// Lifetime: store and host outlive *this. Destroy all pins of slots and leases
//           before them.
#pragma once

#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "cache_server/engine/block_store.h"
#include "client/transport/shm_layer_messages.h"
#include "client/transport/shm_messages.h"
#include "tiers/host/host_tier.h"

namespace banyan::transfer {

class ShmCalls {
 public:
  struct Options {
    // How long the blocks of a get stay pinned for a reader that does not
    // release them.
    absl::Duration pin_ttl = absl::Seconds(10);
  };

  // Blocks that stay where they are until `end`.
  struct Pinned {
    lease::PinSet pins;  // Null: none.
    absl::Duration end;
  };
  // What the node keeps between a question in this slot and the next.
  struct Slot {
    lease::PinSet pins;                           // Of a get or a lease,
    std::unique_ptr<engine::LayeredRead> layers;  // or of a read by layers.
    absl::Duration end;

    bool is_empty() const { return pins == nullptr && layers == nullptr; }
  };

  // What a question may do that has nothing to tell yet.
  struct Patience {
    // Is told when it is to be asked again; null: it must be answered now.
    std::shared_ptr<engine::BlockWatcher> watcher;
    absl::Duration wait;  // Out: how long it wants to wait, if it does.
  };

  // The leases granted through one connection, by id. They hold the blocks of a
  // view beside the lease table: the table lets go when the session ends, the
  // reader may not know for a while yet.
  using Leases = absl::flat_hash_map<std::string, Pinned>;
  static constexpr size_t kLeasesMax = 4096;  // Of one connection.

  ShmCalls(engine::BlockStore& store, const tiers::HostTier& host,
           const Clock& clock, const Options& options)
      : store_(store), host_(host), clock_(clock), options_(options) {}

  // The answer to a question that came in this slot, at most `answer_bytes_max`
  // long; empty if it waits. `question` is a private copy; `part` is memory
  // that the client may change meanwhile.
  std::string Answer(absl::string_view session_id,
                     absl::Span<const std::byte> question,
                     absl::Span<const std::byte> part, size_t answer_bytes_max,
                     Slot& slot, Leases& leases, Patience& patience) const;
  std::string Answer(absl::string_view session_id,
                     absl::Span<const std::byte> question,
                     absl::Span<const std::byte> part, size_t answer_bytes_max,
                     Slot& slot, Leases& leases) const {
    Patience none;
    return Answer(session_id, question, part, answer_bytes_max, slot, leases,
                  none);
  }

  engine::BlockStore& store() const { return store_; }
  const Clock& clock() const { return clock_; }
  const tiers::Arena& arena() const { return host_.arena(); }

 private:
  absl::StatusOr<std::string> Dispatch(absl::string_view session_id,
                                       absl::Span<const std::byte> question,
                                       absl::Span<const std::byte> part,
                                       size_t answer_bytes_max, Slot& slot,
                                       Leases& leases,
                                       Patience& patience) const;
  absl::StatusOr<std::string> Get(const transport::ShmBlocksQuestion& question,
                                  size_t answer_bytes_max, Slot& slot) const;
  absl::StatusOr<std::string> Lease(
      absl::string_view session_id,
      const transport::ShmBlocksQuestion& question, size_t answer_bytes_max,
      Slot& slot, Leases& leases) const;
  absl::StatusOr<std::string> Check(const transport::ShmCheck& check,
                                    const Slot& slot) const;
  absl::StatusOr<std::string> RenewOrRelease(
      absl::string_view session_id, const transport::ShmLeaseQuestion& question,
      Leases& leases) const;
  absl::StatusOr<std::string> Put(absl::string_view session_id,
                                  const transport::ShmPut& put,
                                  absl::Span<const std::byte> part) const;
  // Of layers; cache_server/transfer/shm_layer_calls.cc.
  absl::StatusOr<std::string> OpenLayers(
      absl::string_view session_id,
      const transport::ShmBlocksQuestion& question, Slot& slot) const;
  absl::StatusOr<std::string> Layers(const transport::ShmLayersQuestion& asked,
                                     size_t answer_bytes_max, Slot& slot,
                                     Patience& patience) const;
  transport::ShmPiece PieceAt(const engine::LayeredRead& read, size_t block,
                              uint32_t row) const;
  absl::StatusOr<std::string> CheckLayers(
      const transport::ShmCheck& check, const engine::LayeredRead& read) const;
  absl::StatusOr<std::string> PutPieces(absl::string_view session_id,
                                        const transport::ShmPutPieces& put,
                                        absl::Span<const std::byte> part) const;
  absl::Status AddBlocks(const transport::ShmBlocksQuestion& question,
                         const lease::PinSet& pins, size_t answer_bytes_max,
                         transport::ShmBlocksAnswer& answer) const;

  engine::BlockStore& store_;
  const tiers::HostTier& host_;
  const Clock& clock_;
  const Options options_;
};

}  // namespace banyan::transfer
