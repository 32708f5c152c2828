#include "base/random_id.h"

#include <openssl/rand.h>

#include "base/check.h"

namespace banyan {

std::string RandomId() {
  std::string id(kRandomIdBytes, '\0');
  BANYAN_CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(id.data()),
                          static_cast<int>(id.size())) == 1);
  return id;
}

}  // namespace banyan
