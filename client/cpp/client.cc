#include "client/cpp/client.h"

#include <grpcpp/grpcpp.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <stop_token>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/mutex.h"
#include "base/random_id.h"
#include "client/cpp/node_calls.h"
#include "client/cpp/work_lane.h"

namespace banyan {
namespace {

using client::NodeCalls;

NodeCalls::Blocks BlocksOf(std::string_view namespace_id, const KeyChain& chain,
                           uint32_t first) {
  return {.namespace_id = std::string(namespace_id),
          .keys = std::string(chain.keys),
          .key_bytes = chain.key_bytes,
          .salt = std::string(chain.salt),
          .first = first};
}

void SetEvent(int event_fd) {
  const uint64_t one = 1;
  // Cannot fail: the counter never comes near its limit.
  [[maybe_unused]] const ssize_t put = write(event_fd, &one, sizeof(one));
}

void ClearEvent(int event_fd) {
  uint64_t count = 0;
  // Never blocks: the descriptor is non-blocking; nothing there is no error.
  [[maybe_unused]] const ssize_t got = read(event_fd, &count, sizeof(count));
}

class GrpcClient final : public Client {
 public:
  GrpcClient(const ClientOptions& options,
             std::shared_ptr<grpc::Channel> channel, std::string client_id,
             int event_fd, int layer_event_fd)
      : options_(options),
        event_fd_(event_fd),
        layer_event_fd_(layer_event_fd),
        calls_(options, std::move(channel), std::move(client_id)),
        workers_({.threads_max = static_cast<size_t>(options.num_workers),
                  .queue_max = options.queue_max}),
        followers_({.threads_max = static_cast<size_t>(options.num_followers),
                    .queue_max = options.queue_max}) {}

  ~GrpcClient() override {
    closing_.request_stop();
    followers_.Close();
    workers_.Close();
    close(event_fd_);
    close(layer_event_fd_);
  }

  uint64_t SubmitMatch(std::string_view namespace_id,
                       const KeyChain& chain) override {
    return Submit(workers_, MatchJob(namespace_id, chain));
  }

  using Client::SubmitGet;
  uint64_t SubmitGet(std::string_view namespace_id, const KeyChain& chain,
                     uint32_t first, std::vector<std::span<std::byte>> buffers,
                     const GetOptions& options) override {
    return Submit(workers_, GetJob(namespace_id, chain, first,
                                   std::move(buffers), options));
  }

  uint64_t SubmitPut(std::string_view namespace_id, const KeyChain& chain,
                     uint32_t first,
                     std::vector<std::span<const std::byte>> payloads,
                     const PutOptions& options) override {
    return Submit(workers_, PutJob(namespace_id, chain, first,
                                   std::move(payloads), options));
  }

  uint64_t SubmitHint(std::string_view namespace_id, const KeyChain& chain,
                      const ReuseHint& hint) override {
    return Submit(workers_, HintJob(namespace_id, chain, hint));
  }

  uint64_t SubmitGetLayers(std::string_view namespace_id, const KeyChain& chain,
                           uint32_t first,
                           std::vector<std::span<std::byte>> buffers,
                           const LayerOptions& options) override {
    return Submit(
        options.follow ? followers_ : workers_,
        GetLayersJob(namespace_id, chain, first, std::move(buffers), options));
  }

  std::vector<LayerTell> DrainLayers() override {
    ClearEvent(layer_event_fd_);
    std::vector<LayerTell> drained;
    MutexLock lock(mutex_);
    drained.swap(tells_);
    return drained;
  }

  int layer_event_fd() const override { return layer_event_fd_; }

  std::vector<Completion> Drain() override {
    ClearEvent(event_fd_);
    std::vector<Completion> drained;
    MutexLock lock(mutex_);
    drained.swap(completions_);
    if (!tells_.empty()) TakeTells(drained);
    return drained;
  }

  int event_fd() const override { return event_fd_; }

