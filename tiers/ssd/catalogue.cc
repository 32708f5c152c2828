#include "tiers/ssd/catalogue.h"

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_checksum.h>
#include <rocksdb/file_system.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "base/units.h"

namespace banyan::tiers {
namespace {

rocksdb::Slice Slice(absl::string_view text) {
  return {text.data(), text.size()};
}

absl::Status StatusOf(const rocksdb::Status& status, absl::string_view what) {
  if (status.ok()) return absl::OkStatus();
  const std::string text =
      absl::StrCat("ssd catalogue: ", what, ": ", status.ToString());
  if (status.IsNotFound()) return absl::NotFoundError("");
  if (status.IsNoSpace()) {
    return MakeError(absl::StatusCode::kResourceExhausted, "ENOSPC", text);
  }
  if (status.IsCorruption() || status.IsInvalidArgument() ||
      status.IsNotSupported()) {
    return MakeError(absl::StatusCode::kDataLoss, "CATALOGUE", text);
  }
  return MakeError(absl::StatusCode::kUnavailable, "CATALOGUE", text);
}

// Keeps the first error that RocksDB met by itself.
class ErrorListener final : public rocksdb::EventListener {
 public:
  void OnBackgroundError(rocksdb::BackgroundErrorReason,
                         rocksdb::Status* error) override {
    // No space is no damage: RocksDB resumes, and so do we.
    if (error->IsNoSpace()) return;
    const MutexLock lock(mutex_);
    if (error_.ok()) error_ = StatusOf(*error, "in the background");
  }

  // RocksDB would look every five seconds whether there is space again, and
  // refuse to be told so meanwhile. Each Write tells it.
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status,
                            bool* auto_recovery) override {
    *auto_recovery = false;
  }

  absl::Status error() const {
    const MutexLock lock(mutex_);
    return error_;
  }

 private:
  mutable Mutex mutex_;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
};

class RocksCatalogue final : public Catalogue {
 public:
  explicit RocksCatalogue(const Options& options)
      : listener_(std::make_shared<ErrorListener>()) {
    if (options.file_system != nullptr) {
      env_ = rocksdb::NewCompositeEnv(options.file_system);
    }
  }

  absl::Status Open(const Options& options) {
    rocksdb::DB* db = nullptr;
    const rocksdb::Options settings = Settings();
    const rocksdb::Status status =
        options.access == Options::Access::kReadOnly
            ? rocksdb::DB::OpenForReadOnly(settings, options.directory, &db)
            : rocksdb::DB::Open(settings, options.directory, &db);
    db_.reset(db);
    return StatusOf(status, "open");
  }

  absl::Status Write(const Batch& batch, Log log) override {
    BANYAN_RETURN_IF_ERROR(background_error());
    rocksdb::WriteBatch rows(0, 0, kProtectionBytes, 0);
    for (const auto& edit : EditsOf(batch)) {
      const rocksdb::Status status =
          edit.is_put ? rows.Put(edit.key, edit.value) : rows.Delete(edit.key);
      if (!status.ok()) return StatusOf(status, "batch");
    }
    rocksdb::WriteOptions options;
    options.sync = log == Log::kSynced;
    options.disableWAL = log == Log::kNone;
    rocksdb::Status status = db_->Write(options, &rows);
    // After a full disk RocksDB waits to be told that there is space again.
    if (status.IsNoSpace() && db_->Resume().ok()) {
      status = db_->Write(options, &rows);
    }
    return StatusOf(status, "write");
  }

  absl::StatusOr<std::string> Get(absl::string_view key) override {
    std::string value;
    BANYAN_RETURN_IF_ERROR(
        StatusOf(db_->Get(Reading(), Slice(key), &value), "get"));
    return value;
  }

  absl::Status ForEach(
      absl::string_view prefix,
      absl::FunctionRef<absl::Status(absl::string_view, absl::string_view)> row)
      override {
    std::string end(prefix);
    ++end.back();
    return ForEachIn(prefix, end, row);
  }

  absl::Status ForEachIn(
      absl::string_view begin, absl::string_view end,
      absl::FunctionRef<absl::Status(absl::string_view, absl::string_view)> row)
      override {
    const rocksdb::Slice bound = Slice(end);
    rocksdb::ReadOptions options = Reading();
    options.readahead_size = 2 * kMiB;
    options.fill_cache = false;
    options.iterate_upper_bound = &bound;
    const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
    for (it->Seek(Slice(begin)); it->Valid(); it->Next()) {
      BANYAN_RETURN_IF_ERROR(row({it->key().data(), it->key().size()},
                                 {it->value().data(), it->value().size()}));
    }
    return StatusOf(it->status(), "scan");
  }

  uint64_t EstimateRows() const override {
    uint64_t rows = 0;
    db_->GetIntProperty(rocksdb::DB::Properties::kEstimateNumKeys, &rows);
    return rows;
  }

  absl::Status Flush() override {
    BANYAN_RETURN_IF_ERROR(background_error());
    return StatusOf(db_->Flush(rocksdb::FlushOptions()), "flush");
  }

  // An error shows in the next write: it is one of the background's.
  void StartCompaction() override {
    db_->EnableAutoCompaction({db_->DefaultColumnFamily()})
        .PermitUncheckedError();
  }

  absl::Status background_error() const override { return listener_->error(); }

 private:
  static constexpr size_t kProtectionBytes = 8;

  static rocksdb::ReadOptions Reading() {
    rocksdb::ReadOptions options;
    options.verify_checksums = true;
    return options;
  }

  rocksdb::Options Settings() const {
    rocksdb::Options settings;
    settings.create_if_missing = true;
    if (env_ != nullptr) settings.env = env_.get();
    settings.listeners = {listener_};
    settings.paranoid_checks = true;
    settings.track_and_verify_wals_in_manifest = true;
    settings.verify_sst_unique_id_in_manifest = true;
    settings.allow_data_in_errors = false;
    settings.file_checksum_gen_factory =
        rocksdb::GetFileChecksumGenCrc32cFactory();
    settings.checksum_handoff_file_types.Add(rocksdb::FileType::kWalFile);
    settings.checksum_handoff_file_types.Add(
        rocksdb::FileType::kDescriptorFile);
    settings.checksum_handoff_file_types.Add(rocksdb::FileType::kTableFile);
    settings.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
    // A catalogue is small: a few files, and two threads at most.
    settings.write_buffer_size = 16 * kMiB;
    settings.max_open_files = 256;
    settings.max_background_jobs = 2;
    settings.disable_auto_compactions = true;  // Until StartCompaction.
    settings.keep_log_file_num = 2;
    settings.max_log_file_size = kMiB;
    settings.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
    settings.stats_dump_period_sec = 0;
    settings.stats_persist_period_sec = 0;
    rocksdb::BlockBasedTableOptions table;
    table.block_size = 16 * kKiB;
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    settings.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    return settings;
  }

  const std::shared_ptr<ErrorListener> listener_;
  std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<rocksdb::DB> db_;
};

}  // namespace

void Catalogue::Batch::Put(std::string key, std::string value) {
  edits_.push_back({true, std::move(key), std::move(value)});
}

void Catalogue::Batch::Delete(std::string key) {
  edits_.push_back({false, std::move(key), std::string()});
}

absl::StatusOr<std::unique_ptr<Catalogue>> Catalogue::Open(
    const Options& options) {
  auto catalogue = std::make_unique<RocksCatalogue>(options);
  BANYAN_RETURN_IF_ERROR(catalogue->Open(options));
  return catalogue;
}

}  // namespace banyan::tiers
