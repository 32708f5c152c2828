#include "tests/testing/simt/checker.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "tests/testing/simt/device_memory.h"

// The linker's: the first and the last address of the program's image.
extern "C" char __executable_start[];  // NOLINT
extern "C" char _end[];                // NOLINT

namespace banyan::simt {
namespace {

constexpr size_t kFindingsMax = 10;

// Places below are line numbers of PTX.
constexpr uintptr_t kLineMax = uintptr_t{1} << 24;

// Flags of a cell. Since the last barrier of the block: a write, whether it was
// atomic, readers.
constexpr uint16_t kWrite = 1;
constexpr uint16_t kWriteAtomic = 2;
constexpr uint16_t kReader0 = 4;
constexpr uint16_t kReader1 = 8;
constexpr uint16_t kSinceBarrier = kWrite | kWriteAtomic | kReader0 | kReader1;
// Ever by this block, and, kOthersShift further, by other blocks of the launch.
constexpr uint16_t kBlockWrote = 16;
constexpr uint16_t kBlockWroteAtomically = 32;
constexpr uint16_t kBlockRead = 64;
constexpr uint16_t kByBlock = kBlockWrote | kBlockWroteAtomically | kBlockRead;
constexpr unsigned kOthersShift = 3;
constexpr uint16_t kOthersWrote = kBlockWrote << kOthersShift;
constexpr uint16_t kOthersWroteAtomically = kBlockWroteAtomically
                                            << kOthersShift;
constexpr uint16_t kOthersRead = kBlockRead << kOthersShift;
constexpr uint16_t kByOthers = kByBlock << kOthersShift;

bool Has(uint16_t flags, int any_of) { return (flags & any_of) != 0; }

std::string LineOf(const void* place) {
  const auto number = reinterpret_cast<uintptr_t>(place);
  if (number < kLineMax) return absl::StrCat("PTX line ", number);
  Dl_info image;
  if (dladdr(place, &image) == 0) return "?";
  // The call before the return address.
  const auto offset = number - reinterpret_cast<uintptr_t>(image.dli_fbase) - 1;
  const std::string command =
      absl::StrCat("addr2line -s -e '", image.dli_fname, "' 0x",
                   absl::Hex(offset), " 2>/dev/null");
  FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return "?";
  char line[400] = "?";
  if (std::fgets(line, sizeof(line), pipe) == nullptr) line[0] = '?';
  pclose(pipe);
  return std::string(absl::StripSuffix(line, "\n"));
}

}  // namespace

Checker& Checker::Get() {
  static auto* const checker = new Checker();
  return *checker;
}

Checker::Checker()
    : device_(simt::DeviceMemory::Get().base()),
      contents_(reinterpret_cast<Contents*>(
          MapPages(DeviceMemory::kBytes + Executor::kSharedArenaBytes))),
      cells_(reinterpret_cast<Cell*>(
          MapPages((DeviceMemory::kBytes + Executor::kSharedArenaBytes) *
                   sizeof(Cell)))),
      clocks_(kBlockThreadsMax) {
  Executor::Get().SetMonitor(this);
}

bool Checker::IsDevice(const std::byte* at) const {
  return at >= device_ && at < device_ + DeviceMemory::kBytes;
}

bool Checker::IsShared(const std::byte* at) const {
  return at >= shared_begin_ && at < shared_end_;
}

// Its own stack, the arguments, and what the program was loaded with.
bool Checker::IsPrivate(const std::byte* at, size_t bytes) const {
  Executor& executor = Executor::Get();
  const auto* const image = reinterpret_cast<std::byte*>(__executable_start);
  const auto* const image_end = reinterpret_cast<std::byte*>(_end);
  const absl::Span<const std::byte> arguments = executor.arguments();
  return executor.thread().fiber->Holds(at, bytes) ||
         (at >= image && at + bytes <= image_end) ||
         (at >= arguments.data() &&
          at + bytes <= arguments.data() + arguments.size());
}

size_t Checker::IndexOf(const std::byte* at) const {
  if (IsDevice(at)) return static_cast<size_t>(at - device_);
  return DeviceMemory::kBytes + static_cast<size_t>(at - shared_begin_);
}

void Checker::Fill(const std::byte* begin, size_t bytes, Contents contents) {
  std::memset(&contents_[IndexOf(begin)], static_cast<int>(contents), bytes);
}

void Checker::DeviceBuffer(std::byte* begin, size_t bytes, bool is_live) {
  Fill(begin, bytes, is_live ? Contents::kUnwritten : Contents::kNone);
}

void Checker::HostWrites(std::byte* begin, size_t bytes) {
  Fill(begin, bytes, Contents::kWritten);
}

void Checker::BlockBegins() {
  if (counter_.is_on()) counter_.Fold();
  ++blocks_;
  ++epoch_;
  if (!is_launched_) first_block_ = blocks_;
  is_launched_ = true;
  for (unsigned i = 0; i < kBlockThreadsMax; ++i) {
    clocks_[i].fill(0);
    clocks_[i][i % kWarpLanes] = 1;
  }
  shared_begin_ = nullptr;
  shared_end_ = nullptr;
}

void Checker::SharedArray(std::byte* begin, size_t bytes) {
  if (shared_begin_ == nullptr) {
    shared_begin_ = begin - Executor::kRedZoneBytes;
    std::memset(&contents_[DeviceMemory::kBytes],
                static_cast<int>(Contents::kNone), Executor::kSharedArenaBytes);
  }
  shared_end_ = begin + bytes + Executor::kRedZoneBytes;
  Fill(begin, bytes, Contents::kUnwritten);
}

void Checker::BlockBarrier() {
  ++epoch_;
  if (counter_.is_on()) counter_.MeetAll();
}

void Checker::LanesMeet(unsigned warp, uint32_t mask) {
  if (counter_.is_on()) counter_.Meet(warp, mask);
}

void Checker::WarpBarrier(unsigned warp, uint32_t mask) {
  std::array<uint32_t, kWarpLanes> known{};
  const auto for_each_lane = [&](auto&& action) {
    for (unsigned i = 0; i < kWarpLanes; ++i) {
      if ((mask >> i & 1) != 0) action(clocks_[warp * kWarpLanes + i], i);
    }
  };
  for_each_lane([&known](const auto& clocks, unsigned) {
    for (unsigned j = 0; j < kWarpLanes; ++j) {
      known[j] = std::max(known[j], clocks[j]);
    }
  });
  for_each_lane([&known](auto& clocks, unsigned lane) {
    clocks = known;
    ++clocks[lane];
  });
}

// The copy may land at once, so it races already; and once more when it ends.
void Checker::AsyncCopyBegins(const void* to, size_t bytes, const void* place) {
  Accesses(to, bytes, Access::kWrite, place);
  Fill(static_cast<const std::byte*>(to), bytes, Contents::kInFlight);
}

void Checker::AsyncCopyEnds(const void* to, size_t bytes, const void* place) {
  Fill(static_cast<const std::byte*>(to), bytes, Contents::kWritten);
  Accesses(to, bytes, Access::kWrite, place);
}

void Checker::Accesses(const void* at, size_t bytes, Access access,
                       const void* place) {
  const Executor::HostScope host;
  const auto* const begin = static_cast<const std::byte*>(at);
  const Look look = {begin, bytes, access, place, IsDevice(begin)};
  if (!look.is_device && !IsShared(begin)) {
    if (IsPrivate(begin, bytes)) return;
    Executor::Get().Fail(absl::StrCat(
        "illegal address (of the host, of another thread's stack, or wild) at ",
        LineOf(place)));
  }
  MaybePreempt(access);
  if (counter_.is_on()) {
    const GpuThread& thread = Executor::Get().thread();
    counter_.Add(begin, bytes, access != Access::kRead, look.is_device, place,
                 thread.warp, thread.number);
  }
  CheckContents(look);
  CheckRaces(look);
}

void Checker::MaybePreempt(Access access) {
  Executor& executor = Executor::Get();
  const unsigned every = executor.schedule().preempt_accesses;
  if (every == 0 || access == Access::kAtomic) return;
  if (--accesses_to_preemption_ != 0) return;
  accesses_to_preemption_ =
      1 + static_cast<unsigned>(executor.Random() % (2 * every));
  executor.Preempt();
}

void Checker::CheckContents(const Look& look) {
  const auto all = absl::MakeSpan(&contents_[IndexOf(look.at)], look.bytes);
  if (std::all_of(all.begin(), all.end(), [](Contents contents) {
        return contents == Contents::kWritten;
      })) {
    return;
  }
  bool is_unwritten = false;
  bool is_in_flight = false;
  for (Contents& contents : all) {
    if (contents == Contents::kNone) {
      Executor::Get().Fail(absl::StrCat(
          look.is_device ? "out of bounds or freed device memory at "
                         : "out of bounds of a shared array at ",
          LineOf(look.place)));
    }
    is_in_flight |= contents == Contents::kInFlight;
    is_unwritten |=
        contents == Contents::kUnwritten && look.access != Access::kWrite;
    if (look.access != Access::kRead) contents = Contents::kWritten;
  }
  if (is_in_flight) Report("cp.async not waited for", look, nullptr);
  if (is_unwritten) {
    Report(look.is_device ? "read of device memory that nobody wrote"
                          : "read of shared memory that nobody wrote",
           look, nullptr);
  }
}

void Checker::CheckRaces(const Look& look) {
  Cell* const cells = &cells_[IndexOf(look.at)];
  Cell before;
  for (size_t i = 0; i < look.bytes; ++i) {
    Cell& cell = cells[i];
    // As a rule the bytes of a word have one past, so one judgement.
    if (i > 0 && HasSamePast(cell, before)) {
      cell = cells[i - 1];
      continue;
    }
    before = cell;
    Renew(cell, look.is_device);
    if (const char* race = RaceWithBlocks(cell, look.access);
        look.is_device && race != nullptr) {
      const bool is_written =
          Has(cell.flags, kOthersWrote | kOthersWroteAtomically);
      Report(race, look, is_written ? cell.write_place : cell.read_place);
    }
    if (const char* race = RaceWithThreads(cell, look.access)) {
      const bool is_written = Has(cell.flags, kWrite);
      Report(race, look, is_written ? cell.write_place : cell.read_place);
    }
    Note(cell, look);
  }
}

bool Checker::HasSamePast(const Cell& a, const Cell& b) {
  static_assert(std::has_unique_object_representations_v<Cell>);
  return std::memcmp(&a, &b, sizeof(Cell)) == 0;
}

// What other blocks did is kept, what came before a barrier is settled.
void Checker::Renew(Cell& cell, bool is_device) const {
  if (cell.block != blocks_) {
    const bool is_of_launch = is_device && cell.block >= first_block_;
    const int others = (cell.flags & kByOthers) | (cell.flags & kByBlock)
                                                      << kOthersShift;
    cell.flags = is_of_launch ? static_cast<uint16_t>(others) : uint16_t{0};
    cell.block = blocks_;
  } else if (cell.epoch != epoch_) {
    cell.flags = static_cast<uint16_t>(cell.flags & ~kSinceBarrier);
  }
  cell.epoch = epoch_;
}

const char* Checker::RaceWithBlocks(const Cell& cell, Access access) const {
  int others = kOthersWrote;
  if (access != Access::kRead) others |= kOthersRead;
  if (access != Access::kAtomic) others |= kOthersWroteAtomically;
  return Has(cell.flags, others) ? "race between blocks" : nullptr;
}

const char* Checker::RaceWithThreads(const Cell& cell, Access access) const {
  const bool are_both_atomic =
      access == Access::kAtomic && Has(cell.flags, kWriteAtomic);
  if (Has(cell.flags, kWrite) && !are_both_atomic &&
      !ComesBefore(cell.writer, cell.write_clock)) {
    return access == Access::kRead ? "race: read after write"
                                   : "race: write after write";
  }
  if (access == Access::kRead || !Has(cell.flags, kReader0)) return nullptr;
  const unsigned my_warp = Executor::Get().thread().warp;
  const bool is_ordered = ComesBefore(cell.readers[0], cell.read_clocks[0]) &&
                          (!Has(cell.flags, kReader1) ||
                           ComesBefore(cell.readers[1], cell.read_clocks[1])) &&
                          (cell.reader_warps & ~(uint32_t{1} << my_warp)) == 0;
  return is_ordered ? nullptr : "race: write after read";
}

void Checker::Note(Cell& cell, const Look& look) const {
  const GpuThread& me = Executor::Get().thread();
  const auto number = static_cast<uint16_t>(me.number);
  const uint32_t clock = clocks_[me.number][me.lane];
  int flags = cell.flags;
  if (look.access == Access::kRead) {
    if (!Has(cell.flags, kReader0)) {
      cell.reader_warps = 0;
    } else if (cell.readers[0] != number) {
      cell.readers[1] = cell.readers[0];
      cell.read_clocks[1] = cell.read_clocks[0];
      flags |= kReader1;
    }
    cell.readers[0] = number;
    cell.read_clocks[0] = clock;
    cell.read_place = look.place;
    cell.reader_warps |= uint32_t{1} << me.warp;
    flags |= kReader0 | kBlockRead;
  } else {
    flags &= ~kSinceBarrier;
    flags |= look.access == Access::kAtomic
                 ? kWrite | kWriteAtomic | kBlockWroteAtomically
                 : kWrite | kBlockWrote;
    cell.writer = number;
    cell.write_clock = clock;
    cell.write_place = look.place;
    cell.reader_warps = 0;
  }
  cell.flags = static_cast<uint16_t>(flags);
}

bool Checker::ComesBefore(uint16_t thread, uint32_t clock) const {
  const GpuThread& me = Executor::Get().thread();
  if (thread == me.number) return true;
  return thread / kWarpLanes == me.warp &&
         clocks_[me.number][thread % kWarpLanes] >= clock;
}

void Checker::Report(const char* what, const Look& look,
                     const void* other_place) {
  if (findings_.size() >= kFindingsMax ||
      !reported_.emplace(what, look.place).second) {
    return;
  }
  Executor& executor = Executor::Get();
  findings_.push_back(absl::StrCat(
      what, " at ", LineOf(look.place),
      other_place == nullptr
          ? ""
          : absl::StrCat(", the other side at ", LineOf(other_place)),
      executor.WhereIs(&executor.thread())));
}

std::vector<std::string> Checker::LaunchEnds() {
  if (counter_.is_on()) counter_.Fold();
  is_launched_ = false;
  reported_.clear();
  return std::exchange(findings_, {});
}

}  // namespace banyan::simt
