// The transports that the contract suite runs on. A new one adds one line to
// AllTransports and must pass unchanged.
//
// Faults of the peer are real ones: a node in this process whose memory a test
// can damage, or a process that is stopped and killed. Faults of the way between:
// tests/testing/faulty_wires.h.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "client/transport/transport.h"

namespace banyan::testing {

// A node to be reached, and the session of the caller there.
struct TransportPeer {
  std::shared_ptr<grpc::Channel> channel;
  std::string session_id;
  std::string endpoint = {};  // Of the channel.
};

struct TransportCase {
  std::string name;  // Letters and digits, for the name of the test.
  std::function<std::unique_ptr<transport::Transport>(const TransportPeer&)>
      connect;
};

std::vector<TransportCase> AllTransports();

// What the node at the other end of the peer's channel answers to a client that
// wants to come in at this door, and who answered, by gRPC's name.
struct OpenedDoor {
  std::string address;
  std::string token;
  std::string proof;
  std::string peer;
};
OpenedDoor OpenDoor(const TransportPeer& peer, const std::string& door);

// Coming in there. End the program if that does not work.
std::unique_ptr<transport::Transport> ConnectShm(const OpenedDoor& door);
#ifdef BANYAN_HAS_UCX
std::unique_ptr<transport::Transport> ConnectUcx(const OpenedDoor& door);
#endif

}  // namespace banyan::testing
