#include "cache_server/index/prefix_index.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "base/check.h"
#include "base/mutex.h"
#include "cache_server/index/node_pool.h"

namespace banyan::index {
namespace {

constexpr uint32_t kTouchesMax = UINT16_MAX;
// Fewer are not worth a thread.
constexpr size_t kRestoredPerThreadMin = 10'000;

bool IsPowerOfTwo(uint32_t value) {
  return value != 0 && (value & (value - 1)) == 0;
}

void TouchNode(Node& node, uint32_t now) {
  node.last_touch = now;
  if (node.touches < kTouchesMax) ++node.touches;
}

// The part of a run that lies in one group.
struct GroupPart {
  size_t begin = 0;  // In run.ids.
  size_t end = 0;
  BlockId head;  // First block of the group.
};

// Calls visit(part) for each group of the run in order; visit returns false to
// stop.
template <typename Visit>
void ForEachGroup(const IdRun& run, uint32_t group_blocks, const Visit& visit) {
  size_t begin = 0;
  while (begin < run.ids.size()) {
    const uint32_t at = (run.first_block + begin) % group_blocks;
    BANYAN_DCHECK(at == 0 || begin == 0);
    const bool starts_inside = begin == 0 && at != 0 && !run.lead.empty();
    const GroupPart part = {
        .begin = begin,
        .end = std::min(run.ids.size(), begin + group_blocks - at),
        .head = starts_inside ? run.lead[0] : run.ids[begin]};
    if (!visit(part)) return;
    begin = part.end;
  }
}

}  // namespace

struct alignas(64) PrefixIndex::Shard {
  mutable Mutex mutex;
  IdTable table ABSL_GUARDED_BY(mutex);
  NodePool nodes ABSL_GUARDED_BY(mutex);
  uint64_t blocks ABSL_GUARDED_BY(mutex) = 0;
  absl::flat_hash_map<NamespaceNo, uint64_t> blocks_by_ns
      ABSL_GUARDED_BY(mutex);

  NodeNo Find(const BlockId& id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return table.Find(id, [&](NodeNo no) ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return nodes[no].id == id;
    });
  }

  bool IsUsed(NodeNo no) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return no < nodes.end() && nodes[no].is_used;
  }

  // Prefetches what a lookup of these ids will read: first all table slots,
  // then all nodes, so that the misses overlap.
  void Prefetch(absl::Span<const BlockId> ids) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    for (const BlockId& id : ids) table.Prefetch(id);
    for (const BlockId& id : ids) {
      const NodeNo no = table.Candidate(id);
      if (no == kNoNode) return;  // A prefix ends here at the latest.
      __builtin_prefetch(&nodes[no], 1);
    }
  }

  void Link(NodeNo no, NodeNo parent) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    Node& node = nodes[no];
    Node& above = nodes[parent];
    node.parent = parent;
    node.prev_sibling = kNoNode;
    node.next_sibling = above.first_child;
    if (above.first_child != kNoNode) {
      nodes[above.first_child].prev_sibling = no;
    }
    above.first_child = no;
  }

  // True if the node is an orphan that belongs below `above`, at `depth`. Links
  // only ever go one level down: a chain that names one id twice, or two ids
  // that collide, cannot make a cycle.
  bool IsOrphanOf(NodeNo no, NodeNo above, uint32_t depth) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return nodes[no].parent == kNoNode && nodes[no].depth == depth &&
           nodes[above].depth + 1 == depth;
  }

  void Unlink(NodeNo no) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    Node& node = nodes[no];
    if (node.parent == kNoNode) return;
    if (node.prev_sibling != kNoNode) {
      nodes[node.prev_sibling].next_sibling = node.next_sibling;
    } else {
      nodes[node.parent].first_child = node.next_sibling;
    }
    if (node.next_sibling != kNoNode) {
      nodes[node.next_sibling].prev_sibling = node.prev_sibling;
    }
    node.parent = kNoNode;
  }

  NodeNo Add(const BlockId& id, NamespaceNo ns, uint32_t depth)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const NodeNo no = nodes.Allocate();
    Node& node = nodes[no];
    node.id = id;
    node.ns = ns;
    node.depth = depth;
    node.is_used = true;
    table.Insert(id, no);
    ++blocks;
    ++blocks_by_ns[ns];
    return no;
  }

  // Requires: the node is used and has no children.
  BlockId RemoveLeaf(NodeNo no) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const BlockId id = nodes[no].id;
    Unlink(no);
    table.Erase(id, no);
    --blocks;
    const auto count = blocks_by_ns.find(nodes[no].ns);
    if (--count->second == 0) blocks_by_ns.erase(count);
    nodes.Free(no);
    return id;
  }

  // Appends the node and all below it, parents before children.
  void CollectSubtree(NodeNo top, std::vector<NodeNo>& out) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    out.push_back(top);
    for (size_t i = out.size() - 1; i < out.size(); ++i) {
      for (NodeNo child = nodes[out[i]].first_child; child != kNoNode;
           child = nodes[child].next_sibling) {
        out.push_back(child);
      }
    }
  }
};

