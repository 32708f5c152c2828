// Any bytes as a checkpoint, and as a vocabulary, of llama2.c: refused, or a model
// that computes a token and a tokenizer that gives back what it is given. The
// first byte picks which.
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "base/error.h"
#include "client/ctl/model/llama2c.h"

namespace banyan::ctl {
namespace {

void TryModel(absl::Span<const std::byte> file) {
  const auto model = ParseLlama2cModel(file);
  if (!model.ok()) {
    const std::string reason = ErrorReason(model.status());
    BANYAN_CHECK(reason == "MODEL" || reason == "ROPE");
    return;
  }
  const auto layout = model->shape().Layout(ElementType::kFp16, 4);
  BANYAN_CHECK(layout.ok());
  KvCache cache(*layout, ElementType::kFp16, 1);
  std::vector<float> logits(model->shape().vocabulary);
  const uint32_t token = model->shape().vocabulary - 1;
  BANYAN_CHECK(model->Forward({token}, cache, absl::MakeSpan(logits)).ok());
}

void TryVocabulary(absl::Span<const std::byte> file) {
  constexpr uint32_t kTokens = 261;
  const auto tokenizer = ParseLlama2cVocabulary(file, kTokens);
  if (!tokenizer.ok()) {
    BANYAN_CHECK(ErrorReason(tokenizer.status()) == "MODEL");
    return;
  }
  const std::string text(reinterpret_cast<const char*>(file.data()),
                         std::min<size_t>(file.size(), 200));
  std::string again;
  for (const uint32_t token : (*tokenizer)->Encode(text)) {
    BANYAN_CHECK(token < kTokens);
    again += (*tokenizer)->Decode(token);
  }
  BANYAN_CHECK(again == " " + text);
}

}  // namespace
}  // namespace banyan::ctl

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto bytes = absl::MakeConstSpan(
      reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  if (data[0] % 2 == 0) {
    banyan::ctl::TryModel(bytes);
  } else {
    banyan::ctl::TryVocabulary(bytes);
  }
  return 0;
}
