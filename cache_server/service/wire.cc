#include "cache_server/service/wire.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::service {
namespace {

namespace pb = banyan::v1;

constexpr size_t kKeysMax = 4096;  // Of an administrative call.

absl::Status Invalid(absl::string_view reason, absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason, message);
}

const std::pair<pb::DataType, const char*> kDataTypes[] = {
    {pb::DATA_TYPE_UNSPECIFIED, ""}, {pb::DATA_TYPE_BF16, "bf16"},
    {pb::DATA_TYPE_FP16, "fp16"},    {pb::DATA_TYPE_FP32, "fp32"},
    {pb::DATA_TYPE_FP8, "fp8"},      {pb::DATA_TYPE_INT8, "int8"}};

const std::pair<pb::LayoutOrder, const char*> kLayouts[] = {
    {pb::LAYOUT_ORDER_NHD, "nhd"},
    {pb::LAYOUT_ORDER_HND, "hnd"},
    {pb::LAYOUT_ORDER_OPAQUE, "opaque"}};

absl::StatusOr<std::vector<Checksum128>> ChecksumsOf(absl::string_view bytes,
                                                     absl::string_view field) {
  if (bytes.empty() || bytes.size() % kChecksumBytes != 0 ||
      bytes.size() / kChecksumBytes > kPiecesMax) {
    return Invalid("CHECKSUMS",
                   absl::StrCat(field, ": ", bytes.size(),
                                " bytes, need 16 for each piece."));
  }
  std::vector<Checksum128> checksums;
  for (size_t at = 0; at < bytes.size(); at += kChecksumBytes) {
    checksums.push_back(
        LoadChecksum(reinterpret_cast<const std::byte*>(bytes.data()) + at));
  }
  return checksums;
}

}  // namespace

absl::StatusOr<engine::AcquireMode> ModeOf(pb::AcquireMode mode) {
  switch (mode) {
    case pb::ACQUIRE_MODE_LONGEST_PREFIX:
      return engine::AcquireMode::kLongestPrefix;
    case pb::ACQUIRE_MODE_ALL_OR_NONE:
      return engine::AcquireMode::kAllOrNone;
    case pb::ACQUIRE_MODE_EACH:
      return engine::AcquireMode::kEach;
    default:
      return Invalid("MODE", absl::StrCat("mode: ", static_cast<int>(mode),
                                          " is not a known mode."));
  }
}

absl::StatusOr<QualityFloor> QualityOf(const pb::Quality& quality) {
  if (!quality.has_error_max()) return QualityFloor();
  return QualityFloor::AtMost(quality.error_max());
}

absl::StatusOr<absl::Duration> DurationOf(
    const google::protobuf::Duration& duration) {
  // The range of google.protobuf.Duration, 10,000 years.
  if (duration.seconds() < -315576000000 || duration.seconds() > 315576000000 ||
      duration.nanos() <= -1000000000 || duration.nanos() >= 1000000000) {
    return Invalid("TTL", "ttl: out of range; allowed 100ms to 24h.");
  }
  return absl::Seconds(duration.seconds()) +
         absl::Nanoseconds(duration.nanos());
}

absl::StatusOr<tiers::ReuseHint> HintOf(const pb::ReuseHint& hint) {
  const auto bad = [](absl::string_view message) {
    return MakeError(absl::StatusCode::kInvalidArgument, "HINT", message);
  };
  tiers::ReuseHint told{.generated_tokens = hint.generated_tokens()};
  switch (hint.reuse()) {
    case pb::REUSE_UNSPECIFIED:
      return told;
    case pb::REUSE_ENDED:
      told.reuse = tiers::Reuse::kEnded;
      return told;
    case pb::REUSE_KEEP:
      told.reuse = tiers::Reuse::kKeep;
      return told;
    case pb::REUSE_EXPECTED: {
      told.reuse = tiers::Reuse::kExpected;
      BANYAN_ASSIGN_OR_RETURN(told.within, DurationOf(hint.within()));
      if (told.within <= absl::ZeroDuration()) {
        return bad("hint.within: say within how long. Needs to be > 0.");
      }
      return told;
    }
    default:
      return bad(absl::StrCat("hint.reuse: ", static_cast<int>(hint.reuse()),
                              " is not known here."));
  }
}

