// How the blocks of one namespace are encoded on the SSD, by the namespace's
// policy: the mover encodes them on their way to it, and a read decodes them, so
// that everywhere else they look like blocks that were never encoded.
//
// What is encoded: blocks in pieces of a layer, which are what was written. All
// others are stored as they are, and so is a block whose measured error is above
// the policy's, or that the codec must not encode.
//
// Format:  docs/formats/codec_block.md, a layer a piece; the header's codec
//          field is a Representation.
// Threads: thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/block_header.h"
#include "base/fingerprint.h"
#include "cache_server/engine/byte_budget.h"
#include "kernels/codec/block_codec.h"
#include "kernels/codec/block_pieces.h"
#include "tiers/tier.h"

namespace banyan::engine {

// What a namespace's owner wants of the SSD.
struct SsdPolicy {
  std::string codec;     // A codec spec. Empty: blocks as they are.
  double error_max = 0;  // Squared error over squared size. 0: kErrorDefault.

  friend bool operator==(const SsdPolicy&, const SsdPolicy&) = default;
};

class SsdCoding {
 public:
  static constexpr double kErrorDefault = 0.05;

  // `calibration`: of the policy's codec, if it wants one; else empty.
  // Errors: kInvalidArgument reason CODEC, CALIBRATION, or POLICY (error_max).
  static absl::StatusOr<std::shared_ptr<const SsdCoding>> Make(
      const Fingerprint& fingerprint, const SsdPolicy& policy,
      absl::string_view calibration = {});

  struct Encoded {
    BlockHeader header;  // Generation 0.
    std::unique_ptr<std::byte[]> bytes;

    absl::Span<const std::byte> payload() const {
      return {bytes.get(), header.payload_bytes};
    }
  };
  // The block behind the pin, which is block number `block` of its chain. Empty:
  // store it as it is.
  // Errors: those of BlockPin::ReadPiece.
  absl::StatusOr<std::optional<Encoded>> Encode(const tiers::BlockPin& pin,
                                                uint32_t block) const;

  // Of a block as it is written and read.
  uint64_t block_bytes() const { return layers_ * codec_->layer_bytes(); }

  // The block that was encoded, verified and in memory of its own, for which it
  // has `hold`.
  // Errors: kDataLoss, reason CHECKSUM or CODEC.
  absl::StatusOr<std::unique_ptr<tiers::BlockPin>> Decode(
      const tiers::BlockPin& pin, uint32_t block, ByteBudget::Hold hold) const;

 private:
  SsdCoding(std::unique_ptr<codec::BlockCodec> codec, codec::ElementType type,
            const Fingerprint& fingerprint, double error_max, bool is_lossless)
      : codec_(std::move(codec)),
        type_(type),
        layers_(fingerprint.layers),
        block_tokens_(fingerprint.block_tokens),
        error_max_(error_max),
        is_lossless_(is_lossless) {}

  bool IsForUs(const BlockHeader& header) const;
  absl::StatusOr<double> MeasureError(const tiers::BlockPin& pin,
                                      uint64_t position,
                                      const codec::EncodedPieces& pieces) const;
  // What the header is to say of the error; no value if it is too large.
  absl::StatusOr<std::optional<uint8_t>> ErrorClass(
      const tiers::BlockPin& pin, uint64_t position,
      const codec::EncodedPieces& pieces) const;

  const std::unique_ptr<codec::BlockCodec> codec_;
  const codec::ElementType type_;
  const uint32_t layers_;
  const uint32_t block_tokens_;
  const double error_max_;
  const bool is_lossless_;
};

}  // namespace banyan::engine
