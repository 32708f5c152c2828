#include "base/sha256.h"

#include <openssl/evp.h>

#include <memory>

#include "base/check.h"

namespace banyan {

Sha256Digest Sha256(std::initializer_list<absl::string_view> parts) {
  // One context and one algorithm lookup a thread: a key costs a hash, no more.
  static const EVP_MD* const algorithm = EVP_sha256();
  thread_local const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>
      context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  Sha256Digest digest;
  unsigned length = 0;
  BANYAN_CHECK(EVP_DigestInit_ex(context.get(), algorithm, nullptr) == 1);
  for (const absl::string_view part : parts) {
    BANYAN_CHECK(EVP_DigestUpdate(context.get(), part.data(), part.size()) ==
                 1);
  }
  BANYAN_CHECK(
      EVP_DigestFinal_ex(context.get(),
                         reinterpret_cast<unsigned char*>(digest.data()),
                         &length) == 1);
  BANYAN_CHECK(length == digest.size());
  return digest;
}

}  // namespace banyan
