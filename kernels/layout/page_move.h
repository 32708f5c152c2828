// A PageMove is one copy between blocks and the pages of an engine, as the sizes
// and strides that the copying needs and nothing else. Host and kernel get the
// same one; kernels/layout/plan_move.h makes it.
//
// The tokens of `blocks` consecutive blocks are consecutive tokens of one
// sequence. Token t of them lies in the page
// pages[(first_slot + t) / page_tokens], in the slot of the remainder.
#pragma once

#include <cstdint>

namespace banyan::layout {

// From pages to blocks, or from blocks to pages.
enum class Direction : uint8_t { kGather, kScatter };

struct PageMove {
  // The box that is moved, in each block.
  uint32_t blocks;
  uint32_t layers;
  uint32_t planes;
  uint32_t tokens;
  uint32_t heads;
  uint32_t head_bytes;

  uint32_t page_tokens;
  uint32_t first_slot;
  uint32_t first_pool;  // The pool of the slice's first layer.
  // In a block, tokens are closer to each other than heads are (hnd).
  bool is_head_major;

  uint64_t block_begin;  // Where the slice begins in a block.
  uint64_t block_stride;
  uint64_t block_layer_stride;
  uint64_t block_plane_stride;
  uint64_t block_token_stride;
  uint64_t block_head_stride;

  uint64_t pool_begin;  // Where the slice begins in a page.
  uint64_t page_stride;
  uint64_t pool_plane_stride;
  uint64_t pool_token_stride;
  uint64_t pool_head_stride;
};

}  // namespace banyan::layout
