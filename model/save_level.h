#pragma once

namespace reprise {

// What a stage keeps between its forward and its backward. A level changes which tensors are kept, never the formula:
// gradients of all levels are bitwise equal.
enum class SaveLevel {
  all,    // everything the backward reads
  lean,   // neither the normalised input nor the activation output; both are recomputed inside the stage's backward
  input,  // the stage's input only (and attention's row statistics); the rest is replayed inside the stage's backward,
          // without the stage's last matrix product
};

}  // namespace reprise
