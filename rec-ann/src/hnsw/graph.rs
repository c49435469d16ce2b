//! The layers' links, in arrays that lie in a file as they lie in memory.

use anyhow::{Result, ensure};

use crate::column::Column;
use crate::file::{Reader, Writer, inconsistent};

/// A place without a link.
pub(super) const NONE: u32 = u32::MAX;
/// No node is on a higher layer: with M = 2 one of 2³² would be.
pub(super) const MAX_LEVEL: u8 = 31;

/// Who is linked to whom. Layer 0 holds every node, with up to 2M links each; a node of level l is on the layers 1 to l too, with up to M.
#[derive(Clone)]
pub(super) struct Graph {
    m: usize,
    levels: Column<u8>,
    /// `[n, 2M]`, filled up with [`NONE`].
    lowest: Column<u32>,
    /// How many of a node's first links on layer 0 the heuristic chose together, so that no two of them need be compared again.
    settled: Column<u16>,
    /// Where a node's links on layer 1 start in `upper`, counted in M; those on layer 2 follow.
    starts: Column<u32>,
    upper: Column<u32>,
    /// Where a search starts: a node of the highest level.
    entry: u32,
}

impl Graph {
    pub(super) fn new(m: usize) -> Self {
        Self {
            m,
            levels: Column::new(),
            lowest: Column::new(),
            settled: Column::new(),
            starts: Column::new(),
            upper: Column::new(),
            entry: NONE,
        }
    }

    /// Adds nodes without links.
    pub(super) fn extend(&mut self, levels: &[u8]) {
        let mut start = self.upper.len() / self.m;
        let starts: Vec<u32> = levels.iter().map(|&level| (start as u32, start += usize::from(level)).0).collect();
        self.starts.extend(&starts);
        self.upper.resize(start * self.m, NONE);
        self.levels.extend(levels);
        self.settled.resize(self.levels.len(), 0);
        self.lowest.resize(self.levels.len() * 2 * self.m, NONE);
    }

    /// The number of nodes.
    pub(super) fn len(&self) -> usize {
        self.levels.len()
    }

    pub(super) fn entry(&self) -> Option<u32> {
        (self.entry != NONE).then_some(self.entry)
    }

    pub(super) fn set_entry(&mut self, node: u32) {
        self.entry = node;
    }

    pub(super) fn level(&self, node: u32) -> u8 {
        self.levels[node as usize]
    }

    /// How many links a node can have on a layer.
    pub(super) fn width(&self, layer: u8) -> usize {
        if layer == 0 { 2 * self.m } else { self.m }
    }

    /// The places of a node's links on a layer; [`NONE`] from the first free one on.
    #[inline(always)]
    pub(super) fn places(&self, layer: u8, node: u32) -> &[u32] {
        if layer == 0 { &self.lowest[node as usize * 2 * self.m..][..2 * self.m] } else { &self.upper[self.start(layer, node)..][..self.m] }
    }

    /// A node's links on a layer.
    #[inline(always)]
    pub(super) fn links(&self, layer: u8, node: u32) -> impl Iterator<Item = u32> {
        self.places(layer, node).iter().copied().take_while(|&link| link != NONE)
    }

    /// How many of the first links need not be compared with each other.
    pub(super) fn settled(&self, layer: u8, node: u32) -> usize {
        if layer == 0 { usize::from(self.settled[node as usize]) } else { 0 }
    }

    /// Sets a node's links on a layer.
    pub(super) fn set_links(&mut self, layer: u8, node: u32, links: &[u32], settled: usize) {
        let (width, start) = (self.width(layer), self.start(layer, node));
        let places = if layer == 0 {
            self.settled.make_mut()[node as usize] = settled as u16;
            &mut self.lowest.make_mut()[node as usize * width..][..width]
        } else {
            &mut self.upper.make_mut()[start..][..width]
        };
        places[..links.len()].copy_from_slice(links);
        places[links.len()..].fill(NONE);
    }

    fn start(&self, layer: u8, node: u32) -> usize {
        (self.starts[node as usize] as usize + usize::from(layer.saturating_sub(1))) * self.m
    }

    pub(super) fn write<'a>(&'a self, sections: &mut Writer<'a>) {
        sections.add(&self.levels);
        sections.add(&self.lowest);
        sections.add(&self.settled);
        sections.add(&self.starts);
        sections.add(&self.upper);
        sections.add(std::slice::from_ref(&self.entry));
    }

    /// Takes the links of `n` nodes from a file.
    pub(super) fn read(m: usize, n: usize, sections: &mut Reader) -> Result<Self> {
        let mut out = Self {
            m,
            levels: sections.take()?,
            lowest: sections.take()?,
            settled: sections.take()?,
            starts: sections.take()?,
            upper: sections.take()?,
            entry: NONE,
        };
        let entry = sections.take::<u32>()?;
        ensure!(entry.len() == 1, inconsistent("not one entry"));
        out.entry = entry[0];
        let lengths = out.levels.len() == n && out.settled.len() == n && out.starts.len() == n && out.lowest.len() == n * 2 * m;
        ensure!(lengths, inconsistent("links of another number of nodes"));
        let entry_fits = if n == 0 { out.entry == NONE } else { (out.entry as usize) < n };
        ensure!(entry_fits, inconsistent("an entry that is no node"));
        for node in 0..n as u32 {
            let level = out.level(node);
            let end = (u64::from(out.starts[node as usize]) + u64::from(level)) * m as u64;
            let fits = level <= MAX_LEVEL && end <= out.upper.len() as u64 && out.settled(0, node) <= out.links(0, node).count();
            ensure!(fits, inconsistent("a node whose links lie outside"));
            for layer in 0..=level {
                let good = out.links(layer, node).all(|link| (link as usize) < n && link != node && out.level(link) >= layer);
                ensure!(good, inconsistent("a link to what is not on its layer"));
            }
        }
        Ok(out)
    }
}
