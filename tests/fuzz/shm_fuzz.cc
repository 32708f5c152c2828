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
    ns = store->OpenNamespace("fuzz", {.model = "m", .layout = "opaque"})
             ->ns->id;
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
  transfer::ShmCalls::Slot slot;
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
  banyan::transport::ParseCount(bytes).IgnoreError();
  banyan::transport::ParseHello(text).IgnoreError();
  banyan::transport::ParseWelcome(text).IgnoreError();
  const banyan::tiers::TierUsage usage = node.host->usage();
  BANYAN_CHECK(usage.staged_bytes == 0 && usage.pinned_bytes == 0);
  return 0;
}
