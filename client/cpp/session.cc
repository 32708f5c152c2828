#include "client/cpp/session.h"

#include <algorithm>
#include <random>
#include <utility>

#include "base/clock.h"
#include "base/error.h"

namespace banyan::client {
namespace {

namespace pb = banyan::v1;

constexpr absl::Duration kHeartbeat = absl::Seconds(1);
constexpr absl::Duration kBackoffMin = absl::Milliseconds(20);
constexpr absl::Duration kBackoffMax = absl::Seconds(5);

absl::Duration Jittered(absl::Duration delay) {
  thread_local std::minstd_rand random{std::random_device{}()};
  return delay * std::uniform_real_distribution<double>(0.5, 1.5)(random);
}

absl::Status NoSession() {
  return MakeError(absl::StatusCode::kUnavailable, "SESSION",
                   "server: no session is open. Check that it runs and the "
                   "address is right.");
}

}  // namespace

Session::Session(std::shared_ptr<grpc::Channel> channel, std::string client_id,
                 std::string engine, SessionObserver& observer)
    : stub_(pb::Cache::NewStub(std::move(channel))),
      client_id_(std::move(client_id)),
      engine_(std::move(engine)),
      observer_(observer),
      thread_([this] { Run(); }) {}

Session::~Session() {
  {
    MutexLock lock(mutex_);
    is_closing_ = true;
    if (context_ != nullptr) context_->TryCancel();
  }
  changed_.NotifyAll();
  thread_.join();
}

absl::StatusOr<SessionFacts> Session::Current() const {
  MutexLock lock(mutex_);
  if (facts_.id.empty()) return NoSession();
  return facts_;
}

absl::StatusOr<SessionFacts> Session::Wait(absl::Duration timeout) {
  const absl::Duration end = Clock::Monotonic().Now() + timeout;
  MutexLock lock(mutex_);
  while (facts_.id.empty()) {
    const absl::Duration left = end - Clock::Monotonic().Now();
    if (left <= absl::ZeroDuration() || is_closing_) return NoSession();
    changed_.WaitFor(mutex_, left + absl::Milliseconds(1));
  }
  return facts_;
}

void Session::Lost(absl::string_view session_id) {
  MutexLock lock(mutex_);
  if (facts_.id != session_id) return;
  is_lost_ = true;
  if (context_ != nullptr) context_->TryCancel();
  changed_.NotifyAll();
}

void Session::Run() {
  absl::Duration backoff = kBackoffMin;
  do {
    const absl::Status status = RunOnce();
    SetClosed();
    backoff = status.ok() ? kBackoffMin : std::min(backoff * 2, kBackoffMax);
  } while (Sleep(Jittered(backoff)));
}

// OK if a session was open for a while.
absl::Status Session::RunOnce() {
  grpc::ClientContext context;
  {
    MutexLock lock(mutex_);
    if (is_closing_) return absl::OkStatus();
    context_ = &context;
  }
  const auto stream = stub_->Session(&context);
  pb::SessionRequest request;
  pb::SessionResponse response;
  request.mutable_hello()->set_client_id(client_id_);
  request.mutable_hello()->set_protocol_min(1);
  request.mutable_hello()->set_protocol_max(1);
  request.mutable_hello()->set_engine(engine_);
  const bool is_open = stream->Write(request) && stream->Read(&response) &&
                       response.has_welcome();
  if (is_open) {
    const SessionFacts session{.id = response.welcome().session_id(),
                               .limits = response.welcome().limits()};
    observer_.OnOpen(session);
    SetOpen(session);
    Beat(session, *stream);
    observer_.OnClosed();
    stream->WritesDone();
  }
  context.TryCancel();
  stream->Finish();
  MutexLock lock(mutex_);
  context_ = nullptr;
  return is_open ? absl::OkStatus() : NoSession();
}

void Session::Beat(
    const SessionFacts& session,
    grpc::ClientReaderWriter<pb::SessionRequest, pb::SessionResponse>& stream) {
  pb::SessionResponse response;
  do {
    pb::SessionRequest request;
    observer_.OnBeat(session, *request.mutable_heartbeat());
    if (!stream.Write(request) || !stream.Read(&response)) return;
  } while (Sleep(kHeartbeat));
}

bool Session::Sleep(absl::Duration duration) {
  const absl::Duration end = Clock::Monotonic().Now() + duration;
  MutexLock lock(mutex_);
  while (!is_closing_ && !is_lost_) {
    const absl::Duration left = end - Clock::Monotonic().Now();
    if (left <= absl::ZeroDuration()) return true;
    changed_.WaitFor(mutex_, left + absl::Milliseconds(1));
  }
  return !is_closing_ && !std::exchange(is_lost_, false);
}

void Session::SetOpen(const SessionFacts& session) {
  {
    MutexLock lock(mutex_);
    facts_ = session;
    is_lost_ = false;
  }
  changed_.NotifyAll();
}

void Session::SetClosed() {
  MutexLock lock(mutex_);
  facts_ = SessionFacts();
  is_lost_ = false;
}

}  // namespace banyan::client
