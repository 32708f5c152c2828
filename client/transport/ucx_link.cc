#include "client/transport/ucx_link.h"

#include <utility>

#include "base/clock.h"
#include "client/transport/ucx_sending.h"
#include "client/transport/ucx_worker.h"

namespace banyan::transport {

void UcxLink::Send(const UcxHead& head, absl::Span<const std::byte> body,
                   std::shared_ptr<const void> keep,
                   std::shared_ptr<Watcher> watcher) {
  auto sending = worker_.NewSending();
  sending->link = shared_from_this();
  sending->head = head;
  sending->body = body;
  sending->keep = std::move(keep);
  sending->watcher = std::move(watcher);
  Start(std::move(sending));
}

void UcxLink::SendOwn(const UcxHead& head, std::string body, Done done) {
  auto sending = worker_.NewSending();
  sending->link = shared_from_this();
  sending->head = head;
  sending->is_own = true;
  sending->own = std::move(body);
  sending->body = {reinterpret_cast<const std::byte*>(sending->own.data()),
                   sending->own.size()};
  sending->done = std::move(done);
  ++sending_own_;
  Start(std::move(sending));
}

absl::Duration UcxLink::stuck() const {
  return sending_ == 0 ? absl::ZeroDuration()
                       : Clock::Monotonic().Now() - let_go_;
}

void UcxLink::Start(std::unique_ptr<Sending> sending) {
  if (sending_++ == 0) let_go_ = Clock::Monotonic().Now();
  sending_bytes_ += sending->body.size();
  Sending* const started = sending.release();  // Until FinishSends.
  if (!is_open()) return worker_.finished_.push_back(started);
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK |
                       UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = send_flags_;
  param.user_data = started;
  param.cb.send = [](void* request, ucs_status_t status, void* user_data) {
    auto* const sent = static_cast<Sending*>(user_data);
    if (status == UCS_OK) sent->outcome = Outcome::kSent;
    sent->link->worker_.finished_.push_back(sent);
    ucp_request_free(request);
  };
  const auto head = started->head.bytes();
  const ucs_status_ptr_t request =
      ucp_am_send_nbx(endpoint_, message_id_, head.data(), head.size(),
                      started->body.data(), started->body.size(), &param);
  if (UCS_PTR_IS_PTR(request)) return;
  if (request == nullptr) started->outcome = Outcome::kSent;
  worker_.finished_.push_back(started);
}

void UcxLink::Finish(Sending& sending) {
  --sending_;
  if (sending.is_own) --sending_own_;
  sending_bytes_ -= sending.body.size();
  let_go_ = Clock::Monotonic().Now();
  if (sending.watcher != nullptr) sending.watcher->OnLetGo(sending.body.size());
  if (sending.done) sending.done(sending.outcome);
}

void UcxLink::Close() {
  if (state_ != State::kOpen) return;
  state_ = State::kToClose;
  worker_.has_links_to_close_ = true;
}

void UcxLink::CloseNow() {
  state_ = State::kClosing;
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK |
                       UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = UCP_EP_CLOSE_FLAG_FORCE;
  param.user_data = this;
  param.cb.send = [](void* request, ucs_status_t, void* user_data) {
    auto* const link = static_cast<UcxLink*>(user_data);
    link->state_ = State::kClosed;
    link->worker_.has_links_to_close_ = true;
    ucp_request_free(request);
  };
  if (!UCS_PTR_IS_PTR(ucp_ep_close_nbx(endpoint_, &param))) {
    state_ = State::kClosed;
  }
}

}  // namespace banyan::transport
