//! Exit codes of the program.

pub const DONE: u8 = 0;
pub const FAILED: u8 = 1;
/// clap uses it for usage errors. `smoke` has no result then: its 1 means that the tested service is broken.
pub const NOT_RUN: u8 = 2;
/// `EX_CONFIG` of sysexits.h.
pub const INVALID_SETTINGS: u8 = 78;
/// By convention, 128 and the signal's number.
pub const INTERRUPTED: u8 = 130;
pub const TERMINATED: u8 = 143;

/// The meaning of each code, for `--help`. `smoke` has further codes, which its own help explains.
pub const MEANINGS: [(u8, &str); 6] = [
    (DONE, "done; doctor: no check is not fine"),
    (FAILED, "failed; doctor: a check is not fine; smoke: the service is broken"),
    (NOT_RUN, "not run: the arguments are invalid; smoke: there is no result or it could not be written"),
    (INVALID_SETTINGS, "settings are missing or faulty"),
    (INTERRUPTED, "stopped by SIGINT"),
    (TERMINATED, "stopped by SIGTERM"),
];
