#include "tiers/placement/block_lists.h"

namespace banyan::tiers {

BlockLists::BlockLists(uint32_t lists)
    : ends_(lists), links_(lists), sizes_(lists) {
  for (uint32_t i = 0; i < lists; ++i) links_[i] = {.younger = i, .older = i};
}

void BlockLists::PushYoung(ListNo list, BlockRef block) {
  const uint32_t at = block + ends_;
  if (at >= links_.size()) links_.resize(size_t{at} + 1);
  Unlink(block);
  const uint32_t youngest = links_[list].older;
  links_[at] = {.younger = list, .older = youngest, .list = list};
  links_[youngest].younger = at;
  links_[list].older = at;
  ++sizes_[list];
}

void BlockLists::Unlink(BlockRef block) {
  const ListNo list = ListOf(block);
  if (list == kNowhere) return;
  Links& links = links_[block + ends_];
  links_[links.younger].older = links.older;
  links_[links.older].younger = links.younger;
  links = Links();
  --sizes_[list];
}

}  // namespace banyan::tiers
