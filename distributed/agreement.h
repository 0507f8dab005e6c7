#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "distributed/communicator.h"

namespace reprise {

// The ranks do not describe the same run. The message names the odd rank, its host, the odd field and both values.
struct Disagreement : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Collective: every rank's text, by rank. Texts may differ in length.
std::vector<std::string> gather_texts(Communicator& communicator, const std::string& text);

// Collective: every rank's figures, (ranks, figures) fp64; all ranks give equally many.
torch::Tensor gather_figures(Communicator& communicator, const std::vector<double>& figures);

// Collective: the largest of all ranks' figures, one by one; NaN where a rank gives that.
std::vector<double> largest_figures(Communicator& communicator, const std::vector<double>& figures);

// Collective: throws Disagreement on every rank unless all ranks give equal values for equal fields.
void require_agreement(Communicator& communicator, const std::map<std::string, std::string>& fields);

}  // namespace reprise
