#include "cache_server/node_identity.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/random_id.h"

namespace banyan::server {
namespace {

using Json = nlohmann::json;

constexpr int kFormat = 1;
constexpr size_t kSecretBytes = 32;

absl::Status Bad(const std::string& path, absl::string_view what) {
  return MakeError(absl::StatusCode::kFailedPrecondition, "NODE_FILE",
                   absl::StrCat("node file ", Echo(path), ": ", what));
}

absl::StatusOr<NodeIdentity> Parse(const std::string& path,
                                   const std::string& text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const bool is_readable =
      json.is_object() && json.value("format", 0) == kFormat &&
      json.contains("node_id") && json["node_id"].is_string() &&
      json.contains("secret") && json["secret"].is_string();
  NodeIdentity identity;
  if (is_readable) {
    identity.node_id = json["node_id"];
    identity.secret = absl::HexStringToBytes(json["secret"].get<std::string>());
  }
  if (identity.node_id.empty() || identity.secret.size() != kSecretBytes) {
    return Bad(path,
               "no node file of format 1. Restore it, or start with an empty "
               "directory.");
  }
  return identity;
}

// Writes the file in full and syncs it, then gives it its name.
absl::Status Write(const std::string& path, const std::string& text) {
  const std::string part = path + ".part";
  const auto failed = [&] {
    return Bad(path, absl::StrCat("cannot write (", std::strerror(errno),
                                  "). Check owner and mode of the directory."));
  };
  const int fd = open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                      S_IRUSR | S_IWUSR);
  if (fd < 0) return failed();
  const bool is_written = write(fd, text.data(), text.size()) ==
                              static_cast<ssize_t>(text.size()) &&
                          fsync(fd) == 0;
  close(fd);
  if (!is_written || rename(part.c_str(), path.c_str()) != 0) return failed();
  const int directory = open(std::filesystem::path(path).parent_path().c_str(),
                             O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return failed();
  const bool is_synced = fsync(directory) == 0;
  close(directory);
  return is_synced ? absl::OkStatus() : failed();
}

}  // namespace

NodeIdentity MakeNodeIdentity() {
  return {.node_id = absl::BytesToHexString(RandomId()),
          .secret = RandomId() + RandomId()};
}

absl::StatusOr<NodeIdentity> LoadNodeIdentity(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    return Bad(directory, absl::StrCat("cannot make the directory (",
                                       error.message(), ")."));
  }
  const std::string path = directory + "/node.json";
  if (std::filesystem::exists(path, error)) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    if (!file) return Bad(path, "cannot read. Check owner and mode.");
    return Parse(path, text.str());
  }
  const NodeIdentity identity = MakeNodeIdentity();
  const Json json = {{"format", kFormat},
                     {"node_id", identity.node_id},
                     {"secret", absl::BytesToHexString(identity.secret)}};
  if (absl::Status status = Write(path, json.dump(1) + "\n"); !status.ok()) {
    return status;
  }
  return identity;
}

}  // namespace banyan::server
