// The prefix index against a model that is too simple to be wrong: the set of
// blocks that exist, in a std::map, and a tree that says who is whose parent.
//
// Method: seeded random runs of a random forest are published, looked up and
// removed; after each step the answers must be the model's, and every now and
// then the whole index is compared. Runs start anywhere in a chain, so orphans
// and gaps come up all the time. What the contract leaves open (when an orphan
// is linked before a lookup has met it) the model leaves open too.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <tuple>
#include <vector>

#include "cache_server/index/prefix_index.h"

namespace banyan::index {
namespace {

constexpr int kNone = -1;

// A block that might be published.
struct Place {
  BlockId id;
  int parent = kNone;
  std::vector<int> children;
  uint32_t depth = 0;
  NamespaceNo ns = 0;
};

// What the model knows of a block that exists.
struct Present {
  BlockRef ref = kNoBlock;
  uint32_t lookups = 0;
  uint32_t publishes = 0;
  uint32_t last_touch = 0;
  bool is_linked = false;  // Surely: to its parent in the group.
};

// Consecutive places of one chain, and their ids with lead.
struct Cut {
  std::vector<int> places;
  std::vector<BlockId> ids;
  std::vector<BlockId> lead;
  uint32_t first_block = 0;

  IdRun run() const {
    return {.ids = ids, .first_block = first_block, .lead = lead};
  }
};

class Simulation {
 public:
  Simulation(uint64_t seed, uint32_t group_blocks)
      : rng_(seed),
        group_blocks_(group_blocks),
        index_({.shards = 1u << (seed % 4), .group_blocks = group_blocks}) {
    for (int i = 0; i < 250; ++i) AddPlace(i);
  }

  void Run(int steps) {
    for (int step = 0; step < steps; ++step) {
      SCOPED_TRACE(::testing::Message() << "step " << step);
      Step();
      if (step % 64 == 0) CompareAll();
      if (::testing::Test::HasFailure()) return;
    }
    CompareAll();
    RemoveAll();
  }

 private:
  size_t Dice(size_t n) { return static_cast<size_t>(rng_() % n); }

  void AddPlace(int number) {
    Place place;
    place.id = {.low = rng_(), .high = rng_()};
    place.ns = static_cast<NamespaceNo>(1 + Dice(3));
    if (number > 0 && Dice(20) != 0) {
      // Mostly below the newest, so that chains get long; else a branch.
      place.parent = Dice(4) != 0 ? number - 1 : static_cast<int>(Dice(number));
      Place& parent = places_[place.parent];
      place.depth = parent.depth + 1;
      place.ns = parent.ns;
      parent.children.push_back(number);
    }
    places_.push_back(place);
  }

  Cut RandomCut() {
    std::vector<int> path;
    for (int at = static_cast<int>(Dice(places_.size())); at != kNone;
         at = places_[at].parent) {
      path.insert(path.begin(), at);
    }
    const size_t begin = Dice(2) == 0 ? 0 : Dice(path.size());
    const size_t end = begin + 1 + Dice(path.size() - begin);
    const size_t lead = begin == 0 ? 0 : (begin - 1) % group_blocks_ + 1;
    Cut cut{.first_block = static_cast<uint32_t>(begin)};
    for (size_t i = begin - lead; i < end; ++i) {
      const BlockId& id = places_[path[i]].id;
      (i < begin ? cut.lead : cut.ids).push_back(id);
      if (i >= begin) cut.places.push_back(path[i]);
    }
    return cut;
  }

  void Step() {
    now_ += static_cast<uint32_t>(Dice(2));
    const size_t dice = Dice(100);
    if (dice < 30) {
      Publish(RandomCut());
    } else if (dice < 55) {
      Match(RandomCut());
    } else if (dice < 65) {
      Find(RandomCut());
    } else if (dice < 95) {
      RemoveLeaf(static_cast<int>(Dice(places_.size())));
    } else {
      RemoveSubtree(static_cast<int>(Dice(places_.size())));
    }
  }

