#include "cache_server/config.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <map>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::server {
namespace {

absl::Status Bad(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "CONFIG", message);
}

// The one flag that may stand several times.
constexpr absl::string_view kRepeatedKey = "ssd-dir";

using Setter = std::function<absl::Status(absl::string_view, Config&)>;

// One key. `value` names the kind of value in the help; empty for a switch.
struct Key {
  const char* name;
  const char* value;
  const char* fallback;
  const char* help;
  Setter set;
};

Setter Bytes(uint64_t Config::* member) {
  return [member](absl::string_view text, Config& config) -> absl::Status {
    BANYAN_ASSIGN_OR_RETURN(config.*member, ParseBytes(text));
    return absl::OkStatus();
  };
}

template <typename Number>
Setter Count(Number Config::* member, uint64_t min,
             uint64_t max = std::numeric_limits<Number>::max()) {
  return [=](absl::string_view text, Config& config) -> absl::Status {
    uint64_t value = 0;
    if (!absl::SimpleAtoi(text, &value) || value < min || value > max) {
      return Bad(absl::StrCat("\"", Echo(text), "\": want a number from ", min,
                              " to ", max, "."));
    }
    config.*member = static_cast<Number>(value);
    return absl::OkStatus();
  };
}

Setter Text(std::string Config::* member) {
  return [member](absl::string_view text, Config& config) {
    config.*member = std::string(text);
    return absl::OkStatus();
  };
}

// Several values: the flag may stand several times; one line of a file, or a
// variable, separates them by commas.
Setter Texts(std::vector<std::string> Config::* member) {
  return [member](absl::string_view text, Config& config) {
    config.*member = absl::StrSplit(text, ',', absl::SkipEmpty());
    return absl::OkStatus();
  };
}

Setter Switch(bool Config::* member) {
  return [member](absl::string_view text, Config& config) {
    if (text != "true" && text != "false") {
      return Bad(absl::StrCat("\"", Echo(text), "\": want true or false."));
    }
    config.*member = text == "true";
    return absl::OkStatus();
  };
}

Setter Time(absl::Duration Config::* member) {
  return [member](absl::string_view text, Config& config) {
    absl::Duration value;
    if (!absl::ParseDuration(std::string(text), &value) ||
        value < absl::Milliseconds(1) || value > absl::Hours(24)) {
      return Bad(absl::StrCat("\"", Echo(text),
                              "\": want a duration such as 500ms, 10s or 5m."));
    }
    config.*member = value;
    return absl::OkStatus();
  };
}

// The door is not part of this version; its port is accepted and stays closed.
Setter ClosedDoor() {
  return [](absl::string_view text, Config&) {
    uint64_t port = 0;
    if (absl::SimpleAtoi(text, &port) && port <= UINT16_MAX) {
      return absl::OkStatus();
    }
    return Bad(absl::StrCat("\"", Echo(text), "\": want a port, 0 to 65535."));
  };
}

Setter UcxPort() {
  return [](absl::string_view text, Config& config) {
    config.ucx_port.reset();
    config.is_ucx_off = text == "off";
    if (text.empty() || config.is_ucx_off) return absl::OkStatus();
    uint64_t port = 0;
    if (!absl::SimpleAtoi(text, &port) || port > UINT16_MAX) {
      return Bad(absl::StrCat("\"", Echo(text),
                              "\": want a port, 0 to 65535, or off."));
    }
    config.ucx_port = static_cast<uint16_t>(port);
    return absl::OkStatus();
  };
}

