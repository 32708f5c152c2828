// The UCX door: who comes in, who is cut, who is gone; and the thread that serves
// all of them in turn.
//
// A client is cut for what UcxConnection says. Each cut is counted, and told in the
// log once a minute a peer; that a client leaves, or is lost, is not told.
//
// Threads: all but construction and destruction on the worker's thread.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "cache_server/transfer/ucx.h"
#include "cache_server/transfer/ucx_cold_reads.h"
#include "cache_server/transfer/ucx_connection.h"
#include "client/transport/ucx_worker.h"

namespace banyan::transfer {

class UcxDoor final : public Door, private transport::UcxOwner {
 public:
  static absl::StatusOr<std::unique_ptr<UcxDoor>> Open(
      const UcxDoorOptions& options, engine::BlockStore& store,
      tiers::Executor& executor, DoorTickets& tickets, const Clock& clock);
  ~UcxDoor() override;

  uint16_t port() const override { return port_; }

 private:
  using SteadyClock = std::chrono::steady_clock;

  struct Client {
    std::unique_ptr<UcxConnection> connection;
    bool is_cut = false;
    SteadyClock::time_point
        end;  // Of a cut one: what it is told is to be gone.
  };

  UcxDoor(const UcxDoorOptions& options, engine::BlockStore& store,
          tiers::Executor& executor, DoorTickets& tickets, const Clock& clock);

  absl::Status Listen();
  void OnUcxMessage(ucp_ep_h from, absl::Span<const std::byte> head,
                    const absl::Span<const std::byte>* body) override;
  void OnUcxRequest(ucp_conn_request_h request) override;
  void OnUcxLost(transport::UcxLink& link) override;
  void OnUcxClosed(transport::UcxLink& link) override;
  Next OnUcxStep() override;
  void OnUcxTime() override;

  void AcceptRequests();
  void Cut(Client& client, const absl::Status& why);
  void CountCut(const Client& client, absl::string_view reason);
  void LogCut(const Client& client, const absl::Status& why);

  const UcxDoorOptions options_;
  engine::BlockStore& store_;
  UcxColdReads cold_;
  const UcxConnection::Shared shared_;
  uint16_t port_ = 0;

  // Of the worker's thread. A client stays until its link is closed; one that is
  // cut, or lost, is no longer found by its endpoint.
  std::vector<ucp_conn_request_h> requests_;
  std::map<transport::UcxLink*, Client> clients_;
  absl::flat_hash_map<ucp_ep_h, Client*> by_endpoint_;
  std::map<std::string, SteadyClock::time_point> logged_;  // By host.
  SteadyClock::time_point next_look_;

  std::unique_ptr<transport::UcxWorker> worker_;  // Last: it uses the above.
};

}  // namespace banyan::transfer
