// No request, whatever is in it, makes the engine crash, leak a pin, a lease or
// a room, or answer with a code that the contract does not know.
//
// Method: the first byte picks the rpc, the rest is its message as it comes from
// the wire; the service's decoding and a small engine run on it.
#include <google/protobuf/stubs/logging.h>

#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "base/check.h"
#include "base/units.h"
#include "cache_server/engine/block_store.h"
#include "cache_server/service/wire.h"
#include "tiers/host/host_tier.h"
#include "tiers/placement/eviction_policy.h"

namespace banyan {
namespace {

namespace pb = banyan::v1;

// One node for all runs, with a session and namespaces that inputs may name: an
// id of 16 zero bytes in a request stands for the real one, one of 16 ones for
// the namespace that has layers.
struct Node {
  Node() {
    google::protobuf::SetLogHandler(nullptr);  // It reports what it refuses.
    host = *tiers::HostTier::Open(
        {.capacity_bytes = kMiB, .prefault = false, .huge_pages = false});
    store = std::make_unique<engine::BlockStore>(
        engine::BlockStore::Options{.block_bytes_max = 64 * kKiB,
                                    .write_bytes_max = 256 * kKiB,
                                    .namespaces = {.node_secret = "fuzz"}},
        *host, *tiers::MakeEvictionPolicy("lru"), Clock::Monotonic());
    session = *store->OpenSession("fuzz");
    ns = store->OpenNamespace("fuzz", {.model = "m", .layout = "opaque"})
             ->ns->id;
    layered = store
                  ->OpenNamespace("layers", {.model = "m",
                                             .data_type = "int8",
                                             .layout = "nhd",
                                             .layers = 3,
                                             .kv_heads = 1,
                                             .head_dim = 8,
                                             .planes = 1,
                                             .block_tokens = 2})
                  ->ns->id;
  }

