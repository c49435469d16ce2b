// What tch has no binding for.

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

namespace {

// Gradients of a kernel that is not libtorch's. Tensors are handed over: who gets one deletes it. `wants` has a bit for each input.
using Backward = int (*)(const void* state, at::Tensor* gradient, at::Tensor* left, at::Tensor* right, int wants, at::Tensor** to_left,
                         at::Tensor** to_right);

struct Kernel : torch::CustomClassHolder {
  Kernel(void* state, Backward backward, void (*drop)(void*)) : state(state), backward(backward), drop(drop) {}
  ~Kernel() override { drop(state); }
  void* state;
  Backward backward;
  void (*drop)(void*);
};

// Puts a result that was computed elsewhere into the graph.
struct Attached : torch::autograd::Function<Attached> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& left,
                            const std::optional<at::Tensor>& right, at::Tensor* out,
                            c10::intrusive_ptr<Kernel> kernel) {
    context->save_for_backward({left, right.value_or(at::Tensor())});
    context->saved_data["kernel"] = c10::IValue::make_capsule(kernel);
    return *out;
  }

  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context, torch::autograd::tensor_list gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "this operation has no second derivative");
    auto saved = context->get_saved_variables();
    auto capsule = context->saved_data["kernel"].toCapsule();
    auto* kernel = static_cast<Kernel*>(capsule.get());
    int wants = (context->needs_input_grad(0) ? 1 : 0) | (saved[1].defined() && context->needs_input_grad(1) ? 2 : 0);
    at::Tensor *to_left = nullptr, *to_right = nullptr;
    int code = kernel->backward(kernel->state, new at::Tensor(gradients[0].contiguous()), new at::Tensor(saved[0]),
                                new at::Tensor(saved[1]), wants, &to_left, &to_right);
    at::Tensor left, right;
    if (to_left) { left = *to_left; delete to_left; }
    if (to_right) { right = *to_right; delete to_right; }
    TORCH_CHECK(code == 0, "the gradient of a kernel failed");
    return {left, right, at::Tensor(), at::Tensor()};
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

// `*out` with the gradient that `backward` computes, to be deleted by the caller; null where libtorch threw.
at::Tensor* rec_attach(at::Tensor* out, at::Tensor* left, at::Tensor* right, void* state, Backward backward, void (*drop)(void*)) {
  try {
    auto kernel = c10::make_intrusive<Kernel>(state, backward, drop);
    return new at::Tensor(Attached::apply(*left, right ? std::optional<at::Tensor>(*right) : std::nullopt, out, kernel));
  } catch (...) {
    return nullptr;
  }
}

}  // extern "C"