const std::vector<Key>& Keys() {
  static const std::vector<Key> keys = {
      {"bind", "ADDR", "127.0.0.1", "address to listen on",
       Text(&Config::bind)},
      {"insecure-i-understand", "", "false",
       "allow an address that is not loopback: there is no TLS here",
       Switch(&Config::is_insecure_allowed)},
      {"grpc-port", "N", "7600", "gRPC port; 0 picks a free one",
       Count(&Config::grpc_port, 0)},
      {"resp-port", "N", "7601", "kept for the RESP door; not opened here",
       ClosedDoor()},
      {"http-port", "N", "7602", "kept for metrics; not opened here",
       ClosedDoor()},
      {"ucx-port", "N", "",
       "port of the UCX door for other hosts; 0: a free one; off: closed; "
       "unset: "
       "7603, or with --dev a free one",
       UcxPort()},
      {"shm-socket", "PATH", "",
       "Unix socket for clients on this host; none: closed; unset: in "
       "runtime-dir",
       Text(&Config::shm_socket)},
      {"runtime-dir", "DIR", "/tmp",
       "where sockets lie that have no path of their own",
       Text(&Config::runtime_dir)},
      {"max-shm-clients", "N", "64", "clients in shared memory at a time",
       Count(&Config::shm_clients_max, 1, 4096)},
      {"max-ucx-clients", "N", "64", "clients at the UCX door at a time",
       Count(&Config::ucx_clients_max, 1, 4096)},
      {"host-bytes", "SIZE", "1GiB", "payload bytes of the host tier",
       Bytes(&Config::host_bytes)},
      {"allow-overcommit", "", "false",
       "start although host-bytes exceeds the memory there is",
       Switch(&Config::is_overcommit_allowed)},
      {"prefault", "BOOL", "true", "take the host tier's memory at start",
       Switch(&Config::prefault)},
      {"huge-pages", "BOOL", "true", "use huge pages where they are allowed",
       Switch(&Config::huge_pages)},
      {"eviction", "NAME", "hazard", "eviction policy",
       Text(&Config::eviction)},
      {"data-dir", "DIR", "", "keeps who the node is; unset: the first ssd-dir",
       Text(&Config::data_dir)},
      {"ssd-dir", "DIR", "", "directory of the SSD tier; repeat for more disks",
       Texts(&Config::ssd_dirs)},
      {"ssd-bytes", "SIZE", "100GiB", "size of the SSD tier, all directories",
       Bytes(&Config::ssd_bytes)},
      {"ssd-segment-bytes", "SIZE", "256MiB", "size of its files",
       Bytes(&Config::ssd_segment_bytes)},
      {"ssd-queue-depth", "N", "8", "requests in flight at the disk",
       Count(&Config::ssd_queue_depth, 1, 4096)},
      {"ssd-admission", "NAME", "all",
       "what leaves memory for the SSD: all, touched or none",
       Text(&Config::ssd_admission)},
      {"ssd-read-timeout", "TIME", "2s", "then a block on the SSD is a miss",
       Time(&Config::ssd_read_timeout)},
      {"move-rate", "SIZE", "1GiB",
       "bytes a second between memory and SSD; 0: no limit",
       Bytes(&Config::move_bytes_per_second)},
      {"scrub-rate", "SIZE", "16MiB",
       "bytes a second that are verified in the background; 0: none",
       Bytes(&Config::scrub_bytes_per_second)},
      {"io-threads", "N", "4", "threads that wait for the disk",
       Count(&Config::io_threads, 1, 1024)},
      {"io-queue", "N", "256", "calls that wait for them; then a miss",
       Count(&Config::io_queue_max, 1)},
      {"failpoints", "TEXT", "", "for tests: see base/failpoint.h",
       Text(&Config::failpoints)},
      {"max-block-bytes", "SIZE", "64MiB", "largest block",
       Bytes(&Config::block_bytes_max)},
      {"max-keys", "N", "65536", "keys in one call",
       Count(&Config::keys_max, 1, 65536)},
      {"group-blocks", "N", "32", "blocks of a chain that stay together",
       Count(&Config::group_blocks, 1, 4096)},
      {"max-calls", "N", "512", "calls in flight; more are refused",
       Count(&Config::calls_max, 1)},
      {"max-sessions", "N", "1024", "client sessions",
       Count(&Config::sessions_max, 1)},
      {"max-leases", "N", "65536", "leases", Count(&Config::leases_max, 1)},
      {"calibration-bytes", "SIZE", "512MiB",
       "memory for what codecs must know of models",
       Bytes(&Config::calibration_bytes_max)},
      {"max-lease-ttl", "TIME", "10m", "longest lease",
       Time(&Config::lease_ttl_max)},
      {"session-timeout", "TIME", "30s", "silence that ends a session",
       Time(&Config::session_timeout)},
      {"write-idle-timeout", "TIME", "30s", "idleness that aborts a write",
       Time(&Config::write_idle_timeout)},
  };
  return keys;
}

