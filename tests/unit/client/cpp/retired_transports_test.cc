// Goal: a transport ends where it may take its time, never with whoever happens
// to use it last; and each ends once.
// Method: transports that only tell on which thread they end.
#include "client/cpp/retired_transports.h"

#include <gtest/gtest.h>

#include <optional>
#include <thread>

namespace banyan::client {
namespace {

using EndedOn = std::optional<std::thread::id>;

class TellingTransport final : public transport::Transport {
 public:
  explicit TellingTransport(EndedOn& ended) : ended_(ended) {}
  ~TellingTransport() override {
    EXPECT_FALSE(ended_.has_value());
    ended_ = std::this_thread::get_id();
  }

  std::string_view name() const override { return "telling"; }
  absl::StatusOr<uint32_t> Match(const transport::Blocks&,
                                 const transport::Call&) override {
    return 0;
  }
  absl::Status Get(const transport::GetRequest&, const transport::Call&,
                   transport::GetResult&) override {
    return absl::OkStatus();
  }
  absl::Status Put(const transport::PutRequest&, const transport::Call&,
                   transport::SentChecksums&) override {
    return absl::OkStatus();
  }

 private:
  EndedOn& ended_;
};

TEST(RetiredTransportsTest, AUserThatLetsGoLastEndsNothing) {
  const auto retired = RetiredTransports::Create();
  EndedOn ended;
  std::shared_ptr<transport::Transport> held =
      retired->Share(std::make_unique<TellingTransport>(ended));
  std::thread user([used = std::exchange(held, nullptr)]() mutable {
    EXPECT_EQ(used->name(), "telling");
    used = nullptr;
  });
  user.join();
  EXPECT_FALSE(ended.has_value());

  retired->EndAll();

  EXPECT_EQ(ended, std::this_thread::get_id());
  retired->EndAll();
}

TEST(RetiredTransportsTest, WhatIsInUseStays) {
  const auto retired = RetiredTransports::Create();
  EndedOn ended;
  auto held = retired->Share(std::make_unique<TellingTransport>(ended));

  retired->EndAll();
  EXPECT_FALSE(ended.has_value());

  held = nullptr;
  retired->EndAll();
  EXPECT_TRUE(ended.has_value());
}

TEST(RetiredTransportsTest, WithoutAnOwnerWhatIsLeftEndsAtOnce) {
  auto retired = RetiredTransports::Create();
  EndedOn ended;
  auto held = retired->Share(std::make_unique<TellingTransport>(ended));

  retired = nullptr;
  EXPECT_FALSE(ended.has_value());
  held = nullptr;

  EXPECT_TRUE(ended.has_value());
}

}  // namespace
}  // namespace banyan::client
