#include "client/transport/ucx_call.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "absl/strings/str_cat.h"
#include "base/block_header.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::transport {

using SteadyClock = std::chrono::steady_clock;

absl::Status CheckUcxCall(const Call& call) {
  if (call.cancel.stop_requested()) {
    return MakeError(absl::StatusCode::kCancelled, "CANCELLED",
                     "call: cancelled by its caller.");
  }
  if (SteadyClock::now() >= call.deadline) {
    return absl::DeadlineExceededError(
        "ucx: no answer within the deadline. Treat as a miss.");
  }
  return absl::OkStatus();
}

absl::Status UcxProtocolError(absl::string_view what) {
  return MakeError(absl::StatusCode::kInternal, "PROTOCOL",
                   absl::StrCat("ucx: the node sent ", what,
                                ". Treat as a miss; check both versions."));
}

// -------------------------------------------------------------------- call ---

void UcxCall::OnBlock(const UcxBlock&) {
  OnFailure(UcxProtocolError("a block that nobody asked for"));
}

void UcxCall::OnBytes(const UcxBytes&, absl::Span<const std::byte>) {
  OnFailure(UcxProtocolError("bytes that nobody asked for"));
}

void UcxCall::OnAnswer(const UcxAnswer& answer) {
  MutexLock lock(mutex_);
  if (is_over_) return;
  answer_ = answer;
  End(Check(answer));
}

void UcxCall::OnFailure(const absl::Status& status, Cause cause) {
  MutexLock lock(mutex_);
  if (is_over_) return;
  if (cause == Cause::kBroken) OnBroken();
  End(status);
}

bool UcxCall::BeginUse() {
  is_in_use_ = true;  // First this, then a look: see above.
  if (!is_over_) return true;
  EndUse();
  return false;
}

void UcxCall::EndUse() {
  is_in_use_ = false;
  if (!is_over_) return;
  MutexLock lock(mutex_);  // Wait may be waiting for that.
  Notify();
}

void UcxCall::End(const absl::Status& status) {
  is_over_ = true;
  status_ = status;
  Notify();
}

void UcxCall::Leave(const absl::Status& status) {
  if (is_over_) return;
  is_left_ = true;
  End(status);
}

absl::Status UcxCall::Wait(const Call& call) {
  const std::stop_callback<std::function<void()>> wake(call.cancel, [this] {
    MutexLock lock(mutex_);
    Notify();
  });
  bool is_last_look = false;
  while (true) {
    const bool has_told = TellNews();
    MutexLock lock(mutex_);
    if (is_last_look) return status_;
    // What came before the end is told, too.
    is_last_look = is_over_ && !is_in_use_;
    if (has_told || is_last_look) continue;
    if (is_over_) {
      changed_.Wait(mutex_);  // For EndUse.
      continue;
    }
    const absl::Status has_time = CheckUcxCall(call);
    if (!has_time.ok()) {
      Leave(has_time);
      continue;
    }
    changed_.WaitFor(mutex_,
                     absl::FromChrono(call.deadline - SteadyClock::now()) +
                         absl::Milliseconds(1));
  }
}

// --------------------------------------------------------------------- get ---

UcxGetCall::UcxGetCall(const GetRequest& request,
                       absl::Span<const uint64_t> seeds, size_t first,
                       size_t count, Verification verification)
    : request_(request),
      seeds_(seeds),
      first_(first),
      verification_(verification),
      blocks_(count) {}

absl::Status UcxGetCall::BadOrder(absl::string_view what) {
  ++found_.broken_order;
  return UcxProtocolError(what);
}

void UcxGetCall::OnBlock(const UcxBlock& block) {
  if (!BeginUse()) return;
  const absl::Status status = Begin(block);
  EndUse();
  LeaveIfBad(status);
}

void UcxGetCall::OnBytes(const UcxBytes& bytes,
                         absl::Span<const std::byte> payload) {
  if (!BeginUse()) return;
  const absl::Status status = Take(bytes, payload);
  EndUse();
  LeaveIfBad(status);
}

void UcxGetCall::LeaveIfBad(const absl::Status& status) {
  if (status.ok()) return;
  MutexLock lock(mutex_);
  Leave(status);
}

