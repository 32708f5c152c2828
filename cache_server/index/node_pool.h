// Nodes of the prefix forest, one cache line each, in slabs of a huge page that never move.
//
// Threads: none of its own; a shard's lock guards it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

#include "base/block_id.h"
#include "cache_server/index/huge_memory.h"
#include "cache_server/index/id_table.h"

namespace banyan::index {

struct alignas(64) Node {
  BlockId id;
  NodeNo parent = kNoNode;  // In the same group; kNoNode: none, or an orphan.
  NodeNo first_child = kNoNode;
  NodeNo next_sibling = kNoNode;
  NodeNo prev_sibling = kNoNode;
  uint32_t ns = 0;
  uint32_t depth = 0;
  uint32_t last_touch = 0;
  uint16_t touches = 0;
  bool is_used = false;
};
static_assert(sizeof(Node) == 64);

class NodePool {
 public:
  Node& operator[](NodeNo no) { return slabs_[no / kSlab].get()[no % kSlab]; }
  const Node& operator[](NodeNo no) const {
    return slabs_[no / kSlab].get()[no % kSlab];
  }

  NodeNo Allocate() {
    if (!free_.empty()) {
      const NodeNo no = free_.back();
      free_.pop_back();
      return no;
    }
    if (end_ == slabs_.size() * kSlab) AddSlab();
    new (&(*this)[end_]) Node();
    return end_++;
  }

  void Free(NodeNo no) {
    (*this)[no] = Node();
    free_.push_back(no);
  }

  // One more than the largest number ever given.
  NodeNo end() const { return end_; }

  size_t memory_bytes() const {
    const size_t nodes = slabs_.size() > 1 ? slabs_.size() * kSlab : end_;
    return nodes * sizeof(Node) + free_.capacity() * sizeof(NodeNo);
  }

 private:
  static constexpr size_t kSlab = kHugePageBytes / sizeof(Node);
  static constexpr std::align_val_t kAlignment{kHugePageBytes};

  struct Release {
    void operator()(Node* slab) const { ::operator delete(slab, kAlignment); }
  };

  // The first slab is in small pages, each taken when it is first written: most
  // pools of a small node stay far below a huge page.
  void AddSlab() {
    void* slab = ::operator new(kHugePageBytes, kAlignment);
    if (!slabs_.empty()) AskForHugePages(slab, kHugePageBytes);
    slabs_.emplace_back(static_cast<Node*>(slab));
  }

  // Nodes from end_ on are not constructed.
  std::vector<std::unique_ptr<Node, Release>> slabs_;
  std::vector<NodeNo> free_;
  NodeNo end_ = 0;
};
static_assert(std::is_trivially_destructible_v<Node>);

}  // namespace banyan::index
