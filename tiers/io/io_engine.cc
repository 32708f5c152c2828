#include "tiers/io/io_engine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <deque>
#include <string>
#include <thread>
#include <utility>

#include "base/check.h"

namespace banyan::tiers {
namespace {

constexpr uint32_t kThreadsMax = 256;
constexpr uint32_t kFallbackThreadsMax = 8;

class InlineEngine final : public IoEngine {
 public:
  const char* name() const override { return "inline"; }
  uint64_t in_flight() const override { return 0; }
  void Submit(std::shared_ptr<IoBatch> batch) override {
    Start(*batch);
    for (IoRequest& request : batch->requests) {
      request.status = RunNow(request);
      FinishOne(*batch);
    }
  }
};

class ThreadEngine final : public IoEngine {
 public:
  explicit ThreadEngine(uint32_t threads) {
    for (uint32_t i = 0; i < threads; ++i) {
      threads_.emplace_back([this] { Work(); });
    }
  }

  ~ThreadEngine() override {
    {
      const MutexLock lock(mutex_);
      is_stopping_ = true;
    }
    work_.NotifyAll();
    for (std::thread& thread : threads_) thread.join();
  }

  const char* name() const override { return "threads"; }
  uint64_t in_flight() const override { return in_flight_; }

  void Submit(std::shared_ptr<IoBatch> batch) override {
    Start(*batch);
    in_flight_ += batch->requests.size();
    {
      const MutexLock lock(mutex_);
      for (size_t i = 0; i < batch->requests.size(); ++i) {
        queue_.push_back({batch, i});
      }
    }
    work_.NotifyAll();
  }

 private:
  struct Item {
    std::shared_ptr<IoBatch> batch;
    size_t index;
  };

  // False when there is no work left and none will come.
  bool Next(Item& item) {
    const MutexLock lock(mutex_);
    while (queue_.empty()) {
      if (is_stopping_) return false;
      work_.Wait(mutex_);
    }
    item = std::move(queue_.front());
    queue_.pop_front();
    return true;
  }

  void Work() {
    Item item;
    while (Next(item)) {
      IoRequest& request = item.batch->requests[item.index];
      request.status = RunNow(request);
      --in_flight_;
      FinishOne(*item.batch);
      item.batch.reset();
    }
  }

  Mutex mutex_;
  CondVar work_;
  std::deque<Item> queue_ ABSL_GUARDED_BY(mutex_);
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::atomic<uint64_t> in_flight_{0};
  std::vector<std::thread> threads_;
};

}  // namespace

bool IoBatch::Wait(absl::Duration timeout) {
  // A day is for ever here, and does not overflow the clock.
  const auto deadline =
      std::chrono::steady_clock::now() +
      absl::ToChronoMicroseconds(std::min(timeout, absl::Hours(24)));
  const MutexLock lock(mutex_);
  while (pending_count_ > 0) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= left.zero()) return false;
    done_.WaitFor(mutex_, std::min(absl::FromChrono(left), absl::Seconds(1)) +
                              absl::Milliseconds(1));
  }
  return true;
}

bool IoEngine::Run(std::shared_ptr<IoBatch> batch, absl::Duration timeout) {
  IoBatch& waiting = *batch;
  const std::shared_ptr<IoBatch> kept = batch;
  Submit(std::move(batch));
  return waiting.Wait(timeout);
}

void IoEngine::Start(IoBatch& batch) {
  const MutexLock lock(batch.mutex_);
  BANYAN_CHECK(batch.pending_count_ == 0);
  batch.pending_count_ = batch.requests.size();
}

void IoEngine::FinishOne(IoBatch& batch) {
  const MutexLock lock(batch.mutex_);
  if (--batch.pending_count_ == 0) batch.done_.NotifyAll();
}

absl::Status IoEngine::RunNow(const IoRequest& request) {
  if (request.kind == IoKind::kRead) {
    return request.file->ReadAt(request.offset,
                                absl::MakeSpan(request.memory, request.bytes));
  }
  return request.file->WriteAt(
      request.offset, absl::MakeConstSpan(request.memory, request.bytes));
}

std::unique_ptr<IoEngine> MakeInlineEngine() {
  return std::make_unique<InlineEngine>();
}

std::unique_ptr<IoEngine> MakeThreadEngine(uint32_t threads) {
  BANYAN_CHECK(threads > 0 && threads <= kThreadsMax);
  return std::make_unique<ThreadEngine>(threads);
}

std::unique_ptr<IoEngine> MakeBestEngine(uint32_t queue_depth) {
  auto uring = MakeUringEngine(queue_depth);
  if (uring.ok()) return *std::move(uring);
  std::fprintf(stderr,
               "banyan: no io_uring (%s); using pread and pwrite on threads.\n",
               std::string(uring.status().message()).c_str());
  return MakeThreadEngine(std::clamp(queue_depth, 1u, kFallbackThreadsMax));
}

}  // namespace banyan::tiers
