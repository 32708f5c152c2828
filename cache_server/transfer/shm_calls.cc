#include "cache_server/transfer/shm_calls.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::transfer {
namespace {

using transport::ShmBlocksAnswer;
using transport::ShmBlocksQuestion;
using transport::ShmKind;

engine::Target TargetOf(const ShmBlocksQuestion& question) {
  return {.namespace_id = question.namespace_id,
          .salt = question.salt,
          .run = question.run,
          .quality = question.quality};
}

absl::Status BadRange(uint64_t end, uint32_t pieces) {
  return MakeError(
      absl::StatusCode::kOutOfRange, "RANGE",
      absl::StrCat("range: ends at piece ", end, ", block has ", pieces, "."));
}

uint32_t Milliseconds(absl::Duration duration) {
  return static_cast<uint32_t>(absl::ToInt64Milliseconds(duration));
}

}  // namespace

std::string ShmCalls::Answer(absl::string_view session_id,
                             absl::Span<const std::byte> question,
                             absl::Span<const std::byte> part,
                             size_t answer_bytes_max, Slot& slot,
                             Leases& leases, Patience& patience) const {
  auto answer = Dispatch(session_id, question, part, answer_bytes_max, slot,
                         leases, patience);
  if (answer.ok()) return *std::move(answer);
  if (ErrorReason(answer.status()) == "FRAME") {
    server::Add(store_.counters().shm_malformed);
  }
  return transport::EncodeError(answer.status());
}

absl::StatusOr<std::string> ShmCalls::Dispatch(
    absl::string_view session_id, absl::Span<const std::byte> question,
    absl::Span<const std::byte> part, size_t answer_bytes_max, Slot& slot,
    Leases& leases, Patience& patience) const {
  BANYAN_ASSIGN_OR_RETURN(const ShmKind kind, transport::KindOf(question));
  // These are about the blocks of the question before them.
  if (kind != ShmKind::kCheck && kind != ShmKind::kLayers) slot = {};
  switch (kind) {
    case ShmKind::kMatch: {
      BANYAN_ASSIGN_OR_RETURN(const auto blocks,
                              transport::ParseBlocks(question));
      BANYAN_ASSIGN_OR_RETURN(const uint32_t hits,
                              store_.Match(TargetOf(blocks)));
      return transport::EncodeCount(hits);
    }
    case ShmKind::kGet: {
      BANYAN_ASSIGN_OR_RETURN(const auto blocks,
                              transport::ParseBlocks(question));
      return Get(blocks, answer_bytes_max, slot);
    }
    case ShmKind::kLease: {
      BANYAN_ASSIGN_OR_RETURN(const auto blocks,
                              transport::ParseBlocks(question));
      return Lease(session_id, blocks, answer_bytes_max, slot, leases);
    }
    case ShmKind::kCheck: {
      BANYAN_ASSIGN_OR_RETURN(const auto check,
                              transport::ParseCheck(question));
      if (slot.layers != nullptr) return CheckLayers(check, *slot.layers);
      return Check(check, slot);
    }
    case ShmKind::kRenew:
    case ShmKind::kRelease: {
      BANYAN_ASSIGN_OR_RETURN(const auto lease,
                              transport::ParseLease(question));
      return RenewOrRelease(session_id, lease, leases);
    }
    case ShmKind::kPut: {
      BANYAN_ASSIGN_OR_RETURN(const auto put, transport::ParsePut(question));
      return Put(session_id, put, part);
    }
    case ShmKind::kOpenLayers:
    case ShmKind::kFollow: {
      BANYAN_ASSIGN_OR_RETURN(const auto blocks,
                              transport::ParseBlocks(question));
      return OpenLayers(session_id, blocks, slot);
    }
    case ShmKind::kLayers: {
      BANYAN_ASSIGN_OR_RETURN(const auto asked,
                              transport::ParseLayers(question));
      return Layers(asked, answer_bytes_max, slot, patience);
    }
    case ShmKind::kPutPieces: {
      BANYAN_ASSIGN_OR_RETURN(const auto put,
                              transport::ParsePutPieces(question));
      return PutPieces(session_id, put, part);
    }
  }
  return absl::InternalError("shm: a kind without an answer.");
}

absl::StatusOr<std::string> ShmCalls::Get(const ShmBlocksQuestion& question,
                                          size_t answer_bytes_max,
                                          Slot& slot) const {
  // What is on the SSD does not lie in the arena: gRPC brings it.
  BANYAN_ASSIGN_OR_RETURN(
      const lease::PinSet pins,
      store_.Read(TargetOf(question), engine::AcquireMode::kLongestPrefix,
                  engine::ColdReads::kDefer));
  ShmBlocksAnswer answer{.lease_ms = Milliseconds(options_.pin_ttl)};
  BANYAN_RETURN_IF_ERROR(AddBlocks(question, pins, answer_bytes_max, answer));
  if (!answer.blocks.empty()) {
    slot.pins = pins;
    slot.end = clock_.Now() + options_.pin_ttl;
  }
  return transport::EncodeBlocks(answer);
}

