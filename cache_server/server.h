// A whole node in one object: builds the parts top to bottom, in one visible
// order, and stops and destroys them in reverse.
//
// Threads: Shutdown may be called from any thread, once or more.
// Errors:  Start returns kFailedPrecondition when the environment is at fault
//          (port taken, no memory): the process exits with 3; and
//          kInvalidArgument for the configuration: exit 2.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cache_server/config.h"
#include "tiers/ssd/ssd_tier.h"

namespace banyan::engine {
class BlockStore;
}

namespace banyan::server {

class Server {
 public:
  // For tests and benches; a process uses the defaults.
  struct Seams {
    bool verify_reads = true;
    int id_bits = 128;
    // May change how the SSD tier is opened: its disk, its times.
    std::function<void(tiers::SsdTier::Options&)> change_ssd;
  };

  static absl::StatusOr<std::unique_ptr<Server>> Start(const Config& config,
                                                       const Seams& seams);
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Config& config) {
    return Start(config, Seams());
  }
  ~Server();

  int grpc_port() const;

  // "READY grpc=HOST:PORT resp=HOST:PORT http=HOST:PORT ucx=HOST:PORT shm=PATH";
  // port 0, or no path, for a door that is not open.
  std::string ReadyLine() const;

  // Stops taking calls, lets those in flight end within `grace`, cuts the rest.
  // Then moves what is in memory to the SSD, for another `grace` at most.
  void Shutdown(absl::Duration grace);

  engine::BlockStore& store();

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);

  const std::unique_ptr<Parts> parts_;
};

}  // namespace banyan::server
