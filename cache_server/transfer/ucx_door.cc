#include "cache_server/transfer/ucx_door.h"

#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::transfer {
namespace {

using server::Add;
using std::chrono::milliseconds;
using transport::UcxAnswer;
using transport::UcxLink;

// How often it looks for who is late.
constexpr milliseconds kLookInterval{10};
constexpr absl::Duration kSleepMax = absl::Milliseconds(20);
constexpr absl::Duration kLoneSleepMax = absl::Seconds(1);  // Nobody is late.
// For who is cut to be told why.
constexpr milliseconds kFarewell{500};
constexpr std::chrono::minutes kLogInterval{1};
constexpr size_t kLoggedMax = 1024;

}  // namespace

absl::StatusOr<std::unique_ptr<Door>> OpenUcxDoor(const UcxDoorOptions& options,
                                                  engine::BlockStore& store,
                                                  tiers::Executor& executor,
                                                  DoorTickets& tickets,
                                                  const Clock& clock) {
  BANYAN_ASSIGN_OR_RETURN(
      auto door, UcxDoor::Open(options, store, executor, tickets, clock));
  return std::unique_ptr<Door>(std::move(door));
}

absl::StatusOr<std::unique_ptr<UcxDoor>> UcxDoor::Open(
    const UcxDoorOptions& options, engine::BlockStore& store,
    tiers::Executor& executor, DoorTickets& tickets, const Clock& clock) {
  std::unique_ptr<UcxDoor> door(
      new UcxDoor(options, store, executor, tickets, clock));
  BANYAN_RETURN_IF_ERROR(door->Listen());
  tickets.AddDoor("ucx", absl::StrCat(door->port()));
  return door;
}

UcxDoor::UcxDoor(const UcxDoorOptions& options, engine::BlockStore& store,
                 tiers::Executor& executor, DoorTickets& tickets,
                 const Clock& clock)
    : options_(options),
      store_(store),
      cold_(
          store, executor,
          [this](std::function<void()> job) { worker_->Post(std::move(job)); }),
      shared_{.options = options_,
              .store = store,
              .tickets = tickets,
              .cold = cold_,
              .clock = clock} {}

absl::Status UcxDoor::Listen() {
  BANYAN_ASSIGN_OR_RETURN(
      const transport::UcxAddress address,
      transport::MakeUcxAddress(options_.bind, options_.port));
  BANYAN_ASSIGN_OR_RETURN(std::string device, transport::UcxDeviceOf(address));
  BANYAN_ASSIGN_OR_RETURN(
      worker_, transport::UcxWorker::Open({.device = std::move(device),
                                           .sleep_max = kSleepMax,
                                           .lone_sleep_max = kLoneSleepMax,
                                           .receives = transport::kUcxToNode,
                                           .sends = transport::kUcxToClient},
                                          *this));
  BANYAN_ASSIGN_OR_RETURN(port_, worker_->Listen(address));
  return worker_->Start();
}

UcxDoor::~UcxDoor() {
  cold_.Stop();  // While there is a thread that it may post to.
  worker_ = nullptr;
}

// ------------------------------------------------------------- who comes in ---

void UcxDoor::OnUcxRequest(ucp_conn_request_h request) {
  requests_.push_back(request);
}

void UcxDoor::AcceptRequests() {
  for (const ucp_conn_request_h request : std::exchange(requests_, {})) {
    if (clients_.size() >= options_.clients_max) {
      Add(store_.counters().ucx_refused);
      worker_->Reject(request);
      continue;
    }
    std::string peer = transport::UcxWorker::PeerOf(request);
    auto link = worker_->Accept(request);
    if (!link.ok()) {
      Add(store_.counters().ucx_refused);
      continue;
    }
    Client& client = clients_[link->get()];
    client.connection =
        std::make_unique<UcxConnection>(shared_, *link, std::move(peer));
    by_endpoint_[(*link)->endpoint()] = &client;
  }
}

void UcxDoor::OnUcxMessage(ucp_ep_h from, absl::Span<const std::byte> head,
                           const absl::Span<const std::byte>* body) {
  const auto found = by_endpoint_.find(from);
  // Of somebody who is gone, or who does not say who it is.
  if (found == by_endpoint_.end()) return;
  const absl::Status status = found->second->connection->OnMessage(head, body);
  if (!status.ok()) Cut(*found->second, status);
}

// ----------------------------------------------------------------- who goes ---

void UcxDoor::Cut(Client& client, const absl::Status& why) {
  UcxConnection& connection = *client.connection;
  UcxLink& link = connection.link();
  by_endpoint_.erase(link.endpoint());
  connection.Drop();
  client.is_cut = true;
  client.end = SteadyClock::now() + kFarewell;
  const std::string reason = ErrorReason(why);
  if (reason == "BYE" || reason == "STALLED") {
    link.Close();
  } else {
    const UcxAnswer farewell{.status = why};
    link.SendOwn(EncodeUcx(farewell), UcxBodyOf(farewell),
                 [&link](UcxLink::Outcome) { link.Close(); });
  }
  if (reason == "BYE" || reason == "SESSION") return;
  CountCut(client, reason);
  LogCut(client, why);
}

void UcxDoor::CountCut(const Client& client, absl::string_view reason) {
  server::Counters& counters = store_.counters();
  if (reason == "FRAME") Add(counters.ucx_malformed);
  if (reason == "STALLED" || reason == "ANSWERS") Add(counters.ucx_stalled);
  if (!client.connection->is_welcome()) Add(counters.ucx_refused);
}

void UcxDoor::LogCut(const Client& client, const absl::Status& why) {
  const std::string& peer = client.connection->peer();
  const std::string host = peer.substr(0, peer.rfind(':'));
  const auto now = SteadyClock::now();
  if (logged_.size() >= kLoggedMax) logged_.clear();
  auto& last = logged_[host];
  if (last != SteadyClock::time_point() && now - last < kLogInterval) return;
  last = now;
  std::fprintf(stderr, "banyan-server: ucx: cut %s: %s\n", peer.c_str(),
               std::string(why.message()).c_str());
}

void UcxDoor::OnUcxLost(UcxLink& link) {
  const auto found = clients_.find(&link);
  if (found == clients_.end()) return;
  by_endpoint_.erase(link.endpoint());
  found->second.connection->Drop();
  found->second.is_cut = true;
}

void UcxDoor::OnUcxClosed(UcxLink& link) {
  const auto found = clients_.find(&link);
  if (found == clients_.end()) return;
  if (found->second.connection->is_welcome()) Add(store_.counters().ucx_closed);
  clients_.erase(found);
}

// --------------------------------------------------------------- the thread ---

UcxDoor::Next UcxDoor::OnUcxStep() {
  AcceptRequests();
  bool has_more = false;
  bool is_pushing = false;
  for (auto& [link, client] : clients_) {
    has_more |= client.connection->Step();
    is_pushing |= client.connection->is_pushing();
  }
  if (has_more) return Next::kMore;
  // Who asks once asks again; but while bytes wait for room in a socket, there is
  // enough time to wake up.
  return clients_.empty() || is_pushing ? Next::kNothing : Next::kAnswer;
}

// Timeouts, and sessions that ended.
void UcxDoor::OnUcxTime() {
  const auto now = SteadyClock::now();
  if (now < next_look_) return;
  next_look_ = now + kLookInterval;
  for (auto& [link, client] : clients_) {
    if (client.is_cut) {
      if (now >= client.end) link->Close();
      continue;
    }
    const absl::Status status = client.connection->Look();
    if (!status.ok()) Cut(client, status);
  }
}

}  // namespace banyan::transfer
