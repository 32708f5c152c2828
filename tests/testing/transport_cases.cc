#include "tests/testing/transport_cases.h"

#include <chrono>
#include <cstdio>
#include <utility>

#include "banyan/v1/cache.grpc.pb.h"
#include "base/check.h"
#include "client/transport/grpc_transport.h"
#include "client/transport/shm_transport.h"
#include "client/transport/ucx.h"

namespace banyan::testing {

namespace {

std::unique_ptr<transport::Transport> Connected(
    absl::StatusOr<std::unique_ptr<transport::Transport>> transport) {
  if (!transport.ok()) {
    std::fprintf(stderr, "%s\n", transport.status().ToString().c_str());
  }
  BANYAN_CHECK(transport.ok());
  return *std::move(transport);
}

}  // namespace

OpenedDoor OpenDoor(const TransportPeer& peer, const std::string& door) {
  const auto stub = banyan::v1::Cache::NewStub(peer.channel);
  grpc::ClientContext context;
  banyan::v1::OpenDoorRequest request;
  request.set_session_id(peer.session_id);
  request.set_door(door);
  banyan::v1::OpenDoorResponse response;
  BANYAN_CHECK(stub->OpenDoor(&context, request, &response).ok());
  return {.address = response.address(),
          .token = response.token(),
          .proof = response.proof(),
          .peer = context.peer()};
}

std::unique_ptr<transport::Transport> ConnectShm(const OpenedDoor& door) {
  return Connected(
      transport::ShmTransport::Connect({.ticket = {.socket_path = door.address,
                                                   .token = door.token,
                                                   .proof = door.proof}}));
}

#ifdef BANYAN_HAS_UCX
std::unique_ptr<transport::Transport> ConnectUcx(const OpenedDoor& door) {
  const auto ticket =
      transport::UcxTicketOf(door.peer, door.address, door.token, door.proof);
  BANYAN_CHECK(ticket.ok());
  return Connected(transport::ConnectUcx(
      {.ticket = *ticket, .timeout = std::chrono::seconds(10)}));
}
#endif

std::vector<TransportCase> AllTransports() {
  return {
      {.name = "Grpc",
       .connect =
           [](const TransportPeer& peer) {
             return std::make_unique<transport::GrpcTransport>(
                 peer.channel, transport::Verification::kOn);
           }},
      {.name = "Shm",
       .connect =
           [](const TransportPeer& peer) {
             return ConnectShm(OpenDoor(peer, "shm"));
           }},
#ifdef BANYAN_HAS_UCX
      {.name = "Ucx",
       .connect =
           [](const TransportPeer& peer) {
             return ConnectUcx(OpenDoor(peer, "ucx"));
           }},
#endif
  };
}

}  // namespace banyan::testing
