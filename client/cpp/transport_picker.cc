#include "client/cpp/transport_picker.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "client/transport/grpc_status.h"

namespace banyan::client {
namespace {

namespace pb = banyan::v1;

// For asking the node for a ticket, and again for coming in with it.
constexpr std::chrono::milliseconds kTimeout{500};
constexpr absl::Duration kRetryDelayMin = absl::Seconds(1);
constexpr absl::Duration kRetryDelayMax = absl::Minutes(1);

}  // namespace

TransportPicker::TransportPicker(const ClientOptions& options,
                                 pb::Cache::Stub& stub)
    : options_(options),
      stub_(stub),
      facts_({.name = "grpc", .why = "no session yet"}) {}

std::shared_ptr<transport::ShmTransport> TransportPicker::shm() const {
  MutexLock lock(mutex_);
  return shm_;
}

void TransportPicker::CountFallback() {
  MutexLock lock(mutex_);
  ++facts_.fallbacks;
}

TransportFacts TransportPicker::facts() const {
  MutexLock lock(mutex_);
  return facts_;
}

void TransportPicker::OnOpen(const SessionFacts& session) {
  retry_delay_ = kRetryDelayMin;
  Pick(session);
}

void TransportPicker::OnBeat(const SessionFacts& session,
                             pb::SessionRequest::Heartbeat& heartbeat) {
  PickAgain(session);
  const TransportFacts now = facts();
  heartbeat.set_transport(now.name);
  heartbeat.set_why(now.why);
  heartbeat.set_fallbacks(now.fallbacks);
}

void TransportPicker::OnClosed() {
  if (shm() != nullptr) Set(nullptr, "the session is over");
}

// What was lost, at once; what could not be had, later.
void TransportPicker::PickAgain(const SessionFacts& session) {
  if (options_.transport == TransportKind::kGrpc) return;
  const auto held = shm();
  if (held != nullptr && held->is_alive()) return;
  if (held == nullptr && Clock::Monotonic().Now() < next_try_) return;
  Pick(session);
}

void TransportPicker::Pick(const SessionFacts& session) {
  if (options_.transport == TransportKind::kGrpc) {
    return Set(nullptr, "asked for");
  }
  auto shm = ComeIn(session);
  if (!shm.ok()) {
    next_try_ = Clock::Monotonic().Now() + retry_delay_;
    retry_delay_ = std::min(retry_delay_ * 2, kRetryDelayMax);
    return Set(nullptr, std::string(shm.status().message()));
  }
  retry_delay_ = kRetryDelayMin;
  Set(*std::move(shm), options_.transport == TransportKind::kShm
                           ? "asked for"
                           : "the node is on this host");
}

absl::StatusOr<std::shared_ptr<transport::ShmTransport>>
TransportPicker::ComeIn(const SessionFacts& session) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kTimeout);
  pb::OpenDoorRequest request;
  request.set_session_id(session.id);
  request.set_door("shm");
  pb::OpenDoorResponse ticket;
  BANYAN_RETURN_IF_ERROR(
      transport::FromGrpc(stub_.OpenDoor(&context, request, &ticket)));
  BANYAN_ASSIGN_OR_RETURN(
      auto shm,
      transport::ShmTransport::Connect(
          {.ticket = {.socket_path = ticket.address(),
                      .token = ticket.token(),
                      .proof = ticket.proof()},
           .timeout = kTimeout,
           .verification = options_.verify_checksums
                               ? transport::Verification::kOn
                               : transport::Verification::kOffForBench}));
  return std::shared_ptr<transport::ShmTransport>(std::move(shm));
}

void TransportPicker::Set(std::shared_ptr<transport::ShmTransport> shm,
                          std::string why) {
  const std::string name = shm == nullptr ? "grpc" : "shm";
  bool is_news = false;
  {
    MutexLock lock(mutex_);
    is_news = facts_.name != name || facts_.why != why;
    shm_.swap(shm);  // What was held is let go outside the lock.
    facts_.name = name;
    facts_.why = why;
  }
  if (is_news && options_.log) {
    options_.log(absl::StrCat("transport ", name, ": ", why));
  }
}

}  // namespace banyan::client
