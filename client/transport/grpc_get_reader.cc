#include "client/transport/grpc_get_reader.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/block_header.h"
#include "base/error.h"
#include "client/transport/grpc_frames.h"

namespace banyan::transport {
namespace {

namespace pb = banyan::v1;

}  // namespace

GrpcGetReader::GrpcGetReader(const GetRequest& request,
                             Verification verification, GetResult& result)
    : request_(request),
      verification_(verification),
      seeds_(ChecksumSeeds(request.blocks)),
      result_(result),
      is_answered_(request.buffers.size()) {
  result_ = {.blocks = std::vector<BlockRead>(request.buffers.size())};
}

grpc::Status GrpcGetReader::Read(grpc::Channel& channel,
                                 grpc::ClientContext& context,
                                 const pb::GetBlocksRequest& message) {
  const grpc::Status status =
      AskForFrames("/banyan.v1.Cache/GetBlocks", channel, context, message,
                   *this, result_.found);
  if (status.ok()) CountAnswers();
  return status;
}

absl::Status GrpcGetReader::BadFrame(absl::string_view what) {
  return BrokenFrame(what, result_.found);
}

absl::Status GrpcGetReader::BadOrder(absl::string_view what) {
  return BrokenOrder(what, result_.found);
}

// Every key asked for gets an answer, a miss too.
void GrpcGetReader::CountAnswers() {
  for (size_t i = 0; i < is_answered_.size(); ++i) {
    if (!is_answered_[i]) ++result_.found.unanswered;
    if (result_.blocks[i].result == ReadResult::kHit) {
      ++result_.found.hit_blocks;
    }
  }
}

absl::Status GrpcGetReader::OnBytes(uint32_t field, absl::string_view bytes) {
  const int size = static_cast<int>(bytes.size());
  if (field == kGetHeads) {
    pb::BlockHead head;
    if (!head.ParseFromArray(bytes.data(), size)) return BadFrame("a bad head");
    return OnHead(head);
  }
  if (field == kGetDone) {
    pb::BlockDone done;
    if (!done.ParseFromArray(bytes.data(), size)) {
      return BadFrame("a bad end of a block");
    }
    return OnDone(done);
  }
  return absl::OkStatus();
}

absl::Status GrpcGetReader::OnHead(const pb::BlockHead& head) {
  if (is_arriving_) return BadOrder("a block inside another");
  if (head.ordinal() >= request_.buffers.size()) {
    return BadOrder("a foreign block");
  }
  // Its buffer must not change any more once it counts as a hit.
  if (is_answered_[head.ordinal()]) return BadOrder("a block twice");
  const size_t room = request_.buffers[head.ordinal()].size();
  if (head.payload_bytes() > room) {
    return MakeError(absl::StatusCode::kInvalidArgument, "BUFFER",
                     absl::StrCat("buffers[", head.ordinal(), "]: ", room,
                                  " bytes, block has ", head.payload_bytes(),
                                  ". Give a larger one."));
  }
  return BeginBlock(head);
}

absl::Status GrpcGetReader::BeginBlock(const pb::BlockHead& head) {
  const uint32_t i = head.ordinal();
  const uint32_t pieces = PieceCount(head.payload_bytes(), head.piece_bytes());
  const auto begin = [&](uint64_t piece_bytes, uint32_t first, uint64_t end) {
    const auto payload = request_.buffers[i].first(head.payload_bytes());
    pieces_ = ArrivingPieces(absl::MakeSpan(payload.data(), payload.size()),
                             piece_bytes, first, end, seeds_[i], verification_);
  };
  if (pieces == 0) {
    // Sizes that do not agree tell nothing of where the pieces end: its bytes
    // are no hit.
    is_intact_ = false;
    begin(std::max<uint64_t>(head.payload_bytes(), 1), 0, head.payload_bytes());
  } else {
    const PieceRange& range = request_.pieces;
    if (range.first >= pieces || range.count > pieces - range.first) {
      return BadOrder("a block without the pieces that were asked for");
    }
    const uint64_t last = range.count == 0 ? pieces : range.first + range.count;
    is_intact_ = head.checksums().size() == size_t{pieces} * kChecksumBytes;
    begin(head.piece_bytes(), range.first,
          std::min(head.payload_bytes(), last * head.piece_bytes()));
  }
  head_ = head;
  is_good_enough_ = IsGoodEnough(request_.quality, head);
  is_intact_ = is_intact_ && is_good_enough_;
  is_arriving_ = true;
  return absl::OkStatus();
}

absl::Status GrpcGetReader::OnData(uint32_t ordinal, uint64_t offset,
                                   absl::Span<const std::byte> data) {
  if (!is_arriving_ || ordinal != head_.ordinal() || offset != pieces_.at() ||
      data.size() > pieces_.left_bytes()) {
    return BadOrder("bytes out of place");
  }
  while (pieces_.Take(data)) LandPiece();
  return absl::OkStatus();
}

// One that is complete.
void GrpcGetReader::LandPiece() {
  if (!is_intact_) return;
  const uint32_t piece = pieces_.piece();
  is_intact_ = pieces_.IsIntact(LoadChecksum(reinterpret_cast<const std::byte*>(
      head_.checksums().data() + size_t{piece} * kChecksumBytes)));
  if (!is_intact_) return;
  ++result_.blocks[head_.ordinal()].landed_pieces;
  if (request_.sink != nullptr) request_.sink->OnPiece(head_.ordinal(), piece);
}

absl::Status GrpcGetReader::OnDone(const pb::BlockDone& done) {
  const uint32_t i = done.ordinal();
  if (i >= is_answered_.size() || is_answered_[i]) {
    return BadOrder("the end of another block");
  }
  if (is_arriving_ && head_.ordinal() != i) {
    return BadOrder("the end of another block");
  }
  switch (done.status()) {
    case pb::BLOCK_STATUS_HIT:
      if (!is_arriving_) return BadOrder("the end of a block without its head");
      FinishBlock(result_.blocks[i]);
      break;
    case pb::BLOCK_STATUS_CHECKSUM:
      ++result_.found.corrupt_server;
      result_.blocks[i].result = ReadResult::kCorrupt;
      break;
    case pb::BLOCK_STATUS_MISS:
      if (is_arriving_) return BadOrder("a miss after its bytes");
      break;
    default:
      return BadOrder("an end of no known kind");
  }
  is_answered_[i] = true;
  is_arriving_ = false;
  return absl::OkStatus();
}

void GrpcGetReader::FinishBlock(BlockRead& block) {
  if (!is_good_enough_) return;  // A miss.
  block.result = ReadResult::kCorrupt;
  if (pieces_.left_bytes() != 0) {
    ++result_.found.corrupt_length;
  } else if (!is_intact_) {
    ++result_.found.corrupt_checksum;
  } else {
    block.result = ReadResult::kHit;
    block.payload_bytes = head_.payload_bytes();
    block.tier = head_.tier() == pb::TIER_KIND_SSD ? Tier::kSsd : Tier::kHost;
  }
}

}  // namespace banyan::transport