  using Client::OpenNamespace;
  absl::StatusOr<OpenedNamespace> OpenNamespace(
      std::string_view name, const Fingerprint& fingerprint,
      const NamespaceOptions& options) override {
    return calls_.OpenNamespace(name, fingerprint, options);
  }

  // The blocking calls run on the caller's thread: handing them to a worker
  // would cost two more switches of threads each.
  absl::StatusOr<uint32_t> Match(std::string_view namespace_id,
                                 const KeyChain& chain) override {
    Completion done;
    calls_.Match(BlocksOf(namespace_id, chain, 0), done);
    if (!done.status.ok()) return done.status;
    return done.hit_blocks;
  }

  using Client::Get;
  Completion Get(std::string_view namespace_id, const KeyChain& chain,
                 uint32_t first, std::vector<std::span<std::byte>> buffers,
                 const GetOptions& options) override {
    Completion done;
    calls_.Get(BlocksOf(namespace_id, chain, first), buffers, options, done);
    return done;
  }

  Completion GetLayers(std::string_view namespace_id, const KeyChain& chain,
                       uint32_t first,
                       std::vector<std::span<std::byte>> buffers,
                       const LayerOptions& options) override {
    Completion done;
    calls_.GetLayers(BlocksOf(namespace_id, chain, first), buffers, options,
                     done);
    return done;
  }

  absl::StatusOr<std::unique_ptr<LayerWrite>> PutLayers(
      std::string_view namespace_id, const KeyChain& chain, uint32_t first,
      uint32_t count, const PutOptions& options) override {
    return calls_.PutLayers(BlocksOf(namespace_id, chain, first), count,
                            options);
  }

  Completion Put(std::string_view namespace_id, const KeyChain& chain,
                 uint32_t first,
                 std::vector<std::span<const std::byte>> payloads,
                 const PutOptions& options) override {
    Completion done;
    calls_.Put(BlocksOf(namespace_id, chain, first), payloads, options, done);
    return done;
  }

  absl::StatusOr<uint32_t> Hint(std::string_view namespace_id,
                                const KeyChain& chain,
                                const ReuseHint& hint) override {
    Completion done;
    calls_.Hint(BlocksOf(namespace_id, chain, 0), hint, done);
    if (!done.status.ok()) return done.status;
    return done.hit_blocks;
  }

  absl::StatusOr<std::unique_ptr<BlockView>> GetView(
      std::string_view namespace_id, const KeyChain& chain, uint32_t first,
      uint32_t count, const ViewOptions& options) override {
    return calls_.GetView(BlocksOf(namespace_id, chain, first), count, options);
  }

  ClientStats stats() const override { return calls_.stats(); }

  TransportFacts transport() const override { return calls_.transport(); }

  absl::Status WaitReady(int timeout_ms) override {
    return calls_.session().Wait(absl::Milliseconds(timeout_ms)).status();
  }

 private:
  using Job = std::function<void(Completion&)>;

  Job MatchJob(std::string_view namespace_id, const KeyChain& chain) {
    return [this, blocks = BlocksOf(namespace_id, chain, 0)](Completion& out) {
      calls_.Match(blocks, out);
    };
  }

  Job HintJob(std::string_view namespace_id, const KeyChain& chain,
              const ReuseHint& hint) {
    return [this, hint, blocks = BlocksOf(namespace_id, chain, 0)](
               Completion& out) { calls_.Hint(blocks, hint, out); };
  }

  Job GetJob(std::string_view namespace_id, const KeyChain& chain,
             uint32_t first, std::vector<std::span<std::byte>> buffers,
             const GetOptions& options) {
    return [this, options, blocks = BlocksOf(namespace_id, chain, first),
            buffers = std::move(buffers)](Completion& out) {
      calls_.Get(blocks, buffers, options, out);
    };
  }

