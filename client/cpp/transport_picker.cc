#include "client/cpp/transport_picker.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "client/transport/grpc_status.h"
#include "client/transport/ucx.h"

namespace banyan::client {
namespace {

namespace pb = banyan::v1;

// For asking the node for a ticket, and again for coming in with it.
constexpr std::chrono::milliseconds kTimeout{500};
constexpr absl::Duration kRetryDelayMin = absl::Seconds(1);
constexpr absl::Duration kRetryDelayMax = absl::Minutes(1);

// So that those who lost a node together do not come back together.
absl::Duration Jittered(absl::Duration delay) {
  thread_local std::minstd_rand random{std::random_device{}()};
  return delay * std::uniform_real_distribution<double>(0.5, 1.5)(random);
}

}  // namespace

TransportPicker::TransportPicker(const ClientOptions& options,
                                 pb::Cache::Stub& stub)
    : options_(options),
      stub_(stub),
      facts_({.name = "grpc", .why = "no session yet"}) {}

std::shared_ptr<transport::Transport> TransportPicker::picked() const {
  MutexLock lock(mutex_);
  return picked_.transport;
}

std::shared_ptr<transport::ShmTransport> TransportPicker::shm() const {
  MutexLock lock(mutex_);
  return picked_.shm;
}

void TransportPicker::CountFallback() {
  MutexLock lock(mutex_);
  ++facts_.fallbacks;
}

TransportFacts TransportPicker::facts() const {
  MutexLock lock(mutex_);
  TransportFacts facts = facts_;
  facts.given_up = given_up();
  return facts;
}

void TransportPicker::OnOpen(const SessionFacts& session) {
  retry_delay_ = kRetryDelayMin;
  is_ucx_due_ = options_.transport == TransportKind::kAuto;
  Pick(session);
}

void TransportPicker::OnBeat(const SessionFacts& session,
                             pb::SessionRequest::Heartbeat& heartbeat) {
  retired_->EndAll();
  LogGivenUp();
  PickAgain(session);
  const TransportFacts now = facts();
  heartbeat.set_transport(now.name);
  heartbeat.set_why(now.why);
  heartbeat.set_fallbacks(now.fallbacks);
  heartbeat.set_given_up(now.given_up);
}

void TransportPicker::LogGivenUp() {
  const uint64_t now = given_up();
  const uint64_t before = std::exchange(logged_given_up_, now);
  if (now == before || !options_.log) return;
  options_.log(absl::StrCat("transport ucx: gave up ", now - before,
                            " connections, whose node took nothing"));
}

void TransportPicker::OnClosed() {
  LogGivenUp();
  if (picked() != nullptr) Set({}, "the session is over");
}

// What was lost, at once; what could not be had, later.
void TransportPicker::PickAgain(const SessionFacts& session) {
  if (options_.transport == TransportKind::kGrpc) return;
  const auto held = picked();
  const bool is_alive = held != nullptr && held->is_alive();
  const bool is_best = options_.transport != TransportKind::kAuto ||
                       (held != nullptr && held->name() == "shm");
  if (is_alive && is_best) return;
  const bool is_lost = held != nullptr && !is_alive;
  const bool is_due = std::exchange(is_ucx_due_, false);
  if (is_lost || is_due || Clock::Monotonic().Now() >= next_try_) {
    Pick(session);
  }
}

void TransportPicker::Pick(const SessionFacts& session) {
  if (options_.transport == TransportKind::kGrpc) return Set({}, "asked for");
  const auto held = picked();
  const bool has_ucx =
      held != nullptr && held->name() == "ucx" && held->is_alive();
  std::string why_not;
  if (options_.transport != TransportKind::kUcx &&
      Try(TransportKind::kShm, session, why_not)) {
    return;
  }
  const bool may_take_ucx =
      options_.transport == TransportKind::kUcx ||
      (options_.transport == TransportKind::kAuto && !is_ucx_due_ && !has_ucx);
  if (may_take_ucx && Try(TransportKind::kUcx, session, why_not)) return;
  next_try_ = Clock::Monotonic().Now() + Jittered(retry_delay_);
  retry_delay_ = std::min(retry_delay_ * 2, kRetryDelayMax);
  if (!has_ucx) Set({}, std::move(why_not));
}

bool TransportPicker::Try(TransportKind kind, const SessionFacts& session,
                          std::string& why_not) {
  const bool is_shm = kind == TransportKind::kShm;
  auto picked = is_shm ? ComeInByShm(session) : ComeInByUcx(session);
  if (!picked.ok()) {
    absl::StrAppend(&why_not, why_not.empty() ? "" : " ",
                    picked.status().message());
    return false;
  }
  retry_delay_ = kRetryDelayMin;
  if (options_.transport == kind) {
    Set(*std::move(picked), "asked for");
  } else if (is_shm) {
    Set(*std::move(picked), "the node is on this host");
  } else {
    // There may be something better one day.
    next_try_ = Clock::Monotonic().Now() + Jittered(retry_delay_);
    Set(*std::move(picked), absl::StrCat("the node has the door; ", why_not));
  }
  return true;
}

namespace {

struct OpenedDoor {
  pb::OpenDoorResponse ticket;
  std::string peer;  // Who answered, by gRPC's name.
};

absl::StatusOr<OpenedDoor> OpenDoor(pb::Cache::Stub& stub,
                                    const SessionFacts& session,
                                    const char* door) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kTimeout);
  pb::OpenDoorRequest request;
  request.set_session_id(session.id);
  request.set_door(door);
  OpenedDoor opened;
  BANYAN_RETURN_IF_ERROR(
      transport::FromGrpc(stub.OpenDoor(&context, request, &opened.ticket)));
  opened.peer = context.peer();
  return opened;
}

