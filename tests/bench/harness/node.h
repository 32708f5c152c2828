// A banyan-server process filled with chains, and a client of it: what the
// benches of the client's calls share.
//
// Errors: whatever fails ends the bench: a figure of a faulty run is worthless.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "client/cpp/client.h"
#include "tests/bench/harness/child.h"

namespace banyan::bench {

class Node {
 public:
  struct Options {
    uint64_t host_bytes = 0;
    bool verify = true;  // False: neither node nor client compute checksums.
    TransportKind transport = TransportKind::kGrpc;
    int load_timeout_ms = 10000;
  };
  explicit Node(const Options& options);

  Client& client() { return *client_; }
  // For more clients.
  const std::string& endpoint() const { return endpoint_; }
  std::string_view namespace_id() const { return namespace_id_; }
  pid_t pid() const { return server_->pid(); }

  // Writes a chain of 32-byte keys with these payloads.
  void Put(std::string_view keys,
           const std::vector<std::span<const std::byte>>& payloads);

  // Reads a whole chain into the buffers; all its blocks must be there.
  void Get(std::string_view keys,
           const std::vector<std::span<std::byte>>& buffers);

  // The same in place. Returns a sum of the first and last bytes, so that they
  // are really there.
  uint64_t View(std::string_view keys, ViewOptions::Check check);

  // The whole chain must be there.
  void Match(std::string_view keys);

 private:
  std::unique_ptr<Child> server_;
  std::string endpoint_;
  std::unique_ptr<Client> client_;
  std::string namespace_id_;
};

// If this process was started by Node to be the node that does not verify, is
// that node and never returns. Call it first in main.
void ServeIfNode(int argc, char** argv);

// `bytes` of self-describing payload, of which the caller makes blocks.
std::vector<std::byte> Payload(std::string_view name, uint64_t bytes);

// Equal parts of `bytes`.
template <typename Byte>
std::vector<std::span<Byte>> Split(std::span<Byte> bytes, size_t part_bytes) {
  std::vector<std::span<Byte>> parts;
  for (size_t at = 0; at < bytes.size(); at += part_bytes) {
    parts.push_back(bytes.subspan(at, part_bytes));
  }
  return parts;
}

// Calls `call(i)` with i = 0, 1, ... for so long; returns calls per second.
template <typename Call>
double CallsPerSecond(double seconds, const Call& call) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  uint64_t calls = 0;
  std::chrono::duration<double> passed{};
  do {
    call(calls++);
    passed = Clock::now() - start;
  } while (passed.count() < seconds);
  return static_cast<double>(calls) / passed.count();
}

}  // namespace banyan::bench
