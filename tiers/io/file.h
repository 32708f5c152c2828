// The disk seam: everything that the tiers ask of a disk goes through
// FileSystem and File, so that tests can lose, tear, misplace and refuse it.
//
// Errors: the code says what to do, ErrorReason is the name of the errno.
//         kResourceExhausted   ENOSPC, EDQUOT: refuse writes, keep reading
//         kNotFound            ENOENT
//         kAlreadyExists       EEXIST
//         kUnavailable         EIO, EROFS and all others: the device is not
//                              to be trusted with this operation
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace banyan::tiers {

// What offsets, lengths and memory of direct I/O are multiples of.
inline constexpr uint64_t kIoAlignment = 4096;

// The status of a failed system call; `error` is its errno.
absl::Status IoError(int error, absl::string_view what);

// One open file. Offsets, sizes and memory are multiples of kIoAlignment.
// Threads: thread-safe, as far as the ranges do not overlap.
class File {
 public:
  virtual ~File() = default;

  // Reads all of `out`, or fails. Past the end is an error (ENODATA).
  virtual absl::Status ReadAt(uint64_t offset, absl::Span<std::byte> out) = 0;

  // Writes all of `bytes`, or fails; then any part of it may be written.
  virtual absl::Status WriteAt(uint64_t offset,
                               absl::Span<const std::byte> bytes) = 0;

  // Makes what was written before the call outlive a power cut. After an
  // error nothing is known about it, and a later success says nothing.
  virtual absl::Status Sync() = 0;

  // Takes disk space for the first `bytes` bytes; new ones read as zeros.
  virtual absl::Status Allocate(uint64_t bytes) = 0;

  virtual absl::StatusOr<uint64_t> Size() = 0;

  // For io_uring; -1 if there is no descriptor to use.
  virtual int descriptor() const = 0;
};

// Held while it lives; the kernel gives it back when the process dies.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

enum class OpenMode {
  kRead,       // Must exist.
  kReadWrite,  // Must exist.
  kCreate,     // Must not exist; read and write.
};

// Threads: thread-safe.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // Opens for direct I/O, bypassing the page cache where the file system can.
  virtual absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path,
                                                     OpenMode mode) = 0;

  // Small whole files. WriteSmall replaces the file at once or not at all,
  // durably; it returns after the sync.
  virtual absl::StatusOr<std::string> ReadSmall(const std::string& path) = 0;
  virtual absl::Status WriteSmall(const std::string& path,
                                  absl::string_view text) = 0;

  virtual absl::Status Rename(const std::string& from,
                              const std::string& to) = 0;
  virtual absl::Status Remove(const std::string& path) = 0;

  // Names in a directory, sorted, without "." and "..".
  virtual absl::StatusOr<std::vector<std::string>> List(
      const std::string& directory) = 0;

  // Makes the directory and its parents, if they are not there.
  virtual absl::Status CreateDirectories(const std::string& directory) = 0;

  // Removes a directory and all that is in it, if it is there.
  virtual absl::Status RemoveTree(const std::string& directory) = 0;

  // Makes names created, renamed and removed in it outlive a power cut.
  virtual absl::Status SyncDirectory(const std::string& directory) = 0;

  // Takes the lock of this file, which is made if absent and then names the
  // process. Errors: kFailedPrecondition, with the holder's pid in the text.
  virtual absl::StatusOr<std::unique_ptr<FileLock>> Lock(
      const std::string& path) = 0;

  // The machine's file system. Lives as long as the process.
  static FileSystem& Machine();
};

}  // namespace banyan::tiers
