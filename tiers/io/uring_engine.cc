// The io_uring engine.
//
// Run: the caller takes a ring of the pool, issues its batch, and waits in the
// kernel: no other thread has to wake up, which on a busy machine takes longer
// than the read. If its time is up, a thread is started that waits for what is
// still out, and brings the ring back; that is rare.
//
// Submit: one ring, owned by one thread. Callers put requests into a queue and
// ring an eventfd; the ring reads that eventfd, so the thread sleeps in one place
// for both new work and completions.
#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "tiers/io/io_engine.h"
#include "tiers/io/ring_buffers.h"

namespace banyan::tiers {
namespace {

constexpr uint32_t kQueueDepthMax = 4096;

constexpr size_t kCallerRingsMax = 32;

// Longest single request; the rest follows as after a short one.
constexpr uint64_t kRequestBytesMax = uint64_t{1} << 30;

// `buffer` is the number of the registered chunk that holds the memory, if any.
void Prepare(io_uring_sqe* sqe, const IoRequest& request, uint64_t done_bytes,
             int buffer) {
  const int fd = request.file->descriptor();
  std::byte* const memory = request.memory + done_bytes;
  const auto bytes = static_cast<unsigned>(
      std::min<uint64_t>(request.bytes - done_bytes, kRequestBytesMax));
  const uint64_t offset = request.offset + done_bytes;
  const bool is_read = request.kind == IoKind::kRead;
  if (buffer == IoChunks::kNone) {
    is_read ? io_uring_prep_read(sqe, fd, memory, bytes, offset)
            : io_uring_prep_write(sqe, fd, memory, bytes, offset);
  } else {
    is_read ? io_uring_prep_read_fixed(sqe, fd, memory, bytes, offset, buffer)
            : io_uring_prep_write_fixed(sqe, fd, memory, bytes, offset, buffer);
  }
}

// What a completion means for its request; nullopt if more is to be issued.
std::optional<absl::Status> Judge(const IoRequest& request, int result,
                                  uint64_t& done_bytes) {
  const bool is_read = request.kind == IoKind::kRead;
  if (result == -EINTR || result == -EAGAIN) return std::nullopt;
  if (result <= 0) {
    const int error = result < 0 ? -result : is_read ? ENODATA : ENOSPC;
    return IoError(error, is_read ? "read" : "write");
  }
  done_bytes += result;
  if (done_bytes < request.bytes) return std::nullopt;
  return absl::OkStatus();
}

// A ring for one batch at a time.
class CallerRing {
 public:
  static std::unique_ptr<CallerRing> Make(uint32_t queue_depth,
                                          IoChunks& chunks) {
    auto ring =
        std::unique_ptr<CallerRing>(new CallerRing(queue_depth, chunks));
    if (io_uring_queue_init(queue_depth, &ring->ring_, 0) != 0) return nullptr;
    ring->is_made_ = true;
    // Without it a wait with a time limit would need a request of its own.
    if ((ring->ring_.features & IORING_FEAT_EXT_ARG) == 0) return nullptr;
    return ring;
  }
  ~CallerRing() {
    if (is_made_) io_uring_queue_exit(&ring_);
  }

  // Requires: nothing is out.
  void Begin(std::shared_ptr<IoBatch> batch) {
    batch_ = std::move(batch);
    done_bytes_.assign(batch_->requests.size(), 0);
    next_ = 0;
    IssueMore();
  }

  // Waits for one completion, or more. False if the time is up.
  bool WaitSome(absl::Duration timeout,
                absl::FunctionRef<void(IoBatch&)> finished) {
    __kernel_timespec left = {};
    left.tv_sec = absl::ToInt64Seconds(timeout);
    left.tv_nsec =
        absl::ToInt64Nanoseconds(timeout - absl::Seconds(left.tv_sec));
    io_uring_cqe* cqe = nullptr;
    const int result = io_uring_wait_cqe_timeout(&ring_, &cqe, &left);
    if (result == -ETIME) return false;
    BANYAN_CHECK(result == 0 || result == -EINTR || result == -EAGAIN);
    while (out_count_ > 0 && io_uring_peek_cqe(&ring_, &cqe) == 0) {
      const size_t index = io_uring_cqe_get_data64(cqe);
      const int got = cqe->res;
      io_uring_cqe_seen(&ring_, cqe);
      --out_count_;
      Complete(index, got, finished);
    }
    IssueMore();
    return true;
  }

  bool is_done() const {
    return out_count_ == 0 && next_ == batch_->requests.size();
  }
  void End() { batch_.reset(); }

 private:
  CallerRing(uint32_t queue_depth, IoChunks& chunks)
      : queue_depth_(queue_depth), buffers_(chunks) {}

  void Issue(size_t index) {
    const IoRequest& request = batch_->requests[index];
    const int buffer = buffers_.IndexOf(ring_, request.memory, request.bytes);
    io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
    BANYAN_CHECK(sqe != nullptr);
    Prepare(sqe, request, done_bytes_[index], buffer);
    io_uring_sqe_set_data64(sqe, index);
    ++out_count_;
  }

  void IssueMore() {
    while (out_count_ < queue_depth_ && next_ < batch_->requests.size()) {
      Issue(next_++);
    }
    const int result = io_uring_submit(&ring_);
    BANYAN_CHECK(result >= 0 || result == -EINTR || result == -EAGAIN ||
                 result == -EBUSY);
  }

