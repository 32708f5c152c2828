// The client of a Banyan node. Operations are submitted and complete in the
// background; Drain takes the completions, an eventfd tells when there are
// some. The blocking calls do the same on the thread that makes them.
//
//   auto client = banyan::Client::Connect({.endpoint = "127.0.0.1:7600"});
//   auto ns = (*client)->OpenNamespace("demo", fingerprint);
//   auto hits = (*client)->Match(*ns, chain);
//
// Promises: a block counts as read only after all its bytes were verified here
//           against the identity that was asked for. Whatever is wrong with the
//           node is a miss or an error within the deadline, never a hang.
// Threads:  thread-safe, except Drain and DrainLayers: one thread at a time
//           each.
// Lifetime: buffers named in an operation stay valid until its completion was
//           drained (blocking calls: until they return). Every submitted
//           operation completes exactly once, also when the client is closed;
//           then those that follow a writer are cancelled.
// Errors:   kUnavailable (node down, or not asked because of that: reason
//           BREAKER), kDeadlineExceeded, kResourceExhausted (our queue is full,
//           or the node is), kInvalidArgument, kNotFound (no such namespace).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/fingerprint.h"
#include "client/cpp/layers.h"
#include "client/transport/read_result.h"
#include "kernels/codec/rope.h"

namespace banyan {

// Keys of one chain from its root, packed one after the other. A view.
struct KeyChain {
  std::string_view keys;
  size_t key_bytes = 32;
  std::string_view salt = {};

  size_t size() const { return keys.size() / key_bytes; }
};

// How bytes move between this process and the node. A call that a transport does not
// know goes by gRPC and is counted: blocks on the SSD and questions that are too long
// for kShm, layers and questions that are too long for kUcx.
//
// UCX belongs to the whole process: the first client that may use it (kAuto, kUcx)
// takes over its log, gives back the fatal signals that it handles, and turns off that
// it watches mmap. Processes that use UCX themselves set kGrpc or kShm.
enum class TransportKind : uint8_t {
  kAuto,  // Shared memory if the node is on this host, else UCX, else gRPC.
  kShm,   // Without it operations fail.
  kUcx,   // Likewise.
  kGrpc,
};

struct ClientOptions {
  std::string endpoint;        // "host:port" of the gRPC door.
  std::string client_id;       // Empty: made from host, pid and a random part.
  std::string engine = "cpp";  // For operators.
  int lookup_timeout_ms = 1000;
  int load_timeout_ms = 10000;   // Of a Get or Put of up to 64 MiB.
  int num_workers = 4;           // Submitted operations in flight;
  int num_followers = 16;        // those that follow a writer, beside them.
  size_t queue_max = 4096;       // Waiting of either; more are refused.
  bool verify_checksums = true;  // False only to measure their cost.
  TransportKind transport = TransportKind::kAuto;
  // A connection over UCX is given up once the node has not taken so many bytes, or
  // nothing for so long.
  uint64_t untaken_bytes_max = uint64_t{256} << 20;
  int untaken_ms_max = 10000;
  // Gets one line for each change of transport, and when connections were given up,
  // from a thread of the client's, so it must not destroy the client.
  std::function<void(std::string_view)> log;
};

// Which transport is in use.
struct TransportFacts {
  std::string name;  // "shm", "ucx" or "grpc".
  std::string why;
  uint64_t fallbacks = 0;  // Calls that went over gRPC although it is another.
  uint64_t given_up = 0;   // As ClientStats::connections_given_up.
};

// What a get demands.
struct GetOptions {
  // Of each block: the largest squared error over squared size, 0 to 0.5, else
  // kInvalidArgument reason QUALITY; 0: what was written, to the bit. A block that
  // is worse is a miss, and so is one of which nobody knows how good it is
  // (docs/codecs.md). Without it: any.
  std::optional<double> error_max;
};

struct ViewOptions {
  int ttl_ms = 10000;  // Of the lease, > 0; the node may shorten it.
  // kNow reads and verifies every byte before you do. kAtCommit relies on what
  // the node verified when the blocks were written: nothing is read, and damage
  // to the node's memory since then goes unseen.
  enum class Check : uint8_t { kNow, kAtCommit };
  Check check = Check::kNow;
  std::optional<double> error_max;  // As GetOptions::error_max.
};

// Leading blocks of what was asked for, in place in the node's memory: no copy.
// Read-only, by the memory itself.
//
// Invariant: while is_alive() says true, the blocks have not changed: the node
//            lets go of them only after it could say false.
// Lifetime:  the lease ends with the object, with its time, or with the session,
//            so with the client. The object may outlive the client; what it shows
//            stays readable memory, alive or not.
// Threads:   thread-compatible.
class BlockView {
 public:
  virtual ~BlockView() = default;

  virtual const std::vector<std::span<const std::byte>>& blocks() const = 0;

