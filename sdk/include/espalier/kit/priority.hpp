// How urgent a strategy's streams are. The model computes at -2.
#ifndef ESPALIER_KIT_PRIORITY_HPP
#define ESPALIER_KIT_PRIORITY_HPP

#include <espalier/failure.hpp>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

constexpr int32_t kUrgent = -3;  // collectives: one that starts late delays all ranks
constexpr int32_t kMixed = -1;   // collectives and updates in one queue
constexpr int32_t kPatient = 0;  // updates: they take what backward leaves

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_PRIORITY_HPP
