// R15, R15b: what a prefix match of 512 blocks costs per block in a forest of 10^7
// blocks, from packed keys to refs, and what the index holds per block.
//
// The forest is conversations: 64 shared system prompts of 32 to 96 blocks,
// each with branches that share half a chain with another branch; every chain
// is 512 blocks long. Chains are published in turns of 8 to 40 blocks,
// interleaved over 512 chains at a time, so that the nodes of one chain are
// spread over memory as they are in a server. Each measured match asks for a
// chain drawn at random; the forest is far larger than the private caches.
//
// Also measured, as the floor of the machine: random 64-byte reads over the
// same number of bytes, one after the other and 32 at a time.
//
// --blocks N --repeats N --matches N --seed N, or --tiny. Prints one JSON object
// by target id.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "base/block_id.h"
#include "base/block_key.h"
#include "cache_server/index/prefix_index.h"
#include "nlohmann/json.hpp"
#include "tests/bench/harness/comparison.h"
#include "tests/bench/harness/cpu_share.h"

namespace banyan::index {
namespace {

using bench::Median;

constexpr uint32_t kChainBlocks = 512;
constexpr uint32_t kPrompts = 64;
constexpr uint32_t kOpenChains = 512;
constexpr size_t kKeyBytes = 32;

struct Arguments {
  uint64_t blocks = 10'000'000;
  uint64_t repeats = 9;
  uint64_t matches = 2'000;
  uint64_t seed = 1;
};

double NanosecondsSince(std::chrono::steady_clock::time_point start) {
  const std::chrono::duration<double, std::nano> passed =
      std::chrono::steady_clock::now() - start;
  return passed.count();
}

uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t total = 0;
  uint64_t resident = 0;
  statm >> total >> resident;
  return resident * 4096;
}

// Chains as arithmetic, so that the load itself needs no memory: block b of a
// chain is named by (prompt, b), by (pair of chains, b) in the first half, or
// by (chain, b).
class Load {
 public:
  explicit Load(const Arguments& args) : seed_(args.seed) {
    for (uint64_t blocks = 0; blocks < args.blocks; ++chains_) {
      blocks += kChainBlocks - SharedBlocks(chains_);
    }
  }

  uint64_t chains() const { return chains_; }

  // The packed keys of a whole chain.
  void Keys(uint64_t chain, std::string* keys) const {
    keys->resize(kChainBlocks * kKeyBytes);
    const uint64_t prompt = Prompt(chain);
    for (uint32_t b = 0; b < kChainBlocks; ++b) {
      uint64_t owner = 2 * kPrompts + chain;
      if (b < kChainBlocks / 2) owner = 2 * kPrompts + chain / 2 * 2;
      if (b < PromptBlocks(prompt)) owner = prompt;
      for (uint64_t word = 0; word < kKeyBytes / 8; ++word) {
        const uint64_t value =
            Mix(seed_ + Mix(owner * kChainBlocks + b) * 4 + word);
        std::memcpy(keys->data() + b * kKeyBytes + word * 8, &value, 8);
      }
    }
  }

 private:
  static uint64_t Prompt(uint64_t chain) { return Mix(chain / 2) % kPrompts; }
  static uint32_t PromptBlocks(uint64_t prompt) {
    return 32 + static_cast<uint32_t>(prompt % 65);
  }
  static uint32_t SharedBlocks(uint64_t chain) {
    return chain % 2 == 1 ? kChainBlocks / 2 : PromptBlocks(Prompt(chain));
  }

