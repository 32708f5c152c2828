// The door for clients on this host: a Unix socket at which a client shows the
// ticket of its session and is handed the memory that both will share
// (client/transport/shm_channel.h), with the arena of the host tier, read-only.
// After that nothing is said on the socket: it only tells each side that the
// other is gone.
//
// Who may come in: processes of the same user as the node, and root, with a
//            ticket. Others are refused, and who says nothing for 5 s is cut.
// Threads:   one of its own for the socket, and one a client.
// Lifetime:  calls and tickets outlive *this. The socket's file goes with it.
// Errors:    Open: kFailedPrecondition reason SHM_SOCKET (path too long, in use
//            or not writable; or no thread is to be had).
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cache_server/transfer/door_tickets.h"
#include "cache_server/transfer/shm_calls.h"
#include "cache_server/transfer/shm_connection.h"

namespace banyan::transfer {

class ShmDoor {
 public:
  struct Options {
    std::string socket_path;
    size_t clients_max = 64;
    bool is_prefaulted = false;  // The arena.
    absl::Duration hello_timeout = absl::Seconds(5);
  };

  static absl::StatusOr<std::unique_ptr<ShmDoor>> Open(const Options& options,
                                                       const ShmCalls& calls,
                                                       DoorTickets& tickets);
  ~ShmDoor();
  ShmDoor(const ShmDoor&) = delete;
  ShmDoor& operator=(const ShmDoor&) = delete;

  const std::string& socket_path() const { return options_.socket_path; }

 private:
  struct Client {
    absl::Duration accepted;
    std::unique_ptr<ShmConnection> connection;  // Null before its hello.
  };

  ShmDoor(const Options& options, const ShmCalls& calls, DoorTickets& tickets,
          int socket, int stop_event);

  absl::Status Start();
  void Run();
  void Accept();
  // False: the client is to go.
  bool OnReadable(int fd, Client& client);
  absl::Status Welcome(int fd, Client& client, absl::string_view hello);
  void DropEnded();
  void Drop(int fd);

  const Options options_;
  const ShmCalls& calls_;
  DoorTickets& tickets_;
  const int socket_;
  const int stop_event_;
  std::map<int, Client> clients_;  // By socket. Of the thread's.
  bool can_accept_ = true;         // Of the thread's. Else at the next look.
  std::thread thread_;             // Last: it uses all of the above.
};

}  // namespace banyan::transfer
