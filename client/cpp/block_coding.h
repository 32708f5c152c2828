// The blocks of one namespace as they are stored and travel: encoded, layer by
// layer, by the codec that the namespace's fingerprint names.
//
// A block whose values the codec must not encode (no number, or too large for
// it), or cannot make shorter, is sent as it is; its length tells, as an encoded block is always shorter.
//
// Format:  docs/formats/codec_block.md; a layer is a piece.
// Threads: thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/fingerprint.h"
#include "base/mutex.h"
#include "kernels/codec/block_codec.h"
#include "kernels/codec/block_pieces.h"

namespace banyan::client {

class BlockCoding {
 public:
  struct Options {
    std::optional<codec::RopeSpec> rope;  // Of the model; for ":pre" only.
    absl::Span<const std::byte> calibration = {};  // Of codecs that want one.
    bool measures = false;  // How far blocks are from what they were.
  };
  // Errors: kInvalidArgument reason CODEC, ROPE or CALIBRATION.
  static absl::StatusOr<std::unique_ptr<BlockCoding>> Make(
      const Fingerprint& fingerprint, const Options& options);

  // Of a block as the engine has it.
  uint64_t block_bytes() const { return layers_ * codec_->layer_bytes(); }

  // As it is stored, if none of its tokens is kept as it is; the most that it
  // may be, where that depends on its values.
  uint64_t stored_bytes() const;

  // Blocks as they are to be sent.
  struct Encoded {
    struct Block {
      std::span<const std::byte> payload;
      uint64_t piece_bytes = 0;
      // base/representation.h; 0: as it was, not measured, or beyond the classes.
      uint8_t error_class = 0;
    };
    std::vector<Block> blocks;

   private:
    friend class BlockCoding;
    std::vector<std::unique_ptr<std::byte[]>> owned_;
  };
  // Of consecutive blocks of a chain, beginning with block `first`. What is not
  // encoded is a view of the payload.
  // Errors: kInvalidArgument reason SIZE: a payload is no block;
  //         reason ROPE: beyond the last position.
  absl::StatusOr<Encoded> Encode(
      uint32_t first,
      absl::Span<const std::span<const std::byte>> payloads) const;

  // The other way round and in place: the first `stored_bytes` of the buffer
  // are block number `block` as it was stored; afterwards the buffer is the
  // block.
  // Requires: buffer.size() >= block_bytes(), stored_bytes <= buffer.size().
  // Errors: kDataLoss reason CODEC: nobody encoded this so. Then the buffer
  //         means nothing.
  absl::Status DecodeInPlace(uint32_t block, std::span<std::byte> buffer,
                             uint64_t stored_bytes) const;

 private:
  // Memory to work in: a call takes one, and gives it back.
  struct Workspace {
    codec::BlockCodec::Workspace codec;
    std::vector<std::byte> layer;  // An encoded one.
  };

  BlockCoding(std::unique_ptr<codec::BlockCodec> codec, codec::ElementType type,
              const Fingerprint& fingerprint, bool measures)
      : codec_(std::move(codec)),
        type_(type),
        layers_(fingerprint.layers),
        block_tokens_(fingerprint.block_tokens),
        measures_(measures) {}

  std::unique_ptr<Workspace> Take() const;
  void GiveBack(std::unique_ptr<Workspace> workspace) const;
  uint64_t PositionOf(uint64_t block) const { return block * block_tokens_; }
  // The class of a block's error.
  absl::StatusOr<uint8_t> Measure(uint64_t position,
                                  std::span<const std::byte> payload,
                                  const codec::EncodedPieces& pieces,
                                  Workspace& work) const;
  absl::Status DecodeLayers(std::span<std::byte> buffer, uint64_t piece_bytes,
                            Workspace& work) const;

  const std::unique_ptr<codec::BlockCodec> codec_;
  const codec::ElementType type_;
  const uint32_t layers_;
  const uint32_t block_tokens_;
  const bool measures_;  // And there may be an error.
  mutable Mutex mutex_;
  mutable std::vector<std::unique_ptr<Workspace>> idle_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::client
