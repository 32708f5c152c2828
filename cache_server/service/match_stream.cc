// MatchPrefixes: questions and answers in turn on one stream.
#include <utility>

#include "absl/time/time.h"
#include "base/error.h"
#include "cache_server/service/cache_service.h"
#include "cache_server/service/status_to_grpc.h"
#include "cache_server/service/wire.h"

namespace banyan::service {
namespace {

namespace pb = banyan::v1;

// One stream. gRPC runs its reactions one after the other, since a question is
// read only after the answer before it was written. Deletes itself when gRPC is
// done with it.
class MatchStream final
    : public grpc::ServerBidiReactor<pb::MatchPrefixRequest,
                                     pb::MatchPrefixResponse> {
 public:
  MatchStream(CacheService& service, grpc::CallbackServerContext& context)
      : service_(service), context_(context) {
    if (const absl::Status status = Open(); status.ok()) {
      StartRead(&request_);
    } else {
      Finish(ToGrpc(status));
    }
  }

  void OnReadDone(bool is_ok) override {
    if (!is_ok) return Finish(grpc::Status::OK);
    const absl::Status status = Answer();
    if (!status.ok()) return Finish(ToGrpc(status));
    StartWrite(&response_);
  }

  void OnWriteDone(bool is_ok) override {
    if (!is_ok) return Finish(grpc::Status::CANCELLED);
    StartRead(&request_);
  }

  void OnDone() override {
    if (is_added_) service_.RemoveMatchStream(&context_);
    delete this;
  }

 private:
  absl::Status Open() {
    if (absl::Status status = service_.Enter(context_); !status.ok()) {
      return status;
    }
    service_.Leave();  // At rest it is no call in flight.
    is_added_ = service_.AddMatchStream(&context_);
    if (is_added_) return absl::OkStatus();
    return WithRetryDelay(
        MakeError(absl::StatusCode::kResourceExhausted, "OVERLOADED",
                  "match streams: too many. Use MatchPrefix."),
        absl::Milliseconds(20));
  }

  absl::Status Answer() {
    if (absl::Status status = service_.Enter(context_); !status.ok()) {
      return status;
    }
    const auto hits = service_.store().Match(TargetOf(request_));
    service_.Leave();
    if (!hits.ok()) return hits.status();
    response_.set_hit_blocks(*hits);
    return absl::OkStatus();
  }

  CacheService& service_;
  grpc::CallbackServerContext& context_;
  bool is_added_ = false;
  pb::MatchPrefixRequest request_;
  pb::MatchPrefixResponse response_;
};

}  // namespace

grpc::ServerBidiReactor<pb::MatchPrefixRequest, pb::MatchPrefixResponse>*
CacheService::MatchPrefixes(grpc::CallbackServerContext* context) {
  return new MatchStream(*this, *context);
}

bool CacheService::AddMatchStream(grpc::CallbackServerContext* context) {
  MutexLock lock(mutex_);
  // Drain takes the lock after it has set the flag, so none slips through.
  if (is_draining_ || match_streams_.size() >= options_.calls_max) return false;
  match_streams_.insert(context);
  return true;
}

void CacheService::RemoveMatchStream(grpc::CallbackServerContext* context) {
  MutexLock lock(mutex_);
  match_streams_.erase(context);
}

void CacheService::Drain() {
  is_draining_ = true;
  MutexLock lock(mutex_);
  for (grpc::CallbackServerContext* const context : match_streams_) {
    context->TryCancel();
  }
}

}  // namespace banyan::service
