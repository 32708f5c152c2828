#include "client/transport/shm_channel.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace banyan::transport {
namespace {

absl::Status NoMemory(absl::string_view what) {
  return MakeError(
      absl::StatusCode::kResourceExhausted, "SHM_MEMORY",
      absl::StrCat("shm: ", what, " failed (", std::strerror(errno),
                   "). Free memory or descriptors."));
}

}  // namespace

absl::StatusOr<ShmMapping> ShmMapping::Map(int fd, uint64_t bytes,
                                           Access access) {
  const int protection =
      access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  void* const address = mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0);
  if (address == MAP_FAILED) return NoMemory("mmap");
  // Text of prompts does not belong into a core file.
  madvise(address, bytes, MADV_DONTDUMP);
  ShmMapping mapping;
  mapping.bytes_ = {static_cast<std::byte*>(address), bytes};
  return mapping;
}

ShmMapping::~ShmMapping() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

absl::StatusOr<int> MakeSealedMemory(const char* name, uint64_t bytes) {
  const int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return NoMemory("memfd_create");
  if (ftruncate(fd, static_cast<off_t>(bytes)) == 0 &&
      fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
    return fd;
  }
  const absl::Status status = NoMemory("sealing");
  close(fd);
  return status;
}

void FutexWait(uint32_t& word, uint32_t value,
               std::chrono::nanoseconds timeout) {
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(timeout);
  const timespec relative{.tv_sec = seconds.count(),
                          .tv_nsec = (timeout - seconds).count()};
  syscall(SYS_futex, &word, FUTEX_WAIT, value, &relative, nullptr, 0);
}

void FutexWake(uint32_t& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

}  // namespace banyan::transport
