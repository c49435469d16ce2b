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

type Backward =
    extern "C" fn(*const c_void, *mut C_tensor, *mut C_tensor, *mut C_tensor, i32, *mut *mut C_tensor, *mut *mut C_tensor) -> i32;

unsafe extern "C" {
    fn rec_attach(
        out: *mut C_tensor,
        left: *mut C_tensor,
        right: *mut C_tensor,
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
    let right = right.map_or(std::ptr::null_mut(), |r| r.as_ptr() as *mut C_tensor);
    let state = Box::into_raw(Box::new(kernel)).cast();
    // SAFETY: the tensors live through the call; `state` is handed over, and `dropped` gets it back once.
    let attached = unsafe { rec_attach(out.as_ptr() as *mut _, left.as_ptr() as *mut _, right, state, backward, dropped) };
    anyhow::ensure!(!attached.is_null(), "libtorch could not take a kernel's result into its graph");
    // SAFETY: a tensor that the other side made for us.
    Ok(unsafe { Tensor::from_ptr(attached.cast()) })
}

extern "C" fn dropped(state: *mut c_void) {
    // SAFETY: `attach` made it by `into_raw`, and this is called once.
    drop(unsafe { Box::from_raw(state.cast::<Box<dyn Gradient>>()) });
}

extern "C" fn backward(
    state: *const c_void,
    gradient: *mut C_tensor,
    left: *mut C_tensor,
    right: *mut C_tensor,
    wants: i32,
    to_left: *mut *mut C_tensor,
    to_right: *mut *mut C_tensor,
) -> i32 {
    // SAFETY: `state` is what `attach` handed over, and the tensors were made for us.
    let (kernel, [gradient, left, right]) =
        unsafe { (&*state.cast::<Box<dyn Gradient>>(), [gradient, left, right].map(|t| Tensor::from_ptr(t.cast()))) };
    let work = || kernel.backward(&gradient, &left, right.defined().then_some(&right), [wants & 1 != 0, wants & 2 != 0]);
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(gradients)) => {
            for (gradient, to) in gradients.into_iter().zip([to_left, to_right]) {
                if let Some(gradient) = gradient {
                    // SAFETY: `to` points to a place for one pointer, and what it then points to is the other side's to delete.
                    unsafe { *to = gradient.as_ptr() as *mut C_tensor };
                    std::mem::forget(gradient);
                }
            }
            0
        }
        Ok(Err(_)) | Err(_) => 1,
    }
}
