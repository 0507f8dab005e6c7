#pragma once

#include <string>

#include "checkpointing/cost_table.h"

namespace reprise {

// The file format "reprise.costs/1". Reads and checks the JSON text; `source` names it in errors. Unknown keys are left
// alone. Throws DataError, one line: the file, the key, what was expected, what was got.
CostTable parse_costs(const std::string& json, const std::string& source);
CostTable read_costs(const std::string& path);

// The JSON text, every number in full precision: parse_costs gives back the same values.
std::string format_costs(const CostTable& costs);

}  // namespace reprise
