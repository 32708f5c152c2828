// The machine's disk behind the seam: open with O_DIRECT, pread, pwrite,
// fdatasync, fallocate, flock.
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "tiers/io/file.h"

namespace banyan::tiers {
namespace {

constexpr mode_t kFileMode = 0640;
constexpr size_t kSmallBytesMax = 64 * 1024;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

class MachineFile final : public File {
 public:
  MachineFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

  absl::Status ReadAt(uint64_t offset, absl::Span<std::byte> out) override {
    while (!out.empty()) {
      const ssize_t n =
          pread(fd_.get(), out.data(), out.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return IoError(n == 0 ? ENODATA : errno, Text("read"));
      out.remove_prefix(n);
      offset += n;
    }
    return absl::OkStatus();
  }

  absl::Status WriteAt(uint64_t offset,
                       absl::Span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = pwrite(fd_.get(), bytes.data(), bytes.size(),
                               static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return IoError(n == 0 ? ENOSPC : errno, Text("write"));
      bytes.remove_prefix(n);
      offset += n;
    }
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    if (fdatasync(fd_.get()) != 0) return IoError(errno, Text("sync"));
    return absl::OkStatus();
  }

  absl::Status Allocate(uint64_t bytes) override {
    int result;
    do {
      result = fallocate(fd_.get(), 0, 0, static_cast<off_t>(bytes));
    } while (result != 0 && errno == EINTR);
    if (result != 0 && errno == EOPNOTSUPP) {
      result = ftruncate(fd_.get(), static_cast<off_t>(bytes));
    }
    if (result != 0) return IoError(errno, Text("allocate"));
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> Size() override {
    struct stat found;
    if (fstat(fd_.get(), &found) != 0) return IoError(errno, Text("stat"));
    return static_cast<uint64_t>(found.st_size);
  }

  int descriptor() const override { return fd_.get(); }

 private:
  std::string Text(absl::string_view what) const {
    return absl::StrCat(what, " ", path_);
  }

  const Descriptor fd_;
  const std::string path_;
};

class MachineLock final : public FileLock {
 public:
  explicit MachineLock(int fd) : fd_(fd) {}

 private:
  const Descriptor fd_;
};

int FlagsOf(OpenMode mode) {
  switch (mode) {
    case OpenMode::kRead:
      return O_RDONLY;
    case OpenMode::kReadWrite:
      return O_RDWR;
    case OpenMode::kCreate:
      return O_RDWR | O_CREAT | O_EXCL;
  }
  return O_RDONLY;
}

// One line a process, and it names the place.
void WarnNoDirectIo(const std::string& path) {
  static std::atomic<bool> has_warned{false};
  if (has_warned.exchange(true)) return;
  std::fprintf(stderr,
               "banyan: %s: this file system has no O_DIRECT; going through "
               "the page cache. Use ext4 or xfs for an SSD tier.\n",
               path.c_str());
}

absl::Status ErrorOf(const std::error_code& error, absl::string_view what) {
  return error ? IoError(error.value(), what) : absl::OkStatus();
}

class MachineFileSystem final : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path,
                                             OpenMode mode) override {
    const int flags = FlagsOf(mode) | O_CLOEXEC;
    int fd = open(path.c_str(), flags | O_DIRECT, kFileMode);
    if (fd < 0 && errno == EINVAL) {
      // Some kernels have made the file by now.
      fd = open(path.c_str(), flags & ~O_EXCL, kFileMode);
      if (fd >= 0) WarnNoDirectIo(path);
    }
    if (fd < 0) return IoError(errno, absl::StrCat("open ", path));
    return std::make_unique<MachineFile>(fd, path);
  }

  absl::StatusOr<std::string> ReadSmall(const std::string& path) override {
    const Descriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0) return IoError(errno, absl::StrCat("open ", path));
    std::string text(kSmallBytesMax, '\0');
    const ssize_t n = pread(fd.get(), text.data(), text.size(), 0);
    if (n < 0) return IoError(errno, absl::StrCat("read ", path));
    text.resize(n);
    return text;
  }

  absl::Status WriteSmall(const std::string& path,
                          absl::string_view text) override {
    const std::string next = path + ".new";
    {
      const Descriptor fd(open(
          next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kFileMode));
      if (fd.get() < 0) return IoError(errno, absl::StrCat("open ", next));
      const ssize_t n = pwrite(fd.get(), text.data(), text.size(), 0);
      if (n != static_cast<ssize_t>(text.size())) {
        return IoError(n < 0 ? errno : ENOSPC, absl::StrCat("write ", next));
      }
      if (fdatasync(fd.get()) != 0) {
        return IoError(errno, absl::StrCat("sync ", next));
      }
    }
    BANYAN_RETURN_IF_ERROR(Rename(next, path));
    return SyncDirectory(std::filesystem::path(path).parent_path());
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    std::error_code error;
    std::filesystem::rename(from, to, error);
    return ErrorOf(error, absl::StrCat("rename ", from));
  }

  absl::Status Remove(const std::string& path) override {
    if (unlink(path.c_str()) == 0) return absl::OkStatus();
    return IoError(errno, absl::StrCat("remove ", path));
  }

  absl::StatusOr<std::vector<std::string>> List(
      const std::string& directory) override {
    std::error_code error;
    std::filesystem::directory_iterator it(directory, error);
    std::vector<std::string> names;
    while (!error && it != std::filesystem::directory_iterator()) {
      names.push_back(it->path().filename());
      it.increment(error);
    }
    if (error) return ErrorOf(error, absl::StrCat("list ", directory));
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::Status CreateDirectories(const std::string& directory) override {
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    return ErrorOf(error, absl::StrCat("create ", directory));
  }

  absl::Status RemoveTree(const std::string& directory) override {
    std::error_code error;
    std::filesystem::remove_all(directory, error);
    return ErrorOf(error, absl::StrCat("remove ", directory));
  }

  absl::Status SyncDirectory(const std::string& directory) override {
    const Descriptor fd(
        open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd.get() < 0) return IoError(errno, absl::StrCat("open ", directory));
    if (fsync(fd.get()) != 0) {
      return IoError(errno, absl::StrCat("sync ", directory));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<FileLock>> Lock(
      const std::string& path) override {
    Descriptor fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kFileMode));
    if (fd.get() < 0) return IoError(errno, absl::StrCat("open ", path));
    if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) {
        return IoError(errno, absl::StrCat("lock ", path));
      }
      const auto holder = ReadSmall(path);
      return MakeError(
          absl::StatusCode::kFailedPrecondition, "DIRECTORY_LOCKED",
          absl::StrCat("data dir is locked by pid ",
                       holder.ok() ? absl::StripAsciiWhitespace(*holder) : "?",
                       " (", path, ")."));
    }
    const std::string pid = absl::StrCat(getpid(), "\n");
    if (ftruncate(fd.get(), 0) != 0 ||
        pwrite(fd.get(), pid.data(), pid.size(), 0) < 0) {
      return IoError(errno, absl::StrCat("write ", path));
    }
    return std::make_unique<MachineLock>(fd.Release());
  }
};

}  // namespace

FileSystem& FileSystem::Machine() {
  static MachineFileSystem* const machine = new MachineFileSystem;
  return *machine;
}

}  // namespace banyan::tiers
