//! What hypervisor calls answer (LoPAR 2.9, table 170).

/// Done.
pub const SUCCESS: i64 = 0;
/// Not now.
pub const BUSY: i64 = 1;
/// The machine failed.
pub const HARDWARE: i64 = -1;
/// No such call.
pub const FUNCTION: i64 = -2;
/// A parameter is wrong.
pub const PARAMETER: i64 = -4;
/// The memory for it is not there.
pub const NOT_ENOUGH_RESOURCES: i64 = -44;
/// The second parameter is wrong.
pub const P2: i64 = -55;
/// The third parameter is wrong.
pub const P3: i64 = -56;
/// The fourth parameter is wrong.
pub const P4: i64 = -57;
/// The fifth parameter is wrong.
pub const P5: i64 = -58;
/// The flags are not supported.
pub const UNSUPPORTED_FLAG: i64 = -256;
