#include "cache_server/transfer/ucx_gets.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/units.h"

namespace banyan::transfer {
namespace {

using transport::UcxAnswer;
using transport::UcxBlock;
using transport::UcxBytes;
using transport::UcxLink;

// UCX sends one part after the other; it needs the next when one is gone.
constexpr uint64_t kHeldBytesMax = 4 * transport::kUcxBodyBytesMax;
// Parts at the end of a read: the client copies a part once all of it has come, and
// the last one when nothing else is left to do.
constexpr size_t kLastPartBytesMin = 64 * kKiB;
// Looked at in one step: a tenth of a millisecond.
constexpr size_t kCheckBytes = kMiB;
// Of one client at a time: it asks again when it reads the block again.
constexpr size_t kChecksMax = 4;
// The disk may take that part of a client's time; the rest is for the way.
constexpr double kDiskShare = 0.75;

Tier TierOf(tiers::TierKind tier) {
  return tier == tiers::TierKind::kSsd ? Tier::kSsd : Tier::kHost;
}

uint32_t PiecesEnd(const BlockHeader& header, uint32_t first, uint32_t count) {
  return count == 0 ? header.piece_count() : first + count;
}

// Of the rest of a piece; in whole KiB, which clients sum while they copy.
size_t PartBytes(size_t rest, bool is_last_piece) {
  if (!is_last_piece) return transport::kUcxBodyBytesMax;
  return std::clamp(rest / 2 / kKiB * kKiB, kLastPartBytesMin,
                    transport::kUcxBodyBytesMax);
}

}  // namespace

UcxGets::UcxGets(const UcxDoorOptions& limits, engine::BlockStore& store,
                 UcxColdReads& cold, const Clock& clock,
                 transport::UcxLinkPtr link)
    : limits_(limits),
      store_(store),
      cold_(cold),
      clock_(clock),
      link_(std::move(link)),
      held_(std::make_shared<Held>(clock)) {}

absl::Duration UcxGets::waiting_since() const {
  return held_->bytes == 0 ? absl::InfiniteDuration() : held_->since;
}

absl::Duration UcxGets::EndOf(const transport::UcxQuestion& question) const {
  return clock_.Now() + std::min(absl::Milliseconds(question.timeout_ms),
                                 limits_.read_time_max);
}

uint64_t UcxGets::PinnedBytes() const {
  uint64_t bytes = 0;
  for (const Get& get : gets_) bytes += get.pinned_bytes;
  return bytes;
}

absl::Status UcxGets::CheckLimits(
    const transport::UcxQuestion& question) const {
  if (question.run.size() > limits_.read_blocks_max) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "BLOCKS",
        absl::StrCat("get: ", question.run.size(), " blocks, limit ",
                     limits_.read_blocks_max, ". Ask for fewer at a time."));
  }
  if (gets_.size() < limits_.reads_max) return absl::OkStatus();
  return WithRetryDelay(
      MakeError(absl::StatusCode::kResourceExhausted, "READS",
                absl::StrCat("reads: ", gets_.size(),
                             " of this client are under way, the limit. "
                             "Retry.")),
      absl::Milliseconds(20));
}

void UcxGets::Begin(const transport::UcxQuestion& question) {
  if (question.kind == transport::UcxToNodeKind::kCheck) return Check(question);
  const absl::Status status = CheckLimits(question);
  if (!status.ok()) return Answer(question.call_id, status);
  const bool has_waiting =
      std::any_of(gets_.begin(), gets_.end(),
                  [](const Get& get) { return get.is_waiting; });
  gets_.push_back({.serial = ++last_serial_,
                   .call_id = question.call_id,
                   .end = EndOf(question),
                   .first_piece = question.first_piece,
                   .piece_count = question.piece_count});
  Get& get = gets_.back();
  if (!has_waiting && PinnedBytes() < limits_.pinned_bytes_max) {
    return Pin(get, question);
  }
  get.question = std::make_shared<OwnedQuestion>(question);
  get.is_waiting = true;
}

void UcxGets::BeginWaiting() {
  const auto get = std::find_if(gets_.begin(), gets_.end(),
                                [](const Get& at) { return at.is_waiting; });
  if (get == gets_.end() || PinnedBytes() >= limits_.pinned_bytes_max) return;
  get->is_waiting = false;
  const auto question = get->question;  // Outlives what becomes of the read.
  Pin(*get, question->get());
}

void UcxGets::Pin(Get& get, const transport::UcxQuestion& question) {
  const auto pins =
      store_.Read(TargetOf(question), engine::AcquireMode::kLongestPrefix,
                  engine::ColdReads::kDefer);
  if (engine::IsDeferred(pins.status())) return ReadCold(get, question);
  Pinned(get, pins);
}

