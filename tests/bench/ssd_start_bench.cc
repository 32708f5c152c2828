// DUR-4 and DUR-6: how long a start takes until the first block is served, with
// the catalogue, and without it, when the headers of all records are read.
//
//   first_hit_s       from Open to the first verified block
//   rebuild_s         the same after the catalogue was deleted
//   header_scan_gb_s  segment bytes covered by the scan in a second, payloads
//                     included; read_share is how much of them was read
//   heap_bytes_per_block  memory that the started tier holds for each block
//
// --dir D --blocks N --block-bytes N --tiny. Prints one JSON object.
#include <malloc.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/units.h"
#include "nlohmann/json.hpp"
#include "tests/testing/self_describing.h"
#include "tests/testing/temp_directory.h"
#include "tiers/ssd/ssd_tier.h"

namespace banyan::tiers {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

struct Arguments {
  std::string directory;
  uint64_t blocks = 1'000'000;
  uint64_t block_bytes = 4096;
};

Arguments Parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--tiny") {
      arguments.blocks = 1000;
      continue;
    }
    BANYAN_CHECK(i + 1 < argc);
    const std::string value = argv[++i];
    if (name == "--dir") arguments.directory = value;
    if (name == "--blocks") arguments.blocks = std::stoull(value);
    if (name == "--block-bytes") arguments.block_bytes = *ParseBytes(value);
  }
  return arguments;
}

std::unique_ptr<SsdTier> Open(const Arguments& arguments,
                              const fs::path& path) {
  SsdTier::Options options;
  options.directories = {path};
  options.capacity_bytes =
      arguments.blocks * (arguments.block_bytes + 8 * kKiB) + kGiB;
  options.node_id = "bench";
  options.queue_depth = 32;
  options.commit_rows = 4096;
  auto tier = SsdTier::Open(options);
  BANYAN_CHECK(tier.ok());
  return *std::move(tier);
}

void StoreSome(SsdTier& tier, const Arguments& arguments, uint64_t first,
               uint64_t count) {
  std::vector<SsdTier::StoreRequest> requests;
  for (uint64_t n = first; n < first + count; ++n) {
    auto staged = tier.Stage(arguments.block_bytes);
    BANYAN_CHECK(staged.ok());
    testing::FillPayloadNo(n, (*staged)->bytes());
    BlockHeader header = testing::HeaderNo(n, (*staged)->bytes());
    requests.push_back({.id = testing::IdNo(n),
                        .header = std::move(header),
                        .staged = *std::move(staged)});
  }
  for (const absl::Status& status :
       tier.StoreBatch(std::move(requests), SsdTier::Durability::kWritten)) {
    BANYAN_CHECK(status.ok());
  }
}

void Fill(SsdTier& tier, const Arguments& arguments) {
  constexpr uint64_t kAtOnce = 50;
  std::atomic<uint64_t> next{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (uint64_t n = next.fetch_add(kAtOnce); n < arguments.blocks;
           n = next.fetch_add(kAtOnce)) {
        StoreSome(tier, arguments, n, std::min(kAtOnce, arguments.blocks - n));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  BANYAN_CHECK(tier.Sync().ok());
}

uint64_t HeapBytes() {
  const struct mallinfo2 heap = mallinfo2();
  return heap.uordblks + heap.hblkhd;
}

// Seconds until a block of the middle is read and verified.
double StartAndRead(const Arguments& arguments, const fs::path& path, Json& out,
                    const char* prefix) {
  const uint64_t heap_before = HeapBytes();
  const auto start = std::chrono::steady_clock::now();
  const auto tier = Open(arguments, path);
  BANYAN_CHECK(
      testing::ReadNo(*tier, arguments.blocks / 2, arguments.block_bytes).ok());
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  const SsdOpenReport& report = tier->open_report();
  BANYAN_CHECK(report.blocks == arguments.blocks);
  const std::string name = prefix;
  out[name + "_s"] = seconds;
  if (!report.is_rebuilt) {
    out["heap_bytes_per_block"] =
        static_cast<double>(HeapBytes() - heap_before) /
        static_cast<double>(arguments.blocks);
    return seconds;
  }
  const double scan_s = absl::ToDoubleSeconds(report.scan_time);
  out["header_scan_s"] = scan_s;
  out["header_scan_gb_s"] =
      static_cast<double>(report.scan_covered_bytes) / 1e9 / scan_s;
  out["read_share"] = static_cast<double>(report.scan_read_bytes) /
                      static_cast<double>(report.scan_covered_bytes);
  return seconds;
}

int Main(int argc, char** argv) {
  const Arguments arguments = Parse(argc, argv);
  const testing::TempDirectory temporary;
  const fs::path base = arguments.directory.empty()
                            ? fs::path(temporary.path())
                            : fs::path(arguments.directory);
  const fs::path path = base / "start";
  Json out = {{"blocks", arguments.blocks},
              {"block_bytes", arguments.block_bytes}};
  Fill(*Open(arguments, path), arguments);
  StartAndRead(arguments, path, out, "first_hit");
  fs::remove_all(path / "catalogue");
  StartAndRead(arguments, path, out, "rebuild");
  fs::remove_all(path);
  std::printf("%s\n", out.dump(1).c_str());
  return 0;
}

}  // namespace
}  // namespace banyan::tiers

int main(int argc, char** argv) { return banyan::tiers::Main(argc, argv); }
