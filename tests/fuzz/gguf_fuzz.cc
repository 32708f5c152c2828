// Any bytes as a GGUF file: refused, or a file whose tensors and texts lie inside
// it; as a model and a tokenizer, refused or made.
#include <cstdint>

#include "base/check.h"
#include "base/error.h"
#include "client/ctl/model/gguf_model.h"

namespace banyan::ctl {
namespace {

void TryFile(absl::Span<const std::byte> bytes) {
  const auto file = GgufFile::Parse(bytes);
  if (!file.ok()) {
    BANYAN_CHECK(ErrorReason(file.status()) == "MODEL");
    return;
  }
  const auto model = LlamaOfGguf(*file);
  if (!model.ok()) {
    const std::string reason = ErrorReason(model.status());
    BANYAN_CHECK(reason == "MODEL" || reason == "ROPE");
  }
  const auto tokenizer = TokenizerOfGguf(*file);
  if (!tokenizer.ok()) {
    BANYAN_CHECK(ErrorReason(tokenizer.status()) == "MODEL");
    return;
  }
  for (const uint32_t token : (*tokenizer)->Encode("it's 1 \xC3\xA9\xFF  x")) {
    BANYAN_CHECK(token < (*tokenizer)->vocabulary());
  }
}

}  // namespace
}  // namespace banyan::ctl

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  banyan::ctl::TryFile(
      absl::MakeConstSpan(reinterpret_cast<const std::byte*>(data), size));
  return 0;
}
