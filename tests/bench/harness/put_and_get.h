// Writing blocks of 2 MiB through the client, from Reserve to Commit, against reading
// such blocks, 16 a call, one call in flight. The node that is written to is full:
// each write evicts.
#pragma once

#include "client/cpp/client.h"
#include "nlohmann/json.hpp"
#include "tests/bench/harness/arguments.h"
#include "tests/bench/harness/comparison.h"

namespace banyan::bench {

nlohmann::ordered_json ComparePutWithGet(const Target& target,
                                         const Arguments& arguments,
                                         TransportKind transport);

}  // namespace banyan::bench
