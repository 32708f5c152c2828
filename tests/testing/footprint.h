// What this process holds of the system, for tests of leaks.
#pragma once

#include <dirent.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <ostream>
#include <string>

namespace banyan::testing {

struct Footprint {
  size_t files = 0;  // Open descriptors.
  size_t threads = 0;
  uint64_t resident_bytes = 0;  // Of its own; shared memory does not count.
};

// Entries of a folder of /proc, without "." and "..".
inline size_t CountEntries(const char* folder_path) {
  DIR* const folder = opendir(folder_path);
  if (folder == nullptr) return 0;
  size_t entries = 0;
  while (const dirent* const entry = readdir(folder)) {
    if (entry->d_name[0] != '.') ++entries;
  }
  closedir(folder);
  return entries;
}

inline Footprint FootprintOfThis() {
  Footprint found{.files = CountEntries("/proc/self/fd"),
                  .threads = CountEntries("/proc/self/task")};
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
