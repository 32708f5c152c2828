#include "tests/testing/fault_disk.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::testing {
namespace {

using tiers::IoError;

std::string ParentOf(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

// Paths come with doubled and trailing slashes.
std::string Clean(const std::string& path) {
  std::string clean;
  for (const char c : path) {
    if (c == '/' && !clean.empty() && clean.back() == '/') continue;
    clean.push_back(c);
  }
  while (clean.size() > 1 && clean.back() == '/') clean.pop_back();
  return clean;
}

class OpenFile final : public tiers::File {
 public:
  OpenFile(FaultDisk& disk, std::shared_ptr<FaultDisk::Node> node)
      : disk_(disk), node_(std::move(node)) {}

  absl::Status ReadAt(uint64_t offset, absl::Span<std::byte> out) override {
    CheckAligned(offset, out.size(), out.data());
    BANYAN_ASSIGN_OR_RETURN(const std::string bytes,
                            disk_.ReadNode(*node_, offset, out.size()));
    if (bytes.size() < out.size()) return IoError(ENODATA, "read");
    std::memcpy(out.data(), bytes.data(), out.size());
    return absl::OkStatus();
  }
  absl::Status WriteAt(uint64_t offset,
                       absl::Span<const std::byte> bytes) override {
    CheckAligned(offset, bytes.size(), bytes.data());
    return disk_.WriteNode(*node_, offset, AsText(bytes));
  }
  absl::Status Sync() override { return disk_.SyncNode(*node_); }
  absl::Status Allocate(uint64_t bytes) override {
    return disk_.ResizeNode(*node_, bytes);
  }
  absl::StatusOr<uint64_t> Size() override { return disk_.SizeOf(*node_); }
  int descriptor() const override { return -1; }

 private:
  // What O_DIRECT would refuse is a bug of the caller.
  static void CheckAligned(uint64_t offset, uint64_t bytes,
                           const std::byte* memory) {
    BANYAN_CHECK(offset % tiers::kIoAlignment == 0);
    BANYAN_CHECK(bytes % tiers::kIoAlignment == 0);
    BANYAN_CHECK(reinterpret_cast<uintptr_t>(memory) % tiers::kIoAlignment ==
                 0);
  }

  FaultDisk& disk_;
  const std::shared_ptr<FaultDisk::Node> node_;
};

class OpenLock final : public tiers::FileLock {
 public:
  OpenLock(FaultDisk& disk, std::string path)
      : disk_(disk), path_(std::move(path)) {}
  ~OpenLock() override { disk_.Unlock(path_); }

 private:
  FaultDisk& disk_;
  const std::string path_;
};

void Put(std::string& file, uint64_t offset, absl::string_view bytes) {
  if (file.size() < offset + bytes.size()) file.resize(offset + bytes.size());
  std::memcpy(file.data() + offset, bytes.data(), bytes.size());
}

}  // namespace

void FaultDisk::Add(const Rule& rule) {
  const MutexLock lock(mutex_);
  rules_.push_back({.rule = rule});
  if (rule.effect == Effect::kHeld) is_released_ = false;
}

void FaultDisk::ClearRules() {
  const MutexLock lock(mutex_);
  rules_.clear();
}

void FaultDisk::Release() {
  const MutexLock lock(mutex_);
  is_released_ = true;
  released_.NotifyAll();
}

uint64_t FaultDisk::held_count() const {
  const MutexLock lock(mutex_);
  return held_count_;
}

void FaultDisk::SetSpace(uint64_t bytes) {
  const MutexLock lock(mutex_);
  space_bytes_ = bytes;
}

uint64_t FaultDisk::used_bytes() const {
  const MutexLock lock(mutex_);
  uint64_t sum = 0;
  for (const auto& [path, node] : names_) sum += node->bytes.size();
  return sum;
}

std::vector<std::string> FaultDisk::Paths(const std::string& directory) const {
  const MutexLock lock(mutex_);
  std::vector<std::string> paths;
  for (const auto& [path, node] : names_) {
    if (absl::StartsWith(path, directory + "/")) paths.push_back(path);
  }
  return paths;
}

void FaultDisk::Edit(const std::string& path,
                     const std::function<void(std::string&)>& edit) {
  const MutexLock lock(mutex_);
  edit(names_.at(Clean(path))->bytes);
}

void FaultDisk::Record() {
  const MutexLock lock(mutex_);
  BANYAN_CHECK(names_.empty());  // An image begins with nothing.
  is_recording_ = true;
}

uint64_t FaultDisk::event_count() const {
  const MutexLock lock(mutex_);
  return events_.size();
}

FaultDisk::Verdict FaultDisk::Judge(Op op, const std::string& path) {
  const Verdict verdict = Pick(op, path);
  if (verdict.delay > absl::ZeroDuration()) absl::SleepFor(verdict.delay);
  return verdict;
}

FaultDisk::Verdict FaultDisk::Pick(Op op, const std::string& path) {
  Verdict verdict;
  const MutexLock lock(mutex_);
  for (Armed& armed : rules_) {
    const Rule& rule = armed.rule;
    if (rule.op != op || !absl::StrContains(path, rule.path_part)) continue;
    const uint64_t number = armed.seen++;
    if (number < rule.skip || number >= rule.skip + rule.count) continue;
    switch (rule.effect) {
      case Effect::kError:
        verdict.error = IoError(rule.error, path);
        return verdict;
      case Effect::kLost:
        verdict.is_lost = true;
        return verdict;
      case Effect::kMisdirected:
        verdict.shift_bytes = tiers::kIoAlignment;
        return verdict;
      case Effect::kHeld:
        ++held_count_;
        while (!is_released_) released_.Wait(mutex_);
        --held_count_;
        return verdict;
      case Effect::kSlow:
        verdict.delay += rule.delay;
        break;
    }
  }
  return verdict;
}

void FaultDisk::Note(Event event) {
  if (is_recording_) events_.push_back(std::move(event));
}

void FaultDisk::SetName(const std::string& path, std::shared_ptr<Node> node) {
  Note({.kind = EventKind::kName, .node = node->number, .bytes = path});
  node->path = path;
  names_[path] = std::move(node);
}

void FaultDisk::RemoveName(const std::string& path) {
  Note({.kind = EventKind::kName, .bytes = path, .is_removal = true});
  names_.erase(path);
}

absl::Status FaultDisk::TakeSpace(const Node& node, uint64_t end) const {
  if (end <= node.bytes.size() || space_bytes_ == ~uint64_t{0}) {
    return absl::OkStatus();
  }
  uint64_t used = 0;
  for (const auto& [path, other] : names_) used += other->bytes.size();
  if (used + end - node.bytes.size() <= space_bytes_) return absl::OkStatus();
  return IoError(ENOSPC, node.path);
}

absl::StatusOr<std::shared_ptr<FaultDisk::Node>> FaultDisk::Find(
    const std::string& path) const {
  const MutexLock lock(mutex_);
  const auto found = names_.find(Clean(path));
  if (found == names_.end()) return IoError(ENOENT, path);
  return found->second;
}

absl::StatusOr<std::shared_ptr<FaultDisk::Node>> FaultDisk::Create(
    const std::string& path) {
  const Verdict verdict = Judge(Op::kCreate, path);
  BANYAN_RETURN_IF_ERROR(verdict.error);
  const MutexLock lock(mutex_);
  auto node = std::make_shared<Node>();
  node->number = ++node_count_;
  SetName(Clean(path), node);
  return node;
}

absl::StatusOr<std::string> FaultDisk::ReadNode(Node& node, uint64_t offset,
                                                uint64_t bytes) {
  const Verdict verdict = Judge(Op::kRead, node.path);
  BANYAN_RETURN_IF_ERROR(verdict.error);
  const MutexLock lock(mutex_);
  offset += verdict.shift_bytes;
  if (offset >= node.bytes.size()) return std::string();
  return node.bytes.substr(offset, bytes);
}

absl::Status FaultDisk::WriteNode(Node& node, uint64_t offset,
                                  absl::string_view bytes) {
  const Verdict verdict = Judge(Op::kWrite, node.path);
  BANYAN_RETURN_IF_ERROR(verdict.error);
  if (verdict.is_lost) return absl::OkStatus();
  offset += verdict.shift_bytes;
  const MutexLock lock(mutex_);
  BANYAN_RETURN_IF_ERROR(TakeSpace(node, offset + bytes.size()));
  Put(node.bytes, offset, bytes);
  Note({.kind = EventKind::kWrite,
        .node = node.number,
        .offset = offset,
        .bytes = std::string(bytes)});
  return absl::OkStatus();
}

absl::Status FaultDisk::ResizeNode(Node& node, uint64_t bytes) {
  const Verdict verdict = Judge(Op::kAllocate, node.path);
  BANYAN_RETURN_IF_ERROR(verdict.error);
  const MutexLock lock(mutex_);
  BANYAN_RETURN_IF_ERROR(TakeSpace(node, bytes));
  node.bytes.resize(bytes);
  Note({.kind = EventKind::kResize, .node = node.number, .offset = bytes});
  return absl::OkStatus();
}

absl::Status FaultDisk::SyncNode(Node& node) {
  const Verdict verdict = Judge(Op::kSync, node.path);
  BANYAN_RETURN_IF_ERROR(verdict.error);
  if (verdict.is_lost) return absl::OkStatus();
  const MutexLock lock(mutex_);
  Note({.kind = EventKind::kSync, .node = node.number});
  return absl::OkStatus();
}

uint64_t FaultDisk::SizeOf(const Node& node) const {
  const MutexLock lock(mutex_);
  return node.bytes.size();
}

bool FaultDisk::IsDirectory(const std::string& path) const {
  const MutexLock lock(mutex_);
  return directories_.contains(Clean(path));
}

void FaultDisk::Unlock(const std::string& path) {
  const MutexLock lock(mutex_);
  locks_.erase(path);
}

absl::StatusOr<std::unique_ptr<tiers::File>> FaultDisk::Open(
    const std::string& path, tiers::OpenMode mode) {
  auto node = Find(path);
  if (mode == tiers::OpenMode::kCreate) {
    if (node.ok()) return IoError(EEXIST, path);
    node = Create(path);
  }
  BANYAN_RETURN_IF_ERROR(node.status());
  return std::make_unique<OpenFile>(*this, *std::move(node));
}

absl::StatusOr<std::string> FaultDisk::ReadSmall(const std::string& path) {
  BANYAN_ASSIGN_OR_RETURN(const std::shared_ptr<Node> node, Find(path));
  return ReadNode(*node, 0, SizeOf(*node));
}

absl::Status FaultDisk::WriteSmall(const std::string& path,
                                   absl::string_view text) {
  BANYAN_ASSIGN_OR_RETURN(const std::shared_ptr<Node> node,
                          Create(path + ".new"));
  BANYAN_RETURN_IF_ERROR(WriteNode(*node, 0, text));
  BANYAN_RETURN_IF_ERROR(SyncNode(*node));
  BANYAN_RETURN_IF_ERROR(Rename(path + ".new", path));
  return SyncDirectory(ParentOf(path));
}

absl::Status FaultDisk::Rename(const std::string& from, const std::string& to) {
  const std::string source = Clean(from), target = Clean(to);
  const MutexLock lock(mutex_);
  const auto found = names_.find(source);
  if (found != names_.end()) {
    std::shared_ptr<Node> node = found->second;
    // One event for both names would be truer; the order is the safe one.
    SetName(target, node);
    RemoveName(source);
    return absl::OkStatus();
  }
  if (!directories_.contains(source)) return IoError(ENOENT, from);
  std::vector<std::string> below;
  for (const auto& [path, node] : names_) {
    if (absl::StartsWith(path, source + "/")) below.push_back(path);
  }
  for (const std::string& path : below) {
    SetName(target + path.substr(source.size()), names_.at(path));
    RemoveName(path);
  }
  directories_.erase(source);
  directories_.insert(target);
  return absl::OkStatus();
}

absl::Status FaultDisk::Remove(const std::string& path) {
  const MutexLock lock(mutex_);
  if (!names_.contains(Clean(path))) return IoError(ENOENT, path);
  RemoveName(Clean(path));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> FaultDisk::List(
    const std::string& directory) {
  const std::string prefix = Clean(directory) + "/";
  const MutexLock lock(mutex_);
  if (!directories_.contains(Clean(directory))) {
    return IoError(ENOENT, directory);
  }
  std::set<std::string> found;
  for (const auto& [path, node] : names_) {
    if (!absl::StartsWith(path, prefix)) continue;
    const std::string rest = path.substr(prefix.size());
    found.insert(rest.substr(0, rest.find('/')));
  }
  return std::vector<std::string>(found.begin(), found.end());
}

absl::Status FaultDisk::CreateDirectories(const std::string& directory) {
  const MutexLock lock(mutex_);
  for (std::string path = Clean(directory); path.size() > 1;
       path = ParentOf(path)) {
    directories_.insert(path);
  }
  return absl::OkStatus();
}

absl::Status FaultDisk::RemoveTree(const std::string& directory) {
  const std::string root = Clean(directory);
  const MutexLock lock(mutex_);
  std::vector<std::string> below;
  for (const auto& [path, node] : names_) {
    if (absl::StartsWith(path, root + "/")) below.push_back(path);
  }
  for (const std::string& path : below) RemoveName(path);
  std::erase_if(directories_, [&](const std::string& path) {
    return path == root || absl::StartsWith(path, root + "/");
  });
  return absl::OkStatus();
}

absl::Status FaultDisk::SyncDirectory(const std::string& directory) {
  const Verdict verdict = Judge(Op::kSync, directory);
  BANYAN_RETURN_IF_ERROR(verdict.error);
  const MutexLock lock(mutex_);
  Note({.kind = EventKind::kSyncNames});
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<tiers::FileLock>> FaultDisk::Lock(
    const std::string& path) {
  const MutexLock lock(mutex_);
  if (!locks_.insert(Clean(path)).second) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "DIRECTORY_LOCKED",
                     "data dir is locked by pid 0.");
  }
  return std::make_unique<OpenLock>(*this, Clean(path));
}

std::unique_ptr<FaultDisk> FaultDisk::Clone() const {
  auto clone = std::make_unique<FaultDisk>();
  const MutexLock lock(mutex_);
  const MutexLock clone_lock(clone->mutex_);
  for (const auto& [path, node] : names_) {
    clone->names_[path] = std::make_shared<Node>(*node);
  }
  clone->node_count_ = node_count_;
  clone->directories_ = directories_;
  return clone;
}

std::unique_ptr<FaultDisk> FaultDisk::AfterPowerCut(uint64_t event_count,
                                                    uint64_t seed) const {
  std::mt19937_64 random(seed);
  auto image = std::make_unique<FaultDisk>();
  const MutexLock lock(mutex_);
  const MutexLock image_lock(image->mutex_);
  std::map<uint64_t, std::shared_ptr<Node>> nodes;
  std::map<uint64_t, std::vector<const Event*>> unsynced;
  std::vector<const Event*> name_events;
  size_t durable_names = 0;
  const auto node_of = [&](uint64_t number) -> Node& {
    std::shared_ptr<Node>& node = nodes[number];
    if (node == nullptr) {
      node = std::make_shared<Node>();
      node->number = number;
    }
    return *node;
  };
  const auto apply = [&](const Event& event) {
    Node& node = node_of(event.node);
    if (event.kind == EventKind::kResize) {
      node.bytes.resize(event.offset);
    } else {
      Put(node.bytes, event.offset, event.bytes);
    }
  };
  for (uint64_t i = 0; i < event_count; ++i) {
    const Event& event = events_[i];
    switch (event.kind) {
      case EventKind::kWrite:
      case EventKind::kResize:
        unsynced[event.node].push_back(&event);
        break;
      case EventKind::kSync:
        for (const Event* const write : unsynced[event.node]) apply(*write);
        unsynced[event.node].clear();
        durable_names = name_events.size();
        break;
      case EventKind::kName:
        name_events.push_back(&event);
        break;
      case EventKind::kSyncNames:
        durable_names = name_events.size();
        break;
    }
  }
  // What was not synced: nothing, all, or any sectors of any of it.
  for (const auto& [number, writes] : unsynced) {
    const uint64_t mode = random() % 4;
    const uint64_t sector = random() % 2 == 0 ? 512 : 4096;
    if (mode == 0) continue;
    for (const Event* const write : writes) {
      if (mode == 1 || write->kind == EventKind::kResize) {
        apply(*write);
        continue;
      }
      if (mode == 2 && random() % 2 == 0) continue;  // Lost whole.
      for (uint64_t at = 0; at < write->bytes.size(); at += sector) {
        if (mode == 3 && random() % 2 == 0) continue;  // Torn.
        Put(node_of(number).bytes, write->offset + at,
            absl::string_view(write->bytes).substr(at, sector));
      }
    }
  }
  const size_t kept_names =
      durable_names + random() % (name_events.size() - durable_names + 1);
  for (size_t i = 0; i < kept_names; ++i) {
    const Event& event = *name_events[i];
    if (event.is_removal) {
      image->names_.erase(event.bytes);
    } else {
      node_of(event.node).path = event.bytes;
      image->names_[event.bytes] = nodes.at(event.node);
    }
  }
  image->node_count_ = node_count_;
  image->directories_ = directories_;
  return image;
}

}  // namespace banyan::testing
