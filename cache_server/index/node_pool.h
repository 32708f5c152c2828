// Nodes of the prefix forest, one cache line each, in chunks that never move.
//
// Threads: none of its own; a shard's lock guards it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/block_id.h"
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
  Node& operator[](NodeNo no) { return chunks_[no / kChunk][no % kChunk]; }
  const Node& operator[](NodeNo no) const {
    return chunks_[no / kChunk][no % kChunk];
  }

  NodeNo Allocate() {
    if (!free_.empty()) {
      const NodeNo no = free_.back();
      free_.pop_back();
      return no;
    }
    if (end_ == chunks_.size() * kChunk) {
      chunks_.push_back(std::make_unique<Node[]>(kChunk));
    }
    return end_++;
  }

  void Free(NodeNo no) {
    (*this)[no] = Node();
    free_.push_back(no);
  }

  // One more than the largest number ever given.
  NodeNo end() const { return end_; }

  size_t memory_bytes() const {
    return chunks_.size() * kChunk * sizeof(Node) +
           free_.capacity() * sizeof(NodeNo);
  }

 private:
  static constexpr size_t kChunk = 1024;

  std::vector<std::unique_ptr<Node[]>> chunks_;
  std::vector<NodeNo> free_;
  NodeNo end_ = 0;
};

}  // namespace banyan::index
