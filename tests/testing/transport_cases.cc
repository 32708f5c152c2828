#include "tests/testing/transport_cases.h"

#include "client/transport/grpc_transport.h"

namespace banyan::testing {

std::vector<TransportCase> AllTransports() {
  return {
      {.name = "Grpc",
       .connect =
           [](const TransportPeer& peer) {
             return std::make_unique<transport::GrpcTransport>(
                 peer.channel, transport::Verification::kOn);
           }},
  };
}

}  // namespace banyan::testing
