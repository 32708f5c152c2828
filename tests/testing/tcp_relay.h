// Passes on what comes over TCP, both ways, late or not at all if the faults say so.
//
// Threads:  one for who comes, two a connection.
// Lifetime: the faults outlive *this. The destructor cuts all connections.
#pragma once

#include <list>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "tests/testing/wire_faults.h"

namespace banyan::testing {

class TcpRelay {
 public:
  // To a port of the loopback address.
  TcpRelay(uint16_t port, WireFaults& faults);
  ~TcpRelay();
  TcpRelay(const TcpRelay&) = delete;
  TcpRelay& operator=(const TcpRelay&) = delete;

  std::string endpoint() const;

 private:
  struct Connection {
    int client = -1;
    int node = -1;
    std::jthread to_node;
    std::jthread to_client;  // Last: both use the above.
  };

  void Accept();
  void Pass(int from, int to);
  void Cut(int client, int node);

  const uint16_t node_port_;
  WireFaults& faults_;
  int listener_ = -1;
  int nothing_ = -1;  // What reads and writes of the ends of a cut get.
  uint16_t port_ = 0;
  Mutex mutex_;
  std::list<Connection> connections_ ABSL_GUARDED_BY(mutex_);
  std::jthread accept_;  // Last: it uses all of the above.
};

}  // namespace banyan::testing
