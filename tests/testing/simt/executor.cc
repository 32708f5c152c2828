#include "tests/testing/simt/executor.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/units.h"
#include "tests/testing/simt/warp_result.h"

#ifdef BANYAN_SIMT_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace banyan::simt {
namespace {

using State = GpuThread::State;

// Of CUDA, for all devices.
constexpr unsigned kGridXMax = 0x7fffffff;
constexpr unsigned kGridYzMax = 65535;
constexpr unsigned kBlockZMax = 64;

std::string Text(const Dim3& d) {
  return absl::StrCat(d.x, ",", d.y, ",", d.z);
}

bool IsIn(uint32_t mask, unsigned lane) { return (mask >> lane & 1) != 0; }

void SetReachable([[maybe_unused]] std::byte* begin,
                  [[maybe_unused]] size_t bytes) {
#ifdef BANYAN_SIMT_ASAN
  ASAN_UNPOISON_MEMORY_REGION(begin, bytes);
#endif
}

void SetOutOfReach([[maybe_unused]] std::byte* begin,
                   [[maybe_unused]] size_t bytes) {
#ifdef BANYAN_SIMT_ASAN
  ASAN_POISON_MEMORY_REGION(begin, bytes);
#endif
}

void Perform(const AsyncCopy& copy) {
  const size_t copied = copy.bytes - copy.zero_bytes;
  std::memcpy(copy.to, copy.from, copied);
  std::memset(copy.to + copied, 0, copy.zero_bytes);
}

}  // namespace

std::string Site::Text() const { return absl::StrCat(file, ":", line); }

