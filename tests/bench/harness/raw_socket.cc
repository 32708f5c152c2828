#include "tests/bench/harness/raw_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "base/check.h"
#include "tests/bench/harness/socket.h"

namespace banyan::bench {
namespace {

// A request is how many bytes are wanted; this one means: sleep until the next.
constexpr uint64_t kRest = 0;

void PinTo(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof(set), &set);  // Fails with one core: no matter.
}

// Moves all bytes with a call that never sleeps; false when the peer is gone.
template <typename Call>
bool Poll(size_t bytes, const Call& call) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t moved = call(done, bytes - done);
    if (moved > 0) {
      done += static_cast<size_t>(moved);
    } else if (moved == 0 || (errno != EAGAIN && errno != EINTR)) {
      return false;
    }
  }
  return true;
}

bool PollRecv(int socket, void* out, size_t bytes) {
  return Poll(bytes, [&](size_t at, size_t left) {
    return recv(socket, static_cast<char*>(out) + at, left, MSG_DONTWAIT);
  });
}

bool PollSend(int socket, const void* in, size_t bytes) {
  return Poll(bytes, [&](size_t at, size_t left) {
    return send(socket, static_cast<const char*>(in) + at, left,
                MSG_DONTWAIT | MSG_NOSIGNAL);
  });
}

// Two connected sockets.
std::pair<int, int> PairOf(RawSocket::Door door) {
  if (door == RawSocket::Door::kUnix) {
    int ends[2];
    BANYAN_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    return {ends[0], ends[1]};
  }
  const auto [listener, port] = ListenOnFreePort();
  const int ours = ConnectTo(port);  // Waits in the listener's queue.
  const int theirs = accept(listener, nullptr, nullptr);
  SetNoDelay(theirs);
  close(listener);
  return {ours, theirs};
}

void Serve(int socket, uint64_t block_bytes, uint64_t blocks) {
  PinTo(1);
  const std::vector<char> source(block_bytes * blocks, 'b');
  uint64_t next = 0;
  uint64_t wanted = kRest;
  while (true) {
    const bool is_resting = wanted == kRest;
    const bool is_open =
        is_resting ? recv(socket, &wanted, sizeof(wanted), MSG_WAITALL) ==
                         static_cast<ssize_t>(sizeof(wanted))
                   : PollRecv(socket, &wanted, sizeof(wanted));
    if (!is_open) return;
    for (uint64_t left = wanted; left > 0;) {
      const uint64_t size = std::min(left, block_bytes);
      const char* const block = source.data() + next++ % blocks * block_bytes;
      if (!PollSend(socket, block, size)) return;
      left -= size;
    }
  }
}

}  // namespace

RawSocket::RawSocket(Door door, uint64_t block_bytes, uint64_t blocks) {
  const auto [ours, theirs] = PairOf(door);
  pid_ = fork();
  BANYAN_CHECK(pid_ >= 0);
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(ours);
    Serve(theirs, block_bytes, blocks);
    _exit(0);
  }
  close(theirs);
  socket_ = ours;
}

RawSocket::~RawSocket() {
  close(socket_);
  waitpid(pid_, nullptr, 0);
}

double RawSocket::Measure(double seconds, std::span<std::byte> buffer) {
  cpu_set_t before;
  sched_getaffinity(0, sizeof(before), &before);
  PinTo(0);
  const uint64_t wanted = buffer.size();
  uint64_t bytes = 0;
  const auto start = std::chrono::steady_clock::now();
  double passed = 0;
  do {
    BANYAN_CHECK(PollSend(socket_, &wanted, sizeof(wanted)));
    BANYAN_CHECK(PollRecv(socket_, buffer.data(), buffer.size()));
    bytes += buffer.size();
    passed =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
            .count();
  } while (passed < seconds);
  BANYAN_CHECK(PollSend(socket_, &kRest, sizeof(kRest)));
  sched_setaffinity(0, sizeof(before), &before);
  return static_cast<double>(bytes) / passed / 1e9;
}

}  // namespace banyan::bench
