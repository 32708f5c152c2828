// Blocks layer by layer: a part of the client's interface
// (client/cpp/client.h). A prefill writes each layer as it is computed, a
// decode reads it as it is needed, even before the write was committed. How it
// works: docs/layers.md.
//
// Errors: as in client/cpp/client.h; a read that follows may end with
//         kDeadlineExceeded reason WRITER: the node is well, the writer slow.
//
// A layer is what the layout of the namespace says; opaque namespaces have none
// (kFailedPrecondition, reason LAYOUT).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"

namespace banyan {

struct Completion;

// Consecutive layers of each block; count 0: to the last.
struct LayerRange {
  uint32_t first = 0;
  uint32_t count = 0;
};

// News of a read by layers.
struct LayerTell {
  enum class What : uint8_t {
    kLanded,  // `layer` of the leading `blocks` blocks is verified, in place.
    kCut,     // Only those count from now on: what was told of others is void.
  };
  uint64_t id = 0;  // Of the operation; 0: a blocking call.
  What what = What::kLanded;
  uint32_t layer = 0;
  uint32_t blocks = 0;
};

struct LayerOptions {
  LayerRange layers;
  // Also blocks that another client is writing: their layers as they come,
  // which are void unless the block reads as a hit in the end. Without it such
  // blocks are missing. Who waits for a writer holds up no other operation
  // (ClientOptions::num_followers).
  bool follow = false;
  int timeout_ms = 0;               // 0: as for a Get of these bytes.
  std::optional<double> error_max;  // As GetOptions::error_max.
  // Gets the tells, by rising layer, on the thread of the call; the next bytes
  // wait for it. It must not destroy the client. Without it they are for
  // DrainLayers; blocking calls have none.
  std::function<void(const LayerTell&)> on_tell;
};

// A write whose layers are sent as they are ready. Whoever follows has them at
// once; everybody else has the blocks once Commit said so.
//
// Threads:  thread-compatible.
// Lifetime: destroy it before its client. Destroyed without Commit it is
//           aborted.
// Errors:   after one the write is lost: those who follow are told, and Commit
//           fails, too.
class LayerWrite {
 public:
  virtual ~LayerWrite() = default;

  // By block: false if it is stored, being written by another, or has no room;
  // then nothing of it is sent.
  virtual const std::vector<bool>& is_wanted() const = 0;
  virtual uint32_t layers() const = 0;
  virtual uint64_t layer_bytes() const = 0;

  // Sends one layer: a slice of layer_bytes() for each block that is wanted, in
  // the order of blocks, and anything for the others. Layers in any order, each
  // once. When it returns, the bytes are not needed any more.
  virtual absl::Status Put(
      uint32_t layer,
      const std::vector<std::span<const std::byte>>& slices) = 0;

  // Once all layers were sent. What became of each block, as of a Put.
  virtual Completion Commit() = 0;
};

}  // namespace banyan
