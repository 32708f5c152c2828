// A call that waits for what the node sends: the thread of the caller sleeps in
// Wait, the thread of UCX brings news.
//
// Invariant: once Wait has returned, for whatever reason, news change nothing,
//            least of all the caller's buffers: what is late is dropped.
// Threads:   thread-safe. On... is called by the thread of UCX, Wait by one other.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "base/copy_checksum.h"
#include "base/mutex.h"
#include "client/transport/transport.h"
#include "client/transport/ucx_messages.h"

namespace banyan::transport {

// kCancelled or kDeadlineExceeded if the caller has no time left.
absl::Status CheckUcxCall(const Call& call);

// The node sent what it must not.
absl::Status UcxProtocolError(absl::string_view what);

// A question with one answer.
class UcxCall {
 public:
  virtual ~UcxCall() = default;

  virtual void OnBlock(const UcxBlock& block);
  virtual void OnBytes(const UcxBytes& bytes,
                       absl::Span<const std::byte> payload);
  void OnAnswer(const UcxAnswer& answer);
  // The connection is lost, or the like.
  void OnFailure(const absl::Status& status);

  // The status of the answer, or why there is none.
  absl::Status Wait(const Call& call);

  // True if it tells the caller something before it ends, in Wait.
  virtual bool has_news() const { return false; }
  bool has_ended() const {
    MutexLock lock(mutex_);
    return is_over_;
  }

  // What was answered. After Wait.
  const UcxAnswer& answer() const { return answer_; }
  // True if the node may still be at it. After Wait.
  bool is_left() const { return is_left_; }

 protected:
  bool is_over() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return is_over_;
  }
  // We end it: the node is told nothing of that here.
  void Leave(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Notify() { changed_.NotifyAll(); }

  // What came, for subclasses to look at before the call is over.
  virtual absl::Status Check(const UcxAnswer& answer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return answer.status;
  }
  // Tells the caller what has landed, on its thread. False: nothing new.
  virtual bool TellNews() { return false; }

  mutable Mutex mutex_;

 private:
  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  CondVar changed_;
  bool is_over_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  UcxAnswer answer_;  // Written before is_over_, read after it.
  bool is_left_ = false;
};

// A get of consecutive blocks. Bytes are copied to where they belong when they
// come, and summed on the way.
class UcxGetCall final : public UcxCall {
 public:
  // Of blocks [first, first + count) of the request, which outlives Wait.
  UcxGetCall(const GetRequest& request, absl::Span<const uint64_t> seeds,
             size_t first, size_t count, Verification verification);

  void OnBlock(const UcxBlock& block) override;
  void OnBytes(const UcxBytes& bytes,
               absl::Span<const std::byte> payload) override;
  bool has_news() const override { return request_.sink != nullptr; }

  // Of the blocks of this call. After Wait.
  const std::vector<BlockRead>& blocks() const { return blocks_; }
  const ClientStats& found() const { return found_; }
  // Blocks that came and did not check out, by rising ordinal.
  const std::vector<uint32_t>& refuted() const { return refuted_; }

 private:
  absl::Status Begin(const UcxBlock& block)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Take(const UcxBytes& bytes, absl::Span<const std::byte> payload)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void BeginPiece() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndPiece() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status BadOrder(absl::string_view what)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Check(const UcxAnswer& answer) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool TellNews() override;

  std::span<std::byte> buffer() const {
    return request_.buffers[first_ + head_.ordinal];
  }

  const GetRequest& request_;
  const absl::Span<const uint64_t> seeds_;
  const size_t first_;
  const Verification verification_;
  std::vector<BlockRead> blocks_;  // Written before is_over(), read after it.
  ClientStats found_;              // Likewise.
  std::vector<uint32_t> refuted_;

  // Of the block that is arriving.
  bool is_arriving_ ABSL_GUARDED_BY(mutex_) = false;
  size_t next_ordinal_ ABSL_GUARDED_BY(mutex_) = 0;  // Lowest to come.
  UcxBlock head_;
  bool is_intact_ ABSL_GUARDED_BY(mutex_) = false;  // So far.
  uint32_t piece_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t end_piece_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t at_ ABSL_GUARDED_BY(mutex_) = 0;         // Where the next byte goes.
  uint64_t piece_end_ ABSL_GUARDED_BY(mutex_) = 0;  // Where the piece ends.
  PartedCopy copy_ ABSL_GUARDED_BY(mutex_){{}, 0};  // Of the piece.
  std::vector<std::pair<uint32_t, uint32_t>> landed_
      ABSL_GUARDED_BY(mutex_);  // Not told to the sink.
};

}  // namespace banyan::transport
