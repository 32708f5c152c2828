// The limit that a gRPC get is compared with: blocks over a plain TCP loopback
// connection between two processes, each pinned to a core of its own and
// polling. (Sleeping sockets understate what TCP can do.) Nothing is looked up
// and nothing is verified.
//
// The sender walks over more memory than the caches hold. It sleeps while
// nothing is measured.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace banyan::bench {

class RawTcp {
 public:
  // Requires: this process has no other thread yet; the sender is a fork of it.
  RawTcp(uint64_t block_bytes, uint64_t blocks);
  ~RawTcp();
  RawTcp(const RawTcp&) = delete;
  RawTcp& operator=(const RawTcp&) = delete;

  // Asks for as many bytes as `buffer` has, again and again for so long, one
  // request in flight; returns GB/s. Pins the calling thread meanwhile.
  double Measure(double seconds, std::span<std::byte> buffer);

  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  int socket_ = -1;
};

}  // namespace banyan::bench