// It is no read: nothing learns from it, and what is on the disk is looked at when it
// is read.
void UcxGets::Check(const transport::UcxQuestion& question) {
  const auto checks = std::count_if(
      gets_.begin(), gets_.end(), [](const Get& get) { return get.is_check; });
  if (static_cast<size_t>(checks) >= kChecksMax) {
    return Answer(
        question.call_id,
        MakeError(absl::StatusCode::kResourceExhausted, "READS",
                  absl::StrCat("checks: ", checks,
                               " of this client are under way, the limit.")));
  }
  gets_.push_back({.serial = ++last_serial_,
                   .call_id = question.call_id,
                   .end = EndOf(question),
                   .is_check = true,
                   .first_piece = question.first_piece,
                   .piece_count = question.piece_count});
  Pinned(gets_.back(),
         store_.Read(TargetOf(question), engine::AcquireMode::kEach,
                     engine::ColdReads::kSkip));
}

// Without waiting for the disk if too many do that already.
void UcxGets::ReadCold(Get& get, const transport::UcxQuestion& question) {
  const auto then = [self = weak_from_this(), serial = get.serial](
                        const absl::StatusOr<lease::PinSet>& pins) {
    const auto gets = self.lock();
    if (gets == nullptr) return;
    for (Get& waiting : gets->gets_) {
      if (waiting.serial == serial) return gets->ColdArrived(waiting, pins);
    }
  };
  if (get.question == nullptr) {
    get.question = std::make_shared<OwnedQuestion>(question);
  }
  const absl::Duration timeout = (get.end - clock_.Now()) * kDiskShare;
  if (cold_.Read(get.question, timeout, then)) return;
  Pinned(get,
         store_.Read(TargetOf(question), engine::AcquireMode::kLongestPrefix,
                     engine::ColdReads::kSkip));
}

// Of several that the disk was asked for at a time some may have to wait, although
// their blocks are in memory now: they are let go of.
void UcxGets::ColdArrived(Get& get, const absl::StatusOr<lease::PinSet>& pins) {
  if (pins.ok() && PinnedBytes() >= limits_.pinned_bytes_max) {
    get.is_waiting = true;
  } else {
    Pinned(get, pins);
  }
}

void UcxGets::Pinned(Get& get, const absl::StatusOr<lease::PinSet>& pins) {
  absl::Status status = pins.status();
  if (status.ok()) {
    get.blocks = **pins;
    status = CheckPieces(get);
  }
  if (status.ok()) {
    get.is_ready = true;
    get.question = nullptr;
    for (const lease::PinnedBlock& block : get.blocks) {
      get.pinned_bytes += block.pin->header().payload_bytes;
    }
    return;
  }
  Answer(get.call_id, status);
  gets_.remove_if(
      [serial = get.serial](const Get& at) { return at.serial == serial; });
}

absl::Status UcxGets::CheckPieces(const Get& get) const {
  for (const lease::PinnedBlock& block : get.blocks) {
    const uint32_t count = block.pin->header().piece_count();
    const uint64_t end = uint64_t{get.first_piece} + get.piece_count;
    if (get.first_piece < count && end <= count) continue;
    return MakeError(
        absl::StatusCode::kOutOfRange, "RANGE",
        absl::StrCat("range: ends at piece ",
                     std::max<uint64_t>(end, get.first_piece + uint64_t{1}),
                     ", block has ", count, "."));
  }
  return absl::OkStatus();
}

void UcxGets::Answer(uint64_t call_id, const absl::Status& status) {
  const UcxAnswer answer{.call_id = call_id, .status = status};
  link_->SendOwn(EncodeUcx(answer), UcxBodyOf(answer));
}

void UcxGets::Cancel(uint64_t call_id) {
  gets_.remove_if([&](const Get& get) { return get.call_id == call_id; });
}

void UcxGets::DropOverdue() {
  const absl::Duration now = clock_.Now();
  for (auto get = gets_.begin(); get != gets_.end();) {
    if (now < get->end) {
      ++get;
      continue;
    }
    if (!get->is_check) server::Add(store_.counters().ucx_overdue);
    Answer(get->call_id,
           MakeError(absl::StatusCode::kDeadlineExceeded, "DEADLINE",
                     "deadline passed while blocks were being sent."));
    get = gets_.erase(get);
  }
}