void SetDuration(absl::Duration duration, google::protobuf::Duration* out) {
  const int64_t nanos = absl::ToInt64Nanoseconds(duration);
  out->set_seconds(nanos / 1000000000);
  out->set_nanos(static_cast<int32_t>(nanos % 1000000000));
}

absl::StatusOr<Fingerprint> FingerprintOf(const pb::Fingerprint& in) {
  Fingerprint out{.model = in.model(),
                  .revision = in.revision(),
                  .quantization = in.quantization(),
                  .adapter = in.adapter(),
                  .hash_algorithm = in.hash_algorithm(),
                  .hash_seed_digest = in.hash_seed_digest(),
                  .layers = in.layers(),
                  .kv_heads = in.kv_heads(),
                  .head_dim = in.head_dim(),
                  .planes = in.planes(),
                  .block_tokens = in.block_tokens(),
                  .tp_size = in.tp_size(),
                  .pp_size = in.pp_size(),
                  .rank = in.rank(),
                  .engine = in.engine(),
                  .serde_version = in.serde_version(),
                  .kv_codec = in.kv_codec(),
                  .calibration_digest = in.calibration_digest()};
  bool is_type_known = false;
  for (const auto& [value, name] : kDataTypes) {
    if (value != in.data_type()) continue;
    out.data_type = name;
    is_type_known = true;
  }
  if (!is_type_known) {
    return Invalid("FINGERPRINT",
                   absl::StrCat("data_type: ", static_cast<int>(in.data_type()),
                                " is not a known type."));
  }
  for (const auto& [value, name] : kLayouts) {
    if (value == in.layout()) out.layout = name;
  }
  if (out.layout.empty()) {
    return Invalid("FINGERPRINT",
                   absl::StrCat("layout: ", static_cast<int>(in.layout()),
                                " is not a known layout."));
  }
  return out;
}

