// The calls of a node by layers.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/block_header.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "client/cpp/node_calls.h"
#include "client/cpp/wire.h"

namespace banyan::client {
namespace {

namespace pb = banyan::v1;

// Passes on what a transport tells, and knows whether it told anything.
class TellRelay final : public transport::LayerSink {
 public:
  TellRelay(const LayerOptions& options, uint64_t id)
      : options_(options), id_(id) {}

  bool has_told() const { return has_told_; }

  void OnLayer(uint32_t layer, uint32_t blocks) override {
    Tell({.id = id_,
          .what = LayerTell::What::kLanded,
          .layer = layer,
          .blocks = blocks});
  }
  void OnCut(uint32_t blocks) override {
    Tell({.id = id_, .what = LayerTell::What::kCut, .blocks = blocks});
  }

 private:
  void Tell(const LayerTell& tell) {
    has_told_ = true;
    if (options_.on_tell) options_.on_tell(tell);
  }

  const LayerOptions& options_;
  const uint64_t id_;
  bool has_told_ = false;
};

absl::Status LostWrite() {
  return MakeError(absl::StatusCode::kFailedPrecondition, "WRITE",
                   "write: an error ended it before. Begin again.");
}

}  // namespace

void NodeCalls::GetLayers(const Blocks& blocks,
                          const std::vector<std::span<std::byte>>& buffers,
                          const LayerOptions& options, Completion& out,
                          std::stop_token cancel) {
  Take({}, buffers.size(), out);
  if (cancel.stop_requested()) {
    out.status = MakeError(absl::StatusCode::kCancelled, "CANCELLED",
                           "call: cancelled by its caller.");
    return;
  }
  out.status = CheckBlocks(blocks, buffers.size());
  if (out.status.ok()) {
    out.status = RefuseEncoded(blocks.namespace_id, "layers");
  }
  const auto quality = FloorOf(options.error_max);
  out.status.Update(quality.status());
  if (!out.status.ok() || buffers.empty()) return;
  uint64_t bytes = 0;
  for (const auto& buffer : buffers) bytes += buffer.size();
  const absl::Duration timeout = options.timeout_ms > 0
                                     ? absl::Milliseconds(options.timeout_ms)
                                     : LoadTimeout(bytes);
  const auto group_blocks = GroupBlocks(blocks, timeout);
  out.status = group_blocks.status();
  if (!out.status.ok()) return;
  std::string follower;
  if (options.follow) {
    const auto session = AwaitSession(timeout);
    out.status = session.status();
    if (!out.status.ok()) return;
    follower = session->id;
  }
  const KeyRun run =
      RunOf(blocks.keys, blocks.key_bytes, blocks.first,
            static_cast<uint32_t>(buffers.size()), *group_blocks);
  TellRelay relay(options, out.id);
  transport::GetResult result;
  const auto attempt = [&](const transport::Call& call) {
    absl::Status status;
    return OnTransport(call, [&](transport::Transport& transport) {
      // What was told of must not be written again.
      if (relay.has_told()) return status;
      // What was found wrong before a fallback counts, what was read does not.
      ClientStats before = std::exchange(result.found, {});
      before.hit_blocks = 0;
      status = transport.GetLayers({.namespace_id = blocks.namespace_id,
                                    .salt = blocks.salt,
                                    .run = run,
                                    .buffers = buffers,
                                    .layers = {.first = options.layers.first,
                                               .count = options.layers.count},
                                    .follower = follower,
                                    .sink = &relay,
                                    .quality = *quality},
                                   call, result);
      result.found += before;
      return status;
    });
  };
  out.status = Run(timeout, 1, attempt, std::move(cancel));
  Take(result, buffers.size(), out);
}

// A write by layers between its Reserve and its Commit.
class NodeCalls::LayersPut final : public LayerWrite {
 public:
  LayersPut(NodeCalls& calls, SessionFacts session,
            const pb::ReserveResponse& reserved, std::vector<uint64_t> seeds,
            const PutOptions& options)
      : calls_(calls),
        session_(std::move(session)),
        write_id_(reserved.write_id()),
        layers_(reserved.layers()),
        layer_bytes_(reserved.piece_bytes()),
        seeds_(std::move(seeds)),
        options_(options) {
    for (const int verdict : reserved.verdicts()) {
      writes_.push_back(WriteResultOf(verdict));
      is_wanted_.push_back(verdict == pb::WRITE_VERDICT_WRITE);
    }
    sums_.resize(is_wanted_.size(), std::vector<Checksum128>(layers_));
    is_open_ = !write_id_.empty();
  }
  ~LayersPut() override { Lose(); }

  const std::vector<bool>& is_wanted() const override { return is_wanted_; }
  uint32_t layers() const override { return layers_; }
  uint64_t layer_bytes() const override { return layer_bytes_; }

  absl::Status Put(
      uint32_t layer,
      const std::vector<std::span<const std::byte>>& slices) override {
    BANYAN_RETURN_IF_ERROR(Check(layer, slices));
    std::vector<transport::OutgoingPiece> pieces;
    for (uint32_t i = 0; i < slices.size(); ++i) {
      if (!is_wanted_[i]) continue;
      pieces.push_back({.ordinal = i,
                        .piece = layer,
                        .checksum_seed = seeds_[i],
                        .bytes = slices[i]});
    }
    if (pieces.empty()) return absl::OkStatus();
    if (!is_open_) return LostWrite();
    std::vector<Checksum128> sums;
    const absl::Status status = Send(pieces, sums);
    if (!status.ok()) {
      Lose();
      return status;
    }
    for (size_t k = 0; k < pieces.size(); ++k) {
      sums_[pieces[k].ordinal][layer] = sums[k];
    }
    return absl::OkStatus();
  }

