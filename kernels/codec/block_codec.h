// A BlockCodec encodes the layers of blocks of one layout, each into a piece of
// its own, and decodes them: keys and values by specs of their own, the first
// tokens of a sequence kept as they are if the spec says so. An encoded layer
// says what it is; it is decoded only by a codec that would have written it.
//
//   Workspace work = codec.MakeWorkspace();
//   BANYAN_RETURN_IF_ERROR(codec.StartEncoding(position, work));
//   for (each layer) codec.EncodeLayer(layer, work, encoded);
//
// How long an encoded layer is may depend on its values, as it does for
// `lossless`. EncodeLayerSized encodes with any spec and says how long.
//
// Format:  docs/formats/codec_block.md.
// Threads: BlockCodec is immutable, thread-safe; a Workspace serves one thread.
//          Nothing is allocated but by Make and MakeWorkspace.
// Errors:  EncodeLayer  kFailedPrecondition reason VALUE: a layer that the
//                       codec must not encode; reason SIZE: one that has no
//                       fixed size. Keep the raw bytes; reason LAYER:
//                       SetLayer is missing.
//          DecodeLayer  kDataLoss reason CHECKSUM or CODEC: bytes that this
//                       codec did not write; kFailedPrecondition reason
//                       POSITION: they can be decoded at their own position
//                       only; reason LAYER: SetLayer is missing. What the layer then holds means nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/checksum.h"
#include "base/kv_layout.h"
#include "kernels/codec/calibration.h"
#include "kernels/codec/codec_spec.h"
#include "kernels/codec/plane_codec.h"
#include "kernels/codec/rope.h"

namespace banyan::codec {

// What stands in front of every encoded layer.
inline constexpr size_t kLayerHeadBytes = 64;

class BlockCodec {
 public:
  struct Options {
    BlockSpec spec;
    KvLayout layout;
    ElementType type = ElementType::kFp16;
    std::optional<RopeSpec> rope;  // Of the keys; wanted by specs with ":pre".
    // Of the model; wanted by nuq. Read by Make only.
    const Calibration* calibration = nullptr;
  };

  // Memory of one thread, and the position of the block it is at.
  class Workspace {
   private:
    friend class BlockCodec;
    std::vector<float> scratch_;
    std::vector<std::byte> prefix_;
    std::vector<std::byte> step_;
    Xxh3Sum sum_{0};
    RopeTable rope_;
    uint64_t first_position_ = 0;
    uint32_t layer_ = 0;
  };

  // The checksum that the bytes of a piece must have.
  struct Check {
    uint64_t seed = 0;
    Checksum128 expected;
  };

  // Errors: kInvalidArgument, reason CODEC, ROPE or CALIBRATION: none, or one
  // for other specs, another width or another rotary embedding.
  static absl::StatusOr<std::unique_ptr<BlockCodec>> Make(
      const Options& options);

  Workspace MakeWorkspace() const;

  // Of each layer of a block that begins at this position in its sequence; the
  // most that one takes, without a fixed size.
  uint64_t EncodedLayerBytes(uint64_t first_position) const;

  bool has_fixed_size() const;

  uint64_t layer_bytes() const { return options_.layout.layer_bytes(); }

  // Say where the next block begins. Decoded keys are rotated to that position,
  // which may be another than the one they were encoded at as long as all keys
  // were encoded without rotation.
  //
  // Errors: kInvalidArgument reason ROPE beyond kRopePositionEnd.
  absl::Status StartEncoding(uint64_t first_position, Workspace& work) const;
  absl::Status StartDecoding(uint64_t first_position, Workspace& work) const;

  // Say which layer of the model is next, after each Start. Wanted where a
  // calibration has several layers; elsewhere it may be left out.
  //
  // Errors: kInvalidArgument reason LAYER: the calibration has no such layer.
  absl::Status SetLayer(uint32_t layer, Workspace& work) const;

  // Requires: StartEncoding; layer.size() == layer_bytes() and encoded.size()
  // == EncodedLayerBytes(position).
  absl::Status EncodeLayer(absl::Span<const std::byte> layer, Workspace& work,
                           absl::Span<std::byte> encoded) const;

  // The same, with a fixed size or without. Returns how many bytes at the front
  // of `encoded` the layer is; what is behind them then means nothing.
  absl::StatusOr<uint64_t> EncodeLayerSized(
      absl::Span<const std::byte> layer, Workspace& work,
      absl::Span<std::byte> encoded) const;

  // `encoded` is as long as it was written.
  // Requires: StartDecoding; layer.size() == layer_bytes().
  absl::Status DecodeLayer(absl::Span<const std::byte> encoded, Workspace& work,
                           absl::Span<std::byte> layer) const;

  // The same, in one pass with the checksum of `encoded`. What is decoded is
  // what was summed, even if somebody writes to `encoded` meanwhile.
  absl::Status DecodeLayerVerified(absl::Span<const std::byte> encoded,
                                   const Check& check, Workspace& work,
                                   absl::Span<std::byte> layer) const;

 private:
  class Reader;

  explicit BlockCodec(const Options& options) : options_(options) {}

  absl::Status CheckCalibration() const;
  absl::Status MakePlanes();
  absl::Status Start(uint64_t first_position, Rope::Direction direction,
                     Workspace& work) const;
  uint32_t SinkTokens(uint64_t first_position) const;
  const RopeTable* RopeOf(uint32_t plane, const Workspace& work) const;
  absl::Status CheckLayer(const Workspace& work) const;
  const PlaneCodec& PlaneOf(uint32_t plane, const Workspace& work) const;
  void WriteHead(uint64_t first_position, uint32_t layer,
                 std::byte* head) const;
  absl::Status CheckHead(const std::byte* head, const Workspace& work,
                         uint64_t encoded_bytes, uint32_t& sink_tokens) const;
  absl::Status Decode(Reader& reader, uint64_t encoded_bytes, Workspace& work,
                      absl::Span<std::byte> layer) const;
  absl::Status DecodePlane(uint32_t plane, uint32_t sink_tokens, Reader& reader,
                           Workspace& work, absl::Span<std::byte> layer) const;

  template <typename Byte>
  PlaneRows<Byte> RowsOf(uint32_t plane, absl::Span<Byte> layer) const;

  Options options_;
  std::unique_ptr<Rope> rope_;  // nullptr if no plane wants it.
  std::unique_ptr<PlaneCodec> raw_;
  // [layer, plane], as many layers as there are digests; 1 without any.
  std::vector<std::unique_ptr<PlaneCodec>> planes_;
  std::vector<uint64_t> calibration_digests_;
};

}  // namespace banyan::codec