transport::Verification VerificationOf(const ClientOptions& options) {
  return options.verify_checksums ? transport::Verification::kOn
                                  : transport::Verification::kOffForBench;
}

}  // namespace

absl::StatusOr<TransportPicker::Picked> TransportPicker::ComeInByShm(
    const SessionFacts& session) {
  BANYAN_ASSIGN_OR_RETURN(const OpenedDoor door,
                          OpenDoor(stub_, session, "shm"));
  BANYAN_ASSIGN_OR_RETURN(auto shm,
                          transport::ShmTransport::Connect(
                              {.ticket = {.socket_path = door.ticket.address(),
                                          .token = door.ticket.token(),
                                          .proof = door.ticket.proof()},
                               .timeout = kTimeout,
                               .verification = VerificationOf(options_)}));
  const auto shared = retired_->Share(std::move(shm));
  return Picked{.transport = shared, .shm = shared};
}

absl::StatusOr<TransportPicker::Picked> TransportPicker::ComeInByUcx(
    const SessionFacts& session) {
  BANYAN_ASSIGN_OR_RETURN(const OpenedDoor door,
                          OpenDoor(stub_, session, "ucx"));
  BANYAN_ASSIGN_OR_RETURN(
      transport::UcxTicket ticket,
      transport::UcxTicketOf(door.peer, door.ticket.address(),
                             door.ticket.token(), door.ticket.proof()));
  BANYAN_ASSIGN_OR_RETURN(
      auto ucx,
      transport::ConnectUcx(
          {.ticket = std::move(ticket),
           .timeout = kTimeout,
           .verification = VerificationOf(options_),
           .untaken_bytes_max = options_.untaken_bytes_max,
           .untaken_max = std::chrono::milliseconds(options_.untaken_ms_max),
           .given_up = given_up_}));
  return Picked{.transport = retired_->Share(std::move(ucx))};
}

void TransportPicker::Set(Picked picked, std::string why) {
  const std::string name(
      picked.transport == nullptr ? "grpc" : picked.transport->name());
  bool is_news = false;
  {
    MutexLock lock(mutex_);
    is_news = facts_.name != name || facts_.why != why;
    std::swap(picked_, picked);
    facts_.name = name;
    facts_.why = why;
  }
  picked = {};  // What was held, and is not in use, ends here.
  retired_->EndAll();
  if (is_news && options_.log) {
    options_.log(absl::StrCat("transport ", name, ": ", why));
  }
}

}  // namespace banyan::client
