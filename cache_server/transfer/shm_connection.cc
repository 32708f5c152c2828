#include "cache_server/transfer/shm_connection.h"

#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::transfer {
namespace {

using std::chrono::milliseconds;
using transport::kShmSlots;
using transport::LoadWord;
using transport::ShmChannel;
using transport::ShmMapping;
using transport::StoreWord;

// How long it sleeps before it looks at what nobody rings for: released blocks
// while there are any, and the session.
constexpr milliseconds kPinnedNap{10};
constexpr milliseconds kIdleNap{100};
// A client that asked the last question so soon after an answer may do so again:
// that long it is not slept. Whoever else wants the processor gets it meanwhile.
constexpr std::chrono::microseconds kSpin{60};

}  // namespace

class ShmConnection::Bell final : public engine::BlockWatcher {
 public:
  explicit Bell(std::span<std::byte> channel) : channel_(channel) {}

  // From here on it rings no more.
  void Silence() {
    MutexLock lock(mutex_);
    channel_ = {};
  }

  // True if it rang since the last time.
  bool TakeRing() { return has_rung_.exchange(false); }
  bool has_rung() const { return has_rung_; }

  void OnGrowth() override {
    has_rung_ = true;
    MutexLock lock(mutex_);  // The memory stays while we ring.
    if (channel_.empty()) return;
    const ShmChannel channel(channel_);
    std::atomic_ref(channel.doorbell()).fetch_add(1);
    if (LoadWord(channel.is_sleeping()) != 0) {
      transport::FutexWake(channel.doorbell());
    }
  }

 private:
  std::atomic<bool> has_rung_{false};
  Mutex mutex_;
  std::span<std::byte> channel_ ABSL_GUARDED_BY(mutex_);
};

absl::StatusOr<std::unique_ptr<ShmConnection>> ShmConnection::Open(
    const ShmCalls& calls, std::string session_id) {
  BANYAN_ASSIGN_OR_RETURN(const int channel_fd,
                          transport::MakeSealedMemory(
                              "banyan-channel", transport::kShmChannelBytes));
  const auto window_fd =
      transport::MakeSealedMemory("banyan-window", transport::kShmWindowBytes);
  if (!window_fd.ok()) {
    close(channel_fd);
    return window_fd.status();
  }
  std::unique_ptr<ShmConnection> connection(
      new ShmConnection(calls, std::move(session_id), channel_fd, *window_fd));
  BANYAN_ASSIGN_OR_RETURN(
      connection->channel_memory_,
      ShmMapping::Map(channel_fd, transport::kShmChannelBytes,
                      ShmMapping::Access::kReadWrite));
  BANYAN_ASSIGN_OR_RETURN(
      connection->window_,
      ShmMapping::Map(*window_fd, transport::kShmWindowBytes,
                      ShmMapping::Access::kRead));
  connection->bell_ =
      std::make_shared<Bell>(connection->channel_memory_.bytes());
  return connection;
}

ShmConnection::ShmConnection(const ShmCalls& calls, std::string session_id,
                             int channel_fd, int window_fd)
    : calls_(calls),
      session_id_(std::move(session_id)),
      channel_fd_(channel_fd),
      window_fd_(window_fd),
      question_(transport::kShmAreaBytes) {}

ShmConnection::~ShmConnection() {
  is_closing_ = true;
  if (thread_.joinable()) {
    const ShmChannel channel(channel_memory_.bytes());
    std::atomic_ref(channel.doorbell()).fetch_add(1);
    transport::FutexWake(channel.doorbell());
    thread_.join();
  }
  if (bell_ != nullptr) bell_->Silence();
  CloseDescriptors();
}

void ShmConnection::CloseDescriptors() {
  if (channel_fd_ >= 0) close(channel_fd_);
  if (window_fd_ >= 0) close(window_fd_);
  channel_fd_ = -1;
  window_fd_ = -1;
}

absl::Status ShmConnection::Start(int socket) {
  socket_ = socket;
  try {
    thread_ = std::thread([this] { Run(); });
  } catch (const std::system_error& error) {
    return MakeError(absl::StatusCode::kResourceExhausted, "THREADS",
                     absl::StrCat("shm: no thread for a client (", error.what(),
                                  "). Use gRPC."));
  }
  return absl::OkStatus();
}

void ShmConnection::Run() {
  const ShmChannel channel(channel_memory_.bytes());
  auto next_look = std::chrono::steady_clock::now();
  auto answered = next_look - kIdleNap;
  auto asked = next_look;  // At the latest.
  bool is_chatty = false;
  while (!is_closing_) {
    const uint32_t bell = LoadWord(channel.doorbell());
    const bool has_answered = AnswerAsked();
    const bool has_pins = DropPins();
    if (std::chrono::steady_clock::now() >= next_look) {
      next_look = std::chrono::steady_clock::now() + kIdleNap;
      if (!calls_.store().IsSessionOpen(session_id_)) break;
      DropOverdueLeases();
    }
    if (has_answered) {
      const auto before = answered;
      answered = std::chrono::steady_clock::now();
      is_chatty = asked - before < kSpin;
      continue;
    }
    if (is_chatty && std::chrono::steady_clock::now() - answered < kSpin) {
      sched_yield();
      asked = std::chrono::steady_clock::now();
      continue;
    }
    StoreWord(channel.is_sleeping(), 1);
    if (!IsAnyAsked() && !is_closing_) {
      transport::FutexWait(channel.doorbell(), bell, TimeToNap(has_pins));
    }
    StoreWord(channel.is_sleeping(), 0);
    asked = std::chrono::steady_clock::now();
  }
  // First the client can know that what it reads is no longer what it was, then
  // it no longer is.
  shutdown(socket_, SHUT_RDWR);
  for (ShmCalls::Slot& slot : slots_) slot = {};
  leases_.clear();
  has_ended_ = true;
}

