// DUR-4 and DUR-6: how long a node that keeps a million blocks on its SSD takes
// from the start of its process until a client holds the first verified block;
// and how fast the blocks are found without a catalogue.
//
//   DUR-4   seconds to the first block, the node before having been stopped
//   DUR-4b  the same after kill -9, with blocks written up to that moment
//   DUR-6   segment bytes covered in a second, payloads included, by a start of
//           the tier without its catalogue, rows written; beside it what plain
//           reads of the same files bring: 2 MiB at once, four at a time
//
// Before each start the kernel is told to forget the pages of the directory's
// files, so that the catalogue comes from the device.
//
// --dir D --blocks N --block-bytes N --repeats N --tiny. Prints one JSON object.
// A run that finds other bytes than were written, or fewer blocks, fails.
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/units.h"
#include "cache_server/engine/chain_ids.h"
#include "cache_server/engine/namespace_note.h"
#include "cache_server/engine/namespace_registry.h"
#include "cache_server/engine/place_record.h"
#include "cache_server/node_identity.h"
#include "client/cpp/client.h"
#include "client/ctl/payload.h"
#include "nlohmann/json.hpp"
#include "tests/bench/harness/child.h"
#include "tests/bench/harness/cpu_share.h"
#include "tests/integration/node.h"
#include "tests/testing/temp_directory.h"
#include "tiers/io/buffer_pool.h"
#include "tiers/ssd/ssd_tier.h"

namespace banyan::bench {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using SteadyClock = std::chrono::steady_clock;
using tiers::SsdTier;

constexpr uint32_t kChainBlocks = 64;
constexpr size_t kKeyBytes = 32;
constexpr uint32_t kGroupBlocks = 32;  // The node's default.
constexpr char kSpace[] = "bench";

struct Arguments {
  std::string directory;
  uint64_t blocks = 1'000'000;
  uint64_t block_bytes = 4096;
  int repeats = 3;

  uint64_t chains() const { return blocks / kChainBlocks; }
  uint64_t ssd_bytes() const {
    return blocks * (block_bytes + 8 * kKiB) + kGiB;
  }
};

Arguments Parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--tiny") {
      arguments.blocks = 1280;
      arguments.repeats = 1;
      continue;
    }
    BANYAN_CHECK(i + 1 < argc);
    const std::string value = argv[++i];
    if (name == "--dir") arguments.directory = value;
    if (name == "--blocks") arguments.blocks = std::stoull(value);
    if (name == "--block-bytes") arguments.block_bytes = *ParseBytes(value);
    if (name == "--repeats") arguments.repeats = std::stoi(value);
  }
  arguments.blocks = arguments.chains() * kChainBlocks;
  BANYAN_CHECK(arguments.blocks > 0);
  return arguments;
}