PrefixIndex::PrefixIndex(const Options& options) : options_(options) {
  BANYAN_CHECK(IsPowerOfTwo(options.shards));
  BANYAN_CHECK(options.group_blocks >= 1 && options.group_blocks <= 4096);
  for (uint32_t i = 0; i < options.shards; ++i) {
    shards_.push_back(std::make_unique<Shard>());
  }
}

PrefixIndex::~PrefixIndex() = default;

uint32_t PrefixIndex::group_blocks() const { return options_.group_blocks; }

uint32_t PrefixIndex::ShardNo(const BlockId& head) const {
  return static_cast<uint32_t>(head.low >> 32 ^ head.low) &
         (options_.shards - 1);
}

BlockRef PrefixIndex::RefOf(uint32_t shard, uint32_t node) const {
  return node * options_.shards + shard;
}

PrefixIndex::Shard& PrefixIndex::ShardOfRef(BlockRef ref) const {
  return *shards_[ref & (options_.shards - 1)];
}

uint32_t PrefixIndex::NodeOfRef(BlockRef ref) const {
  return ref / options_.shards;
}

uint32_t PrefixIndex::LongestPrefix(const IdRun& run, uint32_t now,
                                    std::vector<BlockRef>* refs) {
  uint32_t hits = 0;
  ForEachGroup(run, options_.group_blocks, [&](const GroupPart& part) {
    const uint32_t shard_no = ShardNo(part.head);
    Shard& shard = *shards_[shard_no];
    MutexLock lock(shard.mutex);
    shard.Prefetch(run.ids.subspan(part.begin, part.end - part.begin));
    NodeNo above = kNoNode;
    for (size_t i = part.begin; i < part.end; ++i) {
      const NodeNo no = shard.Find(run.ids[i]);
      if (no == kNoNode) return false;
      Node& node = shard.nodes[no];
      if (i > part.begin && node.parent != above) {
        // An orphan, whose parent came later: now we know it. Anything else
        // means that the caller's chain is not the one that was published.
        const auto depth = run.first_block + static_cast<uint32_t>(i);
        if (!shard.IsOrphanOf(no, above, depth)) return false;
        shard.Link(no, above);
      }
      TouchNode(node, now);
      if (refs != nullptr) refs->push_back(RefOf(shard_no, no));
      above = no;
      ++hits;
    }
    return true;
  });
  return hits;
}

void PrefixIndex::Find(const IdRun& run, std::vector<BlockRef>* refs) const {
  ForEachGroup(run, options_.group_blocks, [&](const GroupPart& part) {
    const uint32_t shard_no = ShardNo(part.head);
    const Shard& shard = *shards_[shard_no];
    MutexLock lock(shard.mutex);
    for (size_t i = part.begin; i < part.end; ++i) {
      const NodeNo no = shard.Find(run.ids[i]);
      refs->push_back(no == kNoNode ? kNoBlock : RefOf(shard_no, no));
    }
    return true;
  });
}

BlockRef PrefixIndex::FindAnywhere(const BlockId& id) const {
  for (uint32_t i = 0; i < options_.shards; ++i) {
    const Shard& shard = *shards_[i];
    MutexLock lock(shard.mutex);
    const NodeNo no = shard.Find(id);
    if (no != kNoNode) return RefOf(i, no);
  }
  return kNoBlock;
}

