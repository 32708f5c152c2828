#include "client/cpp/wire.h"

namespace banyan::client {
namespace {

namespace pb = banyan::v1;

pb::DataType DataTypeOf(const std::string& name) {
  if (name == "bf16") return pb::DATA_TYPE_BF16;
  if (name == "fp16") return pb::DATA_TYPE_FP16;
  if (name == "fp32") return pb::DATA_TYPE_FP32;
  if (name == "fp8") return pb::DATA_TYPE_FP8;
  if (name == "int8") return pb::DATA_TYPE_INT8;
  return pb::DATA_TYPE_UNSPECIFIED;
}

pb::LayoutOrder LayoutOf(const std::string& name) {
  if (name == "nhd") return pb::LAYOUT_ORDER_NHD;
  if (name == "hnd") return pb::LAYOUT_ORDER_HND;
  if (name == "opaque") return pb::LAYOUT_ORDER_OPAQUE;
  return pb::LAYOUT_ORDER_UNSPECIFIED;
}

}  // namespace

void SetFingerprint(const Fingerprint& in, pb::Fingerprint* out) {
  out->set_model(in.model);
  out->set_revision(in.revision);
  out->set_quantization(in.quantization);
  out->set_adapter(in.adapter);
  out->set_hash_algorithm(in.hash_algorithm);
  out->set_hash_seed_digest(in.hash_seed_digest);
  out->set_data_type(DataTypeOf(in.data_type));
  out->set_layout(LayoutOf(in.layout));
  out->set_layers(in.layers);
  out->set_kv_heads(in.kv_heads);
  out->set_head_dim(in.head_dim);
  out->set_planes(in.planes);
  out->set_block_tokens(in.block_tokens);
  out->set_tp_size(in.tp_size);
  out->set_pp_size(in.pp_size);
  out->set_rank(in.rank);
  out->set_engine(in.engine);
  out->set_serde_version(in.serde_version);
  out->set_kv_codec(in.kv_codec);
  out->set_calibration_digest(in.calibration_digest);
}

KeyRun RunOf(std::string_view chain_keys, size_t key_bytes, uint32_t first,
             uint32_t count, uint32_t group_blocks) {
  const absl::string_view keys(chain_keys.data(), chain_keys.size());
  const uint32_t lead = first == 0 ? 0 : (first - 1) % group_blocks + 1;
  return {.keys = keys.substr(first * key_bytes, count * key_bytes),
          .key_bytes = key_bytes,
          .first_block = first,
          .lead = keys.substr((first - lead) * key_bytes, lead * key_bytes)};
}

void SetRun(const KeyRun& run, pb::KeyRun* out) {
  out->set_keys(run.keys.data(), run.keys.size());
  out->set_key_bytes(static_cast<uint32_t>(run.key_bytes));
  out->set_first_block(run.first_block);
  out->set_lead(run.lead.data(), run.lead.size());
}

void SetHint(const ReuseHint& hint, pb::ReuseHint* out) {
  out->set_generated_tokens(hint.generated_tokens);
  switch (hint.reuse) {
    case ReuseHint::Reuse::kUnknown:
      return;
    case ReuseHint::Reuse::kEnded:
      return out->set_reuse(pb::REUSE_ENDED);
    case ReuseHint::Reuse::kKeep:
      return out->set_reuse(pb::REUSE_KEEP);
    case ReuseHint::Reuse::kExpected:
      out->set_reuse(pb::REUSE_EXPECTED);
      out->mutable_within()->set_seconds(hint.within_ms / 1000);
      out->mutable_within()->set_nanos(
          static_cast<int32_t>(hint.within_ms % 1000 * 1000000));
  }
}

WriteResult WriteResultOf(int verdict) {
  switch (verdict) {
    case pb::WRITE_VERDICT_WRITE:
      return WriteResult::kCommitted;
    case pb::WRITE_VERDICT_EXISTS:
      return WriteResult::kExists;
    case pb::WRITE_VERDICT_IN_PROGRESS:
      return WriteResult::kInProgress;
    case pb::WRITE_VERDICT_TOO_LARGE:
      return WriteResult::kTooLarge;
    default:
      return WriteResult::kNoCapacity;
  }
}

absl::StatusOr<QualityFloor> FloorOf(const std::optional<double>& error_max) {
  if (!error_max.has_value()) return QualityFloor();
  return QualityFloor::AtMost(*error_max);
}

}  // namespace banyan::client
