// What tch has no binding for.

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>

extern "C" {

// Asks libtorch for deterministic kernels everywhere; an operation that has none throws.
void rec_set_deterministic(int on) {
  at::globalContext().setDeterministicAlgorithms(on != 0, /*warn_only=*/false);
}

int rec_is_deterministic() { return at::globalContext().deterministicAlgorithms() ? 1 : 0; }

int rec_is_recording() { return at::GradMode::is_enabled() ? 1 : 0; }

}  // extern "C"
