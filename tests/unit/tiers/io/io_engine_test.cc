// Every engine reads what was written, reports what failed, and lets a waiter
// go whose time is up.
//
// Method: the same cases on all engines, with files on the real disk; io_uring
// refused by a seccomp filter in a child process.
#include "tiers/io/io_engine.h"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "base/units.h"
#include "tests/testing/fault_disk.h"
#include "tests/testing/temp_directory.h"
#include "tiers/io/buffer_pool.h"

namespace banyan::tiers {
namespace {

struct EngineCase {
  std::string name;
  std::unique_ptr<IoEngine> (*make)();
  bool is_memory_expected = false;
};

std::unique_ptr<IoEngine> Uring(uint32_t queue_depth) {
  auto engine = MakeUringEngine(queue_depth);
  return engine.ok() ? *std::move(engine) : nullptr;
}

class IoEngineTest : public ::testing::TestWithParam<EngineCase> {
 protected:
  void SetUp() override {
    ASSERT_NE(engine_, nullptr) << "refused";
    if (GetParam().is_memory_expected) engine_->ExpectMemory(pool_.region());
  }

  // Buffers of the batch lie in memory of the test.
  std::shared_ptr<IoBatch> Batch(IoKind kind, File& file, uint64_t count,
                                 absl::Span<std::byte> memory) {
    auto batch = std::make_shared<IoBatch>();
    for (uint64_t i = 0; i < count; ++i) {
      batch->requests.push_back({.kind = kind,
                                 .file = &file,
                                 .offset = i * kIoAlignment,
                                 .memory = memory.data() + i * kIoAlignment,
                                 .bytes = kIoAlignment});
    }
    return batch;
  }

