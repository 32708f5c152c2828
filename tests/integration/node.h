// What the integration tests share: a node in this process, chains and payloads
// that follow from names, and a session spoken by hand over the raw stub.
//
// PollUntil is for conditions that another process or the node's own threads
// bring about; it is bounded.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "banyan/v1/admin.grpc.pb.h"
#include "banyan/v1/cache.grpc.pb.h"
#include "base/bytes.h"
#include "base/sha256.h"
#include "base/units.h"
#include "cache_server/engine/block_store.h"
#include "cache_server/server.h"
#include "client/cpp/client.h"
#include "client/cpp/wire.h"
#include "client/ctl/payload.h"
#include "tests/testing/poll.h"

namespace banyan::testing {

inline server::Config SmallConfig(uint64_t host_bytes = 64 * kMiB) {
  server::Config config;
  config.grpc_port = 0;
  config.is_ucx_off = true;  // Who wants it takes a free port.
  config.host_bytes = host_bytes;
  config.prefault = false;
  config.huge_pages = false;
  return config;
}

inline std::string EndpointOf(const server::Server& server) {
  return absl::StrCat("127.0.0.1:", server.grpc_port());
}

inline std::shared_ptr<grpc::Channel> ChannelTo(const server::Server& server) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(
      EndpointOf(server), grpc::InsecureChannelCredentials(), arguments);
}

// A counter or gauge of the node, by its metric name.
inline uint64_t Reading(server::Server& server, std::string_view name) {
  for (const auto& reading : server.store().Stats()) {
    if (reading.name == name) return reading.value;
  }
  return UINT64_MAX;
}

// True if sessions, open writes, leases, staged and pinned bytes are all 0.
inline bool IsIdle(server::Server& server) {
  const tiers::TierUsage usage = server.store().HostUsage();
  return Reading(server, "banyan_sessions") == 0 &&
         Reading(server, "banyan_open_writes") == 0 &&
         Reading(server, "banyan_leases") == 0 && usage.staged_bytes == 0 &&
         usage.pinned_bytes == 0;
}

inline Fingerprint OpaqueFingerprint(std::string model = "test-model") {
  return {
      .model = std::move(model), .hash_algorithm = "test", .layout = "opaque"};
}

// Packed keys of blocks [0, count) of the chain `name`.
inline std::string ChainKeys(std::string_view name, size_t count) {
  std::string keys;
  for (size_t i = 0; i < count; ++i) {
    const Sha256Digest digest =
        Sha256({absl::string_view(name.data(), name.size()), absl::StrCat(i)});
    keys += std::string(AsText(digest));
  }
  return keys;
}

inline std::string_view KeyNo(std::string_view keys, size_t i) {
  return keys.substr(i * 32, 32);
}

// The payload of block i of the chain in a space: a name for whose it is.
inline std::vector<std::byte> PayloadOf(std::string_view space,
                                        std::string_view keys, size_t i,
                                        size_t bytes) {
  std::vector<std::byte> payload(bytes);
  const std::string_view key = KeyNo(keys, i);
  ctl::FillPayload({space.data(), space.size()}, {key.data(), key.size()},
                   absl::MakeSpan(payload));
  return payload;
}

inline absl::Status CheckPayload(std::string_view space, std::string_view keys,
                                 size_t i, std::span<const std::byte> bytes) {
  const std::string_view key = KeyNo(keys, i);
  return ctl::VerifyPayload(
      {space.data(), space.size()}, {key.data(), key.size()},
      absl::MakeConstSpan(bytes.data(), bytes.size()), 0, bytes.size());
}

// A session by hand. Ends with the object, or with Cancel.
class RawSession {
 public:
  RawSession(std::shared_ptr<grpc::Channel> channel, std::string client_id)
      : stub_(banyan::v1::Cache::NewStub(std::move(channel))),
        stream_(stub_->Session(&context_)) {
    banyan::v1::SessionRequest request;
    request.mutable_hello()->set_client_id(std::move(client_id));
    request.mutable_hello()->set_protocol_min(1);
    request.mutable_hello()->set_protocol_max(1);
    banyan::v1::SessionResponse response;
    if (stream_->Write(request) && stream_->Read(&response)) {
      id_ = response.welcome().session_id();
    }
  }
  ~RawSession() { Cancel(); }

  // A sign of life, which the node has seen. False: the session has ended.
  bool Beat() {
    banyan::v1::SessionRequest request;
    request.mutable_heartbeat();
    banyan::v1::SessionResponse response;
    return stream_ != nullptr && stream_->Write(request) &&
           stream_->Read(&response);
  }

  // The stream is cut, as by a lost connection.
  void Cancel() {
    if (stream_ == nullptr) return;
    context_.TryCancel();
    stream_->Finish();
    stream_ = nullptr;
  }

  const std::string& id() const { return id_; }
  banyan::v1::Cache::Stub& stub() { return *stub_; }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<banyan::v1::Cache::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<banyan::v1::SessionRequest,
                                           banyan::v1::SessionResponse>>
      stream_;
  std::string id_;
};

// Id of the opaque namespace `name`, created if need be; empty on failure.
inline std::string OpenOpaque(banyan::v1::Cache::Stub& stub,
                              std::string_view name) {
  grpc::ClientContext context;
  banyan::v1::OpenNamespaceRequest request;
  request.set_name(std::string(name));
  client::SetFingerprint(OpaqueFingerprint(), request.mutable_fingerprint());
  banyan::v1::OpenNamespaceResponse response;
  if (!stub.OpenNamespace(&context, request, &response).ok()) return "";
  return response.namespace_id();
}

// A Reserve of all blocks of the chain, each of `bytes`.
inline banyan::v1::ReserveRequest ReserveOf(const std::string& session_id,
                                            const std::string& namespace_id,
                                            std::string_view keys,
                                            uint64_t bytes) {
  banyan::v1::ReserveRequest request;
  request.set_session_id(session_id);
  request.set_namespace_id(namespace_id);
  request.mutable_run()->set_keys(std::string(keys));
  request.mutable_run()->set_key_bytes(32);
  request.add_payload_bytes(bytes);
  return request;
}

}  // namespace banyan::testing
