#include "client/transport/transport.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/block_header.h"
#include "base/error.h"

// Linux 5.14 and later; older headers lack the name.
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace banyan::transport {
namespace {

// Memory whose pages are there: the first use of a page costs ten times what
// moving its bytes does.
class PresentMemory final : public Memory {
 public:
  explicit PresentMemory(std::span<std::byte> bytes) {
    const auto page = static_cast<uintptr_t>(getpagesize());
    const auto begin = reinterpret_cast<uintptr_t>(bytes.data()) & ~(page - 1);
    const auto end = reinterpret_cast<uintptr_t>(bytes.data() + bytes.size());
    // A wish: without it the first use of each page pays.
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_WRITE);
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Memory>> Transport::Register(
    std::span<std::byte> bytes) {
  if (bytes.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "MEMORY",
                     "memory: 0 bytes. Register some.");
  }
  return std::make_unique<PresentMemory>(bytes);
}

namespace {

absl::Status NoLayers(std::string_view name) {
  return MakeError(
      absl::StatusCode::kUnimplemented, "LAYERS",
      absl::StrCat(std::string(name), ": moves no layers. Use gRPC for them."));
}

}  // namespace

absl::Status Transport::GetLayers(const LayersRequest& request, const Call&,
                                  GetResult& result) {
  result = {.blocks = std::vector<BlockRead>(request.buffers.size())};
  return NoLayers(name());
}

absl::Status Transport::PutPieces(const PiecesRequest&, const Call&,
                                  std::vector<Checksum128>&) {
  return NoLayers(name());
}

absl::Status WriterIsSlow() {
  return MakeError(
      absl::StatusCode::kDeadlineExceeded, "WRITER",
      "layers: a block that is followed was not written within the "
      "deadline. Treat as a miss.");
}

std::vector<uint64_t> ChecksumSeeds(const Blocks& blocks) {
  std::vector<uint64_t> seeds;
  seeds.reserve(blocks.run.size());
  BlockIdentity identity{
      .namespace_id = std::string(blocks.namespace_id),
      .salt_digest = SaltDigest({blocks.salt.data(), blocks.salt.size()})};
  for (size_t i = 0; i < blocks.run.size(); ++i) {
    identity.key = *BlockKey::FromBytes(blocks.run.key(i));
    seeds.push_back(identity.ChecksumSeed());
  }
  return seeds;
}

std::string PackedChecksums(uint64_t checksum_seed,
                            std::span<const std::byte> payload,
                            uint64_t piece_bytes) {
  const size_t step = piece_bytes == 0
                          ? payload.size()
                          : std::min<size_t>(piece_bytes, payload.size());
  std::string out;
  uint32_t piece = 0;
  for (size_t at = 0; at < payload.size(); at += step) {
    const size_t size = std::min(step, payload.size() - at);
    std::byte bytes[kChecksumBytes];
    StoreChecksum(PieceChecksum(checksum_seed, piece++,
                                absl::MakeConstSpan(payload.data() + at, size)),
                  bytes);
    out.append(reinterpret_cast<const char*>(bytes), sizeof(bytes));
  }
  return out;
}

}  // namespace banyan::transport
