// The reads of one client: finds and pins the blocks, and pushes them, a part at a
// time, of all reads in turn. A block stays pinned until its last part has left, or
// its read is given up: then only what UCX still holds stays.
//
// The client verifies what it gets. Of blocks in memory that is all; what comes from
// a disk is looked at before, as the disk may be read once more. A client that finds
// a block damaged has it checked: a read that sends nothing.
//
// Limits: reads at a time, and their blocks and time; bytes that they have pinned,
//         beyond which reads wait, unpinned, until others have got on (one may take
//         more than that, so that each has its turn); bytes that UCX holds, beyond
//         which all wait until it lets go of some.
// Threads: all on the door's thread, outside of UCX but for Begin and Cancel.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "cache_server/engine/block_store.h"
#include "cache_server/transfer/ucx.h"
#include "cache_server/transfer/ucx_cold_reads.h"
#include "client/transport/ucx_link.h"
#include "client/transport/ucx_messages.h"
#include "tiers/tier.h"

namespace banyan::transfer {

class UcxGets : public std::enable_shared_from_this<UcxGets> {
 public:
  // All but the link outlive *this.
  UcxGets(const UcxDoorOptions& limits, engine::BlockStore& store,
          UcxColdReads& cold, const Clock& clock, transport::UcxLinkPtr link);

  // Whatever becomes of it is told to the client.
  void Begin(const transport::UcxQuestion& question);
  // The client does not wait any more. Unknown ids are ignored.
  void Cancel(uint64_t call_id);

  // Looks at, or sends, one part. True if there may be more to do at once.
  bool Step();

  // Gives up the reads for which nobody waits any more.
  void DropOverdue();
  void Clear() { gets_.clear(); }

  size_t size() const { return gets_.size(); }
  // Since when UCX has let go of nothing of what it holds of our parts; infinitely
  // late if it holds nothing.
  absl::Duration waiting_since() const;

 private:
  struct Get {
    uint64_t serial = 0;
    uint64_t call_id = 0;
    absl::Duration end;
    // Until its blocks are pinned: while it waits for its turn, or for the disk.
    std::shared_ptr<const OwnedQuestion> question;
    bool is_waiting = false;  // For its turn.
    bool is_ready = false;    // Its blocks are pinned.
    bool is_check = false;    // Nothing is sent but the answer.
    uint32_t first_piece = 0;
    uint32_t piece_count = 0;
    std::vector<lease::PinnedBlock> blocks;
    uint64_t pinned_bytes = 0;  // Of these.
    std::vector<uint32_t> damaged;

    // Where it stands: in the piece `piece` of the block `next`.
    size_t next = 0;
    uint32_t piece = 0;
    bool has_sent_head = false;
    std::optional<tiers::PieceCheck> check;  // Under way.
    absl::Span<const std::byte> rest;        // Of the piece: to be sent.
  };
  // What UCX holds.
  struct Held final : transport::UcxLink::Watcher {
    explicit Held(const Clock& of) : clock(of) {}
    void OnLetGo(uint64_t let_go_bytes) override {
      bytes -= let_go_bytes;
      since = clock.Now();
    }

    const Clock& clock;
    uint64_t bytes = 0;
    absl::Duration since;  // The last that it let go of something.
  };

  absl::Status CheckLimits(const transport::UcxQuestion& question) const;
  absl::Duration EndOf(const transport::UcxQuestion& question) const;
  uint64_t PinnedBytes() const;
  // The first one that waits, if it may.
  void BeginWaiting();
  // `get` may be gone afterwards, as after Pinned.
  void Pin(Get& get, const transport::UcxQuestion& question);
  void Check(const transport::UcxQuestion& question);
  void Answer(uint64_t call_id, const absl::Status& status);
  void Pinned(Get& get, const absl::StatusOr<lease::PinSet>& pins);
  absl::Status CheckPieces(const Get& get) const;
  void ReadCold(Get& get, const transport::UcxQuestion& question);
  void ColdArrived(Get& get, const absl::StatusOr<lease::PinSet>& pins);
  // Of a block: its next piece, or part of it.
  void Advance(Get& get);
  void BeginPiece(Get& get);
  void OnChecked(Get& get);
  void SendPiece(Get& get, absl::Span<const std::byte> bytes);
  void SendPart(Get& get);
  void NextPiece(Get& get);
  void NextBlock(Get& get);
  void Finish(std::list<Get>::iterator get);

  const UcxDoorOptions& limits_;
  engine::BlockStore& store_;
  UcxColdReads& cold_;
  const Clock& clock_;
  const transport::UcxLinkPtr link_;
  const std::shared_ptr<Held> held_;  // With the parts that are on their way.
  uint64_t last_serial_ = 0;
  std::list<Get> gets_;  // The first one is next.
};

}  // namespace banyan::transfer
