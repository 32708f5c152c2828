// Where each part of a PageMove lies: the index arithmetic that the kernel and
// the host share. It launches nothing and copies nothing.
//
// Offsets are 64-bit; tokens are counted in 32, which PlanMove sees to.
#pragma once

#include <cstdint>

#include "kernels/host_device.h"
#include "kernels/layout/page_move.h"

namespace banyan::layout {

// A token of the move: in which block, and where in the page table.
struct TokenPlace {
  uint32_t block;
  uint32_t token;  // In its block.
  uint32_t page;   // Index into the table of pages.
  uint32_t slot;
};

// `index` counts the tokens of all blocks.
BANYAN_HD inline TokenPlace PlaceOfToken(const PageMove& move, uint32_t index) {
  const uint32_t slot = move.first_slot + index;
  TokenPlace place;
  place.block = index / move.tokens;
  place.token = index % move.tokens;
  place.page = slot / move.page_tokens;
  place.slot = slot % move.page_tokens;
  return place;
}

// Where one head of a token begins, from the first block on. Layer and head
// count from the slice's first.
BANYAN_HD inline uint64_t BlockOffset(const PageMove& move, uint32_t layer,
                                      uint32_t plane, const TokenPlace& place,
                                      uint32_t head) {
  return move.block_begin + place.block * move.block_stride +
         layer * move.block_layer_stride + plane * move.block_plane_stride +
         place.token * move.block_token_stride + head * move.block_head_stride;
}

// The same in the layer's pool; `page` is what the table says.
BANYAN_HD inline uint64_t PoolOffset(const PageMove& move, uint32_t page,
                                     uint32_t plane, const TokenPlace& place,
                                     uint32_t head) {
  return move.pool_begin + page * move.page_stride +
         plane * move.pool_plane_stride + place.slot * move.pool_token_stride +
         head * move.pool_head_stride;
}

}  // namespace banyan::layout