const Key* FindKey(absl::string_view name) {
  for (const Key& key : Keys()) {
    if (name == key.name) return &key;
  }
  return nullptr;
}

size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

std::string UnknownKey(absl::string_view name) {
  const Key* nearest = nullptr;
  size_t distance = 4;
  for (const Key& key : Keys()) {
    const size_t d = EditDistance(name.substr(0, 64), key.name);
    if (d < distance) {
      distance = d;
      nearest = &key;
    }
  }
  std::string text = absl::StrCat("unknown key \"", Echo(name), "\".");
  if (nearest != nullptr) {
    absl::StrAppend(&text, " Did you mean \"", nearest->name, "\"?");
  } else {
    absl::StrAppend(&text, " See: banyan-server --help");
  }
  return text;
}

std::string EnvironmentName(absl::string_view key) {
  return absl::AsciiStrToUpper(
      absl::StrCat("BANYAN_", absl::StrReplaceAll(key, {{"-", "_"}})));
}

// Values by key, with where they came from. Later ones win.
struct Setting {
  std::string value;
  std::string origin;
};
using Settings = std::map<std::string, Setting>;

absl::Status ReadYaml(absl::string_view path, const std::string& text,
                      Settings& settings) {
  try {
    const YAML::Node root = YAML::Load(text);
    if (root.IsNull()) return absl::OkStatus();
    if (!root.IsMap()) {
      return Bad(absl::StrCat(path, ":1: want lines of the form key: value."));
    }
    for (const auto& item : root) {
      const std::string where =
          absl::StrCat(path, ":", item.first.Mark().line + 1);
      if (!item.first.IsScalar() || !item.second.IsScalar()) {
        return Bad(absl::StrCat(where, ": want key: value."));
      }
      const auto name = item.first.as<std::string>();
      if (FindKey(name) == nullptr) {
        return Bad(absl::StrCat(where, ": ", UnknownKey(name)));
      }
      settings[name] = {.value = item.second.as<std::string>(),
                        .origin = where};
    }
    return absl::OkStatus();
  } catch (const YAML::Exception& error) {
    return Bad(absl::StrCat(path, ":", error.mark.line + 1, ": ",
                            Echo(error.msg), "."));
  }
}

absl::Status Apply(const Settings& settings, Config& config) {
  for (const auto& [name, setting] : settings) {
    const absl::Status status = FindKey(name)->set(setting.value, config);
    if (status.ok()) continue;
    return Bad(
        absl::StrCat(setting.origin, ": ", name, ": ", status.message()));
  }
  return absl::OkStatus();
}

absl::Status ReadFile(const std::string& path, Settings& settings) {
  std::ifstream file(path);
  if (!file) {
    return Bad(absl::StrCat("config: cannot read \"", Echo(path),
                            "\". Check the path."));
  }
  std::ostringstream text;
  text << file.rdbuf();
  return ReadYaml(path, text.str(), settings);
}

struct Flags {
  Settings settings;
  std::string config_path;
  Action action = Action::kServe;
  bool is_dev = false;
};

// True if the argument is one of the words that are no keys.
bool ReadActionFlag(absl::string_view argument, Flags& flags) {
  const std::pair<absl::string_view, Action> actions[] = {
      {"--help", Action::kHelp},
      {"-h", Action::kHelp},
      {"--version", Action::kVersion},
      {"--print-config", Action::kPrintConfig},
      {"--check-config", Action::kCheckConfig}};
  for (const auto& [name, action] : actions) {
    if (argument != name) continue;
    flags.action = action;
    return true;
  }
  if (argument != "--dev") return false;
  flags.is_dev = true;
  return true;
}

