// The transport for a node on another host: questions as active messages over
// UCX, answered by blocks that the node pushes. What comes is copied to where it
// belongs, and summed, on the thread of UCX that this connection has.
//
// Of a get that ran out of time nothing is in danger: it is our own code that
// writes to the caller's buffers, and it drops what is late. Bytes of a put are
// copied first, since UCX gives back what it has not sent only with the whole
// connection. Of a node that hangs this is ended, so that these do not become many.
//
// One object is one connection: once lost, it stays lost.
//
// Threads: thread-safe.
// Errors:  as in client/transport/transport.h; kUnavailable reason QUESTION: it has
//          more keys than fit: ask by gRPC.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "client/transport/transport.h"
#include "client/transport/ucx.h"
#include "client/transport/ucx_bodies.h"
#include "client/transport/ucx_call.h"
#include "client/transport/ucx_pending.h"
#include "client/transport/ucx_worker.h"

namespace banyan::transport {

class UcxTransport final : public Transport, private UcxOwner {
 public:
  // As ConnectUcx.
  static absl::StatusOr<std::unique_ptr<UcxTransport>> Connect(
      const UcxOptions& options);
  ~UcxTransport() override;

  bool is_alive() override { return !is_dead_; }

  std::string_view name() const override { return "ucx"; }
  absl::StatusOr<uint32_t> Match(const Blocks& blocks,
                                 const Call& call) override;
  absl::Status Get(const GetRequest& request, const Call& call,
                   GetResult& result) override;
  absl::Status Put(const PutRequest& request, const Call& call,
                   SentChecksums& sent) override;

 private:
  class PutPipeline;

  explicit UcxTransport(const UcxOptions& options) : options_(options) {}

  absl::Status ComeIn(const UcxAddress& remote);
  // One question: what it holds of `run` from block `skip` on.
  absl::StatusOr<KeyRun> RunFor(const Blocks& blocks, size_t skip,
                                size_t keys_max, std::string& lead) const;
  // Asks and waits; the node is told of a call that is left.
  absl::Status Ask(UcxQuestion question,
                   const std::shared_ptr<UcxCall>& waiting, const Call& call);
  bool TryWorkFor(const UcxCall& waiting, const Call& call,
                  const std::function<void()>& send);
  absl::Status GetSome(const GetRequest& request,
                       const std::vector<uint64_t>& seeds, const Call& call,
                       size_t& next, bool& is_over, GetResult& result);
  // Of a block that did not check out here.
  void AskForCheck(const GetRequest& request, size_t block);

  void OnUcxMessage(ucp_ep_h from, absl::Span<const std::byte> head,
                    const absl::Span<const std::byte>* body) override;
  void OnUcxRequest(ucp_conn_request_h request) override;
  void OnUcxLost(UcxLink& link) override;
  Next OnUcxStep() override;
  void OnUcxTime() override;
  absl::Status Dispatch(absl::Span<const std::byte> head,
                        absl::Span<const std::byte> body);
  void TakeBytes(const UcxBytes& bytes, absl::Span<const std::byte> payload);
  // This connection is over.
  void Lose(const absl::Status& status, UcxCall::Cause cause);

  const UcxOptions options_;
  std::atomic<bool> is_dead_{false};
  std::atomic<int> short_calls_{0};  // Under way that bring no blocks.
  UcxPending pending_;
  UcxCall hello_;
  std::string proof_;          // Of the welcome: read once hello_ is over.
  uint32_t group_blocks_ = 1;  // Likewise.
  // Of the worker's thread. The call whose bytes came last: more of them follow.
  UcxLinkPtr link_;
  uint64_t arriving_id_ = 0;
  std::shared_ptr<UcxCall> arriving_;
  const std::shared_ptr<UcxBodies> bodies_ = UcxBodies::Create();
  std::unique_ptr<UcxWorker> worker_;  // Last: it uses all of the above.
};

}  // namespace banyan::transport
