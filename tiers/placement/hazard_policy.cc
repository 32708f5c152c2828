#include "tiers/placement/hazard_policy.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace banyan::tiers {
namespace {

constexpr size_t kGhostsMax = 16384;
// Two calls within so long for the same blocks are one request: engines look up
// a prompt more than once while it waits.
constexpr double kSameRequestSeconds = 1;
// A segment is ranked again as often as this within a bin of age, and at its end,
// when it is taught, too: there hazards change, and a rank of before would keep
// what is past its time.
constexpr int kRankingsPerBin = 3;
constexpr size_t kDueAtOnce = 64;
constexpr double kHintSecondsMin = 1e-3;
// Just past the end of a bin, whatever rounding does.
constexpr double kJustPast = 1 + 1e-9;
// The last bin is open; what is in it is ranked now and then until it is so old.
constexpr double kOldestSeconds = 1e9;
// One example of a single block. Ages and segments of one conversation are not
// independent: some fifteen of them count as one.
constexpr float kExampleWeight = 0.07f;
constexpr double kHeld = 1e12;  // Above any density.

// Blocks of a segment share one fate: more of them are more evidence, but not
// as much as if they were independent.
float ExampleWeight(const SegmentHistory& history) {
  return kExampleWeight * std::sqrt(static_cast<float>(history.length));
}

double SecondsOf(absl::Duration duration) {
  return std::clamp(absl::ToDoubleSeconds(duration), -1e12, 1e12);
}

// The ages at which a segment is ranked again: parts of a bin end there, of equal
// length.
std::vector<double> StageEnds(int parts) {
  std::vector<double> ends;
  double begin = 0;
  double end = HazardModel::BinEndSeconds(0);
  for (int bin = 0; begin < kOldestSeconds; ++bin) {
    if (bin < HazardModel::kBins) end = HazardModel::BinEndSeconds(bin);
    for (int part = 1; part <= parts; ++part) {
      ends.push_back((begin + (end - begin) * part / parts) * kJustPast);
    }
    begin = end;
    end *= std::numbers::sqrt2;
  }
  return ends;
}

}  // namespace

HazardPolicy::HazardPolicy()
    : model_(SegmentFeatureCount()), ages_(StageEnds(kRankingsPerBin)) {
  SetPriors(model_);
}

// --- Time and teaching.

void HazardPolicy::Advance(const RequestFacts& facts) {
  now_ = std::max(now_, SecondsOf(facts.now));
  while (!hint_ends_.empty() && hint_ends_.top().key <= now_) {
    OnHintEnd(hint_ends_.top().number);
  }
  const auto on_stage = [this](SegmentNo s,
                               uint32_t stage) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    __builtin_prefetch(&segments_[s]);
    victims_.Prefetch(s);
    const auto bin = static_cast<int>(stage) / kRankingsPerBin;
    due_.push_back(
        {.segment = s, .bin = std::min(bin, HazardModel::kBins - 1)});
    if (due_.size() == kDueAtOnce) OnDue();
  };
  ages_.Advance(now_, on_stage);
  OnDue();
}

void HazardPolicy::OnDue() {
  Group group;
  for (const auto& [s, bin] : due_) {
    Segment& segment = segments_[s];
    TeachSurvival(segment, bin);
    segment.is_held = false;
    // After a leap of time it outlives more at once, and is ranked at the end.
    if (!victims_.Has(s) || bin < BinOf(segment)) continue;
    if (guard_.is_following_lru()) {
      victims_.Set(s, segment.history.touched);
      continue;
    }
    Foresee(s, group);
    if (group.count == Outlook::kSegmentsMax) RankGroup(group);
  }
  RankGroup(group);
  due_.clear();
}

void HazardPolicy::OnHintEnd(SegmentNo s) {
  Segment& segment = segments_[s];
  hint_ends_.Erase(s);
  TeachSurvival(segment, BinOf(segment));
  segment.features.back() = HintFeature(0, Reuse::kUnknown, false);
  Rank(s);
}

int HazardPolicy::BinOf(const Segment& segment) const {
  return std::max<int>(segment.taught_bin,
                       HazardModel::BinOf(now_ - segment.history.touched));
}