double SecondsSince(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

std::string ChainKeys(uint64_t chain) {
  std::string keys(kChainBlocks * kKeyBytes, '\0');
  for (uint32_t i = 0; i < kChainBlocks; ++i) {
    auto* const key = reinterpret_cast<std::byte*>(&keys[i * kKeyBytes]);
    StoreLe64(chain, key);
    StoreLe64(i, key + 8);
  }
  return keys;
}

absl::string_view KeyOf(const std::string& keys, uint32_t i) {
  return absl::string_view(keys).substr(i * kKeyBytes, kKeyBytes);
}

// Opens the tier as the node of this directory would.
std::unique_ptr<SsdTier> OpenTier(const Arguments& arguments,
                                  const fs::path& path) {
  const auto identity = server::LoadNodeIdentity(path);
  BANYAN_CHECK(identity.ok());
  SsdTier::Options options;
  options.directories = {path};
  options.capacity_bytes = arguments.ssd_bytes();
  options.node_id = identity->node_id;
  options.queue_depth = 32;
  options.commit_rows = 4096;
  auto tier = SsdTier::Open(options);
  BANYAN_CHECK(tier.ok());
  return *std::move(tier);
}

// Writes what a node would have moved to its SSD, without the node.
class Filler {
 public:
  Filler(const Arguments& arguments, const fs::path& path)
      : arguments_(arguments),
        path_(path),
        registry_({.node_secret = server::LoadNodeIdentity(path)->secret}),
        ns_(registry_.Open(kSpace, testing::OpaqueFingerprint())->ns) {}

  void Fill() {
    const auto tier = OpenTier(arguments_, path_);
    BANYAN_CHECK(tier->PutNote(ns_->id, engine::SerializeNamespaceNote(
                                            {.name = ns_->name,
                                             .fingerprint = ns_->fingerprint}))
                     .ok());
    std::atomic<uint64_t> next{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (uint64_t chain = next++; chain < arguments_.chains();
             chain = next++) {
          StoreChain(*tier, chain);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    BANYAN_CHECK(tier->Sync().ok());
  }

 private:
  void StoreChain(SsdTier& tier, uint64_t chain) const {
    const std::string keys = ChainKeys(chain);
    const KeyRun run = {.keys = keys, .key_bytes = kKeyBytes};
    const engine::ChainIds ids(run, ns_->unsalted, kGroupBlocks);
    // As many at once as the staging memory holds.
    const auto at_once = static_cast<uint32_t>(std::clamp<uint64_t>(
        16 * kMiB / arguments_.block_bytes, 1, kChainBlocks));
    for (uint32_t first = 0; first < kChainBlocks; first += at_once) {
      std::vector<SsdTier::StoreRequest> requests;
      for (uint32_t i = first; i < std::min(first + at_once, kChainBlocks);
           ++i) {
        requests.push_back(RequestOf(tier, keys, ids, i));
      }
      for (const absl::Status& status : tier.StoreBatch(
               std::move(requests), SsdTier::Durability::kWritten)) {
        BANYAN_CHECK(status.ok());
      }
    }
  }

  SsdTier::StoreRequest RequestOf(SsdTier& tier, const std::string& keys,
                                  const engine::ChainIds& ids,
                                  uint32_t i) const {
    auto staged = tier.Stage(arguments_.block_bytes);
    BANYAN_CHECK(staged.ok());
    const absl::Span<std::byte> payload = (*staged)->bytes();
    ctl::FillPayload(kSpace, KeyOf(keys, i), payload);
    BlockHeader header;
    header.identity = {.namespace_id = ns_->id,
                       .salt_digest = ns_->empty_salt_digest,
                       .key = *BlockKey::FromBytes(KeyOf(keys, i))};
    header.payload_bytes = payload.size();
    header.piece_bytes = payload.size();
    header.pieces = {PieceChecksum(header.identity.ChecksumSeed(), 0, payload)};
    engine::PlaceRecord record = {
        .namespace_id = ns_->id,
        .group_blocks = kGroupBlocks,
        .place = {.head = ids[i / kGroupBlocks * kGroupBlocks], .depth = i}};
    if (!ids.StartsGroup(i)) record.place.parent = ids[i - 1];
    return {.id = ids[i],
            .header = std::move(header),
            .staged = *std::move(staged),
            .annotation = engine::SerializePlaceRecord(record)};
  }

  const Arguments arguments_;
  const fs::path path_;
  engine::NamespaceRegistry registry_;
  const engine::NamespacePtr ns_;
};

std::vector<fs::path> FilesBelow(const fs::path& path) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

void ForgetPages(const fs::path& path) {
  for (const fs::path& file : FilesBelow(path)) {
    const int fd = open(file.c_str(), O_RDONLY);
    BANYAN_CHECK(fd >= 0);
    fdatasync(fd);  // Dirty pages cannot be forgotten.
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
  }
}

// A banyan-server over the directory, and a client that got a block from it.
class StartedNode {
 public:
  StartedNode(const Arguments& arguments, const fs::path& path)
      : arguments_(arguments), start_(SteadyClock::now()) {
    server_ = std::make_unique<Child>(
        BANYAN_BIN_DIR "/banyan-server",
        std::vector<std::string>{
            "banyan-server", "--dev", "--grpc-port", "0", "--ssd-dir",
            path.string(), "--ssd-bytes",
            absl::StrCat(arguments.ssd_bytes() / kMiB, "MiB")});
    const std::string ready = server_->ReadLine();
    constexpr std::string_view kReady = "READY grpc=";
    BANYAN_CHECK(ready.starts_with(kReady));
    ready_s_ = SecondsSince(start_);
    const std::string endpoint = ready.substr(
        kReady.size(), ready.find(' ', kReady.size()) - kReady.size());
    auto client = Client::Connect(
        {.endpoint = endpoint, .engine = "bench", .lookup_timeout_ms = 10'000});
    BANYAN_CHECK(client.ok());
    client_ = *std::move(client);
    BANYAN_CHECK(client_->WaitReady(10'000).ok());
    const auto opened =
        client_->OpenNamespace(kSpace, testing::OpaqueFingerprint());
    BANYAN_CHECK(opened.ok());
    namespace_id_ = opened->id;
    CheckChain(arguments.chains() / 2, 1);
    first_hit_s_ = SecondsSince(start_);
  }

  double ready_s() const { return ready_s_; }
  double first_hit_s() const { return first_hit_s_; }
  pid_t pid() const { return server_->pid(); }

  // Reads the first blocks of a chain and compares each byte.
  void CheckChain(uint64_t chain, uint32_t blocks) {
    const std::string keys = ChainKeys(chain);
    std::vector<std::vector<std::byte>> buffers(
        blocks, std::vector<std::byte>(arguments_.block_bytes));
    std::vector<std::span<std::byte>> spans(buffers.begin(), buffers.end());
    const Completion got = client_->Get(
        namespace_id_, {.keys = keys.substr(0, blocks * kKeyBytes)}, 0, spans);
    BANYAN_CHECK(got.status.ok() && got.hit_blocks == blocks);
    for (uint32_t i = 0; i < blocks; ++i) {
      BANYAN_CHECK(ctl::VerifyPayload(kSpace, KeyOf(keys, i), buffers[i], 0,
                                      arguments_.block_bytes)
                       .ok());
    }
  }

  // Writes a chain that is to be found after a kill -9 that follows.
  void PutDurably(uint64_t chain) {
    const std::string keys = ChainKeys(chain);
    std::vector<std::vector<std::byte>> payloads(
        kChainBlocks, std::vector<std::byte>(arguments_.block_bytes));
    std::vector<std::span<const std::byte>> spans;
    for (uint32_t i = 0; i < kChainBlocks; ++i) {
      ctl::FillPayload(kSpace, KeyOf(keys, i), absl::MakeSpan(payloads[i]));
      spans.emplace_back(payloads[i]);
    }
    const Completion put = client_->Put(namespace_id_, {.keys = keys}, 0, spans,
                                        {.durability = Durability::kDurable});
    BANYAN_CHECK(put.status.ok());
    for (const WriteResult result : put.writes) {
      BANYAN_CHECK(result == WriteResult::kCommitted ||
                   result == WriteResult::kExists);
    }
  }

  // Blocks that the node says it can find.
  uint64_t CountMatches(uint64_t chains) {
    uint64_t hits = 0;
    for (uint64_t chain = 0; chain < chains; ++chain) {
      const auto matched =
          client_->Match(namespace_id_, {.keys = ChainKeys(chain)});
      BANYAN_CHECK(matched.ok());
      hits += *matched;
    }
    return hits;
  }

 private:
  const Arguments arguments_;
  const SteadyClock::time_point start_;
  std::unique_ptr<Child> server_;
  std::unique_ptr<Client> client_;
  std::string namespace_id_;
  double ready_s_ = 0;
  double first_hit_s_ = 0;
};

struct Starts {
  std::vector<double> ready_s;
  std::vector<double> first_hit_s;
  std::vector<double> cpu_s;  // Of the node, up to then.
  std::vector<double> others;
};

double CpuSecondsOf(pid_t pid) {
  std::ifstream stat(absl::StrCat("/proc/", pid, "/stat"));
  std::string text;
  std::getline(stat, text);
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

Starts MeasureStarts(const Arguments& arguments, const fs::path& path,
                     int end_signal) {
  Starts starts;
  // Written before each kill -9; the last one is read again at the end.
  uint64_t written = arguments.chains();
  for (int i = 0; i <= arguments.repeats; ++i) {
    ForgetPages(path);
    CpuShare share({});
    StartedNode node(arguments, path);
    if (i > 0) {  // The first start only comes before the first end.
      starts.ready_s.push_back(node.ready_s());
      starts.first_hit_s.push_back(node.first_hit_s());
      starts.cpu_s.push_back(CpuSecondsOf(node.pid()));
      starts.others.push_back(std::max(
          0.0,
          share.OthersSinceStart() - starts.cpu_s.back() / node.first_hit_s()));
    }
    for (uint64_t c = arguments.chains(); c < written; ++c) {
      node.CheckChain(c, kChainBlocks);
    }
    if (i == arguments.repeats) {
      BANYAN_CHECK(node.CountMatches(written) == written * kChainBlocks);
    }
    if (end_signal == SIGKILL) node.PutDurably(written++);
    kill(node.pid(), end_signal);
  }
  return starts;
}

uint64_t HeapBytes() {
  const struct mallinfo2 heap = mallinfo2();
  return heap.uordblks + heap.hblkhd;
}

// GB/s of reading these files as a disk likes it best, `depth` at a time.
double PlainReadGbS(const std::vector<fs::path>& files, int depth) {
  constexpr uint64_t kAtOnce = 2 * kMiB;
  std::atomic<size_t> next{0};
  std::atomic<uint64_t> bytes{0};
  const auto start = SteadyClock::now();
  std::vector<std::thread> threads;
  for (int t = 0; t < depth; ++t) {
    threads.emplace_back([&] {
      tiers::BufferPool pool(kAtOnce);
      const auto buffer = pool.Take(kAtOnce);
      BANYAN_CHECK(buffer.ok());
      for (size_t f = next++; f < files.size(); f = next++) {
        const int fd = open(files[f].c_str(), O_RDONLY | O_DIRECT);
        BANYAN_CHECK(fd >= 0);
        uint64_t at = 0;
        while (true) {
          const ssize_t n = pread(fd, buffer->bytes().data(), kAtOnce,
                                  static_cast<off_t>(at));
          BANYAN_CHECK(n >= 0);
          if (n == 0) break;
          at += static_cast<uint64_t>(n);
        }
        bytes += at;
        close(fd);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return static_cast<double>(bytes) / 1e9 / SecondsSince(start);
}

// Starts the tier alone, with and without its catalogue.
class TierStarts {
 public:
  TierStarts(const Arguments& arguments, const fs::path& path)
      : arguments_(arguments), path_(path) {}

  void MeasureWithCatalogue(Json& facts) const {
    ForgetPages(path_);
    const uint64_t heap_before = HeapBytes();
    const auto tier = OpenTier(arguments_, path_);
    const tiers::SsdOpenReport& report = tier->open_report();
    BANYAN_CHECK(!report.is_rebuilt && report.blocks >= arguments_.blocks);
    facts["tier_open_s"] = absl::ToDoubleSeconds(report.open_time);
    facts["tier_heap_bytes_per_block"] =
        static_cast<double>(HeapBytes() - heap_before) /
        static_cast<double>(report.blocks);
  }

  struct Scan {
    double gb_s = 0;
    double plain_gb_s = 0;
  };
  Scan MeasureWithout(Json& facts) const {
    fs::remove_all(path_ / "catalogue");
    std::vector<fs::path> segments = FilesBelow(path_ / "segments");
    // Which comes first may matter to the host's cache: one before, one after.
    const double before = PlainReadGbS(segments, 4);
    const auto tier = OpenTier(arguments_, path_);
    const tiers::SsdOpenReport& report = tier->open_report();
    BANYAN_CHECK(report.is_rebuilt && report.blocks >= arguments_.blocks);
    const double after = PlainReadGbS(segments, 4);
    const double scan_s = absl::ToDoubleSeconds(report.scan_time);
    facts["scan_s"].push_back(scan_s);
    facts["scan_read_share"] = static_cast<double>(report.scan_read_bytes) /
                               static_cast<double>(report.scan_covered_bytes);
    return {
        .gb_s = static_cast<double>(report.scan_covered_bytes) / 1e9 / scan_s,
        .plain_gb_s = std::max(before, after)};
  }

 private:
  const Arguments arguments_;
  const fs::path path_;
};

Json Entry(const char* what, std::vector<double> values, const char* unit,
           double floor, double goal, const char* better) {
  const std::vector<double> repeats = values;
  std::sort(values.begin(), values.end());
  return {{"what", what},          {"value", values[values.size() / 2]},
          {"min", values.front()}, {"max", values.back()},
          {"unit", unit},          {"floor", floor},
          {"goal", goal},          {"better", better},
          {"repeats", repeats}};
}

Json StartEntry(const char* what, const Starts& starts) {
  Json entry = Entry(what, starts.first_hit_s, "s", 2, 1, "lower");
  entry["ready_s"] = starts.ready_s;
  entry["cpu_s"] = starts.cpu_s;
  entry["other_cpu_cores"] = starts.others;
  return entry;
}

Json ScanEntry(const Arguments& arguments, const fs::path& path, Json facts) {
  const TierStarts starts(arguments, path);
  std::vector<double> scans, plain, ratios, others;
  for (int i = 0; i < arguments.repeats; ++i) {
    CpuShare share({});
    const TierStarts::Scan scan = starts.MeasureWithout(facts);
    others.push_back(share.OthersSinceStart());
    scans.push_back(scan.gb_s);
    plain.push_back(scan.plain_gb_s);
    ratios.push_back(scan.gb_s / scan.plain_gb_s);
  }
  Json entry = Entry("start without the catalogue: segments scanned", scans,
                     "GB/s", 0.5, 1, "higher");
  entry["plain_read_gb_s"] = plain;
  entry["share_of_plain_read"] = ratios;
  entry["other_cpu_cores"] = others;
  entry["facts"] = std::move(facts);
  return entry;
}

int Main(int argc, char** argv) {
  const Arguments arguments = Parse(argc, argv);
  const testing::TempDirectory temporary;
  const fs::path base = arguments.directory.empty()
                            ? fs::path(temporary.path())
                            : fs::path(arguments.directory);
  const fs::path path = base / "start";
  fs::create_directories(path);
  Json facts = {{"blocks", arguments.blocks},
                {"block_bytes", arguments.block_bytes}};
  const auto fill_start = SteadyClock::now();
  Filler(arguments, path).Fill();
  facts["fill_s"] = SecondsSince(fill_start);
  Json out;
  out["DUR-4"] = StartEntry("node start to first verified block, 10^6 blocks",
                            MeasureStarts(arguments, path, SIGTERM));
  out["DUR-4b"] = StartEntry("the same after kill -9",
                             MeasureStarts(arguments, path, SIGKILL));
  TierStarts(arguments, path).MeasureWithCatalogue(facts);
  out["DUR-6"] = ScanEntry(arguments, path, std::move(facts));
  fs::remove_all(path);
  std::printf("%s\n", out.dump(1).c_str());
  return 0;
}

}  // namespace
}  // namespace banyan::bench

int main(int argc, char** argv) { return banyan::bench::Main(argc, argv); }
