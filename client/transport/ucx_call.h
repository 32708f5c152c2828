// A call that waits for what the node sends: the thread of the caller sleeps in
// Wait, the thread of UCX brings news.
//
// Invariant: once Wait has returned, for whatever reason, news change nothing,
//            least of all the caller's buffers: what is late is dropped.
// Method:    no lock is held while bytes are copied and summed. Whoever copies says
//            so first and looks then whether the call is over; whoever ends the call
//            says that first and looks then whether somebody copies: of two who do so
//            at once one sees the other (Dekker). Wait returns when nobody copies any
//            more, which takes as long as a part of 512 KiB at most.
// Threads:   thread-safe. On... is called by the thread of UCX, of which there is one
//            at a time, Wait by one other.
#pragma once

#include <atomic>
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
  // The connection is lost, or the node said what is no message.
  enum class Cause : uint8_t { kLost, kBroken };
  void OnFailure(const absl::Status& status, Cause cause = Cause::kLost);

  // The status of the answer, or why there is none.
  absl::Status Wait(const Call& call);

  // True if it tells the caller something before it ends, in Wait.
  virtual bool has_news() const { return false; }
  bool has_ended() const { return is_over_; }

  // What was answered. After Wait.
  const UcxAnswer& answer() const { return answer_; }
  // True if the node may still be at it. After Wait.
  bool is_left() const { return is_left_; }

 protected:
  // From BeginUse to EndUse Wait does not return, so that what the caller gave may be
  // used, without a lock. False: the call is over, and there is nothing to end. By the
  // thread of UCX.
  bool BeginUse();
  void EndUse();

  // We end it, unless it is over: the node is told nothing of that here.
  void Leave(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Notify() { changed_.NotifyAll(); }

  // What came, for subclasses to look at before the call is over.
  virtual absl::Status Check(const UcxAnswer& answer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return answer.status;
  }
  // Before it ends of Cause::kBroken.
  virtual void OnBroken() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {}
  // Tells the caller what has landed, on its thread. False: nothing new.
  virtual bool TellNews() { return false; }

  mutable Mutex mutex_;

 private:
  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  CondVar changed_;
  std::atomic<bool> is_over_{false};  // Set under the lock.
  std::atomic<bool> is_in_use_{false};
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
  // In use, by the thread of UCX.
  absl::Status Begin(const UcxBlock& block);
  absl::Status Take(const UcxBytes& bytes, absl::Span<const std::byte> payload);
  void BeginPiece();
  void EndPiece();
  absl::Status BadOrder(absl::string_view what);
  void TellLanded();

  void LeaveIfBad(const absl::Status& status);
  absl::Status Check(const UcxAnswer& answer) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnBroken() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ++found_.broken_frame;
  }
  bool TellNews() override;

  std::span<std::byte> buffer() const {
    return request_.buffers[first_ + head_.ordinal];
  }

  const GetRequest& request_;
  const absl::Span<const uint64_t> seeds_;
  const size_t first_;
  const Verification verification_;
  // Written while the call is in use, or under the lock before it is over; read once
  // it is over and not in use.
  std::vector<BlockRead> blocks_;
  ClientStats found_;
  std::vector<uint32_t> refuted_;

  // Of the block that is arriving; of the thread of UCX.
  bool is_arriving_ = false;
  size_t next_ordinal_ = 0;  // Lowest to come.
  UcxBlock head_;
  bool is_intact_ = false;  // So far.
  uint32_t piece_ = 0;
  uint32_t end_piece_ = 0;
  uint64_t at_ = 0;            // Where the next byte goes.
  uint64_t piece_end_ = 0;     // Where the piece ends.
  PartedCopy copy_ = {{}, 0};  // Of the piece.
  std::vector<std::pair<uint32_t, uint32_t>> landed_
      ABSL_GUARDED_BY(mutex_);  // Not told to the sink.
};

}  // namespace banyan::transport
