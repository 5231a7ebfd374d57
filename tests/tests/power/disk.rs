//! A disk that loses its power: the effects of a program on its files, and those that remain.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ff_sdk::core::entropy::Entropy;

/// The bytes that a disk writes as a whole, or not at all.
const SECTOR: usize = 512;

/// An effect of a program on a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Written {
        at: usize,
        bytes: Vec<u8>,
    },
    /// Its length was set.
    Cut(usize),
    /// All that was done before is on the disk.
    Synced,
    Removed,
}

/// Reads the record that `recorder.c` makes: names of files, and what was done to them.
pub fn record(path: &Path) -> Vec<(String, Effect)> {
    let bytes = fs::read(path).expect("the record can be read");
    let (mut rest, mut effects) = (&bytes[..], Vec::new());
    let mut take = |length: usize| {
        let (taken, left) = rest.split_at_checked(length)?;
        rest = left;
        Some(taken)
    };
    while let Some(head) = take(2) {
        let name = take(head[1].into()).expect("a name");
        let name = String::from_utf8(name.to_vec()).expect("a text");
        let mut number = || {
            let bytes = take(8).expect("a number").try_into().expect("eight bytes");
            usize::try_from(u64::from_ne_bytes(bytes)).expect("a place in a file")
        };
        let (at, length) = (number(), number());
        let effect = match head[0] {
            b'W' => Effect::Written { at, bytes: take(length).expect("the bytes").to_vec() },
            b'T' => Effect::Cut(at),
            b'S' => Effect::Synced,
            b'U' => Effect::Removed,
            kind => panic!("an entry of the unknown kind {kind}"),
        };
        effects.push((name, effect));
    }
    effects
}

/// The part of the effects since the last sync that a loss of power leaves.
#[derive(Clone, Copy, Debug)]
pub enum Left {
    Nothing,
    All,
    /// Each sector that was written, and each other effect, or not.
    Some,
}

/// The contents of the files after these effects and a loss of power.
pub fn files(
    effects: &[(String, Effect)],
    left: Left,
    draws: &mut Entropy,
) -> BTreeMap<String, Vec<u8>> {
    let (mut files, mut pending) = (BTreeMap::new(), BTreeMap::<&str, Vec<&Effect>>::new());
    let mut all = |_: &Effect| true;
    for (name, effect) in effects {
        match effect {
            Effect::Synced => {
                for effect in pending.remove(name.as_str()).unwrap_or_default() {
                    apply(&mut files, name, effect, &mut all);
                }
            }
            effect => pending.entry(name).or_default().push(effect),
        }
    }
    let mut is_left = |_: &Effect| match left {
        Left::Nothing => false,
        Left::All => true,
        Left::Some => draws.below(2) == 0,
    };
    for (name, effects) in pending {
        for effect in effects {
            apply(&mut files, name, effect, &mut is_left);
        }
    }
    files
}

/// Applies an effect, sector by sector, as far as it is left.
fn apply(
    files: &mut BTreeMap<String, Vec<u8>>,
    name: &str,
    effect: &Effect,
    is_left: &mut dyn FnMut(&Effect) -> bool,
) {
    match effect {
        Effect::Written { at, bytes } => {
            let file = files.entry(name.to_owned()).or_default();
            let (mut from, end) = (*at, at + bytes.len());
            while from < end {
                let to = end.min((from / SECTOR + 1) * SECTOR);
                if is_left(effect) {
                    file.resize(file.len().max(to), 0);
                    file[from..to].copy_from_slice(&bytes[from - at..to - at]);
                }
                from = to;
            }
        }
        Effect::Cut(length) if is_left(effect) => {
            files.entry(name.to_owned()).or_default().resize(*length, 0);
        }
        Effect::Removed if is_left(effect) => drop(files.remove(name)),
        _ => {}
    }
}
