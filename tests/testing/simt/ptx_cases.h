// For tests of kernels: the PTX that nvcc made for each architecture.
#pragma once

#include <string>

#include "absl/strings/str_cat.h"

namespace banyan::simt {

inline constexpr int kPtxArchitectures[] = {80, 90, 100};

inline std::string PtxPath(const std::string& name, int architecture) {
  return absl::StrCat(BANYAN_PTX_DIR, "/", name, "_", architecture, ".ptx");
}

// Without nvcc there is none.
#define BANYAN_SKIP_WITHOUT_PTX() \
  if (!BANYAN_HAS_PTX) GTEST_SKIP() << "this build has no nvcc"

}  // namespace banyan::simt