  // Ask after reading: if true, all that was read before was the blocks'; if
  // false, it may have been other blocks', or none's. A system call.
  virtual bool is_alive() const = 0;

  // A new end, counted from now. kFailedPrecondition: it has ended already.
  virtual absl::Status Renew(int ttl_ms) = 0;
};

// What a fingerprint does not say of a namespace.
struct NamespaceOptions {
  // The model's rotary embedding: wanted if Fingerprint::kv_codec has ":pre",
  // and not used otherwise.
  std::optional<codec::RopeSpec> rope;

  // What kv_codec, or ssd_codec, must know of the model, if it wants that, as nuq
  // does: the bytes that codec::Calibration::Serialize returned, at most 64 MiB. For
  // kv_codec it may be left out if the fingerprint names it and the node has it.
  // An empty Fingerprint::calibration_digest is filled in where it is brought.
  std::string calibration;

  // Of kv_codec: Put measures how far each block is from what it was, and the node
  // keeps that. Without it no get with an error_max finds these blocks.
  bool measures_error = true;

  // How the node keeps the blocks on its SSD, if this call creates the namespace:
  // SsdPolicy of proto/banyan/v1/cache.proto. Blocks that are to be encoded must
  // be written with PutOptions::piece_bytes of a layer, or by layers.
  std::string ssd_codec;
  double ssd_error_max = 0;  // Squared error over squared size. 0: 0.05.
};

struct OpenedNamespace {
  std::string id;           // Goes into every operation.
  std::string fingerprint;  // 16 bytes: seeds derived keys.
  std::string name;
  bool is_created = false;
  // Namespaces that differ in one field only, as "name (field)".
  std::vector<std::string> near_misses;
};

// What will become of the blocks of a chain, told by who knows. Advice: it moves
// blocks in the node's order of eviction, by as much as hints in this namespace
// proved right before. No hint makes a block unavailable, and wrong ones hurt
// only the blocks of the namespace they are told in.
struct ReuseHint {
  enum class Reuse : uint8_t {
    kUnknown,   // Only the length of the answer is told.
    kEnded,     // The session was closed, the job was a one-off.
    kExpected,  // It goes on within `within_ms`: a tool call is running.
    kKeep,      // It goes on, nobody knows when.
  };
  Reuse reuse = Reuse::kUnknown;
  int64_t within_ms = 0;  // Of kExpected; > 0.
  // Tokens that were generated after the prompt, told when the answer is
  // complete; 0: not told.
  uint32_t generated_tokens = 0;
};

enum class WriteResult : uint8_t {
  kCommitted,
  kExists,      // Stored already: nothing to do.
  kInProgress,  // Another writer is at it: nothing to do.
  kNoCapacity,  // What is there is pinned, or worth more to the node.
  kTooLarge,
};

// What an acknowledged block survives.
enum class Durability : uint8_t {
  kMemory,   // The client.
  kDurable,  // A crash of the node: it is on disk. Needs a node with an SSD.
};

struct PutOptions {
  uint64_t piece_bytes = 0;  // 0: one piece a block.
  // With kDurable, kCommitted and kExists mean that the block is on disk, but
  // for those that another writer is at (WriteResult::kInProgress).
  Durability durability = Durability::kMemory;
};

// What became of an operation.
struct Completion {
  uint64_t id = 0;
  absl::Status status;
  uint32_t hit_blocks = 0;           // Match, Hint; and Get: leading hits.
  std::vector<ReadResult> reads;     // Get: one a block.
  std::vector<uint64_t> read_bytes;  // Get: length of each block.
  std::vector<Tier> read_tiers;      // Get: one a block, of hits only.
  std::vector<WriteResult> writes;   // Put: one a block.
  // GetLayers that was submitted: tells that DrainLayers has not returned. They
  // came before this.
  std::vector<LayerTell> tells;
};

class Client {
 public:
  // Never waits for the node: an absent one shows in the operations.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(
      const ClientOptions& options);
  virtual ~Client() = default;

  // --- Asynchronous core. Each returns the operation's id.

  // How many leading blocks of the chain are stored.
  virtual uint64_t SubmitMatch(std::string_view namespace_id,
                               const KeyChain& chain) = 0;

  // Reads blocks [first, first + buffers.size()) of the chain, each into its
  // buffer. Blocks are read up to the first that is missing.
  virtual uint64_t SubmitGet(std::string_view namespace_id,
                             const KeyChain& chain, uint32_t first,
                             std::vector<std::span<std::byte>> buffers,
                             const GetOptions& options) = 0;
  uint64_t SubmitGet(std::string_view namespace_id, const KeyChain& chain,
                     uint32_t first,
                     std::vector<std::span<std::byte>> buffers) {
    return SubmitGet(namespace_id, chain, first, std::move(buffers), {});
  }