// Asked, and not one that waits in vain as yet.
bool ShmConnection::IsDue(uint32_t i) const {
  const ShmChannel channel(channel_memory_.bytes());
  if (LoadWord(channel.slot(i).asked) == answered_[i]) return false;
  const Waiting& waiting = waiting_[i];
  return !waiting.is_waiting || std::chrono::steady_clock::now() >= waiting.end;
}

// A client may take back, or replace, what it asked: then nothing waits, and
// nothing is kept or looked for on its behalf.
void ShmConnection::ForgetTakenBack(uint32_t i) {
  if (!waiting_[i].is_waiting) return;
  const ShmChannel channel(channel_memory_.bytes());
  if (LoadWord(channel.slot(i).asked) != waiting_[i].asked) waiting_[i] = {};
}

bool ShmConnection::IsAnyAsked() const {
  if (bell_->has_rung()) return true;
  for (uint32_t i = 0; i < kShmSlots; ++i) {
    if (IsDue(i)) return true;
  }
  return false;
}

std::chrono::nanoseconds ShmConnection::TimeToNap(bool has_pins) const {
  std::chrono::nanoseconds nap = has_pins ? kPinnedNap : kIdleNap;
  const auto now = std::chrono::steady_clock::now();
  for (const Waiting& waiting : waiting_) {
    if (!waiting.is_waiting) continue;
    nap = std::clamp<std::chrono::nanoseconds>(waiting.end - now,
                                               milliseconds(0), nap);
  }
  return nap;
}

bool ShmConnection::AnswerAsked() {
  const bool has_rung = bell_->TakeRing();
  bool has_answered = false;
  for (uint32_t i = 0; i < kShmSlots && !is_closing_; ++i) {
    ForgetTakenBack(i);
    if (!IsDue(i) && !(has_rung && waiting_[i].is_waiting)) continue;
    has_answered = AnswerSlot(i) || has_answered;
  }
  return has_answered;
}

bool ShmConnection::AnswerSlot(uint32_t i) {
  const ShmChannel channel(channel_memory_.bytes());
  transport::ShmSlotWords& words = channel.slot(i);
  const uint32_t asked = LoadWord(words.asked);
  const bool has_waited = waiting_[i].is_waiting && waiting_[i].asked == asked;
  const auto now = std::chrono::steady_clock::now();
  ShmCalls::Patience patience;
  if (!has_waited || now < waiting_[i].end) patience.watcher = bell_;
  // From here on the client's word does not count: what was copied does.
  const size_t size = std::min<size_t>(LoadWord(words.question_bytes),
                                       transport::kShmAreaBytes);
  std::memcpy(question_.data(), channel.question(i).data(), size);
  const auto part = window_.bytes().subspan(i * transport::kShmPartBytes,
                                            transport::kShmPartBytes);
  const std::string answer =
      calls_.Answer(session_id_, absl::MakeConstSpan(question_.data(), size),
                    absl::MakeConstSpan(part.data(), part.size()),
                    transport::kShmAreaBytes, slots_[i], leases_, patience);
  if (answer.empty()) {
    if (!has_waited) {
      waiting_[i] = {.is_waiting = true,
                     .asked = asked,
                     .end = now + absl::ToChronoNanoseconds(patience.wait)};
    }
    return false;
  }
  waiting_[i] = {};
  answered_[i] = asked;
  std::memcpy(channel.answer(i).data(), answer.data(), answer.size());
  StoreWord(words.answer_bytes, static_cast<uint32_t>(answer.size()));
  StoreWord(words.answered, answered_[i]);
  if (LoadWord(words.is_waiting) != 0) transport::FutexWake(words.answered);
  return true;
}

bool ShmConnection::DropPins() {
  const ShmChannel channel(channel_memory_.bytes());
  bool has_pins = false;
  for (uint32_t i = 0; i < kShmSlots; ++i) {
    ShmCalls::Slot& slot = slots_[i];
    if (slot.is_empty()) continue;
    // A question that waits keeps its blocks, as one that is being answered.
    if (waiting_[i].is_waiting) {
      has_pins = true;
      continue;
    }
    if (LoadWord(channel.slot(i).released) == answered_[i] ||
        calls_.clock().Now() >= slot.end) {
      slot = {};
    } else {
      has_pins = true;
    }
  }
  return has_pins;
}

void ShmConnection::DropOverdueLeases() {
  const absl::Duration now = calls_.clock().Now();
  absl::erase_if(leases_,
                 [&](const auto& entry) { return now >= entry.second.end; });
}

}  // namespace banyan::transfer
