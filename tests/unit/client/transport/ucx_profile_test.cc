// Goal: UCX is asked for no more than active messages, and both profiles hold what
// our safety rests on.
// Method: the settings as data. That UCX knows them: ucx_worker_test.cc.
#include "client/transport/ucx_profile.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "client/transport/ucx_messages.h"

namespace banyan::transport {
namespace {

std::map<std::string, std::string> MapOf(UcxNetwork network) {
  const UcxSettings settings = UcxProfile(network, "eth7");
  std::map<std::string, std::string> map(settings.begin(), settings.end());
  EXPECT_EQ(map.size(), settings.size()) << "a setting twice";
  return map;
}

TEST(UcxProfileTest, OnlyActiveMessagesAreAskedFor) {
  EXPECT_EQ(kUcxFeatures, uint64_t{UCP_FEATURE_AM} | UCP_FEATURE_WAKEUP);
}

TEST(UcxProfileTest, OverTcpNothingIsFetched) {
  auto settings = MapOf(UcxNetwork::kTcp);

  EXPECT_EQ(settings["TLS"], "tcp");
  EXPECT_EQ(settings["RNDV_THRESH"], "inf");
  EXPECT_EQ(settings["NET_DEVICES"], "eth7");
  EXPECT_EQ(settings["PROTO_ENABLE"], "n");
  // A message with the longest body is one segment.
  EXPECT_GT(std::stoul(settings["TX_SEG_SIZE"]), kUcxBodyBytesMax + 1024);
  EXPECT_GE(std::stoul(settings["RX_SEG_SIZE"]),
            std::stoul(settings["TX_SEG_SIZE"]));
}

TEST(UcxProfileTest, OverRdmaTheSenderWritesAndNothingIsEmulated) {
  auto settings = MapOf(UcxNetwork::kRdma);

  EXPECT_EQ(settings["TLS"], "rc,ud");
  EXPECT_EQ(settings["RNDV_SCHEME"], "put_zcopy");
  EXPECT_EQ(settings["RNDV_PUT_FORCE_FLUSH"], "y");
  EXPECT_EQ(settings["NET_DEVICES"], "eth7");
  EXPECT_EQ(settings["PROTO_ENABLE"], "n");
}

TEST(UcxProfileTest, OtherVersionsAreRefused) {
  EXPECT_TRUE(CheckUcxVersion(1, 13).ok());
  EXPECT_TRUE(CheckUcxVersion().ok());
  for (const auto& [major, minor] :
       {std::pair(1u, 12u), std::pair(1u, 14u), std::pair(2u, 13u)}) {
    EXPECT_EQ(ErrorReason(CheckUcxVersion(major, minor)), "UCX_VERSION");
  }
}

}  // namespace
}  // namespace banyan::transport
