#include "tests/testing/bare_node.h"

#include <unistd.h>

#include <chrono>
#include <utility>

namespace banyan::testing {

BareNode::BareNode(Options options)
    : host_(*tiers::HostTier::Open({.capacity_bytes = options.capacity_bytes,
                                    .prefault = false,
                                    .huge_pages = false})) {
  options.store.namespaces.node_secret = "a secret for tests";
  store_ = std::make_unique<engine::BlockStore>(
      options.store, *host_, *tiers::MakeEvictionPolicy("lru"), clock_);
  cache_service_ = std::make_unique<service::CacheService>(
      *store_, executor_, tickets_, clock_, options.service);
  admin_service_ = std::make_unique<service::AdminService>(
      *store_, nullptr, executor_, clock_,
      [] { return std::string("serving"); });
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(
      static_cast<int>(options.service.message_bytes_max));
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port_);
  builder.RegisterService(cache_service_.get());
  builder.RegisterService(admin_service_.get());
  grpc_server_ = builder.BuildAndStart();
  shm_calls_ = std::make_unique<transfer::ShmCalls>(
      *store_, *host_, clock_, transfer::ShmCalls::Options());
  shm_door_ = *transfer::ShmDoor::Open(
      {.socket_path =
           absl::StrCat("/tmp/banyan-test-", getpid(), "-", port_, ".sock")},
      *shm_calls_, tickets_);
  auto ucx_door =
      transfer::OpenUcxDoor(options.ucx, *store_, executor_, tickets_, clock_);
  if (ucx_door.ok()) ucx_door_ = *std::move(ucx_door);
}

BareNode::~BareNode() {
  grpc_server_->Shutdown(std::chrono::system_clock::now());
  grpc_server_.reset();
  shm_door_.reset();
  ucx_door_.reset();
}

void BareNode::Tick() {
  store_->Tick();
  cache_service_->Tick();
}

}  // namespace banyan::testing
