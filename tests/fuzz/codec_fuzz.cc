// Any bytes given to every codec as an encoded layer: refused, or decoded, the
// same way with their checksum and without, and never with another checksum.
// What is decoded does not depend on what was in the layer before. The first
// byte picks a codec and a shape; the bytes are tried as they are, and then
// behind the head that the codec expects, so that the fuzzer gets past it.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/check.h"
#include "base/error.h"
#include "tests/testing/codec_cases.h"

namespace banyan::codec {
namespace {

struct Subject {
  std::unique_ptr<BlockCodec> codec;
  BlockCodec::Workspace work;
  std::vector<std::byte> encoded;  // A layer of zeros; the most it takes.
};

constexpr uint64_t kPosition = 100;

void Add(const std::string& spec, const KvLayout& layout, ElementType type,
         std::vector<Subject>& subjects) {
  auto codec = testing::MakeCodec(spec, layout, type);
  auto work = codec->MakeWorkspace();
  std::vector<std::byte> encoded(codec->EncodedLayerBytes(kPosition));
  const std::vector<std::byte> zeros(codec->layer_bytes());
  BANYAN_CHECK(codec->StartEncoding(kPosition, work).ok());
  BANYAN_CHECK(
      codec->EncodeLayerSized(zeros, work, absl::MakeSpan(encoded)).ok());
  BANYAN_CHECK(codec->StartDecoding(kPosition, work).ok());
  subjects.push_back({std::move(codec), std::move(work), std::move(encoded)});
}

std::vector<Subject>& Subjects() {
  static auto* const subjects = [] {
    auto* const made = new std::vector<Subject>;
    for (const std::string& spec : testing::CodecSpecs()) {
      Add(spec, testing::CodecLayout(TokenOrder::kNhd, 3, 2, 64),
          ElementType::kFp16, *made);
      Add(spec, testing::CodecLayout(TokenOrder::kHnd, 9, 1, 26),
          ElementType::kBf16, *made);
    }
    return made;
  }();
  return *subjects;
}

void CheckDecode(Subject& subject, absl::Span<const std::byte> encoded) {
  std::vector<std::byte> layer(subject.codec->layer_bytes());
  std::vector<std::byte> again(layer.size(), std::byte{0xA5});
  const absl::Status status =
      subject.codec->DecodeLayer(encoded, subject.work, absl::MakeSpan(layer));
  BANYAN_CHECK(status.ok() || status.code() == absl::StatusCode::kDataLoss ||
               ErrorReason(status) == "POSITION");
  BlockCodec::Check check{.seed = 7, .expected = Xxh3_128(encoded, 7)};
  const absl::Status verified = subject.codec->DecodeLayerVerified(
      encoded, check, subject.work, absl::MakeSpan(again));
  BANYAN_CHECK(verified.code() == status.code());
  BANYAN_CHECK(!status.ok() || layer == again);
  check.expected.low ^= 1;
  BANYAN_CHECK(!subject.codec
                    ->DecodeLayerVerified(encoded, check, subject.work,
                                          absl::MakeSpan(again))
                    .ok());
}

}  // namespace
}  // namespace banyan::codec

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace banyan::codec;
  if (size == 0) return 0;
  const auto bytes = absl::MakeConstSpan(
      reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  Subject& subject = Subjects()[data[0] % Subjects().size()];
  CheckDecode(subject, bytes);
  std::vector<std::byte> encoded = subject.encoded;
  const size_t body = std::min(bytes.size(), encoded.size() - kLayerHeadBytes);
  std::copy_n(bytes.begin(), body, encoded.begin() + kLayerHeadBytes);
  if (!subject.codec->has_fixed_size()) encoded.resize(kLayerHeadBytes + body);
  CheckDecode(subject, encoded);
  return 0;
}
