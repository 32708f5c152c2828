#include "client/transport/shm_transport.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/block_header.h"
#include "base/check.h"
#include "base/copy_checksum.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "client/transport/key_runs.h"
#include "client/transport/shm_questions.h"
#include "client/transport/shm_slot_hold.h"

namespace banyan::transport {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

// How often a waiting caller looks whether the node still lives.
constexpr milliseconds kLookInterval{5};
// Looks for the answer so long before it sleeps: waking a processor that sleeps
// takes as long. Whoever else wants this one gets it meanwhile.
constexpr std::chrono::microseconds kSpin{60};
// A question names at most so many blocks, so that pins are held for no longer
// than it takes to copy them.
constexpr size_t kBlocksPerQuestion = 512;
constexpr uint64_t kPopulateStepBytes = 16 * kMiB;

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

// Without a reason, as all that the node did not say itself.
absl::Status Gone() {
  return absl::UnavailableError("shm: the node has left. Treat as a miss.");
}

// As many leading keys as a question has room for.
absl::StatusOr<KeyRun> FittingArea(const KeyRun& run, size_t salt_bytes,
                                   size_t keys_max) {
  return Fitting(run, kShmAreaBytes - QuestionBytes({}) - salt_bytes, keys_max);
}

absl::Status CheckTtl(milliseconds ttl) {
  if (ttl.count() > 0 && ttl.count() <= UINT32_MAX) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kInvalidArgument, "TTL",
      absl::StrCat("ttl: ", ttl.count(), " ms; give more than 0."));
}

size_t PieceBytesOf(const OutgoingBlock& block) {
  return block.piece_bytes == 0
             ? block.payload.size()
             : std::min<size_t>(block.piece_bytes, block.payload.size());
}

}  // namespace

absl::StatusOr<std::unique_ptr<ShmTransport>> ShmTransport::Connect(
    const Options& options) {
  BANYAN_ASSIGN_OR_RETURN(ShmDoorway doorway,
                          ComeIn(options.ticket, options.timeout));
  const ShmWelcome& welcome = doorway.welcome;
  BANYAN_ASSIGN_OR_RETURN(
      ShmMapping channel,
      ShmMapping::Map(doorway.channel.get(), welcome.channel_bytes,
                      ShmMapping::Access::kReadWrite));
  BANYAN_ASSIGN_OR_RETURN(
      ShmMapping window,
      ShmMapping::Map(doorway.window.get(), welcome.window_bytes,
                      ShmMapping::Access::kReadWrite));
  BANYAN_ASSIGN_OR_RETURN(
      ShmMapping arena,
      ShmMapping::Map(doorway.arena.get(), welcome.arena_bytes,
                      ShmMapping::Access::kRead));
  return std::unique_ptr<ShmTransport>(new ShmTransport(
      options, doorway.socket.release(), welcome, std::move(channel),
      std::move(window), std::move(arena)));
}

ShmTransport::ShmTransport(const Options& options, int socket,
                           const ShmWelcome& welcome, ShmMapping channel,
                           ShmMapping window, ShmMapping arena)
    : options_(options),
      socket_(socket),
      group_blocks_(std::max(1u, welcome.group_blocks)),
      channel_memory_(std::move(channel)),
      window_(std::move(window)),
      arena_(std::move(arena)) {
  // Of memory that is not there yet, reading would take some.
  if (!welcome.is_prefaulted) return;
  try {
    populate_ = std::jthread(
        [this](const std::stop_token& stop) { PopulateArena(stop); });
  } catch (const std::system_error&) {
    // No thread to be had: the first look at each page takes longer.
  }
}

ShmTransport::~ShmTransport() {
  populate_ = {};
  close(socket_);
}

// A first look at each page costs as much as copying it.
void ShmTransport::PopulateArena(const std::stop_token& stop) {
  const auto bytes = arena_.bytes();
  for (uint64_t at = 0; at < bytes.size() && !stop.stop_requested();
       at += kPopulateStepBytes) {
    madvise(bytes.data() + at, std::min(kPopulateStepBytes, bytes.size() - at),
            MADV_POPULATE_READ);
  }
}

bool ShmTransport::is_alive() {
  if (is_dead_) return false;
  // The node says nothing after its welcome: whatever happens here is its end.
  pollfd polled{.fd = socket_, .events = POLLIN | POLLRDHUP};
  if (poll(&polled, 1, 0) > 0) is_dead_ = true;
  return !is_dead_;
}

