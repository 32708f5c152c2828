// Self-describing payloads: every part of every block verifies alone, every
// wrong byte is seen, and the owner is named.
//
// Method: small exact cases over all sizes around the page and label borders.
#include "client/ctl/payload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace banyan::ctl {
namespace {

using ::testing::HasSubstr;

std::vector<std::byte> Payload(absl::string_view space, absl::string_view key,
                               size_t bytes) {
  std::vector<std::byte> payload(bytes);
  FillPayload(space, key, absl::MakeSpan(payload));
  return payload;
}

TEST(PayloadTest, AnySizeVerifies) {
  for (const size_t bytes : {1, 2, 63, 64, 127, 128, 129, 4095, 4096, 4097,
                             4096 + 127, 4096 + 128, 20000}) {
    const auto payload = Payload("space", "key", bytes);
    EXPECT_TRUE(VerifyPayload("space", "key", payload, 0, bytes).ok()) << bytes;
  }
}

TEST(PayloadTest, AnyPartVerifiesAlone) {
  constexpr size_t kBytes = 3 * 4096 + 50;
  const auto payload = Payload("space", "key", kBytes);
  const absl::Span<const std::byte> all(payload);

  for (size_t at = 0; at < kBytes; at += 61) {
    for (const size_t bytes : {1, 100, 5000}) {
      const auto part = all.subspan(at, bytes);
      EXPECT_TRUE(VerifyPayload("space", "key", part, at, kBytes).ok());
    }
  }
}

TEST(PayloadTest, EveryWrongByteIsSeen) {
  constexpr size_t kBytes = 2 * 4096 + 200;
  auto payload = Payload("space", "key", kBytes);
  for (size_t at = 0; at < kBytes; ++at) {
    payload[at] ^= std::byte{1};
    const absl::Status status =
        VerifyPayload("space", "key", payload, 0, kBytes);
    ASSERT_TRUE(absl::IsDataLoss(status)) << at;
    payload[at] ^= std::byte{1};
  }
}

TEST(PayloadTest, ForeignBytesAreNamed) {
  const auto payload = Payload("other", "\x01\x02", 10000);

  const absl::Status status = VerifyPayload("space", "key", payload, 0, 10000);

  EXPECT_THAT(std::string(status.message()),
              HasSubstr("namespace 'other' key 0102 page 0"));
}

TEST(PayloadTest, LabelIsFoundInTheMiddleOfABlock) {
  const auto payload = Payload("space", "k", 10000);
  const absl::Span<const std::byte> all(payload);

  EXPECT_EQ(DescribePayload(all.subspan(1000, 4000)),
            "byte 3096: namespace 'space' key 6b page 1");
  EXPECT_EQ(DescribePayload(all.subspan(200, 100)),
            "100 bytes without a label");
}

TEST(PayloadTest, KeysNamespacesAndPagesAllDiffer) {
  const auto one = Payload("space", "key-1", 8192);

  EXPECT_NE(one, Payload("space", "key-2", 8192));
  EXPECT_NE(one, Payload("spacf", "key-1", 8192));
  EXPECT_FALSE(std::equal(one.begin() + 128, one.begin() + 4096,
                          one.begin() + 4096 + 128));
}

}  // namespace
}  // namespace banyan::ctl
