// Goal: addresses are numeric, whole, and lead to the interface that has them.
#include "client/transport/ucx_address.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace banyan::transport {
namespace {

TEST(UcxAddressTest, NumericHostsAreTaken) {
  EXPECT_EQ(UcxAddressText(*MakeUcxAddress("127.0.0.1", 7603)),
            "127.0.0.1:7603");
  EXPECT_EQ(UcxAddressText(*MakeUcxAddress("localhost", 1)), "127.0.0.1:1");
  EXPECT_EQ(UcxAddressText(*MakeUcxAddress("::1", 65535)), "[::1]:65535");
  EXPECT_EQ(UcxAddressText(*MakeUcxAddress("[2001:db8::7]", 9)),
            "[2001:db8::7]:9");
  EXPECT_EQ(UcxPortOf(*MakeUcxAddress("::1", 513)), 513);
}

TEST(UcxAddressTest, NamesAreNot) {
  for (const char* host : {"", "example.com", "127.0.0.1:80", "127.0.0", "[::1",
                           "::g", "0x7f.1"}) {
    EXPECT_EQ(ErrorReason(MakeUcxAddress(host, 1).status()), "ADDRESS") << host;
  }
}

TEST(UcxAddressTest, PeersOfGrpcHaveAHost) {
  EXPECT_EQ(*HostOfGrpcPeer("ipv4:192.0.2.1:7600"), "192.0.2.1");
  EXPECT_EQ(*HostOfGrpcPeer("ipv6:%5B2001:db8::1%5D:7600"), "2001:db8::1");
  EXPECT_EQ(*HostOfGrpcPeer("ipv6:[::1]:7600"), "::1");
  for (const char* peer :
       {"", "ipv4:", "unix:/tmp/socket", "ipv4:192.0.2.1", "192.0.2.1:7600",
        "ipv4:name:7600", "ipv6:%5B%5D:1"}) {
    EXPECT_EQ(ErrorReason(HostOfGrpcPeer(peer).status()), "ADDRESS") << peer;
  }
}

TEST(UcxAddressTest, TheLoopbackHasItsInterface) {
  EXPECT_EQ(*UcxDeviceOf(*MakeUcxAddress("127.0.0.1", 0)), "lo");
  EXPECT_EQ(*UcxDeviceOf(*MakeUcxAddress("127.3.2.1", 0)), "lo");
  EXPECT_EQ(*UcxDeviceOf(*MakeUcxAddress("0.0.0.0", 0)), "all");
  EXPECT_EQ(*UcxDeviceOf(*MakeUcxAddress("::", 0)), "all");
  // Reserved for examples: nobody has it.
  EXPECT_EQ(
      ErrorReason(UcxDeviceOf(*MakeUcxAddress("198.51.100.7", 0)).status()),
      "ADDRESS");
}

TEST(UcxAddressTest, TheWayToTheLoopbackBeginsThere) {
  const auto local = LocalAddressTo(*MakeUcxAddress("127.0.0.1", 7603));
  ASSERT_TRUE(local.ok()) << local.status();
  EXPECT_EQ(*UcxDeviceOf(*local), "lo");
}

}  // namespace
}  // namespace banyan::transport
