// Block keys: their domain, their text form, and the chain derived from tokens.
#include "base/block_key.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "base/bytes.h"
#include "base/sha256.h"

namespace banyan {
namespace {

const std::string kPrint(kFingerprintBytes, 'f');

TEST(BlockKeyTest, HoldsOneToSixtyFourBytes) {
  EXPECT_FALSE(BlockKey::FromBytes("").ok());
  for (size_t size = 1; size <= kKeyBytesMax; ++size) {
    const std::string bytes(size, '\0');
    EXPECT_EQ(std::string(BlockKey::FromBytes(bytes)->bytes()), bytes);
  }
  const auto too_long = BlockKey::FromBytes(std::string(65, 'x'));
  EXPECT_EQ(too_long.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(too_long.status().message(), "key: 65 bytes, need 1 to 64.");
}

TEST(BlockKeyTest, HexIsReadAndWritten) {
  EXPECT_EQ(BlockKey::FromHex("00ffA0")->hex(), "00ffa0");
  EXPECT_FALSE(BlockKey::FromHex("0").ok());
  EXPECT_FALSE(BlockKey::FromHex("zz").ok());
  EXPECT_FALSE(BlockKey::FromHex("").ok());
}

TEST(BlockKeyTest, KeysThatEndInNulDiffer) {
  const auto one = *BlockKey::FromBytes(absl::string_view("\0", 1));
  const auto two = *BlockKey::FromBytes(absl::string_view("\0\0", 2));
  EXPECT_FALSE(one == two);
}

TEST(ChainKeyTest, IsTheDigestOfItsParts) {
  const BlockKey parent = *BlockKey::FromBytes("pp");
  // Lengths and tokens are 32-bit little-endian.
  const std::string text = "banyan.key.v1" + kPrint +
                           std::string("\2\0\0\0pp\2\0\0\0", 10) +
                           std::string("\1\0\0\0\0\2\0\0\3\0\0\0abc", 15);
  const Sha256Digest digest = Sha256({text});
  EXPECT_EQ(ChainKey(kPrint, parent, {1, 512}, "abc").bytes(), AsText(digest));
}

TEST(ChainKeyTest, EachPartChangesTheKey) {
  const BlockKey root = ChainKey(kPrint, BlockKey(), {1, 2}, "");
  const std::set<std::string> keys = {
      root.hex(),
      ChainKey(std::string(kFingerprintBytes, 'g'), BlockKey(), {1, 2}, "")
          .hex(),
      ChainKey(kPrint, root, {1, 2}, "").hex(),
      ChainKey(kPrint, BlockKey(), {2, 1}, "").hex(),
      ChainKey(kPrint, BlockKey(), {1}, std::string("\2\0\0\0", 4)).hex(),
      ChainKey(kPrint, BlockKey(), {1, 2}, "x").hex()};
  EXPECT_EQ(keys.size(), 6u);
}

TEST(KeyRunTest, CutsPackedKeys) {
  const KeyRun run{.keys = "aabbcc", .key_bytes = 2, .lead = "xxyy"};
  EXPECT_EQ(run.size(), 3u);
  EXPECT_EQ(run.key(2), "cc");
  EXPECT_EQ(run.lead_size(), 2u);
  EXPECT_EQ(run.lead_key(0), "xx");
  EXPECT_EQ(KeyRun{}.size(), 0u);
}

}  // namespace
}  // namespace banyan
