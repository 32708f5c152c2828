// The layer-wise half of the BlockStore's reading.
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/kv_layout.h"
#include "base/status_macros.h"
#include "cache_server/engine/block_store.h"

namespace banyan::engine {
namespace {

absl::StatusOr<LayeredRead::Layers> LayersOf(
    const KvLayout& layout, const BlockStore::LayersWanted& wanted) {
  const uint32_t total = layout.shape().layers;
  if (wanted.first < total && wanted.count <= total - wanted.first) {
    return LayeredRead::Layers{
        .first = wanted.first,
        .count = wanted.count == 0 ? total - wanted.first : wanted.count,
        .total = total,
        .layer_bytes = layout.layer_bytes()};
  }
  return MakeError(
      absl::StatusCode::kOutOfRange, "RANGE",
      absl::StrCat("layers: ", wanted.count, " from ", wanted.first,
                   " on, the namespace has ", total, "."));
}

absl::Status CheckPieces(size_t ordinal, uint64_t payload_bytes,
                         uint64_t piece_bytes,
                         const LayeredRead::Layers& layers) {
  if (piece_bytes == layers.layer_bytes &&
      payload_bytes == layers.total * layers.layer_bytes) {
    return absl::OkStatus();
  }
  return MakeError(
      absl::StatusCode::kFailedPrecondition, "PIECES",
      absl::StrCat("blocks[", ordinal, "]: ", payload_bytes,
                   " bytes in pieces of ", piece_bytes, ", not ", layers.total,
                   " layers of ", layers.layer_bytes,
                   ". Read it whole, or write it in pieces of a layer."));
}

absl::Status CheckPieces(size_t ordinal, const LayeredRead::Block& block,
                         const LayeredRead::Layers& layers) {
  if (block.growing != nullptr) {
    return CheckPieces(ordinal, block.growing->payload_bytes(),
                       block.growing->piece_bytes(), layers);
  }
  const BlockHeader& header = block.pin->header();
  return CheckPieces(ordinal, header.payload_bytes, header.piece_bytes, layers);
}

}  // namespace

bool BlockStore::FollowOne(const Resolved& resolved, const Target& target,
                           size_t i, LayeredRead::Block& block) {
  block.id = resolved.chain[i];
  block.growing = writes_.FindGrowing(block.id);
  if (block.growing != nullptr) return true;
  // A commit stores before it gives its claims back, so what is not claimed any
  // more is here.
  std::shared_ptr<tiers::BlockPin> pin =
      PinOne(block.id, IdentityOf(resolved, target, i));
  if (pin == nullptr || !IsGoodEnough(resolved, target, pin->header())) {
    return false;
  }
  block.pin = pin.get();
  block.owner = std::move(pin);
  return true;
}

absl::StatusOr<std::unique_ptr<LayeredRead>> BlockStore::ReadLayers(
    const Target& target, const LayersWanted& wanted, ColdReads cold,
    absl::Duration cold_timeout) {
  if (!wanted.follower.empty()) {
    BANYAN_RETURN_IF_ERROR(sessions_.Touch(wanted.follower));
  }
  BANYAN_ASSIGN_OR_RETURN(const Resolved resolved, Resolve(target));
  BANYAN_ASSIGN_OR_RETURN(const KvLayout layout,
                          KvLayout::Of(resolved.ns->fingerprint));
  BANYAN_ASSIGN_OR_RETURN(const LayeredRead::Layers layers,
                          LayersOf(layout, wanted));
  BANYAN_ASSIGN_OR_RETURN(
      const lease::PinSet pins,
      PinBlocks(resolved, target, AcquireMode::kLongestPrefix, cold,
                cold_timeout));
  std::vector<LayeredRead::Block> blocks;
  for (const lease::PinnedBlock& pinned : *pins) {
    blocks.push_back({.id = pinned.id,
                      .tier = pinned.tier,
                      .pin = pinned.pin.get(),
                      .owner = pins});
  }
  while (!wanted.follower.empty() && blocks.size() < resolved.chain.size()) {
    LayeredRead::Block next;
    if (!FollowOne(resolved, target, blocks.size(), next)) break;
    blocks.push_back(std::move(next));
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    BANYAN_RETURN_IF_ERROR(CheckPieces(i, blocks[i], layers));
  }
  server::Add(counters_.layer_reads);
  return std::make_unique<LayeredRead>(layers, std::move(blocks), counters_);
}

}  // namespace banyan::engine