  // Writes blocks [first, first + payloads.size()) of the chain.
  virtual uint64_t SubmitPut(std::string_view namespace_id,
                             const KeyChain& chain, uint32_t first,
                             std::vector<std::span<const std::byte>> payloads,
                             const PutOptions& options) = 0;

  // Tells what will become of the stored part of the chain; typically after
  // the Put of the last turn, or when a session ends. Nothing waits for it.
  virtual uint64_t SubmitHint(std::string_view namespace_id,
                              const KeyChain& chain, const ReuseHint& hint) = 0;

  // SubmitGet, layer by layer over all blocks. Unlike it, it completes with
  // what became of each block only when that is known of all; until then tells
  // come.
  virtual uint64_t SubmitGetLayers(std::string_view namespace_id,
                                   const KeyChain& chain, uint32_t first,
                                   std::vector<std::span<std::byte>> buffers,
                                   const LayerOptions& options) = 0;

  // Tells of submitted operations since the last call, in the order they
  // happened; none of an operation whose completion was drained, which has those
  // that were left (Completion::tells).
  virtual std::vector<LayerTell> DrainLayers() = 0;

  // Readable while there are tells to drain. Owned by the client.
  virtual int layer_event_fd() const = 0;

  // Completions since the last call, in the order they happened.
  virtual std::vector<Completion> Drain() = 0;

  // Readable while there are completions to drain. Owned by the client.
  virtual int event_fd() const = 0;

  // --- Blocking calls: the same work on the caller's thread, so that as many
  // are in flight as threads make them, beside those that were submitted.

  // If the fingerprint names a codec, Put encodes the blocks of the namespace and
  // Get decodes them, for as long as the client lives: payloads and buffers are
  // blocks as the layout has them. GetView, GetLayers and PutLayers are refused
  // for such namespaces (kFailedPrecondition reason CODEC).
  // Errors: kInvalidArgument reason FINGERPRINT, CODEC, CALIBRATION, ROPE or POLICY;
  //         kFailedPrecondition reason LAYOUT, MODEL or POLICY: the name is taken;
  //         reason REFUSED: the node has it, and does not understand it.
  virtual absl::StatusOr<OpenedNamespace> OpenNamespace(
      std::string_view name, const Fingerprint& fingerprint,
      const NamespaceOptions& options) = 0;
  absl::StatusOr<OpenedNamespace> OpenNamespace(
      std::string_view name, const Fingerprint& fingerprint) {
    return OpenNamespace(name, fingerprint, {});
  }
  virtual absl::StatusOr<uint32_t> Match(std::string_view namespace_id,
                                         const KeyChain& chain) = 0;
  virtual Completion Get(std::string_view namespace_id, const KeyChain& chain,
                         uint32_t first,
                         std::vector<std::span<std::byte>> buffers,
                         const GetOptions& options) = 0;
  Completion Get(std::string_view namespace_id, const KeyChain& chain,
                 uint32_t first, std::vector<std::span<std::byte>> buffers) {
    return Get(namespace_id, chain, first, std::move(buffers), {});
  }
  virtual Completion Put(std::string_view namespace_id, const KeyChain& chain,
                         uint32_t first,
                         std::vector<std::span<const std::byte>> payloads,
                         const PutOptions& options) = 0;

  virtual Completion GetLayers(std::string_view namespace_id,
                               const KeyChain& chain, uint32_t first,
                               std::vector<std::span<std::byte>> buffers,
                               const LayerOptions& options) = 0;

  // Begins to write blocks [first, first + count) of the chain, layer by layer.
  // piece_bytes of the options is the node's to say: 0.
  virtual absl::StatusOr<std::unique_ptr<LayerWrite>> PutLayers(
      std::string_view namespace_id, const KeyChain& chain, uint32_t first,
      uint32_t count, const PutOptions& options) = 0;

  // Blocks [first, first + count) of the chain, up to the first that is missing,
  // in place.
  // Errors: kFailedPrecondition reason TRANSPORT: only with "shm"; use Get.
  //         kUnavailable reason COLD: some are on the SSD; reason QUESTION: too
  //         many keys for shared memory; use Get.
  //         kInvalidArgument reason TTL.
  virtual absl::StatusOr<std::unique_ptr<BlockView>> GetView(
      std::string_view namespace_id, const KeyChain& chain, uint32_t first,
      uint32_t count, const ViewOptions& options) = 0;

  // How many leading blocks the hint is on.
  virtual absl::StatusOr<uint32_t> Hint(std::string_view namespace_id,
                                        const KeyChain& chain,
                                        const ReuseHint& hint) = 0;

  // Since the client was made. Two readings together may be some calls apart.
  virtual ClientStats stats() const = 0;

  virtual TransportFacts transport() const = 0;

  // Waits until the session is open, and a transport was chosen, at most `timeout_ms`.
  virtual absl::Status WaitReady(int timeout_ms) = 0;
};

}  // namespace banyan
