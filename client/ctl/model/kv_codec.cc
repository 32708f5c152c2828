#include "client/ctl/model/kv_codec.h"

#include <chrono>
#include <utility>

#include "absl/memory/memory.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "kernels/codec/codec_spec.h"

namespace banyan::ctl {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

KvRoundTrip::KvRoundTrip(std::unique_ptr<codec::BlockCodec> block_codec)
    : codec_(std::move(block_codec)),
      encoding_(codec_->MakeWorkspace()),
      decoding_(codec_->MakeWorkspace()) {}

absl::StatusOr<std::unique_ptr<KvRoundTrip>> KvRoundTrip::Make(
    const std::string& spec, const LlamaShape& shape, const Options& options) {
  BANYAN_ASSIGN_OR_RETURN(const codec::BlockSpec parsed,
                          codec::ParseBlockSpec(spec));
  BANYAN_ASSIGN_OR_RETURN(const KvLayout layout,
                          shape.Layout(options.type, options.block_tokens));
  BANYAN_ASSIGN_OR_RETURN(
      auto block_codec,
      codec::BlockCodec::Make({.spec = parsed,
                               .layout = layout,
                               .type = options.type,
                               .rope = shape.Rope(),
                               .calibration = options.calibration}));
  return absl::WrapUnique(new KvRoundTrip(std::move(block_codec)));
}

absl::Status KvRoundTrip::StartAt(uint32_t layer, uint32_t first_position) {
  if (position_ != first_position) {
    BANYAN_RETURN_IF_ERROR(codec_->StartEncoding(first_position, encoding_));
    BANYAN_RETURN_IF_ERROR(codec_->StartDecoding(first_position, decoding_));
    position_ = first_position;
  }
  BANYAN_RETURN_IF_ERROR(codec_->SetLayer(layer, encoding_));
  return codec_->SetLayer(layer, decoding_);
}

absl::Status KvRoundTrip::Apply(uint32_t layer, uint32_t first_position,
                                absl::Span<std::byte> bytes) {
  BANYAN_RETURN_IF_ERROR(StartAt(layer, first_position));
  encoded_.resize(codec_->EncodedLayerBytes(first_position));
  const auto start = Clock::now();
  const absl::StatusOr<uint64_t> size =
      codec_->EncodeLayerSized(bytes, encoding_, absl::MakeSpan(encoded_));
  encode_seconds_ += SecondsSince(start);
  raw_bytes_ += bytes.size();
  if (ErrorReason(size.status()) == "VALUE") {
    ++layers_kept_;
    encoded_bytes_ += bytes.size();
    return absl::OkStatus();
  }
  BANYAN_RETURN_IF_ERROR(size.status());
  encoded_bytes_ += *size;
  const auto middle = Clock::now();
  BANYAN_RETURN_IF_ERROR(codec_->DecodeLayer(
      absl::MakeConstSpan(encoded_).first(*size), decoding_, bytes));
  decode_seconds_ += SecondsSince(middle);
  return absl::OkStatus();
}

absl::Status KvRoundTrip::ApplyToBlocks(uint32_t blocks, KvCache& cache) {
  for (uint32_t block = 0; block < blocks; ++block) {
    for (uint32_t layer = 0; layer < cache.layout().shape().layers; ++layer) {
      BANYAN_RETURN_IF_ERROR(Apply(layer, block * cache.block_tokens(),
                                   cache.BlockLayer(block, layer)));
    }
  }
  return absl::OkStatus();
}

}  // namespace banyan::ctl
