// Random names that cannot be guessed: sessions, leases, writes.
#pragma once

#include <string>

namespace banyan {

inline constexpr size_t kRandomIdBytes = 16;

// kRandomIdBytes from the operating system's generator.
std::string RandomId();

}  // namespace banyan
