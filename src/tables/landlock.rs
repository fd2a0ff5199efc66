//! stub
pub const EXECUTE: u64 = 1;
pub const WRITE_FILE: u64 = 2;
pub const READ_FILE: u64 = 4;
pub const READ_DIR: u64 = 8;
pub const MAKE_REG: u64 = 1 << 8;
pub const TRUNCATE: u64 = 1 << 14;
pub const IOCTL_DEV: u64 = 1 << 15;
pub const READ: u64 = 13;
pub const EXECUTE_ONLY: u64 = 5;
pub const FILE_RIGHTS: u64 = 1 | 2 | 4 | (1 << 14) | (1 << 15);
pub fn handled_fs(abi: u32) -> u64 {
    match abi {
        1 => 0x1fff,
        2 => 0x3fff,
        3 | 4 => 0x7fff,
        _ => 0xffff,
    }
}
pub fn write(abi: u32) -> u64 {
    handled_fs(abi) & !IOCTL_DEV
}
