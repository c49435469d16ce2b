//! The same code, compiled for the processor at hand.

/// Runs `work` in a copy that is compiled for AVX2 and FMA where the processor has them.
///
/// Whatever `work` calls must be inlined into it (`#[inline]` or `#[inline(always)]`) to profit. Floating-point results do not depend on
/// which copy runs: the compiler neither fuses nor reorders operations, and `mul_add` is exact everywhere.
#[inline(always)]
pub fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { with_avx2(work) };
        }
    }
    work()
}