absl::StatusOr<std::string> ShmCalls::Lease(absl::string_view session_id,
                                            const ShmBlocksQuestion& question,
                                            size_t answer_bytes_max, Slot& slot,
                                            Leases& leases) const {
  if (leases.size() >= kLeasesMax) {
    return MakeError(absl::StatusCode::kResourceExhausted, "LEASES",
                     absl::StrCat("leases: ", leases.size(),
                                  " of this connection, the limit. Release "
                                  "some."));
  }
  BANYAN_ASSIGN_OR_RETURN(const auto granted,
                          store_.Acquire(session_id, 0, TargetOf(question),
                                         engine::AcquireMode::kLongestPrefix,
                                         absl::Milliseconds(question.ttl_ms),
                                         engine::ColdReads::kDefer));
  ShmBlocksAnswer answer{.lease_ms = Milliseconds(granted.ttl),
                         .lease_id = granted.lease_id};
  const absl::Status added =
      AddBlocks(question, granted.pins, answer_bytes_max, answer);
  if (!added.ok()) {
    store_.Release(session_id, {granted.lease_id});
    return added;
  }
  if (!granted.lease_id.empty()) {
    const absl::Duration now = clock_.Now();
    leases[granted.lease_id] = {.pins = granted.pins, .end = now + granted.ttl};
    // For a check of what the reader finds damaged.
    slot.pins = granted.pins;
    slot.end = now + std::min(granted.ttl, options_.pin_ttl);
  }
  return transport::EncodeBlocks(answer);
}

absl::Status ShmCalls::AddBlocks(const ShmBlocksQuestion& question,
                                 const lease::PinSet& pins,
                                 size_t answer_bytes_max,
                                 ShmBlocksAnswer& answer) const {
  answer.end = pins->size() < question.run.size()
                   ? transport::ShmEnd::kMiss
                   : transport::ShmEnd::kAnswered;
  size_t size = transport::kShmBlocksHeadBytes;
  uint64_t bytes = 0;
  for (const lease::PinnedBlock& block : *pins) {
    const BlockHeader& header = block.pin->header();
    const uint32_t pieces = header.piece_count();
    const uint64_t last = uint64_t{question.first_piece} + question.piece_count;
    if (question.first_piece >= pieces || last > pieces) {
      return BadRange(std::max<uint64_t>(last, question.first_piece + 1ull),
                      pieces);
    }
    const uint32_t count = question.piece_count == 0
                               ? pieces - question.first_piece
                               : question.piece_count;
    size += transport::BlockBytes(count);
    if (size > answer_bytes_max) {
      answer.end = transport::ShmEnd::kFull;
      break;
    }
    const auto first = header.pieces.begin() + question.first_piece;
    answer.blocks.push_back({.offset = host_.SlotOf(*block.pin).offset_bytes,
                             .payload_bytes = header.payload_bytes,
                             .piece_bytes = header.piece_bytes,
                             .generation = header.generation,
                             .checksums = {first, first + count}});
    bytes += std::min(header.payload_bytes, count * header.piece_bytes);
  }
  store_.CountRead(tiers::TierKind::kHost, answer.blocks.size(), bytes);
  return absl::OkStatus();
}

// The reader's word is a reason to look, not to believe.
absl::StatusOr<std::string> ShmCalls::Check(const transport::ShmCheck& check,
                                            const Slot& slot) const {
  if (slot.pins == nullptr || check.ordinal >= slot.pins->size()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "LEASE",
                     "check: this slot pins no such block.");
  }
  const lease::PinnedBlock& block = (*slot.pins)[check.ordinal];
  for (uint32_t i = 0; i < block.pin->header().piece_count(); ++i) {
    const absl::Status status = block.pin->ReadPiece(i).status();
    if (status.ok()) continue;
    store_.ReportCorrupt(block, status);
    return transport::EncodeCount(1);
  }
  return transport::EncodeCount(0);
}

absl::StatusOr<std::string> ShmCalls::RenewOrRelease(
    absl::string_view session_id, const transport::ShmLeaseQuestion& question,
    Leases& leases) const {
  const std::string lease_id(question.lease_id);
  if (question.kind == ShmKind::kRelease) {
    store_.Release(session_id, {lease_id});
    leases.erase(lease_id);
    return transport::EncodeCount(0);
  }
  absl::Duration ttl = absl::Milliseconds(question.ttl_ms);
  BANYAN_ASSIGN_OR_RETURN(const auto unknown,
                          store_.Renew(session_id, {lease_id}, ttl));
  if (!unknown.empty()) return transport::EncodeCount(0);
  const auto kept = leases.find(lease_id);
  if (kept != leases.end()) kept->second.end = clock_.Now() + ttl;
  return transport::EncodeCount(Milliseconds(ttl));
}

absl::StatusOr<std::string> ShmCalls::Put(
    absl::string_view session_id, const transport::ShmPut& put,
    absl::Span<const std::byte> part) const {
  absl::Status status = absl::OkStatus();
  if (put.bytes > part.size()) {
    status = MakeError(absl::StatusCode::kInvalidArgument, "LENGTH",
                       absl::StrCat("put: ", put.bytes, " bytes, a part has ",
                                    part.size(), "."));
  } else {
    const auto write = store_.FindWrite(session_id, put.write_id);
    status = write.status();
    // Copies first, then computes checksums over the copy.
    if (status.ok()) {
      status = (*write)->Write(put.ordinal, put.offset, part.first(put.bytes));
    }
  }
  if (!status.ok()) {
    store_.CountBadWrite(status);
    return status;
  }
  return transport::EncodeCount(0);
}

}  // namespace banyan::transfer
