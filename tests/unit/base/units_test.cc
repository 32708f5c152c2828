// Byte sizes as text: what is read, what is refused, what is written.
#include "base/units.h"

#include <gtest/gtest.h>

namespace banyan {
namespace {

TEST(UnitsTest, SizesAreRead) {
  EXPECT_EQ(ParseBytes("0").value(), 0u);
  EXPECT_EQ(ParseBytes("4096").value(), 4096u);
  EXPECT_EQ(ParseBytes("7B").value(), 7u);
  EXPECT_EQ(ParseBytes(" 2 MiB ").value(), 2 * kMiB);
  EXPECT_EQ(ParseBytes("1.5GiB").value(), 1536 * kMiB);
  EXPECT_EQ(ParseBytes("1TiB").value(), kTiB);
  EXPECT_EQ(ParseBytes("18446744073709551615").value(), UINT64_MAX);
}

TEST(UnitsTest, OtherTextIsRefused) {
  for (const char* text :
       {"", "KiB", "1kb", "1KB", "-1", "1.5", "0.3KiB", "1e3", "1 2", "1..5KiB",
        "18446744073709551616", "16777216TiB", "nan"}) {
    EXPECT_EQ(ParseBytes(text).status().code(),
              absl::StatusCode::kInvalidArgument)
        << text;
  }
}

TEST(UnitsTest, SizesAreWrittenShort) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(4 * kKiB), "4 KiB");
  EXPECT_EQ(FormatBytes(1536 * kMiB), "1.5 GiB");
  EXPECT_EQ(FormatBytes(kTiB), "1 TiB");
}

TEST(UnitsTest, WholeUnitsAreReadBackAsWritten) {
  for (const uint64_t unit : {uint64_t{1}, kKiB, kMiB, kGiB, kTiB}) {
    for (const uint64_t count : {1, 3, 512, 1000}) {
      EXPECT_EQ(ParseBytes(FormatBytes(count * unit)).value(), count * unit);
    }
  }
}

TEST(UnitsTest, RoundingGoesUp) {
  EXPECT_EQ(RoundUp(0, 8), 0u);
  EXPECT_EQ(RoundUp(1, 8), 8u);
  EXPECT_EQ(RoundUp(8, 8), 8u);
  EXPECT_EQ(CeilDiv(9, 4), 3u);
  EXPECT_EQ(CeilDiv(8, 4), 2u);
}

}  // namespace
}  // namespace banyan