uint32_t PrefixIndex::Publish(const IdRun& run, NamespaceNo ns, uint32_t now,
                              std::vector<BlockRef>* refs) {
  uint32_t added = 0;
  ForEachGroup(run, options_.group_blocks, [&](const GroupPart& part) {
    const uint32_t shard_no = ShardNo(part.head);
    Shard& shard = *shards_[shard_no];
    const bool starts_inside =
        (run.first_block + part.begin) % options_.group_blocks != 0;
    MutexLock lock(shard.mutex);
    NodeNo above = kNoNode;
    if (starts_inside && !run.lead.empty()) {
      above = shard.Find(run.lead.back());
    }
    for (size_t i = part.begin; i < part.end; ++i) {
      const auto depth = run.first_block + static_cast<uint32_t>(i);
      NodeNo no = shard.Find(run.ids[i]);
      if (no == kNoNode) {
        no = shard.Add(run.ids[i], ns, depth);
        ++added;
      }
      if (above != kNoNode && shard.IsOrphanOf(no, above, depth)) {
        shard.Link(no, above);
      }
      TouchNode(shard.nodes[no], now);
      if (refs != nullptr) refs->push_back(RefOf(shard_no, no));
      above = no;
    }
    return true;
  });
  return added;
}

std::optional<BlockId> PrefixIndex::UnpublishLeaf(BlockRef ref) {
  Shard& shard = ShardOfRef(ref);
  const NodeNo no = NodeOfRef(ref);
  MutexLock lock(shard.mutex);
  if (!shard.IsUsed(no) || shard.nodes[no].first_child != kNoNode) {
    return std::nullopt;
  }
  return shard.RemoveLeaf(no);
}

std::vector<BlockId> PrefixIndex::UnpublishSubtree(
    BlockRef ref,
    const std::function<void(absl::Span<const BlockRef>)>& before_removal) {
  Shard& shard = ShardOfRef(ref);
  const NodeNo top = NodeOfRef(ref);
  const uint32_t shard_no = ref & (options_.shards - 1);
  std::vector<BlockId> removed;
  std::optional<BlockId> top_id;  // The number may be reused between rounds.
  while (true) {
    std::vector<NodeNo> nodes;
    {
      MutexLock lock(shard.mutex);
      if (!shard.IsUsed(top)) return removed;
      if (!top_id.has_value()) top_id = shard.nodes[top].id;
      if (!(shard.nodes[top].id == *top_id)) return removed;
      shard.CollectSubtree(top, nodes);
    }
    std::vector<BlockRef> refs;
    for (const NodeNo no : nodes) refs.push_back(RefOf(shard_no, no));
    before_removal(refs);

    MutexLock lock(shard.mutex);
    if (!shard.IsUsed(top) || !(shard.nodes[top].id == *top_id)) {
      return removed;
    }
    // Remove what was announced and is still below; leaves come last in the
    // fresh walk, so it is taken backwards.
    std::vector<NodeNo> below;
    shard.CollectSubtree(top, below);
    std::sort(nodes.begin(), nodes.end());
    for (auto no = below.rbegin(); no != below.rend(); ++no) {
      const bool is_announced =
          std::binary_search(nodes.begin(), nodes.end(), *no);
      if (is_announced && shard.nodes[*no].first_child == kNoNode) {
        removed.push_back(shard.RemoveLeaf(*no));
      }
    }
  }
}

bool PrefixIndex::IsLeaf(BlockRef ref) const {
  const Shard& shard = ShardOfRef(ref);
  const NodeNo no = NodeOfRef(ref);
  MutexLock lock(shard.mutex);
  return shard.IsUsed(no) && shard.nodes[no].first_child == kNoNode;
}

std::optional<BlockHeat> PrefixIndex::Heat(BlockRef ref) const {
  const Shard& shard = ShardOfRef(ref);
  const NodeNo no = NodeOfRef(ref);
  MutexLock lock(shard.mutex);
  if (!shard.IsUsed(no)) return std::nullopt;
  const Node& node = shard.nodes[no];
  return BlockHeat{.depth = node.depth,
                   .touches = node.touches,
                   .last_touch = node.last_touch};
}

std::optional<BlockId> PrefixIndex::IdOf(BlockRef ref) const {
  const Shard& shard = ShardOfRef(ref);
  const NodeNo no = NodeOfRef(ref);
  MutexLock lock(shard.mutex);
  if (!shard.IsUsed(no)) return std::nullopt;
  return shard.nodes[no].id;
}

