// How closely a peer's client looks at what came.
#pragma once

namespace banyan::bench {

enum class Look {
  kAllBytes,  // At all, with a checksum that it has kept.
  kEnds,      // At the first and last bytes of a value.
};

}  // namespace banyan::bench
