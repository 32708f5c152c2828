// Goal: bytes that are read cost copying and summing, and nothing else that grows with
// them: no memory is allocated for them, and no lock is held, nor, in shared memory,
// taken, while they are copied.
// Method: malloc and the locks of this program, node and client, are counted while
// small and large blocks are read. Buffers are write-protected: who writes first to a
// page of them is caught doing so, with the locks that it holds.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "base/check.h"
#include "tests/integration/reached.h"
#include "tests/testing/bare_node.h"
#include "tests/testing/cost_counters.h"

namespace banyan {
namespace {

using testing::Getting;
using testing::Reached;

constexpr size_t kBlocks = 4;
constexpr uint64_t kSmallBytes = 64 * kKiB;
constexpr uint64_t kLargeBytes = 2 * kMiB;
constexpr size_t kPageBytes = 4096;

// Pages that may not be written to until somebody does; who does is watched. One at a
// time.
class WatchedBuffers {
 public:
  explicit WatchedBuffers(size_t bytes) : bytes_(bytes) {
    void* const at =
        mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    BANYAN_CHECK(at != MAP_FAILED);
    begin_ = static_cast<std::byte*>(at);
    end_ = begin_ + bytes;
    pages_ = 0;
    held_ = 0;
    struct sigaction action{};
    action.sa_sigaction = &OnWrite;
    action.sa_flags = SA_SIGINFO;
    BANYAN_CHECK(sigaction(SIGSEGV, &action, &before_) == 0);
  }
  ~WatchedBuffers() {
    sigaction(SIGSEGV, &before_, nullptr);
    munmap(begin_, bytes_);
  }
  WatchedBuffers(const WatchedBuffers&) = delete;
  WatchedBuffers& operator=(const WatchedBuffers&) = delete;

  std::span<std::byte> bytes() const { return {begin_, bytes_}; }
  // Pages that were written to, and the most locks that a writer held.
  static size_t pages() { return pages_; }
  static int held() { return held_; }

 private:
  static void OnWrite(int, siginfo_t* info, void*) {
    auto* const at = static_cast<std::byte*>(info->si_addr);
    if (at < begin_ || at >= end_) {
      signal(SIGSEGV, SIG_DFL);  // It comes again, and is what it is.
      return;
    }
    ++pages_;
    held_ = std::max(held_.load(), testing::locks_held);
    const auto page = reinterpret_cast<uintptr_t>(at) & ~(kPageBytes - 1);
    mprotect(reinterpret_cast<void*>(page), kPageBytes, PROT_READ | PROT_WRITE);
  }

  const size_t bytes_;
  struct sigaction before_{};
  inline static std::byte* begin_ = nullptr;
  inline static std::byte* end_ = nullptr;
  inline static std::atomic<size_t> pages_{0};
  inline static std::atomic<int> held_{0};
};

struct Costs {
  double allocations = 0;  // Of a get.
  double locks = 0;
};

class TransportCostsTest
    : public ::testing::TestWithParam<testing::TransportCase> {
 protected:
  void SetUp() override {
    if (!testing::kCountsCosts) GTEST_SKIP() << "a sanitizer counts instead";
    reached_ = std::make_unique<Reached>(node_.endpoint(), GetParam());
    ASSERT_TRUE(reached_->Put(small_, kSmallBytes).ok());
    ASSERT_TRUE(reached_->Put(large_, kLargeBytes).ok());
  }

  // Of the quietest of some rows of gets: other threads, such as gRPC's, have their own.
  Costs CostsOf(const std::string& keys, uint64_t bytes) {
    constexpr int kGets = 32;
    Getting reading(*reached_, keys, bytes);
    Costs least{.allocations = 1e9, .locks = 1e9};
    for (int row = 0; row < 8; ++row) {
      const uint64_t allocations = testing::allocations_made;
      const uint64_t locks = testing::locks_taken;
      for (int i = 0; i < kGets; ++i) EXPECT_TRUE(reading.Get().ok());
      const auto of_a_get = [](uint64_t count) {
        return static_cast<double>(count) / kGets;
      };
      least.allocations = std::min(
          least.allocations, of_a_get(testing::allocations_made - allocations));
      least.locks =
          std::min(least.locks, of_a_get(testing::locks_taken - locks));
    }
    for (size_t i = 0; i < kBlocks; ++i) EXPECT_TRUE(reading.IsRight(i));
    return least;
  }

  const std::string small_ = testing::ChainKeys("small", kBlocks);
  const std::string large_ = testing::ChainKeys("large", kBlocks);
  testing::BareNode node_;
  std::unique_ptr<Reached> reached_;
};

TEST_P(TransportCostsTest, NoLockIsHeldWhereBytesAreCopied) {
  WatchedBuffers buffers(kBlocks * kLargeBytes);
  std::vector<std::span<std::byte>> spans;
  for (size_t i = 0; i < kBlocks; ++i) {
    spans.push_back(buffers.bytes().subspan(i * kLargeBytes, kLargeBytes));
  }
  transport::GetResult result;

  ASSERT_TRUE(reached_->transport()
                  .Get({.blocks = reached_->BlocksOf(large_), .buffers = spans},
                       {.deadline = std::chrono::steady_clock::now() +
                                    testing::kPlenty},
                       result)
                  .ok());

  EXPECT_EQ(WatchedBuffers::pages(), kBlocks * kLargeBytes / kPageBytes);
  EXPECT_EQ(WatchedBuffers::held(), 0);
  for (size_t i = 0; i < kBlocks; ++i) {
    EXPECT_TRUE(
        testing::CheckPayload(testing::kReachedSpace, large_, i, spans[i])
            .ok());
  }
}

// gRPC has memory of its own for what comes.
TEST_P(TransportCostsTest, BytesCostNoMemoryAndFewLocks) {
  if (reached_->transport().name() == "grpc") return;
  CostsOf(large_, kLargeBytes);  // Until all has been used once.

  const Costs small = CostsOf(small_, kSmallBytes);
  const Costs large = CostsOf(large_, kLargeBytes);

  std::printf(
      "%s: get of %zu blocks of 64 KiB, of 2 MiB: allocations %.1f, %.1f; "
      "locks %.1f, %.1f\n",
      GetParam().name.c_str(), kBlocks, small.allocations, large.allocations,
      small.locks, large.locks);
  EXPECT_LT(large.allocations, small.allocations + 1);
  // Over UCX the large ones come in 28 parts more, for some of which a thread sleeps,
  // which takes a lock or two.
  const bool is_shm = reached_->transport().name() == "shm";
  EXPECT_LT(large.locks, small.locks + (is_shm ? 1 : 28));
}

INSTANTIATE_TEST_SUITE_P(
    All, TransportCostsTest, ::testing::ValuesIn(testing::AllTransports()),
    [](const ::testing::TestParamInfo<testing::TransportCase>& info) {
      return info.param.name;
    });

}  // namespace
}  // namespace banyan
