// Writes GGUF files for tests: values, and tensors that are encoded here by plain
// arithmetic.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/testing/codec_cases.h"

namespace banyan::testing {

class GgufWriter {
 public:
  void Integer(const std::string& name, uint32_t value) {
    Value(name, 4);
    Put(value, 4, values_);
  }
  // Of a type of so many bytes, such as 1 (int8), 3 (int16), 5 (int32).
  void Number(const std::string& name, uint32_t type, int bytes,
              uint64_t value) {
    Value(name, type);
    Put(value, bytes, values_);
  }
  void Real(const std::string& name, float value) {
    Value(name, 6);
    Put(std::bit_cast<uint32_t>(value), 4, values_);
  }
  void Text(const std::string& name, const std::string& value) {
    Value(name, 8);
    PutText(value, values_);
  }
  void Texts(const std::string& name, const std::vector<std::string>& texts) {
    Value(name, 9);
    Put(8, 4, values_);
    Put(texts.size(), 8, values_);
    for (const std::string& text : texts) PutText(text, values_);
  }
  void Integers(const std::string& name, const std::vector<uint32_t>& list) {
    Value(name, 9);
    Put(4, 4, values_);
    Put(list.size(), 8, values_);
    for (const uint32_t value : list) Put(value, 4, values_);
  }

  // Bytes of a tensor of this type; `sizes` with the fastest first.
  void Tensor(const std::string& name, const std::vector<uint64_t>& sizes,
              uint32_t type, const std::string& bytes) {
    PutText(name, tensors_);
    Put(sizes.size(), 4, tensors_);
    for (const uint64_t size : sizes) Put(size, 8, tensors_);
    Put(type, 4, tensors_);
    Put(data_.size(), 8, tensors_);
    data_ += bytes;
    data_.resize((data_.size() + 31) / 32 * 32);
    ++tensor_count_;
  }

  void Floats(const std::string& name, const std::vector<uint64_t>& sizes,
              const std::vector<float>& floats) {
    std::string bytes;
    for (const float x : floats) Put(std::bit_cast<uint32_t>(x), 4, bytes);
    Tensor(name, sizes, 0, bytes);
  }

  std::string File() const {
    std::string file = "GGUF";
    Put(3, 4, file);
    Put(tensor_count_, 8, file);
    Put(value_count_, 8, file);
    file += values_ + tensors_;
    file.resize((file.size() + 31) / 32 * 32);
    return file + data_;
  }

  static void Put(uint64_t value, int bytes, std::string& to) {
    for (int i = 0; i < bytes; ++i) {
      to.push_back(static_cast<char>(value >> 8 * i));
    }
  }
  static void PutFp16(double value, std::string& to) {
    Put(Fp16Bits(value), 2, to);
  }

 private:
  static void PutText(const std::string& text, std::string& to) {
    Put(text.size(), 8, to);
    to += text;
  }
  void Value(const std::string& name, uint32_t type) {
    PutText(name, values_);
    Put(type, 4, values_);
    ++value_count_;
  }

  std::string values_;
  std::string tensors_;
  std::string data_;
  uint64_t value_count_ = 0;
  uint64_t tensor_count_ = 0;
};

}  // namespace banyan::testing
