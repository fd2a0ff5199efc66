//! A root like that of an image made FROM scratch: one static binary, no shell, no libc, not even a /tmp.

use crate::harness::{Ran, World, everybody};
use crate::need;

/// Enters such a root and runs `fence COMMAND…` there.
fn in_scratch(world: &World, command: &str) -> Ran {
    let line = format!(
        "cd {} && mount --make-rprivate / && mkdir -p root/proc root/dev && mount --bind root root &&
         cp {} {} root/ && mount -t proc proc root/proc && mount --rbind /dev root/dev && cd root &&
         exec chroot . /fence {command}",
        world.work().display(),
        world.fence().display(),
        world.victim().display()
    );
    world.bare("unshare", ["-m", "sh", "-ec", &line])
}

#[test]
fn an_image_of_one_binary_has_a_whole_sandbox() {
    need!(root);
    need!(program "unshare");
    let world = World::new(everybody()[0]);
    in_scratch(&world, "-- /victim status").ok().says("Seccomp:\t2");
    in_scratch(&world, "-- /victim list /").ok().says("victim");
    in_scratch(&world, "-- /victim create /x").says("EROFS");
    in_scratch(&world, "-- /victim create /tmp/x").ok();
    in_scratch(&world, "-- /victim read /proc/1/environ").says("EACCES");
    assert!(!world.work().join("root/tmp").exists(), "nothing is made on the host");
}
