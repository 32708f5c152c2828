// SHA-256 by OpenSSL's libcrypto.
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>

#include "absl/strings/string_view.h"

namespace banyan {

using Sha256Digest = std::array<std::byte, 32>;

// Digest of the parts, one after the other.
Sha256Digest Sha256(std::initializer_list<absl::string_view> parts);

}  // namespace banyan
