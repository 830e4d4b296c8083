//! One file per verb.

pub(crate) mod halt;
pub(crate) mod plugin;
pub(crate) mod points;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod service;
pub(crate) mod status;

/// Who types: the person behind `sudo`, else the owner of this process.
fn person() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    match named.filter(|name| !name.is_empty() && name.len() <= 64) {
        Some(name) => name,
        None => format!("uid {}", rustix::process::getuid().as_raw()),
    }
}

/// A time for people, in UTC.
fn clock_time(at: sternway_core::time::Timestamp) -> String {
    let at = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| "?".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}