void HazardPolicy::TeachSurvival(Segment& segment, int bin) {
  if (segment.taught_bin >= bin) return;
  const float weight = ExampleWeight(segment.history);
  for (; segment.taught_bin < bin; ++segment.taught_bin) {
    model_.Learn(segment.features, segment.taught_bin, false, weight);
  }
}

void HazardPolicy::TeachReturn(Segment& segment) {
  const int bin = BinOf(segment);
  TeachSurvival(segment, bin);
  model_.Learn(segment.features, bin, true, ExampleWeight(segment.history));
}

// --- Ranking.

double HazardPolicy::NewDensity(const SegmentFeatures& features) const {
  Outlook outlook = {};
  model_.Predict(features, 0, outlook.hazards[0]);
  return BestDensities(outlook, 1)[0];
}

void HazardPolicy::Rank(SegmentNo s) {
  const Segment& segment = segments_[s];
  if (segment.is_ghost || !forest_.IsLeaf(s)) {
    victims_.Erase(s);
  } else if (segment.is_held) {
    victims_.Set(s, kHeld + ++sequence_);
  } else if (guard_.is_following_lru()) {
    victims_.Set(s, segment.history.touched);
  } else {
    Group group;
    Foresee(s, group);
    RankGroup(group);
  }
}

void HazardPolicy::Foresee(SegmentNo s, Group& group) const {
  const Segment& segment = segments_[s];
  const int i = group.count++;
  const double age = now_ - segment.history.touched;
  group.segments[i] = s;
  group.outlook.age_seconds[i] = age;
  model_.Predict(segment.features, HazardModel::BinOf(age),
                 group.outlook.hazards[i]);
}

void HazardPolicy::RankGroup(Group& group) {
  const auto densities = BestDensities(group.outlook, group.count);
  for (int i = 0; i < group.count; ++i) {
    victims_.Set(group.segments[i], densities[i]);
  }
  group.count = 0;
}

void HazardPolicy::Restart(SegmentNo s) {
  Segment& segment = segments_[s];
  segment.history.touched = now_;
  segment.taught_bin = 0;
  segment.is_held = false;
  ages_.Touch(s, now_);
  Rank(s);
}

void HazardPolicy::NoteFull() {
  if (!is_making_room_) guard_.SetCapacity(forest_.blocks());
  is_making_room_ = true;
}

void HazardPolicy::CountRequest() {
  const bool has_changed =
      guard_.Count(asked_.blocks, asked_.matched,
                   lru_found_ + (has_lru_all_ ? lru_refused_ : 0));
  asked_ = PromptShape();
  asked_end_ = kNoBlock;
  asked_at_ = now_;
  lru_found_ = 0;
  lru_refused_ = 0;
  has_lru_all_ = true;
  if (!has_changed) return;
  for (SegmentNo s = 0; s < segments_.size(); ++s) {
    if (victims_.Has(s)) Rank(s);
  }
}

void HazardPolicy::NoteLru(SegmentNo s, uint32_t blocks) {
  if (!has_lru_all_) return;
  const uint32_t held = std::min(blocks, guard_.BlocksHeld(s));
  lru_found_ += held;
  has_lru_all_ = held == blocks;
}

uint32_t HazardPolicy::LruOfRefused(const IncomingRun& incoming) const {
  size_t found = 0;
  for (const Piece& piece : pieces_) {
    const size_t end = piece.begin + piece.length;
    if (end <= incoming.next) continue;
    const auto ghost = ghosts_.find(incoming.ids[piece.begin].low);
    if (ghost == ghosts_.end()) break;
    const size_t held = piece.begin + guard_.BlocksHeld(ghost->second);
    found += std::min(end, std::max(held, incoming.next)) -
             std::max(piece.begin, incoming.next);
    if (held < end) break;
  }
  return static_cast<uint32_t>(found);
}

// --- Segments.

HazardPolicy::Segment& HazardPolicy::SegmentAt(SegmentNo s) {
  if (s >= segments_.size()) segments_.resize(size_t{s} + 1);
  return segments_[s];
}

