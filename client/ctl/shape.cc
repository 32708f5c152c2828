#include "client/ctl/shape.h"

#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"

namespace banyan::ctl {

absl::Status SetShape(const std::string& shape, uint32_t block_tokens,
                      Fingerprint& fingerprint) {
  const std::vector<std::string> parts = absl::StrSplit(shape, ':');
  const std::vector<std::string> sizes = absl::StrSplit(parts[0], 'x');
  fingerprint.data_type = parts.size() > 1 ? parts[1] : "bf16";
  fingerprint.layout = "nhd";
  fingerprint.planes = 2;
  fingerprint.block_tokens = block_tokens;
  const bool is_read = parts.size() <= 2 && sizes.size() == 3 &&
                       absl::SimpleAtoi(sizes[0], &fingerprint.layers) &&
                       absl::SimpleAtoi(sizes[1], &fingerprint.kv_heads) &&
                       absl::SimpleAtoi(sizes[2], &fingerprint.head_dim);
  if (is_read) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kInvalidArgument, "SHAPE",
      absl::StrCat("shape: \"", Echo(shape),
                   "\": want LAYERSxKV_HEADSxHEAD_DIM[:DTYPE], such as "
                   "32x8x128:bf16."));
}

}  // namespace banyan::ctl
