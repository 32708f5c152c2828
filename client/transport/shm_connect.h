// Coming in at a node's Unix socket: shows the ticket, takes the descriptors of
// what will be shared, and checks that nobody can take that memory away later.
//
// Who listens there may be anybody: the path is easy to guess, and lies where all
// can write. So the ticket is shown to processes of our own user and of root only,
// and what the other one shares counts only with the proof that the node gave for
// this ticket over gRPC.
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

// What Cache.OpenDoor answered.
struct ShmTicket {
  std::string socket_path;
  std::string token;
  std::string proof;
};

// Errors: see ShmTransport::Connect.
absl::StatusOr<ShmDoorway> ComeIn(const ShmTicket& ticket,
                                  std::chrono::milliseconds timeout);

}  // namespace banyan::transport
