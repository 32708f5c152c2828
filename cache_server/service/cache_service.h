// The gRPC face of the engine for clients. Each method decodes, makes one call
// to the engine, and encodes its answer; no cache logic lives here. Payload
// bytes travel as gRPC slices that point into the tier's memory.
//
// Threads: gRPC's callback threads; what may block on I/O goes to the executor.
// Lifetime: store and clock outlive *this; shut the gRPC server down first.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "banyan/v1/cache.grpc.pb.h"
#include "base/mutex.h"
#include "cache_server/engine/block_store.h"
#include "cache_server/engine/byte_budget.h"
#include "cache_server/service/stream_watch.h"
#include "cache_server/transfer/door_tickets.h"
#include "tiers/io/executor.h"

namespace banyan::service {

// The byte streams are raw: we read and write their messages by hand.
using CacheServiceBase = banyan::v1::Cache::WithRawCallbackMethod_GetBlocks<
    banyan::v1::Cache::WithRawCallbackMethod_GetLayers<
        banyan::v1::Cache::WithRawCallbackMethod_PutBlocks<
            banyan::v1::Cache::WithRawCallbackMethod_PutLayers<
                banyan::v1::Cache::WithCallbackMethod_OpenDoor<
                    banyan::v1::Cache::WithCallbackMethod_Session<
                        banyan::v1::Cache::WithCallbackMethod_MatchPrefixes<
                            banyan::v1::Cache::WithCallbackMethod_OpenCalibratedNamespace<banyan::v1::Cache::WithCallbackMethod_GetCalibration<
                                banyan::
                                    v1::Cache::WithCallbackMethod_OpenNamespace<banyan::v1::Cache::WithCallbackMethod_MatchPrefix<
                                        banyan::
                                            v1::Cache::WithCallbackMethod_Exists<banyan::v1::Cache::WithCallbackMethod_Acquire<
                                                banyan::
                                                    v1::Cache::WithCallbackMethod_Renew<banyan::v1::Cache::WithCallbackMethod_Release<
                                                        banyan::
                                                            v1::Cache::WithCallbackMethod_Reserve<banyan::v1::Cache::WithCallbackMethod_Commit<
                                                                banyan::
                                                                    v1::Cache::WithCallbackMethod_Hint<
                                                                        banyan::
                                                                            v1::Cache::WithCallbackMethod_Abort<
                                                                                banyan::
                                                                                    v1::Cache::
                                                                                        Service>>>>>>>>>>>>>>>>>>>;

class CacheService final : public CacheServiceBase {
 public:
  struct Options {
    uint64_t message_bytes_max = 4ull << 20;
    // In flight; more are refused at once. Of match streams, as many again, and
    // of calls that follow a writer.
    uint32_t calls_max = 512;
    bool verify_reads = true;  // False only in bench R13.
    // Of calibrations that arrive at a time, until each is a namespace's, or
    // refused; two of the longest.
    uint64_t arriving_calibration_bytes_max = uint64_t{128} << 20;
    StreamWatch::Options streams;
  };

  // Calls that may block on the disk run on `executor`, which outlives *this;
  // so do the tickets.
  CacheService(engine::BlockStore& store, tiers::Executor& executor,
               transfer::DoorTickets& tickets, const Clock& clock,
               const Options& options);
  ~CacheService() override;  // Not inline: the base is large.

  // Cuts streams whose peer, or session, is gone. Call a few times a second.
  void Tick();

  // Refuses new work from now on, ends the session and match streams.
  void Drain();
  bool is_draining() const { return is_draining_; }
  const Options& options() const { return options_; }
  engine::BlockStore& store() { return store_; }
  tiers::Executor& executor() { return executor_; }
  const Clock& clock() const { return clock_; }

  StreamWatch& watch() { return watch_; }
  engine::ByteBudget& arriving_calibrations() { return arriving_calibrations_; }

  // Where streams go on that waited for a writer, so that they cost it nothing.
  tiers::Executor& wakes() { return wakes_; }

  // Keeps a match stream's context, to end it when draining. False: too many.
  // Pair each true with RemoveMatchStream.
  bool AddMatchStream(grpc::CallbackServerContext* context);
  void RemoveMatchStream(grpc::CallbackServerContext* context);

  // Admission: OK, or the error to answer with. Pair each OK with Leave.
  absl::Status Enter(const grpc::CallbackServerContext& context);
  void Leave() { --calls_; }
  // A call that entered waits for a writer from now on, and must not keep the
  // writer out: OK, and it is paired with LeaveFollower instead; or an error.
  absl::Status BecomeFollower();
  void LeaveFollower() { --followers_; }

  // The error for a call that the executor has no room for.
  absl::Status TurnAway();

  // Opens a namespace for a call that entered, with this calibration.
  absl::Status Open(const grpc::CallbackServerContext& context,
                    const banyan::v1::OpenNamespaceRequest& request,
                    absl::string_view calibration,
                    banyan::v1::OpenNamespaceResponse& response);

