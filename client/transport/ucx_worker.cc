#include "client/transport/ucx_worker.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "client/transport/ucx_log.h"
#include "client/transport/ucx_sending.h"

namespace banyan::transport {
namespace {

using SteadyClock = std::chrono::steady_clock;

// Looks so often for an answer before it sleeps.
constexpr int kIdleRounds = 200;
// Between two looks at the clock, if it does not sleep.
constexpr unsigned kRoundsPerLook = 128;
// Of UCX at a time, before jobs and steps have their turn.
constexpr int kProgressRounds = 8;
// Messages that were sent, kept for the next: more than are on their way at a time.
constexpr size_t kSpareMax = 64;
// After a caller has worked. What comes meanwhile is nobody's answer.
constexpr std::chrono::milliseconds kPause(5);
// All at once, at the end; what UCX does not let go of until then it keeps.
constexpr absl::Duration kCloseTimeout = absl::Seconds(5);

absl::Status BadUcx(absl::string_view what, ucs_status_t status) {
  const std::string line = LastUcxLine();
  return MakeError(absl::StatusCode::kFailedPrecondition, "UCX",
                   absl::StrCat("ucx: ", what, ": ", ucs_status_string(status),
                                line.empty() ? "" : " (", line,
                                line.empty() ? "" : ")", ". Use gRPC."));
}

absl::StatusOr<ucp_config_t*> ConfigOf(UcxNetwork network,
                                       absl::string_view device) {
  ucp_config_t* config = nullptr;
  ucs_status_t status = ucp_config_read(nullptr, nullptr, &config);
  if (status != UCS_OK) return BadUcx("settings", status);
  for (const auto& [name, value] : UcxProfile(network, device)) {
    status = ucp_config_modify(config, name.c_str(), value.c_str());
    if (status == UCS_OK) continue;
    ucp_config_release(config);
    return BadUcx(absl::StrCat(name, "=", value), status);
  }
  return config;
}

}  // namespace

absl::StatusOr<std::unique_ptr<UcxWorker>> UcxWorker::Open(
    const Options& options, UcxOwner& owner) {
  BANYAN_RETURN_IF_ERROR(CheckUcxVersion());
  SetUpUcxProcess();
  std::unique_ptr<UcxWorker> worker(new UcxWorker(options, owner));
  BANYAN_RETURN_IF_ERROR(worker->OpenUcx());
  return worker;
}

UcxWorker::UcxWorker(const Options& options, UcxOwner& owner)
    : options_(options), owner_(owner) {}

absl::Status UcxWorker::OpenUcx() {
  BANYAN_ASSIGN_OR_RETURN(ucp_config_t* const config,
                          ConfigOf(options_.network, options_.device));
  ucp_params_t params{};
  params.field_mask =
      UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_MT_WORKERS_SHARED;
  params.features = kUcxFeatures;
  params.mt_workers_shared = 0;
  ucs_status_t status = ucp_init(&params, config, &context_);
  ucp_config_release(config);
  if (status != UCS_OK) return BadUcx("context", status);

  ucp_worker_params_t worker_params{};
  worker_params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  worker_params.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  const UcxWarnings warnings;
  status = ucp_worker_create(context_, &worker_params, &worker_);
  if (status != UCS_OK) return BadUcx("worker", status);
  // UCX takes settings that it does not know, and warns here of all together.
  if (absl::StrContains(warnings.text(), kUcxUnknownSettings)) {
    return BadUcx(warnings.text(), UCS_ERR_UNSUPPORTED);
  }
  status = ucp_worker_get_efd(worker_, &ucx_event_);
  if (status != UCS_OK) return BadUcx("event", status);
  job_event_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (job_event_ < 0) return BadUcx("event", UCS_ERR_NO_RESOURCE);

  ucp_am_handler_param_t handler{};
  handler.field_mask =
      UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
      UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
  handler.id = options_.receives;
  handler.flags = UCP_AM_FLAG_WHOLE_MSG;
  handler.cb = &UcxWorker::OnMessage;
  handler.arg = this;
  status = ucp_worker_set_am_recv_handler(worker_, &handler);
  return status == UCS_OK ? absl::OkStatus() : BadUcx("handler", status);
}

UcxWorker::~UcxWorker() {
  {
    MutexLock lock(mutex_);
    // Else it would wait for itself.
    BANYAN_CHECK(worked_on_by_ != std::this_thread::get_id());
    is_stopping_ = true;
  }
  Post([] {});
  if (thread_.joinable()) {
    thread_.join();
  } else if (worker_ != nullptr) {
    CloseAll();
  }
  if (listener_ != nullptr) ucp_listener_destroy(listener_);
  if (worker_ != nullptr) ucp_worker_destroy(worker_);
  if (context_ != nullptr) ucp_cleanup(context_);
  if (job_event_ >= 0) close(job_event_);
}

absl::Status UcxWorker::Start() {
  try {
    thread_ = std::thread([this] { Run(); });
  } catch (const std::system_error&) {
    return BadUcx("thread", UCS_ERR_NO_RESOURCE);
  }
  return absl::OkStatus();
}

void UcxWorker::Post(std::function<void()> job) {
  bool has_sleepers = false;
  {
    MutexLock lock(mutex_);
    jobs_.push_back(std::move(job));
    has_jobs_ = true;
    has_sleepers = sleepers_ > 0;
    if (!is_worked_on()) turn_.NotifyOne();
  }
  if (!has_sleepers) return;
  WakeSleepers();
}

void UcxWorker::WakeSleepers() {
  const uint64_t one = 1;
  // Fails only if it is full, and so awake.
  [[maybe_unused]] const ssize_t put = write(job_event_, &one, sizeof(one));
}

// ------------------------------------------------------------------- links ---

absl::StatusOr<uint16_t> UcxWorker::Listen(const UcxAddress& address) {
  ucp_listener_params_t params{};
  params.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR |
                      UCP_LISTENER_PARAM_FIELD_CONN_HANDLER;
  params.sockaddr = {.addr = address.get(), .addrlen = address.bytes};
  params.conn_handler = {.cb = &UcxWorker::OnRequest, .arg = this};
  ucs_status_t status = ucp_listener_create(worker_, &params, &listener_);
  if (status != UCS_OK) {
    return BadUcx(absl::StrCat("listen ", UcxAddressText(address)), status);
  }
  ucp_listener_attr_t facts{};
  facts.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR;
  status = ucp_listener_query(listener_, &facts);
  if (status != UCS_OK) return BadUcx("listener", status);
  return UcxPortOf({.storage = facts.sockaddr});
}

absl::StatusOr<UcxLinkPtr> UcxWorker::Connect(const UcxAddress& address) {
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR;
  params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
  params.sockaddr = {.addr = address.get(), .addrlen = address.bytes};
  return NewLink(params);
}

absl::StatusOr<UcxLinkPtr> UcxWorker::Accept(ucp_conn_request_h request) {
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_CONN_REQUEST;
  params.conn_request = request;
  return NewLink(params);
}

absl::StatusOr<UcxLinkPtr> UcxWorker::NewLink(ucp_ep_params_t& params) {
  // The node's answers say by what they answer; what goes to the node says whom
  // from.
  const unsigned flags =
      UCP_AM_SEND_FLAG_EAGER |
      (options_.sends == kUcxToNode ? UCP_AM_SEND_FLAG_REPLY : 0);
  UcxLinkPtr link(new UcxLink(*this, options_.sends, flags));
  params.field_mask |=
      UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler = {.cb = &UcxWorker::OnError, .arg = link.get()};
  const ucs_status_t status = ucp_ep_create(worker_, &params, &link->endpoint_);
  if (status != UCS_OK) return BadUcx("endpoint", status);
  links_.insert(link);
  return link;
}

void UcxWorker::Reject(ucp_conn_request_h request) {
  ucp_listener_reject(listener_, request);
}

std::string UcxWorker::PeerOf(ucp_conn_request_h request) {
  ucp_conn_request_attr_t facts{};
  facts.field_mask = UCP_CONN_REQUEST_ATTR_FIELD_CLIENT_ADDR;
  if (ucp_conn_request_query(request, &facts) != UCS_OK) return "?";
  return UcxAddressText({.storage = facts.client_address});
}

// -------------------------------------------------------------- inside UCX ---

ucs_status_t UcxWorker::OnMessage(void* self, const void* head,
                                  size_t head_bytes, void* body,
                                  size_t body_bytes,
                                  const ucp_am_recv_param_t* param) {
  auto& worker = *static_cast<UcxWorker*>(self);
  const ucp_ep_h from = (param->recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP)
                            ? param->reply_ep
                            : nullptr;
  const absl::Span<const std::byte> bytes(static_cast<const std::byte*>(body),
                                          body_bytes);
  // What would have to be fetched first is no message of ours.
  const bool is_here = !(param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV);
  worker.owner_.OnUcxMessage(from,
                             {static_cast<const std::byte*>(head), head_bytes},
                             is_here ? &bytes : nullptr);
  return UCS_OK;
}

void UcxWorker::OnRequest(ucp_conn_request_h request, void* self) {
  static_cast<UcxWorker*>(self)->owner_.OnUcxRequest(request);
}

void UcxWorker::OnError(void* link, ucp_ep_h, ucs_status_t) {
  auto* const failed = static_cast<UcxLink*>(link);
  if (!failed->is_open()) return;
  failed->has_failed_ = true;
  failed->Close();
  failed->worker_.has_failed_links_ = true;
}

// -------------------------------------------------------------- the thread ---

void UcxWorker::Run() {
  const auto never = [] { return false; };
  while (BeginWork()) {
    if (Work(never) || !Arm()) {
      MutexLock lock(mutex_);
      worked_on_by_ = {};
      continue;
    }
    const absl::Duration sleep_max =
        links_.empty() ? std::max(options_.sleep_max, options_.lone_sleep_max)
                       : options_.sleep_max;
    {
      MutexLock lock(mutex_);
      worked_on_by_ = {};  // While it sleeps a caller may work.
    }
    Sleep(sleep_max);
  }
  CloseAll();
}

// Waits until nobody else works, nor is likely to at once. False: all is over, and
// nobody else works any more.
bool UcxWorker::BeginWork() {
  MutexLock lock(mutex_);
  while (true) {
    const auto pause = absl::FromChrono(pause_end_ - SteadyClock::now());
    const bool has_pause =
        !is_stopping_ && jobs_.empty() && pause > absl::ZeroDuration();
    if (!is_worked_on() && !has_pause) break;
    turn_.WaitFor(mutex_, is_worked_on() ? absl::FromChrono(kPause)
                                         : pause + absl::Milliseconds(1));
  }
  worked_on_by_ = std::this_thread::get_id();
  return !is_stopping_;
}

bool UcxWorker::TryWork(const std::function<void()>& job,
                        const std::function<bool()>& is_over,
                        SteadyClock::time_point deadline) {
  {
    MutexLock lock(mutex_);
    if (is_worked_on() || !jobs_.empty() || is_stopping_) return false;
    worked_on_by_ = std::this_thread::get_id();
  }
  job();
  while (!Work(is_over)) {
    if (!Arm()) continue;
    Sleep(std::min(options_.sleep_max,
                   absl::FromChrono(deadline - SteadyClock::now())));
  }
  bool has_jobs = false;
  {
    MutexLock lock(mutex_);
    worked_on_by_ = {};
    pause_end_ = SteadyClock::now() + kPause;
    // The own thread waits for its turn, or still sleeps.
    if (!jobs_.empty()) turn_.NotifyOne();
    // Who stops it has woken all, and waits for nothing but this lock.
    has_jobs = !jobs_.empty() && !is_stopping_;
  }
  if (has_jobs) WakeSleepers();
  return true;
}

void UcxWorker::EndPause() {
  MutexLock lock(mutex_);
  pause_end_ = {};
  turn_.NotifyOne();
}

// Until it is over, or the worker is: true; or there is nothing to do but to sleep.
bool UcxWorker::Work(const std::function<bool()>& is_over) {
  ForgetWakeups();
  int idle_rounds = 0;
  for (unsigned round = 0; !is_stopping_ && !is_over(); ++round) {
    bool is_busy = RunJobs();
    for (int i = 0; i < kProgressRounds && ucp_worker_progress(worker_) != 0;
         ++i) {
      is_busy = true;
    }
    is_busy |= FinishSends();
    is_busy |= CloseLinks();
    const UcxOwner::Next next = owner_.OnUcxStep();
    if (round % kRoundsPerLook == 0) owner_.OnUcxTime();
    if (is_busy || next == UcxOwner::Next::kMore) {
      idle_rounds = 0;
      continue;
    }
    if (next == UcxOwner::Next::kAnswer && ++idle_rounds <= kIdleRounds) {
      continue;
    }
    return false;
  }
  return true;
}

bool UcxWorker::RunJobs() {
  if (!has_jobs_) return false;
  std::vector<std::function<void()>> jobs;
  {
    MutexLock lock(mutex_);
    has_jobs_ = false;
    jobs.swap(jobs_);
  }
  for (const auto& job : jobs) job();
  return true;
}

std::unique_ptr<UcxLink::Sending> UcxWorker::NewSending() {
  if (spare_.empty()) return std::make_unique<UcxLink::Sending>();
  auto sending = std::move(spare_.back());
  spare_.pop_back();
  return sending;
}

bool UcxWorker::FinishSends() {
  if (finished_.empty()) return false;
  finishing_.swap(finished_);
  for (UcxLink::Sending* const raw : finishing_) {
    std::unique_ptr<UcxLink::Sending> sending(raw);
    UcxLink& link = *sending->link;
    link.Finish(*sending);
    if (!link.is_open()) has_links_to_close_ = true;
    *sending = {};
    if (spare_.size() < kSpareMax) spare_.push_back(std::move(sending));
  }
  finishing_.clear();
  return true;
}

bool UcxWorker::CloseLinks() {
  if (!has_links_to_close_ && !has_failed_links_) return false;
  has_links_to_close_ = false;
  has_failed_links_ = false;
  // The owner may open links meanwhile.
  const std::vector<UcxLinkPtr> links(links_.begin(), links_.end());
  for (const UcxLinkPtr& link : links) {
    if (std::exchange(link->has_failed_, false)) owner_.OnUcxLost(*link);
    if (link->state_ == UcxLink::State::kToClose) link->CloseNow();
    if (!link->is_gone()) continue;
    links_.erase(link);
    owner_.OnUcxClosed(*link);
  }
  return true;
}

// From now on jobs and UCX wake who sleeps. False: something has happened since the
// last look.
bool UcxWorker::Arm() {
  {
    MutexLock lock(mutex_);
    if (!jobs_.empty()) return false;
    ++sleepers_;
  }
  if (ucp_worker_arm(worker_) == UCS_OK) return true;
  MutexLock lock(mutex_);
  --sleepers_;
  return false;
}

// After Arm. Others may work meanwhile.
void UcxWorker::Sleep(absl::Duration timeout_max) {
  std::array<pollfd, 2> polled = {pollfd{.fd = ucx_event_, .events = POLLIN},
                                  pollfd{.fd = job_event_, .events = POLLIN}};
  const absl::Duration timeout =
      std::max(timeout_max, absl::ZeroDuration()) + absl::Microseconds(999);
  poll(polled.data(), polled.size(),
       static_cast<int>(absl::ToInt64Milliseconds(timeout)));
  MutexLock lock(mutex_);
  --sleepers_;
}

// By who works. The own thread may sleep on, unless TryWork leaves it jobs.
void UcxWorker::ForgetWakeups() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(job_event_, &count, sizeof(count));
}

void UcxWorker::CloseAll() {
  const absl::Time end = absl::Now() + kCloseTimeout;
  if (listener_ != nullptr) {
    ucp_listener_destroy(listener_);
    listener_ = nullptr;
  }
  for (const UcxLinkPtr& link : links_) link->Close();
  do {
    FinishSends();
    CloseLinks();
    ucp_worker_progress(worker_);
    has_links_to_close_ = true;
  } while ((!links_.empty() || !finished_.empty()) && absl::Now() < end);
}

}  // namespace banyan::transport
