#include "tiers/host/arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/units.h"

// Linux 5.14 and later; older headers lack the name.
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace banyan::tiers {
namespace {

constexpr uint64_t kHugePageBytes = 2 * kMiB;
constexpr uint64_t kArenaBytesMax = 128 * kTiB;  // User half of the addresses.
constexpr uint64_t kBytesPerPrefaultThreadMin = 64 * kMiB;
constexpr size_t kPrefaultThreadsMax = 4;

absl::Status NoMemory(absl::string_view what, uint64_t bytes, int error) {
  return MakeError(absl::StatusCode::kResourceExhausted, "HOST_MEMORY",
                   absl::StrCat("host memory: ", what, " failed (got ",
                                FormatBytes(bytes), ": ", std::strerror(error),
                                "). Lower the capacity or free memory."));
}

// The number in a file of one number; `missing` if there is none ("max").
uint64_t ReadNumber(const char* path, uint64_t missing) {
  std::ifstream file(path);
  std::string text;
  uint64_t number = 0;
  if (!(file >> text) || !absl::SimpleAtoi(text, &number)) return missing;
  return number;
}

// What can be taken before the kernel ends a process for it: free memory of the
// machine, or what is left of the container's limit.
uint64_t AvailableBytes() {
  uint64_t available = UINT64_MAX;
  std::ifstream meminfo("/proc/meminfo");
  std::string name;
  uint64_t kib = 0;
  std::string unit;
  while (meminfo >> name >> kib && std::getline(meminfo, unit)) {
    if (name == "MemAvailable:") available = kib * kKiB;
  }
  const uint64_t limit = ReadNumber("/sys/fs/cgroup/memory.max", UINT64_MAX);
  const uint64_t used = ReadNumber("/sys/fs/cgroup/memory.current", 0);
  return std::min(available, limit - std::min(limit, used));
}

// Takes every page of the range, new ones zeroed. Returns 0 or an errno.
int PopulatePages(std::byte* address, uint64_t bytes, uint64_t page_bytes) {
  int result = 0;
  do {
    result = madvise(address, bytes, MADV_POPULATE_WRITE);
  } while (result != 0 && (errno == EINTR || errno == EAGAIN));
  if (result == 0) return 0;
  if (errno != EINVAL) return errno;
  // An older kernel: touch the pages, and change nothing, since somebody may use
  // them already.
  for (uint64_t at = 0; at < bytes; at += page_bytes) {
    __atomic_fetch_or(reinterpret_cast<unsigned char*>(address + at), 0,
                      __ATOMIC_RELAXED);
  }
  return 0;
}

}  // namespace

Arena::Arena(uint64_t bytes, uint64_t page_bytes)
    : bytes_(bytes),
      page_bytes_(page_bytes),
      file_bytes_(RoundUp(bytes, page_bytes)) {}

Arena::~Arena() {
  if (address_ != nullptr) munmap(address_, file_bytes_);
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<std::unique_ptr<Arena>> Arena::Create(const Options& options) {
  if (options.bytes == 0 || options.bytes > kArenaBytesMax) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "HOST_MEMORY",
        absl::StrCat("host memory: no usable size (got ", options.bytes,
                     " B, limit ", FormatBytes(kArenaBytesMax),
                     "). Give a capacity in that range."));
  }
  if (options.huge_pages) {
    auto arena = CreateWithPages(options, kHugePageBytes);
    if (arena.ok()) return arena;
  }
  const uint64_t available = AvailableBytes();
  if (options.prefault && options.bytes > available) {
    return MakeError(absl::StatusCode::kResourceExhausted, "HOST_MEMORY",
                     absl::StrCat("host memory: not enough is free (got ",
                                  FormatBytes(options.bytes), ", limit ",
                                  FormatBytes(available),
                                  "). Lower the capacity or free memory."));
  }
  return CreateWithPages(options, static_cast<uint64_t>(getpagesize()));
}

absl::StatusOr<std::unique_ptr<Arena>> Arena::CreateWithPages(
    const Options& options, uint64_t page_bytes) {
  std::unique_ptr<Arena> arena(new Arena(options.bytes, page_bytes));
  BANYAN_RETURN_IF_ERROR(arena->Map());
  if (options.prefault && !options.is_prefaulted_later) {
    BANYAN_RETURN_IF_ERROR(arena->PrefaultAll());
  }
  BANYAN_RETURN_IF_ERROR(arena->Seal());
  return arena;
}

absl::Status Arena::Map() {
  const unsigned huge = page_bytes_ == kHugePageBytes ? MFD_HUGETLB : 0;
  fd_ = memfd_create("banyan-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING | huge);
  if (fd_ < 0) return NoMemory("memfd_create", file_bytes_, errno);
  if (ftruncate(fd_, static_cast<off_t>(file_bytes_)) != 0) {
    return NoMemory("ftruncate", file_bytes_, errno);
  }
  void* const address =
      mmap(nullptr, file_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  if (address == MAP_FAILED) return NoMemory("mmap", file_bytes_, errno);
  address_ = static_cast<std::byte*>(address);
  // Both are wishes: a core file without gigabytes of other people's text, and
  // transparent huge pages where the machine allows them for shared memory.
  madvise(address_, file_bytes_, MADV_DONTDUMP);
  madvise(address_, file_bytes_, MADV_HUGEPAGE);
  return absl::OkStatus();
}

absl::Status Arena::PrefaultAll() {
  const size_t threads = std::clamp<size_t>(
      std::min<size_t>(file_bytes_ / kBytesPerPrefaultThreadMin,
                       std::thread::hardware_concurrency()),
      1, kPrefaultThreadsMax);
  const uint64_t part = RoundUp(file_bytes_ / threads, kHugePageBytes);
  std::array<int, kPrefaultThreadsMax> errors{};
  const auto populate = [&](size_t i) {
    const uint64_t begin = std::min(i * part, file_bytes_);
    const uint64_t end =
        i + 1 == threads ? file_bytes_ : std::min(begin + part, file_bytes_);
    if (begin == end) return;
    errors[i] = PopulatePages(address_ + begin, end - begin, page_bytes_);
  };
  std::array<std::thread, kPrefaultThreadsMax> running;
  for (size_t i = 1; i < threads; ++i) {
    running[i] = std::thread(populate, i);
  }
  populate(0);
  for (size_t i = 1; i < threads; ++i) running[i].join();
  for (const int error : errors) {
    if (error != 0) return NoMemory("prefault", file_bytes_, error);
  }
  return absl::OkStatus();
}

absl::Status Arena::Prefault(uint64_t begin, uint64_t bytes) {
  if (begin >= file_bytes_) return absl::OkStatus();
  bytes = std::min(RoundUp(bytes, page_bytes_), file_bytes_ - begin);
  const int error = PopulatePages(address_ + begin, bytes, page_bytes_);
  return error == 0 ? absl::OkStatus() : NoMemory("prefault", bytes, error);
}

absl::Status Arena::Seal() {
  // Our own writable mapping exists by now and stays; FUTURE_WRITE forbids all
  // later ones. F_SEAL_SEAL keeps the set of seals as it is.
  if (fcntl(fd_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0 ||
      fcntl(fd_, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition, "HOST_MEMORY",
        absl::StrCat("host memory: sealing the memfd failed (",
                     std::strerror(errno), "). Use Linux 5.1 or later."));
  }
  return absl::OkStatus();
}

}  // namespace banyan::tiers
