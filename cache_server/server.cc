#include "cache_server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "cache_server/engine/block_store.h"
#include "cache_server/engine/mover.h"
#include "cache_server/node_identity.h"
#include "cache_server/service/admin_service.h"
#include "cache_server/service/cache_service.h"
#include "cache_server/transfer/door_tickets.h"
#include "cache_server/transfer/shm_calls.h"
#include "cache_server/transfer/shm_door.h"
#include "cache_server/transfer/ucx.h"
#include "tiers/host/host_tier.h"
#include "tiers/io/executor.h"
#include "tiers/placement/admission_policy.h"

namespace banyan::server {
namespace {

constexpr absl::Duration kTickInterval = absl::Milliseconds(100);
constexpr int kMessageBytesMax = 4 << 20;
constexpr uint16_t kUcxPort = 7603;
constexpr int kMetadataBytesMax = 16 << 10;

bool IsLoopback(absl::string_view address) {
  return absl::StartsWith(address, "127.") || address == "localhost" ||
         address == "::1" || address == "[::1]";
}

absl::Status CheckEnvironment(const Config& config) {
  if (!IsLoopback(config.bind) && !config.is_insecure_allowed) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INSECURE",
                     absl::StrCat("bind: ", Echo(config.bind),
                                  " is not loopback and there is no TLS. Bind "
                                  "127.0.0.1, or pass "
                                  "--insecure-i-understand."));
  }
  struct sysinfo memory{};
  sysinfo(&memory);
  const uint64_t available = uint64_t{memory.totalram} * memory.mem_unit;
  if (config.host_bytes > available && !config.is_overcommit_allowed) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "MEMORY",
        absl::StrCat("host-bytes: ", FormatBytes(config.host_bytes), " > ",
                     FormatBytes(available),
                     " available. Lower it, or pass "
                     "--allow-overcommit."));
  }
  return absl::OkStatus();
}

engine::BlockStore::Options StoreOptions(const Config& config,
                                         const Server::Seams& seams,
                                         const NodeIdentity& identity) {
  engine::BlockStore::Options options;
  options.keys_max = config.keys_max;
  options.block_bytes_max = config.block_bytes_max;
  options.lease_ttl_max = config.lease_ttl_max;
  options.index.group_blocks = config.group_blocks;
  options.namespaces.node_secret = identity.secret;
  options.namespaces.id_bits = seams.id_bits;
  options.namespaces.calibration_bytes_max = config.calibration_bytes_max;
  options.leases.leases_max = config.leases_max;
  options.sessions.sessions_max = config.sessions_max;
  options.sessions.timeout = config.session_timeout;
  options.writes.idle_timeout = config.write_idle_timeout;
  return options;
}

// A node without a disk is a new one at every start.
absl::StatusOr<NodeIdentity> IdentityOf(const Config& config) {
  if (!config.data_dir.empty()) return LoadNodeIdentity(config.data_dir);
  if (config.ssd_dirs.empty()) return MakeNodeIdentity();
  return LoadNodeIdentity(config.ssd_dirs[0]);
}

absl::StatusOr<std::unique_ptr<tiers::SsdTier>> OpenSsd(
    const Config& config, const Server::Seams& seams,
    const NodeIdentity& identity, engine::DropQueue& drops,
    engine::RecoveredBlocks& recovered) {
  if (config.ssd_dirs.empty()) return nullptr;
  tiers::SsdTier::Options options = {
      .directories = config.ssd_dirs,
      .capacity_bytes = config.ssd_bytes,
      .segment_bytes = config.ssd_segment_bytes,
      .node_id = identity.node_id,
      .queue_depth = config.ssd_queue_depth,
      .reclaim = tiers::SsdTier::Reclaim::kDropCold,
      .read_timeout = config.ssd_read_timeout,
      .drop_sink = &drops,
      .found_sink = &recovered};
  if (seams.change_ssd != nullptr) seams.change_ssd(options);
  return tiers::SsdTier::Open(options);
}

