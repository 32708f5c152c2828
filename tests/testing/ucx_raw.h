// A client of the UCX door by hand: sends whatever a test wants, and keeps what
// comes. And the listening sockets of a process, for who may reach it.
//
// Threads: thread-safe.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/mutex.h"
#include "client/transport/ucx_worker.h"
#include "tests/testing/poll.h"

namespace banyan::testing {

class RawUcx final : private transport::UcxOwner {
 public:
  explicit RawUcx(uint16_t port) {
    auto worker = transport::UcxWorker::Open({.device = "lo"}, *this);
    BANYAN_CHECK(worker.ok());
    worker_ = *std::move(worker);
    BANYAN_CHECK(worker_->Start().ok());
    worker_->Post([this, port] {
      auto link =
          worker_->Connect(*transport::MakeUcxAddress("127.0.0.1", port));
      if (link.ok()) link_ = *std::move(link);
    });
  }
  ~RawUcx() override { worker_ = nullptr; }

  void Send(const transport::UcxHead& head, std::string body = {}) {
    worker_->Post(
        [this, head, body = std::move(body)] { SendNow(head, body); });
  }
  // The same in a job. What is small leaves at once.
  void SendNow(const transport::UcxHead& head, const std::string& body = {}) {
    if (link_ != nullptr) link_->SendOwn(head, body);
  }
  // So that the node would have to fetch the body (rendezvous), as no client of
  // ours sends.
  void SendToBeFetched(const transport::UcxHead& head, std::string body) {
    worker_->Post([this, head, body = std::move(body)]() mutable {
      if (link_ == nullptr) return;
      offered_.push_back({std::string(AsText(head.bytes())), std::move(body)});
      const Message& offered = offered_.back();
      ucp_request_param_t param{};
      param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_CALLBACK;
      param.flags = UCP_AM_SEND_FLAG_RNDV | UCP_AM_SEND_FLAG_REPLY;
      param.cb.send = [](void* request, ucs_status_t, void*) {
        ucp_request_free(request);
      };
      ucp_am_send_nbx(link_->endpoint(), transport::kUcxToNode,
                      offered.head.data(), offered.head.size(),
                      offered.body.data(), offered.body.size(), &param);
    });
  }
  void SendHello(const std::string& token) {
    Send(EncodeUcx(transport::UcxHello{.token = token}));
  }
  // While the job runs, nothing is taken that the node sends.
  void Do(std::function<void()> job) { worker_->Post(std::move(job)); }

  struct Message {
    std::string head;
    std::string body;
  };
  std::vector<Message> messages() {
    MutexLock lock(mutex_);
    return messages_;
  }
  // Answers so far.
  std::vector<transport::UcxAnswer> answers() {
    std::vector<transport::UcxAnswer> answers;
    for (const Message& message : messages()) {
      auto answer = transport::ParseUcxAnswer(AsBytes(message.head),
                                              AsBytes(message.body));
      if (answer.ok()) answers.push_back(*std::move(answer));
    }
    return answers;
  }
  bool IsWelcome() {
    return PollUntil([&] {
      for (const Message& message : messages()) {
        if (transport::ParseUcxWelcome(AsBytes(message.head)).ok()) return true;
      }
      return false;
    });
  }
  bool is_cut() {
    MutexLock lock(mutex_);
    return is_cut_;
  }
  bool IsCut() {
    return PollUntil([&] { return is_cut(); });
  }

 private:
  void OnUcxMessage(ucp_ep_h, absl::Span<const std::byte> head,
                    const absl::Span<const std::byte>* body) override {
    MutexLock lock(mutex_);
    messages_.push_back(
        {std::string(AsText(head)),
         body == nullptr ? std::string() : std::string(AsText(*body))});
  }
  void OnUcxRequest(ucp_conn_request_h) override {}
  void OnUcxLost(transport::UcxLink&) override {
    MutexLock lock(mutex_);
    is_cut_ = true;
  }
  Next OnUcxStep() override { return Next::kNothing; }

  Mutex mutex_;
  std::vector<Message> messages_ ABSL_GUARDED_BY(mutex_);
  bool is_cut_ ABSL_GUARDED_BY(mutex_) = false;
  transport::UcxLinkPtr link_;  // Of the worker's thread.
  std::list<Message> offered_;  // Likewise: UCX may read it until the end.
  std::unique_ptr<transport::UcxWorker> worker_;
};

}  // namespace banyan::testing