absl::Status ShmTransport::CheckCall(const Call& call) const {
  if (call.cancel.stop_requested()) {
    return MakeError(absl::StatusCode::kCancelled, "CANCELLED",
                     "call: cancelled by its caller.");
  }
  if (SteadyClock::now() >= call.deadline) {
    return absl::DeadlineExceededError(
        "shm: no answer within the deadline. Treat as a miss.");
  }
  if (is_dead_) return Gone();
  return absl::OkStatus();
}

// ------------------------------------------------------------------- slots ---

bool ShmTransport::TryTakeSlot(uint32_t& slot) {
  const ShmChannel channel(channel_memory_.bytes());
  MutexLock lock(mutex_);
  for (uint32_t i = 0; i < kShmSlots; ++i) {
    if (states_[i] == SlotState::kAbandoned &&
        LoadWord(channel.slot(i).answered) == asked_[i]) {
      Reclaim(i);
    }
    if (states_[i] != SlotState::kFree) continue;
    states_[i] = SlotState::kTaken;
    slot = i;
    return true;
  }
  return false;
}

absl::StatusOr<uint32_t> ShmTransport::TakeSlot(const Call& call) {
  uint32_t slot = 0;
  while (true) {
    BANYAN_RETURN_IF_ERROR(CheckCall(call));
    if (TryTakeSlot(slot)) return slot;
    if (!is_alive()) return Gone();
    MutexLock lock(mutex_);
    slot_freed_.WaitFor(mutex_, absl::FromChrono(kLookInterval));
  }
}

void ShmTransport::ReturnSlot(uint32_t slot) {
  const ShmChannel channel(channel_memory_.bytes());
  StoreWord(channel.slot(slot).released, asked_[slot]);
  {
    MutexLock lock(mutex_);
    states_[slot] = SlotState::kFree;
  }
  slot_freed_.NotifyOne();
}

void ShmTransport::Reclaim(uint32_t slot) {
  std::string owed = std::exchange(owed_[slot], {});
  if (std::exchange(may_grant_[slot], false)) {
    const auto answer = ParseBlocksAnswer(CopyAnswer(slot));
    if (answer.ok()) owed = answer->lease_id;
  }
  if (!owed.empty()) return Post(slot, ReleaseOf(owed));
  const ShmChannel channel(channel_memory_.bytes());
  StoreWord(channel.slot(slot).released, asked_[slot]);
  states_[slot] = SlotState::kFree;
}

void ShmTransport::AbandonSlot(uint32_t slot) {
  MutexLock lock(mutex_);
  states_[slot] = SlotState::kAbandoned;
}

void ShmTransport::Post(
    uint32_t slot, size_t bytes,
    const std::function<void(absl::Span<std::byte>)>& encode) {
  BANYAN_CHECK(bytes <= kShmAreaBytes);
  const ShmChannel channel(channel_memory_.bytes());
  const auto area = channel.question(slot).first(bytes);
  encode(absl::MakeSpan(area.data(), area.size()));
  ShmSlotWords& words = channel.slot(slot);
  StoreWord(words.question_bytes, static_cast<uint32_t>(bytes));
  StoreWord(words.asked, ++asked_[slot]);
  std::atomic_ref(channel.doorbell()).fetch_add(1);
  if (LoadWord(channel.is_sleeping()) != 0) FutexWake(channel.doorbell());
}

void ShmTransport::Post(uint32_t slot, const std::string& question) {
  Post(slot, question.size(), [&](absl::Span<std::byte> area) {
    std::memcpy(area.data(), question.data(), question.size());
  });
}

absl::StatusOr<std::vector<std::byte>> ShmTransport::Await(uint32_t slot,
                                                           const Call& call) {
  const ShmChannel channel(channel_memory_.bytes());
  ShmSlotWords& words = channel.slot(slot);
  const uint32_t wanted = asked_[slot];
  const auto spin_end = SteadyClock::now() + kSpin;
  while (LoadWord(words.answered) != wanted && SteadyClock::now() < spin_end) {
    sched_yield();
  }
  while (LoadWord(words.answered) != wanted) {
    BANYAN_RETURN_IF_ERROR(CheckCall(call));
    StoreWord(words.is_waiting, 1);
    const uint32_t seen = LoadWord(words.answered);
    if (seen != wanted) {
      FutexWait(words.answered, seen,
                std::min<std::chrono::nanoseconds>(
                    kLookInterval, std::max<std::chrono::nanoseconds>(
                                       call.deadline - SteadyClock::now(),
                                       std::chrono::microseconds(1))));
    }
    StoreWord(words.is_waiting, 0);
    if (LoadWord(words.answered) == wanted) break;
    if (!is_alive()) return Gone();
  }
  return CopyAnswer(slot);
}

