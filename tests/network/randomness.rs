//! The system's random numbers, replaced for this test program: from a seed they
//! are the same again, and with them keys, connection ids and hash orders.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// 0: no seed yet; then the numbers are different in each process.
static STATE: AtomicU64 = AtomicU64::new(0);

/// From here on every number follows from `seed`.
pub(crate) fn seed(seed: u64) {
    STATE.store(mixed(seed) | 1, Ordering::SeqCst);
}

/// The finaliser of SplitMix64.
pub(crate) fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

fn next() -> u64 {
    if STATE.load(Ordering::SeqCst) == 0 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        seed(since.as_nanos() as u64 ^ (u64::from(std::process::id()) << 32));
    }
    mixed(STATE.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst))
}

/// What `getrandom(2)` is to every library of this program.
///
/// # Safety
/// As for the system's: `buffer` has room for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    if length > 0 {
        // SAFETY: the caller says that there is room.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
        bytes.iter_mut().for_each(|byte| *byte = next() as u8);
    }
    length as isize
}
