//! The next batch is made while this one computes.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::EpochBatches;

/// The batches of an epoch from `start` on, made ahead on one plain thread.
pub struct Prefetch<B> {
    batches: Option<Receiver<B>>,
    maker: Option<JoinHandle<()>>,
}

impl<B: Send + 'static> Prefetch<B> {
    /// Starts making batches, at most `ahead` of them waiting.
    pub fn new(epoch: Box<dyn EpochBatches<B>>, start: usize, ahead: usize) -> Self {
        let (sender, batches) = sync_channel(ahead.max(1));
        let maker = std::thread::spawn(move || {
            for index in start..epoch.len() {
                if sender.send(epoch.batch(index)).is_err() {
                    return;
                }
            }
        });
        Self { batches: Some(batches), maker: Some(maker) }
    }
}

impl<B> Iterator for Prefetch<B> {
    type Item = B;
    fn next(&mut self) -> Option<B> {
        let batch = self.batches.as_ref()?.recv().ok();
        if batch.is_none() {
            // A panic of the maker is the caller's too, not an early end of the epoch.
            if let Some(Err(panic)) = self.maker.take().map(JoinHandle::join) {
                std::panic::resume_unwind(panic);
            }
        }
        batch
    }
}

impl<B> Drop for Prefetch<B> {
    fn drop(&mut self) {
        drop(self.batches.take());
        if let Some(maker) = self.maker.take() {
            let _ = maker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers(usize);
    impl EpochBatches<usize> for Numbers {
        fn len(&self) -> usize {
            self.0
        }
        fn batch(&self, index: usize) -> usize {
            assert!(index < 90, "a broken maker");
            index
        }
    }

    #[test]
    fn batches_come_in_order_from_the_start_asked_for() {
        assert_eq!(Prefetch::new(Box::new(Numbers(6)), 2, 2).collect::<Vec<_>>(), [2, 3, 4, 5]);
    }

    #[test]
    fn leaving_early_ends_the_maker() {
        assert_eq!(Prefetch::new(Box::new(Numbers(50)), 0, 2).take(3).count(), 3);
    }

    #[test]
    #[should_panic(expected = "a broken maker")]
    fn a_makers_panic_is_not_the_end_of_the_epoch() {
        Prefetch::new(Box::new(Numbers(100)), 0, 2).count();
    }
}
