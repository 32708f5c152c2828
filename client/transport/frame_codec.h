// Frames of block bytes: the messages GetBlocksResponse, GetLayersResponse,
// PutBlocksRequest and PutLayersRequest,
// written and read by hand so that payload is neither copied into nor out of a
// protobuf string. On the wire they are ordinary protobuf.
//
// All of them hold a repeated BlockChunk {ordinal = 1, offset = 2, data = 3}
// under some field number, beside small fields.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace banyan::transport {

// Field numbers in proto/banyan/v1/cache.proto.
inline constexpr uint32_t kGetHeads = 1;
inline constexpr uint32_t kGetChunks = 2;
inline constexpr uint32_t kGetDone = 3;
inline constexpr uint32_t kGetSums = 4;  // Of GetLayersResponse.
inline constexpr uint32_t kPutSessionId = 1;
inline constexpr uint32_t kPutWriteId = 2;
inline constexpr uint32_t kPutChunks = 3;
inline constexpr uint32_t kPutSums = 4;  // Of PutLayersRequest.

// Builds one frame. Thread-compatible.
class FrameWriter {
 public:
  // A length-delimited field: a string, bytes or a serialised message.
  void AddBytes(uint32_t field, absl::string_view bytes);

  // A BlockChunk whose data is sent from where it lies; `owner` keeps it
  // readable until gRPC has let go of it, which may be after the call ended.
  void AddChunk(uint32_t field, uint32_t ordinal, uint64_t offset,
                absl::Span<const std::byte> data,
                std::shared_ptr<const void> owner);

  // A BlockChunk whose data is copied now.
  void AddChunkCopy(uint32_t field, uint32_t ordinal, uint64_t offset,
                    absl::Span<const std::byte> data);

  // Ends the frame and starts an empty one.
  grpc::ByteBuffer Finish();

  size_t bytes() const { return bytes_; }
  bool empty() const { return bytes_ == 0; }

 private:
  void StartChunk(uint32_t field, uint32_t ordinal, uint64_t offset,
                  size_t data_bytes);
  void FlushHead();

  std::string head_;  // Small fields not yet in a slice.
  std::vector<grpc::Slice> slices_;
  size_t bytes_ = 0;
};

// Takes what a frame holds, in its order. A status that is not OK ends parsing.
class FrameSink {
 public:
  virtual ~FrameSink() = default;

  // A length-delimited field that is no chunk.
  virtual absl::Status OnBytes(uint32_t field, absl::string_view bytes) = 0;

  // A stretch of a chunk's data, `offset` in the block; a chunk arrives in one
  // or several stretches, in order. Valid during the call only.
  virtual absl::Status OnData(uint32_t ordinal, uint64_t offset,
                              absl::Span<const std::byte> data) = 0;
};

// Longest field that is no chunk.
inline constexpr size_t kFrameFieldBytesMax = 256 * 1024;

// Reads one frame into the sink. Fields of other wire types are skipped.
// Errors: kInvalidArgument reason FRAME for what is no such message; else the
//         sink's.
absl::Status ParseFrame(absl::Span<const grpc::Slice> slices,
                        uint32_t chunk_field, FrameSink& sink);

}  // namespace banyan::transport
