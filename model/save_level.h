#pragma once

namespace reprise {

// What a stage keeps between its forward and its backward. A level changes which tensors are kept, never the formula:
// gradients of all levels are bitwise equal.
enum class SaveLevel {
  all,    // everything the backward reads
  lean,   // neither the normalised input nor the activation output; both are recomputed inside the stage's backward
          // (nothing to leave out where the normalisation comes last)
  input,  // the stage's input; the rest is replayed inside the stage's backward, without its last matrix product
          // (where the normalisation comes last, its sum and row statistics, too)
};

}  // namespace reprise
