// What the tests of reading and writing by layers share: a namespace that has
// layers, a session with the transport under test, and a read that checks what
// it is told at the moment it is told.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "client/transport/transport.h"
#include "tests/integration/node.h"
#include "tests/testing/transport_cases.h"

namespace banyan::testing {

inline constexpr char kLayerSpace[] = "layers";
inline constexpr uint32_t kLayers = 8;
inline constexpr uint64_t kLayerBytes = 16 * kKiB;
inline constexpr uint64_t kLayeredBytes = kLayers * kLayerBytes;

inline Fingerprint LayeredFingerprint() {
  return {.model = "layered",
          .hash_algorithm = "test",
          .data_type = "bf16",
          .layout = "nhd",
          .layers = kLayers,
          .kv_heads = 4,
          .head_dim = 64,
          .planes = 2,
          .block_tokens = 16};
}

inline std::string OpenLayered(banyan::v1::Cache::Stub& stub) {
  grpc::ClientContext context;
  banyan::v1::OpenNamespaceRequest request;
  request.set_name(kLayerSpace);
  client::SetFingerprint(LayeredFingerprint(), request.mutable_fingerprint());
  banyan::v1::OpenNamespaceResponse response;
  if (!stub.OpenNamespace(&context, request, &response).ok()) return "";
  return response.namespace_id();
}

inline std::shared_ptr<grpc::Channel> OwnChannelTo(
    const std::string& endpoint) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(endpoint, grpc::InsecureChannelCredentials(),
                                   arguments);
}

inline KeyRun WholeRun(const std::string& keys) {
  return {.keys = {keys.data(), keys.size()}, .key_bytes = 32};
}

inline transport::Call Within(std::chrono::milliseconds time) {
  return {.deadline = std::chrono::steady_clock::now() + time};
}
inline transport::Call InTime() { return Within(std::chrono::seconds(60)); }

// A session at a node, and a transport in it.
class LayerPeer {
 public:
  LayerPeer(const std::string& endpoint, const TransportCase& which,
            std::string client_id)
      : channel_(OwnChannelTo(endpoint)),
        session_(channel_, std::move(client_id)),
        ns_(OpenLayered(session_.stub())),
        transport_(
            which.connect({.channel = channel_, .session_id = session_.id()})) {
  }

  transport::Transport& transport() { return *transport_; }
  RawSession& session() { return session_; }
  const std::string& ns() const { return ns_; }

  transport::Blocks BlocksOf(const std::string& keys) const {
    return {.namespace_id = ns_, .salt = "", .run = WholeRun(keys)};
  }
  uint32_t Match(const std::string& keys) {
    return transport_->Match(BlocksOf(keys), InTime()).value_or(999);
  }

  // A write by layers of all blocks; its id, empty if there is none.
  std::string Reserve(const std::string& keys) {
    grpc::ClientContext context;
    auto request = ReserveOf(session_.id(), ns_, keys, kLayeredBytes);
    request.set_by_layers(true);
    banyan::v1::ReserveResponse response;
    session_.stub().Reserve(&context, request, &response);
    return response.write_id();
  }

  // These layers of blocks [begin, end) of the write.
  absl::Status Send(const std::string& keys, const std::string& write_id,
                    std::vector<uint32_t> layers, uint32_t begin,
                    uint32_t end) {
    const auto seeds = transport::ChecksumSeeds(BlocksOf(keys));
    std::vector<std::vector<std::byte>> payloads;
    for (uint32_t i = 0; i < end; ++i) {
      payloads.push_back(PayloadOf(kLayerSpace, keys, i, kLayeredBytes));
    }
    std::vector<transport::OutgoingPiece> pieces;
    for (const uint32_t layer : layers) {
      for (uint32_t i = begin; i < end; ++i) {
        pieces.push_back(
            {.ordinal = i,
             .piece = layer,
             .checksum_seed = seeds[i],
             .bytes = std::span<const std::byte>(payloads[i])
                          .subspan(layer * kLayerBytes, kLayerBytes)});
      }
    }
    std::vector<Checksum128> sums;
    return transport_->PutPieces({.session_id = session_.id(),
                                  .write_id = write_id,
                                  .piece_bytes = kLayerBytes,
                                  .pieces = pieces},
                                 InTime(), sums);
  }
  absl::Status Send(const std::string& keys, const std::string& write_id,
                    std::vector<uint32_t> layers) {
    return Send(keys, write_id, std::move(layers), 0,
                static_cast<uint32_t>(keys.size() / 32));
  }