// Null without the door: closed by the configuration; or, if nobody said where it
// is to be, not to be opened where it usually is. Then clients use gRPC.
absl::StatusOr<std::unique_ptr<transfer::ShmDoor>> OpenShmDoor(
    const Config& config, int grpc_port, const transfer::ShmCalls& calls,
    transfer::DoorTickets& tickets) {
  if (config.shm_socket == "none") return nullptr;
  std::string path = config.shm_socket;
  if (path.empty()) {
    path = absl::StrCat(config.runtime_dir, "/banyan-", geteuid(), "-",
                        grpc_port, ".sock");
  }
  auto door = transfer::ShmDoor::Open({.socket_path = std::move(path),
                                       .clients_max = config.shm_clients_max,
                                       .is_prefaulted = config.prefault},
                                      calls, tickets);
  if (door.ok() || !config.shm_socket.empty()) return door;
  std::fprintf(stderr, "banyan-server: %s Goes on without; clients use gRPC.\n",
               std::string(door.status().message()).c_str());
  return nullptr;
}

// Null without the door: closed by the configuration; or, if nobody said where it
// is to be, not to be opened where it usually is, or not in this build.
absl::StatusOr<std::unique_ptr<transfer::Door>> OpenUcxDoor(
    const Config& config, engine::BlockStore& store, tiers::Executor& executor,
    transfer::DoorTickets& tickets, const Clock& clock) {
  if (config.is_ucx_off) return nullptr;
  auto door = transfer::OpenUcxDoor({.bind = config.bind,
                                     .port = config.ucx_port.value_or(kUcxPort),
                                     .clients_max = config.ucx_clients_max,
                                     .stall_timeout = config.session_timeout},
                                    store, executor, tickets, clock);
  if (door.ok()) return door;
  // With --dev, a free port is what it usually is.
  const bool is_wanted = config.ucx_port.value_or(0) != 0;
  if (is_wanted) return door.status();
  if (!absl::IsUnimplemented(door.status())) {
    std::fprintf(stderr, "banyan-server: %s Goes on without.\n",
                 std::string(door.status().message()).c_str());
  }
  return nullptr;
}

// The usual path of the socket has the port in it, which a node on port 0 gets
// when it listens.
bool IsShmPathKnown(const Config& config) {
  return config.grpc_port != 0 || !config.shm_socket.empty();
}

// Calls `tick` at intervals, on a thread of its own, until destroyed.
class Ticker {
 public:
  explicit Ticker(std::function<void()> tick)
      : tick_(std::move(tick)), thread_([this] { Run(); }) {}
  ~Ticker() {
    {
      MutexLock lock(mutex_);
      is_stopping_ = true;
    }
    wake_.NotifyAll();
    thread_.join();
  }

 private:
  void Run() {
    while (true) {
      {
        MutexLock lock(mutex_);
        if (!is_stopping_) wake_.WaitFor(mutex_, kTickInterval);
        if (is_stopping_) return;
      }
      tick_();
    }
  }

  const std::function<void()> tick_;
  Mutex mutex_;
  CondVar wake_;
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// Takes the host tier's memory while the node serves already: a node that has
// blocks on its SSD has better things to do at its start.
class Prefaulter {
 public:
  explicit Prefaulter(tiers::HostTier& host)
      : host_(host), thread_([this] { Run(); }) {}
  ~Prefaulter() {
    is_stopping_ = true;
    thread_.join();
  }

 private:
  // Short enough for whoever waits for the address space.
  static constexpr uint64_t kStepBytes = 16 << 20;

  void Run() {
    const uint64_t bytes = host_.arena().file_bytes();
    for (uint64_t at = 0; at < bytes && !is_stopping_; at += kStepBytes) {
      const absl::Status status = host_.Prefault(at, kStepBytes);
      if (status.ok()) continue;
      std::fprintf(stderr, "banyan-server: %s\n",
                   std::string(status.message()).c_str());
      return;
    }
  }

  tiers::HostTier& host_;
  std::atomic<bool> is_stopping_{false};
  std::thread thread_;
};

}  // namespace