std::vector<std::byte> ShmTransport::CopyAnswer(uint32_t slot) const {
  const ShmChannel channel(channel_memory_.bytes());
  const size_t size = std::min<size_t>(
      LoadWord(channel.slot(slot).answer_bytes), kShmAreaBytes);
  const auto area = channel.answer(slot).first(size);
  return {area.begin(), area.end()};
}

// -------------------------------------------------------------------- match ---

absl::StatusOr<uint32_t> ShmTransport::Match(const Blocks& blocks,
                                             const Call& call) {
  BANYAN_RETURN_IF_ERROR(CheckKeys(blocks));
  BANYAN_ASSIGN_OR_RETURN(const uint32_t slot, TakeSlot(call));
  SlotHold hold(*this, slot);
  size_t hits = 0;
  while (hits < blocks.run.size()) {
    std::string lead;
    BANYAN_ASSIGN_OR_RETURN(
        const KeyRun run,
        FittingArea(Advance(blocks.run, hits, group_blocks_, lead),
                    blocks.salt.size(), blocks.run.size()));
    hold.Post(QuestionOf(ShmKind::kMatch, blocks, run));
    BANYAN_ASSIGN_OR_RETURN(const auto answer, hold.Await(call));
    BANYAN_ASSIGN_OR_RETURN(const uint32_t found, ParseCount(answer));
    if (found > run.size())
      return ShmBrokeProtocol("more blocks than it was asked for");
    hits += found;
    if (found < run.size()) break;
  }
  return static_cast<uint32_t>(hits);
}

// ---------------------------------------------------------------------- get ---

absl::Status ShmTransport::Get(const GetRequest& request, const Call& call,
                               GetResult& result) {
  result = {.blocks = std::vector<BlockRead>(request.buffers.size())};
  BANYAN_RETURN_IF_ERROR(CheckKeys(request.blocks));
  const std::vector<uint64_t> seeds = ChecksumSeeds(request.blocks);
  size_t next = 0;
  bool is_over = false;
  while (!is_over && next < request.buffers.size()) {
    BANYAN_RETURN_IF_ERROR(
        GetSome(request, seeds, call, next, is_over, result));
  }
  return absl::OkStatus();
}