  void Publish(const Cut& cut) {
    std::vector<BlockRef> refs;
    const uint32_t added =
        index_.Publish(cut.run(), places_[cut.places[0]].ns, now_, &refs);
    ASSERT_EQ(refs.size(), cut.places.size());
    uint32_t expected = 0;
    for (size_t i = 0; i < refs.size(); ++i) {
      const auto [it, is_new] = present_.try_emplace(cut.places[i]);
      if (is_new) {
        ++expected;
        it->second.ref = refs[i];
      }
      EXPECT_EQ(it->second.ref, refs[i]) << "an existing block keeps its ref";
      it->second.last_touch = now_;
      ++it->second.publishes;
      if (is_new) it->second.is_linked = HasParentInGroup(cut.places[i]);
    }
    EXPECT_EQ(added, expected);
  }

  void Match(const Cut& cut) {
    std::vector<BlockRef> refs;
    std::vector<BlockRef> expected;
    for (const int place : cut.places) {
      const auto found = present_.find(place);
      if (found == present_.end()) break;
      if (place != cut.places[0] && HasParentInGroup(place)) {
        found->second.is_linked = true;
      }
      expected.push_back(found->second.ref);
      found->second.last_touch = now_;
      ++found->second.lookups;
    }
    EXPECT_EQ(index_.LongestPrefix(cut.run(), now_, &refs), expected.size());
    EXPECT_EQ(refs, expected);
  }

  void Find(const Cut& cut) {
    std::vector<BlockRef> refs;
    index_.Find(cut.run(), &refs);
    std::vector<BlockRef> expected;
    for (const int place : cut.places) expected.push_back(RefOf(place));
    EXPECT_EQ(refs, expected);
  }

  BlockRef RefOf(int place) const {
    const auto found = present_.find(place);
    return found == present_.end() ? kNoBlock : found->second.ref;
  }

  bool HasParentInGroup(int place) const {
    return places_[place].depth % group_blocks_ != 0 &&
           present_.contains(places_[place].parent);
  }

  // With orphans that may or may not be linked, or without.
  enum class Children { kSure, kPossible };
  std::vector<int> ChildrenInGroup(int place, Children which) const {
    std::vector<int> children;
    for (const int child : places_[place].children) {
      const auto found = present_.find(child);
      if (found == present_.end() || !HasParentInGroup(child)) continue;
      if (which == Children::kSure && !found->second.is_linked) continue;
      children.push_back(child);
    }
    return children;
  }

  void ExpectLeaf(int place, bool is_leaf) const {
    if (!ChildrenInGroup(place, Children::kSure).empty()) {
      EXPECT_FALSE(is_leaf);
    } else if (ChildrenInGroup(place, Children::kPossible).empty()) {
      EXPECT_TRUE(is_leaf);
    }
  }

  void Forget(int place) {
    present_.erase(place);
    for (const int child : places_[place].children) {
      const auto found = present_.find(child);
      if (found != present_.end()) found->second.is_linked = false;
    }
  }

  void RemoveLeaf(int place) {
    const BlockRef ref = RefOf(place);
    if (ref == kNoBlock) return;
    const bool is_leaf = index_.IsLeaf(ref);
    ExpectLeaf(place, is_leaf);
    const std::optional<BlockId> removed = index_.UnpublishLeaf(ref);
    EXPECT_EQ(removed.has_value(), is_leaf);
    if (!removed.has_value()) return;
    EXPECT_EQ(*removed, places_[place].id);
    Forget(place);
  }

  std::set<int> Below(int place, Children which) const {
    std::vector<int> found = {place};
    for (size_t i = 0; i < found.size(); ++i) {
      for (const int c : ChildrenInGroup(found[i], which)) found.push_back(c);
    }
    return {found.begin(), found.end()};
  }

  int PlaceOf(const BlockId& id) const {
    for (size_t i = 0; i < places_.size(); ++i) {
      if (places_[i].id == id) return static_cast<int>(i);
    }
    return kNone;
  }

