#include "client/transport/key_runs.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/block_header.h"
#include "base/error.h"

namespace banyan::transport {

absl::Status CheckKeys(const Blocks& blocks) {
  if (blocks.namespace_id.size() == kNamespaceIdBytes &&
      blocks.run.size() > 0 && blocks.run.key_bytes <= kKeyBytesMax &&
      blocks.salt.size() <= 256) {
    return absl::OkStatus();
  }
  return MakeError(absl::StatusCode::kInvalidArgument, "KEYS",
                   "keys: want a namespace of 16 bytes, a salt of up to 256, "
                   "and keys of 1 to 64.");
}

KeyRun Advance(const KeyRun& run, size_t skip, uint32_t group_blocks,
               std::string& lead) {
  KeyRun rest{.keys = run.keys.substr(skip * run.key_bytes),
              .key_bytes = run.key_bytes,
              .first_block = run.first_block + static_cast<uint32_t>(skip)};
  if (rest.first_block == 0) return rest;
  const size_t need = (rest.first_block - 1) % group_blocks + 1;
  const size_t own = std::min(need, skip);
  const size_t older = std::min(need - own, run.lead_size());
  lead = absl::StrCat(
      run.lead.substr((run.lead_size() - older) * run.key_bytes),
      run.keys.substr((skip - own) * run.key_bytes, own * run.key_bytes));
  rest.lead = lead;
  return rest;
}

absl::StatusOr<KeyRun> Fitting(const KeyRun& run, size_t room_bytes,
                               size_t keys_max) {
  const size_t room =
      run.lead.size() < room_bytes ? room_bytes - run.lead.size() : 0;
  const size_t keys = std::min(keys_max, room / run.key_bytes);
  if (keys == 0) {
    return MakeError(absl::StatusCode::kUnavailable, "QUESTION",
                     absl::StrCat("question: ", run.lead_size(),
                                  " keys before its first leave no room. Use "
                                  "gRPC, or smaller group-blocks."));
  }
  KeyRun fitting = run;
  fitting.keys = run.keys.substr(0, keys * run.key_bytes);
  return fitting;
}

}  // namespace banyan::transport
