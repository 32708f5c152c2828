#include "client/transport/grpc_layer_reader.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/block_header.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "client/transport/grpc_frames.h"

namespace banyan::transport {
namespace {

namespace pb = banyan::v1;

}  // namespace

GrpcLayerReader::GrpcLayerReader(const LayersRequest& request,
                                 Verification verification, GetResult& result)
    : request_(request),
      verification_(verification),
      seeds_(ChecksumSeeds({.namespace_id = request.namespace_id,
                            .salt = request.salt,
                            .run = request.run})),
      result_(result),
      blocks_(request.buffers.size()),
      tracker_(request.layers.first, request.buffers.size(), request.sink) {
  result_ = {.blocks = std::vector<BlockRead>(request.buffers.size())};
}

grpc::Status GrpcLayerReader::Read(grpc::Channel& channel,
                                   grpc::ClientContext& context,
                                   const pb::GetLayersRequest& message) {
  const grpc::Status status =
      AskForFrames("/banyan.v1.Cache/GetLayers", channel, context, message,
                   *this, result_.found);
  if (status.ok()) CountAnswers();
  return status;
}

bool GrpcLayerReader::IsWaitingForWriter() const {
  return std::any_of(blocks_.begin(), blocks_.end(), [](const Arriving& block) {
    return block.is_growing && !block.is_answered;
  });
}

absl::Status GrpcLayerReader::BadFrame(absl::string_view what) {
  return BrokenFrame(what, result_.found);
}

absl::Status GrpcLayerReader::BadOrder(absl::string_view what) {
  return BrokenOrder(what, result_.found);
}

// Every key asked for gets an answer, a miss too.
void GrpcLayerReader::CountAnswers() {
  for (size_t i = 0; i < blocks_.size(); ++i) {
    if (!blocks_[i].is_answered) ++result_.found.unanswered;
    if (result_.blocks[i].result == ReadResult::kHit) {
      ++result_.found.hit_blocks;
    }
  }
}

absl::Status GrpcLayerReader::OnBytes(uint32_t field, absl::string_view bytes) {
  const int size = static_cast<int>(bytes.size());
  if (field == kGetHeads) {
    pb::BlockHead head;
    if (!head.ParseFromArray(bytes.data(), size)) return BadFrame("a bad head");
    return OnHead(head);
  }
  if (field == kGetSums) {
    pb::PieceSums sums;
    if (!sums.ParseFromArray(bytes.data(), size)) {
      return BadFrame("bad checksums");
    }
    return OnSums(sums);
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

absl::Status GrpcLayerReader::OnHead(const pb::BlockHead& head) {
  const uint32_t i = head.ordinal();
  if (i >= blocks_.size()) return BadOrder("a foreign block");
  Arriving& block = blocks_[i];
  if (block.has_head || block.is_answered) return BadOrder("a block twice");
  const size_t room = request_.buffers[i].size();
  if (head.payload_bytes() > room) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "BUFFER",
        absl::StrCat("buffers[", i, "]: ", room, " bytes, block has ",
                     head.payload_bytes(), ". Give a larger one."));
  }
  const uint32_t pieces = PieceCount(head.payload_bytes(), head.piece_bytes());
  const Layers& layers = request_.layers;
  if (layers.first >= pieces || layers.count > pieces - layers.first) {
    return BadOrder("a block without the layers that were asked for");
  }
  const uint64_t last =
      layers.count == 0 ? pieces : uint64_t{layers.first} + layers.count;
  block.has_head = true;
  block.is_growing = head.growing();
  block.is_good_enough = IsGoodEnough(request_.quality, head);
  block.is_intact = block.is_good_enough;
  if (!block.is_good_enough) tracker_.OnLost(i);
  block.payload_bytes = head.payload_bytes();
  block.tier = head.tier() == pb::TIER_KIND_SSD ? Tier::kSsd : Tier::kHost;
  const auto payload = request_.buffers[i].first(head.payload_bytes());
  block.pieces = ArrivingPieces(
      absl::MakeSpan(payload.data(), payload.size()), head.piece_bytes(),
      layers.first, std::min(head.payload_bytes(), last * head.piece_bytes()),
      seeds_[i], verification_);
  block.checksums.resize(pieces);
  if (block.is_growing) return absl::OkStatus();
  return TakeChecksums(block, 0, head.checksums());
}

absl::Status GrpcLayerReader::OnSums(const pb::PieceSums& sums) {
  const uint32_t i = sums.ordinal();
  if (i >= blocks_.size() || !blocks_[i].has_head || !blocks_[i].is_growing) {
    return BadOrder("checksums of no block that is being written");
  }
  return TakeChecksums(blocks_[i], sums.first_piece(), sums.checksums());
}

absl::Status GrpcLayerReader::TakeChecksums(Arriving& block, uint32_t first,
                                            const std::string& packed) {
  const size_t count = packed.size() / kChecksumBytes;
  if (packed.size() % kChecksumBytes != 0 || first > block.checksums.size() ||
      count > block.checksums.size() - first) {
    // A head without some is seen where they are missed.
    return block.is_growing ? BadOrder("checksums of no piece")
                            : absl::OkStatus();
  }
  for (size_t k = 0; k < count; ++k) {
    auto& checksum = block.checksums[first + k];
    if (checksum.has_value()) return BadOrder("a checksum twice");
    checksum = LoadChecksum(reinterpret_cast<const std::byte*>(packed.data()) +
                            k * kChecksumBytes);
  }
  return absl::OkStatus();
}

absl::Status GrpcLayerReader::OnData(uint32_t ordinal, uint64_t offset,
                                     absl::Span<const std::byte> data) {
  if (ordinal >= blocks_.size()) return BadOrder("bytes of a foreign block");
  Arriving& block = blocks_[ordinal];
  if (!block.has_head || block.is_answered || offset != block.pieces.at() ||
      data.size() > block.pieces.left_bytes()) {
    return BadOrder("bytes out of place");
  }
  while (block.pieces.Take(data)) LandPiece(ordinal);
  return absl::OkStatus();
}

// One that is complete.
void GrpcLayerReader::LandPiece(uint32_t ordinal) {
  Arriving& block = blocks_[ordinal];
  if (!block.is_intact) return;
  block.is_intact =
      block.pieces.IsIntact(block.checksums[block.pieces.piece()]);
  if (!block.is_intact) return tracker_.OnLost(ordinal);
  ++result_.blocks[ordinal].landed_pieces;
  tracker_.OnLanded(ordinal);
}

absl::Status GrpcLayerReader::OnDone(const pb::BlockDone& done) {
  const uint32_t i = done.ordinal();
  if (i >= blocks_.size() || blocks_[i].is_answered) {
    return BadOrder("the end of another block");
  }
  Arriving& block = blocks_[i];
  BlockRead& read = result_.blocks[i];
  switch (done.status()) {
    case pb::BLOCK_STATUS_HIT:
      if (!block.has_head) {
        return BadOrder("the end of a block without its head");
      }
      read.result = EndOf(block);
      break;
    case pb::BLOCK_STATUS_CHECKSUM:
      ++result_.found.corrupt_server;
      read.result = ReadResult::kCorrupt;
      break;
    case pb::BLOCK_STATUS_WITHDRAWN:
      if (!block.is_growing) return BadOrder("the end of no write");
      read.result = ReadResult::kWithdrawn;
      break;
    case pb::BLOCK_STATUS_MISS:
      if (block.has_head) return BadOrder("a miss after its bytes");
      break;
    default:
      return BadOrder("an end of no known kind");
  }
  block.is_answered = true;
  if (read.result != ReadResult::kHit) {
    tracker_.OnLost(i);
    return absl::OkStatus();
  }
  read.payload_bytes = block.payload_bytes;
  read.tier = block.tier;
  return absl::OkStatus();
}

ReadResult GrpcLayerReader::EndOf(const Arriving& block) {
  if (!block.is_good_enough) return ReadResult::kMiss;
  if (block.pieces.left_bytes() != 0) {
    ++result_.found.corrupt_length;
    return ReadResult::kCorrupt;
  }
  if (block.is_intact) return ReadResult::kHit;
  ++result_.found.corrupt_checksum;
  return ReadResult::kCorrupt;
}

}  // namespace banyan::transport
