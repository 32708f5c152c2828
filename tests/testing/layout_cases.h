// Moves between pages and blocks for tests, and the oracle: a copy byte by byte
// whose offsets come from the orders as the headers write them in brackets. It
// shares no code with kernels/layout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/kv_layout.h"
#include "kernels/layout/plan_move.h"

namespace banyan::testing {

struct LayoutCase {
  std::string name;
  KvLayout::Shape block;
  layout::PagedLayout::Shape paged;
  uint32_t blocks = 1;
  layout::Slice slice;
  uint32_t first_slot = 0;
  size_t pools = 0;  // How many the engine has.
};

// All orders against each other, latent tensors, slices for unequal ranks, pages
// of more and of fewer tokens than blocks, odd sizes.
std::vector<LayoutCase> LayoutCases();

// Random bytes for both sides, and a page for all tokens, in random order.
struct MoveMemory {
  std::vector<std::vector<std::byte>> pools;
  std::vector<std::byte> blocks;
  std::vector<uint32_t> pages;
};
MoveMemory MakeMoveMemory(const LayoutCase& c);

// The request that belongs to them; reads memory.pages.
layout::MoveRequest RequestOf(const LayoutCase& c, const MoveMemory& memory);

// The oracle.
void MoveByteByByte(layout::Direction direction, const LayoutCase& c,
                    MoveMemory* memory);

}  // namespace banyan::testing