SegmentNo HazardPolicy::Split(SegmentNo s, uint32_t length) {
  const uint32_t behind = forest_.length(s) - length;
  const SegmentNo rest = forest_.Split(s, length);
  SegmentAt(rest);  // Before references are taken: it may move them all.
  segments_[rest] = segments_[s];
  Segment& upper = segments_[s];
  segments_[rest].history.length -= length;
  upper.history.length = length;
  upper.history.depth -= std::min(upper.history.depth, behind);
  upper.fallen_blocks = 0;
  guard_.Split(s, length, rest);
  ages_.AddTwin(s, rest);
  if (hint_ends_.Has(s)) hint_ends_.Set(rest, hint_ends_.KeyOf(s));
  Rank(rest);
  Rank(s);
  return rest;
}

void HazardPolicy::LeaveBehind(SegmentNo s) {
  Segment& segment = segments_[s];
  TeachSurvival(segment, BinOf(segment));
  segment.history.kind = SegmentKind::kLeft;
  DescribeKind(segment.history, segment.features);
  Rank(s);
}

uint32_t HazardPolicy::FindPath(absl::Span<const BlockRef> run) {
  path_.clear();
  uint32_t left = 0;
  while (!run.empty()) {
    if (!forest_.IsTracked(run[0])) {
      run.remove_prefix(1);
      continue;
    }
    SegmentNo s = forest_.Of(run[0]);
    const size_t length = forest_.PieceLength(run);
    const uint32_t position = forest_.PositionOf(run[0]);
    if (position > 0) s = Split(s, position);
    left = forest_.length(s) - static_cast<uint32_t>(length);
    if (left > 0) LeaveBehind(Split(s, static_cast<uint32_t>(length)));
    path_.push_back(s);
    run.remove_prefix(length);
  }
  return left;
}

SegmentNo HazardPolicy::EndingWith(BlockRef block) {
  if (block == kNoBlock || !forest_.IsTracked(block)) return kNoSegment;
  const SegmentNo s = forest_.Of(block);
  const uint32_t length = forest_.PositionOf(block) + 1;
  if (length < forest_.length(s)) Split(s, length);
  return s;
}

void HazardPolicy::TouchPath(const PromptShape& prompt,
                             const RequestFacts& facts) {
  // A body and a tip will follow.
  const uint32_t fresh = prompt.blocks > prompt.matched ? 2 : 0;
  for (size_t i = 0; i < path_.size(); ++i) {
    Segment& segment = segments_[path_[i]];
    NoteLru(path_[i], forest_.length(path_[i]));
    TeachReturn(segment);
    SegmentHistory& history = segment.history;
    history.NoteReturn(now_);
    if (prompt.is_repeat()) history.NoteRepeat();
    const auto below = static_cast<uint32_t>(path_.size() - 1 - i) + fresh;
    history.kind = history.depth <= history.length ? SegmentKind::kRoot
                   : below > 0                     ? SegmentKind::kMiddle
                                                   : SegmentKind::kEnd;
    segment.features = Describe(history, prompt, below, now_);
    hint_ends_.Erase(path_[i]);
    ApplyHint(path_[i], facts);
  }
  // Ends first, so that the guard takes what is deeper for older.
  for (auto s = path_.rbegin(); s != path_.rend(); ++s) {
    Restart(*s);
    guard_.Touch(*s, segments_[*s].history.length);
  }
}

bool HazardPolicy::IsReadOfFound(absl::Span<const BlockRef> run,
                                 const RequestFacts& facts) const {
  if (run.empty() || !forest_.IsTracked(run.back()) ||
      facts.prompt_blocks > facts.first_block + run.size()) {
    return false;
  }
  const Segment& segment = segments_[forest_.Of(run.back())];
  return facts.prompt_blocks < static_cast<uint32_t>(segment.request) &&
         now_ - segment.history.touched < kSameRequestSeconds;
}

