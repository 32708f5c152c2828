// No question through shared memory, whatever is in it, makes the node crash,
// leak a pin, a lease or a room, or answer with more than an area holds; and no
// answer makes the client's parsers do so.
#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "base/check.h"
#include "base/units.h"
#include "cache_server/transfer/shm_calls.h"
#include "client/transport/shm_channel.h"
#include "client/transport/shm_layer_messages.h"
#include "client/transport/shm_messages.h"
#include "tiers/placement/eviction_policy.h"

namespace banyan {
namespace {

// One node for all runs, with a session and a namespace that inputs may name:
// that of docs/formats/shm.json stands for the real one.
struct Node {
  Node() {
    host = *tiers::HostTier::Open(
        {.capacity_bytes = kMiB, .prefault = false, .huge_pages = false});
    store = std::make_unique<engine::BlockStore>(
        engine::BlockStore::Options{.block_bytes_max = 64 * kKiB,
                                    .write_bytes_max = 256 * kKiB,
                                    .namespaces = {.node_secret = "fuzz"}},
        *host, *tiers::MakeEvictionPolicy("lru"), Clock::Monotonic());
    calls = std::make_unique<transfer::ShmCalls>(
        *store, *host, Clock::Monotonic(), transfer::ShmCalls::Options());
    session = *store->OpenSession("fuzz");
    ns = store
             ->OpenNamespace("fuzz", {.model = "m",
                                      .data_type = "int8",
                                      .layout = "nhd",
                                      .layers = 3,
                                      .kv_heads = 1,
                                      .head_dim = 8,
                                      .planes = 1,
                                      .block_tokens = 2})
             ->ns->id;
  }

  // Of two blocks by layers, which inputs may name.
  std::string BeginWrite() {
    const auto reserved = store->Reserve(
        session, 0, {.namespace_id = ns, .run = Run()}, {}, 0,
        engine::Durability::kMemory, {}, engine::WriteOrder::kLayers);
    return reserved->write_id;
  }
  static KeyRun Run() {
    return {.keys =
                "one key:"
                "another:",
            .key_bytes = 8};
  }

  std::unique_ptr<tiers::HostTier> host;
  std::unique_ptr<engine::BlockStore> store;
  std::unique_ptr<transfer::ShmCalls> calls;
  std::string session;
  std::string ns;
};

std::string CountedId(char first) {
  std::string id(16, '\0');
  for (int i = 0; i < 16; ++i) id[i] = static_cast<char>(first + i);
  return id;
}

void Replace(std::string& text, const std::string& from,
             const std::string& to) {
  const size_t at = text.find(from);
  if (at != std::string::npos) text.replace(at, from.size(), to);
}

void Ask(Node& node, std::string question) {
  static const std::string part(transport::kShmPartBytes, 'p');
  Replace(question, CountedId(16), node.ns);
  const std::string write = node.BeginWrite();
  Replace(question, CountedId(48), write);
  // A slot that follows the write, for questions about layers.
  transfer::ShmCalls::Slot slot;
  slot.layers =
      *node.store->ReadLayers({.namespace_id = node.ns, .run = Node::Run()},
                              {.follower = node.session});
  transfer::ShmCalls::Leases leases;
  const std::string answer =
      node.calls->Answer(node.session, AsBytes(question), AsBytes(part),
                         transport::kShmAreaBytes, slot, leases);
  BANYAN_CHECK(answer.size() >= 8 && answer.size() <= transport::kShmAreaBytes);
  const auto code = LoadLe32(AsBytes(answer).data());
  BANYAN_CHECK(code != static_cast<uint32_t>(absl::StatusCode::kInternal) &&
               code != static_cast<uint32_t>(absl::StatusCode::kUnknown));
  const auto blocks = transport::ParseBlocksAnswer(AsBytes(answer));
  if (blocks.ok() && !blocks->lease_id.empty()) {
    node.store->Release(node.session, {blocks->lease_id});
  }
  node.store->Abort(node.session, write);
}

}  // namespace
}  // namespace banyan

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static banyan::Node node;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto bytes = banyan::AsBytes(text);
  banyan::Ask(node, text);
  // Re-encoding what was parsed gives what was read, for all but the bytes that
  // have no name.
  const auto answer = banyan::transport::ParseBlocksAnswer(bytes);
  if (answer.ok()) {
    BANYAN_CHECK(banyan::transport::EncodeBlocks(*answer).size() == size);
  }
  const auto pieces = banyan::transport::ParsePieces(bytes);
  if (pieces.ok()) {
    BANYAN_CHECK(banyan::transport::EncodePieces(*pieces).size() == size);
  }
  const auto put = banyan::transport::ParsePutPieces(bytes);
  if (put.ok()) {
    BANYAN_CHECK(banyan::transport::EncodeQuestion(*put).size() == size);
  }
  banyan::transport::ParseLayersOpened(bytes).IgnoreError();
  banyan::transport::ParseCount(bytes).IgnoreError();
  banyan::transport::ParseHello(text).IgnoreError();
  banyan::transport::ParseWelcome(text).IgnoreError();
  const banyan::tiers::TierUsage usage = node.host->usage();
  BANYAN_CHECK(usage.staged_bytes == 0 && usage.pinned_bytes == 0);
  return 0;
}
