// Any bytes given as a calibration: refused, or what Serialize writes. They are
// tried as they are, and with the checksum that they should have.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "base/error.h"
#include "base/sha256.h"
#include "kernels/codec/calibration.h"

namespace {

void Check(absl::Span<const std::byte> bytes) {
  const auto parsed = banyan::codec::Calibration::Parse(bytes);
  if (parsed.ok()) {
    const auto again = parsed->Serialize();
    BANYAN_CHECK(
        std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()));
  } else {
    BANYAN_CHECK(banyan::ErrorReason(parsed.status()) == "CALIBRATION");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto* const from = reinterpret_cast<const std::byte*>(data);
  std::vector<std::byte> bytes(from, from + size);
  Check(bytes);
  if (size < 16) return 0;
  const auto sum = banyan::Sha256(
      {banyan::AsText(absl::MakeConstSpan(bytes).first(size - 16))});
  std::copy_n(sum.begin(), 16, bytes.end() - 16);
  Check(bytes);
  return 0;
}