std::optional<BlockPlace> PrefixIndex::PlaceOf(BlockRef ref) const {
  const Shard& shard = ShardOfRef(ref);
  NodeNo no = NodeOfRef(ref);
  MutexLock lock(shard.mutex);
  if (!shard.IsUsed(no)) return std::nullopt;
  BlockPlace place{.depth = shard.nodes[no].depth};
  const NodeNo parent = shard.nodes[no].parent;
  if (parent != kNoNode) place.parent = shard.nodes[parent].id;
  while (shard.nodes[no].parent != kNoNode) no = shard.nodes[no].parent;
  if (shard.nodes[no].depth % options_.group_blocks != 0) return std::nullopt;
  place.head = shard.nodes[no].id;
  return place;
}

BlockRef PrefixIndex::FindAt(const BlockId& id, const BlockPlace& place) const {
  const uint32_t shard_no = ShardNo(place.head);
  const Shard& shard = *shards_[shard_no];
  MutexLock lock(shard.mutex);
  const NodeNo no = shard.Find(id);
  return no == kNoNode ? kNoBlock : RefOf(shard_no, no);
}

void PrefixIndex::Restore(absl::Span<const RestoredBlock> blocks) {
  std::vector<std::vector<const RestoredBlock*>> by_shard(options_.shards);
  for (const RestoredBlock& block : blocks) {
    by_shard[ShardNo(block.place.head)].push_back(&block);
  }
  std::atomic<uint32_t> next{0};
  const auto restore = [&] {
    for (uint32_t i = next++; i < options_.shards; i = next++) {
      // Parents first, so that children find them.
      std::sort(by_shard[i].begin(), by_shard[i].end(),
                [](const RestoredBlock* a, const RestoredBlock* b) {
                  return a->place.depth < b->place.depth;
                });
      RestoreIn(*shards_[i], by_shard[i]);
    }
  };
  const size_t thread_count =
      std::min<size_t>({std::thread::hardware_concurrency(), options_.shards,
                        blocks.size() / kRestoredPerThreadMin});
  std::vector<std::thread> threads;
  for (size_t i = 1; i < thread_count; ++i) threads.emplace_back(restore);
  restore();
  for (std::thread& thread : threads) thread.join();
}

void PrefixIndex::RestoreIn(Shard& shard,
                            absl::Span<const RestoredBlock* const> blocks) {
  MutexLock lock(shard.mutex);
  shard.table.Reserve(blocks.size());
  for (const RestoredBlock* const block : blocks) {
    const BlockPlace& place = block->place;
    NodeNo no = shard.Find(block->id);
    if (no == kNoNode) no = shard.Add(block->id, block->ns, place.depth);
    if (!place.parent.has_value()) continue;
    const NodeNo above = shard.Find(*place.parent);
    if (above != kNoNode && shard.IsOrphanOf(no, above, place.depth)) {
      shard.Link(no, above);
    }
  }
}

std::vector<BlockRef> PrefixIndex::ListNamespace(NamespaceNo ns, BlockRef from,
                                                 size_t limit) const {
  // Nodes are numbered within shards, refs interleave the shards: walk by node
  // number over all shards, so that refs rise.
  std::vector<BlockRef> refs;
  NodeNo end = 0;
  for (const auto& shard : shards_) {
    MutexLock lock(shard->mutex);
    end = std::max(end, shard->nodes.end());
  }
  for (uint64_t ref = from; ref < uint64_t{end} * options_.shards; ++ref) {
    if (refs.size() == limit) break;
    const Shard& shard = ShardOfRef(static_cast<BlockRef>(ref));
    const NodeNo no = NodeOfRef(static_cast<BlockRef>(ref));
    MutexLock lock(shard.mutex);
    if (shard.IsUsed(no) && shard.nodes[no].ns == ns) {
      refs.push_back(static_cast<BlockRef>(ref));
    }
  }
  return refs;
}

uint64_t PrefixIndex::blocks() const {
  uint64_t total = 0;
  for (const auto& shard : shards_) {
    MutexLock lock(shard->mutex);
    total += shard->blocks;
  }
  return total;
}

uint64_t PrefixIndex::blocks(NamespaceNo ns) const {
  uint64_t total = 0;
  for (const auto& shard : shards_) {
    MutexLock lock(shard->mutex);
    const auto count = shard->blocks_by_ns.find(ns);
    if (count != shard->blocks_by_ns.end()) total += count->second;
  }
  return total;
}

uint64_t PrefixIndex::memory_bytes() const {
  uint64_t total = sizeof(*this);
  for (const auto& shard : shards_) {
    MutexLock lock(shard->mutex);
    total += sizeof(Shard) + shard->table.memory_bytes() +
             shard->nodes.memory_bytes();
  }
  return total;
}

}  // namespace banyan::index
