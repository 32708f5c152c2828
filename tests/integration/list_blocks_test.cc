// Goal: ListBlocks shows each block of a namespace once, whatever the page, and
// `banyanctl key ls` shows the same.
// Method: a node with known chains in two namespaces and under two salts; pages
// of all sizes are compared with what was stored.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "google/rpc/error_details.pb.h"
#include "tests/integration/node.h"
#include "tests/testing/process.h"

namespace banyan {
namespace {

namespace pb = banyan::v1;
using testing::ChainKeys;

constexpr size_t kBlocks = 70;
constexpr size_t kBytes = 500;

class ListBlocksTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = server::Server::Start(testing::SmallConfig());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    auto client = Client::Connect({.endpoint = testing::EndpointOf(*server_)});
    ASSERT_TRUE(client.ok());
    client_ = *std::move(client);
    admin_ = pb::Admin::NewStub(testing::ChannelTo(*server_));
    Put("listed", keys_, "");
    Put("listed", salted_keys_, "user");
    Put("other", keys_, "");
  }

  void Put(std::string_view name, const std::string& keys,
           std::string_view salt) {
    const auto ns = client_->OpenNamespace(name, testing::OpaqueFingerprint());
    ASSERT_TRUE(ns.ok()) << ns.status();
    std::vector<std::vector<std::byte>> payloads;
    for (size_t i = 0; i * 32 < keys.size(); ++i) {
      payloads.push_back(testing::PayloadOf(name, keys, i, kBytes + i));
    }
    const Completion put = client_->Put(ns->id, {.keys = keys, .salt = salt}, 0,
                                        {payloads.begin(), payloads.end()}, {});
    ASSERT_TRUE(put.status.ok()) << put.status;
  }

  grpc::Status List(const std::string& name, const std::string& cursor,
                    uint32_t limit, pb::ListBlocksResponse* response) {
    grpc::ClientContext context;
    pb::ListBlocksRequest request;
    request.set_namespace_name(name);
    request.set_cursor(cursor);
    request.set_limit(limit);
    response->Clear();
    return admin_->ListBlocks(&context, request, response);
  }

  // Checks one listed block, and returns its key.
  std::string Check(const pb::ListBlocksResponse::Block& block) {
    const bool is_salted = block.salt_digest() == SaltDigest("user");
    const std::string& keys = is_salted ? salted_keys_ : keys_;
    EXPECT_TRUE(is_salted || block.salt_digest() == SaltDigest(""));
    EXPECT_EQ(block.key(), testing::KeyNo(keys, block.depth()));
    EXPECT_EQ(block.payload_bytes(), kBytes + block.depth());
    EXPECT_EQ(block.tier(), pb::TIER_KIND_HOST);
    return block.key();
  }

  std::map<std::string, int> ListAll(uint32_t limit) {
    std::map<std::string, int> seen;
    pb::ListBlocksResponse page;
    do {
      const grpc::Status status =
          List("listed", page.next_cursor(), limit, &page);
      EXPECT_TRUE(status.ok()) << status.error_message();
      EXPECT_LE(page.blocks_size(), static_cast<int>(limit));
      for (const auto& block : page.blocks()) ++seen[Check(block)];
    } while (!page.next_cursor().empty());
    return seen;
  }

  std::unique_ptr<server::Server> server_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<pb::Admin::Stub> admin_;
  const std::string keys_ = ChainKeys("plain", kBlocks);
  const std::string salted_keys_ = ChainKeys("salted", 5);
};

TEST_F(ListBlocksTest, EveryBlockShowsOnceWhateverThePage) {
  for (const uint32_t limit : {1u, 7u, 74u, 75u, 76u, 1000u}) {
    const auto seen = ListAll(limit);
    EXPECT_EQ(seen.size(), kBlocks + 5) << limit;
    for (const auto& [key, times] : seen) EXPECT_EQ(times, 1);
  }
}

