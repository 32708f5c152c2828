#include "tests/testing/fault_node.h"

#include <cerrno>

#include "base/check.h"
#include "tests/integration/node.h"
#include "tests/testing/poll.h"

namespace banyan::testing {
namespace {

using Effect = FaultDisk::Effect;
using Op = FaultDisk::Op;

constexpr uint64_t kAlways = ~uint64_t{0} / 2;
constexpr uint64_t kNoLimit = ~uint64_t{0};
constexpr int kSlowTimes = 100;
constexpr uint32_t kIoThreads = 8;  // As a queue depth of 8.

void AddSlow(FaultDisk& disk, absl::Duration delay) {
  for (const Op op : {Op::kRead, Op::kWrite, Op::kSync}) {
    disk.Add(
        {.op = op, .effect = Effect::kSlow, .count = kAlways, .delay = delay});
  }
}

}  // namespace

FaultNode::FaultNode(const Options& options) : options_(options) {
  AddSlow(disk_, options_.io_time);
  Start();
}

FaultNode::~FaultNode() {
  Heal();
  client_.reset();
  server_.reset();  // Before what it logs to.
}

void FaultNode::Start() {
  server::Config config = SmallConfig(options_.host_bytes);
  config.eviction = "lru";  // What is asked for all the time stays.
  config.data_dir = identity_.path();
  config.ssd_dirs = {"/ssd"};
  config.ssd_bytes = options_.ssd_bytes;
  config.ssd_segment_bytes = options_.segment_bytes;
  config.ssd_read_timeout = options_.read_timeout;
  auto server = server::Server::Start(
      config, {.change_ssd = [this](tiers::SsdTier::Options& ssd) {
        ssd.file_system = &disk_;
        ssd.catalogue_file_system = disk_.ForRocksDb();
        ssd.make_engine = [] { return tiers::MakeThreadEngine(kIoThreads); };
        ssd.write_timeout = options_.write_timeout;
        ssd.health.log = [this](absl::string_view line) {
          const MutexLock lock(log_mutex_);
          log_.emplace_back(line);
        };
      }});
  BANYAN_CHECK(server.ok());
  server_ = *std::move(server);
  auto client = Client::Connect({.endpoint = EndpointOf(*server_),
                                 .engine = "fault",
                                 .transport = TransportKind::kGrpc});
  BANYAN_CHECK(client.ok());
  client_ = *std::move(client);
  BANYAN_CHECK(client_->WaitReady(10'000).ok());
  const auto opened = client_->OpenNamespace("fault", OpaqueFingerprint());
  BANYAN_CHECK(opened.ok());
  namespace_id_ = opened->id;
  admin_ = banyan::v1::Admin::NewStub(ChannelTo(*server_));
}

std::vector<std::string> FaultNode::log() const {
  const MutexLock lock(log_mutex_);
  return log_;
}

uint64_t FaultNode::Stat(const std::string& name) {
  grpc::ClientContext context;
  banyan::v1::StatsResponse stats;
  BANYAN_CHECK(
      admin_->Stats(&context, banyan::v1::StatsRequest(), &stats).ok());
  for (const auto& counter : stats.counters()) {
    if (counter.name() == name) return counter.value();
  }
  return 0;
}

std::string FaultNode::SsdState() {
  grpc::ClientContext context;
  banyan::v1::DescribeTiersResponse tiers;
  BANYAN_CHECK(
      admin_
          ->DescribeTiers(&context, banyan::v1::DescribeTiersRequest(), &tiers)
          .ok());
  return tiers.tiers(1).state();
}

uint64_t FaultNode::Scrub() {
  grpc::ClientContext context;
  banyan::v1::StartScrubResponse started;
  BANYAN_CHECK(
      admin_->StartScrub(&context, banyan::v1::StartScrubRequest(), &started)
          .ok());
  banyan::v1::ScrubStatusResponse status;
  const bool is_done = PollUntil([&] {
    grpc::ClientContext asking;
    BANYAN_CHECK(
        admin_->ScrubStatus(&asking, banyan::v1::ScrubStatusRequest(), &status)
            .ok());
    return !status.is_running();
  });
  BANYAN_CHECK(is_done);
  return status.findings();
}

void FaultNode::Restart() {
  Heal();
  client_.reset();
  server_->Shutdown(absl::Seconds(30));
  server_.reset();
  Start();
}

void FaultNode::Strike(DiskFault fault) {
  switch (fault) {
    case DiskFault::kReadError:
      disk_.Add({.op = Op::kRead, .path_part = ".seg", .count = kAlways});
      return;
    case DiskFault::kWriteError:
      disk_.Add({.op = Op::kWrite, .path_part = ".seg", .count = kAlways});
      return;
    case DiskFault::kSyncError:
      disk_.Add({.op = Op::kSync, .count = kAlways});
      return;
    case DiskFault::kFull:
      disk_.SetSpace(disk_.used_bytes());
      return;
    case DiskFault::kSlow:
      AddSlow(disk_, options_.io_time * (kSlowTimes - 1));
      return;
    case DiskFault::kStuck:
      for (const Op op : {Op::kRead, Op::kWrite, Op::kSync}) {
        disk_.Add({.op = op, .effect = Effect::kHeld, .count = kAlways});
      }
      return;
  }
}

void FaultNode::Heal() {
  disk_.ClearRules();
  disk_.SetSpace(kNoLimit);
  disk_.Release();
  AddSlow(disk_, options_.io_time);
}

}  // namespace banyan::testing