struct Server::Parts {
  Config config;
  std::unique_ptr<tiers::HostTier> host;
  std::unique_ptr<Prefaulter> prefaulter;  // Null without --ssd-dir.
  engine::DropQueue drops;
  std::unique_ptr<tiers::SsdTier> ssd;  // Null without --ssd-dir.
  std::unique_ptr<tiers::AdmissionPolicy> admission;
  std::unique_ptr<engine::BlockStore> store;
  std::unique_ptr<engine::Mover> mover;  // Null without --ssd-dir.
  std::unique_ptr<tiers::Executor> executor;
  std::unique_ptr<transfer::DoorTickets> tickets;
  std::unique_ptr<service::CacheService> cache_service;
  std::unique_ptr<Ticker> ticker;
  std::unique_ptr<service::AdminService> admin_service;
  std::unique_ptr<transfer::ShmCalls> shm_calls;
  std::unique_ptr<transfer::ShmDoor> shm_door;  // Null with --shm-socket none.
  std::unique_ptr<transfer::Door> ucx_door;     // Null with --ucx-port off.
  std::unique_ptr<grpc::Server> grpc_server;
  int grpc_port = 0;
  std::string shm_path;
  uint16_t ucx_port = 0;
  std::once_flag shutdown_once;
};

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Config& config,
                                                      const Seams& seams) {
  BANYAN_RETURN_IF_ERROR(CheckEnvironment(config));
  BANYAN_ASSIGN_OR_RETURN(auto policy,
                          tiers::MakeEvictionPolicy(config.eviction));
  BANYAN_RETURN_IF_ERROR(ArmFailpoints(config.failpoints));
  auto parts = std::make_unique<Parts>();
  parts->config = config;
  BANYAN_ASSIGN_OR_RETURN(parts->admission,
                          tiers::MakeAdmissionPolicy(config.ssd_admission));
  BANYAN_ASSIGN_OR_RETURN(const NodeIdentity identity, IdentityOf(config));
  engine::RecoveredBlocks recovered;
  BANYAN_ASSIGN_OR_RETURN(
      parts->ssd, OpenSsd(config, seams, identity, parts->drops, recovered));
  BANYAN_ASSIGN_OR_RETURN(
      parts->host,
      tiers::HostTier::Open({.capacity_bytes = config.host_bytes,
                             .prefault = config.prefault,
                             .is_prefaulted_later = parts->ssd != nullptr,
                             .huge_pages = config.huge_pages}));
  const Clock& clock = Clock::Monotonic();
  parts->store = std::make_unique<engine::BlockStore>(
      StoreOptions(config, seams, identity), *parts->host, std::move(policy),
      clock,
      engine::BlockStore::Cold{
          .ssd = parts->ssd.get(),
          .admission = parts->admission.get(),
          .drops = &parts->drops,
          .options = {.read_timeout = config.ssd_read_timeout}});
  if (engine::ColdStore* const cold = parts->store->cold()) {
    BANYAN_RETURN_IF_ERROR(cold->Recover(recovered));
    for (const std::string& line : parts->store->namespaces().RefusedLines()) {
      std::fprintf(stderr, "banyan-server: %s\n", line.c_str());
    }
    parts->mover = std::make_unique<engine::Mover>(
        *cold, engine::Mover::Options{
                   .move_bytes_per_second = config.move_bytes_per_second,
                   .scrub_bytes_per_second = config.scrub_bytes_per_second});
  }
  parts->executor = std::make_unique<tiers::Executor>(tiers::Executor::Options{
      .threads = config.io_threads, .queue_max = config.io_queue_max});
  parts->tickets = std::make_unique<transfer::DoorTickets>(
      transfer::DoorTickets::Options(), clock);
  parts->cache_service = std::make_unique<service::CacheService>(
      *parts->store, *parts->executor, *parts->tickets, clock,
      service::CacheService::Options{
          .message_bytes_max = kMessageBytesMax,
          .calls_max = config.calls_max,
          .verify_reads = seams.verify_reads,
          .streams = {.stall_timeout = config.session_timeout}});
  parts->ticker = std::make_unique<Ticker>([parts = parts.get()] {
    parts->store->Tick();
    parts->cache_service->Tick();
  });
  parts->admin_service = std::make_unique<service::AdminService>(
      *parts->store, parts->mover.get(), *parts->executor, clock,
      [cache = parts->cache_service.get()] {
        return std::string(cache->is_draining() ? "draining" : "serving");
      });

  parts->shm_calls = std::make_unique<transfer::ShmCalls>(
      *parts->store, *parts->host, clock, transfer::ShmCalls::Options());
  // Before the first session, if that is possible: who comes earlier takes gRPC,
  // and asks again later.
  if (IsShmPathKnown(config)) {
    BANYAN_ASSIGN_OR_RETURN(parts->shm_door,
                            OpenShmDoor(config, config.grpc_port,
                                        *parts->shm_calls, *parts->tickets));
  }

  BANYAN_ASSIGN_OR_RETURN(parts->ucx_door,
                          OpenUcxDoor(config, *parts->store, *parts->executor,
                                      *parts->tickets, clock));
  if (parts->ucx_door != nullptr) parts->ucx_port = parts->ucx_door->port();

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  const std::string address = absl::StrCat(config.bind, ":", config.grpc_port);
  // SO_REUSEPORT would let a second server take the same port in silence.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(
      GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 20000);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMetadataBytesMax);
  // Also sets TCP_USER_TIMEOUT: bytes that a hung client does not take lie in
  // its connection, and keep their blocks pinned, no longer than that.
  const auto timeout_ms =
      static_cast<int>(absl::ToInt64Milliseconds(config.session_timeout));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, timeout_ms);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, timeout_ms);
  builder.SetMaxReceiveMessageSize(kMessageBytesMax);
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(),
                           &parts->grpc_port);
  builder.RegisterService(parts->cache_service.get());
  builder.RegisterService(parts->admin_service.get());
  parts->grpc_server = builder.BuildAndStart();
  if (parts->grpc_server == nullptr || parts->grpc_port == 0) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "PORT",
                     absl::StrCat("listen ", address,
                                  ": in use, or no address of this machine. "
                                  "Pick another, or 0 for a free port."));
  }
  if (parts->ssd != nullptr && config.prefault) {
    parts->prefaulter = std::make_unique<Prefaulter>(*parts->host);
  }
  if (!IsShmPathKnown(config)) {
    BANYAN_ASSIGN_OR_RETURN(parts->shm_door,
                            OpenShmDoor(config, parts->grpc_port,
                                        *parts->shm_calls, *parts->tickets));
  }
  if (parts->shm_door != nullptr) {
    parts->shm_path = parts->shm_door->socket_path();
  }
  return std::unique_ptr<Server>(new Server(std::move(parts)));
}

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Server::~Server() {
  Shutdown(absl::ZeroDuration());
  parts_->grpc_server.reset();
}

int Server::grpc_port() const { return parts_->grpc_port; }

std::string Server::ReadyLine() const {
  const std::string& host = parts_->config.bind;
  return absl::StrCat("READY grpc=", host, ":", parts_->grpc_port,
                      " resp=", host, ":0 http=", host, ":0 ucx=", host, ":",
                      parts_->ucx_port, " shm=", parts_->shm_path);
}

void Server::Shutdown(absl::Duration grace) {
  std::call_once(parts_->shutdown_once, [&] {
    parts_->cache_service->Drain();
    parts_->shm_door.reset();  // With the pins of its clients.
    parts_->ucx_door.reset();
    if (auto* health = parts_->grpc_server->GetHealthCheckService()) {
      health->SetServingStatus(false);
    }
    parts_->grpc_server->Shutdown(std::chrono::system_clock::now() +
                                  absl::ToChronoMilliseconds(grace));
    if (engine::ColdStore* const cold = parts_->store->cold()) {
      parts_->mover.reset();  // It must not move the same blocks.
      cold->DemoteEverything(grace);
    }
  });
}

engine::BlockStore& Server::store() { return *parts_->store; }

}  // namespace banyan::server
