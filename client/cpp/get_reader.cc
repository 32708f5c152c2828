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
  return MakeError(
      absl::StatusCode::kInternal, "PROTOCOL",
      absl::StrCat("server: sent ", what, ". Client and server do not fit."));
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
      out_(out) {}

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
      status = Protocol("a frame that cannot be read");
      break;
    }
    status = transport::ParseFrame(slices, transport::kGetChunks, *this);
  }
  if (!status.ok()) context.TryCancel();
  const grpc::Status finished = reader->Finish();
  if (status.ok()) return finished;
  return {static_cast<grpc::StatusCode>(status.code()),
          std::string(status.message())};
}

absl::Status GetReader::OnBytes(uint32_t field, absl::string_view bytes) {
  const int size = static_cast<int>(bytes.size());
  if (field == transport::kGetHeads) {
    pb::BlockHead head;
    if (!head.ParseFromArray(bytes.data(), size)) return Protocol("a bad head");
    return OnHead(head);
  }
  if (field == transport::kGetDone) {
    pb::BlockDone done;
    if (!done.ParseFromArray(bytes.data(), size) ||
        done.ordinal() >= buffers_.size()) {
      return Protocol("a bad end of a block");
    }
    OnDone(done);
  }
  return absl::OkStatus();
}

absl::Status GetReader::OnHead(const pb::BlockHead& head) {
  if (head.ordinal() >= buffers_.size()) return Protocol("a foreign block");
  const size_t room = buffers_[head.ordinal()].size();
  if (head.payload_bytes() > room) {
    return MakeError(absl::StatusCode::kInvalidArgument, "BUFFER",
                     absl::StrCat("buffers[", head.ordinal(), "]: ", room,
                                  " bytes, block has ", head.payload_bytes(),
                                  ". Give a larger one."));
  }
  head_ = head;
  received_bytes_ = 0;
  return absl::OkStatus();
}

absl::Status GetReader::OnData(uint32_t ordinal, uint64_t offset,
                               absl::Span<const std::byte> data) {
  if (ordinal != head_.ordinal() || offset != received_bytes_ ||
      data.size() > head_.payload_bytes() - offset) {
    return Protocol("bytes out of place");
  }
  std::memcpy(buffers_[ordinal].data() + offset, data.data(), data.size());
  received_bytes_ += data.size();
  return absl::OkStatus();
}

bool GetReader::IsIntact() const {
  if (received_bytes_ != head_.payload_bytes()) return false;
  if (!verify_checksums_) return true;
  if (PieceCount(head_.payload_bytes(), head_.piece_bytes()) == 0) return false;
  const auto payload = buffers_[head_.ordinal()].first(head_.payload_bytes());
  return Checksums(IdentityOf(namespace_id_, salt_, run_, head_.ordinal()),
                   payload, head_.piece_bytes()) == head_.checksums();
}

void GetReader::OnDone(const pb::BlockDone& done) {
  const uint32_t i = done.ordinal();
  if (done.status() == pb::BLOCK_STATUS_CHECKSUM) {
    out_.reads[i] = ReadResult::kCorrupt;
  } else if (done.status() == pb::BLOCK_STATUS_HIT) {
    const bool is_intact = head_.ordinal() == i && IsIntact();
    out_.reads[i] = is_intact ? ReadResult::kHit : ReadResult::kCorrupt;
    out_.read_bytes[i] = is_intact ? head_.payload_bytes() : 0;
  }
}

}  // namespace banyan::client