void HazardPolicy::Touch(absl::Span<const BlockRef> run,
                         const RequestFacts& facts) {
  MutexLock lock(mutex_);
  Advance(facts);
  if (IsReadOfFound(run, facts)) return;
  PromptShape prompt{.left = FindPath(run), .is_told = facts.prompt_blocks > 0};
  if (path_.empty()) {
    if (facts.first_block == 0 && facts.prompt_blocks > 0) {
      CountRequest();
      asked_.blocks = facts.prompt_blocks;
      asked_.is_told = true;
    }
    return;
  }
  const uint64_t request =
      (uint64_t{run.back()} << 32) + facts.prompt_blocks + 1;
  const Segment& last = segments_[path_.back()];
  if (last.request == request &&
      now_ - last.history.touched < kSameRequestSeconds) {
    return;
  }
  CountRequest();
  for (const SegmentNo s : path_) segments_[s].request = request;
  prompt.matched = facts.first_block + static_cast<uint32_t>(run.size());
  prompt.known = prompt.matched;
  prompt.blocks = std::max(facts.prompt_blocks, prompt.matched);
  if (prompt.left == 0 && !forest_.IsLeaf(path_.back())) prompt.left = 1;
  TouchPath(prompt, facts);
  asked_ = prompt;
  asked_end_ = run.back();
}

// --- What comes in.

HazardPolicy::Piece HazardPolicy::NextPiece(absl::Span<const BlockId> ids,
                                            size_t begin, size_t body_end,
                                            SegmentNo parent) {
  Piece piece{.begin = begin};
  size_t end = begin < body_end ? body_end : ids.size();
  const auto ghost = ghosts_.find(ids[begin].low);
  if (ghost != ghosts_.end()) {
    piece.history = segments_[ghost->second].history;
    piece.history.NoteReturn(now_);
    piece.is_known = true;
    end = std::min<size_t>(end, begin + piece.history.length);
  } else if (!pieces_.empty() && pieces_.back().is_known) {
    piece.history.born = now_;
    piece.history.InheritFrom(pieces_.back().history);
  } else if (!pieces_.empty()) {
    piece.history = pieces_.back().history;  // As new, and heir to the same.
  } else if (parent != kNoSegment) {
    const Segment& above = segments_[parent];
    if (begin == 0 && above.fallen_blocks > 0 &&
        above.fallen_id == ids[0].low) {
      piece.history = above.history;
      piece.is_fallen = true;
      piece.is_known = true;
      end = std::min<size_t>(end, above.fallen_blocks);
    } else {
      piece.history.born = now_;
      piece.history.InheritFrom(above.history);
    }
  } else {
    piece.history.born = now_;
  }
  piece.length = 1;
  while (begin + piece.length < end &&
         !ghosts_.contains(ids[begin + piece.length].low)) {
    ++piece.length;
  }
  return piece;
}

void HazardPolicy::PlanPieces(absl::Span<const BlockId> ids, BlockRef above,
                              const RequestFacts& facts) {
  pieces_.clear();
  const SegmentNo parent = EndingWith(above);
  const auto end = facts.first_block + static_cast<uint32_t>(ids.size());
  PromptShape prompt{.blocks = std::max(facts.prompt_blocks, end),
                     .is_told = facts.prompt_blocks > 0};
  const bool has_tip = end == prompt.blocks && ids.size() > 1;
  const size_t body_end = ids.size() - (has_tip ? 1 : 0);
  for (size_t begin = 0; begin < ids.size();) {
    Piece piece = NextPiece(ids, begin, body_end, parent);
    begin += piece.length;
    SegmentHistory& history = piece.history;
    history.touched = now_;
    history.length = static_cast<uint32_t>(piece.length);
    history.depth = facts.first_block + static_cast<uint32_t>(begin);
    history.kind = begin == ids.size() && end == prompt.blocks
                       ? SegmentKind::kTip
                   : history.depth == history.length ? SegmentKind::kRoot
                   : begin < body_end                ? SegmentKind::kMiddle
                                                     : SegmentKind::kEnd;
    pieces_.push_back(piece);
  }
  const uint32_t known_before = asked_.known;
  prompt.known = CountKnown(facts.first_block, above, prompt.blocks);
  const bool is_news = asked_.known > known_before;
  if (is_news) DescribeAgain(parent, static_cast<uint32_t>(pieces_.size()));
  for (size_t i = 0; i < pieces_.size(); ++i) {
    // What fell off has its history from above, where it is noted once.
    const bool is_noted = pieces_[i].is_fallen && !is_news;
    if (prompt.is_repeat() && !is_noted) pieces_[i].history.NoteRepeat();
    pieces_[i].features =
        Describe(pieces_[i].history, prompt,
                 static_cast<uint32_t>(pieces_.size() - 1 - i), now_);
  }
}

