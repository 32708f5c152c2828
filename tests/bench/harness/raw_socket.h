// The limit that a get over sockets is compared with: blocks over a plain TCP
// loopback connection, or a Unix socket, between two processes, each pinned to a
// core of its own and polling. (Sleeping sockets understate what TCP can do.)
// Nothing is looked up and nothing is verified.
//
// The sender walks over more memory than the caches hold. It sleeps while
// nothing is measured.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace banyan::bench {

class RawSocket {
 public:
  enum class Door { kTcp, kUnix };

  // Requires: this process has no other thread yet; the sender is a fork of it.
  RawSocket(Door door, uint64_t block_bytes, uint64_t blocks);
  ~RawSocket();
  RawSocket(const RawSocket&) = delete;
  RawSocket& operator=(const RawSocket&) = delete;

  // Asks for as many bytes as `buffer` has, again and again for so long, one
  // request in flight; returns GB/s. Pins the calling thread meanwhile.
  double Measure(double seconds, std::span<std::byte> buffer);

  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  int socket_ = -1;
};

}  // namespace banyan::bench