absl::StatusOr<Flags> ReadFlags(const std::vector<std::string>& arguments) {
  Flags flags;
  for (size_t i = 0; i < arguments.size(); ++i) {
    absl::string_view name = arguments[i];
    if (ReadActionFlag(name, flags)) continue;
    if (!absl::ConsumePrefix(&name, "--")) {
      return Bad(absl::StrCat("\"", Echo(name),
                              "\": not a flag. See: banyan-server --help"));
    }
    const size_t equals = name.find('=');
    const bool has_value = equals != absl::string_view::npos;
    std::string value(has_value ? name.substr(equals + 1) : "");
    name = name.substr(0, equals);
    const Key* const key = FindKey(name);
    if (key == nullptr && name != "config") return Bad(UnknownKey(name));
    if (!has_value && key != nullptr && key->value[0] == '\0') {
      value = "true";
    } else if (!has_value) {
      if (++i == arguments.size()) {
        return Bad(absl::StrCat("--", name, ": needs a value."));
      }
      value = arguments[i];
    }
    if (key == nullptr) {
      flags.config_path = value;
      continue;
    }
    Setting& setting = flags.settings[key->name];
    const bool is_more = name == kRepeatedKey && !setting.value.empty();
    setting = {
        .value = is_more ? absl::StrCat(setting.value, ",", value) : value,
        .origin = absl::StrCat("--", name)};
  }
  return flags;
}

}  // namespace

absl::Status ApplyConfigText(absl::string_view path, const std::string& text,
                             Config& config) {
  Settings settings;
  BANYAN_RETURN_IF_ERROR(ReadYaml(path, text, settings));
  return Apply(settings, config);
}

absl::StatusOr<CommandLine> ParseCommandLine(
    const std::vector<std::string>& arguments,
    const std::function<const char*(const char*)>& getenv) {
  BANYAN_ASSIGN_OR_RETURN(const Flags flags, ReadFlags(arguments));
  CommandLine line{.action = flags.action};
  Settings settings;
  for (const Key& key : Keys()) {
    settings[key.name] = {.value = key.fallback, .origin = "default"};
  }
  // The defaults are those of one local node, but for a port that several nodes
  // of one machine would want.
  if (flags.is_dev) settings["ucx-port"] = {.value = "0", .origin = "--dev"};
  if (!flags.config_path.empty()) {
    BANYAN_RETURN_IF_ERROR(ReadFile(flags.config_path, settings));
  }
  for (const Key& key : Keys()) {
    const std::string variable = EnvironmentName(key.name);
    if (const char* value = getenv(variable.c_str())) {
      settings[key.name] = {.value = value, .origin = variable};
    }
  }
  for (const auto& [name, setting] : flags.settings) settings[name] = setting;
  BANYAN_RETURN_IF_ERROR(Apply(settings, line.config));
  for (const Key& key : Keys()) {
    const Setting& setting = settings[key.name];
    line.effective.push_back(
        absl::StrCat(key.name, ": ", setting.value, "  # ", setting.origin));
  }
  return line;
}

std::string ConfigHelp() {
  std::string text =
      "usage: banyan-server [--dev] [--config FILE] [--KEY VALUE]...\n\n"
      "Serves one node of the KV cache. Prints one line, READY, on stdout "
      "once\n"
      "it serves. SIGTERM drains and stops; a second one stops at once.\n\n"
      "  --dev                 one local node with the defaults below\n"
      "  --config FILE         YAML lines of the form KEY: VALUE\n"
      "  --print-config        the effective values and where each comes from\n"
      "  --check-config        only check; exit 0 or 2\n"
      "  --version, --help\n\n"
      "Keys (also in the environment: BANYAN_GRPC_PORT for grpc-port):\n";
  for (const Key& key : Keys()) {
    std::string flag = absl::StrCat("  --", key.name, " ", key.value);
    flag.resize(std::max<size_t>(flag.size() + 1, 30), ' ');
    absl::StrAppend(&text, flag, key.help, " (", key.fallback, ")\n");
  }
  absl::StrAppend(&text,
                  "\nExample: banyan-server --dev --grpc-port 0 --host-bytes "
                  "4GiB\n");
  return text;
}

}  // namespace banyan::server
