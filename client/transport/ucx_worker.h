// A UCX worker and its endpoints. One thread at a time works on them: the worker's
// own, to which others hand jobs; or, while the own one has nothing to do, a caller
// that would otherwise wait for it, which saves waking two threads. Who works sleeps
// until a job or the network wakes it; while an answer is expected it looks for a
// while first, since waking takes longer than most answers.
//
// What happens inside UCX (a message came, a peer is gone, bytes were let go of) is
// told to the owner: messages at once, since their bytes are gone afterwards, all
// else when UCX has returned, where links may be closed.
//
// Threads:  Post, TryWork and EndPause from any; all else on the thread that works,
//           or before Start and in the destructor. What is said to be of the
//           worker's thread is of the one that works.
// Lifetime: the owner outlives *this.
// Errors:   Open: kFailedPrecondition reason UCX_VERSION or UCX.
#pragma once

#include <ucp/api/ucp.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "client/transport/ucx_address.h"
#include "client/transport/ucx_link.h"
#include "client/transport/ucx_profile.h"

namespace banyan::transport {

class UcxOwner {
 public:
  virtual ~UcxOwner() = default;

  // A message came, from this endpoint where the sender said so. Inside UCX.
  // Of a body that does not come with the message `body` is null.
  virtual void OnUcxMessage(ucp_ep_h from, absl::Span<const std::byte> head,
                            const absl::Span<const std::byte>* body) = 0;

  // Somebody wants to come in: accept or reject. Inside UCX.
  virtual void OnUcxRequest(ucp_conn_request_h request) = 0;

  // The peer is gone; the link is about to be closed. Outside of UCX.
  virtual void OnUcxLost(UcxLink& link) = 0;

  // The link is closed, nothing is on its way any more. Outside of UCX, and the
  // last that is said of it.
  virtual void OnUcxClosed(UcxLink&) {}

  // What comes next: more steps at once; or somebody who answers soon, so that it
  // pays to look again and again; or nothing that cannot wake the thread.
  enum class Next : uint8_t { kMore, kAnswer, kNothing };

  // A step of what is to be done, again and again. Outside of UCX.
  virtual Next OnUcxStep() = 0;

  // A look at the clock: after each sleep, which is no longer than this, and now and
  // then while there is no sleep. Outside of UCX.
  virtual void OnUcxTime() {}
};

class UcxWorker {
 public:
  struct Options {
    UcxNetwork network = UcxNetwork::kTcp;
    std::string device;
    absl::Duration sleep_max = absl::Milliseconds(100);
    // While there is no link, if that may be longer.
    absl::Duration lone_sleep_max = absl::ZeroDuration();
    unsigned receives = kUcxToClient;  // Id of the messages that come.
    unsigned sends = kUcxToNode;       // Of those that go.
  };

  static absl::StatusOr<std::unique_ptr<UcxWorker>> Open(const Options& options,
                                                         UcxOwner& owner);
  // Gives up and closes all links, and ends the thread; jobs that did not run are
  // dropped. A caller that works is stopped, and waited for. Never by who works:
  // not from a job, nor from what the owner is told.
  ~UcxWorker();
  UcxWorker(const UcxWorker&) = delete;
  UcxWorker& operator=(const UcxWorker&) = delete;

  // Begins to work. kFailedPrecondition reason UCX: no thread is to be had.
  absl::Status Start();

  // Runs the job on the worker's thread, in order.
  void Post(std::function<void()> job);

  // Runs the job, then works, on this thread, until `is_over`, which is asked again
  // and again, and at `deadline`, too. False, and nothing was done: another works.
  // Afterwards the worker's thread pauses a little, since callers come in rows. The
  // end of the worker ends it, too.
  bool TryWork(const std::function<void()>& job,
               const std::function<bool()>& is_over,
               std::chrono::steady_clock::time_point deadline);
  // For who still waits for an answer.
  void EndPause();

  // The port that it listens on.
  absl::StatusOr<uint16_t> Listen(const UcxAddress& address);

  absl::StatusOr<UcxLinkPtr> Connect(const UcxAddress& address);
  absl::StatusOr<UcxLinkPtr> Accept(ucp_conn_request_h request);
  void Reject(ucp_conn_request_h request);
  static std::string PeerOf(ucp_conn_request_h request);

 private:
  friend class UcxLink;

  UcxWorker(const Options& options, UcxOwner& owner);

  absl::Status OpenUcx();
  absl::StatusOr<UcxLinkPtr> NewLink(ucp_ep_params_t& params);
  void Run();
  bool is_worked_on() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return worked_on_by_ != std::thread::id();
  }
  bool BeginWork();
  bool Work(const std::function<bool()>& is_over);
  bool RunJobs();
  // Used before, where there is one.
  std::unique_ptr<UcxLink::Sending> NewSending();
  bool FinishSends();
  bool CloseLinks();
  bool Arm();
  void Sleep(absl::Duration timeout_max);
  void WakeSleepers();
  void ForgetWakeups();
  void CloseAll();

  static ucs_status_t OnMessage(void* self, const void* head, size_t head_bytes,
                                void* body, size_t body_bytes,
                                const ucp_am_recv_param_t* param);
  static void OnRequest(ucp_conn_request_h request, void* self);
  static void OnError(void* link, ucp_ep_h endpoint, ucs_status_t status);

  const Options options_;
  UcxOwner& owner_;
  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  ucp_listener_h listener_ = nullptr;
  int ucx_event_ = -1;  // UCX's.
  int job_event_ = -1;

  // Of the thread that works.
  std::set<UcxLinkPtr> links_;
  std::vector<UcxLink::Sending*> finished_;
  std::vector<UcxLink::Sending*> finishing_;
  std::vector<std::unique_ptr<UcxLink::Sending>> spare_;
  bool has_links_to_close_ = false;
  bool has_failed_links_ = false;

  Mutex mutex_;
  CondVar turn_;  // For the worker's thread.
  std::vector<std::function<void()>> jobs_ ABSL_GUARDED_BY(mutex_);
  std::thread::id worked_on_by_ ABSL_GUARDED_BY(mutex_);  // None: nobody.
  std::chrono::steady_clock::time_point pause_end_ ABSL_GUARDED_BY(mutex_);
  int sleepers_ ABSL_GUARDED_BY(mutex_) = 0;  // Whom job_event_ wakes.
  std::atomic<bool> has_jobs_{false};         // A look that costs no lock.
  std::atomic<bool> is_stopping_{false};
  std::thread thread_;
};

}  // namespace banyan::transport
