// One client in shared memory: the channel it asks through, the window it
// writes through, and the thread that answers. Ends when told to, or when the
// session ends, and never waits for the client: what it writes is read once and
// checked, and what it leaves undone runs out.
//
// Invariant: blocks that the client may be reading in place stay pinned until
//            their lease is released or over, or the client's socket is shut
//            down: before that, whatever becomes of the session.
// Threads:  all from one thread.
// Lifetime: calls outlive *this.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "cache_server/transfer/shm_calls.h"
#include "client/transport/shm_channel.h"

namespace banyan::transfer {

class ShmConnection {
 public:
  // Errors: kResourceExhausted reason SHM_MEMORY.
  static absl::StatusOr<std::unique_ptr<ShmConnection>> Open(
      const ShmCalls& calls, std::string session_id);

  // Ends the thread: shuts the socket down, then drops all pins.
  ~ShmConnection();
  ShmConnection(const ShmConnection&) = delete;
  ShmConnection& operator=(const ShmConnection&) = delete;

  // For the client. Closed with *this, or by CloseDescriptors once sent.
  int channel_fd() const { return channel_fd_; }
  int window_fd() const { return window_fd_; }
  void CloseDescriptors();

  // Begins to answer the client at this socket, which stays open until *this is
  // gone. kResourceExhausted reason THREADS: there is no thread to be had.
  absl::Status Start(int socket);

  // True once it answers no more because the session is over.
  bool has_ended() const { return has_ended_; }

 private:
  ShmConnection(const ShmCalls& calls, std::string session_id, int channel_fd,
                int window_fd);

  // Rings for questions that wait; outlives the connection where a writer still
  // holds it.
  class Bell;
  // A question that has no answer yet.
  struct Waiting {
    bool is_waiting = false;
    uint32_t asked = 0;
    std::chrono::steady_clock::time_point end;  // When it is answered anyway.
  };

  void Run();
  bool IsDue(uint32_t i) const;
  void ForgetTakenBack(uint32_t i);
  std::chrono::nanoseconds TimeToNap(bool has_pins) const;
  bool AnswerAsked();
  // False: it waits.
  bool AnswerSlot(uint32_t i);
  bool IsAnyAsked() const;
  // True if some slot has pins left.
  bool DropPins();
  void DropOverdueLeases();

  const ShmCalls& calls_;
  const std::string session_id_;
  int channel_fd_ = -1;
  int window_fd_ = -1;
  int socket_ = -1;  // Of the door's.
  transport::ShmMapping channel_memory_;
  transport::ShmMapping window_;
  std::vector<std::byte> question_;
  // What we answered last, by slot: the words in shared memory are the
  // client's to change.
  std::array<uint32_t, transport::kShmSlots> answered_{};
  std::array<ShmCalls::Slot, transport::kShmSlots> slots_;
  std::array<Waiting, transport::kShmSlots> waiting_;
  std::shared_ptr<Bell> bell_;
  ShmCalls::Leases leases_;
  std::atomic<bool> is_closing_{false};
  std::atomic<bool> has_ended_{false};
  std::thread thread_;  // Last: it uses all of the above.
};

}  // namespace banyan::transfer
