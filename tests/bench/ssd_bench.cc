// R6 to R9: the SSD tier against the disk itself and against RocksDB.
//
//   R6  put of 2 MiB blocks, four at a time, durable at the end, their bytes
//       already where Stage wants them, as a transport delivers them / fio
//       writing as many bytes with O_DIRECT, io_uring, depth 4
//   R6b the same, but each block is copied from memory first, eight at a time
//   R7  get of the same blocks in random order, four at a time, every checksum
//       verified / fio reading the same segment files at random, depth 4
//   R8  the put of R6b / RocksDB put of 2 MiB values (WAL on); the same get one
//       at a time / BlobDB get (R8b)
//   R9  bytes to the device for each byte of a user, from /proc/self/io: the put
//       of R6; and a replay of a real trace into a tier that holds a fraction of
//       it and drops cold blocks (R9b)
//
// Runs are interleaved: every repeat runs all of them on fresh files, and ratios
// are of one repeat. The median is the value.
//
// --dir D --bytes N --repeats N --tiny --fio PATH. Prints one JSON object.
#include <rocksdb/db.h>
#include <rocksdb/options.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "base/units.h"
#include "client/ctl/trace.h"
#include "nlohmann/json.hpp"
#include "tests/testing/self_describing.h"
#include "tests/testing/temp_directory.h"
#include "tiers/ssd/ssd_tier.h"

namespace banyan::tiers {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Seconds = std::chrono::duration<double>;

constexpr uint64_t kBlock = 2 * kMiB;
constexpr int kDepth = 4;

struct Arguments {
  std::string directory;  // Empty: a temporary one.
  uint64_t bytes = kGiB;
  int repeats = 5;
  std::string fio = "fio";
};

Arguments Parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--tiny") {
      arguments.bytes = 32 * kMiB;
      arguments.repeats = 1;
      continue;
    }
    BANYAN_CHECK(i + 1 < argc);
    const std::string value = argv[++i];
    if (name == "--dir") arguments.directory = value;
    if (name == "--bytes") arguments.bytes = *ParseBytes(value);
    if (name == "--repeats") arguments.repeats = std::stoi(value);
    if (name == "--fio") arguments.fio = value;
  }
  return arguments;
}

double Time(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return Seconds(std::chrono::steady_clock::now() - start).count();
}

// Bytes that this process caused to be written to devices.
uint64_t DeviceBytes() {
  std::ifstream io("/proc/self/io");
  std::string name;
  uint64_t value = 0;
  while (io >> name >> value) {
    if (name == "write_bytes:") return value;
  }
  return 0;
}

// GB/s that fio reports for the job. Its buffers are in huge pages, as ours are:
// without them it is up to two times slower here, and no measure of the disk.
double Fio(const Arguments& arguments, const std::string& options,
           const char* kind) {
  const std::string command =
      "GLIBC_TUNABLES=glibc.malloc.hugetlb=1 " + arguments.fio +
      " --name=j --bs=2M --ioengine=io_uring --iodepth=4 --direct=1 "
      "--output-format=json " +
      options + " 2>/dev/null";
  FILE* const pipe = popen(command.c_str(), "r");
  BANYAN_CHECK(pipe != nullptr);
  std::string text;
  char part[4096];
  while (const size_t n = fread(part, 1, sizeof part, pipe)) {
    text.append(part, n);
  }
  if (pclose(pipe) != 0) {
    std::fprintf(stderr, "ssd_bench: fio failed: %s\n", command.c_str());
    std::exit(1);
  }
  const Json report = Json::parse(text.substr(text.find('{')));
  return report["jobs"][0][kind]["bw_bytes"].get<double>() / 1e9;
}

