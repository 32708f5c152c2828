// R10: how many keys a second a client learns about with one question of 512
// keys in flight on one connection: a prefix match at the gRPC door, against
// MGET at Redis with values of 128 bytes.
//
// Both hold the same keys of 32 bytes and are asked for the same chains in the
// same order; every key is found.
#include <iostream>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/bench/harness/comparison.h"
#include "tests/bench/harness/node.h"
#include "tests/bench/harness/redis.h"
#include "tests/integration/node.h"

namespace banyan::bench {
namespace {

constexpr size_t kKeys = 512;
constexpr size_t kValueBytes = 128;
// Per value: "$128\r\n", the value, "\r\n"; before all: "*512\r\n".
constexpr size_t kAnswerBytes = 6 + kKeys * (6 + kValueBytes + 2);

class Chains {
 public:
  explicit Chains(const Arguments& arguments)
      : node_({.host_bytes = (arguments.is_tiny ? 64ull : 512ull) << 20}) {
    const size_t count = arguments.is_tiny ? 2 : 128;
    for (size_t i = 0; i < count; ++i) AddChain(absl::StrCat("match", i, "-"));
  }

  // Keys a second.
  double MeasureNode(double seconds) {
    return kKeys * CallsPerSecond(seconds, [&](uint64_t i) {
             node_.Match(chains_[i % chains_.size()]);
           });
  }
  double MeasureRedis(double seconds) {
    return kKeys * CallsPerSecond(seconds, [&](uint64_t i) {
             const auto answer =
                 redis_.Call(commands_[i % commands_.size()], kAnswerBytes);
             BANYAN_CHECK(answer.starts_with("*512\r\n$128\r\n") &&
                          answer.ends_with("\r\n"));
           });
  }

  std::vector<pid_t> pids() const { return {node_.pid(), redis_.pid()}; }

 private:
  void AddChain(const std::string& name) {
    const std::string keys = testing::ChainKeys(name, kKeys);
    const auto values = Payload(name, kKeys * kValueBytes);
    const auto parts = Split(std::span<const std::byte>(values), kValueBytes);
    node_.Put(keys, parts);
    std::vector<std::string_view> words = {"MGET"};
    for (size_t i = 0; i < kKeys; ++i) {
      const std::string_view key = testing::KeyNo(keys, i);
      const auto* const value = reinterpret_cast<const char*>(parts[i].data());
      redis_.Set(key, {value, parts[i].size()});
      words.push_back(key);
    }
    commands_.push_back(RedisCommand(words));
    chains_.push_back(keys);
  }

  Node node_;
  Redis redis_;
  std::vector<std::string> chains_;
  std::vector<std::string> commands_;
};

}  // namespace
}  // namespace banyan::bench

int main(int argc, char** argv) {
  using namespace banyan::bench;
  const Arguments arguments = ParseArguments(argc, argv);
  Chains chains(arguments);
  const auto result = Compare(
      {.id = "R10",
       .what = "match of 512 keys, gRPC / Redis MGET of 512",
       .unit = "ratio",
       .floor = 1.0,
       .goal = 2.0},
      arguments,
      {.name = "gRPC match of 512",
       .unit = "keys/s",
       .measure = [&] { return chains.MeasureNode(arguments.seconds()); }},
      {.name = "Redis MGET of 512",
       .unit = "keys/s",
       .measure = [&] { return chains.MeasureRedis(arguments.seconds()); }},
      chains.pids());
  std::cout << result.dump() << "\n";
  return 0;
}
