// Passes on what one client and a node say to each other through shared memory, with
// the faults that are asked for. To the client it is the node's door: a socket, a
// channel, a window and an arena. Blocks that an answer names are copied to the same
// place of that arena first.
//
// Threads:  one.
// Lifetime: the faults outlive *this. The destructor cuts the connection.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include "client/transport/shm_channel.h"
#include "client/transport/shm_connect.h"
#include "tests/testing/wire_faults.h"

namespace banyan::testing {

class ShmRelay {
 public:
  // `ticket` is one of the node's: the relay comes in with it once its client does.
  ShmRelay(transport::ShmTicket ticket, WireFaults& faults);
  ~ShmRelay();
  ShmRelay(const ShmRelay&) = delete;
  ShmRelay& operator=(const ShmRelay&) = delete;

  // With which the client is to come in.
  transport::ShmTicket ticket() const;

 private:
  using SteadyClock = std::chrono::steady_clock;

  struct Slot {
    uint32_t asked = 0;     // As passed on.
    uint32_t answered = 0;  // Likewise.
    uint32_t released = 0;  // Likewise.
    bool names_blocks = false;
    std::optional<SteadyClock::time_point>
        due;  // Of an answer that is held back.
  };

  void Run();
  bool Welcome();
  bool SendWelcome(int channel, int window, int arena);
  void Relay();
  bool IsAnyGone() const;
  bool PassQuestion(uint32_t i);
  bool PassAnswer(uint32_t i);
  // What is wrong with bytes of a put.
  void SpoilPut(uint32_t i, std::string& question);
  std::string SpoiledAnswer(std::string answer);

  const transport::ShmTicket node_ticket_;
  const std::string path_;
  WireFaults& faults_;
  int listener_ = -1;
  // Of the thread.
  transport::Descriptor client_socket_;
  transport::ShmDoorway node_;
  struct Memory {
    transport::ShmMapping channel;
    transport::ShmMapping window;
    transport::ShmMapping arena;
  };
  Memory to_client_;
  Memory to_node_;
  std::array<Slot, transport::kShmSlots> slots_;
  bool is_cut_ = false;
  std::atomic<bool> is_stopping_{false};
  std::thread thread_;  // Last: it uses all of the above.
};

}  // namespace banyan::testing
