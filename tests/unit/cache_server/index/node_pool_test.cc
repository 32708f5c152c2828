// Goal:   nodes keep their place and their content over slabs of memory, and the
//         tables behind the index come aligned for huge pages when they are large.
// Method: fill several slabs with nodes that name themselves, free some, and
//         look at all of them.
#include "cache_server/index/node_pool.h"

#include <cstdint>
#include <vector>

#include "cache_server/index/huge_memory.h"
#include "gtest/gtest.h"

namespace banyan::index {
namespace {

constexpr NodeNo kNodes = 3 * kHugePageBytes / sizeof(Node) + 5;

BlockId IdOf(NodeNo no) { return {.low = no, .high = ~uint64_t{no}}; }

TEST(NodePoolTest, NodesOfSeveralSlabsStayWhereTheyAre) {
  NodePool pool;
  std::vector<const Node*> places;
  for (NodeNo no = 0; no < kNodes; ++no) {
    ASSERT_EQ(pool.Allocate(), no);
    pool[no].id = IdOf(no);
    places.push_back(&pool[no]);
  }

  EXPECT_EQ(pool.end(), kNodes);
  for (NodeNo no = 0; no < kNodes; ++no) {
    ASSERT_EQ(&pool[no], places[no]);
    ASSERT_EQ(pool[no].id, IdOf(no));
    ASSERT_EQ(pool[no].parent, kNoNode);
  }
}

TEST(NodePoolTest, FreedNodeComesBackEmpty) {
  NodePool pool;
  for (NodeNo no = 0; no < 3; ++no) pool[pool.Allocate()].id = IdOf(no);

  pool.Free(1);

  EXPECT_EQ(pool.Allocate(), 1);
  EXPECT_EQ(pool[1].id, BlockId());
  EXPECT_EQ(pool[2].id, IdOf(2));
  EXPECT_EQ(pool.Allocate(), 3);
}

TEST(NodePoolTest, SmallPoolSaysThatItHoldsLittle) {
  NodePool pool;
  EXPECT_EQ(pool.memory_bytes(), 0);
  for (int i = 0; i < 100; ++i) pool.Allocate();
  EXPECT_EQ(pool.memory_bytes(), 100 * sizeof(Node));
  while (pool.end() <= kHugePageBytes / sizeof(Node)) pool.Allocate();
  EXPECT_EQ(pool.memory_bytes(), 2 * kHugePageBytes);
}

TEST(HugeAllocatorTest, LargeMemoryIsAlignedToHugePages) {
  for (const size_t bytes : {size_t{1}, kHugePageBytes - 1, kHugePageBytes,
                             5 * kHugePageBytes / 2}) {
    std::vector<char, HugeAllocator<char>> memory(bytes, 'x');
    if (bytes >= kHugePageBytes) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.data()) % kHugePageBytes, 0);
    }
    EXPECT_EQ(memory.back(), 'x');
  }
}

}  // namespace
}  // namespace banyan::index
