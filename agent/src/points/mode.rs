//! The mode of a file as the restic format holds it: Go's bits, which keep the
//! permissions where the kernel does and everything else elsewhere.

const PERMISSIONS: u32 = 0o777;
/// The kernel's bit and Go's for set-user, set-group and sticky.
const SPECIAL: [(u32, u32); 3] = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
/// The kernel's kind and Go's bit; a regular file has none.
const KINDS: [(u32, u32); 6] = [
    (0o040_000, 1 << 31),
    (0o120_000, 1 << 27),
    (0o060_000, 1 << 26),
    (0o010_000, 1 << 25),
    (0o140_000, 1 << 24),
    (0o020_000, 1 << 26 | 1 << 21),
];
const KIND_MASK: u32 = 0o170_000;

/// From the kernel's mode.
pub(super) fn to_go(mode: u32) -> u32 {
    let kind = KINDS.iter().filter(|(kernel, _)| mode & KIND_MASK == *kernel);
    let special = SPECIAL.iter().filter(|(kernel, _)| mode & kernel != 0);
    kind.chain(special).fold(mode & PERMISSIONS, |bits, (_, go)| bits | go)
}

/// The lower twelve bits of the kernel's mode.
pub(super) fn permissions_from_go(bits: u32) -> u32 {
    let special = SPECIAL.iter().filter(|(_, go)| bits & go != 0);
    special.fold(bits & PERMISSIONS, |mode, (kernel, _)| mode | kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_survive_both_ways() {
        for mode in [0o644, 0o4755, 0o2770, 0o1777, 0o7777, 0] {
            for kind in [0o100_000, 0o040_000, 0o120_000, 0o060_000, 0o010_000, 0o020_000] {
                assert_eq!(permissions_from_go(to_go(kind | mode)), mode, "{mode:o}");
            }
        }
        assert_eq!(to_go(0o040_755), 0x8000_01ed);
        assert_eq!(to_go(0o020_600), 0x0420_0180);
    }
}
