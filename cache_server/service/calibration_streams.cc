// OpenCalibratedNamespace and GetCalibration: calibrations too long for one
// message, in parts. What arrives at a time is bounded in all; nothing of it is
// kept but by a namespace.
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "cache_server/engine/namespace_codec.h"
#include "cache_server/service/cache_service.h"
#include "cache_server/service/status_to_grpc.h"
#include "client/transport/calibration_parts.h"

namespace banyan::service {
namespace {

namespace pb = banyan::v1;

absl::Status Bad(absl::string_view reason, absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason, message);
}

static_assert(engine::kCalibrationBytesMax == transport::kCalibrationBytesMax);

// However slowly parts come: what is on its way keeps room from others.
constexpr absl::Duration kArrivalMax = absl::Seconds(60);

// What both kinds of streams are: a call in flight that is watched.
class Watched {
 public:
  Watched(CacheService& service, grpc::CallbackServerContext& context)
      : service_(service), status_(service.Enter(context)) {
    if (!status_.ok()) return;
    service_.TellDeadline(context);
    ticket_ = service_.watch().Join(StreamWatch::Kind::kCall, context);
  }
  ~Watched() {
    service_.watch().Leave(ticket_);
    if (status_.ok()) service_.Leave();
  }

  // Whether it may go on.
  const absl::Status& status() const { return status_; }
  void NoteProgress() { service_.watch().NoteProgress(ticket_); }
  void NoteWait() { service_.watch().NoteWait(ticket_); }

