// What this process holds of the system, for tests of leaks.
#pragma once

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace banyan::testing {

struct Footprint {
  size_t files = 0;             // Open descriptors.
  size_t threads = 0;           // Without gRPC's pools.
  uint64_t resident_bytes = 0;  // Of its own; shared memory does not count.
};

// Entries of a folder of /proc, without "." and "..".
inline std::vector<std::string> EntriesOf(const std::string& folder_path) {
  std::vector<std::string> entries;
  DIR* const folder = opendir(folder_path.c_str());
  if (folder == nullptr) return entries;
  while (const dirent* const entry = readdir(folder)) {
    if (entry->d_name[0] != '.') entries.emplace_back(entry->d_name);
  }
  closedir(folder);
  return entries;
}

// Those of gRPC's pools do not count: there are more of them after a busy time, up
// to a few for each core, whatever anybody holds.
inline size_t CountThreads() {
  constexpr std::array<std::string_view, 3> kPools = {
      "default-executo", "resolver-execut", "event_engine"};
  size_t threads = 0;
  for (const std::string& task : EntriesOf("/proc/self/task")) {
    std::ifstream file("/proc/self/task/" + task + "/comm");
    std::string name;
    std::getline(file, name);
    const bool is_of_pool =
        std::find(kPools.begin(), kPools.end(), name) != kPools.end();
    if (!is_of_pool) ++threads;
  }
  return threads;
}

inline Footprint FootprintOfThis() {
  Footprint found{.files = EntriesOf("/proc/self/fd").size(),
                  .threads = CountThreads()};
  // In pages: size, resident, shared.
  std::ifstream file("/proc/self/statm");
  uint64_t size = 0, resident = 0, shared = 0;
  file >> size >> resident >> shared;
  found.resident_bytes =
      (resident - shared) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return found;
}

inline std::ostream& operator<<(std::ostream& out, const Footprint& footprint) {
  return out << footprint.files << " files, " << footprint.threads
             << " threads, " << footprint.resident_bytes / 1024
             << " KiB of memory";
}

}  // namespace banyan::testing