  std::unique_ptr<tiers::HostTier> host;
  std::unique_ptr<engine::BlockStore> store;
  std::string session;
  std::string ns;
  std::string layered;
};

const std::string kStandIn(16, '\0');
const std::string kLayeredStandIn(16, '\1');

template <typename Request>
void FillIn(Node& node, Request& request) {
  if constexpr (requires { request.session_id(); }) {
    if (request.session_id() == kStandIn) request.set_session_id(node.session);
  }
  if constexpr (requires { request.namespace_id(); }) {
    if (request.namespace_id() == kStandIn) request.set_namespace_id(node.ns);
    if (request.namespace_id() == kLayeredStandIn) {
      request.set_namespace_id(node.layered);
    }
  }
}

void CheckCode(const absl::Status& status) {
  BANYAN_CHECK(!absl::IsUnknown(status) && !absl::IsInternal(status));
  BANYAN_CHECK(status.message().size() <= 300);
}

void Run(Node& node, const pb::MatchPrefixRequest& request) {
  CheckCode(node.store->Match(service::TargetOf(request)).status());
}

void Run(Node& node, const pb::ExistsRequest& request) {
  CheckCode(node.store->Exists(service::TargetOf(request)).status());
}

void Run(Node& node, const pb::AcquireRequest& request) {
  const auto mode = service::ModeOf(request.mode());
  const auto ttl = service::DurationOf(request.ttl());
  const auto target = service::ReadTargetOf(request);
  CheckCode(mode.status());
  CheckCode(ttl.status());
  CheckCode(target.status());
  if (!mode.ok() || !ttl.ok() || !target.ok()) return;
  const auto granted = node.store->Acquire(
      request.session_id(), request.request_id(), *target, *mode, *ttl);
  CheckCode(granted.status());
  if (granted.ok()) node.store->Release(node.session, {granted->lease_id});
}

void Run(Node& node, const pb::ReserveRequest& request) {
  const auto durability = service::DurabilityOf(request.durability());
  const auto hint = service::HintOf(request.hint());
  CheckCode(durability.status());
  CheckCode(hint.status());
  if (!durability.ok() || !hint.ok()) return;
  const auto reserved = node.store->Reserve(
      request.session_id(), request.request_id(), service::TargetOf(request),
      request.payload_bytes(), request.piece_bytes(), *durability, *hint,
      request.by_layers() ? engine::WriteOrder::kLayers
                          : engine::WriteOrder::kBlocks);
  CheckCode(reserved.status());
  if (reserved.ok()) node.store->Abort(node.session, reserved->write_id);
}

void Run(Node& node, const pb::CommitRequest& request) {
  const auto claims = service::ClaimsOf(request);
  CheckCode(claims.status());
  if (!claims.ok()) return;
  CheckCode(
      node.store->Commit(request.session_id(), request.write_id(), *claims)
          .status());
}

void Run(Node& node, const pb::GetLayersRequest& request) {
  const auto target = service::ReadTargetOf(request);
  CheckCode(target.status());
  if (!target.ok()) return;
  const auto read = node.store->ReadLayers(
      *target,
      {.first = request.first_layer(),
       .count = request.layer_count(),
       .follower = request.follow() ? absl::string_view(request.session_id())
                                    : absl::string_view()});
  CheckCode(read.status());
}

// Into a write of two blocks by layers.
void Run(Node& node, const pb::PutLayersRequest& request) {
  const std::string keys =
      "one key:"
      "another:";
  const auto reserved = node.store->Reserve(
      node.session, 0,
      {.namespace_id = node.layered, .run = {.keys = keys, .key_bytes = 8}}, {},
      0, engine::Durability::kMemory, {}, engine::WriteOrder::kLayers);
  BANYAN_CHECK(reserved.ok());
  const auto write = *node.store->FindWrite(node.session, reserved->write_id);
  for (const auto& chunk : request.chunks()) {
    CheckCode(
        write->Write(chunk.ordinal(), chunk.offset(), AsBytes(chunk.data())));
  }
  for (const auto& sums : request.sums()) {
    const auto vouched = service::VouchedOf(sums.SerializeAsString());
    CheckCode(vouched.status());
    if (!vouched.ok()) continue;
    for (uint32_t i = 0; i < vouched->checksums.size(); ++i) {
      CheckCode(write->Vouch(vouched->ordinal, vouched->first_piece + i,
                             vouched->checksums[i]));
    }
  }
  node.store->Abort(node.session, reserved->write_id);
}

void Run(Node&, const pb::OpenNamespaceRequest& request) {
  const auto fingerprint = service::FingerprintOf(request.fingerprint());
  CheckCode(fingerprint.status());
  if (!fingerprint.ok()) return;
  engine::NamespaceRegistry registry({.node_secret = "fuzz"});
  CheckCode(registry
                .Open(request.name(), *fingerprint,
                      {.codec = request.ssd().codec(),
                       .error_max = request.ssd().error_max()},
                      request.calibration())
                .status());
}

template <typename Request>
void ParseAndRun(Node& node, const uint8_t* data, size_t size) {
  Request request;
  if (!request.ParseFromArray(data, static_cast<int>(size))) return;
  FillIn(node, request);
  Run(node, request);
}

}  // namespace
}  // namespace banyan

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using banyan::ParseAndRun;
  namespace pb = banyan::v1;
  static banyan::Node node;
  if (size == 0) return 0;
  const uint8_t rpc = data[0] % 8;
  ++data;
  --size;
  if (rpc == 0) ParseAndRun<pb::MatchPrefixRequest>(node, data, size);
  if (rpc == 1) ParseAndRun<pb::ExistsRequest>(node, data, size);
  if (rpc == 2) ParseAndRun<pb::AcquireRequest>(node, data, size);
  if (rpc == 3) ParseAndRun<pb::ReserveRequest>(node, data, size);
  if (rpc == 4) ParseAndRun<pb::CommitRequest>(node, data, size);
  if (rpc == 5) ParseAndRun<pb::OpenNamespaceRequest>(node, data, size);
  if (rpc == 6) ParseAndRun<pb::GetLayersRequest>(node, data, size);
  if (rpc == 7) ParseAndRun<pb::PutLayersRequest>(node, data, size);
  const banyan::tiers::TierUsage usage = node.host->usage();
  BANYAN_CHECK(usage.staged_bytes == 0 && usage.pinned_bytes == 0);
  return 0;
}
