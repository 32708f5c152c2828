// Who may share memory with whom, the same on both sides: processes of one user,
// and root's with all.
#pragma once

#include <sys/types.h>

namespace banyan::transport {

// True if a process of user `own` may share memory with one of user `peer`.
bool IsTrustedUser(uid_t peer, uid_t own);

// The same for the process at the other end of this Unix socket, and us. Of who
// listens it is the user who began to.
bool IsPeerTrusted(int socket);

}  // namespace banyan::transport
