// The configuration of a node: one table of keys, each settable by flag
// (--key value), environment (BANYAN_KEY), or a line of the YAML file
// (key: value), in this precedence, over its default. Nothing else in the
// server reads files, flags or the environment.
//
// Errors: kInvalidArgument with where the value came from, what is wrong and
//         what is wanted: the process exits with 2.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/units.h"

namespace banyan::server {

struct Config {
  std::string bind = "127.0.0.1";
  bool is_insecure_allowed = false;
  uint16_t grpc_port = 7600;
  std::optional<uint16_t> ucx_port;  // Unset: 7603, or none if that is taken.
  bool is_ucx_off = false;
  uint32_t ucx_clients_max = 64;
  std::string shm_socket;  // Empty: in runtime_dir, by port.
  std::string runtime_dir = "/tmp";
  uint32_t shm_clients_max = 64;
  uint64_t host_bytes = kGiB;
  bool prefault = true;
  bool huge_pages = true;
  bool is_overcommit_allowed = false;
  std::string eviction = "hazard";
  std::string data_dir;               // Empty: the first of ssd_dirs.
  std::vector<std::string> ssd_dirs;  // Empty: no SSD tier.
  uint64_t ssd_bytes = 100 * kGiB;
  uint64_t ssd_segment_bytes = 256 * kMiB;
  uint32_t ssd_queue_depth = 8;
  std::string ssd_admission = "all";
  absl::Duration ssd_read_timeout = absl::Seconds(2);
  uint64_t move_bytes_per_second = kGiB;
  uint64_t scrub_bytes_per_second = 16 * kMiB;
  uint32_t io_threads = 4;
  uint32_t io_queue_max = 256;
  std::string failpoints;
  uint64_t block_bytes_max = 64 * kMiB;
  uint32_t keys_max = 65536;
  uint32_t group_blocks = 32;
  uint32_t calls_max = 512;
  uint32_t sessions_max = 1024;
  uint32_t leases_max = 65536;
  uint64_t calibration_bytes_max = 512 * kMiB;
  absl::Duration lease_ttl_max = absl::Minutes(10);
  absl::Duration session_timeout = absl::Seconds(30);
  absl::Duration write_idle_timeout = absl::Seconds(30);
};

// What to do with it.
enum class Action { kServe, kPrintConfig, kCheckConfig, kHelp, kVersion };

struct CommandLine {
  Config config;
  Action action = Action::kServe;
  // Per key, for --print-config: "key: value  # origin".
  std::vector<std::string> effective;
};

// `getenv` answers nullptr for a variable that is not set.
absl::StatusOr<CommandLine> ParseCommandLine(
    const std::vector<std::string>& arguments,
    const std::function<const char*(const char*)>& getenv);

// Sets keys from YAML text; `path` is for messages.
absl::Status ApplyConfigText(absl::string_view path, const std::string& text,
                             Config& config);

// Text of --help.
std::string ConfigHelp();

}  // namespace banyan::server
