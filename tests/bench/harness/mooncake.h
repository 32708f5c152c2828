// A Mooncake Store and a client of it, by its Python package: what
// tests/bench/peers/mooncake_peer.py says.
//
// Errors: what fails ends the bench.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/bench/harness/child.h"
#include "tests/bench/harness/look.h"
#include "tests/bench/harness/timing.h"

namespace banyan::bench {

class Mooncake {
 public:
  enum class Door { kShm, kTcp };

  // Filled with blocks. `venv` holds the package, see `dev bench`.
  Mooncake(Door door, const std::string& venv, uint64_t block_bytes,
           uint64_t blocks);

  // Gets of `batch` blocks a call, at most 16.
  Timing Get(uint64_t batch, double seconds, Look look = Look::kAllBytes);

  // Whether so many keys are there; all are.
  Timing Exists(uint64_t keys, double seconds);

  // Of the client and the servers.
  const std::vector<pid_t>& pids() const { return pids_; }

 private:
  Timing Ask(const std::string& question);

  Child peer_;
  std::vector<pid_t> pids_;
};

}  // namespace banyan::bench
