#include "tests/bench/harness/redis.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/bench/harness/socket.h"

namespace banyan::bench {
namespace {

std::string ProgramPath() {
  for (const char* path : {"/usr/bin/redis-server", "/usr/bin/redis-check-rdb"})
    if (access(path, X_OK) == 0) return path;
  std::fprintf(stderr, "bench: no Redis here. Install redis-tools.\n");
  std::exit(3);
}

}  // namespace

std::string RedisCommand(const std::vector<std::string_view>& words) {
  std::string out = absl::StrCat("*", words.size(), "\r\n");
  for (const std::string_view word : words) {
    absl::StrAppend(&out, "$", word.size(), "\r\n");
    out.append(word);
    out.append("\r\n");
  }
  return out;
}

Redis::Redis(Door door) {
  if (door == Door::kUnix) {
    const std::string path = absl::StrCat("/tmp/banyan-bench-", getpid());
    server_ = std::make_unique<Child>(
        ProgramPath(),
        std::vector<std::string>{"redis-server", "--port", "0", "--unixsocket",
                                 path, "--save", "", "--appendonly", "no"});
    socket_ = ConnectTo(path);
    unlink(path.c_str());  // Nobody else needs to find it.
    return;
  }
  const uint16_t port = FreePort();
  // By its first argument the program knows that it is to be the server.
  server_ = std::make_unique<Child>(
      ProgramPath(), std::vector<std::string>{
                         "redis-server", "--port", absl::StrCat(port), "--bind",
                         "127.0.0.1", "--save", "", "--appendonly", "no"});
  socket_ = ConnectTo(port);
}

Redis::~Redis() { close(socket_); }

std::string_view Redis::Call(std::string_view command, size_t answer_bytes) {
  return Call(command, answer_bytes, [](std::string_view) {});
}

std::string_view Redis::Call(std::string_view command, size_t answer_bytes,
                             OnPart on_part) {
  if (answer_.size() < answer_bytes) answer_.resize(answer_bytes);
  for (size_t at = 0; at < command.size();) {
    const ssize_t sent =
        send(socket_, command.data() + at, command.size() - at, MSG_NOSIGNAL);
    BANYAN_CHECK(sent > 0);
    at += static_cast<size_t>(sent);
  }
  for (size_t at = 0; at < answer_bytes;) {
    const ssize_t got =
        recv(socket_, answer_.data() + at, answer_bytes - at, 0);
    BANYAN_CHECK(got > 0 && answer_[0] != '-');
    on_part({answer_.data() + at, static_cast<size_t>(got)});
    at += static_cast<size_t>(got);
  }
  return {answer_.data(), answer_bytes};
}

void Redis::Set(std::string_view key, std::string_view value) {
  BANYAN_CHECK(Call(RedisCommand({"SET", key, value}), 5) == "+OK\r\n");
}

}  // namespace banyan::bench
