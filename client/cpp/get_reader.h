// Receives one GetBlocks stream: copies data into the caller's buffers, checks
// each block when it is complete, and only then calls it a hit.
//
// Threads: one.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/sync_stream.h>

#include <span>
#include <string>
#include <vector>

#include "banyan/v1/cache.grpc.pb.h"
#include "client/cpp/client.h"
#include "client/transport/frame_codec.h"

namespace banyan::client {

class GetReader final : private transport::FrameSink {
 public:
  // All outlive *this. Sets out.reads and out.read_bytes.
  GetReader(std::string_view namespace_id, std::string_view salt,
            const banyan::v1::KeyRun& run,
            const std::vector<std::span<std::byte>>& buffers,
            bool verify_checksums, Completion& out);

  grpc::Status Read(grpc::Channel& channel, grpc::ClientContext& context,
                    const banyan::v1::GetBlocksRequest& request);

  // What Read found.
  const ClientStats& stats() const { return stats_; }

 private:
  absl::Status OnBytes(uint32_t field, absl::string_view bytes) override;
  absl::Status OnData(uint32_t ordinal, uint64_t offset,
                      absl::Span<const std::byte> data) override;
  absl::Status OnHead(const banyan::v1::BlockHead& head);
  absl::Status OnDone(const banyan::v1::BlockDone& done);
  void FinishBlock(uint32_t ordinal);
  absl::Status BadFrame(absl::string_view what);
  absl::Status BadOrder(absl::string_view what);
  void CountAnswers();
  bool IsChecked() const;

  const std::string namespace_id_;
  const std::string salt_;
  const banyan::v1::KeyRun& run_;
  const std::vector<std::span<std::byte>>& buffers_;
  const bool verify_checksums_;
  Completion& out_;
  ClientStats stats_;
  std::vector<bool> is_answered_;
  bool is_arriving_ = false;    // Between a head and its done.
  banyan::v1::BlockHead head_;  // Of the block that is arriving.
  uint64_t received_bytes_ = 0;
};

}  // namespace banyan::client
