//! The same code, compiled for the processor at hand.

/// Runs `work` in a copy that is compiled for AVX-512, or for AVX2 and FMA, where the processor has them.
///
/// Write `vectorised(#[inline(always)] || …)`: a closure that is not inlined into the copy is not compiled for it, and neither is
/// whatever it calls without being inlined. Floating-point results do not depend on
/// which copy runs: the compiler neither fuses nor reorders operations, and `mul_add` is exact everywhere.
#[inline(always)]
pub fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn with_avx512<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        #[target_feature(enable = "avx2,fma")]
        fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        if has_avx512() {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { with_avx512(work) };
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { with_avx2(work) };
        }
    }
    work()
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") && has!("avx2") && has!("fma")
}

/// Σ a·b in sixteen lanes: as fast as the processor adds, in an order that is always the same.
#[inline(always)]
pub fn lane_dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    let mut sums = [0f32; 16];
    for (x, y) in a.iter().zip(b) {
        sums = std::array::from_fn(|lane| sums[lane] + x[lane] * y[lane]);
    }
    fold(sums) + rest
}

/// Σ a·b in 32 lanes by fused multiply-adds: faster than [`lane_dot`] on long vectors, in an order that is always the same too.
#[inline(always)]
pub fn fused_dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    let rest = a_rest.iter().zip(b_rest).fold(0f32, |sum, (x, y)| x.mul_add(*y, sum));
    let mut sums = [0f32; 32];
    for (x, y) in a.iter().zip(b) {
        sums = std::array::from_fn(|lane| x[lane].mul_add(y[lane], sums[lane]));
    }
    fold(sums) + rest
}

/// The sum of the lanes, halves added to each other.
#[inline(always)]
fn fold<const LANES: usize>(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// Asks the processor to bring `values` near: for rows that a loop will come to soon, in an order that it cannot guess.
#[inline(always)]
pub fn prefetch(values: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(16) {
        // SAFETY: a hint; it reads nothing and cannot fault.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}
