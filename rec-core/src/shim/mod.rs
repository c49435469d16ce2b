//! What tch has no binding for: deterministic kernels, loading the CUDA half of libtorch, and gradients of kernels of our own.

mod attach;

pub(crate) use attach::{Gradient, Gradients, attach, attach_three};

use std::ffi::CString;

use anyhow::Result;
use rec_data::fail;

unsafe extern "C" {
    fn rec_set_deterministic(on: i32);
    fn rec_is_deterministic() -> i32;
    fn rec_is_recording() -> i32;
}

/// Asks libtorch for deterministic kernels everywhere; an operation that has none fails. On CPU this costs nothing that was measured.
pub fn set_deterministic(on: bool) {
    // SAFETY: a plain call that sets a flag.
    unsafe { rec_set_deterministic(i32::from(on)) }
}

/// Whether libtorch was asked for deterministic kernels.
pub fn is_deterministic() -> bool {
    // SAFETY: a plain call that reads a flag.
    unsafe { rec_is_deterministic() == 1 }
}

/// Whether libtorch records operations for `backward` on this thread (it does, outside `no_grad`).
pub fn is_recording() -> bool {
    // SAFETY: a plain call that reads a flag of this thread.
    unsafe { rec_is_recording() == 1 }
}

/// The folder of the libtorch that this program was built with.
pub const LIBTORCH_FOLDER: &str = env!("REC_LIBTORCH");

/// Loads libtorch's CUDA half, which nothing links to by name: without it CUDA looks absent.
///
/// # Errors
/// a usage problem that says how to get the CUDA build, or the loader's own words.
pub fn load_cuda() -> Result<()> {
    let path = std::path::Path::new(LIBTORCH_FOLDER).join("libtorch_cuda.so");
    if !path.exists() {
        fail!(Usage, "this build's libtorch ({LIBTORCH_FOLDER}) has no CUDA half: run `cargo xtask setup --cuda` and build again");
    }
    let name = CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: dlopen and dlerror are called with a valid string, from one thread, and the library stays loaded for good.
    unsafe {
        if libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL).is_null() {
            let why = libc::dlerror();
            let why = if why.is_null() { "no reason given".into() } else { std::ffi::CStr::from_ptr(why).to_string_lossy() };
            fail!(Unavailable, "libtorch's CUDA half does not load: {why}");
        }
    }
    Ok(())
}