absl::Status ShmTransport::GetSome(const GetRequest& request,
                                   const std::vector<uint64_t>& seeds,
                                   const Call& call, size_t& next,
                                   bool& is_over, GetResult& result) {
  BANYAN_ASSIGN_OR_RETURN(const uint32_t slot, TakeSlot(call));
  SlotHold hold(*this, slot);
  std::string lead;
  BANYAN_ASSIGN_OR_RETURN(
      const KeyRun run,
      FittingArea(Advance(request.blocks.run, next, group_blocks_, lead),
                  request.blocks.salt.size(), kBlocksPerQuestion));
  ShmBlocksQuestion question = QuestionOf(ShmKind::kGet, request.blocks, run);
  question.quality = request.quality;
  question.first_piece = request.pieces.first;
  question.piece_count = request.pieces.count;
  // The lease counts from before the question: the node's end is later.
  const auto asked = SteadyClock::now();
  hold.Post(question);
  BANYAN_ASSIGN_OR_RETURN(const auto bytes, hold.Await(call));
  const auto parsed = ParseBlocksAnswer(bytes);
  if (ErrorReason(parsed.status()) == "FRAME") {
    ++result.found.broken_frame;
    return ShmBrokeProtocol("a broken answer");
  }
  BANYAN_RETURN_IF_ERROR(parsed.status());
  const ShmBlocksAnswer& answer = *parsed;
  if (answer.blocks.size() > run.size() ||
      (answer.blocks.empty() && answer.end != ShmEnd::kMiss)) {
    ++result.found.broken_order;
    return ShmBrokeProtocol("other blocks than it was asked for");
  }
  const auto end = asked + milliseconds(answer.lease_ms);
  std::vector<uint32_t> damaged;
  for (uint32_t i = 0; i < answer.blocks.size(); ++i) {
    const size_t ordinal = next + i;
    BANYAN_RETURN_IF_ERROR(CopyBlock(request, call, ordinal, seeds[ordinal],
                                     answer.blocks[i], result));
    if (SteadyClock::now() >= end) {
      result.blocks[ordinal] = {};
      return MakeError(absl::StatusCode::kAborted, "LEASE",
                       "shm: copying took longer than the blocks were pinned "
                       "for. Treat as a miss.");
    }
    const bool is_hit = result.blocks[ordinal].result == ReadResult::kHit;
    if (is_hit) ++result.found.hit_blocks;
    if (!is_hit) damaged.push_back(i);
  }
  next += answer.blocks.size();
  is_over = answer.end == ShmEnd::kMiss;
  for (const uint32_t i : damaged) {
    hold.Post(EncodeQuestion(ShmCheck{.ordinal = i}));
    BANYAN_RETURN_IF_ERROR(hold.Await(call).status());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::span<const std::byte>> ShmTransport::InArena(
    const ShmBlock& block) const {
  const auto arena = arena_.bytes();
  if (block.offset > arena.size() ||
      block.payload_bytes > arena.size() - block.offset) {
    return ShmBrokeProtocol("a place outside its arena");
  }
  return arena.subspan(block.offset, block.payload_bytes);
}

absl::Status ShmTransport::CopyBlock(const GetRequest& request,
                                     const Call& call, size_t ordinal,
                                     uint64_t seed, const ShmBlock& block,
                                     GetResult& result) const {
  const auto buffer = request.buffers[ordinal];
  if (block.payload_bytes > buffer.size()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "BUFFER",
                     absl::StrCat("buffers[", ordinal, "]: ", buffer.size(),
                                  " bytes, block has ", block.payload_bytes,
                                  ". Give a larger one."));
  }
  if (!HasPieces(block, request.pieces.first, request.pieces.count)) {
    ++result.found.broken_order;
    return ShmBrokeProtocol("other pieces than it was asked for");
  }
  BANYAN_ASSIGN_OR_RETURN(const auto source, InArena(block));
  BlockRead& read = result.blocks[ordinal];
  for (const Checksum128& want : block.checksums) {
    BANYAN_RETURN_IF_ERROR(CheckCall(call));
    const uint32_t piece = request.pieces.first + read.landed_pieces;
    const uint64_t begin = piece * block.piece_bytes;
    const uint64_t size =
        std::min(block.piece_bytes, block.payload_bytes - begin);
    const auto from = absl::MakeConstSpan(source.data() + begin, size);
    std::byte* const to = buffer.data() + begin;
    if (options_.verification == Verification::kOffForBench) {
      std::memcpy(to, from.data(), size);
    } else if (CopyPiece(seed, piece, from, to) != want) {
      read.result = ReadResult::kCorrupt;
      ++result.found.corrupt_checksum;
      return absl::OkStatus();
    }
    ++read.landed_pieces;
    if (request.sink != nullptr) {
      request.sink->OnPiece(static_cast<uint32_t>(ordinal), piece);
    }
  }
  read.result = ReadResult::kHit;
  read.payload_bytes = block.payload_bytes;
  return absl::OkStatus();
}

// -------------------------------------------------------------------- lease ---

absl::StatusOr<ShmTransport::Leased> ShmTransport::Lease(
    const Blocks& blocks, milliseconds ttl, ViewCheck check, const Call& call,
    ClientStats& found, QualityFloor quality) {
  BANYAN_RETURN_IF_ERROR(CheckKeys(blocks));
  BANYAN_RETURN_IF_ERROR(CheckTtl(ttl));
  BANYAN_ASSIGN_OR_RETURN(
      const KeyRun run,
      FittingArea(blocks.run, blocks.salt.size(), blocks.run.size()));
  BANYAN_ASSIGN_OR_RETURN(const uint32_t slot, TakeSlot(call));
  SlotHold hold(*this, slot);
  ShmBlocksQuestion question = QuestionOf(ShmKind::kLease, blocks, run);
  question.ttl_ms = static_cast<uint32_t>(ttl.count());
  question.quality = quality;
  const auto asked = SteadyClock::now();
  hold.Post(question);
  BANYAN_ASSIGN_OR_RETURN(const auto bytes, hold.Await(call));
  BANYAN_ASSIGN_OR_RETURN(const auto answer, ParseBlocksAnswer(bytes));
  auto viewed = ViewBlocks(blocks, answer, check, call, hold, found);
  if (viewed.ok() && !viewed->empty()) {
    return Leased{.lease_id = answer.lease_id,
                  .end = asked + milliseconds(answer.lease_ms),
                  .blocks = *std::move(viewed)};
  }
  if (!answer.lease_id.empty()) hold.GiveBack(answer.lease_id);
  BANYAN_RETURN_IF_ERROR(viewed.status());
  return Leased();
}

absl::StatusOr<std::vector<std::span<const std::byte>>>
ShmTransport::ViewBlocks(const Blocks& blocks, const ShmBlocksAnswer& answer,
                         ViewCheck check, const Call& call, SlotHold& hold,
                         ClientStats& found) const {
  if (answer.blocks.size() > blocks.run.size() ||
      (!answer.blocks.empty() && answer.lease_id.empty())) {
    return ShmBrokeProtocol("more blocks than it was asked for, or no lease");
  }
  std::vector<std::span<const std::byte>> viewed;
  const bool is_checked = check == ViewCheck::kNow;
  const std::vector<uint64_t> seeds =
      is_checked ? ChecksumSeeds(blocks) : std::vector<uint64_t>();
  for (uint32_t i = 0; i < answer.blocks.size(); ++i) {
    BANYAN_RETURN_IF_ERROR(CheckCall(call));
    BANYAN_ASSIGN_OR_RETURN(const auto payload, InArena(answer.blocks[i]));
    bool is_right = true;
    if (is_checked) {
      BANYAN_ASSIGN_OR_RETURN(
          is_right, IsIntact(answer.blocks[i], seeds[i], payload, call));
    }
    if (!is_right) {
      ++found.corrupt_checksum;
      hold.Post(EncodeQuestion(ShmCheck{.ordinal = i}));
      BANYAN_RETURN_IF_ERROR(hold.Await(call).status());
      break;
    }
    viewed.push_back(payload);
  }
  found.hit_blocks += viewed.size();
  return viewed;
}

absl::StatusOr<bool> ShmTransport::IsIntact(const ShmBlock& block,
                                            uint64_t seed,
                                            std::span<const std::byte> payload,
                                            const Call& call) const {
  if (!HasPieces(block, 0, 0)) return false;
  for (uint32_t piece = 0; piece < block.checksums.size(); ++piece) {
    BANYAN_RETURN_IF_ERROR(CheckCall(call));
    const auto bytes = absl::MakeConstSpan(payload).subspan(
        piece * block.piece_bytes, block.piece_bytes);
    if (PieceChecksum(seed, piece, bytes) != block.checksums[piece]) {
      return false;
    }
  }
  return true;
}

absl::StatusOr<SteadyClock::time_point> ShmTransport::Renew(
    const std::string& lease_id, milliseconds ttl, const Call& call) {
  BANYAN_RETURN_IF_ERROR(CheckTtl(ttl));
  BANYAN_ASSIGN_OR_RETURN(const uint32_t slot, TakeSlot(call));
  SlotHold hold(*this, slot);
  const auto asked = SteadyClock::now();
  hold.Post(EncodeQuestion(
      ShmLeaseQuestion{.kind = ShmKind::kRenew,
                       .ttl_ms = static_cast<uint32_t>(ttl.count()),
                       .lease_id = lease_id}));
  BANYAN_ASSIGN_OR_RETURN(const auto answer, hold.Await(call));
  BANYAN_ASSIGN_OR_RETURN(const uint32_t ttl_ms, ParseCount(answer));
  if (ttl_ms > 0) return asked + milliseconds(ttl_ms);
  return MakeError(absl::StatusCode::kFailedPrecondition, "LEASE",
                   "lease: has ended. Start from the lookup.");
}

absl::Status ShmTransport::Release(const std::string& lease_id,
                                   const Call& call) {
  BANYAN_ASSIGN_OR_RETURN(const uint32_t slot, TakeSlot(call));
  SlotHold hold(*this, slot);
  hold.Post(ReleaseOf(lease_id));
  BANYAN_ASSIGN_OR_RETURN(const auto answer, hold.Await(call));
  return ParseCount(answer).status();
}

// ---------------------------------------------------------------------- put ---

// Two slots, if there are two: while the node copies out of the part of one, the
// caller copies into that of the other. Questions go out one after the other, so
// that the bytes of a block arrive in order.
class ShmTransport::PutPipeline {
 public:
  PutPipeline(ShmTransport& transport, uint32_t slot, const Call& call)
      : transport_(transport), call_(call) {
    holds_[0].emplace(transport, slot);
    uint32_t second = 0;
    if (transport.TryTakeSlot(second)) holds_[1].emplace(transport, second);
  }

  // Sends bytes of the block from `at` on: whole pieces if a part holds one, and
  // adds their checksums to `packed`; else what a part holds. Moves `at`.
  absl::Status Send(std::string_view write_id, const OutgoingBlock& block,
                    size_t& at, std::string& packed) {
    SlotHold& hold = NextHold();
    BANYAN_RETURN_IF_ERROR(Await(hold));
    const size_t size = Fill(hold.slot(), block, at, packed);
    BANYAN_RETURN_IF_ERROR(AwaitAll());
    BANYAN_RETURN_IF_ERROR(transport_.CheckCall(call_));
    hold.Post(
        EncodeQuestion(ShmPut{.write_id = {write_id.data(), write_id.size()},
                              .ordinal = block.ordinal,
                              .offset = at,
                              .bytes = size}));
    at += size;
    return absl::OkStatus();
  }

  absl::Status AwaitAll() {
    BANYAN_RETURN_IF_ERROR(Await(*holds_[0]));
    return holds_[1].has_value() ? Await(*holds_[1]) : absl::OkStatus();
  }

 private:
  SlotHold& NextHold() {
    is_second_ = !is_second_;
    return holds_[1].has_value() && is_second_ ? *holds_[1] : *holds_[0];
  }

  // Copies into the slot's part; returns how much. The node reads it at once.
  size_t Fill(uint32_t slot, const OutgoingBlock& block, size_t at,
              std::string& packed) {
    const auto part =
        transport_.window_.bytes().subspan(slot * kShmPartBytes, kShmPartBytes);
    const auto rest = block.payload.subspan(at);
    const size_t piece_bytes = PieceBytesOf(block);
    if (piece_bytes > part.size()) {
      const size_t size = std::min(rest.size(), part.size());
      std::memcpy(part.data(), rest.data(), size);
      return size;
    }
    size_t size = 0;
    while (size < rest.size() && size + piece_bytes <= part.size()) {
      const size_t bytes = std::min(piece_bytes, rest.size() - size);
      const auto piece = static_cast<uint32_t>((at + size) / piece_bytes);
      std::byte sum[kChecksumBytes];
      StoreChecksum(
          CopyPieceCached(block.checksum_seed, piece,
                          absl::MakeConstSpan(rest.data() + size, bytes),
                          part.data() + size),
          sum);
      packed.append(reinterpret_cast<const char*>(sum), sizeof(sum));
      size += bytes;
    }
    return size;
  }

  absl::Status Await(SlotHold& hold) {
    if (!hold.is_open()) return absl::OkStatus();
    BANYAN_ASSIGN_OR_RETURN(const auto answer, hold.Await(call_));
    return ParseCount(answer).status();
  }

  ShmTransport& transport_;
  const Call& call_;
  std::array<std::optional<SlotHold>, 2> holds_;
  bool is_second_ = false;
};

absl::Status ShmTransport::Put(const PutRequest& request, const Call& call,
                               SentChecksums& sent) {
  sent.clear();
  BANYAN_ASSIGN_OR_RETURN(const uint32_t slot, TakeSlot(call));
  PutPipeline pipeline(*this, slot, call);
  for (const OutgoingBlock& block : request.blocks) {
    std::string packed;
    for (size_t at = 0; at < block.payload.size();) {
      BANYAN_RETURN_IF_ERROR(
          pipeline.Send(request.write_id, block, at, packed));
    }
    // Of pieces larger than a part, only now.
    sent.push_back(packed.empty()
                       ? PackedChecksums(block.checksum_seed, block.payload,
                                         block.piece_bytes)
                       : std::move(packed));
  }
  return pipeline.AwaitAll();
}

}  // namespace banyan::transport
