// What client and node say to each other over UCX: active messages, each with a
// head of fixed size and a body.
//
// Format: docs/formats/ucx.md, vectors in docs/formats/ucx.json.
// Errors: what is no such message is kInvalidArgument, reason FRAME. Parsing
//         reads only what it was given and allocates no more than that.
#pragma once

#include <array>
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
#include "base/units.h"
#include "client/transport/read_result.h"

namespace banyan::transport {

inline constexpr size_t kUcxIdBytes = 16;  // Of tokens, namespaces and writes.

// Ids of active messages: one a direction.
inline constexpr unsigned kUcxToNode = 1;
inline constexpr unsigned kUcxToClient = 2;

// A body is at most so long. Bytes of a block come in parts of this length, but
// for the end of each piece, and shorter ones where a read ends.
inline constexpr size_t kUcxBodyBytesMax = 512 * kKiB;

// The head of a message, encoded.
class UcxHead {
 public:
  static constexpr size_t kBytesMax = 64;

  explicit UcxHead(size_t bytes) : size_(bytes) {}

  std::byte* data() { return bytes_.data(); }
  absl::Span<const std::byte> bytes() const { return {bytes_.data(), size_}; }

 private:
  std::array<std::byte, kBytesMax> bytes_{};
  size_t size_;
};

// ------------------------------------------------------------- to the node ---

enum class UcxToNodeKind : uint8_t {
  kHello = 1,   // The first message, and only that.
  kMatch = 2,   // How many leading blocks are stored?
  kGet = 3,     // Send leading blocks.
  kPut = 4,     // Bytes of a write.
  kCancel = 5,  // A get: send no more of it.
  kBye = 6,     // The client leaves.
  kCheck = 7,   // A block did not check out: look at it.
};
absl::StatusOr<UcxToNodeKind> UcxToNodeKindOf(absl::Span<const std::byte> head);

struct UcxHello {
  absl::string_view token;  // kUcxIdBytes, from Cache.OpenDoor.
};
UcxHead EncodeUcx(const UcxHello& hello);
absl::StatusOr<UcxHello> ParseUcxHello(absl::Span<const std::byte> head);

// kMatch, kGet, kCheck. Views into what was parsed.
struct UcxQuestion {
  UcxToNodeKind kind = UcxToNodeKind::kMatch;
  uint64_t call_id = 0;  // The client's; comes back with all that answers it.
  absl::string_view namespace_id;
  absl::string_view salt;
  KeyRun run;
  uint32_t first_piece = 0;
  uint32_t piece_count = 0;  // 0: to the end.
  uint32_t timeout_ms = 0;   // After which nobody waits for it any more.
  QualityFloor quality;      // Of kGet.
};
UcxHead EncodeUcx(const UcxQuestion& question);
// Its body, which may be longer than a body may be.
std::string UcxBodyOf(const UcxQuestion& question);
absl::StatusOr<UcxQuestion> ParseUcxQuestion(absl::Span<const std::byte> head,
                                             absl::Span<const std::byte> body);

// The body is the bytes.
struct UcxPut {
  uint64_t call_id = 0;
  absl::string_view write_id;
  uint32_t ordinal = 0;
  uint64_t offset = 0;
};
UcxHead EncodeUcx(const UcxPut& put);
absl::StatusOr<UcxPut> ParseUcxPut(absl::Span<const std::byte> head);

struct UcxCancel {
  uint64_t call_id = 0;  // Of the get.
};
UcxHead EncodeUcx(const UcxCancel& cancel);
absl::StatusOr<UcxCancel> ParseUcxCancel(absl::Span<const std::byte> head);

UcxHead EncodeUcxBye();
absl::Status ParseUcxBye(absl::Span<const std::byte> head);

// ----------------------------------------------------------- to the client ---

enum class UcxToClientKind : uint8_t {
  kWelcome = 1,  // Answers a hello.
  kBlock = 2,    // What the next bytes are of.
  kBytes = 3,    // Bytes of a block.
  kAnswer = 4,   // The end of a call; or, with call id 0, of the connection.
};
absl::StatusOr<UcxToClientKind> UcxToClientKindOf(
    absl::Span<const std::byte> head);

struct UcxWelcome {
  uint32_t group_blocks = 0;
  absl::string_view proof;  // kUcxIdBytes, from Cache.OpenDoor, too.
};
UcxHead EncodeUcx(const UcxWelcome& welcome);
absl::StatusOr<UcxWelcome> ParseUcxWelcome(absl::Span<const std::byte> head);

struct UcxBlock {
  uint64_t call_id = 0;
  uint32_t ordinal = 0;  // In the run of the question.
  Tier tier = Tier::kHost;
  uint64_t payload_bytes = 0;
  uint64_t piece_bytes = 0;
  uint64_t generation = 0;
  std::vector<Checksum128> checksums;  // Of the pieces asked for.
};
UcxHead EncodeUcx(const UcxBlock& block);
std::string UcxBodyOf(const UcxBlock& block);
absl::StatusOr<UcxBlock> ParseUcxBlock(absl::Span<const std::byte> head,
                                       absl::Span<const std::byte> body);

// The body is the bytes.
struct UcxBytes {
  uint64_t call_id = 0;
  uint32_t ordinal = 0;
  uint64_t offset = 0;  // In the payload.
};
UcxHead EncodeUcx(const UcxBytes& bytes);
absl::StatusOr<UcxBytes> ParseUcxBytes(absl::Span<const std::byte> head);

struct UcxAnswer {
  uint64_t call_id = 0;
  absl::Status status;
  // Of a match: the leading blocks. Of a get: the blocks that the node had, from
  // the first asked for on, damaged ones included.
  uint32_t blocks = 0;
  // Of a get or check: blocks that the node found damaged, by rising ordinal.
  std::vector<uint32_t> damaged;
};
UcxHead EncodeUcx(const UcxAnswer& answer);
std::string UcxBodyOf(const UcxAnswer& answer);
absl::StatusOr<UcxAnswer> ParseUcxAnswer(absl::Span<const std::byte> head,
                                         absl::Span<const std::byte> body);

}  // namespace banyan::transport
