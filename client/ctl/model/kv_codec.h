// What a codec makes of keys and values: a layer of a block is encoded, decoded
// in place, and what that took is counted.
//
// Threads: thread-compatible.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/ctl/model/kv_cache.h"
#include "client/ctl/model/llama.h"
#include "kernels/codec/block_codec.h"

namespace banyan::ctl {

class KvRoundTrip {
 public:
  struct Options {
    uint32_t block_tokens = 0;
    ElementType type = ElementType::kFp16;  // Or kBf16.
    // Of the model, for codecs that want one. Read by Make only.
    const codec::Calibration* calibration = nullptr;
  };

  // For blocks of this model.
  // Errors: kInvalidArgument reason CODEC: no such codec, or not for such
  //         blocks; reason CALIBRATION: none, or not for this codec.
  static absl::StatusOr<std::unique_ptr<KvRoundTrip>> Make(
      const std::string& spec, const LlamaShape& shape, const Options& options);

  // `bytes` are those of a layer of a block that begins at this position. Layers
  // that the codec must not encode stay, and are counted as they are.
  absl::Status Apply(uint32_t layer, uint32_t first_position,
                     absl::Span<std::byte> bytes);

  // All layers of leading blocks of the cache.
  absl::Status ApplyToBlocks(uint32_t blocks, KvCache& cache);

  uint64_t raw_bytes() const { return raw_bytes_; }
  uint64_t layers_kept() const { return layers_kept_; }

  // Of an element, all that is stored with a layer included.
  double bits() const {
    return raw_bytes_ == 0 ? 0 : 16.0 * encoded_bytes_ / raw_bytes_;
  }
  double encode_seconds() const { return encode_seconds_; }
  double decode_seconds() const { return decode_seconds_; }

 private:
  explicit KvRoundTrip(std::unique_ptr<codec::BlockCodec> block_codec);

  absl::Status StartAt(uint32_t layer, uint32_t first_position);

  std::unique_ptr<codec::BlockCodec> codec_;
  codec::BlockCodec::Workspace encoding_;
  codec::BlockCodec::Workspace decoding_;
  int64_t position_ = -1;  // Where both stand.
  std::vector<std::byte> encoded_;
  uint64_t raw_bytes_ = 0;
  uint64_t encoded_bytes_ = 0;
  uint64_t layers_kept_ = 0;
  double encode_seconds_ = 0;
  double decode_seconds_ = 0;
};

}  // namespace banyan::ctl
