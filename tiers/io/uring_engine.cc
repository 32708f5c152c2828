// The io_uring engine: one ring, owned by one thread. Callers put requests into
// a queue and ring an eventfd; the ring reads that eventfd, so the thread
// sleeps in one place for both new work and completions.
#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <thread>
#include <utility>

#include "base/check.h"
#include "tiers/io/io_engine.h"

namespace banyan::tiers {
namespace {

constexpr uint32_t kQueueDepthMax = 4096;

class UringEngine final : public IoEngine {
 public:
  static absl::StatusOr<std::unique_ptr<IoEngine>> Make(uint32_t queue_depth) {
    auto engine = std::unique_ptr<UringEngine>(new UringEngine(queue_depth));
    if (engine->bell_ < 0) return IoError(errno, "eventfd");
    // The ring is made by the thread that uses it: SINGLE_ISSUER asks for it.
    engine->thread_ = std::thread([e = engine.get()] { e->Run(); });
    const int error = engine->WaitUntilReady();
    if (error != 0) return IoError(error, "io_uring");
    return engine;
  }

  ~UringEngine() override {
    if (thread_.joinable()) {
      {
        const MutexLock lock(mutex_);
        is_stopping_ = true;
      }
      Ring();
      thread_.join();
    }
    if (bell_ >= 0) close(bell_);
  }

  const char* name() const override { return "io_uring"; }
  uint64_t in_flight() const override { return in_flight_; }

  void Submit(std::shared_ptr<IoBatch> batch) override {
    Start(*batch);
    in_flight_ += batch->requests.size();
    {
      const MutexLock lock(mutex_);
      for (size_t i = 0; i < batch->requests.size(); ++i) {
        queue_.push_back({batch, i, 0});
      }
    }
    Ring();
  }

 private:
  struct Item {
    std::shared_ptr<IoBatch> batch;
    size_t index = 0;
    uint64_t done_bytes = 0;

    IoRequest& request() { return batch->requests[index]; }
  };

  enum class Work { kNone, kStop };

  explicit UringEngine(uint32_t queue_depth)
      : queue_depth_(queue_depth), bell_(eventfd(0, EFD_CLOEXEC)) {}

  void Ring() {
    const uint64_t one = 1;
    // Can only fail if the counter is full: then the thread is awake anyway.
    [[maybe_unused]] const ssize_t n = write(bell_, &one, sizeof one);
  }

  int WaitUntilReady() {
    const MutexLock lock(mutex_);
    while (!is_ready_) ready_.Wait(mutex_);
    return setup_error_;
  }

  // Older kernels know fewer flags: the second try asks for none.
  static int SetUpRing(uint32_t entries, io_uring& ring) {
    io_uring_params params = {};
    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN;
    int error = io_uring_queue_init_params(entries, &ring, &params);
    if (error == -EINVAL) error = io_uring_queue_init(entries, &ring, 0);
    return -error;
  }

  void Run() {
    const int error = SetUpRing(queue_depth_ + 1, ring_);
    {
      const MutexLock lock(mutex_);
      setup_error_ = error;
      is_ready_ = true;
    }
    ready_.NotifyAll();
    if (error != 0) return;
    ListenToBell();
    while (!(TakeWork() == Work::kStop && running_count_ == 0)) {
      const int result = io_uring_submit_and_wait(&ring_, 1);
      BANYAN_CHECK(result >= 0 || result == -EINTR || result == -EAGAIN ||
                   result == -EBUSY);
      Reap();
    }
    io_uring_queue_exit(&ring_);
  }

  void ListenToBell() {
    io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
    io_uring_prep_read(sqe, bell_, &bell_value_, sizeof bell_value_, 0);
    io_uring_sqe_set_data(sqe, nullptr);
  }

  // Moves items from the queue into the ring, up to the depth.
  Work TakeWork() {
    while (running_count_ < queue_depth_) {
      auto item = std::make_unique<Item>();
      {
        const MutexLock lock(mutex_);
        if (queue_.empty()) return is_stopping_ ? Work::kStop : Work::kNone;
        *item = std::move(queue_.front());
        queue_.pop_front();
      }
      ++running_count_;
      Issue(std::move(item));
    }
    return Work::kNone;
  }

  // Files without a descriptor are a test's: they are called here.
  void Issue(std::unique_ptr<Item> item) {
    const IoRequest& request = item->request();
    const int fd = request.file->descriptor();
    if (fd < 0) {
      Finish(std::move(item), RunNow(request));
      return;
    }
    io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
    BANYAN_CHECK(sqe != nullptr);  // There is one for each running item.
    std::byte* const memory = request.memory + item->done_bytes;
    // One request moves less than 2 GiB; the rest follows as a short one does.
    const uint64_t left = request.bytes - item->done_bytes;
    const auto bytes =
        static_cast<unsigned>(std::min<uint64_t>(left, uint64_t{1} << 30));
    const uint64_t offset = request.offset + item->done_bytes;
    if (request.kind == IoKind::kRead) {
      io_uring_prep_read(sqe, fd, memory, bytes, offset);
    } else {
      io_uring_prep_write(sqe, fd, memory, bytes, offset);
    }
    io_uring_sqe_set_data(sqe, item.release());
  }

  void Reap() {
    io_uring_cqe* cqe = nullptr;
    while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
      std::unique_ptr<Item> item(
          static_cast<Item*>(io_uring_cqe_get_data(cqe)));
      const int result = cqe->res;
      io_uring_cqe_seen(&ring_, cqe);
      if (item == nullptr) {
        ListenToBell();
      } else {
        Complete(std::move(item), result);
      }
    }
  }

  void Complete(std::unique_ptr<Item> item, int result) {
    const IoRequest& request = item->request();
    const bool is_read = request.kind == IoKind::kRead;
    if (result == -EINTR || result == -EAGAIN) {
      Issue(std::move(item));
      return;
    }
    if (result <= 0) {
      const int error = result < 0 ? -result : is_read ? ENODATA : ENOSPC;
      Finish(std::move(item), IoError(error, is_read ? "read" : "write"));
      return;
    }
    item->done_bytes += result;
    if (item->done_bytes < request.bytes) {
      Issue(std::move(item));  // Short: the rest is asked for again.
      return;
    }
    Finish(std::move(item), absl::OkStatus());
  }

  void Finish(std::unique_ptr<Item> item, absl::Status status) {
    item->request().status = std::move(status);
    --running_count_;
    --in_flight_;
    FinishOne(*item->batch);
  }

  const uint32_t queue_depth_;
  const int bell_;
  uint64_t bell_value_ = 0;
  io_uring ring_ = {};
  uint32_t running_count_ = 0;  // Of the ring's thread.
  std::atomic<uint64_t> in_flight_{0};
  std::thread thread_;

  Mutex mutex_;
  CondVar ready_;
  std::deque<Item> queue_ ABSL_GUARDED_BY(mutex_);
  bool is_ready_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  int setup_error_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<IoEngine>> MakeUringEngine(
    uint32_t queue_depth) {
  BANYAN_CHECK(queue_depth > 0 && queue_depth <= kQueueDepthMax);
  return UringEngine::Make(queue_depth);
}

}  // namespace banyan::tiers
