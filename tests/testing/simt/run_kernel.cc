#include "tests/testing/simt/run_kernel.h"

namespace banyan::simt {
namespace {

absl::Status& Kept() {
  static auto* const status = new absl::Status();
  return *status;
}

}  // namespace

void KeepLaunchStatus(const absl::Status& status) { Kept() = status; }

const absl::Status& LastLaunchStatus() { return Kept(); }

}  // namespace banyan::simt