  // Tells a caller that set no deadline which one applies. Before any answer.
  void TellDeadline(grpc::CallbackServerContext& context) const;

  grpc::ServerBidiReactor<banyan::v1::SessionRequest,
                          banyan::v1::SessionResponse>*
  Session(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* OpenDoor(
      grpc::CallbackServerContext* context,
      const banyan::v1::OpenDoorRequest* request,
      banyan::v1::OpenDoorResponse* response) override;
  grpc::ServerUnaryReactor* OpenNamespace(
      grpc::CallbackServerContext* context,
      const banyan::v1::OpenNamespaceRequest* request,
      banyan::v1::OpenNamespaceResponse* response) override;
  grpc::ServerReadReactor<banyan::v1::OpenCalibratedNamespaceRequest>*
  OpenCalibratedNamespace(
      grpc::CallbackServerContext* context,
      banyan::v1::OpenCalibratedNamespaceResponse* response) override;
  grpc::ServerWriteReactor<banyan::v1::GetCalibrationResponse>* GetCalibration(
      grpc::CallbackServerContext* context,
      const banyan::v1::GetCalibrationRequest* request) override;
  grpc::ServerUnaryReactor* MatchPrefix(
      grpc::CallbackServerContext* context,
      const banyan::v1::MatchPrefixRequest* request,
      banyan::v1::MatchPrefixResponse* response) override;
  grpc::ServerBidiReactor<banyan::v1::MatchPrefixRequest,
                          banyan::v1::MatchPrefixResponse>*
  MatchPrefixes(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Exists(
      grpc::CallbackServerContext* context,
      const banyan::v1::ExistsRequest* request,
      banyan::v1::ExistsResponse* response) override;
  grpc::ServerUnaryReactor* Acquire(
      grpc::CallbackServerContext* context,
      const banyan::v1::AcquireRequest* request,
      banyan::v1::AcquireResponse* response) override;
  grpc::ServerUnaryReactor* Renew(grpc::CallbackServerContext* context,
                                  const banyan::v1::RenewRequest* request,
                                  banyan::v1::RenewResponse* response) override;
  grpc::ServerUnaryReactor* Release(
      grpc::CallbackServerContext* context,
      const banyan::v1::ReleaseRequest* request,
      banyan::v1::ReleaseResponse* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* GetBlocks(
      grpc::CallbackServerContext* context,
      const grpc::ByteBuffer* request) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* GetLayers(
      grpc::CallbackServerContext* context,
      const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* Hint(grpc::CallbackServerContext* context,
                                 const banyan::v1::HintRequest* request,
                                 banyan::v1::HintResponse* response) override;
  grpc::ServerUnaryReactor* Reserve(
      grpc::CallbackServerContext* context,
      const banyan::v1::ReserveRequest* request,
      banyan::v1::ReserveResponse* response) override;
  grpc::ServerReadReactor<grpc::ByteBuffer>* PutBlocks(
      grpc::CallbackServerContext* context,
      grpc::ByteBuffer* response) override;
  grpc::ServerReadReactor<grpc::ByteBuffer>* PutLayers(
      grpc::CallbackServerContext* context,
      grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Commit(
      grpc::CallbackServerContext* context,
      const banyan::v1::CommitRequest* request,
      banyan::v1::CommitResponse* response) override;
  grpc::ServerUnaryReactor* Abort(grpc::CallbackServerContext* context,
                                  const banyan::v1::AbortRequest* request,
                                  banyan::v1::AbortResponse* response) override;

 private:
  // Runs `call` under admission and finishes the rpc with its status.
  template <typename Call>
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context,
                                const Call& call);

  // The same on the executor; overloaded if that has no room.
  template <typename Call>
  grpc::ServerUnaryReactor* RunBlocking(grpc::CallbackServerContext* context,
                                        Call call);

  // Runs `call(ColdReads)` at once if it needs no disk, else on the executor;
  // without what is on the disk if that has no room.
  template <typename Call>
  grpc::ServerUnaryReactor* RunCold(grpc::CallbackServerContext* context,
                                    Call call);

  engine::BlockStore& store_;
  tiers::Executor& executor_;
  transfer::DoorTickets& tickets_;
  const Clock& clock_;
  const Options options_;
  StreamWatch watch_;
  engine::ByteBudget arriving_calibrations_;
  std::atomic<bool> is_draining_{false};
  std::atomic<uint32_t> calls_{0};
  std::atomic<uint32_t> followers_{0};
  Mutex mutex_;
  absl::flat_hash_set<grpc::CallbackServerContext*> match_streams_
      ABSL_GUARDED_BY(mutex_);
  tiers::Executor wakes_;  // Last: its jobs use the above.
};

}  // namespace banyan::service
