#include "client/transport/shm_peer.h"

#include <sys/socket.h>
#include <unistd.h>

namespace banyan::transport {

bool IsTrustedUser(uid_t peer, uid_t own) { return peer == own || peer == 0; }

bool IsPeerTrusted(int socket) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
         IsTrustedUser(peer.uid, geteuid());
}

}  // namespace banyan::transport
