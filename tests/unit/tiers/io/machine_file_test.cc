// The machine's file system does what tiers/io/file.h says.
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/error.h"
#include "tests/testing/temp_directory.h"
#include "tiers/io/buffer_pool.h"
#include "tiers/io/file.h"

namespace banyan::tiers {
namespace {

class MachineFileTest : public ::testing::Test {
 protected:
  FileSystem& disk_ = FileSystem::Machine();
  const testing::TempDirectory directory_;
  const std::string path_ = directory_.path() + "/file";
};

TEST_F(MachineFileTest, AllocatedBytesAreZeroUntilWritten) {
  auto file = *disk_.Open(path_, OpenMode::kCreate);
  BufferPool pool(16 * kIoAlignment);
  auto buffer = *pool.Take(kIoAlignment);
  buffer.bytes()[0] = std::byte{1};

  ASSERT_TRUE(file->Allocate(4 * kIoAlignment).ok());

  EXPECT_EQ(*file->Size(), 4 * kIoAlignment);
  ASSERT_TRUE(file->ReadAt(kIoAlignment, buffer.bytes()).ok());
  EXPECT_EQ(buffer.bytes()[0], std::byte{0});
  EXPECT_TRUE(file->WriteAt(kIoAlignment, buffer.bytes()).ok());
  EXPECT_TRUE(file->Sync().ok());
  EXPECT_EQ(ErrorReason(file->ReadAt(4 * kIoAlignment, buffer.bytes())),
            "ENODATA");
}

TEST_F(MachineFileTest, OpenSaysWhatIsThereAndWhatIsNot) {
  EXPECT_TRUE(
      absl::IsNotFound(disk_.Open(path_, OpenMode::kReadWrite).status()));
  ASSERT_TRUE(disk_.Open(path_, OpenMode::kCreate).ok());
  EXPECT_TRUE(
      absl::IsAlreadyExists(disk_.Open(path_, OpenMode::kCreate).status()));
  EXPECT_TRUE(disk_.Open(path_, OpenMode::kRead).ok());
}

TEST_F(MachineFileTest, SmallFilesAreReplacedWhole) {
  ASSERT_TRUE(disk_.WriteSmall(path_, "a longer text").ok());
  ASSERT_TRUE(disk_.WriteSmall(path_, "short").ok());

  EXPECT_EQ(*disk_.ReadSmall(path_), "short");
  EXPECT_EQ(disk_.List(directory_.path())->size(), 1u);
}

TEST_F(MachineFileTest, NamesAreListedInOrderRenamedAndRemoved) {
  for (const char* const name : {"c", "a", "b"}) {
    ASSERT_TRUE(disk_.WriteSmall(directory_.path() + "/" + name, "text").ok());
  }
  ASSERT_TRUE(
      disk_.Rename(directory_.path() + "/c", directory_.path() + "/d").ok());
  ASSERT_TRUE(disk_.Remove(directory_.path() + "/a").ok());

  EXPECT_EQ(*disk_.List(directory_.path()),
            (std::vector<std::string>{"b", "d"}));
  EXPECT_TRUE(absl::IsNotFound(disk_.Remove(directory_.path() + "/a")));
  ASSERT_TRUE(disk_.CreateDirectories(directory_.path() + "/x/y").ok());
  ASSERT_TRUE(disk_.RemoveTree(directory_.path() + "/x").ok());
  EXPECT_EQ(disk_.List(directory_.path())->size(), 2u);
}

TEST_F(MachineFileTest, LockIsHeldOnceAndNamesItsHolder) {
  auto lock = disk_.Lock(path_);
  ASSERT_TRUE(lock.ok()) << lock.status();

  EXPECT_EQ(ErrorReason(disk_.Lock(path_).status()), "DIRECTORY_LOCKED");

  *lock = nullptr;
  EXPECT_TRUE(disk_.Lock(path_).ok());
}

TEST(IoErrorTest, CodesSayWhatToDo) {
  EXPECT_TRUE(absl::IsResourceExhausted(IoError(ENOSPC, "x")));
  EXPECT_TRUE(absl::IsResourceExhausted(IoError(EDQUOT, "x")));
  EXPECT_TRUE(absl::IsUnavailable(IoError(EIO, "x")));
  EXPECT_TRUE(absl::IsUnavailable(IoError(EROFS, "x")));
  EXPECT_EQ(ErrorReason(IoError(EIO, "x")), "EIO");
}

}  // namespace
}  // namespace banyan::tiers
