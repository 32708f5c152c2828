// The flags that all benches share.
#pragma once

#include <string>

namespace banyan::bench {

struct Arguments {
  int repeats = 7;  // Of each side; odd, so that the median is one of them.
  bool is_tiny = false;       // Only shows that the bench runs: its figures say
                              // nothing.
  std::string mooncake_venv;  // Where its Python package is; empty: nowhere.

  double seconds() const { return is_tiny ? 0.01 : 0.6; }  // Of one side, once.
};

// --repeats N, --tiny, --mooncake VENV. Prints usage and exits with 2 if they are wrong. Tunes
// malloc as every program that moves blocks should. Call it before all else.
Arguments ParseArguments(int argc, char** argv);

}  // namespace banyan::bench
