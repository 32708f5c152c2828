#include "client/cpp/wire.h"

#include <algorithm>

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
}

void SetRun(std::string_view chain_keys, size_t key_bytes, uint32_t first,
            uint32_t count, uint32_t group_blocks, pb::KeyRun* out) {
  out->set_keys(
      std::string(chain_keys.substr(first * key_bytes, count * key_bytes)));
  out->set_key_bytes(static_cast<uint32_t>(key_bytes));
  out->set_first_block(first);
  if (first == 0) return;
  const uint32_t lead = (first - 1) % group_blocks + 1;
  out->set_lead(std::string(
      chain_keys.substr((first - lead) * key_bytes, lead * key_bytes)));
}

BlockIdentity IdentityOf(std::string_view namespace_id, std::string_view salt,
                         const pb::KeyRun& run, size_t i) {
  const absl::string_view key =
      absl::string_view(run.keys())
          .substr(i * run.key_bytes(), run.key_bytes());
  return {
      .namespace_id = std::string(namespace_id),
      .salt_digest = SaltDigest(absl::string_view(salt.data(), salt.size())),
      .key = *BlockKey::FromBytes(key)};
}

std::string Checksums(const BlockIdentity& identity,
                      std::span<const std::byte> payload,
                      uint64_t piece_bytes) {
  const uint64_t seed = identity.ChecksumSeed();
  const size_t step = piece_bytes == 0
                          ? payload.size()
                          : std::min<size_t>(piece_bytes, payload.size());
  std::string out;
  uint32_t piece = 0;
  for (size_t at = 0; at < payload.size(); at += step) {
    const size_t size = std::min(step, payload.size() - at);
    std::byte bytes[kChecksumBytes];
    StoreChecksum(PieceChecksum(seed, piece++,
                                absl::MakeConstSpan(payload.data() + at, size)),
                  bytes);
    out.append(reinterpret_cast<const char*>(bytes), sizeof(bytes));
  }
  return out;
}

void SetHint(const ReuseHint& hint, pb::ReuseHint* out) {
  switch (hint.reuse) {
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

}  // namespace banyan::client