void SetFingerprint(const Fingerprint& in, pb::Fingerprint* out) {
  out->set_model(in.model);
  out->set_revision(in.revision);
  out->set_quantization(in.quantization);
  out->set_adapter(in.adapter);
  out->set_hash_algorithm(in.hash_algorithm);
  out->set_hash_seed_digest(in.hash_seed_digest);
  for (const auto& [value, name] : kDataTypes) {
    if (in.data_type == name) out->set_data_type(value);
  }
  for (const auto& [value, name] : kLayouts) {
    if (in.layout == name) out->set_layout(value);
  }
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

absl::StatusOr<std::vector<BlockKey>> KeysOf(
    const google::protobuf::RepeatedPtrField<std::string>& keys) {
  if (keys.empty()) {
    return Invalid("SELECTOR",
                   "selector: empty would mean everything. Name the keys.");
  }
  if (keys.size() > static_cast<int>(kKeysMax)) {
    return Invalid("KEYS", absl::StrCat("keys: ", keys.size(), " given, limit ",
                                        kKeysMax, ". Split the batch."));
  }
  std::vector<BlockKey> out;
  for (const std::string& bytes : keys) {
    auto key = BlockKey::FromBytes(bytes);
    if (!key.ok()) {
      return Invalid("KEYS",
                     absl::StrCat("keys[", out.size(), "]: ", bytes.size(),
                                  " bytes, need 1 to ", kKeyBytesMax, "."));
    }
    out.push_back(*key);
  }
  return out;
}

void SetHead(const BlockHeader& header, const QualityFloor& quality,
             pb::BlockHead* out) {
  if (!quality.is_any()) {
    out->set_error_class(Representation::Of(header.codec).error_class);
  }
  out->set_generation(header.generation);
  out->set_payload_bytes(header.payload_bytes);
  out->set_piece_bytes(header.piece_bytes);
  std::string* const checksums = out->mutable_checksums();
  checksums->resize(header.pieces.size() * kChecksumBytes);
  for (size_t i = 0; i < header.pieces.size(); ++i) {
    StoreChecksum(
        header.pieces[i],
        reinterpret_cast<std::byte*>(checksums->data()) + i * kChecksumBytes);
  }
}

pb::WriteVerdict VerdictOf(engine::WriteVerdict verdict) {
  switch (verdict) {
    case engine::WriteVerdict::kWrite:
      return pb::WRITE_VERDICT_WRITE;
    case engine::WriteVerdict::kExists:
      return pb::WRITE_VERDICT_EXISTS;
    case engine::WriteVerdict::kInProgress:
      return pb::WRITE_VERDICT_IN_PROGRESS;
    case engine::WriteVerdict::kNoCapacity:
      return pb::WRITE_VERDICT_NO_CAPACITY;
    case engine::WriteVerdict::kTooLarge:
      return pb::WRITE_VERDICT_TOO_LARGE;
  }
  return pb::WRITE_VERDICT_UNSPECIFIED;
}

absl::StatusOr<std::vector<engine::OpenWrite::Claim>> ClaimsOf(
    const pb::CommitRequest& request) {
  std::vector<engine::OpenWrite::Claim> claims;
  for (const auto& block : request.blocks()) {
    engine::OpenWrite::Claim claim{.ordinal = block.ordinal()};
    BANYAN_ASSIGN_OR_RETURN(
        claim.checksums,
        ChecksumsOf(block.checksums(),
                    absl::StrCat("blocks[", claims.size(), "].checksums")));
    if (block.error_class() > UINT8_MAX) {
      return Invalid("QUALITY",
                     absl::StrCat("blocks[", claims.size(), "].error_class: ",
                                  block.error_class(), "; at most 255."));
    }
    claim.error_class = static_cast<uint8_t>(block.error_class());
    claims.push_back(std::move(claim));
  }
  return claims;
}

absl::StatusOr<VouchedPieces> VouchedOf(absl::string_view bytes) {
  pb::PieceSums sums;
  if (!sums.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Invalid("FRAME",
                   "sums: not a message of this kind. Check the "
                   "client.");
  }
  VouchedPieces vouched{.ordinal = sums.ordinal(),
                        .first_piece = sums.first_piece()};
  BANYAN_ASSIGN_OR_RETURN(vouched.checksums,
                          ChecksumsOf(sums.checksums(), "sums.checksums"));
  if (vouched.first_piece > kPiecesMax) {
    return Invalid("PIECE",
                   absl::StrCat("sums.first_piece: ", vouched.first_piece,
                                ", limit ", kPiecesMax, "."));
  }
  return vouched;
}

absl::StatusOr<engine::Durability> DurabilityOf(pb::Durability durability) {
  switch (durability) {
    case pb::DURABILITY_UNSPECIFIED:
    case pb::DURABILITY_MEMORY:
      return engine::Durability::kMemory;
    case pb::DURABILITY_DURABLE:
      return engine::Durability::kDurable;
    default:
      return MakeError(
          absl::StatusCode::kInvalidArgument, "DURABILITY",
          absl::StrCat("durability: ", static_cast<int>(durability),
                       " is not a known one. Use MEMORY or "
                       "DURABLE."));
  }
}

pb::Durability ToProto(engine::Durability durability) {
  return durability == engine::Durability::kDurable ? pb::DURABILITY_DURABLE
                                                    : pb::DURABILITY_MEMORY;
}

pb::TierKind ToProto(tiers::TierKind kind) {
  return kind == tiers::TierKind::kSsd ? pb::TIER_KIND_SSD : pb::TIER_KIND_HOST;
}

void SetTierUsage(tiers::TierKind kind, const tiers::TierUsage& usage,
                  pb::TierUsage* out) {
  out->set_tier(ToProto(kind));
  out->set_capacity_bytes(usage.capacity_bytes);
  out->set_used_bytes(usage.used_bytes);
  out->set_staged_bytes(usage.staged_bytes);
  out->set_free_bytes(usage.free_bytes);
  out->set_waste_bytes(usage.waste_bytes);
  out->set_payload_bytes(usage.payload_bytes);
  out->set_pinned_bytes(usage.pinned_bytes);
  out->set_blocks(usage.blocks);
}

}  // namespace banyan::service
