// The transports that the contract suite runs on. A new one adds one line to
// AllTransports and must pass unchanged.
//
// Faults of the peer are real ones: a node in this process whose memory a test
// can damage, or a process that is stopped and killed.
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
};

struct TransportCase {
  std::string name;  // Letters and digits, for the name of the test.
  std::function<std::unique_ptr<transport::Transport>(const TransportPeer&)>
      connect;
};

std::vector<TransportCase> AllTransports();

}  // namespace banyan::testing
