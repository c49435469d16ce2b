//! Where tensors live and how many threads compute.

use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use rec_data::{fail, problem};
use tch::Device;

use crate::shim;

/// What `--device` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The processor.
    Cpu,
    /// CUDA device number `N`.
    Cuda(usize),
    /// The first CUDA device where there is one, else the processor.
    #[default]
    Auto,
}

impl FromStr for DeviceChoice {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "auto" => Ok(Self::Auto),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                let number = text.strip_prefix("cuda:").and_then(|n| n.parse().ok());
                number.map(Self::Cuda).ok_or_else(|| problem!(Usage, "the device `{text}` is none of `cpu`, `cuda:N`, `auto`"))
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

impl DeviceChoice {
    /// The device itself, checked to be there.
    ///
    /// # Errors
    /// a problem that names the device and what is missing.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto => Ok(if shim::load_cuda().is_ok() && tch::Cuda::is_available() { Device::Cuda(0) } else { Device::Cpu }),
            Self::Cuda(n) => {
                shim::load_cuda()?;
                let there = tch::Cuda::device_count();
                if !tch::Cuda::is_available() || n as i64 >= there {
                    fail!(
                        Unavailable,
                        "cuda:{n} is not there: libtorch sees {there} CUDA devices; `nvidia-smi` tells what the driver sees"
                    );
                }
                Ok(Device::Cuda(n))
            }
        }
    }
}

/// Sets the threads of libtorch and rayon alike, once, before either computes; 0 takes all cores.
///
/// # Errors
/// a usage problem where rayon's threads were fixed before.
pub fn set_threads(threads: usize) -> Result<usize> {
    let threads = if threads == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { threads };
    tch::set_num_threads(threads as i32);
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(|_| problem!(Usage, "the number of threads is fixed already: set it before anything computes"))?;
    Ok(threads)
}