  void RemoveSubtree(int place) {
    const BlockRef ref = RefOf(place);
    if (ref == kNoBlock) return;
    std::set<BlockRef> announced;
    const std::vector<BlockId> removed =
        index_.UnpublishSubtree(ref, [&](absl::Span<const BlockRef> refs) {
          announced.insert(refs.begin(), refs.end());
        });
    ASSERT_FALSE(removed.empty());
    EXPECT_EQ(removed.back(), places_[place].id) << "children go first";
    std::set<int> gone;
    std::set<BlockRef> gone_refs;
    for (const BlockId& id : removed) {
      EXPECT_TRUE(gone.insert(PlaceOf(id)).second) << "once each";
      gone_refs.insert(RefOf(PlaceOf(id)));
    }
    EXPECT_EQ(announced, gone_refs);
    const std::set<int> sure = Below(place, Children::kSure);
    const std::set<int> possible = Below(place, Children::kPossible);
    EXPECT_TRUE(
        std::includes(gone.begin(), gone.end(), sure.begin(), sure.end()));
    EXPECT_TRUE(std::includes(possible.begin(), possible.end(), gone.begin(),
                              gone.end()));
    for (const int each : gone) Forget(each);
  }

  void CompareAll() {
    std::map<NamespaceNo, std::set<BlockRef>> refs;
    for (int place = 0; place < static_cast<int>(places_.size()); ++place) {
      const BlockRef ref = RefOf(place);
      EXPECT_EQ(index_.FindAnywhere(places_[place].id), ref);
      if (ref == kNoBlock) continue;
      ASSERT_TRUE(refs[places_[place].ns].insert(ref).second);
      CompareBlock(place, ref);
    }
    EXPECT_EQ(index_.blocks(), present_.size());
    for (NamespaceNo ns = 1; ns <= 3; ++ns) {
      EXPECT_EQ(index_.blocks(ns), refs[ns].size());
      const std::vector<BlockRef> expected(refs[ns].begin(), refs[ns].end());
      EXPECT_EQ(index_.ListNamespace(ns, 0, SIZE_MAX), expected);
      EXPECT_EQ(ListInPages(ns), expected);
    }
  }

  void CompareBlock(int place, BlockRef ref) {
    EXPECT_EQ(index_.IdOf(ref), places_[place].id);
    ExpectLeaf(place, index_.IsLeaf(ref));
    const std::optional<BlockHeat> heat = index_.Heat(ref);
    ASSERT_TRUE(heat.has_value());
    EXPECT_EQ(heat->depth, places_[place].depth);
    const Present& known = present_[place];
    EXPECT_EQ(heat->last_touch, known.last_touch);
    EXPECT_GE(heat->touches, known.lookups);
    EXPECT_LE(heat->touches, known.lookups + known.publishes);
  }

  std::vector<BlockRef> ListInPages(NamespaceNo ns) {
    std::vector<BlockRef> all;
    BlockRef from = 0;
    const size_t page_blocks = 1 + Dice(40);
    while (true) {
      const auto page = index_.ListNamespace(ns, from, page_blocks);
      if (page.empty()) return all;
      all.insert(all.end(), page.begin(), page.end());
      from = page.back() + 1;
    }
  }

  // Removes leaves until nothing is left; there is always one.
  void RemoveAll() {
    while (!present_.empty()) {
      const size_t before = present_.size();
      for (int place = static_cast<int>(places_.size()); place-- > 0;) {
        RemoveLeaf(place);
      }
      ASSERT_LT(present_.size(), before);
    }
    EXPECT_EQ(index_.blocks(), 0u);
  }

  std::mt19937_64 rng_;
  const uint32_t group_blocks_;
  PrefixIndex index_;
  std::vector<Place> places_;
  std::map<int, Present> present_;
  uint32_t now_ = 100;
};

class PrefixIndexModelTest
    : public ::testing::TestWithParam<std::tuple<uint32_t, uint64_t>> {};

TEST_P(PrefixIndexModelTest, IndexAnswersLikeTheModel) {
  const auto [group_blocks, seed] = GetParam();
  SCOPED_TRACE(::testing::Message()
               << "seed " << seed << ", group_blocks " << group_blocks);
  Simulation(seed, group_blocks).Run(4000);
}

INSTANTIATE_TEST_SUITE_P(GroupsAndSeeds, PrefixIndexModelTest,
                         ::testing::Combine(::testing::Values(1, 2, 3, 32),
                                            ::testing::Range(uint64_t{1},
                                                             uint64_t{7})));

}  // namespace
}  // namespace banyan::index
