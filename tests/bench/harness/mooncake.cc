#include "tests/bench/harness/mooncake.h"

#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace banyan::bench {
namespace {

std::vector<std::string> PeerCommand(Mooncake::Door door,
                                     const std::string& venv,
                                     uint64_t block_bytes, uint64_t blocks) {
  // By its first argument Python finds its packages.
  return {venv + "/bin/python",
          BANYAN_SOURCE_DIR "/tests/bench/peers/mooncake_peer.py",
          door == Mooncake::Door::kShm ? "shm" : "tcp",
          absl::StrCat(block_bytes),
          absl::StrCat(blocks),
          venv};
}

}  // namespace

Mooncake::Mooncake(Door door, const std::string& venv, uint64_t block_bytes,
                   uint64_t blocks)
    : peer_(venv + "/bin/python", PeerCommand(door, venv, block_bytes, blocks)),
      pids_{peer_.pid()} {
  // Its log lines may come first.
  std::string line = peer_.ReadLine();
  while (!line.empty() && !line.starts_with("ready ")) line = peer_.ReadLine();
  if (line.empty()) {
    std::fprintf(stderr, "bench: no Mooncake. See what it said above.\n");
    std::exit(3);
  }
  std::istringstream words(line.substr(6));
  for (pid_t pid = 0; words >> pid;) pids_.push_back(pid);
}

Timing Mooncake::Get(uint64_t batch, double seconds, Look look) {
  const char* const what = look == Look::kAllBytes ? "get " : "get_ends ";
  return Ask(absl::StrCat(what, batch, " ", seconds));
}

Timing Mooncake::Exists(uint64_t keys, double seconds) {
  return Ask(absl::StrCat("exists ", keys, " ", seconds));
}

Timing Mooncake::Ask(const std::string& question) {
  peer_.WriteLine(question);
  const auto answer = nlohmann::json::parse(peer_.ReadLine());
  return {.calls = answer.at("calls"),
          .seconds = answer.at("seconds"),
          .us = answer.at("us")};
}

}  // namespace banyan::bench
