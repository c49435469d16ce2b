// What tch has no binding for.

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>

extern "C" {

// Asks libtorch for deterministic kernels everywhere; an operation that has none throws. In this mode libtorch also fills every new
// tensor with NaN, which doubles the cost of small steps and changes no result: that half is switched off.
void rec_set_deterministic(int on) {
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  at::globalContext().setDeterministicAlgorithms(on != 0, /*warn_only=*/false);
}

int rec_is_deterministic() { return at::globalContext().deterministicAlgorithms() ? 1 : 0; }

int rec_is_recording() { return at::GradMode::is_enabled() ? 1 : 0; }

}  // extern "C"
