// What a node in trouble costs a client that reads from it.
#pragma once

#include "client/cpp/client.h"

namespace banyan::bench {

// Milliseconds from kill -9 of the node to the end of the get under way.
double KillMs(TransportKind transport);

// Milliseconds past its deadline that a get from a stopped node ends.
double HangMs(TransportKind transport);

}  // namespace banyan::bench