  const testing::TempDirectory directory_;
  const std::string path_ = directory_.path() + "/file";
  BufferPool pool_{64 * kMiB};
  const std::unique_ptr<IoEngine> engine_ = GetParam().make();
};

// True if this process may lock the chunks of some rings.
bool CanLock() {
  rlimit limit = {};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  return geteuid() == 0 || limit.rlim_cur >= 16 * kIoChunkBytes;
}

TEST_P(IoEngineTest, ManyRequestsAllLandWhereTheyShould) {
  constexpr uint64_t kCount = 100;  // Far more than the depth.
  auto file = *FileSystem::Machine().Open(path_, OpenMode::kCreate);
  ASSERT_TRUE(file->Allocate(kCount * kIoAlignment).ok());
  auto out = *pool_.Take(kCount * kIoAlignment);
  auto in = *pool_.Take(kCount * kIoAlignment);
  for (size_t i = 0; i < out.bytes().size(); ++i) {
    out.bytes()[i] = static_cast<std::byte>(i / kIoAlignment * 7 + i);
  }

  const auto writes = Batch(IoKind::kWrite, *file, kCount, out.bytes());
  ASSERT_TRUE(engine_->Run(writes, absl::Seconds(30)));
  const auto reads = Batch(IoKind::kRead, *file, kCount, in.bytes());
  engine_->Submit(reads);
  ASSERT_TRUE(reads->Wait(absl::Seconds(30)));

  for (uint64_t i = 0; i < kCount; ++i) {
    EXPECT_TRUE(writes->requests[i].status.ok());
    EXPECT_TRUE(reads->requests[i].status.ok());
  }
  EXPECT_EQ(
      std::memcmp(in.bytes().data(), out.bytes().data(), kCount * kIoAlignment),
      0);
  EXPECT_EQ(engine_->in_flight(), 0u);
}

TEST_P(IoEngineTest, ReadPastTheEndFailsAloneByName) {
  auto file = *FileSystem::Machine().Open(path_, OpenMode::kCreate);
  ASSERT_TRUE(file->Allocate(2 * kIoAlignment).ok());
  auto in = *pool_.Take(3 * kIoAlignment);
  const auto reads = Batch(IoKind::kRead, *file, 3, in.bytes());

  ASSERT_TRUE(engine_->Run(reads, absl::Seconds(30)));

  EXPECT_TRUE(reads->requests[1].status.ok());
  EXPECT_EQ(ErrorReason(reads->requests[2].status), "ENODATA");
}

TEST_P(IoEngineTest, WriteToAReadOnlyFileFailsByName) {
  {
    auto made = *FileSystem::Machine().Open(path_, OpenMode::kCreate);
  }
  auto file = *FileSystem::Machine().Open(path_, OpenMode::kRead);
  auto out = *pool_.Take(kIoAlignment);
  const auto writes = Batch(IoKind::kWrite, *file, 1, out.bytes());

  ASSERT_TRUE(engine_->Run(writes, absl::Seconds(30)));

  EXPECT_EQ(ErrorReason(writes->requests[0].status), "EBADF");
}

TEST_P(IoEngineTest, ManyThreadsAtOnce) {
  auto file = *FileSystem::Machine().Open(path_, OpenMode::kCreate);
  ASSERT_TRUE(file->Allocate(64 * kIoAlignment).ok());
  std::atomic<int> failed_count{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      auto in = *pool_.Take(16 * kIoAlignment);
      for (int round = 0; round < 50; ++round) {
        const auto reads = Batch(IoKind::kRead, *file, 16, in.bytes());
        if (!engine_->Run(reads, absl::Seconds(30))) ++failed_count;
        for (const IoRequest& request : reads->requests) {
          if (!request.status.ok()) ++failed_count;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(failed_count, 0);
}

TEST_P(IoEngineTest, EmptyBatchIsDoneAtOnce) {
  EXPECT_TRUE(engine_->Run(std::make_shared<IoBatch>(), absl::Seconds(30)));
}

INSTANTIATE_TEST_SUITE_P(
    AllEngines, IoEngineTest,
    ::testing::Values(EngineCase{"Uring", [] { return Uring(4); }},
                      EngineCase{"UringDepthOne", [] { return Uring(1); }},
                      EngineCase{"UringRegistered", [] { return Uring(4); },
                                 true},
                      EngineCase{"Threads", [] { return MakeThreadEngine(3); }},
                      EngineCase{"Inline", [] { return MakeInlineEngine(); }}),
    [](const auto& info) { return info.param.name; });

// Writes and reads back, in memory of the region and of the heap, with the
// caller's ring and with the thread's. Returns what was registered.
uint64_t RunInExpectedMemory(const std::string& path) {
  BufferPool pool(2 * kIoChunkBytes);
  BufferPool heap(kMiB);
  auto engine = Uring(4);
  if (engine == nullptr) return ~uint64_t{0};
  engine->ExpectMemory(pool.region());
  auto file = FileSystem::Machine().Open(path, OpenMode::kReadWrite);
  if (!file.ok()) return ~uint64_t{0};
  for (BufferPool* const from : {&pool, &heap}) {
    const auto out = *from->Take(64 * kKiB);
    const auto in = *from->Take(64 * kKiB);
    std::memset(out.bytes().data(), from == &pool ? 1 : 2, out.bytes().size());
    for (const bool is_run : {true, false}) {
      std::memset(in.bytes().data(), 0, in.bytes().size());
      for (const IoKind kind : {IoKind::kWrite, IoKind::kRead}) {
        auto batch = std::make_shared<IoBatch>();
        batch->requests.push_back(
            {.kind = kind,
             .file = file->get(),
             .memory = (kind == IoKind::kWrite ? out : in).bytes().data(),
             .bytes = 64 * kKiB});
        if (is_run) {
          engine->Run(batch, absl::Seconds(10));
        } else {
          engine->Submit(batch);
          batch->Wait(absl::Seconds(10));
        }
        if (!batch->requests[0].status.ok()) return ~uint64_t{0};
      }
      if (std::memcmp(out.bytes().data(), in.bytes().data(), 64 * kKiB) != 0) {
        return ~uint64_t{0};
      }
    }
  }
  return engine->registered_bytes();
}

// Ends the process: with 0 if all went on without registering.
[[noreturn]] void RunWithoutLockedMemory(const std::string& directory,
                                         const std::string& path) {
  rlimit little = {};
  little.rlim_cur = little.rlim_max = 64 * kKiB;
  bool is_ready = setrlimit(RLIMIT_MEMLOCK, &little) == 0;
  if (geteuid() == 0) {  // Root may lock what it likes; nobody may not.
    is_ready = is_ready && chmod(directory.c_str(), 0777) == 0 &&
               chmod(path.c_str(), 0666) == 0 &&
               setresuid(65534, 65534, 65534) == 0;
  }
  std::_Exit(is_ready && RunInExpectedMemory(path) == 0 ? 0 : 1);
}

class IoEngineMemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto file = FileSystem::Machine().Open(path_, OpenMode::kCreate);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE((*file)->Allocate(64 * kKiB).ok());
  }

  const testing::TempDirectory directory_;
  const std::string path_ = directory_.path() + "/file";
};

TEST_F(IoEngineMemoryTest, ExpectedMemoryIsRegisteredOnceInEachRing) {
  // One chunk, in the caller's ring and in the thread's.
  EXPECT_EQ(RunInExpectedMemory(path_), CanLock() ? 2 * kIoChunkBytes : 0);
}

TEST_F(IoEngineMemoryTest, WithoutLockedMemoryAllGoesOnAfterOneLine) {
  EXPECT_EXIT(RunWithoutLockedMemory(directory_.path(), path_),
              ::testing::ExitedWithCode(0),
              "^banyan: io_uring buffers are not registered [^\n]*\n$");
}

TEST(IoEngineTimeTest, WaiterWhoseTimeIsUpLeavesTheBatchBehind) {
  testing::FaultDisk disk;
  auto file = *disk.Open("/file", OpenMode::kCreate);
  ASSERT_TRUE(file->Allocate(kIoAlignment).ok());
  disk.Add({.op = testing::FaultDisk::Op::kRead,
            .effect = testing::FaultDisk::Effect::kHeld});
  auto engine = MakeThreadEngine(1);
  BufferPool pool(kMiB);
  auto buffer = *pool.Take(kIoAlignment);
  auto batch = std::make_shared<IoBatch>();
  batch->requests.push_back({.kind = IoKind::kRead,
                             .file = file.get(),
                             .memory = buffer.bytes().data(),
                             .bytes = kIoAlignment});

  EXPECT_FALSE(engine->Run(batch, absl::Milliseconds(20)));

  EXPECT_EQ(engine->in_flight(), 1u);
  disk.Release();
  EXPECT_TRUE(batch->Wait(absl::Seconds(30)));
}

// Makes io_uring_setup fail in this process for good.
void RefuseUring() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program = {.len = sizeof filter / sizeof filter[0],
                              .filter = filter};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

TEST(IoEngineDeathTest, RefusedUringFallsBackToThreadsAndSaysSo) {
  EXPECT_EXIT(
      {
        RefuseUring();
        const auto engine = MakeBestEngine(4);
        std::exit(std::strcmp(engine->name(), "threads") == 0 ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "no io_uring .*Operation not permitted");
}

}  // namespace
}  // namespace banyan::tiers
