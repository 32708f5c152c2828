// The catalogue is the SSD tier's record on disk of what it holds: RocksDB
// underneath, and nobody above sees it. It is never the lookup path; it is read
// once at start, and written in groups.
//
// Threads: thread-safe.
// Errors:  kResourceExhausted  no disk space; nothing was written, retry later
//          kUnavailable        the device failed: trust no later write
//          kDataLoss           damaged: rebuild it from the segments
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rocksdb {
class FileSystem;
}

namespace banyan::tiers {

class Catalogue {
 public:
  struct Options {
    std::string directory;
    enum class Access { kReadWrite, kReadOnly } access = Access::kReadWrite;
    // Of RocksDB; nullptr is the machine's. Outlives nothing: it is shared.
    std::shared_ptr<rocksdb::FileSystem> file_system;
  };

  // Rows to write together, in order; all or none are there afterwards.
  class Batch {
   public:
    void Put(std::string key, std::string value);
    void Delete(std::string key);
    bool empty() const { return edits_.empty(); }

   private:
    friend class Catalogue;
    struct Edit {
      bool is_put;
      std::string key;
      std::string value;
    };
    std::vector<Edit> edits_;
  };

  // Makes an empty one if there is none and access is kReadWrite.
  static absl::StatusOr<std::unique_ptr<Catalogue>> Open(
      const Options& options);

  virtual ~Catalogue() = default;

  enum class Log {
    kSynced,  // Write returns after the batch is on disk.
    kNone,    // It is on disk, whole or in part, after the next Flush.
  };
  virtual absl::Status Write(const Batch& batch, Log log) = 0;
  // Puts on disk what was written with kNone.
  virtual absl::Status Flush() = 0;

  // The value, or kNotFound.
  virtual absl::StatusOr<std::string> Get(absl::string_view key) = 0;

  // Calls for all rows whose key starts with `prefix`, in the order of keys, as
  // they were when the call began. An error of `row` ends it.
  virtual absl::Status ForEach(
      absl::string_view prefix,
      absl::FunctionRef<absl::Status(absl::string_view key,
                                     absl::string_view value)>
          row) = 0;

  // The same for keys from `begin` on and before `end`.
  virtual absl::Status ForEachIn(
      absl::string_view begin, absl::string_view end,
      absl::FunctionRef<absl::Status(absl::string_view key,
                                     absl::string_view value)>
          row) = 0;

  // A guess of how many rows there are.
  virtual uint64_t EstimateRows() const = 0;

  // Until this call RocksDB does no work of its own beside reading and flushing:
  // a start has the machine for itself.
  virtual void StartCompaction() = 0;

  // The error that RocksDB met in the background, if any.
  virtual absl::Status background_error() const = 0;

 protected:
  static const std::vector<Batch::Edit>& EditsOf(const Batch& batch) {
    return batch.edits_;
  }
};

}  // namespace banyan::tiers
