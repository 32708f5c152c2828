// For tests of kernels: the PTX that nvcc made for each architecture.
#pragma once

#include <algorithm>
#include <fstream>
#include <initializer_list>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace banyan::simt {

inline std::string PtxPath(const std::string& name, int architecture) {
  return absl::StrCat(BANYAN_PTX_DIR, "/", name, "_", architecture, ".ptx");
}

// All of a file but what it is for: comments, and the architecture's name.
inline std::string PtxCode(const std::string& path) {
  std::ifstream file(path);
  std::string code;
  for (std::string line; std::getline(file, line);) {
    if (absl::StartsWith(line, "//") || absl::StartsWith(line, ".target")) {
      continue;
    }
    absl::StrAppend(&code, line, "\n");
  }
  return code;
}

// Architectures for whose PTX tests run, of these files: all but those that have,
// to the letter, the code of one before. Without nvcc there is none, and all are
// named.
inline std::vector<int> PtxArchitectures(
    std::initializer_list<const char*> names) {
  std::vector<int> architectures;
  std::vector<std::string> codes;
  for (const int architecture : {80, 90, 100}) {
    std::string code;
    for (const char* const name : names) {
      absl::StrAppend(&code, PtxCode(PtxPath(name, architecture)));
    }
    const bool is_known =
        std::find(codes.begin(), codes.end(), code) != codes.end();
    if (is_known && !code.empty()) continue;
    architectures.push_back(architecture);
    codes.push_back(std::move(code));
  }
  return architectures;
}

// Without nvcc there is none.
#define BANYAN_SKIP_WITHOUT_PTX() \
  if (!BANYAN_HAS_PTX) GTEST_SKIP() << "this build has no nvcc"

}  // namespace banyan::simt