uint32_t HazardPolicy::CountKnown(uint32_t first_block, BlockRef above,
                                  uint32_t prompt_blocks) {
  const auto unknown = std::ranges::find(pieces_, false, &Piece::is_known);
  auto known = first_block;
  for (auto piece = pieces_.begin(); piece != unknown; ++piece) {
    known += static_cast<uint32_t>(piece->length);
  }
  const bool is_asked = asked_.blocks == prompt_blocks && asked_end_ == above;
  if (!is_asked) return known;
  // What came in before it is not what was known.
  if (asked_.known < first_block) return asked_.known;
  // Of a prompt that is let in in part more may be known than what comes in.
  asked_.known =
      unknown == pieces_.end() ? std::max(asked_.known, known) : known;
  return asked_.known;
}

void HazardPolicy::DescribeAgain(SegmentNo s, uint32_t below) {
  // Later on, what was known when it was asked for has taught already.
  if (now_ - asked_at_ >= kSameRequestSeconds) return;
  for (; s != kNoSegment; s = forest_.parent(s), ++below) {
    Segment& segment = segments_[s];
    if (segment.history.touched != asked_at_) return;
    if (asked_.is_repeat()) segment.history.NoteRepeat();
    const uint16_t hint = segment.features.back();
    segment.features = Describe(segment.history, asked_, below, asked_at_);
    segment.features.back() = hint;
    Rank(s);
  }
}

void HazardPolicy::AddRun(const NewRun& run, const RequestFacts& facts) {
  PlanPieces(run.ids, run.parent, facts);
  plan_ = Plan();  // pieces_ is of this run now, and soon used up.
  if (asked_end_ == run.parent) asked_end_ = run.blocks.back();
  SegmentNo parent = EndingWith(run.parent);
  if (parent != kNoSegment) {
    Segment& above = segments_[parent];
    if (above.history.forks < UINT16_MAX) ++above.history.forks;
    above.fallen_blocks = 0;
  }
  const SegmentNo top = parent;
  for (const Piece& piece : pieces_) {
    const auto ghost = ghosts_.find(run.ids[piece.begin].low);
    const auto blocks = static_cast<uint32_t>(piece.length);
    if (ghost != ghosts_.end()) {
      NoteLru(ghost->second, blocks);
    } else if (piece.is_fallen) {
      NoteLru(top, blocks);
    } else {
      has_lru_all_ = false;
    }
    TakeGhost(run.ids[piece.begin].low);
    const SegmentNo s =
        forest_.Add(run.blocks.subspan(piece.begin, piece.length),
                    run.ids.subspan(piece.begin, piece.length), parent);
    SegmentAt(s) = {.features = piece.features, .history = piece.history};
    ApplyHint(s, facts);
    parent = s;
    Restart(s);
    guard_.Touch(s, segments_[s].history.length);
    if (forest_.parent(s) != kNoSegment) victims_.Erase(forest_.parent(s));
  }
  if (top != kNoSegment) Rank(top);
}

void HazardPolicy::Insert(const NewRun& run, const RequestFacts& facts) {
  MutexLock lock(mutex_);
  Advance(facts);
  last_victim_ = Victim();
  is_making_room_ = false;
  BlockRef above = run.parent;
  RequestFacts part_facts = facts;
  for (size_t begin = 0; begin < run.blocks.size();) {
    const auto rest = run.blocks.subspan(begin);
    size_t length = 1;
    if (forest_.IsTracked(rest[0])) {
      length = forest_.PieceLength(rest);
      FindPath(rest.first(length));
      const uint32_t end =
          part_facts.first_block + static_cast<uint32_t>(length);
      // Others wrote it meanwhile: no repeat.
      TouchPath({.blocks = std::max(facts.prompt_blocks, end),
                 .matched = end,
                 .known = end,
                 .is_told = false},
                facts);
    } else {
      while (length < rest.size() && !forest_.IsTracked(rest[length])) ++length;
      AddRun({.blocks = rest.first(length),
              .ids = run.ids.subspan(begin, length),
              .parent = above},
             part_facts);
    }
    begin += length;
    part_facts.first_block += static_cast<uint32_t>(length);
    above = rest[length - 1];
  }
}