bool UcxGets::Step() {
  if (!link_->is_open()) return false;
  BeginWaiting();
  auto get = gets_.end();
  if (held_->bytes < kHeldBytesMax) {
    get = std::find_if(gets_.begin(), gets_.end(), [](const Get& at) {
      return at.is_ready && !at.is_check;
    });
  }
  if (get == gets_.end()) {  // Time for what nobody waits for.
    get = std::find_if(gets_.begin(), gets_.end(), [](const Get& at) {
      return at.is_ready && at.is_check;
    });
  }
  if (get == gets_.end()) return false;
  if (get->next == get->blocks.size()) {
    Finish(get);
    return true;
  }
  const size_t block = get->next;
  Advance(*get);
  // Blocks of all reads take turns.
  if (get->next != block) gets_.splice(gets_.end(), gets_, get);
  return true;
}

void UcxGets::Advance(Get& get) {
  if (get.check.has_value()) {
    if (get.check->Step(kCheckBytes)) OnChecked(get);
  } else if (get.rest.empty()) {
    BeginPiece(get);
  } else {
    SendPart(get);
  }
}

void UcxGets::BeginPiece(Get& get) {
  const lease::PinnedBlock& block = get.blocks[get.next];
  get.piece = std::max(get.piece, get.first_piece);
  if (get.is_check || block.tier != tiers::TierKind::kHost) {
    get.check.emplace(block.pin, get.piece);
  } else {
    SendPiece(get, block.pin->PieceForVerifier(get.piece));
  }
}

void UcxGets::OnChecked(Get& get) {
  const lease::PinnedBlock& block = get.blocks[get.next];
  const auto checked = get.check->Finish();
  get.check.reset();
  if (!checked.ok()) {
    store_.ReportCorrupt(block, checked.status());
    get.damaged.push_back(block.ordinal);
    NextBlock(get);
  } else if (get.is_check) {
    NextPiece(get);
  } else {
    SendPiece(get, checked->bytes());
  }
}

void UcxGets::SendPiece(Get& get, absl::Span<const std::byte> bytes) {
  get.rest = bytes;
  if (get.has_sent_head) return;
  get.has_sent_head = true;
  const lease::PinnedBlock& block = get.blocks[get.next];
  const BlockHeader& header = block.pin->header();
  const UcxBlock head{
      .call_id = get.call_id,
      .ordinal = block.ordinal,
      .tier = TierOf(block.tier),
      .payload_bytes = header.payload_bytes,
      .piece_bytes = header.piece_bytes,
      .generation = header.generation,
      .checksums = {header.pieces.begin() + get.first_piece,
                    header.pieces.begin() +
                        PiecesEnd(header, get.first_piece, get.piece_count)}};
  link_->SendOwn(EncodeUcx(head), UcxBodyOf(head));
}

void UcxGets::SendPart(Get& get) {
  const lease::PinnedBlock& block = get.blocks[get.next];
  const BlockHeader& header = block.pin->header();
  const bool is_last_piece =
      get.next + 1 == get.blocks.size() &&
      get.piece + 1 == PiecesEnd(header, get.first_piece, get.piece_count);
  const auto part =
      get.rest.subspan(0, PartBytes(get.rest.size(), is_last_piece));
  const uint64_t piece_bytes = header.PieceSize(get.piece);
  if (held_->bytes == 0) held_->since = clock_.Now();
  held_->bytes += part.size();
  link_->Send(EncodeUcx(UcxBytes{.call_id = get.call_id,
                                 .ordinal = block.ordinal,
                                 .offset = header.PieceOffset(get.piece) +
                                           piece_bytes - get.rest.size()}),
              part, block.pin, held_);
  get.rest.remove_prefix(part.size());
  if (!get.rest.empty()) return;
  store_.CountRead(block.tier, 0, piece_bytes);
  NextPiece(get);
}

void UcxGets::NextPiece(Get& get) {
  const lease::PinnedBlock& block = get.blocks[get.next];
  const uint32_t end =
      PiecesEnd(block.pin->header(), get.first_piece, get.piece_count);
  if (++get.piece < end) return;
  if (!get.is_check) store_.CountRead(block.tier, 1, 0);
  NextBlock(get);
}

void UcxGets::NextBlock(Get& get) {
  auto& pin = get.blocks[get.next].pin;
  get.pinned_bytes -= pin->header().payload_bytes;
  pin = nullptr;  // But for what is on its way.
  ++get.next;
  get.piece = 0;
  get.has_sent_head = false;
}

void UcxGets::Finish(std::list<Get>::iterator get) {
  const UcxAnswer answer{.call_id = get->call_id,
                         .blocks = static_cast<uint32_t>(get->blocks.size()),
                         .damaged = std::move(get->damaged)};
  link_->SendOwn(EncodeUcx(answer), UcxBodyOf(answer));
  gets_.erase(get);
}

}  // namespace banyan::transfer