  // Blocks from `begin` on. `damage`: the last checksum that is claimed is
  // wrong.
  absl::Status Commit(const std::string& keys, const std::string& write_id,
                      uint32_t begin = 0, bool damage = false) {
    grpc::ClientContext context;
    banyan::v1::CommitRequest request;
    request.set_session_id(session_.id());
    request.set_write_id(write_id);
    const auto seeds = transport::ChecksumSeeds(BlocksOf(keys));
    for (uint32_t i = begin; i < seeds.size(); ++i) {
      auto* const block = request.add_blocks();
      block->set_ordinal(i);
      std::string packed = transport::PackedChecksums(
          seeds[i], PayloadOf(kLayerSpace, keys, i, kLayeredBytes),
          kLayerBytes);
      if (damage && i + 1 == seeds.size()) packed.back() ^= 1;
      block->set_checksums(packed);
    }
    banyan::v1::CommitResponse response;
    const grpc::Status status =
        session_.stub().Commit(&context, request, &response);
    return {static_cast<absl::StatusCode>(status.error_code()),
            status.error_message()};
  }

  void Abort(const std::string& write_id) {
    grpc::ClientContext context;
    banyan::v1::AbortRequest request;
    request.set_session_id(session_.id());
    request.set_write_id(write_id);
    banyan::v1::AbortResponse response;
    session_.stub().Abort(&context, request, &response);
  }

  // Stored, written layer by layer.
  absl::Status PutAll(const std::string& keys) {
    const std::string write_id = Reserve(keys);
    std::vector<uint32_t> layers(kLayers);
    for (uint32_t i = 0; i < kLayers; ++i) layers[i] = i;
    absl::Status status = Send(keys, write_id, layers);
    if (!status.ok()) return status;
    return Commit(keys, write_id);
  }

 private:
  const std::shared_ptr<grpc::Channel> channel_;
  RawSession session_;
  const std::string ns_;
  std::unique_ptr<transport::Transport> transport_;
};

// A read by layers of the blocks of a chain. Other threads may ask how far it
// is.
class LayerReading final : public transport::LayerSink {
 public:
  struct Told {
    bool is_cut = false;
    uint32_t layer = 0;
    uint32_t blocks = 0;
    friend bool operator==(const Told&, const Told&) = default;
  };

  LayerReading(LayerPeer& peer, std::string keys)
      : peer_(peer),
        keys_(std::move(keys)),
        memory_(keys_.size() / 32,
                std::vector<std::byte>(kLayeredBytes, std::byte{0xEE})),
        spans_(memory_.begin(), memory_.end()) {}

  absl::Status Get(const transport::Call& call) {
    return peer_.transport().GetLayers(
        {.namespace_id = peer_.ns(),
         .salt = "",
         .run = WholeRun(keys_),
         .buffers = spans_,
         .layers = layers,
         .follower = is_following ? std::string_view(peer_.session().id())
                                  : std::string_view(),
         .sink = this},
        call, result);
  }
  absl::Status Get() { return Get(InTime()); }

  // What is told is right when it is told.
  void OnLayer(uint32_t layer, uint32_t blocks) override {
    for (uint32_t i = 0; i < blocks; ++i) {
      if (!IsLayerRight(i, layer)) ++wrong_;
    }
    MutexLock lock(mutex_);
    told_.push_back({.layer = layer, .blocks = blocks});
  }
  void OnCut(uint32_t blocks) override {
    MutexLock lock(mutex_);
    told_.push_back({.is_cut = true, .blocks = blocks});
  }

  bool IsLayerRight(size_t i, uint32_t layer) const {
    const auto whole = PayloadOf(kLayerSpace, keys_, i, kLayeredBytes);
    const auto begin = static_cast<ptrdiff_t>(layer * kLayerBytes);
    const auto end = begin + static_cast<ptrdiff_t>(kLayerBytes);
    return std::equal(whole.begin() + begin, whole.begin() + end,
                      memory_[i].begin() + begin);
  }
  bool IsRight(size_t i) const {
    return result.blocks[i].result == ReadResult::kHit &&
           result.blocks[i].payload_bytes == kLayeredBytes &&
           CheckPayload(kLayerSpace, keys_, i, memory_[i]).ok();
  }
  ReadResult ResultOf(size_t i) const { return result.blocks[i].result; }

  std::vector<Told> told() const {
    MutexLock lock(mutex_);
    return told_;
  }
  // Layers told of so far.
  size_t layers_told() const {
    MutexLock lock(mutex_);
    return std::count_if(told_.begin(), told_.end(),
                         [](const Told& told) { return !told.is_cut; });
  }
  uint64_t wrong() const { return wrong_; }
  std::vector<std::byte>& bytes(size_t i) { return memory_[i]; }
  std::vector<std::span<std::byte>>& spans() { return spans_; }

  transport::Layers layers;
  bool is_following = false;
  transport::GetResult result;

 private:
  LayerPeer& peer_;
  const std::string keys_;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<std::span<std::byte>> spans_;
  std::atomic<uint64_t> wrong_{0};  // Layers that were told of too early.
  mutable Mutex mutex_;
  std::vector<Told> told_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::testing
