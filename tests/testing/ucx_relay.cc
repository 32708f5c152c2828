#include "tests/testing/ucx_relay.h"

#include <cstring>
#include <functional>
#include <thread>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/mutex.h"

namespace banyan::testing {
namespace {

using transport::UcxHead;
using transport::UcxToClientKind;
using transport::UcxToNodeKind;

UcxHead HeadOf(const std::string& text) {
  UcxHead head(text.size());
  std::memcpy(head.data(), text.data(), text.size());
  return head;
}

}  // namespace

class UcxRelay::End final : private transport::UcxOwner {
 public:
  using Pass = std::function<void(Message)>;

  // Towards the node, or towards the client if `node_port` is 0.
  End(uint16_t node_port, Pass pass, std::function<void()> lost)
      : pass_(std::move(pass)), lost_(std::move(lost)) {
    const bool is_client = node_port == 0;
    auto worker = transport::UcxWorker::Open(
        {.device = "lo",
         .receives =
             is_client ? transport::kUcxToNode : transport::kUcxToClient,
         .sends = is_client ? transport::kUcxToClient : transport::kUcxToNode},
        *this);
    BANYAN_CHECK(worker.ok());
    owned_ = *std::move(worker);
    worker_ = owned_.get();
    const auto address = *transport::MakeUcxAddress("127.0.0.1", node_port);
    if (is_client) {
      port_ = *worker_->Listen(address);
    } else {
      worker_->Post([this, address] {
        auto link = worker_->Connect(address);
        if (link.ok()) link_ = *std::move(link);
      });
    }
  }
  ~End() override { Stop(); }

  void Start() { BANYAN_CHECK(worker_->Start().ok()); }
  // Afterwards nothing more is passed on, here or there.
  void Stop() {
    std::unique_ptr<transport::UcxWorker> ended;
    MutexLock lock(mutex_);
    ended.swap(owned_);
  }

  uint16_t port() const { return port_; }

  // In order. What is late holds up what comes after it, as on any wire.
  void Send(Message message, absl::Duration delay) {
    Post([this, message = std::move(message), delay] {
      std::this_thread::sleep_for(absl::ToChronoNanoseconds(delay));
      if (link_ != nullptr) link_->SendOwn(HeadOf(message.head), message.body);
    });
  }
  void Close() {
    Post([this] {
      if (link_ != nullptr) link_->Close();
    });
  }

 private:
  void Post(std::function<void()> job) {
    MutexLock lock(mutex_);
    if (owned_ != nullptr) owned_->Post(std::move(job));
  }

  void OnUcxMessage(ucp_ep_h, absl::Span<const std::byte> head,
                    const absl::Span<const std::byte>* body) override {
    BANYAN_CHECK(body != nullptr);
    pass_({std::string(AsText(head)), std::string(AsText(*body))});
  }
  void OnUcxRequest(ucp_conn_request_h request) override {
    requests_.push_back(request);
  }
  void OnUcxLost(transport::UcxLink&) override { lost_(); }
  Next OnUcxStep() override {
    for (const ucp_conn_request_h request : std::exchange(requests_, {})) {
      auto link = worker_->Accept(request);
      if (link.ok()) link_ = *std::move(link);
    }
    return Next::kNothing;
  }

  const Pass pass_;
  const std::function<void()> lost_;
  uint16_t port_ = 0;
  // Of the worker's thread.
  transport::UcxWorker* worker_ = nullptr;
  std::vector<ucp_conn_request_h> requests_;
  transport::UcxLinkPtr link_;
  Mutex mutex_;
  std::unique_ptr<transport::UcxWorker> owned_ ABSL_GUARDED_BY(mutex_);
};

UcxRelay::UcxRelay(uint16_t node_port, WireFaults& faults) : faults_(faults) {
  node_ = std::make_unique<End>(
      node_port, [this](Message message) { FromNode(std::move(message)); },
      [this] { client_->Close(); });
  client_ = std::make_unique<End>(
      0, [this](Message message) { FromClient(std::move(message)); },
      [this] { node_->Close(); });
  port_ = client_->port();
  node_->Start();
  client_->Start();
}

// Each may pass something on to the other until it has stopped.
UcxRelay::~UcxRelay() {
  client_->Stop();
  node_->Stop();
}

void UcxRelay::Cut() {
  client_->Close();
  node_->Close();
}

void UcxRelay::FromClient(Message message) {
  const auto kind = transport::UcxToNodeKindOf(AsBytes(message.head));
  if (kind.ok() && *kind == UcxToNodeKind::kPut && !message.body.empty()) {
    if (faults_.Draw(WireFault::kFlip)) {
      message.body[faults_.Below(message.body.size())] ^= 4;
    }
    if (faults_.Draw(WireFault::kShort)) {
      message.body.resize(faults_.Below(message.body.size()));
    }
  }
  node_->Send(std::move(message), absl::ZeroDuration());
}

void UcxRelay::FromNode(Message message) {
  const auto kind = transport::UcxToClientKindOf(AsBytes(message.head));
  BANYAN_CHECK(kind.ok());
  if (*kind != UcxToClientKind::kWelcome) {
    if (faults_.Draw(WireFault::kCut)) return Cut();
    Spoil(*kind, message);
  }
  client_->Send(std::move(message), faults_.DrawDelay());
}

void UcxRelay::Spoil(UcxToClientKind kind, Message& message) {
  if (faults_.Below(16) == 0 && faults_.Draw(WireFault::kShort)) {
    message.head.resize(faults_.Below(message.head.size()));
    return;
  }
  if (kind == UcxToClientKind::kBytes) {
    std::string& body = message.body;
    const std::string before = std::exchange(last_body_, body);
    if (faults_.Draw(WireFault::kFlip)) body[faults_.Below(body.size())] ^= 4;
    if (faults_.Draw(WireFault::kShort)) {
      body.resize(faults_.Below(body.size()));
    }
    if (before.size() == body.size() && before != body &&
        faults_.Draw(WireFault::kSwap)) {
      body = before;
    }
  }
  if (kind == UcxToClientKind::kAnswer && faults_.Draw(WireFault::kError)) {
    const auto answer =
        transport::ParseUcxAnswer(AsBytes(message.head), AsBytes(message.body));
    BANYAN_CHECK(answer.ok());
    const transport::UcxAnswer error{.call_id = answer->call_id,
                                     .status = WireError()};
    message.head = std::string(AsText(EncodeUcx(error).bytes()));
    message.body = UcxBodyOf(error);
  }
}

}  // namespace banyan::testing
