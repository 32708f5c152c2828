// A whole node in this process whose SSD is a disk in memory that can be struck
// by one fault, and a client of it over gRPC: what the tests and the bench of
// disk faults share.
//
// Threads:  thread-safe after construction.
// Lifetime: the destructor heals the disk, so that the node can end.
// Errors:   a node that does not start ends the program.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "banyan/v1/admin.grpc.pb.h"
#include "base/mutex.h"
#include "base/units.h"
#include "cache_server/server.h"
#include "client/cpp/client.h"
#include "tests/testing/fault_disk.h"
#include "tests/testing/temp_directory.h"

namespace banyan::testing {

enum class DiskFault {
  kReadError,   // EIO of every read of a segment.
  kWriteError,  // EIO of every write of a segment.
  kSyncError,   // EIO of every fsync.
  kFull,        // ENOSPC.
  kSlow,        // Every call takes 100 times as long.
  kStuck,       // No read, write or sync returns.
};

class FaultNode {
 public:
  struct Options {
    uint64_t host_bytes = 64 * kMiB;
    uint64_t ssd_bytes = 512 * kMiB;
    uint64_t segment_bytes = 8 * kMiB;
    absl::Duration io_time = absl::Microseconds(100);  // Of every call.
    absl::Duration read_timeout = absl::Milliseconds(150);
    absl::Duration write_timeout = absl::Milliseconds(200);
  };
  explicit FaultNode(const Options& options);
  ~FaultNode();

  void Strike(DiskFault fault);
  // Ends the fault: calls that hang return, new ones work.
  void Heal();

  FaultDisk& disk() { return disk_; }
  server::Server& server() { return *server_; }
  Client& client() { return *client_; }
  const std::string& namespace_id() const { return namespace_id_; }

  // Lines that the SSD tier logged so far, of all starts.
  std::vector<std::string> log() const;
  // What an operator sees, over gRPC: a counter or gauge by its name, 0 if it
  // is not there; and the state of the SSD in `banyanctl tier describe`.
  uint64_t Stat(const std::string& name);
  std::string SsdState();

  // Until a whole pass of the scrub is over; what it found wrong.
  uint64_t Scrub();

  // A restart over the same disk: all that a planned stop keeps is there.
  void Restart();

 private:
  void Start();

  const Options options_;
  const TempDirectory identity_;
  FaultDisk disk_;
  mutable Mutex log_mutex_;
  std::vector<std::string> log_ ABSL_GUARDED_BY(log_mutex_);
  std::unique_ptr<server::Server> server_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<banyan::v1::Admin::Stub> admin_;
  std::string namespace_id_;
};

}  // namespace banyan::testing
