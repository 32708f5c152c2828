// What a GGUF file says is read, tensors are decoded as the formats say, and what
// does not fit is refused, wherever the file is cut.
#include "client/ctl/model/gguf_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/error.h"
#include "tests/testing/gguf_writer.h"

namespace banyan::ctl {
namespace {

using ::testing::ElementsAre;
using testing::GgufWriter;

// One run of Q4_1 with code i % 16, and one of Q8_0 with code i - 16.
GgufWriter SomeFile() {
  GgufWriter writer;
  writer.Text("general.architecture", "llama");
  writer.Integer("count", 7);
  writer.Real("base", 1.5f);
  writer.Texts("words", {"a", "", "ccc"});
  writer.Integers("kinds", {1, 2, 3});
  writer.Floats("plain", {2, 2}, {1, 2, 3, -4});
  std::string q4;
  GgufWriter::PutFp16(0.25, q4);
  GgufWriter::PutFp16(-2, q4);
  for (int i = 0; i < 16; ++i) GgufWriter::Put(i | (15 - i) << 4, 1, q4);
  writer.Tensor("q4", {32}, 3, q4);
  std::string q8;
  GgufWriter::PutFp16(0.5, q8);
  for (int i = 0; i < 32; ++i) GgufWriter::Put(i - 16, 1, q8);
  writer.Tensor("q8", {16, 2}, 8, q8);
  std::string fp16;
  GgufWriter::PutFp16(0.125, fp16);
  writer.Tensor("fp16", {1}, 1, fp16);
  writer.Tensor("odd", {32}, 12, "x");
  return writer;
}

std::string Reason(const std::string& file) {
  return ErrorReason(GgufFile::Parse(AsBytes(file)).status());
}

TEST(GgufFileTest, ReadsValues) {
  const std::string bytes = SomeFile().File();
  const auto file = GgufFile::Parse(AsBytes(bytes));
  ASSERT_TRUE(file.ok()) << file.status();

  EXPECT_EQ(*file->Text("general.architecture"), "llama");
  EXPECT_EQ(*file->Integer("count"), 7u);
  EXPECT_EQ(*file->Real("base"), 1.5);
  EXPECT_THAT(*file->Texts("words"), ElementsAre("a", "", "ccc"));
  EXPECT_TRUE(file->Has("kinds"));
  EXPECT_EQ(ErrorReason(file->Integer("base").status()), "MODEL");
  EXPECT_EQ(ErrorReason(file->Text("absent").status()), "MODEL");
  EXPECT_EQ(ErrorReason(file->Texts("kinds").status()), "MODEL");
}

// Of int8, int16, int32 and int64. 255 for -1 would be a good size.
TEST(GgufFileTest, NegativeIntegersAreNoSizes) {
  for (const auto& [type, bytes] : {std::pair(1u, 1), std::pair(3u, 2),
                                    std::pair(5u, 4), std::pair(11u, 8)}) {
    const uint64_t most = (uint64_t{1} << (8 * bytes - 1)) - 1;
    GgufWriter writer;
    writer.Number("less", type, bytes, ~uint64_t{0});
    writer.Number("least", type, bytes, most + 1);
    writer.Number("most", type, bytes, most);
    const std::string file_bytes = writer.File();
    const auto file = GgufFile::Parse(AsBytes(file_bytes));
    ASSERT_TRUE(file.ok()) << file.status();

    EXPECT_EQ(ErrorReason(file->Integer("less").status()), "MODEL") << type;
    EXPECT_EQ(ErrorReason(file->Integer("least").status()), "MODEL") << type;
    EXPECT_EQ(*file->Integer("most"), most);
  }
  GgufWriter writer;
  writer.Number("byte", 0, 1, 255);  // uint8.
  const std::string file_bytes = writer.File();
  EXPECT_EQ(*GgufFile::Parse(AsBytes(file_bytes))->Integer("byte"), 255u);
}

TEST(GgufFileTest, DecodesTensors) {
  const std::string bytes = SomeFile().File();
  const auto file = GgufFile::Parse(AsBytes(bytes));
  ASSERT_TRUE(file.ok()) << file.status();

  EXPECT_THAT(*file->Floats("plain", 4), ElementsAre(1, 2, 3, -4));
  EXPECT_THAT(*file->Floats("fp16", 1), ElementsAre(0.125f));
  const auto q4 = *file->Floats("q4", 32);
  const auto q8 = *file->Floats("q8", 32);
  for (int i = 0; i < 32; ++i) {
    EXPECT_EQ(q4[i], (i < 16 ? i : 31 - i) * 0.25f - 2);
    EXPECT_EQ(q8[i], (i - 16) * 0.5f);
  }
  EXPECT_EQ(ErrorReason(file->Floats("q4", 31).status()), "MODEL");
  EXPECT_EQ(ErrorReason(file->Floats("odd", 32).status()), "MODEL");
  EXPECT_EQ(ErrorReason(file->Floats("absent", 1).status()), "MODEL");
  EXPECT_FALSE(file->HasTensor("absent"));
}

// The padding behind the last tensor of a known format is all that may go.
TEST(GgufFileTest, RefusesEveryCut) {
  const std::string bytes = SomeFile().File();
  for (size_t size = 0; size + 64 < bytes.size(); ++size) {
    ASSERT_EQ(Reason(bytes.substr(0, size)), "MODEL") << size;
  }
}

TEST(GgufFileTest, RefusesWhatDoesNotFit) {
  const std::string good = SomeFile().File();
  EXPECT_EQ(Reason(good), "");
  const auto with = [&](size_t at, uint64_t value, int bytes) {
    std::string text;
    GgufWriter::Put(value, bytes, text);
    return std::string(good).replace(at, text.size(), text);
  };
  EXPECT_EQ(Reason(with(4, 2, 4)), "MODEL");              // Version.
  EXPECT_EQ(Reason(with(8, ~uint64_t{0}, 8)), "MODEL");   // Tensors.
  EXPECT_EQ(Reason(with(16, ~uint64_t{0}, 8)), "MODEL");  // Values.
  EXPECT_EQ(Reason(with(24, ~uint64_t{0}, 8)), "MODEL");  // A name's length.
  EXPECT_EQ(Reason(with(52, 77, 4)), "MODEL");            // A value's type.

  GgufWriter twice;
  twice.Integer("a", 1);
  twice.Integer("a", 1);
  EXPECT_EQ(Reason(twice.File()), "MODEL");
  GgufWriter aligned;
  aligned.Integer("general.alignment", 3);
  EXPECT_EQ(Reason(aligned.File()), "MODEL");
  for (const std::vector<uint64_t>& sizes :
       {std::vector<uint64_t>{},
        {0},
        {uint64_t{1} << 40},
        {31},
        {64},
        {1, 1, 1, 1, 32},
        {uint64_t{1} << 32, uint64_t{1} << 32}}) {
    GgufWriter writer;
    writer.Tensor("t", sizes, 3, std::string(20, '\0'));
    EXPECT_EQ(Reason(writer.File()), "MODEL");
  }
}

// So that a small file does not become many large tensors.
TEST(GgufFileTest, RefusesOneRunOfBytesForTwoTensors) {
  GgufWriter writer;
  writer.Tensor("a", {32}, 3, std::string(20, '\0'));
  writer.Tensor("b", {32}, 3, "");
  std::string bytes = writer.File();
  const std::string name("\1\0\0\0\0\0\0\0b", 9);
  const size_t at = bytes.find(name);
  ASSERT_NE(at, std::string::npos);
  std::string offset;
  GgufWriter::Put(0, 8, offset);
  bytes.replace(at + name.size() + 4 + 8 + 4, offset.size(), offset);

  EXPECT_EQ(Reason(bytes), "MODEL");
}

}  // namespace
}  // namespace banyan::ctl
