// What a Transport is asked, and tells, when blocks move layer by layer. A
// layer is a piece of each block; the node knows how many there are, by the
// layout of the namespace.
//
// Promise: a layer is told of only after its bytes in the buffers of all blocks
//          that count were verified; nothing is written there any more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/block_key.h"
#include "base/checksum.h"
#include "base/representation.h"

namespace banyan::transport {

// Is told of layers as they land. Called on the thread of the call.
class LayerSink {
 public:
  virtual ~LayerSink() = default;
  // This layer of the leading `blocks` blocks is in place. By rising layer.
  virtual void OnLayer(uint32_t layer, uint32_t blocks) = 0;
  // Only the leading `blocks` count from now on: what was told of others is
  // void.
  virtual void OnCut(uint32_t blocks) = 0;
};

// Consecutive layers of each block; count 0: to the last.
struct Layers {
  uint32_t first = 0;
  uint32_t count = 0;
};

struct LayersRequest {
  std::string_view namespace_id;
  std::string_view salt;
  KeyRun run;
  // One a key, each for its whole payload: a layer lands at its offset there.
  absl::Span<const std::span<std::byte>> buffers;
  Layers layers = {};
  // Also blocks that are being written, if this is somebody's session.
  std::string_view follower = {};
  LayerSink* sink = nullptr;
  QualityFloor quality = {};  // Blocks that are worse are missing.
};

// A layer of one block of a write by layers.
struct OutgoingPiece {
  uint32_t ordinal = 0;  // In the run of the Reserve.
  uint32_t piece = 0;
  uint64_t checksum_seed = 0;  // Of the block's identity.
  std::span<const std::byte> bytes;
};

// kDeadlineExceeded reason WRITER: the node answered, the writer that is
// followed did not write. Unlike the other deadlines it says nothing of the
// node.
absl::Status WriterIsSlow();

struct PiecesRequest {
  std::string_view session_id;
  std::string_view write_id;
  uint64_t piece_bytes = 0;  // Each is so long.
  absl::Span<const OutgoingPiece> pieces;
};

}  // namespace banyan::transport
