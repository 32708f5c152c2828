// A node whose parts a test can reach: tier, engine, clock and service behind a
// real gRPC server, without the process around them. Nothing ticks by itself.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/units.h"
#include "cache_server/engine/block_store.h"
#include "cache_server/service/admin_service.h"
#include "cache_server/service/cache_service.h"
#include "cache_server/transfer/door_tickets.h"
#include "cache_server/transfer/shm_calls.h"
#include "cache_server/transfer/shm_door.h"
#include "cache_server/transfer/ucx.h"
#include "tests/testing/fake_clock.h"
#include "tiers/host/host_tier.h"
#include "tiers/io/executor.h"

namespace banyan::testing {

class BareNode {
 public:
  struct Options {
    uint64_t capacity_bytes = 64 * kMiB;
    engine::BlockStore::Options store;
    service::CacheService::Options service;
    transfer::UcxDoorOptions ucx;
  };

  explicit BareNode(Options options);
  BareNode() : BareNode(Options()) {}
  ~BareNode();

  std::string endpoint() const { return absl::StrCat("127.0.0.1:", port_); }
  tiers::HostTier& host() { return *host_; }
  engine::BlockStore& store() { return *store_; }
  transfer::DoorTickets& tickets() { return tickets_; }
  uint16_t ucx_port() const { return ucx_door_->port(); }
  const std::string& shm_path() const { return shm_door_->socket_path(); }
  service::CacheService& cache_service() { return *cache_service_; }
  FakeClock& clock() { return clock_; }

  void Tick();  // What the server's ticker does.

 private:
  FakeClock clock_;
  transfer::DoorTickets tickets_{transfer::DoorTickets::Options(), clock_};
  const std::unique_ptr<tiers::HostTier> host_;
  std::unique_ptr<engine::BlockStore> store_;
  tiers::Executor executor_{tiers::Executor::Options()};
  std::unique_ptr<service::CacheService> cache_service_;
  std::unique_ptr<service::AdminService> admin_service_;
  std::unique_ptr<transfer::ShmCalls> shm_calls_;
  std::unique_ptr<transfer::ShmDoor> shm_door_;
  std::unique_ptr<transfer::Door> ucx_door_;  // Null in a build without UCX.
  std::unique_ptr<grpc::Server> grpc_server_;
  int port_ = 0;
};

}  // namespace banyan::testing
