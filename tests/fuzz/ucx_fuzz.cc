// No message over UCX, whatever is in it, makes a parser of either side read what
// it was not given; and what a parser takes is what an encoder would have sent, but
// for the bytes that have no name.
//
// Input: length of the head, head, body.
#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/check.h"
#include "client/transport/ucx_messages.h"

namespace banyan::transport {
namespace {

// A right-sized copy, so that reading past the end is seen.
class Copy {
 public:
  explicit Copy(absl::Span<const std::byte> from)
      : bytes_(from.begin(), from.end()) {}
  absl::Span<const std::byte> get() const { return bytes_; }

 private:
  const std::vector<std::byte> bytes_;
};

void CheckToNode(absl::Span<const std::byte> head,
                 absl::Span<const std::byte> body) {
  const auto question = ParseUcxQuestion(head, body);
  if (question.ok()) {
    BANYAN_CHECK(UcxBodyOf(*question) == AsText(body) ||
                 question->run.key_bytes == 0);
    const UcxHead again = EncodeUcx(*question);
    const auto second = ParseUcxQuestion(again.bytes(), body);
    BANYAN_CHECK(second.ok() == (question->run.key_bytes != 0) ||
                 body.size() == question->salt.size());
  }
  const auto put = ParseUcxPut(head);
  if (put.ok()) BANYAN_CHECK(EncodeUcx(*put).bytes().size() == head.size());
  const auto hello = ParseUcxHello(head);
  if (hello.ok()) BANYAN_CHECK(hello->token.size() == kUcxIdBytes);
  ParseUcxCancel(head).IgnoreError();
  ParseUcxBye(head).IgnoreError();
  UcxToNodeKindOf(head).IgnoreError();
}

void CheckToClient(absl::Span<const std::byte> head,
                   absl::Span<const std::byte> body) {
  const auto block = ParseUcxBlock(head, body);
  if (block.ok()) BANYAN_CHECK(UcxBodyOf(*block) == AsText(body));
  const auto answer = ParseUcxAnswer(head, body);
  if (answer.ok()) {
    BANYAN_CHECK(answer->damaged.size() <= body.size() / 4);
    UcxBodyOf(*answer);
  }
  ParseUcxWelcome(head).IgnoreError();
  ParseUcxBytes(head).IgnoreError();
  UcxToClientKindOf(head).IgnoreError();
}

}  // namespace
}  // namespace banyan::transport

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using banyan::transport::Copy;
  if (size == 0) return 0;
  const absl::Span<const std::byte> bytes(
      reinterpret_cast<const std::byte*>(data + 1), size - 1);
  const Copy head(bytes.subspan(0, data[0]));
  const Copy body(bytes.subspan(std::min<size_t>(data[0], bytes.size())));
  banyan::transport::CheckToNode(head.get(), body.get());
  banyan::transport::CheckToClient(head.get(), body.get());
  return 0;
}
