// PutBlocks: chunks are copied from the network's slices straight into the
// staged rooms. One message is read at a time, so a fast writer is held back by
// flow control.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/status_macros.h"
#include "cache_server/service/cache_service.h"
#include "cache_server/service/status_to_grpc.h"
#include "client/transport/frame_codec.h"

namespace banyan::service {
namespace {

// One call. Deletes itself when gRPC is done with it.
class PutStream final : public grpc::ServerReadReactor<grpc::ByteBuffer>,
                        private transport::FrameSink {
 public:
  PutStream(CacheService& service, grpc::CallbackServerContext& context,
            grpc::ByteBuffer* response)
      : service_(service), response_(response) {
    const absl::Status entered = service.Enter(context);
    has_entered_ = entered.ok();
    if (entered.ok()) {
      service_.TellDeadline(context);
      ticket_ = service_.watch().Join(StreamWatch::Kind::kCall, context);
      StartRead(&frame_);
    } else {
      Finish(ToGrpc(entered));
    }
  }

  void OnReadDone(bool is_ok) override {
    if (!is_ok) return FinishOk();
    service_.watch().NoteProgress(ticket_);
    std::vector<grpc::Slice> slices;
    if (!frame_.Dump(&slices).ok()) {
      return Finish(ToGrpc(absl::InternalError("frame: cannot be read.")));
    }
    const absl::Status status =
        transport::ParseFrame(slices, transport::kPutChunks, *this);
    if (!status.ok()) return FinishBad(status);
    frame_.Clear();
    StartRead(&frame_);
  }

  void OnDone() override {
    service_.watch().Leave(ticket_);
    if (has_entered_) service_.Leave();
    delete this;
  }

 private:
  absl::Status OnBytes(uint32_t field, absl::string_view bytes) override {
    if (field == transport::kPutSessionId) session_id_ = std::string(bytes);
    if (field == transport::kPutWriteId) write_id_ = std::string(bytes);
    return absl::OkStatus();
  }

  absl::Status OnData(uint32_t ordinal, uint64_t offset,
                      absl::Span<const std::byte> data) override {
    if (write_ == nullptr) {
      BANYAN_ASSIGN_OR_RETURN(
          write_, service_.store().FindWrite(session_id_, write_id_));
    }
    received_bytes_ += data.size();
    return write_->Write(ordinal, offset, data);
  }

  void FinishBad(const absl::Status& status) {
    service_.store().CountBadWrite(status);
    Finish(ToGrpc(status));
  }

  void FinishOk() {
    // A stream without data says nothing of a write that does not exist.
    if (write_ == nullptr) {
      const auto write = service_.store().FindWrite(session_id_, write_id_);
      if (!write.ok()) return FinishBad(write.status());
    }
    banyan::v1::PutBlocksResponse answer;
    answer.set_received_bytes(received_bytes_);
    const grpc::Slice slice(answer.SerializeAsString());
    *response_ = grpc::ByteBuffer(&slice, 1);
    Finish(grpc::Status::OK);
  }

  CacheService& service_;
  bool has_entered_ = false;
  StreamWatch::Ticket ticket_ = 0;
  grpc::ByteBuffer* const response_;
  grpc::ByteBuffer frame_;
  std::string session_id_;
  std::string write_id_;
  std::shared_ptr<engine::OpenWrite> write_;
  uint64_t received_bytes_ = 0;
};

}  // namespace

grpc::ServerReadReactor<grpc::ByteBuffer>* CacheService::PutBlocks(
    grpc::CallbackServerContext* context, grpc::ByteBuffer* response) {
  return new PutStream(*this, *context, response);
}

}  // namespace banyan::service
