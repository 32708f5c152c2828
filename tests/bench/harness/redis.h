// A Redis server without persistence, and the leanest client for it: commands
// are encoded beforehand, answers are received into one buffer and counted by
// their known length. Nothing is copied or allocated per call, so what is
// measured is Redis.
//
// Redis comes from the package redis-tools, which holds the server's program
// under another name and installs no service.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "tests/bench/harness/child.h"

namespace banyan::bench {

// A command in the protocol's form.
std::string RedisCommand(const std::vector<std::string_view>& words);

class Redis {
 public:
  enum class Door { kTcp, kUnix };
  explicit Redis(Door door = Door::kTcp);
  ~Redis();

  // Is given an answer part by part, as it comes.
  using OnPart = absl::FunctionRef<void(std::string_view part)>;

  // Sends a command, receives exactly `answer_bytes`, and returns them; valid
  // until the next call. Ends the bench if an error comes back.
  std::string_view Call(std::string_view command, size_t answer_bytes);
  std::string_view Call(std::string_view command, size_t answer_bytes,
                        OnPart on_part);

  void Set(std::string_view key, std::string_view value);

  pid_t pid() const { return server_->pid(); }

 private:
  std::unique_ptr<Child> server_;
  int socket_ = -1;
  std::vector<char> answer_;
};

}  // namespace banyan::bench
