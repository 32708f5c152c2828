// PutBlocks and PutLayers: chunks are copied from the network's slices straight
// into the staged rooms. One message is read at a time, so a fast writer is
// held back by flow control. In PutLayers the checksum of a piece follows its
// bytes.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/status_macros.h"
#include "cache_server/service/cache_service.h"
#include "cache_server/service/status_to_grpc.h"
#include "cache_server/service/wire.h"
#include "client/transport/frame_codec.h"

namespace banyan::service {
namespace {

using engine::WriteOrder;

// One call. Deletes itself when gRPC is done with it.
class PutStream final : public grpc::ServerReadReactor<grpc::ByteBuffer>,
                        private transport::FrameSink {
 public:
  PutStream(CacheService& service, grpc::CallbackServerContext& context,
            grpc::ByteBuffer* response, WriteOrder order)
      : service_(service), order_(order), response_(response) {
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
    if (write_ != nullptr) service_.store().NoteWriting(session_id_, write_id_);
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
    if (field == transport::kPutSums && order_ == WriteOrder::kLayers) {
      return OnSums(bytes);
    }
    return absl::OkStatus();
  }

  absl::Status OnSums(absl::string_view bytes) {
    BANYAN_ASSIGN_OR_RETURN(const VouchedPieces vouched, VouchedOf(bytes));
    BANYAN_RETURN_IF_ERROR(FindWrite());
    for (uint32_t i = 0; i < vouched.checksums.size(); ++i) {
      BANYAN_RETURN_IF_ERROR(write_->Vouch(
          vouched.ordinal, vouched.first_piece + i, vouched.checksums[i]));
    }
    return absl::OkStatus();
  }

  absl::Status OnData(uint32_t ordinal, uint64_t offset,
                      absl::Span<const std::byte> data) override {
    BANYAN_RETURN_IF_ERROR(FindWrite());
    received_bytes_ += data.size();
    return write_->Write(ordinal, offset, data);
  }

  absl::Status FindWrite() {
    if (write_ != nullptr) return absl::OkStatus();
    BANYAN_ASSIGN_OR_RETURN(auto found,
                            service_.store().FindWrite(session_id_, write_id_));
    if (found->order() != order_) {
      return MakeError(absl::StatusCode::kInvalidArgument, "ORDER",
                       order_ == WriteOrder::kLayers
                           ? "write: not by layers. Use PutBlocks."
                           : "write: by layers. Use PutLayers.");
    }
    write_ = std::move(found);
    return absl::OkStatus();
  }

  void FinishBad(const absl::Status& status) {
    service_.store().EndBadWrite(session_id_, write_id_, status);
    Finish(ToGrpc(status));
  }

  void FinishOk() {
    // A stream without data says nothing of a write that does not exist.
    const absl::Status status = FindWrite();
    if (!status.ok()) return FinishBad(status);
    // Of PutLayers the same on the wire.
    banyan::v1::PutBlocksResponse answer;
    answer.set_received_bytes(received_bytes_);
    const grpc::Slice slice(answer.SerializeAsString());
    *response_ = grpc::ByteBuffer(&slice, 1);
    Finish(grpc::Status::OK);
  }

  CacheService& service_;
  const WriteOrder order_;
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
  return new PutStream(*this, *context, response, WriteOrder::kBlocks);
}

grpc::ServerReadReactor<grpc::ByteBuffer>* CacheService::PutLayers(
    grpc::CallbackServerContext* context, grpc::ByteBuffer* response) {
  return new PutStream(*this, *context, response, WriteOrder::kLayers);
}

}  // namespace banyan::service
