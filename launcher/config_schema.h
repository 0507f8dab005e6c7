#pragma once

#include <vector>

#include "launcher/setting.h"

namespace reprise {

// All keys, in the order in which a configuration is written. Names are a protocol.
std::vector<Setting> config_schema();

}  // namespace reprise
