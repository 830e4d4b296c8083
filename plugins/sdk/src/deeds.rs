//! Programs that change something, one after the other, each decided from what
//! stands there. A deed that was under way when the agent died is found again
//! under its key; one that is decided upon anew runs anew.

use crate::host::programs::{self, Call, Ended};
use crate::{Error, memory};

/// Carries out `call`. Its key is `deed` with the number of those that ended, in
/// whatever way: what timed out or was lost is the answer of its key for good.
pub fn run(deed: &str, call: &Call) -> Result<Ended, Error> {
    let note = format!("deed {deed}");
    let ended: u32 = memory::recall(&note)?.unwrap_or_default();
    let end = programs::run(&format!("{deed} {ended}"), call);
    let kept = memory::keep(&note, &(ended + 1));
    let end = end?;
    kept.map(|()| end)
}

/// Eight hexadecimal digits that are this step's of this run, for names of what
/// stands beside something: the same on every attempt.
pub fn short(idempotency_key: &str) -> String {
    // FNV-1a, folded: names have to differ between runs, and no enemy chooses them.
    let sum = idempotency_key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{:08x}", (sum >> 32) ^ (sum & 0xffff_ffff))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_step_of_a_run_has_one_short_name() {
        let short = super::short("r-1/step");
        assert_eq!((short.len(), short.clone()), (8, super::short("r-1/step")));
        assert_ne!(short, super::short("r-2/step"));
    }
}
