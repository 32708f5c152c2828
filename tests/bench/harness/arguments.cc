#include "tests/bench/harness/arguments.h"

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "base/program_tuning.h"

namespace banyan::bench {

Arguments ParseArguments(int argc, char** argv) {
  TuneProgramForBlocks();
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--tiny") {
      arguments.is_tiny = true;
      arguments.repeats = 1;
    } else if (flag == "--repeats" && i + 1 < argc) {
      arguments.repeats = std::atoi(argv[++i]);
    } else if (flag == "--mooncake" && i + 1 < argc) {
      arguments.mooncake_venv = argv[++i];
    } else {
      arguments.repeats = 0;
      break;
    }
  }
  if (arguments.repeats < 1) {
    std::fprintf(stderr, "usage: %s [--repeats N] [--tiny] [--mooncake VENV]\n",
                 argv[0]);
    std::exit(2);
  }
  return arguments;
}

}  // namespace banyan::bench
