// Makes the hand-overs inside gRPC visible to ThreadSanitizer. Linked into every
// program of the tsan build, and nowhere else.
//
// Debian's gRPC is not instrumented, so its locks and queues are invisible, and
// what one thread hands to another through it looks like a race. Instead of
// suppressing reports, which would hide ours too (but for two that say nothing
// of our code), the functions of the C core
// at which a hand-over begins and ends are interposed, and each is told to
// ThreadSanitizer as what it is: an operation's tag goes from the thread that
// starts it to the one that takes its completion; a closure from the thread
// that schedules it to the one that runs it; a server's parts from the thread
// that starts it to its handlers, and back to the one that destroys it. Two
// handlers that are not ordered by one of these stay unordered, so a race
// between them is still found.
#include <dlfcn.h>
#include <grpc/grpc.h>

#include <cstdint>

extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}

namespace {

// The next definition of a function in the order of the libraries.
template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

char server_started;
char handlers_left;

}  // namespace

extern "C" {

grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops,
                                      size_t nops, void* tag, void* reserved) {
  static auto* const next =
      Next<decltype(grpc_call_start_batch)>("grpc_call_start_batch");
  __tsan_release(tag);
  return next(call, ops, nops, tag, reserved);
}

grpc_event grpc_completion_queue_next(grpc_completion_queue* queue,
                                      gpr_timespec deadline, void* reserved) {
  static auto* const next =
      Next<decltype(grpc_completion_queue_next)>("grpc_completion_queue_next");
  __tsan_release(&handlers_left);
  const grpc_event event = next(queue, deadline, reserved);
  __tsan_acquire(&server_started);
  if (event.type == GRPC_OP_COMPLETE) __tsan_acquire(event.tag);
  return event;
}

grpc_event grpc_completion_queue_pluck(grpc_completion_queue* queue, void* tag,
                                       gpr_timespec deadline, void* reserved) {
  static auto* const next = Next<decltype(grpc_completion_queue_pluck)>(
      "grpc_completion_queue_pluck");
  const grpc_event event = next(queue, tag, deadline, reserved);
  if (event.type == GRPC_OP_COMPLETE) __tsan_acquire(tag);
  return event;
}

void grpc_server_start(grpc_server* server) {
  static auto* const next =
      Next<decltype(grpc_server_start)>("grpc_server_start");
  __tsan_release(&server_started);
  next(server);
}

void grpc_call_unref(grpc_call* call) {
  static auto* const next = Next<decltype(grpc_call_unref)>("grpc_call_unref");
  __tsan_release(&handlers_left);
  next(call);
}

void grpc_server_destroy(grpc_server* server) {
  static auto* const next =
      Next<decltype(grpc_server_destroy)>("grpc_server_destroy");
  next(server);
  __tsan_acquire(&handlers_left);
}

// grpc_core::Executor::Run(grpc_closure*, absl::Status, ExecutorType,
// ExecutorJobType) of gRPC 1.51: the closure's function and its argument are
// the second and the third word; a Status is passed by address.
#define BANYAN_EXECUTOR_RUN                                      \
  "_ZN9grpc_core8Executor3RunEP12grpc_closureN4absl7debian36Sta" \
  "tusENS_12ExecutorTypeENS_15ExecutorJobTypeE"

struct Closure {
  uintptr_t link;
  void (*function)(void* argument, void* status);
  void* argument;
};

struct HandedOver {
  Closure* closure;
  void (*function)(void* argument, void* status);
  void* argument;
};

__attribute__((no_sanitize("thread"))) static void RunHandedOver(void* argument,
                                                                 void* status) {
  __tsan_acquire(argument);
  const HandedOver inner = *static_cast<HandedOver*>(argument);
  delete static_cast<HandedOver*>(argument);
  inner.closure->function = inner.function;  // Some are scheduled again.
  inner.closure->argument = inner.argument;
  inner.function(inner.argument, status);
}

void ExecutorRun(Closure* closure, void* status, int type,
                 int job) __asm__(BANYAN_EXECUTOR_RUN);
