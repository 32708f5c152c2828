// One connection over UCX: an endpoint, and what is on its way through it.
//
// A message that was given to Send is done when UCX has let go of its bytes: sent,
// or given up because the link is closed. Who sent it is told of each exactly once,
// outside of UCX, and in the order in which UCX let go.
//
// Send allocates nothing, so that bytes cost none, however many they are.
//
// Threads:  all on the thread of its UcxWorker.
// Lifetime: the worker keeps a link until it is closed and nothing is on its way.
#pragma once

#include <ucp/api/ucp.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "client/transport/ucx_messages.h"

namespace banyan::transport {

class UcxWorker;

class UcxLink : public std::enable_shared_from_this<UcxLink> {
 public:
  // Whether UCX took all bytes, on their way to the peer; not that they arrived.
  enum class Outcome : uint8_t { kSent, kGivenUp };
  using Done = std::function<void(Outcome)>;

  // Is told how many bytes of a body UCX has let go of.
  class Watcher {
   public:
    virtual ~Watcher() = default;
    virtual void OnLetGo(uint64_t bytes) = 0;
  };

  // `body` stays as it is as long as `keep` is held: until it is done, and the
  // watcher, if any, was told.
  void Send(const UcxHead& head, absl::Span<const std::byte> body,
            std::shared_ptr<const void> keep,
            std::shared_ptr<Watcher> watcher = nullptr);
  // With a body of its own.
  void SendOwn(const UcxHead& head, std::string body = {}, Done done = nullptr);

  // Gives up what is on its way. May be called anywhere, also inside UCX: the
  // worker does it when UCX has returned.
  void Close();

  bool is_open() const { return state_ == State::kOpen; }
  size_t sending() const { return sending_; }                // Not done.
  uint64_t sending_bytes() const { return sending_bytes_; }  // Their bodies.
  // How long the first of those has been the first: UCX let go of nothing since. 0
  // if all is done.
  absl::Duration stuck() const;
  size_t sending_own() const {
    return sending_own_;
  }  // With a body of its own.
  ucp_ep_h endpoint() const { return endpoint_; }

 private:
  friend class UcxWorker;
  enum class State : uint8_t { kOpen, kToClose, kClosing, kClosed };
  struct Sending;

  UcxLink(UcxWorker& worker, unsigned message_id, unsigned send_flags)
      : worker_(worker), message_id_(message_id), send_flags_(send_flags) {}

  void Start(std::unique_ptr<Sending> sending);
  void Finish(Sending& sending);
  void CloseNow();
  bool is_gone() const { return state_ == State::kClosed && sending_ == 0; }

  UcxWorker& worker_;
  const unsigned message_id_;
  const unsigned send_flags_;
  ucp_ep_h endpoint_ = nullptr;
  State state_ = State::kOpen;
  size_t sending_ = 0;
  size_t sending_own_ = 0;
  uint64_t sending_bytes_ = 0;
  absl::Duration let_go_;    // When UCX last did, or had nothing, of the clock.
  bool has_failed_ = false;  // The peer is gone, says UCX; the owner not told.
};
using UcxLinkPtr = std::shared_ptr<UcxLink>;

}  // namespace banyan::transport
