// An IoEngine runs reads and writes of files, many at once. Two kinds: io_uring,
// and plain calls where io_uring is refused. With io_uring a caller that waits
// drives a ring itself; what nobody waits for is driven by the engine's thread.
//
// A batch belongs to its engine from Submit until its last request is done, and
// to its waiters: a waiter that gives up leaves memory and files with the
// batch, so a disk that hangs holds up nobody else and can land nowhere wrong.
//
// Threads:  thread-safe.
// Lifetime: the destructor waits until all requests are done.
// Errors:   each request has its own status, as in tiers/io/file.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "tiers/io/file.h"

namespace banyan::tiers {

enum class IoKind { kRead, kWrite };

struct IoRequest {
  IoKind kind = IoKind::kRead;
  File* file = nullptr;
  uint64_t offset = 0;
  std::byte* memory = nullptr;  // A write only reads it.
  uint64_t bytes = 0;
  absl::Status status;  // Set by the engine.
};

// Requests that are waited for together. Derive to own what they use. Shared
// between waiter and engine: either may be last (docs/adr/0008-shared-io-batches.md).
class IoBatch {
 public:
  virtual ~IoBatch() = default;

  // Filled before Submit, and read after Wait said that all is done.
  std::vector<IoRequest> requests;

  // True if all requests were done within the time; false leaves them running.
  bool Wait(absl::Duration timeout);

 private:
  friend class IoEngine;
  Mutex mutex_;
  CondVar done_;
  size_t pending_count_ ABSL_GUARDED_BY(mutex_) = 0;
};

class IoEngine {
 public:
  virtual ~IoEngine() = default;

  // "io_uring", "threads" or "inline". Lives as long as the process.
  virtual const char* name() const = 0;

  // Starts all requests of the batch; returns at once, unless the queue is
  // full or the engine is inline.
  virtual void Submit(std::shared_ptr<IoBatch> batch) = 0;

  // Submit and Wait in one, without a change of thread where the engine can.
  virtual bool Run(std::shared_ptr<IoBatch> batch, absl::Duration timeout);

  // Memory of requests lies mostly here, in chunks of kIoChunkBytes: an engine
  // may register a chunk with the kernel when it is first used, and saves looking
  // up its pages at each request. Call before the first request; the region
  // outlives the engine. Where the kernel refuses, all goes on without, after one
  // line on stderr.
  virtual void ExpectMemory(absl::Span<std::byte>) {}

  // Memory that is registered, once for each of the engine's rings.
  virtual uint64_t registered_bytes() const { return 0; }

  // Requests that were submitted and are not done.
  virtual uint64_t in_flight() const = 0;

 protected:
  static void Start(IoBatch& batch);
  static void FinishOne(IoBatch& batch);
  static absl::Status RunNow(const IoRequest& request);
};

// Errors: kUnavailable if the kernel refuses io_uring.
// Requires: 0 < queue_depth <= 4096.
absl::StatusOr<std::unique_ptr<IoEngine>> MakeUringEngine(uint32_t queue_depth);

// Runs requests with plain calls on `threads` threads.
// Requires: 0 < threads <= 256.
std::unique_ptr<IoEngine> MakeThreadEngine(uint32_t threads);

// Runs requests in Submit, one after the other: for tests that want an order.
std::unique_ptr<IoEngine> MakeInlineEngine();

// io_uring, or threads with one line on stderr that says why.
std::unique_ptr<IoEngine> MakeBestEngine(uint32_t queue_depth);

}  // namespace banyan::tiers
