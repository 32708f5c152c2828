#include "tiers/ssd/disk_health.h"

#include <bit>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/units.h"

namespace banyan::tiers {
namespace {

using Op = DiskHealth::Op;
using Trouble = DiskHealth::Trouble;

// What a disk in order does not need for a call, even when many are in flight.
constexpr absl::Duration kSlowCall = absl::Milliseconds(5);
constexpr absl::Duration kSlowMib = absl::Milliseconds(10);
constexpr absl::Duration kSlowSync = absl::Milliseconds(100);
// Of the last 32 calls: so many slow ones begin the trouble, fewer end it.
constexpr int kSlowCallsMin = 16;
constexpr int kSlowCallsOver = 8;
// Of what a message says of its cause, so that all of it has room.
constexpr size_t kCauseBytesMax = 100;
// Reads fail no more when none has for so long.
constexpr absl::Duration kReadErrorsOver = absl::Minutes(1);

absl::Duration SlowAfter(Op op, uint64_t bytes) {
  if (op != Op::kRead && op != Op::kWrite) return kSlowSync;
  return kSlowCall +
         kSlowMib * (static_cast<double>(bytes) / static_cast<double>(kMiB));
}

bool IsFull(const absl::Status& status) {
  return absl::IsResourceExhausted(status) &&
         (ErrorReason(status) == "ENOSPC" || ErrorReason(status) == "EDQUOT");
}

absl::string_view EndOf(Trouble trouble) {
  constexpr std::array<absl::string_view, DiskHealth::kTroubles.size()> kEnds =
      {"is written again", "answers again", "has space again",
       "has read without errors", "is as fast as it should be"};
  return kEnds[static_cast<size_t>(trouble)];
}

uint32_t BitOf(Op op) { return uint32_t{1} << static_cast<int>(op); }

std::string TimeOfDay() {
  return absl::FormatTime("%H:%M UTC", absl::Now(), absl::UTCTimeZone());
}

}  // namespace

absl::string_view DiskHealth::NameOf(Op op) {
  constexpr std::array<absl::string_view, kOpCount> kNames = {
      "read", "write", "sync", "create", "remove", "catalogue", "open"};
  return kNames[static_cast<size_t>(op)];
}

absl::string_view DiskHealth::NameOf(Trouble trouble) {
  constexpr std::array<absl::string_view, kTroubles.size()> kNames = {
      "read_only", "not_answering", "full", "read_errors", "slow"};
  return kNames[static_cast<size_t>(trouble)];
}

DiskHealth::Call::Call(Call&& other) noexcept
    : health_(std::exchange(other.health_, nullptr)), number_(other.number_) {}

DiskHealth::Call& DiskHealth::Call::operator=(Call&& other) noexcept {
  if (this == &other) return *this;
  End();
  health_ = std::exchange(other.health_, nullptr);
  number_ = other.number_;
  return *this;
}

void DiskHealth::Call::End() {
  if (health_ != nullptr) std::exchange(health_, nullptr)->EndCall(number_);
}

void DiskHealth::Call::GiveUp() {
  if (health_ != nullptr) health_->GiveUpCall(number_);
}

void DiskHealth::Change(const std::function<void()>& change) {
  std::vector<std::string> lines;
  {
    const MutexLock lock(mutex_);
    change();
    lines.swap(lines_);
  }
  for (const std::string& line : lines) {
    if (options_.log != nullptr) {
      options_.log(line);
    } else {
      std::fprintf(stderr, "banyan: %s\n", line.c_str());
    }
  }
}

DiskHealth::Call DiskHealth::Begin(Op op, absl::Duration limit,
                                   uint64_t bytes) {
  const absl::Duration now = options_.clock->Now();
  const MutexLock lock(mutex_);
  const uint64_t number = ++last_number_;
  out_[number] = {
      .op = op, .bytes = bytes, .begun = now, .deadline = now + limit};
  return Call(this, number);
}

void DiskHealth::EndCall(uint64_t number) {
  Change([this, number]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto found = out_.find(number);
    CountSpeed(found->second);
    out_.erase(found);
    Refresh();
  });
}

void DiskHealth::GiveUpCall(uint64_t number) {
  Change([this, number]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    SetOverdue(out_.at(number));
    Refresh();
  });
}

void DiskHealth::CountSpeed(const Out& out) {
  const auto op = static_cast<size_t>(out.op);
  const absl::Duration took = options_.clock->Now() - out.begun;
  const bool is_slow = took > SlowAfter(out.op, out.bytes);
  ++counters_.calls[op];
  if (is_slow) ++counters_.slow_calls[op];
  was_slow_ = was_slow_ << 1 | (is_slow ? 1 : 0);
  const int slow_count = std::popcount(was_slow_);
  if (slow_count >= kSlowCallsMin) {
    Enter(Trouble::kSlow,
          absl::StrCat(slow_count, " of the last 32 calls; a ", NameOf(out.op),
                       " took ", absl::ToInt64Milliseconds(took), " ms"));
  } else if (slow_count < kSlowCallsOver) {
    Leave(Trouble::kSlow);
  }
}

void DiskHealth::SetOverdue(Out& out) {
  if (std::exchange(out.is_overdue, true)) return;
  ++counters_.errors[{std::string(NameOf(out.op)), "ETIMEDOUT"}];
}

