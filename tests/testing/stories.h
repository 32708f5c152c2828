// The small real model that the repository brings along, and texts.
#pragma once

#include <string>

#include "base/check.h"
#include "client/ctl/model/loaded_model.h"

namespace banyan::testing {

inline constexpr char kStoriesModel[] =
    BANYAN_SOURCE_DIR "/tests/testing/models/stories260K/stories260K.bin";
inline constexpr char kStoriesVocabulary[] =
    BANYAN_SOURCE_DIR "/tests/testing/models/stories260K/tok512.bin";
inline constexpr char kStoriesText[] =
    BANYAN_SOURCE_DIR "/tests/testing/models/stories260K/stories.txt";

// What the model says by itself, taking the likeliest token each time: the text
// that llama2.c gives for it (run stories260K.bin -z tok512.bin -t 0 -n 201).
inline constexpr char kGreedyStory[] =
    "Once upon a time, there was a little girl named Lily. She loved to play "
    "outside in the park. One day, she saw a big, red ball. She wanted to play "
    "with it, but it was too high.\n"
    "Lily's mom said, \"Lily, let's go to the park.\" Lily was sad and didn't "
    "know what to do. She said, \"I want to play with your ball, but I can't "
    "find it.\"\n"
    "Lily was sad and didn't know what to do. She said, \"I'm sorry, Lily. I "
    "didn't know what to do.\"\n"
    "Lily didn't want to help her mom, so she";

inline ctl::LoadedModel LoadStories() {
  auto model = ctl::LoadModel(kStoriesModel, kStoriesVocabulary);
  BANYAN_CHECK(model.ok());
  return *std::move(model);
}

}  // namespace banyan::testing