__attribute__((no_sanitize("thread"))) void ExecutorRun(Closure* closure,
                                                        void* status, int type,
                                                        int job) {
  static auto* const next = Next<decltype(ExecutorRun)>(BANYAN_EXECUTOR_RUN);
  auto* const outer =
      new HandedOver{closure, closure->function, closure->argument};
  closure->function = &RunHandedOver;
  closure->argument = outer;
  __tsan_release(outer);
  next(closure, status, type, job);
}

// grpc_cq_end_op of gRPC 1.51: an event with this tag goes to its queue.
#define BANYAN_END_OP                                            \
  "_Z14grpc_cq_end_opP21grpc_completion_queuePvN4absl7debian36S" \
  "tatusEPFvS1_P18grpc_cq_completionES1_S6_b"

void EndOp(void* queue, void* tag, void* status, void* done, void* argument,
           void* storage, bool is_internal) __asm__(BANYAN_END_OP);
void EndOp(void* queue, void* tag, void* status, void* done, void* argument,
           void* storage, bool is_internal) {
  static auto* const next = Next<decltype(EndOp)>(BANYAN_END_OP);
  __tsan_release(tag);
  next(queue, tag, status, done, argument, storage, is_internal);
}

// grpc::internal::ServerCallbackCall: who cancels a call has left it before the
// call's last reaction is scheduled; the count of reactions that says so is kept
// by code that is not instrumented.
#define BANYAN_CALL_ON_CANCEL                                    \
  "_ZN4grpc8internal18ServerCallbackCall12CallOnCancelEPNS0_13S" \
  "erverReactorE"
#define BANYAN_SCHEDULE_ON_DONE \
  "_ZN4grpc8internal18ServerCallbackCall14ScheduleOnDoneEb"

void CallOnCancel(void* call, void* reactor) __asm__(BANYAN_CALL_ON_CANCEL);
void CallOnCancel(void* call, void* reactor) {
  static auto* const next = Next<decltype(CallOnCancel)>(BANYAN_CALL_ON_CANCEL);
  __tsan_release(call);
  next(call, reactor);
}

void ScheduleOnDone(void* call,
                    bool is_inline) __asm__(BANYAN_SCHEDULE_ON_DONE);
void ScheduleOnDone(void* call, bool is_inline) {
  static auto* const next =
      Next<decltype(ScheduleOnDone)>(BANYAN_SCHEDULE_ON_DONE);
  __tsan_acquire(call);
  // The two counts of reactions, behind the pointer to the virtual functions:
  // who counts down last may be code that is not instrumented.
  __tsan_acquire(static_cast<char*>(call) + 8);
  __tsan_acquire(static_cast<char*>(call) + 12);
  next(call, is_inline);
}

// absl::Mutex, which is the lock of gRPC's own headers and is not instrumented:
// a call that is finished by another thread before its handler has returned
// waits in a reactor under it.
#define BANYAN_MUTEX_LOCK "_ZN4absl7debian35Mutex4LockEv"
#define BANYAN_MUTEX_UNLOCK "_ZN4absl7debian35Mutex6UnlockEv"

void MutexLock(void* mutex) __asm__(BANYAN_MUTEX_LOCK);
void MutexLock(void* mutex) {
  static auto* const next = Next<decltype(MutexLock)>(BANYAN_MUTEX_LOCK);
  next(mutex);
  __tsan_acquire(mutex);
}

void MutexUnlock(void* mutex) __asm__(BANYAN_MUTEX_UNLOCK);
void MutexUnlock(void* mutex) {
  static auto* const next = Next<decltype(MutexUnlock)>(BANYAN_MUTEX_UNLOCK);
  __tsan_release(mutex);
  next(mutex);
}

// What cannot be told: the last count of a call may be counted down by code of
// gRPC that is not instrumented, before gRPC destroys the call; and gRPC leaves
// it to the end of the program to wait for its timer thread.
const char* __tsan_default_suppressions() {
  return "race:ServerCallbackReaderWriterImpl::~"
         "ServerCallbackReaderWriterImpl\n"
         "thread:grpc_core::Thread::Thread\n";
}

}  // extern "C"
