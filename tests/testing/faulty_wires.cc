#include "tests/testing/faulty_wires.h"

#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "banyan/v1/cache.grpc.pb.h"
#include "base/check.h"
#include "client/transport/frame_codec.h"
#include "client/transport/grpc_transport.h"
#include "tests/testing/shm_relay.h"
#include "tests/testing/tampered_wire.h"
#include "tests/testing/tcp_relay.h"
#ifdef BANYAN_HAS_UCX
#include "tests/testing/ucx_relay.h"
#endif

namespace banyan::testing {
namespace {

namespace pb = banyan::v1;

uint16_t PortOf(std::string_view address) {
  uint32_t port = 0;
  BANYAN_CHECK(
      absl::SimpleAtoi(absl::string_view(address.data(), address.size())
                           .substr(address.rfind(':') + 1),
                       &port));
  return static_cast<uint16_t>(port);
}

// -------------------------------------------------------------------- gRPC ---

class GrpcWire final : public FaultyWire {
 public:
  GrpcWire(const std::string& endpoint, WireFaults& faults)
      : faults_(faults), relay_(PortOf(endpoint), faults) {
    messages_.on_send = [this](std::string_view method, std::string& text) {
      if (method == "/banyan.v1.Cache/PutBlocks") Spoil(text, kPut);
      if (method == "/banyan.v1.Cache/GetBlocks") AskForNothing(text);
    };
    messages_.on_receive = [this](std::string_view, std::string& text) {
      Spoil(text, kGot);
    };
  }

  std::unique_ptr<transport::Transport> Connect() override {
    return std::make_unique<transport::GrpcTransport>(
        messages_.ChannelTo(relay_.endpoint()), transport::Verification::kOn);
  }

 private:
  static constexpr uint32_t kPut = transport::kPutChunks;
  static constexpr uint32_t kGot = transport::kGetChunks;

  // The bytes of some chunk of the frame.
  void Spoil(std::string& text, uint32_t field_number) {
    auto fields = SplitFrame(text);
    if (!fields.has_value()) return;
    bool is_changed = false;
    std::string before;
    for (FrameField& field : *fields) {
      if (field.number != field_number) continue;
      pb::BlockChunk chunk;
      if (!chunk.ParseFromString(field.bytes)) continue;
      std::string& data = *chunk.mutable_data();
      const std::string intact = data;
      if (faults_.Draw(WireFault::kFlip)) data[faults_.Below(data.size())] ^= 4;
      if (faults_.Draw(WireFault::kShort)) {
        data.resize(faults_.Below(data.size()));
      }
      if (before.size() == data.size() && before != data &&
          faults_.Draw(WireFault::kSwap)) {
        data = before;
      }
      before = intact;
      if (data == intact) continue;
      field.bytes = chunk.SerializeAsString();
      is_changed = true;
    }
    if (is_changed) text = JoinFrame(*fields);
  }

  // Then the answer is an error.
  void AskForNothing(std::string& text) {
    pb::GetBlocksRequest request;
    if (!faults_.Draw(WireFault::kError) || !request.ParseFromString(text)) {
      return;
    }
    request.mutable_by_keys()->set_namespace_id(std::string(16, 'x'));
    text = request.SerializeAsString();
  }

  WireFaults& faults_;
  TcpRelay relay_;
  TamperedWire messages_;
};

// ----------------------------------------------------------- shared memory ---

class ShmWire final : public FaultyWire {
 public:
  ShmWire(TransportPeer peer, WireFaults& faults)
      : peer_(std::move(peer)), faults_(faults) {}

  std::unique_ptr<transport::Transport> Connect() override {
    OpenedDoor door = OpenDoor(peer_, "shm");
    relay_ = std::make_unique<ShmRelay>(
        transport::ShmTicket{.socket_path = door.address,
                             .token = door.token,
                             .proof = door.proof},
        faults_);
    door.address = relay_->ticket().socket_path;
    return ConnectShm(door);
  }

 private:
  const TransportPeer peer_;
  WireFaults& faults_;
  std::unique_ptr<ShmRelay> relay_;  // Of the last connection.
};

// --------------------------------------------------------------------- UCX ---

#ifdef BANYAN_HAS_UCX
class UcxWire final : public FaultyWire {
 public:
  UcxWire(TransportPeer peer, WireFaults& faults)
      : peer_(std::move(peer)), faults_(faults) {}

  std::unique_ptr<transport::Transport> Connect() override {
    OpenedDoor door = OpenDoor(peer_, "ucx");
    relay_ = std::make_unique<UcxRelay>(PortOf(door.address), faults_);
    door.address = absl::StrCat(relay_->port());
    return ConnectUcx(door);
  }

 private:
  const TransportPeer peer_;
  WireFaults& faults_;
  std::unique_ptr<UcxRelay> relay_;  // Of the last connection.
};
#endif

}  // namespace

std::vector<WireCase> AllWires() {
  return {
      {.name = "Grpc",
       .make =
           [](const TransportPeer& peer, WireFaults& faults) {
             return std::make_unique<GrpcWire>(peer.endpoint, faults);
           }},
      {.name = "Shm",
       .make =
           [](const TransportPeer& peer, WireFaults& faults) {
             return std::make_unique<ShmWire>(peer, faults);
           }},
#ifdef BANYAN_HAS_UCX
      {.name = "Ucx",
       .make =
           [](const TransportPeer& peer, WireFaults& faults) {
             return std::make_unique<UcxWire>(peer, faults);
           }},
#endif
  };
}

namespace {

// A transport together with the wire that it goes through.
class OverWire final : public transport::Transport {
 public:
  OverWire(const WireCase& which, const TransportPeer& peer, WireFault fault,
           double chance)
      : faults_(kSeed),
        wire_(which.make(peer, faults_)),
        inner_(wire_->Connect()) {
    faults_.Set(fault, chance);
  }

  std::string_view name() const override { return inner_->name(); }
  bool is_alive() override { return inner_->is_alive(); }
  absl::StatusOr<std::unique_ptr<transport::Memory>> Register(
      std::span<std::byte> bytes) override {
    return inner_->Register(bytes);
  }
  absl::StatusOr<uint32_t> Match(const transport::Blocks& blocks,
                                 const transport::Call& call) override {
    return inner_->Match(blocks, call);
  }
  absl::Status Get(const transport::GetRequest& request,
                   const transport::Call& call,
                   transport::GetResult& result) override {
    return inner_->Get(request, call, result);
  }
  absl::Status Put(const transport::PutRequest& request,
                   const transport::Call& call,
                   transport::SentChecksums& sent) override {
    return inner_->Put(request, call, sent);
  }

 private:
  static constexpr uint64_t kSeed = 20261130;

  WireFaults faults_;
  const std::unique_ptr<FaultyWire> wire_;
  const std::unique_ptr<transport::Transport> inner_;
};

}  // namespace

std::vector<TransportCase> TransportsOverWires(const std::string& suffix,
                                               WireFault fault, double chance) {
  std::vector<TransportCase> cases;
  for (const WireCase& which : AllWires()) {
    cases.push_back({.name = which.name + suffix,
                     .connect = [=](const TransportPeer& peer) {
                       return std::make_unique<OverWire>(which, peer, fault,
                                                         chance);
                     }});
  }
  return cases;
}

}  // namespace banyan::testing
