// Receives one GetBlocks stream: copies data into the caller's buffers, checks
// each piece when it is complete, and only then says that it has landed.
//
// Threads: one.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/sync_stream.h>

#include <vector>

#include "banyan/v1/cache.grpc.pb.h"
#include "client/transport/arriving_pieces.h"
#include "client/transport/frame_codec.h"
#include "client/transport/transport.h"

namespace banyan::transport {

class GrpcGetReader final : private FrameSink {
 public:
  // All outlive *this.
  GrpcGetReader(const GetRequest& request, Verification verification,
                GetResult& result);

  grpc::Status Read(grpc::Channel& channel, grpc::ClientContext& context,
                    const banyan::v1::GetBlocksRequest& message);

 private:
  absl::Status OnBytes(uint32_t field, absl::string_view bytes) override;
  absl::Status OnData(uint32_t ordinal, uint64_t offset,
                      absl::Span<const std::byte> data) override;
  absl::Status OnHead(const banyan::v1::BlockHead& head);
  absl::Status BeginBlock(const banyan::v1::BlockHead& head);
  absl::Status OnDone(const banyan::v1::BlockDone& done);
  void FinishBlock(BlockRead& block);
  void LandPiece();
  absl::Status BadFrame(absl::string_view what);
  absl::Status BadOrder(absl::string_view what);
  void CountAnswers();

  const GetRequest& request_;
  const Verification verification_;
  const std::vector<uint64_t> seeds_;
  GetResult& result_;
  std::vector<bool> is_answered_;

  // Of the block that is arriving: between a head and its done.
  bool is_arriving_ = false;
  banyan::v1::BlockHead head_;
  bool is_good_enough_ = false;
  bool is_intact_ = false;  // So far, of what is good enough.
  ArrivingPieces pieces_;
};

}  // namespace banyan::transport