TEST_F(ListBlocksTest, BlocksThatVanishBetweenPagesAreLeftOut) {
  pb::ListBlocksResponse page;
  ASSERT_TRUE(List("listed", "", 10, &page).ok());
  ASSERT_FALSE(page.next_cursor().empty());
  const std::string cursor = page.next_cursor();
  ASSERT_TRUE(
      server_->store().Trim("listed", 0, absl::InfiniteDuration()).ok());
  ASSERT_TRUE(List("listed", cursor, 1000, &page).ok());
  EXPECT_EQ(page.blocks_size(), 0);
  EXPECT_TRUE(page.next_cursor().empty());
}

TEST_F(ListBlocksTest, AnEmptyNamespaceHasOneEmptyPage) {
  ASSERT_TRUE(
      client_->OpenNamespace("empty", testing::OpaqueFingerprint()).ok());
  pb::ListBlocksResponse page;
  ASSERT_TRUE(List("empty", "", 0, &page).ok());
  EXPECT_EQ(page.blocks_size(), 0);
  EXPECT_TRUE(page.next_cursor().empty());
}

TEST_F(ListBlocksTest, BadPagesAreRefused) {
  pb::ListBlocksResponse page;
  grpc::Status status = List("listed", "", 1001, &page);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "limit: 1001, need 1 to 1000.");
  status = List("listed", "abc", 1, &page);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(),
            "cursor: 3 bytes, need 0 or 4. Send what next_cursor said.");
  status = List("absent", "", 1, &page);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(List("listed", "\xff\xff\xff\xff", 10, &page).ok());
  EXPECT_EQ(page.blocks_size(), 0);
}

TEST_F(ListBlocksTest, APinnedBlockSaysSo) {
  testing::RawSession session(testing::ChannelTo(*server_), "pins");
  grpc::ClientContext context;
  pb::AcquireRequest request;
  request.set_session_id(session.id());
  request.set_namespace_id(
      client_->OpenNamespace("listed", testing::OpaqueFingerprint())->id);
  request.mutable_run()->set_keys(keys_.substr(0, 32));
  request.mutable_run()->set_key_bytes(32);
  request.set_mode(pb::ACQUIRE_MODE_ALL_OR_NONE);
  pb::AcquireResponse lease;
  ASSERT_TRUE(session.stub().Acquire(&context, request, &lease).ok());
  ASSERT_FALSE(lease.lease_id().empty());
  pb::ListBlocksResponse page;
  ASSERT_TRUE(List("listed", "", 1000, &page).ok());
  int pinned = 0;
  for (const auto& block : page.blocks()) {
    if (!block.is_pinned()) continue;
    ++pinned;
    EXPECT_EQ(block.key(), keys_.substr(0, 32));
    EXPECT_GE(block.touches(), 1u);
  }
  EXPECT_EQ(pinned, 1);
}

TEST_F(ListBlocksTest, TheCommandShowsThem) {
  const auto ls = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {
        "--server", testing::EndpointOf(*server_), "key", "ls", "listed"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return testing::RunProgram("banyanctl", arguments);
  };
  const auto lines = [](const std::string& text) {
    return std::count(text.begin(), text.end(), '\n');
  };
  const testing::Output all = ls({});
  EXPECT_EQ(all.code, 0) << all.err;
  EXPECT_EQ(lines(all.out), static_cast<int>(kBlocks) + 5);
  EXPECT_EQ(all.err, "");
  const testing::Output some = ls({"--limit", "3"});
  EXPECT_EQ(some.code, 0);
  EXPECT_EQ(lines(some.out), 3);
  EXPECT_EQ(some.err, "There are more; see --limit.\n");
  const auto json = nlohmann::json::parse(ls({"-o", "json"}).out);
  EXPECT_EQ(json.at("blocks").size(), kBlocks + 5);
  EXPECT_EQ(testing::RunProgram(
                "banyanctl", {"--server", testing::EndpointOf(*server_), "key",
                              "ls", "absent"})
                .code,
            3);
}

}  // namespace
}  // namespace banyan