  Completion Commit() override {
    Completion done{.writes = writes_};
    const bool is_any_wanted = std::find(is_wanted_.begin(), is_wanted_.end(),
                                         true) != is_wanted_.end();
    if (!is_any_wanted) return done;
    if (!is_open_) {
      done.status = LostWrite();
      return done;
    }
    done.status = calls_.Commit(CommitOf(), options_.durability);
    if (done.status.ok()) {
      is_open_ = false;
    } else {
      Lose();
    }
    return done;
  }

 private:
  absl::Status Check(
      uint32_t layer,
      const std::vector<std::span<const std::byte>>& slices) const {
    if (slices.size() != is_wanted_.size() || layer >= layers_) {
      return MakeError(
          absl::StatusCode::kInvalidArgument, "LAYERS",
          absl::StrCat("layer: ", layer, " of ", layers_, ", ", slices.size(),
                       " slices for ", is_wanted_.size(), " blocks."));
    }
    for (size_t i = 0; i < slices.size(); ++i) {
      if (!is_wanted_[i] || slices[i].size() == layer_bytes_) continue;
      return MakeError(absl::StatusCode::kInvalidArgument, "LAYERS",
                       absl::StrCat("slices[", i, "]: ", slices[i].size(),
                                    " bytes, a layer has ", layer_bytes_, "."));
    }
    return absl::OkStatus();
  }

  absl::Status Send(const std::vector<transport::OutgoingPiece>& pieces,
                    std::vector<Checksum128>& sums) {
    return calls_.Run(
        calls_.LoadTimeout(pieces.size() * layer_bytes_), 1,
        [&](const transport::Call& call) -> absl::Status {
          const transport::PiecesRequest request{.session_id = session_.id,
                                                 .write_id = write_id_,
                                                 .piece_bytes = layer_bytes_,
                                                 .pieces = pieces};
          BANYAN_ASSIGN_OR_RETURN(const auto picked,
                                  calls_.Picked(absl::ZeroDuration()));
          if (picked != nullptr) {
            const absl::Status status = picked->PutPieces(request, call, sums);
            // Of any other error the pieces may be there, which come once only.
            if (ErrorReason(status) != "LAYERS") return status;
            calls_.picker_.CountFallback();
          }
          return calls_.grpc_.PutPieces(request, call, sums);
        });
  }

  pb::CommitRequest CommitOf() const {
    pb::CommitRequest commit;
    commit.set_session_id(session_.id);
    commit.set_write_id(write_id_);
    for (uint32_t i = 0; i < is_wanted_.size(); ++i) {
      if (!is_wanted_[i]) continue;
      auto* const block = commit.add_blocks();
      block->set_ordinal(i);
      std::string packed(layers_ * kChecksumBytes, '\0');
      for (uint32_t layer = 0; layer < layers_; ++layer) {
        StoreChecksum(sums_[i][layer],
                      reinterpret_cast<std::byte*>(packed.data()) +
                          layer * kChecksumBytes);
      }
      block->set_checksums(std::move(packed));
    }
    return commit;
  }

  // Those who follow are to know soon.
  void Lose() {
    if (std::exchange(is_open_, false)) calls_.Abort(session_, write_id_);
  }

  NodeCalls& calls_;
  const SessionFacts session_;
  const std::string write_id_;
  const uint32_t layers_;
  const uint64_t layer_bytes_;
  const std::vector<uint64_t> seeds_;
  const PutOptions options_;
  std::vector<WriteResult> writes_;
  std::vector<bool> is_wanted_;
  std::vector<std::vector<Checksum128>> sums_;  // By block and layer.
  bool is_open_ = false;
};

absl::StatusOr<std::unique_ptr<LayerWrite>> NodeCalls::PutLayers(
    const Blocks& blocks, uint32_t count, const PutOptions& options) {
  BANYAN_RETURN_IF_ERROR(CheckBlocks(blocks, count));
  BANYAN_RETURN_IF_ERROR(RefuseEncoded(blocks.namespace_id, "layers"));
  if (count == 0) {
    return MakeError(absl::StatusCode::kInvalidArgument, "KEYS",
                     "write: of 0 blocks. Write one or more.");
  }
  BANYAN_ASSIGN_OR_RETURN(
      SessionFacts session,
      AwaitSession(absl::Milliseconds(options_.load_timeout_ms)));
  const KeyRun run = RunOf(blocks.keys, blocks.key_bytes, blocks.first, count,
                           session.limits.group_blocks());
  pb::ReserveRequest reserve;
  reserve.set_session_id(session.id);
  reserve.set_namespace_id(blocks.namespace_id);
  reserve.set_salt(blocks.salt);
  reserve.set_piece_bytes(options.piece_bytes);
  reserve.set_durability(options.durability == Durability::kDurable
                             ? pb::DURABILITY_DURABLE
                             : pb::DURABILITY_MEMORY);
  reserve.set_by_layers(true);
  SetRun(run, reserve.mutable_run());
  pb::ReserveResponse reserved;
  BANYAN_RETURN_IF_ERROR(Reserve(session, reserve, reserved));
  if (reserved.piece_bytes() == 0 || reserved.layers() == 0 ||
      reserved.layers() > kPiecesMax) {
    return absl::InternalError("server: knows no writes by layers.");
  }
  return std::make_unique<LayersPut>(
      *this, std::move(session), reserved,
      transport::ChecksumSeeds(BlocksOf(blocks, run)), options);
}

}  // namespace banyan::client
