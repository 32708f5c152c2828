#include "tiers/io/file.h"

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace banyan::tiers {
namespace {

absl::StatusCode CodeOf(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return absl::StatusCode::kResourceExhausted;
    case ENOENT:
      return absl::StatusCode::kNotFound;
    case EEXIST:
      return absl::StatusCode::kAlreadyExists;
    default:
      return absl::StatusCode::kUnavailable;
  }
}

}  // namespace

absl::Status IoError(int error, absl::string_view what) {
  const char* const name = strerrorname_np(error);
  return MakeError(CodeOf(error), name == nullptr ? "EUNKNOWN" : name,
                   absl::StrCat(what, ": ", strerrordesc_np(error)));
}

}  // namespace banyan::tiers
