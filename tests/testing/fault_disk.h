// A disk in memory that fails on purpose, for the SSD tier and for RocksDB: both
// see the same files, through tiers::FileSystem and rocksdb::FileSystem.
//
// It keeps a timeline of all writes and barriers, and makes from it what a power
// cut could leave: of what was not synced any part may be there, in any order,
// torn at sectors of 512 or 4096 bytes. Names become durable in order, like in a
// journalled file system: a sync of a file or directory makes all earlier ones so.
//
// Threads: thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "tiers/io/file.h"

namespace rocksdb {
class FileSystem;
}

namespace banyan::testing {

class FaultDisk final : public tiers::FileSystem {
 public:
  enum class Op { kRead, kWrite, kSync, kAllocate, kCreate };

  // What happens to a call that a rule picks.
  enum class Effect {
    kError,        // It fails with `error`, and does nothing.
    kLost,         // A write or sync says yes and does nothing.
    kMisdirected,  // A read or write goes 4096 bytes further on.
    kHeld,         // It waits for Release().
    kSlow,         // It takes `delay` longer; other rules may pick it, too.
  };
  struct Rule {
    Op op = Op::kRead;
    std::string path_part;  // Of the file's path; empty picks all.
    Effect effect = Effect::kError;
    int error = 5;       // EIO.
    uint64_t skip = 0;   // Calls to let pass first.
    uint64_t count = 1;  // Calls to pick then.
    absl::Duration delay = absl::ZeroDuration();
  };

  FaultDisk() = default;

  void Add(const Rule& rule);
  void ClearRules();
  void Release();  // Lets go of held calls, now and later.
  uint64_t held_count() const;

  // Room for files; writes that need more fail with ENOSPC.
  void SetSpace(uint64_t bytes);
  uint64_t used_bytes() const;

  // Names of files below a directory, in order.
  std::vector<std::string> Paths(const std::string& directory) const;
  // Changes the bytes of a file behind everybody's back.
  void Edit(const std::string& path,
            const std::function<void(std::string& bytes)>& edit);

  // Events on the timeline so far; recording begins with the first call of
  // Record.
  void Record();
  uint64_t event_count() const;

  // A disk as a power cut after so many events may leave it; `seed` chooses.
  std::unique_ptr<FaultDisk> AfterPowerCut(uint64_t event_count,
                                           uint64_t seed) const;

  // A disk with the same files, and nothing else in common.
  std::unique_ptr<FaultDisk> Clone() const;

  // The same files for RocksDB. The disk outlives it.
  std::shared_ptr<rocksdb::FileSystem> ForRocksDb();

  // tiers::FileSystem
  absl::StatusOr<std::unique_ptr<tiers::File>> Open(
      const std::string& path, tiers::OpenMode mode) override;
  absl::StatusOr<std::string> ReadSmall(const std::string& path) override;
  absl::Status WriteSmall(const std::string& path,
                          absl::string_view text) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(
      const std::string& directory) override;
  absl::Status CreateDirectories(const std::string& directory) override;
  absl::Status RemoveTree(const std::string& directory) override;
  absl::Status SyncDirectory(const std::string& directory) override;
  absl::StatusOr<std::unique_ptr<tiers::FileLock>> Lock(
      const std::string& path) override;

  // One file's bytes, whatever its names.
  struct Node {
    uint64_t number = 0;
    std::string path;  // Its last name.
    std::string bytes;
  };
  // For open files, here and of RocksDB.
  absl::StatusOr<std::shared_ptr<Node>> Find(const std::string& path) const;
  absl::StatusOr<std::shared_ptr<Node>> Create(const std::string& path);
  absl::StatusOr<std::string> ReadNode(Node& node, uint64_t offset,
                                       uint64_t bytes);
  absl::Status WriteNode(Node& node, uint64_t offset, absl::string_view bytes);
  absl::Status ResizeNode(Node& node, uint64_t bytes);
  absl::Status SyncNode(Node& node);
  uint64_t SizeOf(const Node& node) const;
  bool IsDirectory(const std::string& path) const;
  void Unlock(const std::string& path);

 private:
  enum class EventKind { kWrite, kResize, kSync, kName, kSyncNames };
  struct Event {
    EventKind kind = EventKind::kWrite;
    uint64_t node = 0;
    uint64_t offset = 0;  // Or size.
    std::string bytes;    // Of a write; or a name.
    bool is_removal = false;
  };
  struct Armed {
    Rule rule;
    uint64_t seen = 0;
  };
  struct Verdict {
    absl::Status error;
    bool is_lost = false;
    uint64_t shift_bytes = 0;
    absl::Duration delay;
  };

  Verdict Judge(Op op, const std::string& path);
  Verdict Pick(Op op, const std::string& path);
  void Note(Event event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetName(const std::string& path, std::shared_ptr<Node> node)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RemoveName(const std::string& path)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status TakeSpace(const Node& node, uint64_t end) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  CondVar released_;
  std::map<std::string, std::shared_ptr<Node>> names_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> directories_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> locks_ ABSL_GUARDED_BY(mutex_);
  uint64_t node_count_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t space_bytes_ ABSL_GUARDED_BY(mutex_) = ~uint64_t{0};
  std::vector<Armed> rules_ ABSL_GUARDED_BY(mutex_);
  bool is_released_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t held_count_ ABSL_GUARDED_BY(mutex_) = 0;
  bool is_recording_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Event> events_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::testing
