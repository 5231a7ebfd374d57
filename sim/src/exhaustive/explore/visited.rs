//! The visited states, by their hashes alone: 16 bytes for each.

use super::canon::Hash128;

/// A set of hashes, with open addressing.
#[derive(Debug)]
pub struct Visited {
    slots: Vec<u128>,
    count: usize,
}

impl Visited {
    /// Creates an empty set.
    pub fn new() -> Self {
        Self { slots: vec![0; 1 << 16], count: 0 }
    }

    /// The number of states.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Adds a state; returns whether it is new.
    pub fn insert(&mut self, Hash128(hash): Hash128) -> bool {
        // Zero marks an empty slot.
        let hash = hash.max(1);
        if self.count * 3 >= self.slots.len() * 2 {
            let larger = vec![0; self.slots.len() * 2];
            for old in std::mem::replace(&mut self.slots, larger) {
                if old != 0 {
                    let slot = self.slot(old);
                    self.slots[slot] = old;
                }
            }
        }
        let slot = self.slot(hash);
        let new = self.slots[slot] == 0;
        self.slots[slot] = hash;
        self.count += usize::from(new);
        new
    }

    /// The slot of a hash, or the free slot for it.
    fn slot(&self, hash: u128) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = (hash as usize) & mask;
        while self.slots[slot] != 0 && self.slots[slot] != hash {
            slot = (slot + 1) & mask;
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_new_once() {
        let mut visited = Visited::new();
        let hash = |number: u128| Hash128(number * 0x9e37_79b9_7f4a_7c15_f39c_0c91);
        assert!((0..100_000).all(|number| visited.insert(hash(number))));
        assert!((0..100_000).all(|number| !visited.insert(hash(number))));
        assert_eq!(visited.len(), 100_000);
    }
}
