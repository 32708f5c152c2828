#include "client/transport/match_streams.h"

#include <utility>

namespace banyan::transport {

namespace pb = banyan::v1;

using TimePoint = std::chrono::system_clock::time_point;

namespace {

// Waking up takes about as long as an answer.
constexpr std::chrono::microseconds kSpin{60};

}  // namespace

// One stream with a completion queue of its own, which its caller waits on.
class MatchStreams::Stream {
 public:
  explicit Stream(pb::Cache::Stub& stub)
      : stream_(stub.PrepareAsyncMatchPrefixes(&context_, &queue_)) {}

  // Cancelled, so that all that is pending ends at once.
  ~Stream() {
    context_.TryCancel();
    grpc::Status status;
    if (has_started_) {
      stream_->Finish(&status, this);
      ++pending_;
    }
    const TimePoint never = TimePoint::max();
    while (pending_ > 0) Await(never);
    queue_.Shutdown();
    void* tag = nullptr;
    bool is_ok = false;
    while (queue_.Next(&tag, &is_ok)) {
    }
  }

  enum class Result { kAnswered, kBroken, kLate };

  Result Ask(const pb::MatchPrefixRequest& request, TimePoint deadline,
             pb::MatchPrefixResponse& response) {
    if (!has_started_) {
      has_started_ = true;
      stream_->StartCall(this);
      ++pending_;
      if (const Result start = AwaitAll(deadline); start != Result::kAnswered) {
        return start;
      }
    }
    // In this order: a read sends the node its flow control at once, which a
    // question takes with it in one packet.
    stream_->Write(request, this);
    // Kept here, since gRPC may write to it until a cancelled read has ended.
    stream_->Read(&response_, this);
    pending_ += 2;
    const Result result = AwaitAll(deadline);
    if (result == Result::kAnswered) response.Swap(&response_);
    return result;
  }

 private:
  Result AwaitAll(TimePoint deadline) {
    bool is_ok = true;
    while (pending_ > 0) {
      const Result result = Await(deadline);
      if (result == Result::kLate) return result;
      is_ok = is_ok && result == Result::kAnswered;
    }
    return is_ok ? Result::kAnswered : Result::kBroken;
  }

  // One of the pending steps.
  Result Await(TimePoint deadline) {
    using Queue = grpc::CompletionQueue;
    void* tag = nullptr;
    bool is_ok = false;
    Queue::NextStatus next = Queue::TIMEOUT;
    const auto spin_end = std::chrono::steady_clock::now() + kSpin;
    do {
      next = queue_.AsyncNext(&tag, &is_ok, TimePoint());  // Looks once.
    } while (next == Queue::TIMEOUT &&
             std::chrono::steady_clock::now() < spin_end);
    if (next == Queue::TIMEOUT) next = queue_.AsyncNext(&tag, &is_ok, deadline);
    if (next != Queue::GOT_EVENT) return Result::kLate;
    --pending_;
    return is_ok ? Result::kAnswered : Result::kBroken;
  }

  grpc::CompletionQueue queue_;
  grpc::ClientContext context_;
  const std::unique_ptr<grpc::ClientAsyncReaderWriter<pb::MatchPrefixRequest,
                                                      pb::MatchPrefixResponse>>
      stream_;
  pb::MatchPrefixResponse response_;
  bool has_started_ = false;
  int pending_ = 0;
};

MatchStreams::MatchStreams(pb::Cache::Stub& stub) : stub_(stub) {}

MatchStreams::~MatchStreams() = default;

std::optional<grpc::Status> MatchStreams::Ask(
    const pb::MatchPrefixRequest& request, TimePoint deadline,
    pb::MatchPrefixResponse& response) {
  std::unique_ptr<Stream> stream = Take();
  if (stream == nullptr) return std::nullopt;
  const Stream::Result result = stream->Ask(request, deadline, response);
  if (result != Stream::Result::kAnswered) stream = nullptr;
  Return(std::move(stream));
  switch (result) {
    case Stream::Result::kAnswered:
      return grpc::Status::OK;
    case Stream::Result::kLate:
      return grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED,
                          "match: no answer within the deadline.");
    case Stream::Result::kBroken:
      break;
  }
  return std::nullopt;
}

std::unique_ptr<MatchStreams::Stream> MatchStreams::Take() {
  {
    MutexLock lock(mutex_);
    if (resting_.empty() && busy_ == kStreamsMax) return nullptr;
    ++busy_;
    if (!resting_.empty()) {
      auto stream = std::move(resting_.back());
      resting_.pop_back();
      return stream;
    }
  }
  return std::make_unique<Stream>(stub_);
}

void MatchStreams::Return(std::unique_ptr<Stream> stream) {
  MutexLock lock(mutex_);
  --busy_;
  if (stream != nullptr) resting_.push_back(std::move(stream));
}

}  // namespace banyan::transport
