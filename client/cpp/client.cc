#include "client/cpp/client.h"

#include <grpcpp/grpcpp.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/mutex.h"
#include "base/random_id.h"
#include "client/cpp/node_calls.h"

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
        calls_(options, std::move(channel), std::move(client_id)) {
    for (int i = 0; i < options.num_workers; ++i) {
      workers_.emplace_back([this] { Work(); });
    }
  }

  ~GrpcClient() override {
    {
      MutexLock lock(mutex_);
      is_closing_ = true;
    }
    work_.NotifyAll();
    for (std::thread& worker : workers_) worker.join();
    close(event_fd_);
    close(layer_event_fd_);
  }

  uint64_t SubmitMatch(std::string_view namespace_id,
                       const KeyChain& chain) override {
    return Submit(MatchJob(namespace_id, chain));
  }

  uint64_t SubmitGet(std::string_view namespace_id, const KeyChain& chain,
                     uint32_t first,
                     std::vector<std::span<std::byte>> buffers) override {
    return Submit(GetJob(namespace_id, chain, first, std::move(buffers)));
  }

  uint64_t SubmitPut(std::string_view namespace_id, const KeyChain& chain,
                     uint32_t first,
                     std::vector<std::span<const std::byte>> payloads,
                     const PutOptions& options) override {
    return Submit(
        PutJob(namespace_id, chain, first, std::move(payloads), options));
  }

  uint64_t SubmitHint(std::string_view namespace_id, const KeyChain& chain,
                      const ReuseHint& hint) override {
    return Submit(HintJob(namespace_id, chain, hint));
  }

  uint64_t SubmitGetLayers(std::string_view namespace_id, const KeyChain& chain,
                           uint32_t first,
                           std::vector<std::span<std::byte>> buffers,
                           const LayerOptions& options) override {
    return Submit(
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

  Completion Get(std::string_view namespace_id, const KeyChain& chain,
                 uint32_t first,
                 std::vector<std::span<std::byte>> buffers) override {
    Completion done;
    calls_.Get(BlocksOf(namespace_id, chain, first), buffers, done);
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
  struct Operation {
    uint64_t id = 0;
    Job job;
  };

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
             uint32_t first, std::vector<std::span<std::byte>> buffers) {
    return [this, blocks = BlocksOf(namespace_id, chain, first),
            buffers = std::move(buffers)](Completion& out) {
      calls_.Get(blocks, buffers, out);
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
      calls_.GetLayers(blocks, buffers, options, out);
    };
  }

  void AddTell(const LayerTell& tell) {
    {
      MutexLock lock(mutex_);
      tells_.push_back(tell);
    }
    SetEvent(layer_event_fd_);
  }

  Job PutJob(std::string_view namespace_id, const KeyChain& chain,
             uint32_t first, std::vector<std::span<const std::byte>> payloads,
             const PutOptions& options) {
    return [this, options, blocks = BlocksOf(namespace_id, chain, first),
            payloads = std::move(payloads)](Completion& out) {
      calls_.Put(blocks, payloads, options, out);
    };
  }

  uint64_t Submit(Job job) {
    uint64_t id = 0;
    {
      MutexLock lock(mutex_);
      id = ++last_id_;
      if (queue_.size() < options_.queue_max) {
        queue_.push_back({.id = id, .job = std::move(job)});
        work_.NotifyOne();
        return id;
      }
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

  void Work() {
    while (true) {
      Operation operation;
      {
        MutexLock lock(mutex_);
        while (queue_.empty() && !is_closing_) work_.Wait(mutex_);
        if (queue_.empty()) return;
        operation = std::move(queue_.front());
        queue_.pop_front();
      }
      Completion completion{.id = operation.id};
      operation.job(completion);
      Complete(std::move(completion));
    }
  }

  const ClientOptions options_;
  const int event_fd_;
  const int layer_event_fd_;
  NodeCalls calls_;

  Mutex mutex_;
  CondVar work_;
  bool is_closing_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<Operation> queue_ ABSL_GUARDED_BY(mutex_);
  std::vector<Completion> completions_ ABSL_GUARDED_BY(mutex_);
  std::vector<LayerTell> tells_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> workers_;  // Last: they use all of the above.
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
  if (options.endpoint.empty() || options.num_workers < 1) {
    return MakeError(absl::StatusCode::kInvalidArgument, "OPTIONS",
                     "options: endpoint and num_workers >= 1 are needed.");
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