bool operator==(const Site& a, const Site& b) {
  return a.line == b.line &&
         (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

std::vector<Schedule> UsualSchedules() {
  std::vector<Schedule> schedules = {{.order = Order::kForward},
                                     {.order = Order::kReverse}};
  for (const uint64_t seed : {1, 2, 3}) {
    schedules.push_back({.order = Order::kRandom,
                         .seed = seed,
                         .has_shuffled_blocks = true,
                         .preempt_accesses = seed == 1 ? 0u : 10u});
  }
  return schedules;
}

Executor& Executor::Get() {
  static auto* const executor = new Executor();
  return *executor;
}

Executor::Executor()
    : all_threads_(kBlockThreadsMax),
      warps_(kBlockThreadsMax / kWarpLanes),
      shared_arena_(MapPages(kSharedArenaBytes)) {}

absl::Status Executor::Run(const Launch& launch, void (*body)(void*),
                           void* context) {
  launch_ = &launch;
  body_ = body;
  context_ = context;
  if (std::string invalid = InvalidLaunch(); !invalid.empty()) {
    return absl::InvalidArgumentError(invalid);
  }
  random_.seed(schedule_.seed);
  std::vector<uint64_t> blocks(launch.grid.count());
  std::iota(blocks.begin(), blocks.end(), 0);
  if (schedule_.has_shuffled_blocks) {
    std::shuffle(blocks.begin(), blocks.end(), random_);
  }

  finding_.clear();
  if (gate_ != nullptr) gate_(true);
  for (const uint64_t block : blocks) {
    const Dim3& grid = launch.grid;
    block_index_ = {static_cast<unsigned>(block % grid.x),
                    static_cast<unsigned>(block / grid.x % grid.y),
                    static_cast<unsigned>(block / grid.x / grid.y)};
    RunBlock();
    if (!finding_.empty()) break;
  }
  thread_ = nullptr;
  if (gate_ != nullptr) gate_(false);

  std::vector<std::string> findings;
  if (!finding_.empty()) findings.push_back(finding_);
  if (monitor_ != nullptr) {
    for (std::string& more : monitor_->LaunchEnds()) {
      findings.push_back(std::move(more));
    }
  }
  if (findings.empty()) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat(launch.name, ":\n  ", absl::StrJoin(findings, "\n  ")));
}

std::string Executor::InvalidLaunch() const {
  const Dim3& grid = launch_->grid;
  const Dim3& block = launch_->block;
  if (grid.count() != 0 && grid.x <= kGridXMax && grid.y <= kGridYzMax &&
      grid.z <= kGridYzMax && block.count() != 0 &&
      block.count() <= kBlockThreadsMax && block.z <= kBlockZMax) {
    return "";
  }
  return absl::StrCat(launch_->name, ": invalid launch, grid ", Text(grid),
                      ", block ", Text(block));
}

void Executor::RunBlock() {
  ResetSharedArena();
  ResetThreads();
  if (monitor_ != nullptr) monitor_->BlockBegins();
  Resume(main_, NextReady(), Fiber::Leave::kForAWhile);
  if (finding_.empty() && alive_ != 0) finding_ = Deadlock();
}

// Memory that nobody has written reads as NaN, or as -1.
void Executor::ResetSharedArena() {
  SetReachable(shared_arena_, kSharedArenaBytes);
  std::memset(shared_arena_, 0xff, shared_end_);
  SetOutOfReach(shared_arena_, kSharedArenaBytes);
  shared_end_ = kRedZoneBytes;
  shared_bytes_ = 0;
  shared_arrays_.clear();
}

void Executor::ResetThreads() {
  const Dim3& block = launch_->block;
  threads_ = static_cast<unsigned>(block.count());
  alive_ = threads_;
  at_barrier_ = 0;
  ready_.clear();
  ready_begin_ = 0;
  idle_fibers_.clear();
  for (const auto& fiber : fibers_) idle_fibers_.push_back(fiber.get());
  for (unsigned i = 0; i < threads_; ++i) {
    GpuThread& thread = all_threads_[i];
    thread.index = {i % block.x, i / block.x % block.y, i / block.x / block.y};
    thread.number = i;
    thread.lane = i % kWarpLanes;
    thread.warp = i / kWarpLanes;
    thread.state = State::kFresh;
    thread.open_copies.clear();
    thread.copy_groups.clear();
    ready_.push_back(&thread);
  }
  for (unsigned i = 0; i * kWarpLanes < threads_; ++i) {
    warps_[i].lanes = std::min(kWarpLanes, threads_ - i * kWarpLanes);
    warps_[i].exited = 0;
    warps_[i].waits.clear();
  }
}

GpuThread* Executor::NextReady() {
  const size_t count = ready_.size() - ready_begin_;
  if (count == 0) return nullptr;
  GpuThread* next = nullptr;
  if (schedule_.order == Order::kForward) {
    next = ready_[ready_begin_++];
  } else {
    if (schedule_.order == Order::kRandom) {
      std::swap(ready_[ready_begin_ + random_() % count], ready_.back());
    }
    next = ready_.back();
    ready_.pop_back();
  }
  if (ready_begin_ == ready_.size()) {
    ready_.clear();
    ready_begin_ = 0;
  }
  return next;
}

void Executor::Wait() {
  GpuThread* const me = thread_;
  GpuThread* const next = NextReady();
  if (next != me) Resume(*me->fiber, next, Fiber::Leave::kForAWhile);
}

// Without a next thread, RunBlock goes on.
void Executor::Resume(Fiber& from, GpuThread* next, Fiber::Leave leave) {
  if (next == nullptr) return Fiber::Switch(from, main_, leave);
  if (next->state == State::kFresh) {
    if (idle_fibers_.empty()) {
      fibers_.push_back(Fiber::WithStack());
      idle_fibers_.push_back(fibers_.back().get());
    }
    next->fiber = idle_fibers_.back();
    idle_fibers_.pop_back();
    if (!next->fiber->is_idle()) next->fiber->Arm(&FiberMain);
  }
  next->state = State::kReady;
  thread_ = next;
  Fiber::Switch(from, *next->fiber, leave);
}

// A thread that ends hands its stack to the next fresh one, so threads that
// never wait cost no switch.
void Executor::FiberMain() {
  Executor& executor = Get();
  Fiber::Enter(executor.main_);
  while (true) {
    GpuThread& thread = *executor.thread_;
    Fiber* const fiber = thread.fiber;
    executor.is_kernel_code_ = true;
    executor.body_(executor.context_);
    executor.is_kernel_code_ = false;
    executor.Exit(thread);
    GpuThread* const next = executor.NextReady();
    if (next != nullptr && next->state == State::kFresh) {
      next->fiber = fiber;
      next->state = State::kReady;
      executor.thread_ = next;
      continue;
    }
    executor.idle_fibers_.push_back(fiber);
    executor.Resume(*fiber, next, Fiber::Leave::kIdle);
  }
}

void Executor::Exit(GpuThread& thread) {
  if (!thread.open_copies.empty()) CommitCopies();
  AwaitCopies(0);
  thread.state = State::kDone;
  Warp& warp = warps_[thread.warp];
  warp.exited |= uint32_t{1} << thread.lane;
  for (const auto& [mask, came] : warp.waits) {
    if ((mask & warp.exited) != 0) {
      Fail("a thread exits while its warp waits for it");
    }
  }
  if (--alive_ != 0 && at_barrier_ == alive_) ReleaseBarrier();
}

std::byte* Executor::SharedArray(const void* declaration, size_t bytes,
                                 size_t align) {
  const HostScope host;
  for (const auto& [owner, begin] : shared_arrays_) {
    if (owner == declaration) return begin;
  }
  shared_bytes_ += bytes;
  if (shared_bytes_ > shared_bytes_max_) Fail("shared memory over the limit");
  const size_t begin = RoundUp(shared_end_, align);
  BANYAN_CHECK(begin + bytes + kRedZoneBytes <= kSharedArenaBytes);
  shared_end_ = begin + bytes + kRedZoneBytes;
  std::byte* const array = shared_arena_ + begin;
  SetReachable(array, bytes);
  if (monitor_ != nullptr) monitor_->SharedArray(array, bytes);
  shared_arrays_.emplace_back(declaration, array);
  return array;
}

std::byte* Executor::DynamicShared() {
  const size_t bytes = launch_->dynamic_shared_bytes;
  if (bytes == 0) Fail("dynamic shared memory used, but none launched");
  return SharedArray(&launch_->dynamic_shared_bytes, bytes, 1024);
}

uint64_t Executor::Barrier(bool predicate, Site site) {
  const HostScope host;
  GpuThread& me = *thread_;
  me.site = site;
  me.value = predicate ? 1 : 0;
  me.state = State::kAtBarrier;
  if (++at_barrier_ == alive_) {
    ReleaseBarrier();
  } else {
    Wait();
  }
  return me.result;
}

std::string Executor::BarrierDivergence() const {
  if (alive_ != threads_) {
    return absl::StrCat("barrier divergence: ", threads_ - alive_, " of ",
                        threads_,
                        " threads exited before a barrier that the "
                        "others wait at");
  }
  const GpuThread& first = all_threads_[0];
  for (unsigned i = 1; i < threads_; ++i) {
    const GpuThread& other = all_threads_[i];
    if (!(other.site == first.site)) {
      return absl::StrCat("barrier divergence: thread ", i, " waits at ",
                          other.site.Text(), ", thread 0 at ",
                          first.site.Text());
    }
  }
  return "";
}

void Executor::ReleaseBarrier() {
  if (std::string wrong = BarrierDivergence(); !wrong.empty()) {
    Fail(std::move(wrong));
  }
  uint64_t sum = 0;
  for (unsigned i = 0; i < threads_; ++i) sum += all_threads_[i].value;
  for (unsigned i = 0; i < threads_; ++i) {
    GpuThread& thread = all_threads_[i];
    thread.result = sum | uint64_t{sum == threads_} << 32;
    thread.state = State::kReady;
    if (&thread != thread_) ready_.push_back(&thread);
  }
  at_barrier_ = 0;
  if (monitor_ != nullptr) monitor_->BlockBarrier();
}

std::string Executor::InvalidMask(uint32_t mask, Site site) const {
  const Warp& warp = warps_[thread_->warp];
  const char* wrong = nullptr;
  if (!IsIn(mask, thread_->lane)) wrong = "leaves out the calling lane";
  if ((mask & warp.exited) != 0) wrong = "names a lane that has exited";
  if (warp.lanes < kWarpLanes && mask >> warp.lanes != 0) {
    wrong = "names a lane that the block does not have";
  }
  if (wrong == nullptr) return "";
  return absl::StrCat("warp mask ", wrong, " at ", site.Text());
}

uint64_t Executor::WarpOperation(WarpOp op, uint32_t mask, uint64_t value,
                                 unsigned source_lane, Site site) {
  const HostScope host;
  if (std::string wrong = InvalidMask(mask, site); !wrong.empty()) {
    Fail(std::move(wrong));
  }
  GpuThread& me = *thread_;
  me.op = op;
  me.mask = mask;
  me.value = value;
  me.source_lane = source_lane;
  me.site = site;
  me.state = State::kAtWarpOp;
  auto& waits = warps_[me.warp].waits;
  auto wait = std::find_if(waits.begin(), waits.end(),
                           [mask](const auto& w) { return w.first == mask; });
  if (wait == waits.end()) wait = waits.insert(wait, {mask, 0});
  wait->second |= uint32_t{1} << me.lane;
  if (wait->second == mask) {
    waits.erase(wait);
    FinishWarpOperation(me.warp, mask);
  } else {
    Wait();
  }
  return me.result;
}

void Executor::FinishWarpOperation(unsigned warp, uint32_t mask) {
  const absl::Span<GpuThread> lanes =
      absl::MakeSpan(all_threads_)
          .subspan(warp * kWarpLanes, warps_[warp].lanes);
  if (std::string wrong = ComputeWarpResults(lanes, mask); !wrong.empty()) {
    Fail(std::move(wrong));
  }
  for (GpuThread& lane : lanes) {
    if (!IsIn(mask, lane.lane)) continue;
    lane.state = State::kReady;
    if (&lane != thread_) ready_.push_back(&lane);
  }
  if (monitor_ == nullptr) return;
  monitor_->LanesMeet(warp, mask);
  if (thread_->op == WarpOp::kSync) monitor_->WarpBarrier(warp, mask);
}

void Executor::Preempt() {
  const HostScope host;
  thread_->state = State::kReady;
  ready_.push_back(thread_);
  Wait();
}

// Done when it is waited for, or, in random order, at once every other time:
// kernels must stand both.
void Executor::BeginCopy(const AsyncCopy& copy, const void* place) {
  const HostScope host;
  if (monitor_ != nullptr) {
    monitor_->AsyncCopyBegins(copy.to, copy.bytes, place);
  }
  if (schedule_.order == Order::kRandom && (random_() & 1) != 0) Perform(copy);
  thread_->open_copies.push_back(copy);
}

void Executor::CommitCopies() {
  const HostScope host;
  thread_->copy_groups.push_back(std::move(thread_->open_copies));
  thread_->open_copies.clear();
}

void Executor::AwaitCopies(size_t groups) {
  const HostScope host;
  auto& all = thread_->copy_groups;
  while (all.size() > groups) {
    FinishCopies(all.front());
    all.erase(all.begin());
  }
}

void Executor::FinishCopies(const std::vector<AsyncCopy>& group) {
  for (const AsyncCopy& copy : group) {
    if (monitor_ != nullptr) {
      const void* const place = __builtin_return_address(0);
      monitor_->Accesses(copy.from, copy.bytes - copy.zero_bytes, Access::kRead,
                         place);
      monitor_->AsyncCopyEnds(copy.to, copy.bytes, place);
    }
    Perform(copy);
  }
}

void Executor::Fail(std::string finding) {
  is_kernel_code_ = false;
  finding_ = absl::StrCat(finding, WhereIs(thread_));
  std::string().swap(finding);  // Nobody will destroy it.
  Resume(*thread_->fiber, nullptr, Fiber::Leave::kForever);
  __builtin_unreachable();
}

std::string Executor::WhereIs(const GpuThread* thread) const {
  return absl::StrCat(
      " [block ", Text(block_index_),
      thread == nullptr ? "" : absl::StrCat(" thread ", Text(thread->index)),
      "]");
}

std::string Executor::Deadlock() const {
  std::string text = "deadlock:";
  const GpuThread* last = nullptr;
  for (unsigned i = 0; i < threads_; ++i) {
    const GpuThread& thread = all_threads_[i];
    const bool is_at_barrier = thread.state == State::kAtBarrier;
    if (!is_at_barrier && thread.state != State::kAtWarpOp) continue;
    if (last != nullptr && last->state == thread.state &&
        last->site == thread.site) {
      continue;
    }
    absl::StrAppend(&text, " thread ", i, " waits in ",
                    is_at_barrier ? "syncthreads" : NameOf(thread.op), " at ",
                    thread.site.Text(), ";");
    last = &thread;
  }
  return absl::StrCat(text, WhereIs(nullptr));
}

}  // namespace banyan::simt