  const uint64_t seed_;
  uint64_t chains_ = 0;
};

KeyRun RunOf(const std::string& keys) {
  return {.keys = keys, .key_bytes = kKeyBytes};
}

void Build(const Load& load, const BlockIdHasher& hasher, uint64_t seed,
           PrefixIndex* index) {
  std::mt19937_64 random(seed);
  std::vector<std::vector<BlockId>> ids(kOpenChains);
  std::vector<uint32_t> done(kOpenChains);
  std::vector<BlockRef> refs;
  std::string keys;
  for (uint64_t begin = 0; begin < load.chains(); begin += kOpenChains) {
    const uint64_t open =
        std::min<uint64_t>(kOpenChains, load.chains() - begin);
    for (uint64_t c = 0; c < open; ++c) {
      load.Keys(begin + c, &keys);
      hasher.HashRun(RunOf(keys), ids[c]);
      done[c] = 0;
    }
    for (bool is_open = true; is_open;) {
      is_open = false;
      for (uint64_t c = 0; c < open; ++c) {
        const auto all = absl::MakeConstSpan(ids[c]);
        const uint32_t first = done[c];
        const uint32_t turn = std::min<uint32_t>(
            8 + static_cast<uint32_t>(random() % 33), kChainBlocks - first);
        if (turn == 0) continue;
        const uint32_t group = index->group_blocks();
        const uint32_t lead = first == 0 ? 0 : (first - 1) % group + 1;
        refs.clear();
        index->Publish({.ids = all.subspan(first, turn),
                        .first_block = first,
                        .lead = all.subspan(first - lead, lead)},
                       /*ns=*/0, /*now=*/0, &refs);
        done[c] += turn;
        is_open = true;
      }
    }
  }
}

struct Figures {
  std::vector<double> match_ns;  // Per block, hashing included.
  std::vector<double> ids_ns;    // Hashing alone.
  uint64_t missed = 0;
};

Figures Measure(const Arguments& args, const Load& load,
                const BlockIdHasher& hasher, PrefixIndex* index) {
  Figures figures;
  std::mt19937_64 random(args.seed + 1);
  std::vector<std::string> keys(args.matches);
  std::vector<BlockId> ids;
  std::vector<BlockRef> refs;
  const double blocks = static_cast<double>(args.matches) * kChainBlocks;
  for (uint64_t repeat = 0; repeat < args.repeats; ++repeat) {
    for (std::string& each : keys) load.Keys(random() % load.chains(), &each);
    auto start = std::chrono::steady_clock::now();
    for (const std::string& each : keys) {
      hasher.HashRun(RunOf(each), ids);
      refs.clear();
      const uint32_t now = static_cast<uint32_t>(repeat + 1);
      figures.missed +=
          kChainBlocks - index->LongestPrefix({.ids = ids}, now, &refs);
    }
    figures.match_ns.push_back(NanosecondsSince(start) / blocks);
    start = std::chrono::steady_clock::now();
    for (const std::string& each : keys) hasher.HashRun(RunOf(each), ids);
    figures.ids_ns.push_back(NanosecondsSince(start) / blocks);
  }
  return figures;
}

// Nanoseconds of a random read of one cache line; `at_once` reads overlap.
double ColdRead(const std::vector<uint64_t>& memory, size_t at_once) {
  constexpr uint64_t kReads = 1 << 20;
  const uint64_t lines = memory.size() / 8;
  uint64_t sum = 0;
  const auto start = std::chrono::steady_clock::now();
  for (uint64_t i = 0; i < kReads; i += at_once) {
    uint64_t places[32];
    for (size_t k = 0; k < at_once; ++k) {
      // With one at a time, the next place depends on what was read.
      places[k] = Mix(i + k + (at_once == 1 ? sum : 0)) % lines * 8;
      __builtin_prefetch(&memory[places[k]]);
    }
    for (size_t k = 0; k < at_once; ++k) sum += memory[places[k]];
  }
  const double passed = NanosecondsSince(start);
  if (sum == 1) std::fprintf(stderr, "-\n");  // Keeps the reads.
  return passed / kReads;
}

int Run(const Arguments& args) {
  const Load load(args);
  const BlockIdHasher hasher("bench", "namespace", "");
  const uint64_t resident_before = ResidentBytes();
  PrefixIndex index{PrefixIndex::Options{}};
  const auto start = std::chrono::steady_clock::now();
  Build(load, hasher, args.seed, &index);
  const double build_ns = NanosecondsSince(start);
  const double count = static_cast<double>(index.blocks());
  const double resident =
      static_cast<double>(ResidentBytes() - resident_before);
  const bench::CpuShare cpu({});
  const Figures figures = Measure(args, load, hasher, &index);
  const double others = cpu.OthersSinceStart();
  if (figures.missed != 0) {
    std::fprintf(stderr, "index_bench: %llu blocks missed, want 0\n",
                 static_cast<unsigned long long>(figures.missed));
    return 1;
  }
  const std::vector<uint64_t> memory(index.memory_bytes() / 8 + 8, 0);
  nlohmann::ordered_json result =
      bench::ResultJson({.id = "R15",
                         .what = "match of 512 blocks in a forest, per block",
                         .unit = "ns/block",
                         .floor = 120,
                         .goal = 60,
                         .better = "lower"},
                        figures.match_ns);
  result["R15"].update({{"ids_only_ns", Median(figures.ids_ns)},
                        {"cold_read_one_by_one_ns", ColdRead(memory, 1)},
                        {"cold_read_32_at_once_ns", ColdRead(memory, 32)},
                        {"blocks", index.blocks()},
                        {"chains", load.chains()},
                        {"matches_per_repeat", args.matches},
                        {"publish_ns_per_block", build_ns / count},
                        {"other_cpu_cores", others}});
  result.update(
      bench::ResultJson({.id = "R15b",
                         .what = "bytes of index for each block of the forest",
                         .unit = "B/block",
                         .floor = 160,
                         .goal = 96,
                         .better = "lower"},
                        {static_cast<double>(index.memory_bytes()) / count}));
  result["R15b"]["resident_bytes_per_block"] = resident / count;
  std::printf("%s\n", result.dump().c_str());
  return 0;
}

// False if the arguments are wrong.
bool Parse(int argc, char** argv, Arguments* args) {
  if (argc == 2 && std::string(argv[1]) == "--tiny") {
    *args = {.blocks = 20'000, .repeats = 1, .matches = 10};
    return true;
  }
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    const uint64_t value = std::strtoull(argv[i + 1], nullptr, 10);
    if (flag == "--blocks")
      args->blocks = value;
    else if (flag == "--repeats")
      args->repeats = value;
    else if (flag == "--matches")
      args->matches = value;
    else if (flag == "--seed")
      args->seed = value;
    else
      return false;
  }
  return argc % 2 == 1 && args->blocks > 0 && args->repeats > 0 &&
         args->matches > 0;
}

}  // namespace
}  // namespace banyan::index

int main(int argc, char** argv) {
  banyan::index::Arguments args;
  if (!banyan::index::Parse(argc, argv, &args)) {
    std::fprintf(stderr,
                 "usage: index_bench [--blocks N] [--repeats N] "
                 "[--matches N] [--seed N] | --tiny\n");
    return 2;
  }
  return banyan::index::Run(args);
}
