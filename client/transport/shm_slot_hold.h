// The slot of one call of a ShmTransport, from the first question to the last
// answer.
//
// Threads: one.
#pragma once

#include <string>
#include <vector>

#include "client/transport/shm_questions.h"
#include "client/transport/shm_transport.h"

namespace banyan::transport {

// A slot as long as the hold lives; abandoned with it if its question is open.
class ShmTransport::SlotHold {
 public:
  SlotHold(ShmTransport& transport, uint32_t slot)
      : transport_(transport), slot_(slot) {}
  ~SlotHold() {
    if (is_open_) {
      transport_.AbandonSlot(slot_);
    } else {
      transport_.ReturnSlot(slot_);
    }
  }
  SlotHold(const SlotHold&) = delete;
  SlotHold& operator=(const SlotHold&) = delete;

  uint32_t slot() const { return slot_; }
  bool is_open() const { return is_open_; }

  void Post(const std::string& question) {
    is_open_ = true;
    transport_.may_grant_[slot_] = false;
    transport_.Post(slot_, question);
  }
  void Post(const ShmBlocksQuestion& question) {
    is_open_ = true;
    transport_.may_grant_[slot_] = question.kind == ShmKind::kLease;
    transport_.Post(
        slot_, QuestionBytes(question),
        [&](absl::Span<std::byte> area) { EncodeQuestion(question, area); });
  }
  // A lease, without waiting for the answer: once the slot is free for that.
  void GiveBack(const std::string& lease_id) {
    if (is_open_) {
      transport_.owed_[slot_] = lease_id;
    } else {
      Post(ReleaseOf(lease_id));
    }
  }
  absl::StatusOr<std::vector<std::byte>> Await(const Call& call) {
    auto answer = transport_.Await(slot_, call);
    is_open_ = !answer.ok();
    return answer;
  }

 private:
  ShmTransport& transport_;
  const uint32_t slot_;
  bool is_open_ = false;  // Asked, not answered.
};

}  // namespace banyan::transport
