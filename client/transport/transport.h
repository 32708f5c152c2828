// A Transport moves the bytes of blocks between a node and memory of this
// process: the one seam between the client and gRPC, shared memory or whatever
// else carries bytes. It asks for many blocks at once. It does not choose
// itself, does not retry, and keeps no breaker: its caller does.
//
// Invariant: a block counts as read, and a piece as landed, only after its bytes
//            in the caller's buffer were verified against the identity that was
//            asked for.
//            When a call has returned, whatever its status, nothing more is
//            written to the buffers it was given, nor read from them.
// Threads:   thread-safe; calls block the thread that makes them.
// Lifetime:  destroy all Memory first; no call may be under way.
// Errors:    a missing or damaged block is a result, never an error. Calls end
//            with kUnavailable (peer gone, or not reached), kDeadlineExceeded
//            (by 10 ms after the deadline at most), kCancelled, or what the node
//            answered, which has a reason where these have none. Blocks that
//            were verified before an error count.
// Oracle:    tests/integration/transport_contract_test.cc, which every
//            implementation passes unchanged.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/block_key.h"
#include "base/representation.h"
#include "client/transport/layers.h"
#include "client/transport/read_result.h"

namespace banyan::transport {

// Off only to measure what verification costs.
enum class Verification : uint8_t { kOn, kOffForBench };

// How long a call may take, and who may end it sooner: request_stop() on the
// token's source, from any thread.
struct Call {
  std::chrono::steady_clock::time_point deadline;
  std::stop_token cancel = {};
};

// Consecutive blocks of one chain. Views.
struct Blocks {
  std::string_view namespace_id;
  std::string_view salt;
  KeyRun run;
};

// Pieces of each block; count 0: to its end. Beyond it: kOutOfRange.
struct PieceRange {
  uint32_t first = 0;
  uint32_t count = 0;
};

// Is told of each piece as it lands, verified: block by block, by rising piece.
// Called on the thread of the call.
class PieceSink {
 public:
  virtual ~PieceSink() = default;
  virtual void OnPiece(uint32_t ordinal, uint32_t piece) = 0;
};

struct GetRequest {
  Blocks blocks;
  // One a block, each for its whole payload: a piece lands at its offset there.
  absl::Span<const std::span<std::byte>> buffers;
  PieceRange pieces = {};
  PieceSink* sink = nullptr;
  QualityFloor quality = {};  // Blocks that are worse are missing.
};

struct BlockRead {
  ReadResult result = ReadResult::kMiss;
  uint64_t payload_bytes = 0;  // Of hits.
  Tier tier = Tier::kHost;
  // Leading pieces of the range that landed: all of a hit, and of any other
  // block those before the first that did not.
  uint32_t landed_pieces = 0;
};

struct GetResult {
  std::vector<BlockRead> blocks;  // One a buffer.
  ClientStats found;
};

// A block of a write, as the node's verdict asked for it.
struct OutgoingBlock {
  uint32_t ordinal = 0;        // In the run of the Reserve.
  uint64_t checksum_seed = 0;  // Of its identity.
  std::span<const std::byte> payload;
  uint64_t piece_bytes = 0;  // 0: one piece.
};

struct PutRequest {
  std::string_view session_id;
  std::string_view write_id;
  absl::Span<const OutgoingBlock> blocks;
};

// Packed checksums of the pieces that were sent, one string a block: what to
// claim at Commit.
using SentChecksums = std::vector<std::string>;

// Memory that bytes come to or leave from often, prepared for that: its pages
// are there, and a transport that needs to has registered it with the hardware.
// Buffers need not lie in such memory; those that do are moved faster.
class Memory {
 public:
  virtual ~Memory() = default;
};

class Transport {
 public:
  virtual ~Transport() = default;

  // "grpc", "shm", "ucx": for logs and metrics.
  virtual std::string_view name() const = 0;

  // False once the connection is lost; then it stays so.
  virtual bool is_alive() { return true; }

  // `bytes` stays valid as long as the Memory. Empty: kInvalidArgument.
  virtual absl::StatusOr<std::unique_ptr<Memory>> Register(
      std::span<std::byte> bytes);

  // How many leading blocks are stored.
  virtual absl::StatusOr<uint32_t> Match(const Blocks& blocks,
                                         const Call& call) = 0;

  // Reads blocks up to the first that is missing. A block larger than its buffer
  // is kInvalidArgument, reason BUFFER.
  // Requires: one buffer a key. `result` is overwritten.
  virtual absl::Status Get(const GetRequest& request, const Call& call,
                           GetResult& result) = 0;

  // Sends all bytes of these blocks; nothing is visible before Commit. Blocks
  // must not be empty. `sent` is overwritten.
  virtual absl::Status Put(const PutRequest& request, const Call& call,
                           SentChecksums& sent) = 0;

  // Reads leading blocks layer by layer (client/transport/layers.h). `result`
  // says what became of each, as for Get; it counts, whatever was told before.
  // Without such calls: kUnimplemented reason LAYERS, as all here.
  // Errors: those of Cache.GetLayers; kDeadlineExceeded also with reason
  //         WRITER.
  virtual absl::Status GetLayers(const LayersRequest& request, const Call& call,
                                 GetResult& result);

  // Sends pieces of a write by layers; their checksums are in `sums`, in the
  // same order. When it returns, those who follow the write may have them.
  // Errors: those of Cache.PutLayers. After one the write is lost.
  virtual absl::Status PutPieces(const PiecesRequest& request, const Call& call,
                                 std::vector<Checksum128>& sums);
};

// Seeds of the piece checksums of all blocks, by ordinal.
std::vector<uint64_t> ChecksumSeeds(const Blocks& blocks);

// The packed checksums of a payload's pieces.
std::string PackedChecksums(uint64_t checksum_seed,
                            std::span<const std::byte> payload,
                            uint64_t piece_bytes);

}  // namespace banyan::transport