  // Tells without a taker are for DrainLayers.
  Job GetLayersJob(std::string_view namespace_id, const KeyChain& chain,
                   uint32_t first, std::vector<std::span<std::byte>> buffers,
                   LayerOptions options) {
    if (!options.on_tell) {
      options.on_tell = [this](const LayerTell& tell) { AddTell(tell); };
    }
    return [this, blocks = BlocksOf(namespace_id, chain, first),
            buffers = std::move(buffers),
            options = std::move(options)](Completion& out) {
      calls_.GetLayers(
          blocks, buffers, options, out,
          options.follow ? closing_.get_token() : std::stop_token());
    };
  }

  void AddTell(const LayerTell& tell) {
    {
      MutexLock lock(mutex_);
      tells_.push_back(tell);
    }
    SetEvent(layer_event_fd_);
  }

  // Gives each completion the tells that came before it and were not drained.
  void TakeTells(std::vector<Completion>& completions)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    absl::flat_hash_map<uint64_t, Completion*> by_id;
    for (Completion& completion : completions) {
      by_id[completion.id] = &completion;
    }
    std::vector<LayerTell> left;
    for (const LayerTell& tell : tells_) {
      const auto found = by_id.find(tell.id);
      (found == by_id.end() ? left : found->second->tells).push_back(tell);
    }
    tells_.swap(left);
    if (tells_.empty()) ClearEvent(layer_event_fd_);
  }

  Job PutJob(std::string_view namespace_id, const KeyChain& chain,
             uint32_t first, std::vector<std::span<const std::byte>> payloads,
             const PutOptions& options) {
    return [this, options, blocks = BlocksOf(namespace_id, chain, first),
            payloads = std::move(payloads)](Completion& out) {
      calls_.Put(blocks, payloads, options, out);
    };
  }

  uint64_t Submit(client::WorkLane& lane, Job job) {
    const uint64_t id = ++last_id_;
    if (lane.TrySubmit([this, id, job = std::move(job)] {
          Completion completion{.id = id};
          job(completion);
          Complete(std::move(completion));
        })) {
      return id;
    }
    Complete({.id = id,
              .status = MakeError(
                  absl::StatusCode::kResourceExhausted, "QUEUE",
                  absl::StrCat("queue: ", options_.queue_max,
                               " operations wait, the limit. Drain first."))});
    return id;
  }

  void Complete(Completion completion) {
    {
      MutexLock lock(mutex_);
      completions_.push_back(std::move(completion));
    }
    SetEvent(event_fd_);
  }

  const ClientOptions options_;
  const int event_fd_;
  const int layer_event_fd_;
  NodeCalls calls_;

  std::stop_source closing_;  // Of who waits for a writer.
  std::atomic<uint64_t> last_id_{0};
  Mutex mutex_;
  std::vector<Completion> completions_ ABSL_GUARDED_BY(mutex_);
  std::vector<LayerTell> tells_ ABSL_GUARDED_BY(mutex_);
  client::WorkLane workers_;  // Last, as the next: they use all of the above.
  client::WorkLane followers_;
};

std::string MakeClientId() {
  char host[64] = {};
  gethostname(host, sizeof(host) - 1);
  return absl::StrCat(host, "-", getpid(), "-",
                      absl::BytesToHexString(RandomId().substr(0, 4)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(
    const ClientOptions& options) {
  if (options.endpoint.empty() || options.num_workers < 1 ||
      options.num_followers < 1) {
    return MakeError(absl::StatusCode::kInvalidArgument, "OPTIONS",
                     "options: endpoint, num_workers >= 1 and num_followers "
                     ">= 1 are needed.");
  }
  const int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const int layer_event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event_fd < 0 || layer_event_fd < 0) {
    if (event_fd >= 0) close(event_fd);
    return MakeError(absl::StatusCode::kResourceExhausted, "EVENTFD",
                     "eventfd: no descriptor left. Raise the limit of files.");
  }
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);  // Bounded by what we ask for.
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  auto channel = grpc::CreateCustomChannel(
      options.endpoint, grpc::InsecureChannelCredentials(), arguments);
  return std::unique_ptr<Client>(std::make_unique<GrpcClient>(
      options, std::move(channel),
      options.client_id.empty() ? MakeClientId() : options.client_id, event_fd,
      layer_event_fd));
}

}  // namespace banyan