void DiskHealth::FindOverdue() {
  const absl::Duration now = options_.clock->Now();
  bool is_one_overdue = false;
  for (auto& [number, out] : out_) {
    if (now > out.deadline) SetOverdue(out);
    is_one_overdue |= out.is_overdue;
  }
  if (is_one_overdue) {
    Enter(Trouble::kNotAnswering, OverdueCalls());
  } else {
    Leave(Trouble::kNotAnswering);
  }
}

std::string DiskHealth::OverdueCalls() const {
  std::array<int, kOpCount> counts = {};
  for (const auto& [number, out] : out_) {
    if (out.is_overdue) ++counts[static_cast<size_t>(out.op)];
  }
  std::string text;
  for (size_t i = 0; i < kOpCount; ++i) {
    if (counts[i] == 0) continue;
    absl::StrAppend(&text, text.empty() ? "" : ", ", NameOf(Op(i)), " ",
                    counts[i]);
  }
  return text;
}

void DiskHealth::Refresh() {
  FindOverdue();
  if (options_.clock->Now() - last_read_error_ > kReadErrorsOver) {
    Leave(Trouble::kReadErrors);
  }
}

void DiskHealth::Enter(Trouble trouble, const std::string& cause) {
  State& state = At(trouble);
  state.cause = cause.substr(0, kCauseBytesMax);
  if (std::exchange(state.is_on, true)) return;
  state.since = TimeOfDay();
  state.begun = options_.clock->Now();
  lines_.push_back(Message(trouble));
}

void DiskHealth::Leave(Trouble trouble) {
  State& state = At(trouble);
  if (!std::exchange(state.is_on, false)) return;
  const absl::Duration lasted = options_.clock->Now() - state.begun;
  lines_.push_back(absl::StrCat(
      "ssd disk ", EndOf(trouble), ", after ",
      absl::FormatDuration(absl::Trunc(lasted, absl::Milliseconds(1))), "."));
}

std::string DiskHealth::Message(Trouble trouble) {
  const State& state = At(trouble);
  switch (trouble) {
    case Trouble::kReadOnly:
      return std::string(read_only_.message());
    case Trouble::kNotAnswering:
      return absl::StrCat("ssd disk not answering since ", state.since,
                          " (overdue: ", state.cause,
                          "). Its blocks are misses, durable puts refused; "
                          "memory is served. Check the disk; when it answers "
                          "the node goes on by itself.");
    case Trouble::kFull:
      return absl::StrCat("ssd disk full since ", state.since, " (",
                          state.cause,
                          "). Nothing new is stored on it, durable puts "
                          "refused; reads go on. Free disk space; the node "
                          "goes on by itself.");
    case Trouble::kReadErrors:
      return absl::StrCat("ssd disk: reads fail since ", state.since, " (",
                          state.cause,
                          "). A block that cannot be read twice is dropped, a "
                          "miss. Check the disk, replace it if they go on.");
    case Trouble::kSlow:
      return absl::StrCat("ssd disk slow since ", state.since, " (",
                          state.cause,
                          "). Its blocks come late or are misses; memory is "
                          "served. Check the disk and who else uses it.");
  }
  return "";
}

void DiskHealth::Note(Op op, const absl::Status& status) {
  Change([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (status.ok()) {
      full_ops_ &= ~BitOf(op);
      if (full_ops_ == 0) Leave(Trouble::kFull);
      return;
    }
    ++counters_.errors[{std::string(NameOf(op)), ErrorReason(status)}];
    if (IsFull(status)) {
      full_ops_ |= BitOf(op);
      Enter(Trouble::kFull,
            absl::StrCat(NameOf(op), ": ", std::string(status.message())));
    } else if (op == Op::kRead && absl::IsUnavailable(status)) {
      if (!At(Trouble::kReadErrors).is_on) read_error_count_ = 0;
      last_read_error_ = options_.clock->Now();
      Enter(Trouble::kReadErrors, absl::StrCat(++read_error_count_, ", last ",
                                               std::string(status.message())));
    }
  });
}

void DiskHealth::NoteReadOnly(const absl::Status& read_only) {
  Change([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!read_only_.ok()) return;
    read_only_ = read_only;
    Leave(Trouble::kFull);  // It will never be written again.
    full_ops_ = 0;
    Enter(Trouble::kReadOnly, "");
  });
}

bool DiskHealth::Answers() {
  bool answers = true;
  Change([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Refresh();
    answers = !At(Trouble::kNotAnswering).is_on;
  });
  return answers;
}

absl::Status DiskHealth::CanWrite() {
  absl::Status status;
  Change([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Refresh();
    status = read_only_;
    if (status.ok() && At(Trouble::kNotAnswering).is_on) {
      status = MakeError(absl::StatusCode::kUnavailable, "SSD_NOT_ANSWERING",
                         Message(Trouble::kNotAnswering));
    }
  });
  return status;
}

std::vector<DiskHealth::Problem> DiskHealth::Problems() {
  std::vector<Problem> problems;
  Change([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Refresh();
    for (const Trouble trouble : kTroubles) {
      if (!At(trouble).is_on) continue;
      problems.push_back({.trouble = trouble, .message = Message(trouble)});
    }
  });
  return problems;
}

DiskHealth::Counters DiskHealth::counters() const {
  const MutexLock lock(mutex_);
  return counters_;
}

}  // namespace banyan::tiers
