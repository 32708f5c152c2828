#include "base/units.h"

#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace banyan {
namespace {

constexpr std::array<std::pair<absl::string_view, uint64_t>, 6> kSuffixes = {
    {{"B", 1},
     {"KiB", kKiB},
     {"MiB", kMiB},
     {"GiB", kGiB},
     {"TiB", kTiB},
     {"", 1}}};

absl::Status BadSize(absl::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", absl::CEscape(text.substr(0, 64)),
                   "\": want a size such as 4096, 64KiB or 10GiB."));
}

}  // namespace

absl::StatusOr<uint64_t> ParseBytes(absl::string_view text) {
  const absl::string_view trimmed = absl::StripAsciiWhitespace(text);
  const size_t digits = trimmed.find_first_not_of("0123456789.");
  const absl::string_view number = trimmed.substr(0, digits);
  const absl::string_view suffix =
      digits == absl::string_view::npos
          ? absl::string_view()
          : absl::StripLeadingAsciiWhitespace(trimmed.substr(digits));
  for (const auto& [name, unit] : kSuffixes) {
    if (suffix != name) continue;
    uint64_t whole = 0;
    if (absl::SimpleAtoi(number, &whole)) {
      if (whole > UINT64_MAX / unit) return BadSize(text);
      return whole * unit;
    }
    double value = 0;
    if (number.empty() || !absl::SimpleAtod(number, &value)) break;
    const double bytes = value * static_cast<double>(unit);
    if (!(bytes >= 0 && bytes < 9e18) || bytes != std::floor(bytes)) break;
    return static_cast<uint64_t>(bytes);
  }
  return BadSize(text);
}

std::string FormatBytes(uint64_t bytes) {
  for (int i = 4; i >= 1; --i) {
    const auto& [name, unit] = kSuffixes[i];
    if (bytes < unit) continue;
    if (bytes % unit == 0) return absl::StrCat(bytes / unit, " ", name);
    const uint64_t tenths = bytes / (unit / 64) * 10 / 64;
    if (tenths % 10 == 0) return absl::StrCat(tenths / 10, " ", name);
    return absl::StrFormat("%d.%d %s", tenths / 10, tenths % 10, name);
  }
  return absl::StrCat(bytes, " B");
}

}  // namespace banyan
