// Codecs from what is stored and travels of them: a spec, and what it must know
// of a model, its calibration, as bytes. The one place that knows which spec
// wants a calibration, and of which kind.
//
// Format: docs/formats/codec_calibration.md.
// Errors: kInvalidArgument reason CALIBRATION: none where one is wanted, one that
//         is not wanted, bytes that are none, or one for other blocks.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/kv_layout.h"
#include "kernels/codec/block_codec.h"
#include "kernels/codec/codec_spec.h"

namespace banyan::codec {

// Of blocks with so many planes.
bool WantsCalibration(const BlockSpec& spec, uint32_t planes = 2);

// The codec for blocks of options.layout, all layers of it. Empty bytes: none.
// options.calibration is not looked at.
// Errors: also those of BlockCodec::Make.
absl::StatusOr<std::unique_ptr<BlockCodec>> MakeBlockCodec(
    BlockCodec::Options options, absl::Span<const std::byte> calibration);

// Whether there is such a codec, for who does not know the rotary embedding.
// Errors: also kInvalidArgument reason CODEC.
absl::Status CheckBlockCodec(const BlockSpec& spec, const KvLayout& layout,
                             ElementType type,
                             absl::Span<const std::byte> calibration);

}  // namespace banyan::codec
