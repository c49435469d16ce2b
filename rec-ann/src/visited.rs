//! What a search has seen.

/// Marks of numbers: those with the search's own mark are seen. One byte a number stays in the cache, and is cleared once in 255 searches.
#[derive(Default)]
pub(crate) struct Visited {
    marks: Vec<u8>,
    mark: u8,
}

impl Visited {
    /// Forgets everything; numbers are `0..len` from here on.
    pub(crate) fn restart(&mut self, len: usize) {
        self.mark = self.mark.wrapping_add(1);
        if self.mark == 0 || self.marks.len() != len {
            self.marks.clear();
            self.marks.resize(len, 0);
            self.mark = 1;
        }
    }

    /// Marks a number; whether it was not seen yet.
    #[inline(always)]
    pub(crate) fn first(&mut self, number: u32) -> bool {
        std::mem::replace(&mut self.marks[number as usize], self.mark) != self.mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_seen_after_any_number_of_restarts() {
        let mut visited = Visited::default();
        for search in 0..600 {
            visited.restart(3 + search / 400);
            assert!(visited.first(1) && !visited.first(1) && visited.first(2));
        }
    }
}