  void Complete(size_t index, int result,
                absl::FunctionRef<void(IoBatch&)> finished) {
    IoRequest& request = batch_->requests[index];
    std::optional<absl::Status> status =
        Judge(request, result, done_bytes_[index]);
    if (!status.has_value()) {
      Issue(index);
      return;
    }
    request.status = *std::move(status);
    finished(*batch_);
  }

  const uint32_t queue_depth_;
  io_uring ring_ = {};
  RingBuffers buffers_;
  bool is_made_ = false;
  std::shared_ptr<IoBatch> batch_;
  std::vector<uint64_t> done_bytes_;  // Of each request.
  size_t next_ = 0;
  uint32_t out_count_ = 0;
};

class UringEngine final : public IoEngine {
 public:
  static absl::StatusOr<std::unique_ptr<IoEngine>> Make(uint32_t queue_depth) {
    auto engine = std::unique_ptr<UringEngine>(new UringEngine(queue_depth));
    if (engine->bell_ < 0) return IoError(errno, "eventfd");
    // The ring is made by the thread that uses it: SINGLE_ISSUER asks for it.
    engine->thread_ = std::thread([e = engine.get()] { e->ServeQueue(); });
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
    std::vector<std::thread> finishers;
    {
      const MutexLock lock(mutex_);
      finishers.swap(finishers_);
    }
    for (std::thread& finisher : finishers) finisher.join();
    if (bell_ >= 0) close(bell_);
  }

  const char* name() const override { return "io_uring"; }
  uint64_t in_flight() const override { return in_flight_; }
  void ExpectMemory(absl::Span<std::byte> region) override {
    chunks_.Add(region);
  }
  uint64_t registered_bytes() const override {
    return chunks_.registered_bytes();
  }

  bool Run(std::shared_ptr<IoBatch> batch, absl::Duration timeout) override {
    std::unique_ptr<CallerRing> ring;
    if (HasDescriptors(*batch)) ring = TakeRing();
    if (ring == nullptr) return IoEngine::Run(std::move(batch), timeout);
    const absl::Time deadline =
        absl::Now() + std::min(timeout, absl::Hours(24));
    Start(*batch);
    in_flight_ += batch->requests.size();
    ring->Begin(std::move(batch));
    while (!ring->is_done()) {
      const absl::Duration left = deadline - absl::Now();
      if (left <= absl::ZeroDuration() || !WaitSome(*ring, left)) break;
    }
    const bool is_done = ring->is_done();
    if (is_done) {
      ReturnRing(std::move(ring));
    } else {
      FinishElsewhere(std::move(ring));
    }
    return is_done;
  }

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

  // Files without a descriptor are a test's.
  static bool HasDescriptors(const IoBatch& batch) {
    for (const IoRequest& request : batch.requests) {
      if (request.file->descriptor() < 0) return false;
    }
    return !batch.requests.empty();
  }

  // A ring of the pool or a new one; nullptr if there are enough.
  std::unique_ptr<CallerRing> TakeRing() {
    {
      const MutexLock lock(mutex_);
      if (!rings_.empty()) {
        std::unique_ptr<CallerRing> ring = std::move(rings_.back());
        rings_.pop_back();
        return ring;
      }
      if (ring_count_ == kCallerRingsMax) return nullptr;
      ++ring_count_;
    }
    std::unique_ptr<CallerRing> ring = CallerRing::Make(queue_depth_, chunks_);
    if (ring == nullptr) {
      const MutexLock lock(mutex_);
      --ring_count_;
    }
    return ring;
  }

  void ReturnRing(std::unique_ptr<CallerRing> ring) {
    ring->End();  // May be the last to hold the batch: not under the lock.
    const MutexLock lock(mutex_);
    rings_.push_back(std::move(ring));
  }

  bool WaitSome(CallerRing& ring, absl::Duration timeout) {
    return ring.WaitSome(timeout, [this](IoBatch& batch) {
      --in_flight_;
      FinishOne(batch);
    });
  }

  // For a ring whose caller has gone.
  void FinishElsewhere(std::unique_ptr<CallerRing> ring) {
    std::thread finisher([this, ring = std::move(ring)]() mutable {
      while (!ring->is_done()) WaitSome(*ring, absl::Hours(1));
      ReturnRing(std::move(ring));
    });
    const MutexLock lock(mutex_);
    finishers_.push_back(std::move(finisher));
  }

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

  void ServeQueue() {
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
    const int buffer = buffers_.IndexOf(ring_, request.memory, request.bytes);
    io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
    BANYAN_CHECK(sqe != nullptr);  // There is one for each running item.
    Prepare(sqe, request, item->done_bytes, buffer);
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
    std::optional<absl::Status> status =
        Judge(item->request(), result, item->done_bytes);
    if (status.has_value()) {
      Finish(std::move(item), *std::move(status));
    } else {
      Issue(std::move(item));
    }
  }

  void Finish(std::unique_ptr<Item> item, absl::Status status) {
    item->request().status = std::move(status);
    --running_count_;
    --in_flight_;
    FinishOne(*item->batch);
  }

  const uint32_t queue_depth_;
  const int bell_;
  IoChunks chunks_;
  RingBuffers buffers_{chunks_};  // Of the thread's ring.
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
  std::vector<std::unique_ptr<CallerRing>> rings_ ABSL_GUARDED_BY(mutex_);
  size_t ring_count_ ABSL_GUARDED_BY(mutex_) = 0;  // Those in use, too.
  std::vector<std::thread> finishers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<IoEngine>> MakeUringEngine(
    uint32_t queue_depth) {
  BANYAN_CHECK(queue_depth > 0 && queue_depth <= kQueueDepthMax);
  return UringEngine::Make(queue_depth);
}

}  // namespace banyan::tiers
