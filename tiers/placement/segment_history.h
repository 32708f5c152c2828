// What is known of a segment beside its blocks, and the features that the
// hazard model sees of it. Also kept of segments that are gone.
#pragma once

#include <array>
#include <cstdint>

#include "tiers/placement/eviction_policy.h"
#include "tiers/placement/hazard_model.h"

namespace banyan::tiers {

// Where in its prompt a segment lay when it was last asked for.
enum class SegmentKind : uint8_t {
  kRoot,    // From the first block on.
  kMiddle,  // Others followed.
  kEnd,     // The end of the prompt, but for the tip.
  kTip,     // The last block alone: half full as a rule, and then never asked
            // for again when the text goes on.
  kLeft,    // A request followed the chain up to it, and then went elsewhere.
};

// The request that touches segments.
struct PromptShape {
  uint32_t blocks = 0;   // From the root to the end.
  uint32_t matched = 0;  // Of them, found.
  // Of them, found or remembered: asked for before. A memory of a segment is one
  // of its first block.
  uint32_t known = 0;
  uint32_t left = 0;     // Blocks behind the match that were not asked for.
  bool is_told = false;  // `blocks` is what the request said, not a guess.

  // It was asked before word for word. Of a prompt of one block touches tell.
  bool is_repeat() const { return is_told && blocks > 1 && known == blocks; }
};

struct SegmentHistory {
  double born = 0;      // Seconds, on the policy's clock.
  double touched = 0;   // When it was last asked for, or came.
  uint32_t depth = 0;   // Position of its end in the chain.
  uint32_t length = 0;  // In blocks, with those that fell off its end.
  uint16_t touches = 1;
  uint16_t turn = 0;   // Requests that made the chain, up to this segment.
  uint16_t forks = 0;  // Continuations seen behind its end.
  // Prompts through it, or through what it hangs on, that were asked before word
  // for word.
  uint16_t repeats = 0;
  // Length of the answer to the last request, of the one before: half octaves
  // of tokens + 1; 0: not told.
  uint8_t answer = 0;
  uint8_t previous_answer = 0;
  // The last gap between two touches: half octaves of seconds; 0: none.
  uint8_t gap_bin = 0;
  float gap_bin_mean = 0;  // A running mean of those; 0: none.
  SegmentKind kind = SegmentKind::kRoot;

  // It was asked for again at `now`.
  void NoteReturn(double now);
  void NoteRepeat();
  // A segment that grew behind this one is heir to the conversation's pace.
  void InheritFrom(const SegmentHistory& above);
};

// Number of different features; all of them are below it.
size_t SegmentFeatureCount();

// Row of the feature "nothing told" or of what was told by an owner, on a
// segment that several conversations share or not.
uint16_t HintFeature(uint32_t owner_slot, Reuse reuse, bool is_shared);
inline constexpr uint32_t kOwnerSlots = 64;

// What a model starts with before it has learned: hints are right as a rule,
// and what came back once does so again.
void SetPriors(HazardModel& model);

// The features of a segment whose kind has changed since it was described.
void DescribeKind(const SegmentHistory& history, SegmentFeatures& features);

// The answer to the last request is complete.
void NoteAnswer(uint32_t tokens, SegmentHistory& history,
                SegmentFeatures& features);

// `below`: segments of the same prompt behind this one.
SegmentFeatures Describe(const SegmentHistory& history,
                         const PromptShape& prompt, uint32_t below, double now);

}  // namespace banyan::tiers
