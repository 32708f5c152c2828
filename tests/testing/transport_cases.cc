#include "tests/testing/transport_cases.h"

#include <cstdio>
#include <utility>

#include "banyan/v1/cache.grpc.pb.h"
#include "base/check.h"
#include "client/transport/grpc_transport.h"
#include "client/transport/shm_transport.h"
#include "client/transport/ucx.h"

namespace banyan::testing {

namespace {

// Who answered, by gRPC's name, too.
std::pair<banyan::v1::OpenDoorResponse, std::string> OpenDoor(
    const TransportPeer& peer, const std::string& door) {
  const auto stub = banyan::v1::Cache::NewStub(peer.channel);
  grpc::ClientContext context;
  banyan::v1::OpenDoorRequest request;
  request.set_session_id(peer.session_id);
  request.set_door(door);
  banyan::v1::OpenDoorResponse response;
  BANYAN_CHECK(stub->OpenDoor(&context, request, &response).ok());
  return {response, context.peer()};
}

std::unique_ptr<transport::Transport> ConnectShm(const TransportPeer& peer) {
  const auto response = OpenDoor(peer, "shm").first;
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

#ifdef BANYAN_HAS_UCX
std::unique_ptr<transport::Transport> ConnectUcx(const TransportPeer& peer) {
  const auto [response, name] = OpenDoor(peer, "ucx");
  const auto ticket = transport::UcxTicketOf(
      name, response.address(), response.token(), response.proof());
  BANYAN_CHECK(ticket.ok());
  auto transport = transport::ConnectUcx(
      {.ticket = *ticket, .timeout = std::chrono::seconds(10)});
  if (!transport.ok()) {
    std::fprintf(stderr, "%s\n", transport.status().ToString().c_str());
  }
  BANYAN_CHECK(transport.ok());
  return *std::move(transport);
}
#endif

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
#ifdef BANYAN_HAS_UCX
      {.name = "Ucx", .connect = ConnectUcx},
#endif
  };
}

}  // namespace banyan::testing
