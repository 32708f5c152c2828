// banyanctl verify DIR: the offline check of a node's SSD directory. Needs no
// node, and the node must not run.
#pragma once

#include <string>

namespace banyan::ctl {

// Returns the exit code: kExitOk if all is sound, kExitIntegrity if something is
// damaged; see client/ctl/exit_code.h.
int VerifySsdDirectory(const std::string& path, bool is_json);

}  // namespace banyan::ctl
