// FaultDisk for RocksDB, through its public FileSystem wrapper.
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <cstring>
#include <utility>

#include "tests/testing/fault_disk.h"

namespace banyan::testing {
namespace {

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;
using NodePtr = std::shared_ptr<FaultDisk::Node>;

IOStatus StatusOf(const absl::Status& status) {
  const std::string text(status.message());
  if (status.ok()) return IOStatus::OK();
  if (absl::IsResourceExhausted(status)) return IOStatus::NoSpace(text);
  if (absl::IsNotFound(status)) return IOStatus::PathNotFound(text);
  return IOStatus::IOError(text);
}

class Sequential final : public rocksdb::FSSequentialFile {
 public:
  Sequential(FaultDisk& disk, NodePtr node)
      : disk_(disk), node_(std::move(node)) {}
  IOStatus Read(size_t n, const IOOptions&, Slice* result, char* scratch,
                IODebugContext*) override {
    const auto bytes = disk_.ReadNode(*node_, at_, n);
    if (!bytes.ok()) return StatusOf(bytes.status());
    std::memcpy(scratch, bytes->data(), bytes->size());
    *result = Slice(scratch, bytes->size());
    at_ += bytes->size();
    return IOStatus::OK();
  }
  IOStatus Skip(uint64_t n) override {
    at_ += n;
    return IOStatus::OK();
  }

 private:
  FaultDisk& disk_;
  const NodePtr node_;
  uint64_t at_ = 0;
};

class RandomAccess final : public rocksdb::FSRandomAccessFile {
 public:
  RandomAccess(FaultDisk& disk, NodePtr node)
      : disk_(disk), node_(std::move(node)) {}
  IOStatus Read(uint64_t offset, size_t n, const IOOptions&, Slice* result,
                char* scratch, IODebugContext*) const override {
    const auto bytes = disk_.ReadNode(*node_, offset, n);
    if (!bytes.ok()) return StatusOf(bytes.status());
    std::memcpy(scratch, bytes->data(), bytes->size());
    *result = Slice(scratch, bytes->size());
    return IOStatus::OK();
  }

 private:
  FaultDisk& disk_;
  const NodePtr node_;
};

class Writable final : public rocksdb::FSWritableFile {
 public:
  Writable(FaultDisk& disk, NodePtr node)
      : disk_(disk), node_(std::move(node)), at_(disk_.SizeOf(*node_)) {}
  using FSWritableFile::Append;
  IOStatus Append(const Slice& data, const IOOptions&,
                  IODebugContext*) override {
    const absl::Status status =
        disk_.WriteNode(*node_, at_, {data.data(), data.size()});
    if (status.ok()) at_ += data.size();
    return StatusOf(status);
  }
  IOStatus Truncate(uint64_t size, const IOOptions&, IODebugContext*) override {
    at_ = size;
    return StatusOf(disk_.ResizeNode(*node_, size));
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override {
    return IOStatus::OK();
  }
  IOStatus Flush(const IOOptions&, IODebugContext*) override {
    return IOStatus::OK();
  }
  IOStatus Sync(const IOOptions&, IODebugContext*) override {
    return StatusOf(disk_.SyncNode(*node_));
  }
  uint64_t GetFileSize(const IOOptions&, IODebugContext*) override {
    return at_;
  }

 private:
  FaultDisk& disk_;
  const NodePtr node_;
  uint64_t at_;
};

class Directory final : public rocksdb::FSDirectory {
 public:
  Directory(FaultDisk& disk, std::string path)
      : disk_(disk), path_(std::move(path)) {}
  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    return StatusOf(disk_.SyncDirectory(path_));
  }

 private:
  FaultDisk& disk_;
  const std::string path_;
};

class NoLog final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
  size_t GetLogFileSize() const override { return 0; }
};

class Files final : public rocksdb::FileSystemWrapper {
 public:
  explicit Files(FaultDisk& disk)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), disk_(disk) {}

  const char* Name() const override { return "FaultDisk"; }

