// Coming in at a node's Unix socket: shows the ticket, takes the descriptors of
// what will be shared, and checks that nobody can take that memory away later.
#pragma once

#include <chrono>
#include <string>

#include "absl/status/statusor.h"
#include "client/transport/shm_messages.h"

namespace banyan::transport {

// Closes its descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;

  int get() const { return fd_; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_ = -1;
};

struct ShmDoorway {
  ShmWelcome welcome;
  Descriptor socket;  // Stays open: its end is the end of the other side.
  Descriptor channel;
  Descriptor window;
  Descriptor arena;
};

// Errors: see ShmTransport::Connect.
absl::StatusOr<ShmDoorway> ComeIn(const std::string& socket_path,
                                  const std::string& token,
                                  std::chrono::milliseconds timeout);

}  // namespace banyan::transport