bool HazardPolicy::IsWorthLess(const IncomingRun& incoming,
                               const RequestFacts& facts) {
  const Plan plan{.first_id = incoming.ids.front().low,
                  .last_id = incoming.ids.back().low,
                  .blocks = incoming.ids.size(),
                  .at = now_};
  if (plan_ != plan) {
    PlanPieces(incoming.ids, incoming.parent, facts);
    plan_ = plan;
    piece_densities_.clear();
    for (const Piece& piece : pieces_) {
      piece_densities_.push_back(NewDensity(piece.features));
    }
  }
  for (size_t i = 0; i < pieces_.size(); ++i) {
    if (incoming.next >= pieces_[i].begin + pieces_[i].length) continue;
    // What hangs on it counts too: a block is worth as much as any behind it.
    const double density =
        *std::max_element(piece_densities_.begin() + static_cast<long>(i),
                          piece_densities_.end());
    return density < victims_.top().key;
  }
  return false;
}

void HazardPolicy::RememberRefused(const IncomingRun& incoming) {
  lru_refused_ = LruOfRefused(incoming);
  for (const Piece& piece : pieces_) {
    const size_t end = piece.begin + piece.length;
    if (end <= incoming.next) continue;
    const size_t begin = std::max(piece.begin, incoming.next);
    // What comes in of it takes the ghost, and its history, when it does.
    if (begin == piece.begin) TakeGhost(incoming.ids[begin].low);
    const SegmentNo s = forest_.AddEmpty();
    SegmentAt(s) = {.features = piece.features, .history = piece.history};
    segments_[s].history.length = static_cast<uint32_t>(end - begin);
    guard_.Touch(s, segments_[s].history.length);
    BecomeGhost(s, incoming.ids[begin].low);
    ages_.Touch(s, now_);
  }
  plan_ = Plan();
}

std::optional<BlockRef> HazardPolicy::TakeVictimFor(const IncomingRun& incoming,
                                                    const RequestFacts& facts) {
  MutexLock lock(mutex_);
  Advance(facts);
  if (victims_.empty()) return std::nullopt;
  NoteFull();
  if (!guard_.is_following_lru() && IsWorthLess(incoming, facts)) {
    RememberRefused(incoming);
    return std::nullopt;
  }
  return TakeLowest();
}

// --- Hints.

uint32_t HazardPolicy::OwnerSlot(uint32_t owner) {
  const auto found = owner_slots_.find(owner);
  if (found != owner_slots_.end()) return found->second;
  const auto slot = static_cast<uint32_t>(owner_slots_.size()) + 1;
  if (slot >= kOwnerSlots) return 0;  // The last ones to come share one.
  owner_slots_.emplace(owner, slot);
  return slot;
}

void HazardPolicy::ApplyHint(SegmentNo s, const RequestFacts& facts) {
  Segment& segment = segments_[s];
  if (facts.hint.generated_tokens > 0) {
    NoteAnswer(facts.hint.generated_tokens, segment.history, segment.features);
  }
  const Reuse reuse = facts.hint.reuse;
  if (reuse == Reuse::kUnknown) return;
  // A plain conversation leaves a tip and a next turn behind its segments.
  const bool is_shared = segment.history.forks > 2;
  segment.features.back() =
      HintFeature(OwnerSlot(facts.owner), reuse, is_shared);
  hint_ends_.Erase(s);
  if (reuse != Reuse::kExpected) return;
  hint_ends_.Set(
      s, now_ + std::max(kHintSecondsMin, 2 * SecondsOf(facts.hint.within)));
}

void HazardPolicy::Hint(absl::Span<const BlockRef> run,
                        const RequestFacts& facts) {
  MutexLock lock(mutex_);
  Advance(facts);
  FindPath(run);
  for (const SegmentNo s : path_) {
    TeachSurvival(segments_[s], BinOf(segments_[s]));
    ApplyHint(s, facts);
    Rank(s);
  }
}

