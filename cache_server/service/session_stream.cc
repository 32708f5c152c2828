// Session: one stream a client; its end is the session's end.
#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "cache_server/engine/namespace_codec.h"
#include "cache_server/service/cache_service.h"
#include "cache_server/service/status_to_grpc.h"
#include "cache_server/service/wire.h"

namespace banyan::service {
namespace {

namespace pb = banyan::v1;

constexpr uint32_t kProtocol = 1;

absl::Status CheckHello(const pb::SessionRequest& request) {
  if (!request.has_hello()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "HELLO",
                     "hello: missing. A session starts with it.");
  }
  const auto& hello = request.hello();
  if (hello.protocol_min() > kProtocol || hello.protocol_max() < kProtocol) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "PROTOCOL",
                     absl::StrCat("client protocol ", hello.protocol_min(), "-",
                                  hello.protocol_max(), ", server speaks ",
                                  kProtocol, ". Upgrade the older one."));
  }
  return absl::OkStatus();
}

// One session. gRPC runs its reactions one after the other; it deletes itself
// when gRPC is done with it.
class SessionStream final
    : public grpc::ServerBidiReactor<pb::SessionRequest, pb::SessionResponse> {
 public:
  SessionStream(CacheService& service, grpc::CallbackServerContext& context)
      : service_(service) {
    if (absl::Status entered = service.Enter(context); !entered.ok()) {
      Finish(ToGrpc(entered));
      return;
    }
    service_.Leave();  // A session is no call in flight.
    ticket_ = service_.watch().Join(StreamWatch::Kind::kSession, context);
    StartRead(&request_);
  }

  void OnReadDone(bool is_ok) override {
    if (!is_ok) return FinishOnce(absl::OkStatus());
    service_.watch().NoteProgress(ticket_);
    const absl::Status status = session_id_.empty() ? Welcome() : Heartbeat();
    if (!status.ok()) FinishOnce(status);
  }

  void OnWriteDone(bool is_ok) override {
    if (!is_ok) return FinishOnce(absl::OkStatus());
    StartRead(&request_);
  }

  void OnDone() override {
    service_.watch().Leave(ticket_);
    EndSession();
    delete this;
  }

 private:
  absl::Status Welcome() {
    if (absl::Status status = CheckHello(request_); !status.ok()) return status;
    auto session = service_.store().OpenSession(request_.hello().client_id());
    if (!session.ok()) return session.status();
    session_id_ = *session;
    note_.engine = request_.hello().engine();
    service_.store().SetSessionNote(session_id_, note_);
    auto* const welcome = response_.mutable_welcome();
    welcome->set_session_id(session_id_);
    welcome->set_protocol(kProtocol);
    welcome->set_server_version(BANYAN_VERSION);
    SetLimits(*welcome->mutable_limits());
    StartWrite(&response_);
    return absl::OkStatus();
  }

  absl::Status Heartbeat() {
    if (service_.is_draining()) {
      return MakeError(absl::StatusCode::kUnavailable, "DRAINING",
                       "node is draining; retry on another.");
    }
    if (!service_.store().TouchSession(session_id_).ok()) {
      return MakeError(absl::StatusCode::kAborted, "FENCED",
                       "session: ended here; a newer one of this client may "
                       "have taken over.");
    }
    NoteHeartbeat();
    response_.mutable_heartbeat();
    StartWrite(&response_);
    return absl::OkStatus();
  }

  void NoteHeartbeat() {
    const auto& heartbeat = request_.heartbeat();
    if (heartbeat.transport().empty()) return;
    note_.transport = heartbeat.transport();
    note_.why = heartbeat.why();
    note_.fallbacks = heartbeat.fallbacks();
    note_.given_up = heartbeat.given_up();
    service_.store().SetSessionNote(session_id_, note_);
  }

  void SetLimits(pb::Limits& limits) {
    const engine::BlockStore::Options& options = service_.store().options();
    limits.set_keys_max(options.keys_max);
    limits.set_block_bytes_max(std::min(
        options.block_bytes_max, service_.store().host_block_bytes_max()));
    limits.set_message_bytes_max(service_.options().message_bytes_max);
    limits.set_write_bytes_max(options.write_bytes_max);
    limits.set_group_blocks(options.index.group_blocks);
    limits.set_calibration_bytes_max(engine::kCalibrationBytesMax);
    SetDuration(options.lease_ttl_max, limits.mutable_lease_ttl_max());
    SetDuration(options.sessions.timeout, limits.mutable_session_timeout());
    SetDuration(options.writes.idle_timeout,
                limits.mutable_write_idle_timeout());
  }

  void FinishOnce(const absl::Status& status) {
    if (has_finished_) return;
    has_finished_ = true;
    Finish(ToGrpc(status));
  }

  void EndSession() {
    if (!session_id_.empty()) service_.store().EndSession(session_id_);
  }

  CacheService& service_;
  pb::SessionRequest request_;
  pb::SessionResponse response_;
  std::string session_id_;
  lease::SessionTable::Note note_;
  StreamWatch::Ticket ticket_ = 0;
  bool has_finished_ = false;
};

}  // namespace

grpc::ServerBidiReactor<pb::SessionRequest, pb::SessionResponse>*
CacheService::Session(grpc::CallbackServerContext* context) {
  return new SessionStream(*this, *context);
}

}  // namespace banyan::service
