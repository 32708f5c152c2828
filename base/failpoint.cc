#include "base/failpoint.h"

#include <csignal>
#include <cstdlib>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/mutex.h"

namespace banyan {
namespace internal {

std::atomic<bool> failpoints_armed{false};

}  // namespace internal

namespace {

enum class Action { kNone, kKill, kAbort, kError, kPause };

struct Armed {
  Action action = Action::kNone;
  uint64_t one_in = 0;  // Chance; 0 if `nth` counts.
  uint64_t nth = 0;
  uint64_t hits = 0;
  uint64_t waiters = 0;
};

// All state of armed failpoints. One in the process: what it interrupts is
// everywhere (docs/adr/0007).
struct Registry {
  Mutex mutex;
  CondVar released;
  std::vector<Armed> points ABSL_GUARDED_BY(mutex);
  uint64_t release_count ABSL_GUARDED_BY(mutex) = 0;
  std::mt19937_64 random ABSL_GUARDED_BY(mutex);
};

Registry& TheRegistry() {
  static Registry* const registry = new Registry;
  return *registry;
}

absl::Status Malformed(absl::string_view item) {
  return MakeError(absl::StatusCode::kInvalidArgument, "FAILPOINT",
                   absl::StrCat("failpoints: \"", Echo(item),
                                "\": want NAME=1inN:ACTION or "
                                "NAME=Nth:ACTION with a name of the list and "
                                "an action of kill, abort, error, pause."));
}

bool ParseAction(absl::string_view text, Action& action) {
  const std::pair<absl::string_view, Action> known[] = {
      {"kill", Action::kKill},
      {"abort", Action::kAbort},
      {"error", Action::kError},
      {"pause", Action::kPause}};
  for (const auto& [name, value] : known) {
    if (text != name) continue;
    action = value;
    return true;
  }
  return false;
}

bool ParseOdds(absl::string_view text, Armed& armed) {
  if (absl::StartsWith(text, "1in")) {
    return absl::SimpleAtoi(text.substr(3), &armed.one_in) && armed.one_in > 0;
  }
  if (text.size() < 3) return false;
  const absl::string_view ending = text.substr(text.size() - 2);
  if (ending != "st" && ending != "nd" && ending != "rd" && ending != "th") {
    return false;
  }
  return absl::SimpleAtoi(text.substr(0, text.size() - 2), &armed.nth) &&
         armed.nth > 0;
}

absl::Status ParseItem(absl::string_view item, std::vector<Armed>& points) {
  const std::pair<absl::string_view, absl::string_view> named =
      absl::StrSplit(item, absl::MaxSplits('=', 1));
  const std::pair<absl::string_view, absl::string_view> what =
      absl::StrSplit(named.second, absl::MaxSplits(':', 1));
  const std::vector<absl::string_view> names = FailpointNames();
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] != named.first) continue;
    Armed armed;
    if (!ParseOdds(what.first, armed) ||
        !ParseAction(what.second, armed.action)) {
      break;
    }
    points[i] = armed;
    return absl::OkStatus();
  }
  return Malformed(item);
}

// True if this reaching of the point fires.
bool Draw(Armed& armed, std::mt19937_64& random) {
  if (armed.action == Action::kNone) return false;
  ++armed.hits;
  if (armed.nth > 0) return armed.hits == armed.nth;
  return random() % armed.one_in == 0;
}

}  // namespace

std::vector<absl::string_view> FailpointNames() {
  return {
#define BANYAN_FAILPOINT_NAME(enumerator, name) name,
      BANYAN_FAILPOINTS(BANYAN_FAILPOINT_NAME)
#undef BANYAN_FAILPOINT_NAME
  };
}

absl::Status ArmFailpoints(absl::string_view text) {
  std::vector<Armed> points(FailpointNames().size());
  for (const absl::string_view item :
       absl::StrSplit(text, ',', absl::SkipEmpty())) {
    const absl::Status status = ParseItem(item, points);
    if (!status.ok()) return status;
  }
  Registry& registry = TheRegistry();
  const MutexLock lock(registry.mutex);
  registry.points = std::move(points);
  ++registry.release_count;
  registry.released.NotifyAll();
  internal::failpoints_armed = !text.empty();
  return absl::OkStatus();
}

void ReleaseFailpoints() { ArmFailpoints("").IgnoreError(); }

uint64_t FailpointHits(Failpoint point) {
  Registry& registry = TheRegistry();
  const MutexLock lock(registry.mutex);
  const size_t at = static_cast<size_t>(point);
  return at < registry.points.size() ? registry.points[at].hits : 0;
}

uint64_t FailpointWaiters(Failpoint point) {
  Registry& registry = TheRegistry();
  const MutexLock lock(registry.mutex);
  const size_t at = static_cast<size_t>(point);
  return at < registry.points.size() ? registry.points[at].waiters : 0;
}

namespace internal {

absl::Status ReachFailpoint(Failpoint point) {
  Registry& registry = TheRegistry();
  const MutexLock lock(registry.mutex);
  const size_t at = static_cast<size_t>(point);
  if (at >= registry.points.size()) return absl::OkStatus();
  if (!Draw(registry.points[at], registry.random)) return absl::OkStatus();
  switch (registry.points[at].action) {
    case Action::kNone:
      break;
    case Action::kKill:
      std::raise(SIGKILL);
      break;
    case Action::kAbort:
      std::abort();
    case Action::kError:
      return MakeError(
          absl::StatusCode::kUnavailable, "FAILPOINT",
          absl::StrCat("failpoint ", FailpointNames()[at], " fired"));
    case Action::kPause: {
      ++registry.points[at].waiters;
      const uint64_t count = registry.release_count;
      while (registry.release_count == count) {
        registry.released.Wait(registry.mutex);
      }
      break;
    }
  }
  return absl::OkStatus();
}

}  // namespace internal
}  // namespace banyan
