// The calls of one node, blocking, each with a deadline, under one breaker: what
// the client's workers run. Control goes over gRPC, bytes over a Transport.
//
// Threads: thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <stop_token>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "banyan/v1/cache.grpc.pb.h"
#include "base/mutex.h"
#include "client/cpp/block_coding.h"
#include "client/cpp/breaker.h"
#include "client/cpp/client.h"
#include "client/cpp/session.h"
#include "client/cpp/transport_picker.h"
#include "client/transport/grpc_transport.h"
#include "client/transport/transport.h"

namespace banyan::client {

class NodeCalls {
 public:
  NodeCalls(const ClientOptions& options,
            std::shared_ptr<grpc::Channel> channel, std::string client_id);

  absl::StatusOr<OpenedNamespace> OpenNamespace(
      std::string_view name, const Fingerprint& fingerprint,
      const NamespaceOptions& options = {});

  struct Blocks {
    std::string namespace_id;
    std::string keys;  // From the chain's root to the last block meant.
    size_t key_bytes = 32;
    std::string salt;
    uint32_t first = 0;  // First block meant.
  };
  void Match(const Blocks& blocks, Completion& out);
  void Hint(const Blocks& blocks, const ReuseHint& hint, Completion& out);
  void Get(const Blocks& blocks,
           const std::vector<std::span<std::byte>>& buffers,
           const GetOptions& options, Completion& out);
  void Put(const Blocks& blocks,
           const std::vector<std::span<const std::byte>>& payloads,
           const PutOptions& options, Completion& out);

  // By layers; client/cpp/node_layers.cc. Tells go to options.on_tell, if any.
  // `cancel` ends it, as kCancelled.
  void GetLayers(const Blocks& blocks,
                 const std::vector<std::span<std::byte>>& buffers,
                 const LayerOptions& options, Completion& out,
                 std::stop_token cancel = {});
  absl::StatusOr<std::unique_ptr<LayerWrite>> PutLayers(
      const Blocks& blocks, uint32_t count, const PutOptions& options);

  absl::StatusOr<std::unique_ptr<BlockView>> GetView(
      const Blocks& blocks, uint32_t count, const ViewOptions& options);

  Session& session() { return session_; }
  TransportFacts transport() const { return picker_.facts(); }
  ClientStats stats() const;

 private:
  // Opening a namespace; client/cpp/node_namespaces.cc. `calibration`: what it
  // brings, or nothing; the request has none.
  absl::Status Open(const banyan::v1::OpenNamespaceRequest& request,
                    absl::string_view calibration,
                    banyan::v1::OpenNamespaceResponse& response);
  absl::Status OpenInOne(const banyan::v1::OpenNamespaceRequest& request,
                         banyan::v1::OpenNamespaceResponse& response);
  absl::Status OpenInParts(const banyan::v1::OpenNamespaceRequest& request,
                           absl::string_view calibration,
                           banyan::v1::OpenNamespaceResponse& response);
  // The one that the node has, which the answer holds if it is short.
  absl::StatusOr<std::string> CalibrationFrom(
      banyan::v1::OpenNamespaceResponse& opened);

  // Are there `count` blocks from the first meant on?
  static absl::Status CheckBlocks(const Blocks& blocks, size_t count);
  static transport::Blocks BlocksOf(const Blocks& blocks, const KeyRun& run);

  // Runs `call(transport::Call)` under breaker, deadline and, if it may be
  // repeated, retry budget.
  absl::Status Run(
      absl::Duration timeout, int tries,
      absl::FunctionRef<absl::Status(const transport::Call&)> attempt,
      std::stop_token cancel = {});

  // The same for a gRPC call: `call(context)`.
  absl::Status RunRpc(
      absl::Duration timeout, int tries,
      absl::FunctionRef<grpc::Status(grpc::ClientContext&)> rpc);

  // Runs `call(transport::Transport&)` over the transport that was picked, and
  // over gRPC if that cannot serve it.
  absl::Status OnTransport(
      const transport::Call& call,
      absl::FunctionRef<absl::Status(transport::Transport&)> attempt);
  // What was picked, null for gRPC: also for the bytes of a put, which cannot
  // change halfway. Waits so long if nothing else will do.
  absl::StatusOr<std::shared_ptr<transport::Transport>> Picked(
      absl::Duration wait);

  // The session. Where there is none it waits, for a lookup's time at most, and
  // under the breaker: a node that opens none does not answer.
  absl::StatusOr<SessionFacts> AwaitSession(absl::Duration timeout);

  // Of a namespace whose blocks are encoded; else null.
  std::shared_ptr<const BlockCoding> CodingOf(const std::string& namespace_id);
  // For calls that show blocks as they are stored.
  absl::Status RefuseEncoded(const std::string& namespace_id,
                             std::string_view call);
  // Turns what was read into blocks; what is none is no hit.
  static void Decode(const BlockCoding& coding, uint32_t first,
                     const std::vector<std::span<std::byte>>& buffers,
                     transport::GetResult& result);

  absl::Duration LoadTimeout(uint64_t bytes) const;
  // What a get of so many blocks found.
  void Take(const transport::GetResult& result, size_t blocks, Completion& out);
  absl::StatusOr<uint32_t> GroupBlocks(const Blocks& blocks,
                                       absl::Duration timeout);
  // Asks for the verdicts on a put of `blocks`; they are as many as the run
  // has.
  absl::Status Reserve(const SessionFacts& session,
                       const banyan::v1::ReserveRequest& request,
                       banyan::v1::ReserveResponse& reserved);
  absl::Status Commit(const banyan::v1::CommitRequest& commit,
                      Durability durability);
  void Abort(const SessionFacts& session, const std::string& write_id);
  absl::Status SendAndCommit(
      const SessionFacts& session, const Blocks& blocks, const KeyRun& run,
      const banyan::v1::ReserveResponse& reserved,
      const std::vector<std::span<const std::byte>>& payloads,
      absl::Span<const uint8_t> errors, const PutOptions& options);
  void PutEncoded(const BlockCoding& coding, const Blocks& blocks,
                  const std::vector<std::span<const std::byte>>& payloads,
                  const PutOptions& options, Completion& out);
  // `errors`: the class of each, or nothing (base/representation.h).
  void PutAsIs(const Blocks& blocks,
               const std::vector<std::span<const std::byte>>& payloads,
               absl::Span<const uint8_t> errors, const PutOptions& options,
               Completion& out);
  absl::Status PutSome(const Blocks& blocks,
                       const std::vector<std::span<const std::byte>>& payloads,
                       absl::Span<const uint8_t> errors,
                       const PutOptions& options, Completion& out);

  class LayersPut;  // client/cpp/node_layers.cc.

  const ClientOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<banyan::v1::Cache::Stub> stub_;
  transport::GrpcTransport grpc_;
  TransportPicker picker_;
  Breaker breaker_;
  Mutex codings_mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<const BlockCoding>> codings_
      ABSL_GUARDED_BY(codings_mutex_);  // By namespace id.
  mutable Mutex stats_mutex_;
  ClientStats stats_ ABSL_GUARDED_BY(stats_mutex_);
  Session session_;
};

}  // namespace banyan::client
