// The transport that works everywhere: blocks over the streams of banyan.v1,
// in the frames of client/transport/frame_codec.h.
//
// Threads: thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

#include "banyan/v1/cache.grpc.pb.h"
#include "client/transport/match_streams.h"
#include "client/transport/transport.h"

namespace banyan::transport {

class GrpcTransport final : public Transport {
 public:
  GrpcTransport(std::shared_ptr<grpc::Channel> channel,
                Verification verification);

  std::string_view name() const override { return "grpc"; }
  absl::StatusOr<uint32_t> Match(const Blocks& blocks,
                                 const Call& call) override;
  absl::Status Get(const GetRequest& request, const Call& call,
                   GetResult& result) override;
  absl::Status Put(const PutRequest& request, const Call& call,
                   SentChecksums& sent) override;
  absl::Status GetLayers(const LayersRequest& request, const Call& call,
                         GetResult& result) override;
  absl::Status PutPieces(const PiecesRequest& request, const Call& call,
                         std::vector<Checksum128>& sums) override;

 private:
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<banyan::v1::Cache::Stub> stub_;
  const Verification verification_;
  MatchStreams match_streams_;
};

}  // namespace banyan::transport
