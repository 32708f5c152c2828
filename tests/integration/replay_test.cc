// Goal: the node evicts as least-recently-used says it should, and a replay
// reads no wrong byte.
// Method: a seeded trace with shared prefixes is replayed against a node that
// holds a part of it; the hits are compared with those of a brute-force LRU
// written here from the rules alone: a hit is a block of the leading cached
// run; then the whole prompt is in the cache and most recent, its root most of
// all; what was used longest ago goes first, of one prompt the deepest.
#include "client/ctl/replay.h"

#include <gtest/gtest.h>

#include <cmath>
#include <list>
#include <random>
#include <unordered_map>

#include "tests/integration/node.h"

namespace banyan {
namespace {

using ctl::TraceRequest;

constexpr uint64_t kHostBytes = 4 * kMiB;
constexpr uint64_t kBlockBytes = 16 * kKiB;
constexpr size_t kRequests = 1500;

// Conversations that grow turn by turn over a few shared system prompts.
std::vector<TraceRequest> MakeTrace(uint32_t seed) {
  std::mt19937 random(seed);
  uint64_t next_block = 1;
  const auto grow = [&](std::vector<uint64_t>& blocks, size_t count) {
    for (size_t i = 0; i < count; ++i) blocks.push_back(next_block++);
  };
  std::vector<std::vector<uint64_t>> systems(6);
  for (auto& system : systems) grow(system, 2 + random() % 12);
  std::vector<std::vector<uint64_t>> talks;
  std::vector<TraceRequest> trace;
  while (trace.size() < kRequests) {
    if (talks.empty() || random() % 4 == 0) {
      talks.push_back(systems[random() % systems.size()]);
    }
    // The latest talks go on, each until it is a fraction of the cache.
    auto& talk =
        talks[talks.size() - 1 - random() % std::min<size_t>(talks.size(), 20)];
    if (talk.size() > 48) talk = systems[random() % systems.size()];
    grow(talk, 1 + random() % 5);
    trace.push_back({.timestamp_ms = trace.size(), .blocks = talk});
  }
  return trace;
}

// Hits of an LRU of `capacity` blocks.
uint64_t LruHits(const std::vector<TraceRequest>& trace, size_t capacity) {
  std::list<uint64_t> order;  // Most recent first.
  std::unordered_map<uint64_t, std::list<uint64_t>::iterator> places;
  uint64_t hits = 0;
  for (const TraceRequest& request : trace) {
    bool is_leading = true;
    for (const uint64_t block : request.blocks) {
      is_leading = is_leading && places.contains(block);
      hits += is_leading ? 1 : 0;
    }
    for (auto it = request.blocks.rbegin(); it != request.blocks.rend(); ++it) {
      const auto found = places.find(*it);
      if (found != places.end()) order.erase(found->second);
      order.push_front(*it);
      places[*it] = order.begin();
    }
    while (order.size() > capacity) {
      places.erase(order.back());
      order.pop_back();
    }
  }
  return hits;
}

class ReplayTest : public ::testing::TestWithParam<uint32_t> {};

TEST_P(ReplayTest, HitsAreThoseOfAnLruAndNoByteIsWrong) {
  const uint32_t seed = GetParam();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  const std::vector<TraceRequest> trace = MakeTrace(seed);
  server::Config config = testing::SmallConfig(kHostBytes);
  config.eviction = "lru";
  auto server = server::Server::Start(config);
  ASSERT_TRUE(server.ok()) << server.status();
  const auto client =
      Client::Connect({.endpoint = testing::EndpointOf(**server)});
  ASSERT_TRUE(client.ok());
  ASSERT_TRUE((*client)->WaitReady(5000).ok());
  const auto report =
      ctl::Replay(**client, trace, ctl::OpaqueReplay(kBlockBytes),
                  [](size_t, size_t, double) {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->wrong_bytes, 0u) << report->first_error;
  EXPECT_EQ(report->errors, 0u) << report->first_error;

  const uint64_t capacity = (*server)->store().HostUsage().blocks;
  const uint64_t wanted = LruHits(trace, capacity);
  const uint64_t endless = LruHits(trace, SIZE_MAX);
  ASSERT_LT(wanted, endless) << "the node is too large for this test";
  // A policy that wasted a tenth of the room would be noticed.
  ASSERT_GT(wanted - LruHits(trace, capacity * 9 / 10),
            report->blocks_requested * 3 / 1000);
  const double points =
      100.0 *
      (static_cast<double>(report->blocks_hit) - static_cast<double>(wanted)) /
      static_cast<double>(report->blocks_requested);
  EXPECT_LE(std::abs(points), 0.3)
      << report->blocks_hit << " hits, an LRU of " << capacity << " blocks has "
      << wanted << ", an endless one " << endless << ", of "
      << report->blocks_requested;
}

// The open loop keeps the times of the trace, runs requests side by side, and
// still reads no wrong byte; blocks have the shape of a model, in layers.
TEST(OpenLoopTest, RequestsStartAtTheirTimesAndNoByteIsWrong) {
  std::vector<TraceRequest> trace = MakeTrace(4);
  trace.resize(300);  // Timestamps 0 to 299 ms.
  auto server = server::Server::Start(testing::SmallConfig(kHostBytes));
  ASSERT_TRUE(server.ok()) << server.status();
  const auto client =
      Client::Connect({.endpoint = testing::EndpointOf(**server)});
  ASSERT_TRUE(client.ok());
  ASSERT_TRUE((*client)->WaitReady(5000).ok());
  auto options = ctl::ShapedReplay("4x2x64:fp16", 16, "");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->block_bytes, 4u * 2 * 16 * 2 * 64 * 2);
  EXPECT_EQ(options->piece_bytes, 2u * 16 * 2 * 64 * 2);
  options->is_open_loop = true;
  options->speed = 0.5;

  const auto report =
      ctl::Replay(**client, trace, *options, [](size_t, size_t, double) {});

  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->requests, 300u);
  EXPECT_GE(report->seconds, 0.598);
  EXPECT_GT(report->blocks_hit, 0u);
  EXPECT_EQ(report->wrong_bytes, 0u) << report->first_error;
  EXPECT_EQ(report->errors, 0u) << report->first_error;
}

// The same memory holds more blocks of a namespace with a codec.
TEST(CodecReplayTest, ACodecRaisesTheHitRatioAndNoByteIsWrong) {
  std::vector<TraceRequest> trace = MakeTrace(5);
  trace.resize(200);
  const auto run = [&](const std::string& kv_codec) {
    auto config = testing::SmallConfig(2 * kMiB);
    config.eviction = "lru";
    auto server = server::Server::Start(config);
    const auto client =
        Client::Connect({.endpoint = testing::EndpointOf(**server)});
    EXPECT_TRUE((*client)->WaitReady(5000).ok());
    const auto options = ctl::ShapedReplay("4x2x64:bf16", 16, kv_codec);
    EXPECT_TRUE(options.ok()) << options.status();
    auto report =
        ctl::Replay(**client, trace, *options, [](size_t, size_t, double) {});
    EXPECT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->wrong_bytes, 0u) << report->first_error;
    EXPECT_EQ(report->errors, 0u) << report->first_error;
    return *std::move(report);
  };
  const ctl::ReplayReport raw = run("");
  const ctl::ReplayReport encoded = run("k=rotlm4,v=int4,sink=4");
  EXPECT_EQ(raw.stored_block_bytes, 4u * 2 * 16 * 2 * 64 * 2);
  EXPECT_LT(encoded.stored_block_bytes, raw.stored_block_bytes / 3);
  EXPECT_GT(encoded.blocks_hit, raw.blocks_hit);
}

TEST(OpenLoopTest, ShapesThatAreNoneAreRefused) {
  for (const char* shape : {"", "32x8", "32x8x128x1", "ax8x128", "32x8x128:f",
                            "32x8x128:bf16:x", "0x8x128", "-1x8x128"}) {
    EXPECT_TRUE(
        absl::IsInvalidArgument(ctl::ShapedReplay(shape, 512, "").status()))
        << shape;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ReplayTest, ::testing::Values(1u, 2u, 3u));

}  // namespace
}  // namespace banyan
