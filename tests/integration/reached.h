// A client's session at a node, spoken by hand, and gets and puts through the
// transport under test: what the contract suite and the faults of wires share.
// Payloads describe themselves (tests/integration/node.h).
//
// Threads: thread-safe, but for Use.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "client/transport/transport.h"
#include "tests/integration/node.h"
#include "tests/testing/transport_cases.h"

namespace banyan::testing {

inline constexpr char kReachedSpace[] = "transport";
// Of calls that are to end by themselves.
inline constexpr std::chrono::seconds kPlenty{20};

inline std::shared_ptr<grpc::Channel> ChannelTo(const std::string& endpoint) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(endpoint, grpc::InsecureChannelCredentials(),
                                   arguments);
}

inline KeyRun RunOf(const std::string& keys) {
  return {.keys = {keys.data(), keys.size()}, .key_bytes = 32};
}

// A client's session at a node, and the transport under test.
class Reached {
 public:
  explicit Reached(std::string endpoint)
      : endpoint_(std::move(endpoint)),
        channel_(ChannelTo(endpoint_)),
        session_(channel_, "contract"),
        ns_(OpenOpaque(session_.stub(), kReachedSpace)) {}
  Reached(std::string endpoint, const TransportCase& which)
      : Reached(std::move(endpoint)) {
    Use(which.connect(peer()));
  }

  TransportPeer peer() const {
    return {.channel = channel_,
            .session_id = session_.id(),
            .endpoint = endpoint_};
  }
  // From now on.
  void Use(std::unique_ptr<transport::Transport> transport) {
    transport_ = std::move(transport);
  }

  transport::Transport& transport() { return *transport_; }
  const std::string& ns() const { return ns_; }
  RawSession& session() { return session_; }

  transport::Blocks BlocksOf(const std::string& keys) const {
    return {.namespace_id = ns_, .salt = "", .run = RunOf(keys)};
  }

  // Reserve of all blocks of the chain; the write's id.
  std::string Reserve(const std::string& keys, uint64_t bytes,
                      uint64_t piece_bytes) {
    grpc::ClientContext context;
    auto request = ReserveOf(session_.id(), ns_, keys, bytes);
    request.set_piece_bytes(piece_bytes);
    banyan::v1::ReserveResponse response;
    session_.stub().Reserve(&context, request, &response);
    return response.write_id();
  }

  // Sends the blocks of the chain; the payloads are `bytes` long.
  absl::Status Send(const std::string& keys, const std::string& write_id,
                    uint64_t bytes, uint64_t piece_bytes,
                    transport::SentChecksums& sent) {
    const auto seeds = transport::ChecksumSeeds(BlocksOf(keys));
    std::vector<std::vector<std::byte>> payloads;
    std::vector<transport::OutgoingBlock> blocks;
    for (uint32_t i = 0; i < seeds.size(); ++i) {
      payloads.push_back(PayloadOf(kReachedSpace, keys, i, bytes));
    }
    for (uint32_t i = 0; i < seeds.size(); ++i) {
      blocks.push_back({.ordinal = i,
                        .checksum_seed = seeds[i],
                        .payload = payloads[i],
                        .piece_bytes = piece_bytes});
    }
    return transport_->Put(
        {.session_id = session_.id(), .write_id = write_id, .blocks = blocks},
        {.deadline = std::chrono::steady_clock::now() + kPlenty}, sent);
  }

  absl::Status Commit(const std::string& write_id,
                      const transport::SentChecksums& sent) {
    grpc::ClientContext context;
    banyan::v1::CommitRequest request;
    request.set_session_id(session_.id());
    request.set_write_id(write_id);
    for (uint32_t i = 0; i < sent.size(); ++i) {
      auto* const block = request.add_blocks();
      block->set_ordinal(i);
      block->set_checksums(sent[i]);
    }
    banyan::v1::CommitResponse response;
    const grpc::Status status =
        session_.stub().Commit(&context, request, &response);
    return {static_cast<absl::StatusCode>(status.error_code()),
            status.error_message()};
  }

  absl::Status Put(const std::string& keys, uint64_t bytes,
                   uint64_t piece_bytes = 0) {
    const std::string write_id = Reserve(keys, bytes, piece_bytes);
    transport::SentChecksums sent;
    absl::Status status = Send(keys, write_id, bytes, piece_bytes, sent);
    if (!status.ok()) return status;
    return Commit(write_id, sent);
  }

 private:
  const std::string endpoint_;
  const std::shared_ptr<grpc::Channel> channel_;
  RawSession session_;
  const std::string ns_;
  std::unique_ptr<transport::Transport> transport_;
};

// Buffers for the blocks of a chain, and a get into them.
class Getting {
 public:
  Getting(Reached& reached, std::string keys, uint64_t bytes)
      : reached_(reached),
        keys_(std::move(keys)),
        memory_(keys_.size() / 32,
                std::vector<std::byte>(bytes, std::byte{0xEE})),
        spans_(memory_.begin(), memory_.end()) {}

  absl::Status Get(const transport::Call& call) {
    return reached_.transport().Get({.blocks = reached_.BlocksOf(keys_),
                                     .buffers = spans_,
                                     .pieces = pieces,
                                     .sink = sink},
                                    call, result);
  }
  absl::Status Get() {
    return Get({.deadline = std::chrono::steady_clock::now() + kPlenty});
  }

  bool IsHit(size_t i) const {
    return result.blocks[i].result == ReadResult::kHit;
  }
  bool IsRight(size_t i) const {
    return IsHit(i) && result.blocks[i].payload_bytes == memory_[i].size() &&
           CheckPayload(kReachedSpace, keys_, i, memory_[i]).ok();
  }
  std::vector<std::byte>& bytes(size_t i) { return memory_[i]; }

  transport::PieceRange pieces;
  transport::PieceSink* sink = nullptr;
  transport::GetResult result;

 private:
  Reached& reached_;
  const std::string keys_;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<std::span<std::byte>> spans_;
};

}  // namespace banyan::testing
