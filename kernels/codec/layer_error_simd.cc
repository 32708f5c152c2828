#include "kernels/codec/layer_error.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/codec/layer_error_simd.cc"
#include "hwy/foreach_target.h"
#include "kernels/codec/simd_elements.h"

HWY_BEFORE_NAMESPACE();
namespace banyan::codec::HWY_NAMESPACE {

// Sums of so many elements are kept in floats.
constexpr size_t kRunElements = 4096;

template <ElementType kType, class D>
HWY_INLINE void AddSquares(D d, const std::byte* original,
                           const std::byte* decoded, hn::Vec<D>& error,
                           hn::Vec<D>& size) {
  const auto x = LoadElements<kType>(d, original);
  const auto difference = hn::Sub(LoadElements<kType>(d, decoded), x);
  error = hn::Add(error, hn::Mul(difference, difference));
  size = hn::Add(size, hn::Mul(x, x));
}

template <ElementType kType>
SquaredSums CompareRun(const std::byte* original, const std::byte* decoded,
                       size_t elements) {
  using Wide = hn::CappedTag<float, 16>;
  using One = hn::CappedTag<float, 1>;
  const Wide wide;
  auto error = hn::Zero(wide);
  auto size = hn::Zero(wide);
  auto rest_error = hn::Zero(One());
  auto rest_size = hn::Zero(One());
  const size_t lanes = hn::Lanes(wide);
  size_t at = 0;
  for (; at + lanes <= elements; at += lanes) {
    AddSquares<kType>(wide, original + 2 * at, decoded + 2 * at, error, size);
  }
  for (; at < elements; ++at) {
    AddSquares<kType>(One(), original + 2 * at, decoded + 2 * at, rest_error,
                      rest_size);
  }
  return {.error = double{hn::GetLane(hn::SumOfLanes(wide, error))} +
                   hn::GetLane(rest_error),
          .size = double{hn::GetLane(hn::SumOfLanes(wide, size))} +
                  hn::GetLane(rest_size)};
}

SquaredSums CompareHere(ElementType type, const std::byte* original,
                        const std::byte* decoded, size_t elements) {
  SquaredSums sums;
  for (size_t at = 0; at < elements; at += kRunElements) {
    const size_t run = HWY_MIN(kRunElements, elements - at);
    sums += type == ElementType::kFp16
                ? CompareRun<ElementType::kFp16>(original + 2 * at,
                                                 decoded + 2 * at, run)
                : CompareRun<ElementType::kBf16>(original + 2 * at,
                                                 decoded + 2 * at, run);
  }
  return sums;
}

}  // namespace banyan::codec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "base/check.h"

namespace banyan::codec {

HWY_EXPORT(CompareHere);

SquaredSums CompareElements(ElementType type,
                            absl::Span<const std::byte> original,
                            absl::Span<const std::byte> decoded) {
  BANYAN_CHECK(type == ElementType::kFp16 || type == ElementType::kBf16);
  BANYAN_CHECK(original.size() == decoded.size() && original.size() % 2 == 0);
  return HWY_DYNAMIC_DISPATCH(CompareHere)(type, original.data(),
                                           decoded.data(), original.size() / 2);
}

}  // namespace banyan::codec
#endif
