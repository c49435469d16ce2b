//! Kernels of our own in libtorch's graph.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::Result;
use tch::Tensor;
use torch_sys::C_tensor;

/// How a result that was computed outside libtorch passes its gradient on.
pub(crate) trait Gradient {
    /// Gradients of the two inputs, given that of the result; one that is not wanted may be left out.
    fn backward(&self, gradient: &Tensor, left: &Tensor, right: Option<&Tensor>, wants: [bool; 2]) -> Result<[Option<Tensor>; 2]>;
}

/// Gradients of three inputs, given that of the result and the inputs, of which the last two may be undefined; one that is not wanted
/// may be left out.
pub(crate) type Gradients = Box<dyn Fn(&Tensor, &[Tensor; 3], [bool; 3]) -> Result<[Option<Tensor>; 3]>>;

type Backward = extern "C" fn(*const c_void, *mut C_tensor, *const *mut C_tensor, i32, *mut *mut C_tensor) -> i32;

unsafe extern "C" {
    fn rec_attach(
        out: *mut C_tensor,
        inputs: *const *mut C_tensor,
        state: *mut c_void,
        backward: Backward,
        drop: extern "C" fn(*mut c_void),
    ) -> *mut C_tensor;
}

/// `out`, which was computed from `left` and `right`, as a part of the graph. There is no second derivative.
///
/// # Errors
/// where libtorch has no memory left.
pub(crate) fn attach(out: &Tensor, left: &Tensor, right: Option<&Tensor>, kernel: Box<dyn Gradient>) -> Result<Tensor> {
    let gradients: Gradients = Box::new(move |gradient, [left, right, _], [wants_left, wants_right, _]| {
        let [left, right] = kernel.backward(gradient, left, right.defined().then_some(right), [wants_left, wants_right])?;
        Ok([left, right, None])
    });
    attach_three(out, [Some(left), right, None], gradients)
}

/// The same of up to three inputs, the first of which is there.
///
/// # Errors
/// where libtorch has no memory left.
pub(crate) fn attach_three(out: &Tensor, inputs: [Option<&Tensor>; 3], gradients: Gradients) -> Result<Tensor> {
    let inputs = inputs.map(|input| input.map_or(std::ptr::null_mut(), |t| t.as_ptr() as *mut C_tensor));
    let state = Box::into_raw(Box::new(gradients)).cast();
    // SAFETY: the tensors live through the call, `inputs` has three places; `state` is handed over, and `dropped` gets it back once.
    let attached = unsafe { rec_attach(out.as_ptr() as *mut _, inputs.as_ptr(), state, backward, dropped) };
    anyhow::ensure!(!attached.is_null(), "libtorch could not take a kernel's result into its graph");
    // SAFETY: a tensor that the other side made for us.
    Ok(unsafe { Tensor::from_ptr(attached.cast()) })
}

extern "C" fn dropped(state: *mut c_void) {
    // SAFETY: `attach_three` made it by `into_raw`, and this is called once.
    drop(unsafe { Box::from_raw(state.cast::<Gradients>()) });
}

extern "C" fn backward(
    state: *const c_void,
    gradient: *mut C_tensor,
    inputs: *const *mut C_tensor,
    wants: i32,
    to: *mut *mut C_tensor,
) -> i32 {
    // SAFETY: `state` is what `attach_three` handed over, and the tensors, three of them at `inputs`, were made for us.
    let (gradients, gradient, inputs) = unsafe {
        let inputs = inputs.cast::<[*mut C_tensor; 3]>().read();
        (&*state.cast::<Gradients>(), Tensor::from_ptr(gradient.cast()), inputs.map(|t| Tensor::from_ptr(t.cast())))
    };
    let wants = [0, 1, 2].map(|bit| wants & (1 << bit) != 0);
    match catch_unwind(AssertUnwindSafe(|| gradients(&gradient, &inputs, wants))) {
        Ok(Ok(found)) => {
            for (at, gradient) in found.into_iter().enumerate() {
                if let Some(gradient) = gradient {
                    // SAFETY: `to` has three places for pointers, and what these then point to is the other side's to delete.
                    unsafe { *to.add(at) = gradient.as_ptr() as *mut C_tensor };
                    std::mem::forget(gradient);
                }
            }
            0
        }
        Ok(Err(_)) | Err(_) => 1,
    }
}
