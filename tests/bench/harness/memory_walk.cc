#include "tests/bench/harness/memory_walk.h"

#include <cstring>
#include <utility>

#include "base/check.h"
#include "tests/bench/harness/blocks.h"

namespace banyan::bench {

MemoryWalk::MemoryWalk(const Arguments& arguments) : buffer_(kChainBytes) {
  auto arena =
      tiers::Arena::Create({.bytes = ChainCount(arguments) * kChainBytes});
  BANYAN_CHECK(arena.ok());
  arena_ = *std::move(arena);
  const auto payload = Payload("walk", kBlockBytes);
  for (uint64_t at = 0; at < arena_->bytes().size(); at += kBlockBytes) {
    std::memcpy(arena_->bytes().data() + at, payload.data(), kBlockBytes);
  }
  auto view = transport::ShmMapping::Map(arena_->fd(), arena_->file_bytes(),
                                         transport::ShmMapping::Access::kRead);
  BANYAN_CHECK(view.ok());
  view_ = *std::move(view);
}

double MemoryWalk::Measure(double seconds) {
  const uint64_t chains = view_.bytes().size() / kChainBytes;
  const double calls = CallsPerSecond(seconds, [&](uint64_t) {
    const std::byte* const chain =
        view_.bytes().data() + next_++ % chains * kChainBytes;
    for (uint64_t at = 0; at < kChainBytes; at += kBlockBytes) {
      std::memcpy(buffer_.data() + at, chain + at, kBlockBytes);
    }
    BANYAN_CHECK(std::memcmp(buffer_.data(), chain, 64) == 0);
  });
  return calls * kChainBytes / 1e9;
}

}  // namespace banyan::bench
