// Any text given as a configuration file: it must be refused with a message of
// one line, or give a configuration within its limits.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "cache_server/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  banyan::server::Config config;
  const absl::Status status =
      banyan::server::ApplyConfigText("fuzz.yaml", text, config);
  if (!status.ok()) {
    BANYAN_CHECK(status.message().size() <= 300);
    return 0;
  }
  BANYAN_CHECK(config.group_blocks >= 1 && config.group_blocks <= 4096);
  BANYAN_CHECK(config.keys_max >= 1 && config.keys_max <= 65536);
  return 0;
}
