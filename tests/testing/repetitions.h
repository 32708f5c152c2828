// How often a test repeats what it draws at random.
//
// Counts that are promises, such as 2,000 power cuts or 200 kills, hold in
// programs without a sanitizer. Sanitizers look at the code that runs, not at
// what comes out of it: they see the same code in a part of the repetitions, and
// take several times as long for each.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BANYAN_IS_SANITIZED 1
#elif defined(__has_feature)  // clang says it so.
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define BANYAN_IS_SANITIZED 1
#endif
#endif

namespace banyan::testing {

#ifdef BANYAN_IS_SANITIZED
inline constexpr bool kIsSanitized = true;
#else
inline constexpr bool kIsSanitized = false;
#endif

// All of `count`; under a sanitizer one of `share`, a quarter unless said
// otherwise, but never none.
template <typename Count>
constexpr Count Repetitions(Count count, Count share = 4) {
  return !kIsSanitized || count < share ? count : count / share;
}

}  // namespace banyan::testing
