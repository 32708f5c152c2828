// The transport for a node on this host: questions through shared memory, and
// payload copied, or read in place, from the node's own arena, which is mapped
// read-only here. Writing goes through a window that both see; the node copies
// out of it. The node spends no time on the bytes that are read.
//
// A get is: ask (the node finds and pins the blocks, says where and with which
// checksums), copy each piece while summing what was written, compare, release.
//
// Threads:  thread-safe; kShmSlots questions at a time, more wait for a slot.
// Lifetime: the mapping of the arena outlives the node's process, so a view
//           stays readable; what it shows then is what was there.
// Errors:   as in client/transport/transport.h. kUnavailable reason COLD: blocks
//           of the run are on the SSD, which is not in the arena; or reason
//           QUESTION: it has more keys than fit: ask by gRPC.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "client/transport/shm_channel.h"
#include "client/transport/shm_connect.h"
#include "client/transport/shm_messages.h"
#include "client/transport/transport.h"

namespace banyan::transport {

// When the bytes of a view are verified.
enum class ViewCheck : uint8_t { kNow, kAtCommit };

class ShmTransport final : public Transport {
 public:
  struct Options {
    ShmTicket ticket;  // From Cache.OpenDoor.
    std::chrono::milliseconds timeout{1000};
    Verification verification = Verification::kOn;
  };

  // Errors: kUnavailable reason SHM_SOCKET (not this host, or nobody there);
  //         kPermissionDenied reason SHM_PEER (what listens there is not the
  //         node that gave the ticket); kPermissionDenied, kUnauthenticated,
  //         kResourceExhausted from the node; kFailedPrecondition reason SHM_SEALS (memory whose size or
  //         content others could take from under us).
  static absl::StatusOr<std::unique_ptr<ShmTransport>> Connect(
      const Options& options);
  ~ShmTransport() override;

  bool is_alive() override;

  std::string_view name() const override { return "shm"; }
  absl::StatusOr<uint32_t> Match(const Blocks& blocks,
                                 const Call& call) override;
  absl::Status Get(const GetRequest& request, const Call& call,
                   GetResult& result) override;
  absl::Status Put(const PutRequest& request, const Call& call,
                   SentChecksums& sent) override;
  absl::Status GetLayers(const LayersRequest& request, const Call& call,
                         GetResult& result) override;
  absl::Status PutPieces(const PiecesRequest& request, const Call& call,
                         std::vector<Checksum128>& sums) override;

  // Leading blocks in place, under one lease.
  struct Leased {
    std::string lease_id;  // Empty if and only if there are no blocks.
    std::chrono::steady_clock::time_point end;
    std::vector<std::span<const std::byte>> blocks;
  };
  // kNow: each block is verified; the first that does not check out ends them.
  // kAtCommit: they are what the node verified when they were written, and are
  // not read at all here.
  // Leases at most as many blocks as one answer holds. A lease that a call which
  // failed was granted after all is given back at the next call.
  // kInvalidArgument reason TTL: not > 0.
  absl::StatusOr<Leased> Lease(const Blocks& blocks,
                               std::chrono::milliseconds ttl, ViewCheck check,
                               const Call& call, ClientStats& found,
                               QualityFloor quality = {});
  // The new end. kFailedPrecondition reason LEASE: it has ended.
  absl::StatusOr<std::chrono::steady_clock::time_point> Renew(
      const std::string& lease_id, std::chrono::milliseconds ttl,
      const Call& call);
  absl::Status Release(const std::string& lease_id, const Call& call);

 private:
  class SlotHold;
  class PutPipeline;
  class LayerGet;     // client/transport/shm_layer_get.cc.
  class PieceSender;  // client/transport/shm_piece_put.cc.
  enum class SlotState : uint8_t { kFree, kTaken, kAbandoned };

  ShmTransport(const Options& options, int socket, const ShmWelcome& welcome,
               ShmMapping channel, ShmMapping window, ShmMapping arena);

  void PopulateArena(const std::stop_token& stop);

  // Slots. An abandoned one comes back when the node has answered it after all.
  absl::StatusOr<uint32_t> TakeSlot(const Call& call);
  bool TryTakeSlot(uint32_t& slot);
  void ReturnSlot(uint32_t slot);
  void AbandonSlot(uint32_t slot);
  // Of an abandoned slot that was answered: frees it; or, if there is a lease to
  // be given back, does that through it, and leaves it abandoned until that is
  // answered.
  void Reclaim(uint32_t slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Puts a question of `bytes` into the slot's area with `encode`, and rings.
  void Post(uint32_t slot, size_t bytes,
            const std::function<void(absl::Span<std::byte>)>& encode);
  void Post(uint32_t slot, const std::string& question);
  // A private copy of the answer.
  absl::StatusOr<std::vector<std::byte>> Await(uint32_t slot, const Call& call);
  std::vector<std::byte> CopyAnswer(uint32_t slot) const;
  absl::Status CheckCall(const Call& call) const;

  // One question of a get: blocks from `next` on. Moves `next`.
  absl::Status GetSome(const GetRequest& request,
                       const std::vector<uint64_t>& seeds, const Call& call,
                       size_t& next, bool& is_over, GetResult& result);
  absl::Status CopyBlock(const GetRequest& request, const Call& call,
                         size_t ordinal, uint64_t seed, const ShmBlock& block,
                         GetResult& result) const;
  // The blocks of a lease that `hold` was just answered with, verified if so
  // wished. The node is told of a damaged one.
  absl::StatusOr<std::vector<std::span<const std::byte>>> ViewBlocks(
      const Blocks& blocks, const ShmBlocksAnswer& answer, ViewCheck check,
      const Call& call, SlotHold& hold, ClientStats& found) const;
  // Whether all pieces check out. An error if the call ends before.
  absl::StatusOr<bool> IsIntact(const ShmBlock& block, uint64_t seed,
                                std::span<const std::byte> payload,
                                const Call& call) const;
  absl::StatusOr<std::span<const std::byte>> InArena(
      const ShmBlock& block) const;

  const Options options_;
  const int socket_;
  const uint32_t group_blocks_;
  const ShmMapping channel_memory_;
  const ShmMapping window_;
  const ShmMapping arena_;
  std::atomic<bool> is_dead_{false};

  Mutex mutex_;
  CondVar slot_freed_;
  std::atomic<uint32_t> follows_{0};  // Calls that wait for writers.
  std::array<SlotState, kShmSlots> states_ ABSL_GUARDED_BY(mutex_){};
  // By slot, of whoever has taken it: what was asked last, whether the answer may
  // grant a lease, and the lease to be given back after it. Of abandoned ones,
  // guarded by mutex_.
  std::array<uint32_t, kShmSlots> asked_{};
  std::array<bool, kShmSlots> may_grant_{};
  std::array<std::string, kShmSlots> owed_;
  std::jthread populate_;  // Last: it uses the above.
};

}  // namespace banyan::transport
