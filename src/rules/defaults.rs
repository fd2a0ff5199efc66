//! Commands that are denied unless `command.useDefaults` is false: they act on the machine, not on the user's files.

/// In the order in which they are tried, as rules of `command.deny` are written.
pub(crate) const DENY: [&str; 29] = [
    // The machine goes down.
    "shutdown",
    "reboot",
    "halt",
    "poweroff",
    "init 0",
    "init 6",
    "systemctl poweroff",
    "systemctl reboot",
    "systemctl halt",
    // Another kernel, or code in this one.
    "insmod",
    "rmmod",
    "modprobe",
    "kexec",
    // Disks are overwritten.
    "mkfs",
    "mkfs.ext2",
    "mkfs.ext3",
    "mkfs.ext4",
    "mkfs.xfs",
    "mkfs.btrfs",
    "mkfs.vfat",
    "mkfs.ntfs",
    "fdisk",
    "parted",
    "dd if=",
    // A container engine outside the sandbox gives the whole machine.
    "docker run -v /:/",
    "docker run --privileged",
    // Another root, other namespaces.
    "chroot",
    "unshare",
    "nsenter",
];
