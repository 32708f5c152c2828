// R11, R11s, R20: how long a question takes with nothing else in flight. Each
// measure is the median latency of its calls.
//
// R11   match of one key over gRPC ÷ Redis GET of 128 bytes over TCP
// R11s  the same through shared memory
// R20   match of 512 keys through shared memory, all stored
#include <iostream>

#include "base/check.h"
#include "base/units.h"
#include "tests/bench/harness/comparison.h"
#include "tests/bench/harness/node.h"
#include "tests/bench/harness/redis.h"
#include "tests/bench/harness/timing.h"
#include "tests/integration/node.h"

namespace banyan::bench {
namespace {

constexpr size_t kKeys = 512;
constexpr size_t kValueBytes = 128;
constexpr size_t kAnswerBytes = 6 + kValueBytes + 2;  // "$128\r\n" ... "\r\n".

// A node with the chain, asked by one transport.
class Questions {
 public:
  explicit Questions(TransportKind transport)
      : node_({.host_bytes = 64 * kMiB, .transport = transport}),
        keys_(testing::ChainKeys("small", kKeys)) {
    const auto values = Payload("small", kKeys * kValueBytes);
    node_.Put(keys_, Split(std::span<const std::byte>(values), kValueBytes));
  }

  // Of the first so many keys.
  double MatchUs(size_t count, double seconds) {
    const std::string keys = keys_.substr(0, count * keys_.size() / kKeys);
    return TimeCalls(seconds, [&] { node_.Match(keys); }).us;
  }

  pid_t pid() const { return node_.pid(); }

 private:
  Node node_;
  const std::string keys_;
};

nlohmann::ordered_json CompareWithRedis(const Target& target,
                                        const Arguments& arguments,
                                        const char* name,
                                        Questions& questions) {
  const double seconds = arguments.seconds();
  Redis redis;
  const auto value = Payload("small", kValueBytes);
  redis.Set("small",
            {reinterpret_cast<const char*>(value.data()), value.size()});
  const std::string command = RedisCommand({"GET", "small"});
  return Compare(
      target, arguments,
      {.name = name,
       .unit = "us",
       .measure = [&] { return questions.MatchUs(1, seconds); }},
      {.name = "Redis GET, p50",
       .unit = "us",
       .measure =
           [&] {
             return TimeCalls(seconds,
                              [&] {
                                BANYAN_CHECK(redis.Call(command, kAnswerBytes)
                                                 .starts_with("$128\r\n"));
                              })
                 .us;
           }},
      {questions.pid(), redis.pid()});
}

}  // namespace
}  // namespace banyan::bench

int main(int argc, char** argv) {
  using namespace banyan::bench;
  using banyan::TransportKind;
  const Arguments arguments = ParseArguments(argc, argv);
  Questions grpc(TransportKind::kGrpc);
  Questions shm(TransportKind::kShm);
  auto all =
      CompareWithRedis({.id = "R11",
                        .what = "match of one key, gRPC, p50 / Redis GET, p50",
                        .unit = "ratio",
                        .floor = 3.0,
                        .goal = 2.0,
                        .better = "lower"},
                       arguments, "gRPC match of one key, p50", grpc);
  all.update(
      CompareWithRedis({.id = "R11s",
                        .what = "match of one key, shm, p50 / Redis GET, p50",
                        .unit = "ratio",
                        .floor = 1.2,
                        .goal = 0.5,
                        .better = "lower"},
                       arguments, "shm match of one key, p50", shm));
  all.update(ResultJson({.id = "R20",
                         .what = "match of 512 keys, shm, p50",
                         .unit = "us",
                         .floor = 150,
                         .goal = 50,
                         .better = "lower"},
                        Repeat(arguments.repeats, [&] {
                          return shm.MatchUs(kKeys, arguments.seconds());
                        })));
  std::cout << all.dump() << "\n";
  return 0;
}
