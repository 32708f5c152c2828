// Between the wire and the engine: requests become the engine's values, its
// answers become messages. Protobuf goes no deeper than this folder.
//
// Errors: kInvalidArgument for what the wire can say and the engine cannot
//         take; limits are checked by the engine.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "banyan/v1/admin.pb.h"
#include "banyan/v1/cache.pb.h"
#include "base/representation.h"
#include "base/status_macros.h"
#include "cache_server/engine/block_store.h"

namespace banyan::service {

// A view into the request: it must outlive the target.
template <typename Request>
engine::Target TargetOf(const Request& request) {
  const banyan::v1::KeyRun& run = request.run();
  return {.namespace_id = request.namespace_id(),
          .salt = request.salt(),
          .run = {.keys = run.keys(),
                  .key_bytes = run.key_bytes(),
                  .first_block = run.first_block(),
                  .lead = run.lead()}};
}

// The same of a read, with what it demands. Errors: reason QUALITY.
absl::StatusOr<QualityFloor> QualityOf(const banyan::v1::Quality& quality);
template <typename Request>
absl::StatusOr<engine::Target> ReadTargetOf(const Request& request) {
  engine::Target target = TargetOf(request);
  BANYAN_ASSIGN_OR_RETURN(target.quality, QualityOf(request.quality()));
  return target;
}

absl::StatusOr<engine::AcquireMode> ModeOf(banyan::v1::AcquireMode mode);
absl::StatusOr<absl::Duration> DurationOf(
    const google::protobuf::Duration& duration);
absl::StatusOr<tiers::ReuseHint> HintOf(const banyan::v1::ReuseHint& hint);
void SetDuration(absl::Duration duration, google::protobuf::Duration* out);

absl::StatusOr<Fingerprint> FingerprintOf(const banyan::v1::Fingerprint& in);
void SetFingerprint(const Fingerprint& in, banyan::v1::Fingerprint* out);

absl::StatusOr<std::vector<BlockKey>> KeysOf(
    const google::protobuf::RepeatedPtrField<std::string>& keys);

absl::StatusOr<engine::Durability> DurabilityOf(
    banyan::v1::Durability durability);
banyan::v1::Durability ToProto(engine::Durability durability);
banyan::v1::TierKind ToProto(tiers::TierKind kind);

// All but the ordinal and the tier; the error of a block that was read only if
// `quality`, by which it was chosen, says something.
void SetHead(const BlockHeader& header, const QualityFloor& quality,
             banyan::v1::BlockHead* out);
banyan::v1::WriteVerdict VerdictOf(engine::WriteVerdict verdict);
absl::StatusOr<std::vector<engine::OpenWrite::Claim>> ClaimsOf(
    const banyan::v1::CommitRequest& request);
// What a sender says of consecutive pieces of one block.
struct VouchedPieces {
  uint32_t ordinal = 0;
  uint32_t first_piece = 0;
  std::vector<Checksum128> checksums;
};
// Of a serialised PieceSums. Errors: reason FRAME or CHECKSUMS.
absl::StatusOr<VouchedPieces> VouchedOf(absl::string_view bytes);
void SetTierUsage(tiers::TierKind kind, const tiers::TierUsage& usage,
                  banyan::v1::TierUsage* out);

}  // namespace banyan::service
