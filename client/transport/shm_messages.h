// What client and node say to each other through shared memory, and once, at
// the start, over the Unix socket.
//
// Format: docs/formats/shm.md, vectors in docs/formats/shm.json.
// Errors: what is no such message is kInvalidArgument, reason FRAME. Parsing
//         reads only what it was given and allocates no more than that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/block_key.h"
#include "base/checksum.h"
#include "base/representation.h"

namespace banyan::transport {

inline constexpr size_t kShmIdBytes = 16;  // Of tokens, namespaces and leases.

// ------------------------------------------------------------- the socket ---

// The first and only message of a client.
struct ShmHello {
  std::string token;  // kShmIdBytes, from Cache.OpenDoor.
};
std::string EncodeHello(const ShmHello& hello);
absl::StatusOr<ShmHello> ParseHello(absl::string_view bytes);
inline constexpr size_t kShmHelloBytes = 32;

// The answer. With it come three descriptors: channel, window, arena.
struct ShmWelcome {
  uint64_t channel_bytes = 0;
  uint64_t window_bytes = 0;
  uint64_t arena_bytes = 0;
  uint32_t group_blocks = 0;
  bool is_prefaulted = false;  // Reading the arena takes no new memory.
  std::string proof;           // kShmIdBytes, from Cache.OpenDoor, too.
};
std::string EncodeWelcome(const ShmWelcome& welcome);
absl::StatusOr<ShmWelcome> ParseWelcome(absl::string_view bytes);
inline constexpr size_t kShmWelcomeBytes = 64;

// ---------------------------------------------------------------- questions ---

enum class ShmKind : uint8_t {
  kMatch = 1,    // How many leading blocks are stored?
  kGet = 2,      // Pin blocks until the slot is released, and where are they?
  kLease = 3,    // The same under a lease.
  kCheck = 4,    // A block of this slot's kGet does not check out: look at it.
  kRenew = 5,    // A lease.
  kRelease = 6,  // A lease.
  kPut = 7,      // Bytes of a write lie in this slot's part of the window.
  // Of client/transport/shm_layer_messages.h.
  kOpenLayers = 8,  // Pin blocks as kGet, to read them layer by layer.
  kFollow = 9,      // The same, and blocks that are being written.
  kLayers = 10,  // Pieces of the layers of this slot's blocks: where are they?
  kPutPieces = 11,  // As kPut, of a write by layers.
};

// kMatch, kGet, kLease, kOpenLayers, kFollow. Views into what was parsed.
struct ShmBlocksQuestion {
  ShmKind kind = ShmKind::kMatch;
  absl::string_view namespace_id;
  absl::string_view salt;
  KeyRun run;
  uint32_t first_piece = 0;  // Of kOpenLayers and kFollow: layers.
  uint32_t piece_count = 0;
  uint32_t ttl_ms = 0;   // Of kLease.
  QualityFloor quality;  // Of all but kMatch.
};
// The size it takes; it may be more than an area holds.
size_t QuestionBytes(const ShmBlocksQuestion& question);
// Requires: out.size() == QuestionBytes(question).
void EncodeQuestion(const ShmBlocksQuestion& question,
                    absl::Span<std::byte> out);

struct ShmCheck {
  uint32_t ordinal = 0;
};
struct ShmLeaseQuestion {
  ShmKind kind = ShmKind::kRenew;
  uint32_t ttl_ms = 0;
  absl::string_view lease_id;
};
struct ShmPut {
  absl::string_view write_id;
  uint32_t ordinal = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;  // From the front of the part.
};
std::string EncodeQuestion(const ShmCheck& check);
std::string EncodeQuestion(const ShmLeaseQuestion& question);
std::string EncodeQuestion(const ShmPut& put);

// The kind of any question; the parsers below refuse other kinds.
absl::StatusOr<ShmKind> KindOf(absl::Span<const std::byte> bytes);
absl::StatusOr<ShmBlocksQuestion> ParseBlocks(
    absl::Span<const std::byte> bytes);
absl::StatusOr<ShmCheck> ParseCheck(absl::Span<const std::byte> bytes);
absl::StatusOr<ShmLeaseQuestion> ParseLease(absl::Span<const std::byte> bytes);
absl::StatusOr<ShmPut> ParsePut(absl::Span<const std::byte> bytes);

// ------------------------------------------------------------------ answers ---

// Any answer may be an error instead.
std::string EncodeError(const absl::Status& status);

// Of kMatch (blocks), kRenew (blocks: 1 if the lease is alive, 0), and of what
// has nothing to say.
std::string EncodeCount(uint32_t count);
absl::StatusOr<uint32_t> ParseCount(absl::Span<const std::byte> bytes);

// A block in the arena.
struct ShmBlock {
  uint64_t offset = 0;  // In the arena.
  uint64_t payload_bytes = 0;
  uint64_t piece_bytes = 0;
  uint64_t generation = 0;
  std::vector<Checksum128> checksums;  // Of the pieces asked for.
};
// True if these are `count` pieces of it from `first` on, or, if that is 0, all to
// the end; and one at least.
bool HasPieces(const ShmBlock& block, uint32_t first, uint32_t count);

enum class ShmEnd : uint8_t {
  kAnswered = 0,  // All blocks that were asked for.
  kMiss = 1,      // The next one is not stored.
  kFull = 2,      // The answer is full: ask again from there on.
};
struct ShmBlocksAnswer {
  ShmEnd end = ShmEnd::kAnswered;
  uint32_t lease_ms = 0;         // The blocks stay where they are so long.
  std::string lease_id;          // kLease: kShmIdBytes, or empty with no block.
  std::vector<ShmBlock> blocks;  // Leading ones.
};
size_t BlockBytes(size_t checksums);
inline constexpr size_t kShmBlocksHeadBytes = 40;
std::string EncodeBlocks(const ShmBlocksAnswer& answer);
absl::StatusOr<ShmBlocksAnswer> ParseBlocksAnswer(
    absl::Span<const std::byte> bytes);

}  // namespace banyan::transport
