#include "client/cpp/get_reader.h"

#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "client/cpp/wire.h"

namespace banyan::client {
namespace {

namespace pb = banyan::v1;

absl::Status Protocol(absl::string_view what) {
  return MakeError(absl::StatusCode::kInternal, "PROTOCOL",
                   absl::StrCat("server: sent ", what,
                                ". Treat as a miss; check the network path "
                                "and both versions."));
}

}  // namespace

GetReader::GetReader(std::string_view namespace_id, std::string_view salt,
                     const pb::KeyRun& run,
                     const std::vector<std::span<std::byte>>& buffers,
                     bool verify_checksums, Completion& out)
    : namespace_id_(namespace_id),
      salt_(salt),
      run_(run),
      buffers_(buffers),
      verify_checksums_(verify_checksums),
      out_(out),
      is_answered_(buffers.size()) {}

grpc::Status GetReader::Read(grpc::Channel& channel,
                             grpc::ClientContext& context,
                             const pb::GetBlocksRequest& request) {
  const grpc::internal::RpcMethod method(
      "/banyan.v1.Cache/GetBlocks",
      grpc::internal::RpcMethod::SERVER_STREAMING);
  const std::unique_ptr<grpc::ClientReader<grpc::ByteBuffer>> reader(
      grpc::internal::ClientReaderFactory<grpc::ByteBuffer>::Create(
          &channel, method, &context, request));
  grpc::ByteBuffer frame;
  std::vector<grpc::Slice> slices;
  absl::Status status;
  while (status.ok() && reader->Read(&frame)) {
    slices.clear();
    if (!frame.Dump(&slices).ok()) {
      status = BadFrame("a frame that cannot be read");
      break;
    }
    status = transport::ParseFrame(slices, transport::kGetChunks, *this);
    if (ErrorReason(status) == "FRAME") status = BadFrame("a broken frame");
  }
  if (!status.ok()) context.TryCancel();
  const grpc::Status finished = reader->Finish();
  if (status.ok() && finished.ok()) CountAnswers();
  if (status.ok()) return finished;
  return {static_cast<grpc::StatusCode>(status.code()),
          std::string(status.message())};
}

absl::Status GetReader::BadFrame(absl::string_view what) {
  ++stats_.broken_frame;
  return Protocol(what);
}

absl::Status GetReader::BadOrder(absl::string_view what) {
  ++stats_.broken_order;
  return Protocol(what);
}

// Every key asked for gets an answer, a miss too.
void GetReader::CountAnswers() {
  for (size_t i = 0; i < is_answered_.size(); ++i) {
    if (!is_answered_[i]) ++stats_.unanswered;
    if (out_.reads[i] == ReadResult::kHit) ++stats_.hit_blocks;
  }
}

absl::Status GetReader::OnBytes(uint32_t field, absl::string_view bytes) {
  const int size = static_cast<int>(bytes.size());
  if (field == transport::kGetHeads) {
    pb::BlockHead head;
    if (!head.ParseFromArray(bytes.data(), size)) return BadFrame("a bad head");
    return OnHead(head);
  }
  if (field == transport::kGetDone) {
    pb::BlockDone done;
    if (!done.ParseFromArray(bytes.data(), size)) {
      return BadFrame("a bad end of a block");
    }
    return OnDone(done);
  }
  return absl::OkStatus();
}

absl::Status GetReader::OnHead(const pb::BlockHead& head) {
  if (is_arriving_) return BadOrder("a block inside another");
  if (head.ordinal() >= buffers_.size()) return BadOrder("a foreign block");
  // Its buffer must not change any more once it counts as a hit.
  if (is_answered_[head.ordinal()]) return BadOrder("a block twice");
  const size_t room = buffers_[head.ordinal()].size();
  if (head.payload_bytes() > room) {
    return MakeError(absl::StatusCode::kInvalidArgument, "BUFFER",
                     absl::StrCat("buffers[", head.ordinal(), "]: ", room,
                                  " bytes, block has ", head.payload_bytes(),
                                  ". Give a larger one."));
  }
  head_ = head;
  received_bytes_ = 0;
  is_arriving_ = true;
  return absl::OkStatus();
}

absl::Status GetReader::OnData(uint32_t ordinal, uint64_t offset,
                               absl::Span<const std::byte> data) {
  if (!is_arriving_ || ordinal != head_.ordinal() ||
      offset != received_bytes_ ||
      data.size() > head_.payload_bytes() - offset) {
    return BadOrder("bytes out of place");
  }
  std::memcpy(buffers_[ordinal].data() + offset, data.data(), data.size());
  received_bytes_ += data.size();
  return absl::OkStatus();
}

bool GetReader::IsChecked() const {
  if (!verify_checksums_) return true;
  if (PieceCount(head_.payload_bytes(), head_.piece_bytes()) == 0) return false;
  const auto payload = buffers_[head_.ordinal()].first(head_.payload_bytes());
  return Checksums(IdentityOf(namespace_id_, salt_, run_, head_.ordinal()),
                   payload, head_.piece_bytes()) == head_.checksums();
}

absl::Status GetReader::OnDone(const pb::BlockDone& done) {
  const uint32_t i = done.ordinal();
  if (i >= buffers_.size() || is_answered_[i]) {
    return BadOrder("the end of another block");
  }
  if (is_arriving_ && head_.ordinal() != i) {
    return BadOrder("the end of another block");
  }
  switch (done.status()) {
    case pb::BLOCK_STATUS_HIT:
      if (!is_arriving_) return BadOrder("the end of a block without its head");
      FinishBlock(i);
      break;
    case pb::BLOCK_STATUS_CHECKSUM:
      ++stats_.corrupt_server;
      out_.reads[i] = ReadResult::kCorrupt;
      break;
    case pb::BLOCK_STATUS_MISS:
      if (is_arriving_) return BadOrder("a miss after its bytes");
      break;
    default:
      return BadOrder("an end of no known kind");
  }
  is_answered_[i] = true;
  is_arriving_ = false;
  return absl::OkStatus();
}

void GetReader::FinishBlock(uint32_t ordinal) {
  out_.reads[ordinal] = ReadResult::kCorrupt;
  if (received_bytes_ != head_.payload_bytes()) {
    ++stats_.corrupt_length;
  } else if (!IsChecked()) {
    ++stats_.corrupt_checksum;
  } else {
    out_.reads[ordinal] = ReadResult::kHit;
    out_.read_bytes[ordinal] = head_.payload_bytes();
    out_.read_tiers[ordinal] =
        head_.tier() == banyan::v1::TIER_KIND_SSD ? Tier::kSsd : Tier::kHost;
  }
}

}  // namespace banyan::client
