// Goal: what the calibrations of namespaces take is bounded, however they come:
// equal ones count once, a codec of the SSD counts what it makes of its own.
// Method: a registry with room for as much as each case says.
#include "cache_server/engine/namespace_registry.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/sha256.h"
#include "tests/testing/long_calibration.h"

namespace banyan::engine {
namespace {

constexpr testing::CalibratedShape kShape{.layers = 1, .heads = 2, .dim = 16};

Fingerprint RevisionOf(std::string revision) {
  Fingerprint fingerprint = testing::FingerprintOf(kShape);
  fingerprint.revision = std::move(revision);
  return fingerprint;
}

class NamespaceRegistryTest : public ::testing::Test {
 protected:
  // Room for so many times as much as a calibration has.
  explicit NamespaceRegistryTest(uint64_t times = 2)
      : registry_({.calibration_bytes_max = times * first_.size(),
                   .node_secret = "secret"}) {}

  // Of a codec of clients.
  absl::Status Open(const std::string& name, const std::string& calibration) {
    Fingerprint fingerprint = RevisionOf(name);
    fingerprint.kv_codec = "cold2:weighted";
    fingerprint.calibration_digest = std::string(AsText(Sha256({calibration})));
    return registry_.Open(name, fingerprint, {}, calibration).status();
  }
  absl::Status OpenPolicy(const std::string& name,
                          const std::string& calibration) {
    return registry_
        .Open(name, RevisionOf(name), {.codec = "cold2:weighted"}, calibration)
        .status();
  }

  const std::string first_ = testing::LongCalibration(kShape, 1);
  const std::string second_ = testing::LongCalibration(kShape, 2);
  const std::string third_ = testing::LongCalibration(kShape, 3);
  NamespaceRegistry registry_;
};

TEST_F(NamespaceRegistryTest, CalibrationsTakeWhatTheyMayAndNoMore) {
  EXPECT_EQ(Open("a", first_), absl::OkStatus());
  EXPECT_EQ(Open("b", second_), absl::OkStatus());

  const absl::Status status = Open("c", third_);

  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_EQ(ErrorReason(status), "CALIBRATIONS");
  EXPECT_TRUE(absl::IsNotFound(registry_.FindByName("c").status()));
  ASSERT_TRUE(registry_.Remove("b").ok());
  EXPECT_EQ(Open("c", third_), absl::OkStatus());
}

TEST_F(NamespaceRegistryTest, EqualCalibrationsAreThereOnce) {
  EXPECT_EQ(Open("a", first_), absl::OkStatus());
  EXPECT_EQ(Open("b", first_), absl::OkStatus());
  EXPECT_EQ(Open("c", first_), absl::OkStatus());
  EXPECT_EQ((*registry_.FindByName("a"))->calibration,
            (*registry_.FindByName("c"))->calibration);
  EXPECT_EQ((*registry_.FindByName("c"))->calibration_bytes(), first_);

  // They stay as long as one has them.
  ASSERT_TRUE(registry_.Remove("a").ok());
  ASSERT_TRUE(registry_.Remove("b").ok());
  EXPECT_EQ(Open("d", second_), absl::OkStatus());
  EXPECT_FALSE(Open("e", third_).ok());
}

TEST_F(NamespaceRegistryTest, WhatWasOpenIsRecoveredHoweverMuchItTakes) {
  EXPECT_EQ(Open("a", first_), absl::OkStatus());
  EXPECT_EQ(Open("b", second_), absl::OkStatus());

  const auto recovered = registry_.Recover("c", RevisionOf("c"),
                                           {.codec = "cold2:weighted"}, third_);

  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_TRUE(recovered->is_created);
  // Who opens it again gets it, and others are still refused.
  EXPECT_EQ(OpenPolicy("c", third_), absl::OkStatus());
  EXPECT_EQ(ErrorReason(OpenPolicy("d", third_)), "CALIBRATIONS");
}

TEST_F(NamespaceRegistryTest, WhatIsRefusedKeepsNoMemory) {
  std::string broken = first_;
  broken[broken.size() / 2] ^= 1;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(ErrorReason(Open("a", broken)), "CALIBRATION");
  }

  EXPECT_EQ(Open("a", first_), absl::OkStatus());
  EXPECT_EQ(Open("b", second_), absl::OkStatus());
}

class RegistryForPolicyTest : public NamespaceRegistryTest {
 protected:
  RegistryForPolicyTest() : NamespaceRegistryTest(9) {}
};

TEST_F(RegistryForPolicyTest, ACodecOfTheSsdTakesItsTables) {
  EXPECT_EQ(OpenPolicy("a", first_), absl::OkStatus());  // 5 of 9.
  EXPECT_EQ(ErrorReason(OpenPolicy("b", second_)), "CALIBRATIONS");
  EXPECT_EQ(OpenPolicy("b", first_), absl::OkStatus());  // 9 of 9.
  EXPECT_EQ(ErrorReason(OpenPolicy("c", first_)), "CALIBRATIONS");
  EXPECT_EQ(ErrorReason(Open("c", second_)), "CALIBRATIONS");
  EXPECT_EQ(Open("c", first_), absl::OkStatus());
}

}  // namespace
}  // namespace banyan::engine
