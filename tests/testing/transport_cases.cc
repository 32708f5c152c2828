#include "tests/testing/transport_cases.h"

#include <cstdio>
#include <utility>

#include "banyan/v1/cache.grpc.pb.h"
#include "base/check.h"
#include "client/transport/grpc_transport.h"
#include "client/transport/shm_transport.h"

namespace banyan::testing {

namespace {

std::unique_ptr<transport::Transport> ConnectShm(const TransportPeer& peer) {
  const auto stub = banyan::v1::Cache::NewStub(peer.channel);
  grpc::ClientContext context;
  banyan::v1::OpenDoorRequest request;
  request.set_session_id(peer.session_id);
  request.set_door("shm");
  banyan::v1::OpenDoorResponse response;
  BANYAN_CHECK(stub->OpenDoor(&context, request, &response).ok());
  auto transport = transport::ShmTransport::Connect(
      {.ticket = {.socket_path = response.address(),
                  .token = response.token(),
                  .proof = response.proof()}});
  if (!transport.ok()) {
    std::fprintf(stderr, "%s\n", transport.status().ToString().c_str());
  }
  BANYAN_CHECK(transport.ok());
  return *std::move(transport);
}

}  // namespace

std::vector<TransportCase> AllTransports() {
  return {
      {.name = "Grpc",
       .connect =
           [](const TransportPeer& peer) {
             return std::make_unique<transport::GrpcTransport>(
                 peer.channel, transport::Verification::kOn);
           }},
      {.name = "Shm", .connect = ConnectShm},
  };
}

}  // namespace banyan::testing
