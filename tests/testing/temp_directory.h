// A directory of its own for a test, below TMPDIR or /tmp; removed with all that
// is in it when destroyed.
#pragma once

#include <string>

namespace banyan::testing {

class TempDirectory {
 public:
  TempDirectory();
  ~TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace banyan::testing
