// What became of blocks that were read: the words that the client's public
// header and the transports share.
#pragma once

#include <cstdint>

namespace banyan {

enum class ReadResult : uint8_t {
  kHit,
  kMiss,
  kCorrupt,  // The bytes failed verification, here or there: a miss.
  // Of a read by layers: the write that was followed ended without a commit. A
  // miss, and what was told of the block is void.
  kWithdrawn,
};

// Where the node had a block that was read.
enum class Tier : uint8_t { kHost, kSsd };

// What this client found wrong with blocks that a node sent, by reason. Each
// was a miss or an error for whoever asked; none was handed out.
struct ClientStats {
  uint64_t hit_blocks = 0;
  uint64_t corrupt_checksum = 0;  // Blocks: the bytes do not check out.
  uint64_t corrupt_length = 0;    // Blocks: not the bytes that the head says.
  uint64_t corrupt_codec = 0;     // Blocks: not encoded as the namespace says.
  uint64_t corrupt_server = 0;    // Blocks: the node found them damaged.
  uint64_t broken_frame = 0;      // Calls: a frame is no message of its kind.
  uint64_t broken_order = 0;      // Calls: heads, bytes and ends do not fit.
  uint64_t unanswered = 0;        // Blocks: the call ended well without them.
  // Beside those: connections over UCX that this client gave up, since the node did
  // not take what was sent to it (docs/adr/0011-ucx-by-push.md).
  uint64_t connections_given_up = 0;

  uint64_t found_wrong() const {
    return corrupt_checksum + corrupt_length + corrupt_codec + corrupt_server +
           broken_frame + broken_order + unanswered;
  }

  ClientStats& operator+=(const ClientStats& more) {
    hit_blocks += more.hit_blocks;
    corrupt_checksum += more.corrupt_checksum;
    corrupt_length += more.corrupt_length;
    corrupt_codec += more.corrupt_codec;
    corrupt_server += more.corrupt_server;
    broken_frame += more.broken_frame;
    broken_order += more.broken_order;
    unanswered += more.unanswered;
    connections_given_up += more.connections_given_up;
    return *this;
  }
};

}  // namespace banyan
