// What tch has no binding for.

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

namespace {

// Gradients of a kernel that is not libtorch's, which has three inputs; the last two may be undefined. Tensors are handed over: who gets
// one deletes it. `wants` has a bit for each input.
using Backward = int (*)(const void* state, at::Tensor* gradient, at::Tensor* const* inputs, int wants, at::Tensor** to);

struct Kernel : torch::CustomClassHolder {
  Kernel(void* state, Backward backward, void (*drop)(void*)) : state(state), backward(backward), drop(drop) {}
  ~Kernel() override { drop(state); }
  void* state;
  Backward backward;
  void (*drop)(void*);
};

// Puts a result that was computed elsewhere into the graph.
struct Attached : torch::autograd::Function<Attached> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& first,
                            const std::optional<at::Tensor>& second, const std::optional<at::Tensor>& third, at::Tensor* out,
                            c10::intrusive_ptr<Kernel> kernel) {
    context->save_for_backward({first, second.value_or(at::Tensor()), third.value_or(at::Tensor())});
    context->saved_data["kernel"] = c10::IValue::make_capsule(kernel);
    return *out;
  }

  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context, torch::autograd::tensor_list gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "this operation has no second derivative");
    auto saved = context->get_saved_variables();
    auto capsule = context->saved_data["kernel"].toCapsule();
    auto* kernel = static_cast<Kernel*>(capsule.get());
    at::Tensor *inputs[3], *to[3] = {nullptr, nullptr, nullptr};
    int wants = 0;
    for (int i = 0; i < 3; ++i) {
      inputs[i] = new at::Tensor(saved[i]);
      if (saved[i].defined() && context->needs_input_grad(i)) wants |= 1 << i;
    }
    int code = kernel->backward(kernel->state, new at::Tensor(gradients[0].contiguous()), inputs, wants, to);
    torch::autograd::tensor_list found(5);
    for (int i = 0; i < 3; ++i) {
      if (to[i]) { found[i] = *to[i]; delete to[i]; }
    }
    TORCH_CHECK(code == 0, "the gradient of a kernel failed");
    return found;
  }
};

}  // namespace

extern "C" {

// Asks libtorch for deterministic kernels everywhere; an operation that has none throws. In this mode libtorch also fills every new
// tensor with NaN, which doubles the cost of small steps and changes no result: that half is switched off.
void rec_set_deterministic(int on) {
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  at::globalContext().setDeterministicAlgorithms(on != 0, /*warn_only=*/false);
}

int rec_is_deterministic() { return at::globalContext().deterministicAlgorithms() ? 1 : 0; }

int rec_is_recording() { return at::GradMode::is_enabled() ? 1 : 0; }

// `*out` with the gradient that `backward` computes, to be deleted by the caller; null where libtorch threw. Of the three inputs the last
// two may be null.
at::Tensor* rec_attach(at::Tensor* out, at::Tensor* const* inputs, void* state, Backward backward, void (*drop)(void*)) {
  try {
    auto kernel = c10::make_intrusive<Kernel>(state, backward, drop);
    auto other = [&](int i) { return inputs[i] ? std::optional<at::Tensor>(*inputs[i]) : std::nullopt; };
    return new at::Tensor(Attached::apply(*inputs[0], other(1), other(2), out, kernel));
  } catch (...) {
    return nullptr;
  }
}

}  // extern "C"
