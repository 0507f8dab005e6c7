#include <stdexcept>

#include "launcher/device.h"

namespace reprise {

DeviceFacts describe_device(int) { throw std::runtime_error("CUDA is not in this build; build with the preset cuda"); }

NcclFacts nccl_facts() { return {}; }

}  // namespace reprise