absl::Status UcxGetCall::Begin(const UcxBlock& block) {
  if (block.ordinal >= blocks_.size() || block.ordinal < next_ordinal_) {
    return BadOrder("a block twice, or a foreign one");
  }
  // What it found damaged halfway it leaves; its answer will say so.
  is_arriving_ = true;
  next_ordinal_ = block.ordinal + size_t{1};
  head_ = block;
  const size_t room = buffer().size();
  if (block.payload_bytes > room) {
    return MakeError(absl::StatusCode::kInvalidArgument, "BUFFER",
                     absl::StrCat("buffers[", first_ + block.ordinal,
                                  "]: ", room, " bytes, block has ",
                                  block.payload_bytes, ". Give a larger one."));
  }
  const uint32_t pieces = PieceCount(block.payload_bytes, block.piece_bytes);
  const PieceRange& range = request_.pieces;
  const uint64_t end = uint64_t{range.first} + block.checksums.size();
  const bool is_whole =
      range.count == 0 ? end == pieces : block.checksums.size() == range.count;
  if (pieces == 0 || block.checksums.empty() || end > pieces || !is_whole) {
    return BadOrder("other pieces than it was asked for");
  }
  is_intact_ = true;
  piece_ = range.first;
  end_piece_ = static_cast<uint32_t>(end);
  BeginPiece();
  return absl::OkStatus();
}

void UcxGetCall::BeginPiece() {
  at_ = piece_ * head_.piece_bytes;
  piece_end_ = std::min(head_.payload_bytes, at_ + head_.piece_bytes);
  const auto to = buffer().subspan(at_, piece_end_ - at_);
  copy_ = PartedCopy(absl::MakeSpan(to.data(), to.size()),
                     PieceSeed(seeds_[first_ + head_.ordinal], piece_));
}

absl::Status UcxGetCall::Take(const UcxBytes& bytes,
                              absl::Span<const std::byte> payload) {
  if (!is_arriving_ || bytes.ordinal != head_.ordinal || bytes.offset != at_ ||
      payload.empty() || payload.size() > piece_end_ - at_) {
    return BadOrder("bytes out of place");
  }
  // Of a block that is damaged nobody needs the rest.
  if (is_intact_) copy_.Add(payload);
  at_ += payload.size();
  if (at_ == piece_end_) EndPiece();
  return absl::OkStatus();
}

void UcxGetCall::EndPiece() {
  BlockRead& read = blocks_[head_.ordinal];
  is_intact_ = is_intact_ &&
               (verification_ == Verification::kOffForBench ||
                copy_.Sum() == head_.checksums[piece_ - request_.pieces.first]);
  if (is_intact_) {
    ++read.landed_pieces;
    if (request_.sink != nullptr) TellLanded();
  }
  if (++piece_ < end_piece_) return BeginPiece();
  is_arriving_ = false;
  if (is_intact_) {
    read.result = ReadResult::kHit;
    read.payload_bytes = head_.payload_bytes;
    read.tier = head_.tier;
    ++found_.hit_blocks;
  } else {
    read.result = ReadResult::kCorrupt;
    ++found_.corrupt_checksum;
    refuted_.push_back(head_.ordinal);
  }
}

void UcxGetCall::TellLanded() {
  MutexLock lock(mutex_);
  landed_.emplace_back(first_ + head_.ordinal, piece_);
  Notify();
}

// Every block that the node says it had is here, or damaged.
absl::Status UcxGetCall::Check(const UcxAnswer& answer) {
  if (!answer.status.ok()) return answer.status;
  for (const uint32_t ordinal : answer.damaged) {
    if (ordinal >= blocks_.size() ||
        blocks_[ordinal].result == ReadResult::kHit) {
      return BadOrder("another block as damaged");
    }
    if (blocks_[ordinal].result == ReadResult::kCorrupt) continue;
    blocks_[ordinal].result = ReadResult::kCorrupt;
    ++found_.corrupt_server;
  }
  if (answer.blocks > blocks_.size()) {
    return BadOrder("more blocks than it was asked for");
  }
  for (uint32_t i = 0; i < answer.blocks; ++i) {
    if (blocks_[i].result != ReadResult::kMiss) continue;
    blocks_[i].result = ReadResult::kCorrupt;
    ++found_.corrupt_length;
  }
  return absl::OkStatus();
}

bool UcxGetCall::TellNews() {
  if (request_.sink == nullptr) return false;
  std::vector<std::pair<uint32_t, uint32_t>> landed;
  {
    MutexLock lock(mutex_);
    landed.swap(landed_);
  }
  for (const auto& [ordinal, piece] : landed) {
    request_.sink->OnPiece(ordinal, piece);
  }
  return !landed.empty();
}

}  // namespace banyan::transport