// --- What is gone.

std::optional<BlockRef> HazardPolicy::TakeLowest() {
  if (victims_.empty()) return std::nullopt;
  const SegmentNo s = victims_.top().number;
  Segment& segment = segments_[s];
  const BlockRef block = forest_.PopTail(s);
  segment.fallen_id = forest_.IdOf(block);
  ++segment.fallen_blocks;
  last_victim_ = {.block = block, .parent = s};
  if (forest_.length(s) > 0) return block;
  const SegmentNo parent = forest_.parent(s);
  last_victim_.parent = parent;
  forest_.Detach(s);
  BecomeGhost(s, segment.fallen_id);
  if (parent != kNoSegment) Rank(parent);
  return block;
}

std::optional<BlockRef> HazardPolicy::TakeVictim() {
  MutexLock lock(mutex_);
  NoteFull();
  return TakeLowest();
}

void HazardPolicy::BecomeGhost(SegmentNo s, uint64_t id) {
  const auto known = ghosts_.find(id);
  if (known != ghosts_.end()) ForgetGhost(known->second);
  if (ghosts_.size() >= kGhostsMax) ForgetGhost(ghosts_by_age_.front());
  victims_.Erase(s);
  segments_[s].is_ghost = true;
  segments_[s].fallen_id = id;
  ghosts_.emplace(id, s);
  ghosts_by_age_.PushBack(s);
}

void HazardPolicy::TakeGhost(uint64_t id) {
  const auto ghost = ghosts_.find(id);
  if (ghost == ghosts_.end()) return;
  TeachReturn(segments_[ghost->second]);
  ForgetGhost(ghost->second);
}

void HazardPolicy::ForgetGhost(SegmentNo s) {
  ghosts_.erase(segments_[s].fallen_id);
  ghosts_by_age_.Erase(s);
  guard_.Forget(s);
  ages_.Erase(s);
  hint_ends_.Erase(s);
  forest_.Free(s);
}

void HazardPolicy::Remove(BlockRef block) {
  MutexLock lock(mutex_);
  if (!forest_.IsTracked(block)) return;
  last_victim_ = Victim();
  plan_ = Plan();
  SegmentNo s = forest_.Of(block);
  const uint32_t position = forest_.PositionOf(block);
  if (position > 0) s = Split(s, position);
  if (forest_.length(s) > 1) Split(s, 1);
  const SegmentNo parent = forest_.parent(s);
  forest_.Orphan(s);
  forest_.PopTail(s);
  forest_.Detach(s);
  forest_.Free(s);
  victims_.Erase(s);
  ages_.Erase(s);
  hint_ends_.Erase(s);
  guard_.Forget(s);
  if (parent != kNoSegment) Rank(parent);
}

void HazardPolicy::Retain(BlockRef block) {
  MutexLock lock(mutex_);
  SegmentNo s = forest_.Of(block);
  if (s == kNoSegment) {
    const BlockId id{.low = forest_.IdOf(block)};
    const SegmentNo parent =
        last_victim_.block == block ? last_victim_.parent : kNoSegment;
    // As a segment of its own behind where it was.
    s = forest_.Add({block}, {id}, parent);
    SegmentAt(s) = {.history = {.born = now_, .touched = now_, .length = 1}};
    segments_[s].features = Describe(segments_[s].history, {}, 0, now_);
    ages_.Touch(s, now_);
    if (parent != kNoSegment) Rank(parent);
    last_victim_ = Victim();
  }
  segments_[s].is_held = true;
  Rank(s);
}

size_t HazardPolicy::size() const {
  MutexLock lock(mutex_);
  return forest_.blocks();
}

size_t HazardPolicy::memory_bytes() const {
  MutexLock lock(mutex_);
  return model_.memory_bytes() + forest_.memory_bytes() +
         segments_.capacity() * sizeof(Segment) + victims_.memory_bytes() +
         ages_.memory_bytes() + hint_ends_.memory_bytes() +
         guard_.memory_bytes() + ghosts_by_age_.memory_bytes() +
         ghosts_.capacity() * (sizeof(uint64_t) + sizeof(SegmentNo) + 1);
}

}  // namespace banyan::tiers