 private:
  CacheService& service_;
  const absl::Status status_;
  StreamWatch::Ticket ticket_ = 0;
};

// One call. Deletes itself when gRPC is done with it.
class OpenStream final
    : public grpc::ServerReadReactor<pb::OpenCalibratedNamespaceRequest> {
 public:
  OpenStream(CacheService& service, grpc::CallbackServerContext& context,
             pb::OpenCalibratedNamespaceResponse* response)
      : service_(service),
        context_(context),
        response_(*response),
        watched_(service, context) {
    if (watched_.status().ok()) {
      StartRead(&request_);
    } else {
      Finish(ToGrpc(watched_.status()));
    }
  }

  void OnReadDone(bool is_ok) override {
    if (!is_ok) return Open();
    watched_.NoteProgress();
    const absl::Status status = Take();
    if (!status.ok()) return Finish(ToGrpc(status));
    StartRead(&request_);
  }

  void OnDone() override { delete this; }

 private:
  absl::Status Take() {
    if (hold_ == nullptr) {
      BANYAN_RETURN_IF_ERROR(Begin());
    } else if (request_.has_open()) {
      return Bad("OPEN", "open: twice. Send it once, first.");
    } else if (request_.calibration().empty()) {
      return Bad("CALIBRATION", "calibration: a part is empty. Leave it out.");
    }
    if (service_.clock().Now() > end_) {
      return MakeError(
          absl::StatusCode::kDeadlineExceeded, "DEADLINE",
          absl::StrCat("calibration: ", calibration_.size(), " of ", bytes_,
                       " bytes came in ", absl::ToInt64Seconds(kArrivalMax),
                       " s, the limit. Send it faster."));
    }
    if (request_.calibration().size() > bytes_ - calibration_.size()) {
      return Bad("CALIBRATION",
                 absl::StrCat("calibration: more than the ", bytes_,
                              " bytes of calibration_bytes. Say how long it "
                              "is."));
    }
    calibration_ += request_.calibration();
    return absl::OkStatus();
  }

  // Of the first message; takes room for what it announces.
  absl::Status Begin() {
    if (!request_.has_open()) {
      return Bad("OPEN", "open: missing. It comes first.");
    }
    bytes_ = request_.calibration_bytes();
    if (bytes_ == 0) {
      return Bad("CALIBRATION",
                 "calibration_bytes: 0. Say how long it is, or use "
                 "OpenNamespace.");
    }
    if (!request_.open().calibration().empty()) {
      return Bad("CALIBRATION",
                 "open.calibration: not empty. Send it in parts.");
    }
    if (bytes_ > engine::kCalibrationBytesMax) {
      return engine::TooLongCalibration(bytes_);
    }
    hold_ = service_.arriving_calibrations().Take(bytes_);
    if (hold_ == nullptr) {
      return WithRetryDelay(
          MakeError(absl::StatusCode::kResourceExhausted, "OVERLOADED",
                    "calibrations: too many arrive at the time; retry after "
                    "1 s."),
          absl::Seconds(1));
    }
    open_ = std::move(*request_.mutable_open());
    calibration_.reserve(bytes_);
    return absl::OkStatus();
  }

  // All has arrived, or what there will be. What follows takes seconds.
  void Open() {
    if (hold_ == nullptr || calibration_.size() < bytes_) {
      return Finish(
          ToGrpc(Bad("CALIBRATION",
                     absl::StrCat("calibration: ", calibration_.size(), " of ",
                                  bytes_, " bytes came. Send all of it."))));
    }
    watched_.NoteWait();
    // gRPC keeps the call until it was finished, so the job may use it.
    const bool is_taken = service_.executor().TrySubmit([this] {
      Finish(ToGrpc(service_.Open(context_, open_, calibration_,
                                  *response_.mutable_opened())));
    });
    if (!is_taken) Finish(ToGrpc(service_.TurnAway()));
  }

  CacheService& service_;
  grpc::CallbackServerContext& context_;
  pb::OpenCalibratedNamespaceResponse& response_;
  Watched watched_;
  pb::OpenCalibratedNamespaceRequest request_;
  pb::OpenNamespaceRequest open_;
  const absl::Duration end_ = service_.clock().Now() + kArrivalMax;
  uint64_t bytes_ = 0;
  engine::ByteBudget::Hold hold_;
  std::string calibration_;
};

// One call. Deletes itself when gRPC is done with it.
class CalibrationStream final
    : public grpc::ServerWriteReactor<pb::GetCalibrationResponse> {
 public:
  CalibrationStream(CacheService& service, grpc::CallbackServerContext& context,
                    const pb::GetCalibrationRequest& request)
      : watched_(service, context) {
    absl::Status status = watched_.status();
    if (status.ok()) status = Find(service, request);
    if (status.ok()) {
      WriteNext();
    } else {
      Finish(ToGrpc(status));
    }
  }

  void OnWriteDone(bool is_ok) override {
    if (!is_ok) return Finish(grpc::Status::CANCELLED);
    watched_.NoteProgress();
    WriteNext();
  }

  void OnDone() override { delete this; }

 private:
  absl::Status Find(CacheService& service,
                    const pb::GetCalibrationRequest& request) {
    BANYAN_ASSIGN_OR_RETURN(
        ns_, service.store().namespaces().FindById(request.namespace_id()));
    if (ns_->calibration != nullptr) return absl::OkStatus();
    return MakeError(absl::StatusCode::kNotFound, "CALIBRATION",
                     absl::StrCat("calibration: namespace \"", ns_->name,
                                  "\" has none. Use it without."));
  }

  void WriteNext() {
    const absl::string_view bytes = ns_->calibration_bytes();
    if (at_ == bytes.size()) return Finish(grpc::Status::OK);
    const absl::string_view part =
        bytes.substr(at_, transport::kCalibrationPartBytes);
    at_ += part.size();
    part_.set_calibration(std::string(part));
    StartWrite(&part_);
  }

  Watched watched_;
  engine::NamespacePtr ns_;
  size_t at_ = 0;
  pb::GetCalibrationResponse part_;
};

}  // namespace

grpc::ServerReadReactor<pb::OpenCalibratedNamespaceRequest>*
CacheService::OpenCalibratedNamespace(
    grpc::CallbackServerContext* context,
    pb::OpenCalibratedNamespaceResponse* response) {
  return new OpenStream(*this, *context, response);
}

grpc::ServerWriteReactor<pb::GetCalibrationResponse>*
CacheService::GetCalibration(grpc::CallbackServerContext* context,
                             const pb::GetCalibrationRequest* request) {
  return new CalibrationStream(*this, *context, *request);
}

}  // namespace banyan::service
