// What the host tier costs: Stage + Store, Pin, verified read and Erase for
// each block size, copying in, filling payloads, and how much memory random
// sizes leave unused. Prints one JSON object.
//
// Method: a prefaulted tier, self-describing payloads. Times are medians of
// rounds; a round fills the tier to half and empties it.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "base/check.h"
#include "base/units.h"
#include "client/ctl/payload.h"
#include "tests/testing/self_describing.h"
#include "tiers/host/host_tier.h"

namespace banyan {
namespace {

using tiers::HostTier;

constexpr uint64_t kCapacityBytes = 512 * kMiB;
constexpr int kRounds = 5;

double NowNs() {
  return std::chrono::duration<double, std::nano>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::unique_ptr<HostTier> MakeTier() {
  auto tier = HostTier::Open({.capacity_bytes = kCapacityBytes});
  BANYAN_CHECK(tier.ok());
  return *std::move(tier);
}

struct Block {
  BlockId id;
  BlockHeader header;
};

// Header of block `n` over the one payload that all blocks of a round share.
std::vector<Block> MakeBlocks(uint64_t count,
                              const std::vector<std::byte>& payload) {
  const BlockHeader first = testing::HeaderNo(0, payload);
  std::vector<Block> blocks(count);
  for (uint64_t n = 0; n < count; ++n) {
    blocks[n] = {testing::IdNo(n), first};
    blocks[n].header.identity = testing::IdentityNo(n);
    blocks[n].header.pieces[0] =
        PieceChecksum(blocks[n].header.identity.ChecksumSeed(), 0, payload);
  }
  return blocks;
}

struct Round {
  std::vector<double> stage_store_ns, copy_ns, pin_ns, read_ns, erase_ns;
};

void RunRound(HostTier& tier, const std::vector<Block>& blocks,
              const std::vector<std::byte>& payload, Round& times) {
  const auto count = static_cast<double>(blocks.size());
  double copy_ns = 0;
  double begin = NowNs();
  for (const Block& block : blocks) {
    auto staged = tier.Stage(payload.size());
    BANYAN_CHECK(staged.ok());
    const double copy_begin = NowNs();
    std::memcpy((*staged)->bytes().data(), payload.data(), payload.size());
    copy_ns += NowNs() - copy_begin;
    BANYAN_CHECK(tier.Store(block.id, block.header, *std::move(staged)).ok());
  }
  times.stage_store_ns.push_back((NowNs() - begin - copy_ns) / count);
  times.copy_ns.push_back(copy_ns / count);

  begin = NowNs();
  for (const Block& block : blocks) {
    BANYAN_CHECK(tier.Pin(block.id, block.header.identity).ok());
  }
  times.pin_ns.push_back((NowNs() - begin) / count);

  begin = NowNs();
  for (const Block& block : blocks) {
    const auto pin = tier.Pin(block.id, block.header.identity);
    BANYAN_CHECK(pin.ok() && (*pin)->ReadPiece(0).ok());
  }
  times.read_ns.push_back((NowNs() - begin) / count);

  begin = NowNs();
  for (const Block& block : blocks) tier.Erase(block.id);
  times.erase_ns.push_back((NowNs() - begin) / count);
}

nlohmann::json MeasureSize(HostTier& tier, uint64_t payload_bytes) {
  const uint64_t count =
      std::min<uint64_t>(kCapacityBytes / 2 / payload_bytes, 20000);
  const auto payload = testing::PayloadNo(0, payload_bytes);
  const std::vector<Block> blocks = MakeBlocks(count, payload);
  Round times;
  for (int i = 0; i < kRounds; ++i) RunRound(tier, blocks, payload, times);
  const auto bytes = static_cast<double>(payload_bytes);
  return {{"payload_bytes", payload_bytes},
          {"blocks", count},
          {"stage_store_ns", Median(times.stage_store_ns)},
          {"copy_in_gb_s", bytes / Median(times.copy_ns)},
          {"pin_unpin_ns", Median(times.pin_ns)},
          {"read_verified_gb_s", bytes / Median(times.read_ns)},
          {"erase_ns", Median(times.erase_ns)}};
}

// Random sizes come and go until the tier is in a steady state; each Stage that
// fails evicts one random block, as the engine would.
nlohmann::json MeasureMix(HostTier& tier, uint64_t seed) {
  constexpr uint64_t kSteps = 30000;
  const std::vector<std::byte> any(4 * kMiB);
  const BlockHeader header = testing::HeaderNo(0, any);
  std::mt19937_64 random(seed);
  std::vector<uint64_t> live;
  uint64_t evictions = 0;
  uint64_t stored_bytes = 0;
  double unused_share = 0;
  double worst_ns = 0;
  const double begin = NowNs();
  for (uint64_t n = 0; n < kSteps; ++n) {
    const uint64_t bytes = 8 * kKiB << random() % 9;  // 8 KiB to 2 MiB.
    const uint64_t payload_bytes = bytes + random() % bytes;
    for (;;) {
      const double stage_begin = NowNs();
      auto staged = tier.Stage(payload_bytes);
      worst_ns = std::max(worst_ns, NowNs() - stage_begin);
      if (staged.ok()) {
        BlockHeader own = header;
        own.payload_bytes = own.piece_bytes = payload_bytes;
        BANYAN_CHECK(
            tier.Store(testing::IdNo(n), own, *std::move(staged)).ok());
        break;
      }
      BANYAN_CHECK(!live.empty());
      std::swap(live[random() % live.size()], live.back());
      tier.Erase(testing::IdNo(live.back()));
      live.pop_back();
      ++evictions;
    }
    live.push_back(n);
    stored_bytes += payload_bytes;
    if (n >= kSteps / 2) {
      const auto usage = tier.usage();
      unused_share += 1.0 - static_cast<double>(usage.payload_bytes) /
                                static_cast<double>(usage.capacity_bytes);
    }
  }
  const double ns = NowNs() - begin;
  for (const uint64_t n : live) tier.Erase(testing::IdNo(n));
  return {{"seed", seed},
          {"steps", kSteps},
          {"evictions", evictions},
          {"unused_share", unused_share / (kSteps / 2)},
          {"moved_bytes_ratio", static_cast<double>(tier.moved_bytes()) /
                                    static_cast<double>(stored_bytes)},
          {"step_us", ns / 1000 / kSteps},
          {"stage_us_max", worst_ns / 1000}};
}

nlohmann::json MeasurePayloads() {
  std::vector<std::byte> buffer(2 * kMiB);
  std::vector<double> fill_ns, verify_ns;
  for (int i = 0; i < 50; ++i) {
    double begin = NowNs();
    ctl::FillPayload("bench", "key", absl::MakeSpan(buffer));
    fill_ns.push_back(NowNs() - begin);
    begin = NowNs();
    BANYAN_CHECK(
        ctl::VerifyPayload("bench", "key", buffer, 0, buffer.size()).ok());
    verify_ns.push_back(NowNs() - begin);
  }
  const auto bytes = static_cast<double>(buffer.size());
  return {{"fill_gb_s", bytes / Median(fill_ns)},
          {"verify_gb_s", bytes / Median(verify_ns)}};
}

int Main() {
  const double begin = NowNs();
  const auto tier = MakeTier();
  const double open_ms = (NowNs() - begin) / 1e6;
  nlohmann::json result = {{"bench", "host_tier"},
                           {"capacity_bytes", kCapacityBytes},
                           {"page_bytes", tier->arena().page_bytes()},
                           {"open_prefaulted_ms", open_ms}};
  for (const uint64_t bytes : {4 * kKiB, 64 * kKiB, 256 * kKiB, 2 * kMiB}) {
    result["sizes"].push_back(MeasureSize(*tier, bytes));
  }
  result["mix"] = MeasureMix(*tier, 1);
  result["payload"] = MeasurePayloads();
  std::cout << result.dump(2) << "\n";
  return 0;
}

}  // namespace
}  // namespace banyan

int main() { return banyan::Main(); }