void OnThreads(int count, uint64_t items,
               const std::function<void(uint64_t)>& run) {
  std::atomic<uint64_t> next{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < count; ++t) {
    threads.emplace_back([&] {
      for (uint64_t n = next++; n < items; n = next++) run(n);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

class Blocks {
 public:
  explicit Blocks(uint64_t count)
      : count_(count), payload_(testing::PayloadNo(0, kBlock)) {
    for (uint64_t n = 0; n < count; ++n) {
      // One payload, and for each block the checksums that belong to it.
      headers_.push_back(testing::HeaderNo(n, payload_));
      ids_.push_back(testing::IdNo(n));
    }
  }
  uint64_t count() const { return count_; }
  uint64_t bytes() const { return count_ * kBlock; }
  const std::vector<std::byte>& payload() const { return payload_; }
  const BlockHeader& header(uint64_t n) const { return headers_[n]; }
  const BlockId& id(uint64_t n) const { return ids_[n]; }

 private:
  const uint64_t count_;
  const std::vector<std::byte> payload_;
  std::vector<BlockHeader> headers_;
  std::vector<BlockId> ids_;
};

std::unique_ptr<SsdTier> OpenTier(const fs::path& path, uint64_t capacity) {
  SsdTier::Options options;
  options.directories = {path};
  options.capacity_bytes = capacity;
  options.node_id = "bench";
  options.queue_depth = 8;
  options.stage_bytes = 64 * kMiB;
  options.read_bytes = 64 * kMiB;
  options.commit_rows = 16;
  auto tier = SsdTier::Open(options);
  BANYAN_CHECK(tier.ok());
  return *std::move(tier);
}

enum class Source { kInPlace, kCopied };

// The pool's buffers, filled: Stage then hands out the payload in place.
void FillBuffers(SsdTier& tier, const Blocks& blocks) {
  std::vector<std::unique_ptr<StagedBlock>> all;
  for (int i = 0; i < kDepth; ++i) {
    auto staged = tier.Stage(kBlock);
    BANYAN_CHECK(staged.ok());
    std::memcpy((*staged)->bytes().data(), blocks.payload().data(), kBlock);
    all.push_back(*std::move(staged));
  }
}

void PutAll(SsdTier& tier, const Blocks& blocks, int depth, Source source) {
  OnThreads(depth, blocks.count(), [&](uint64_t n) {
    auto staged = tier.Stage(kBlock);
    BANYAN_CHECK(staged.ok());
    if (source == Source::kCopied) {
      std::memcpy((*staged)->bytes().data(), blocks.payload().data(), kBlock);
    }
    BANYAN_CHECK(
        tier.Store(blocks.id(n), blocks.header(n), *std::move(staged)).ok());
  });
  BANYAN_CHECK(tier.Sync().ok());
}

void GetAll(SsdTier& tier, const Blocks& blocks, int depth, uint64_t seed) {
  std::vector<uint64_t> order(blocks.count());
  for (uint64_t n = 0; n < order.size(); ++n) order[n] = n;
  std::shuffle(order.begin(), order.end(), std::mt19937_64(seed));
  OnThreads(depth, order.size(), [&](uint64_t i) {
    const uint64_t n = order[i];
    const auto pin = tier.Pin(blocks.id(n), blocks.header(n).identity);
    BANYAN_CHECK(pin.ok());
    BANYAN_CHECK((*pin)->ReadPiece(0).ok());
  });
}

rocksdb::DB* OpenRocks(const fs::path& path, bool is_blob) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.enable_blob_files = is_blob;
  options.min_blob_size = 4096;
  options.compression = rocksdb::kNoCompression;
  options.use_direct_io_for_flush_and_compaction = true;
  options.use_direct_reads = true;
  options.write_buffer_size = 64 * kMiB;
  rocksdb::DB* db = nullptr;
  BANYAN_CHECK(rocksdb::DB::Open(options, path, &db).ok());
  return db;
}

double RocksPut(rocksdb::DB& db, const Blocks& blocks) {
  const rocksdb::Slice value(
      reinterpret_cast<const char*>(blocks.payload().data()), kBlock);
  return Time([&] {
    for (uint64_t n = 0; n < blocks.count(); ++n) {
      BANYAN_CHECK(
          db.Put(rocksdb::WriteOptions(), std::to_string(n), value).ok());
    }
    BANYAN_CHECK(db.Flush(rocksdb::FlushOptions()).ok());
  });
}

double RocksGet(rocksdb::DB& db, const Blocks& blocks, uint64_t seed) {
  std::mt19937_64 random(seed);
  rocksdb::PinnableSlice value;
  return Time([&] {
    for (uint64_t i = 0; i < blocks.count(); ++i) {
      BANYAN_CHECK(db.Get(rocksdb::ReadOptions(), db.DefaultColumnFamily(),
                          std::to_string(random() % blocks.count()), &value)
                       .ok());
      BANYAN_CHECK(value.size() == kBlock);
      value.Reset();
    }
  });
}

struct Repeat {
  double put, put_copied, put_fio, get4, get4_fio, get1, get1_fio, rocks_put,
      blob_get;
  double amplification;
};

Repeat RunOnce(const Arguments& arguments, const fs::path& base,
               const Blocks& blocks, uint64_t seed) {
  Repeat r = {};
  const double gb = static_cast<double>(blocks.bytes()) / 1e9;
  const fs::path ours = base / "ours";
  const std::string fio_file = base / "fio.bin";
  {
    auto tier = OpenTier(base / "copied", blocks.bytes() + kGiB);
    r.put_copied =
        gb / Time([&] { PutAll(*tier, blocks, 2 * kDepth, Source::kCopied); });
  }
  fs::remove_all(base / "copied");
  auto tier = OpenTier(ours, blocks.bytes() + kGiB);
  FillBuffers(*tier, blocks);
  const uint64_t before = DeviceBytes();
  r.put = gb / Time([&] { PutAll(*tier, blocks, kDepth, Source::kInPlace); });
  r.amplification = static_cast<double>(DeviceBytes() - before) /
                    static_cast<double>(blocks.bytes());
  r.put_fio =
      Fio(arguments,
          "--rw=write --end_fsync=1 --size=" + std::to_string(blocks.bytes()) +
              " --filename=" + fio_file,
          "write");
  std::string files;
  uint64_t file_count = 0;
  for (const auto& entry : fs::directory_iterator(ours / "segments")) {
    files += (files.empty() ? "" : ":") + entry.path().string();
    ++file_count;
  }
  // The last segment is not full; what fio reads of it was never written.
  const std::string reading =
      "--rw=randread --readonly --io_size=" + std::to_string(blocks.bytes()) +
      " --size=" +
      std::to_string(
          std::min<uint64_t>(blocks.bytes(), 256 * kMiB * (file_count - 1))) +
      " --filename=" + files.substr(0, files.rfind(':'));
  r.get4 = gb / Time([&] { GetAll(*tier, blocks, kDepth, seed); });
  r.get4_fio = Fio(arguments, reading, "read");
  r.get1 = gb / Time([&] { GetAll(*tier, blocks, 1, seed + 1); });
  r.get1_fio = Fio(arguments, reading + " --iodepth=1", "read");
  tier.reset();
  fs::remove_all(ours);
  fs::remove(fio_file);
  const Blocks fewer(std::max<uint64_t>(4, blocks.count() / 2));
  const double fewer_gb = static_cast<double>(fewer.bytes()) / 1e9;
  {
    const std::unique_ptr<rocksdb::DB> db(OpenRocks(base / "rocks", false));
    r.rocks_put = fewer_gb / RocksPut(*db, fewer);
  }
  fs::remove_all(base / "rocks");
  {
    const std::unique_ptr<rocksdb::DB> db(OpenRocks(base / "blob", true));
    RocksPut(*db, fewer);
    r.blob_get = fewer_gb / RocksGet(*db, fewer, seed);
  }
  fs::remove_all(base / "blob");
  return r;
}

// Bytes to the device for each byte stored, when a trace flows through a tier
// that holds a tenth of it.
double ReplayAmplification(const fs::path& base, uint64_t block_bytes,
                           size_t request_count, Json& facts) {
  auto requests =
      ctl::ReadTrace(std::string(BANYAN_SOURCE_DIR) +
                     "/tests/testing/traces/mooncake_conversation.jsonl.zst");
  BANYAN_CHECK(requests.ok());
  if (requests->size() > request_count) requests->resize(request_count);
  SsdTier::Options options;
  options.directories = {base / "replay"};
  options.capacity_bytes = 3000 * block_bytes;
  options.segment_bytes = 64 * block_bytes;
  options.node_id = "bench";
  options.reclaim = SsdTier::Reclaim::kDropCold;
  auto tier = SsdTier::Open(options);
  BANYAN_CHECK(tier.ok());
  const auto payload = testing::PayloadNo(0, block_bytes);
  const uint64_t before = DeviceBytes();
  uint64_t hits = 0, asked = 0;
  for (const ctl::TraceRequest& request : *requests) {
    for (const uint64_t n : request.blocks) {
      ++asked;
      const BlockId id = testing::IdNo(n);
      if ((*tier)->Contains(id)) {
        hits += (*tier)->Pin(id, testing::IdentityNo(n)).ok() ? 1 : 0;
        continue;
      }
      auto staged = (*tier)->Stage(block_bytes);
      BANYAN_CHECK(staged.ok());
      std::memcpy((*staged)->bytes().data(), payload.data(), block_bytes);
      BANYAN_CHECK(
          (*tier)
              ->Store(id, testing::HeaderNo(n, payload), *std::move(staged))
              .ok());
    }
  }
  BANYAN_CHECK((*tier)->Sync().ok());
  const SsdCounters counters = (*tier)->counters();
  facts = {{"requests", requests->size()},
           {"blocks_asked", asked},
           {"hits", hits},
           {"user_bytes", counters.user_written_bytes},
           {"carried_bytes", counters.carried_bytes},
           {"segments_reclaimed", counters.segments_reclaimed}};
  tier->reset();
  fs::remove_all(base / "replay");
  return static_cast<double>(DeviceBytes() - before) /
         static_cast<double>(counters.user_written_bytes);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

Json Entry(const char* what, const std::vector<Repeat>& repeats,
           const std::function<double(const Repeat&)>& value, double floor,
           double goal, const char* better) {
  std::vector<double> values;
  for (const Repeat& repeat : repeats) values.push_back(value(repeat));
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  return {{"what", what}, {"value", Median(values)}, {"min", *least},
          {"max", *most}, {"unit", "ratio"},         {"floor", floor},
          {"goal", goal}, {"better", better},        {"repeats", values}};
}

Json Absolute(const std::vector<Repeat>& repeats) {
  const std::vector<std::pair<const char*, double Repeat::*>> columns = {
      {"put", &Repeat::put},
      {"put copied", &Repeat::put_copied},
      {"fio write depth 4", &Repeat::put_fio},
      {"get depth 4", &Repeat::get4},
      {"fio randread depth 4", &Repeat::get4_fio},
      {"get depth 1", &Repeat::get1},
      {"fio randread depth 1", &Repeat::get1_fio},
      {"RocksDB put", &Repeat::rocks_put},
      {"BlobDB get", &Repeat::blob_get}};
  Json all;
  for (const auto& [name, member] : columns) {
    std::vector<double> values;
    for (const Repeat& repeat : repeats) values.push_back(repeat.*member);
    all[name] = values;
  }
  return all;
}

int Main(int argc, char** argv) {
  const Arguments arguments = Parse(argc, argv);
  const testing::TempDirectory temporary;
  const fs::path base =
      arguments.directory.empty() ? temporary.path() : arguments.directory;
  fs::create_directories(base);
  const Blocks blocks(arguments.bytes / kBlock);
  std::vector<Repeat> repeats;
  for (int i = 0; i < arguments.repeats; ++i) {
    repeats.push_back(RunOnce(arguments, base, blocks, 10 + i));
  }
  Json facts;
  const size_t requests = arguments.repeats == 1 ? 100 : 800;
  const double evicting =
      ReplayAmplification(base, 256 * kKiB, requests, facts);
  Json out;
  out["R6"] = Entry(
      "SSD put / fio write, 2 MiB, depth 4", repeats,
      [](const Repeat& r) { return r.put / r.put_fio; }, 0.7, 0.97, "higher");
  out["R6"]["gb_per_s"] = Absolute(repeats);
  out["R6b"] = Entry(
      "SSD put, copied from memory / fio write, 2 MiB", repeats,
      [](const Repeat& r) { return r.put_copied / r.put_fio; }, 0.7, 0.97,
      "higher");
  out["R7"] = Entry(
      "SSD get, verified / fio randread, 2 MiB, depth 4", repeats,
      [](const Repeat& r) { return r.get4 / r.get4_fio; }, 0.7, 0.97, "higher");
  out["R7b"] = Entry(
      "SSD get, verified / fio randread, 2 MiB, depth 1", repeats,
      [](const Repeat& r) { return r.get1 / r.get1_fio; }, 0.7, 0.97, "higher");
  out["R8"] = Entry(
      "SSD put / RocksDB put with WAL, 2 MiB", repeats,
      [](const Repeat& r) { return r.put_copied / r.rocks_put; }, 2.5, 4,
      "higher");
  out["R8b"] = Entry(
      "SSD get / BlobDB get, 2 MiB, depth 1", repeats,
      [](const Repeat& r) { return r.get1 / r.blob_get; }, 3, 7, "higher");
  out["R9"] = Entry(
      "device bytes / user bytes, no reclaim", repeats,
      [](const Repeat& r) { return r.amplification; }, 1.3, 1.02, "lower");
  out["R9b"] = {{"what", "device bytes / user bytes, real trace, evicting"},
                {"value", evicting},
                {"min", evicting},
                {"max", evicting},
                {"unit", "ratio"},
                {"floor", 1.3},
                {"goal", 1.15},
                {"better", "lower"},
                {"repeats", {evicting}},
                {"facts", facts}};
  std::printf("%s\n", out.dump(1).c_str());
  return 0;
}

}  // namespace
}  // namespace banyan::tiers

int main(int argc, char** argv) { return banyan::tiers::Main(argc, argv); }
