// Any bytes, cut into slices anywhere, given to the frame parser: it must
// refuse them or hand out data that lies inside the frame, the same however the
// frame is cut.
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/check.h"
#include "client/transport/frame_codec.h"

namespace banyan::transport {
namespace {

// Writes down what it is given; stretches of a chunk are joined.
class Recorder final : public FrameSink {
 public:
  absl::Status OnBytes(uint32_t field, absl::string_view bytes) override {
    absl::StrAppend(&text_, "|f", field, ":", bytes);
    next_ = UINT64_MAX;
    return absl::OkStatus();
  }
  absl::Status OnData(uint32_t ordinal, uint64_t offset,
                      absl::Span<const std::byte> data) override {
    if (offset != next_ || ordinal != ordinal_) {
      absl::StrAppend(&text_, "|c", ordinal, ",", offset, ":");
    }
    absl::StrAppend(&text_, AsText(data));
    data_bytes_ += data.size();
    ordinal_ = ordinal;
    next_ = offset + data.size();
    return absl::OkStatus();
  }

  std::string text_;
  uint64_t data_bytes_ = 0;

 private:
  uint32_t ordinal_ = 0;
  uint64_t next_ = UINT64_MAX;
};

}  // namespace
}  // namespace banyan::transport

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using banyan::transport::ParseFrame;
  if (size == 0) return 0;
  const size_t step = data[0] % 7 + 1;
  const std::vector<grpc::Slice> whole = {grpc::Slice(data + 1, size - 1)};
  std::vector<grpc::Slice> cut;
  for (size_t at = 1; at < size; at += step) {
    cut.emplace_back(data + at, std::min(step, size - at));
  }
  banyan::transport::Recorder from_whole;
  banyan::transport::Recorder from_cut;
  const auto status = ParseFrame(whole, 2, from_whole);
  const auto status_cut = ParseFrame(cut, 2, from_cut);
  BANYAN_CHECK(status.code() == status_cut.code());
  BANYAN_CHECK(from_whole.text_ == from_cut.text_);
  BANYAN_CHECK(from_whole.data_bytes_ <= size);
  return 0;
}
