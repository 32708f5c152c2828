#include "tests/testing/temp_directory.h"

#include <cstdlib>
#include <filesystem>

#include "base/check.h"

namespace banyan::testing {

TempDirectory::TempDirectory() {
  std::error_code error;
  std::filesystem::path base = std::filesystem::temp_directory_path(error);
  if (error) base = "/tmp";
  path_ = base / "banyan-test-XXXXXX";
  BANYAN_CHECK(mkdtemp(path_.data()) != nullptr);
}

TempDirectory::~TempDirectory() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

}  // namespace banyan::testing