  IOStatus NewSequentialFile(const std::string& path, const FileOptions&,
                             std::unique_ptr<rocksdb::FSSequentialFile>* file,
                             IODebugContext*) override {
    return Open<Sequential>(path, file);
  }
  IOStatus NewRandomAccessFile(
      const std::string& path, const FileOptions&,
      std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
      IODebugContext*) override {
    return Open<RandomAccess>(path, file);
  }
  IOStatus NewWritableFile(const std::string& path, const FileOptions&,
                           std::unique_ptr<rocksdb::FSWritableFile>* file,
                           IODebugContext*) override {
    auto node = disk_.Create(path);
    if (!node.ok()) return StatusOf(node.status());
    *file = std::make_unique<Writable>(disk_, *std::move(node));
    return IOStatus::OK();
  }
  IOStatus ReopenWritableFile(const std::string& path, const FileOptions&,
                              std::unique_ptr<rocksdb::FSWritableFile>* file,
                              IODebugContext*) override {
    return Open<Writable>(path, file);
  }
  IOStatus ReuseWritableFile(const std::string& path, const std::string& old,
                             const FileOptions& options,
                             std::unique_ptr<rocksdb::FSWritableFile>* file,
                             IODebugContext* context) override {
    const absl::Status renamed = disk_.Rename(old, path);
    if (!renamed.ok()) return StatusOf(renamed);
    return ReopenWritableFile(path, options, file, context);
  }
  IOStatus NewDirectory(const std::string& path, const IOOptions&,
                        std::unique_ptr<rocksdb::FSDirectory>* directory,
                        IODebugContext*) override {
    if (!disk_.IsDirectory(path)) return IOStatus::PathNotFound(path);
    *directory = std::make_unique<Directory>(disk_, path);
    return IOStatus::OK();
  }
  IOStatus FileExists(const std::string& path, const IOOptions&,
                      IODebugContext*) override {
    if (disk_.Find(path).ok() || disk_.IsDirectory(path)) {
      return IOStatus::OK();
    }
    return IOStatus::NotFound(path);
  }
  IOStatus GetChildren(const std::string& path, const IOOptions&,
                       std::vector<std::string>* names,
                       IODebugContext*) override {
    auto found = disk_.List(path);
    if (!found.ok()) return StatusOf(found.status());
    *names = *std::move(found);
    return IOStatus::OK();
  }
  IOStatus DeleteFile(const std::string& path, const IOOptions&,
                      IODebugContext*) override {
    return StatusOf(disk_.Remove(path));
  }
  IOStatus CreateDir(const std::string& path, const IOOptions&,
                     IODebugContext*) override {
    return StatusOf(disk_.CreateDirectories(path));
  }
  IOStatus CreateDirIfMissing(const std::string& path, const IOOptions&,
                              IODebugContext*) override {
    return StatusOf(disk_.CreateDirectories(path));
  }
  IOStatus DeleteDir(const std::string& path, const IOOptions&,
                     IODebugContext*) override {
    return StatusOf(disk_.RemoveTree(path));
  }
  IOStatus GetFileSize(const std::string& path, const IOOptions&,
                       uint64_t* size, IODebugContext*) override {
    const auto node = disk_.Find(path);
    if (!node.ok()) return StatusOf(node.status());
    *size = disk_.SizeOf(**node);
    return IOStatus::OK();
  }
  IOStatus GetFileModificationTime(const std::string&, const IOOptions&,
                                   uint64_t* time, IODebugContext*) override {
    *time = 0;
    return IOStatus::OK();
  }
  IOStatus RenameFile(const std::string& from, const std::string& to,
                      const IOOptions&, IODebugContext*) override {
    return StatusOf(disk_.Rename(from, to));
  }
  IOStatus LinkFile(const std::string& path, const std::string&,
                    const IOOptions&, IODebugContext*) override {
    return IOStatus::NotSupported(path);
  }
  // The directory has a lock of its own.
  IOStatus LockFile(const std::string&, const IOOptions&,
                    rocksdb::FileLock** lock, IODebugContext*) override {
    *lock = new rocksdb::FileLock;
    return IOStatus::OK();
  }
  IOStatus UnlockFile(rocksdb::FileLock* lock, const IOOptions&,
                      IODebugContext*) override {
    delete lock;
    return IOStatus::OK();
  }
  IOStatus NewLogger(const std::string&, const IOOptions&,
                     std::shared_ptr<rocksdb::Logger>* logger,
                     IODebugContext*) override {
    *logger = std::make_shared<NoLog>();
    return IOStatus::OK();
  }
  IOStatus GetFreeSpace(const std::string&, const IOOptions&, uint64_t* bytes,
                        IODebugContext*) override {
    *bytes = uint64_t{1} << 40;
    return IOStatus::OK();
  }
  IOStatus IsDirectory(const std::string& path, const IOOptions&, bool* is,
                       IODebugContext*) override {
    *is = disk_.IsDirectory(path);
    return IOStatus::OK();
  }

 private:
  template <typename Made, typename Base>
  IOStatus Open(const std::string& path, std::unique_ptr<Base>* file) {
    auto node = disk_.Find(path);
    if (!node.ok()) return StatusOf(node.status());
    *file = std::make_unique<Made>(disk_, *std::move(node));
    return IOStatus::OK();
  }

  FaultDisk& disk_;
};

}  // namespace

std::shared_ptr<rocksdb::FileSystem> FaultDisk::ForRocksDb() {
  return std::make_shared<Files>(*this);
}

}  // namespace banyan::testing
