// Fault decorators of the transports: relays between a client and a node that pass
// on what both say, and put faults into it (tests/testing/wire_faults.h). They stand
// where the transports end, so that client and node are what they are in production:
//
// grpc: TCP for what is late or cut, and messages for what is wrong.
// shm:  a socket, a channel, a window and an arena of its own, into which the blocks
//       of an answer are copied.
// ucx:  active messages.
//
// Without faults a transport does through a wire all that it does without one: the
// contract suite runs on both.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "client/transport/transport.h"
#include "tests/testing/transport_cases.h"
#include "tests/testing/wire_faults.h"

namespace banyan::testing {

// Between one client and one node.
//
// Threads:  thread-safe.
// Lifetime: outlives the transports that it connected.
class FaultyWire {
 public:
  virtual ~FaultyWire() = default;

  // A transport through this wire, in the session of the peer. The one before it, if
  // any, is cut.
  virtual std::unique_ptr<transport::Transport> Connect() = 0;
};

struct WireCase {
  std::string name;  // Letters and digits, for the name of the test.
  // `faults` outlives the wire.
  std::function<std::unique_ptr<FaultyWire>(const TransportPeer& peer,
                                            WireFaults& faults)>
      make;
};

std::vector<WireCase> AllWires();

// The transports through wires on which this fault has this chance: cases for the
// contract suite.
std::vector<TransportCase> TransportsOverWires(const std::string& suffix,
                                               WireFault fault, double chance);

}  // namespace banyan::testing
