#include "client/transport/shm_questions.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace banyan::transport {

absl::Status ShmBrokeProtocol(absl::string_view what) {
  return MakeError(absl::StatusCode::kInternal, "PROTOCOL",
                   absl::StrCat("shm: the node answered ", what,
                                ". Treat as a miss; check both versions."));
}

ShmBlocksQuestion QuestionOf(ShmKind kind, const Blocks& blocks,
                             const KeyRun& run) {
  return {
      .kind = kind,
      .namespace_id = {blocks.namespace_id.data(), blocks.namespace_id.size()},
      .salt = {blocks.salt.data(), blocks.salt.size()},
      .run = run};
}

std::string ReleaseOf(const std::string& lease_id) {
  return EncodeQuestion(
      ShmLeaseQuestion{.kind = ShmKind::kRelease, .lease_id = lease_id});
}

}  // namespace banyan::transport
