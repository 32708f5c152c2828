// Receives one GetLayers stream: copies data into the caller's buffers, checks
// each piece when it is complete, and only then says that it has landed.
//
// Threads: one.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/sync_stream.h>

#include <optional>
#include <vector>

#include "banyan/v1/cache.grpc.pb.h"
#include "client/transport/arriving_pieces.h"
#include "client/transport/frame_codec.h"
#include "client/transport/layer_tracker.h"
#include "client/transport/transport.h"

namespace banyan::transport {

class GrpcLayerReader final : private FrameSink {
 public:
  // All outlive *this.
  GrpcLayerReader(const LayersRequest& request, Verification verification,
                  GetResult& result);

  grpc::Status Read(grpc::Channel& channel, grpc::ClientContext& context,
                    const banyan::v1::GetLayersRequest& message);

  // The node answered, and what it has not sent yet is still to be written.
  bool IsWaitingForWriter() const;

 private:
  struct Arriving {
    bool has_head = false;
    bool is_answered = false;
    bool is_good_enough = false;
    bool is_intact = false;  // So far, of what is good enough.
    bool is_growing = false;
    uint64_t payload_bytes = 0;
    Tier tier = Tier::kHost;
    ArrivingPieces pieces;
    std::vector<std::optional<Checksum128>> checksums;  // As far as told.
  };

  absl::Status OnBytes(uint32_t field, absl::string_view bytes) override;
  absl::Status OnData(uint32_t ordinal, uint64_t offset,
                      absl::Span<const std::byte> data) override;
  absl::Status OnHead(const banyan::v1::BlockHead& head);
  absl::Status OnSums(const banyan::v1::PieceSums& sums);
  absl::Status OnDone(const banyan::v1::BlockDone& done);
  absl::Status TakeChecksums(Arriving& block, uint32_t first,
                             const std::string& packed);
  void LandPiece(uint32_t ordinal);
  // Where its answer is that it counts.
  ReadResult EndOf(const Arriving& block);
  absl::Status BadFrame(absl::string_view what);
  absl::Status BadOrder(absl::string_view what);
  void CountAnswers();

  const LayersRequest& request_;
  const Verification verification_;
  const std::vector<uint64_t> seeds_;
  GetResult& result_;
  std::vector<Arriving> blocks_;
  LayerTracker tracker_;
};

}  // namespace banyan::transport
