//! Acts on what processes share: sockets, shared memory, message queues.

use crate::errno::{Errno, check};
use crate::files::c_string;
use crate::{Act, number};
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

pub(crate) const ACTS: &[Act] = &[
    ("socket", "FAMILY TYPE PROTOCOL", |a| {
        // SAFETY: three integers.
        check(unsafe { libc::socket(number(&a[0]) as i32, number(&a[1]) as i32, number(&a[2]) as i32) })
            .map(drop)
    }),
    ("connect-unix", "PATH", |a| {
        UnixStream::connect(&a[0])?;
        Ok(())
    }),
    ("connect-abstract", "NAME", |a| {
        UnixStream::connect_addr(&SocketAddr::from_abstract_name(&a[0])?)?;
        Ok(())
    }),
    ("connect-tcp", "ADDRESS", |a| {
        std::net::TcpStream::connect(&a[0])?;
        Ok(())
    }),
    // A System V shared memory segment that exists already; prints its text.
    ("shm", "KEY", |a| {
        // SAFETY: an existing segment is attached read-only for the rest of this short life and holds at least 16 bytes.
        unsafe {
            let id = check(libc::shmget(number(&a[0]) as i32, 0, 0))?;
            let at = libc::shmat(id as i32, std::ptr::null(), libc::SHM_RDONLY);
            if at as isize == -1 {
                return Err(Errno::last());
            }
            let bytes = std::slice::from_raw_parts(at.cast::<u8>(), 16);
            println!("{}", String::from_utf8_lossy(bytes).trim_end_matches('\0'));
        }
        Ok(())
    }),
    ("shm-create", "KEY TEXT", |a| {
        // SAFETY: a new segment of a page, filled with less than 16 bytes.
        unsafe {
            let id = check(libc::shmget(number(&a[0]) as i32, 4096, libc::IPC_CREAT | 0o666))?;
            let at = libc::shmat(id as i32, std::ptr::null(), 0);
            if at as isize == -1 {
                return Err(Errno::last());
            }
            let length = a[1].len().min(15);
            std::ptr::copy_nonoverlapping(a[1].as_ptr(), at.cast(), length);
        }
        Ok(())
    }),
    ("shm-remove", "KEY", |a| {
        // SAFETY: integers, and no buffer for IPC_RMID.
        unsafe {
            let id = check(libc::shmget(number(&a[0]) as i32, 0, 0))?;
            check(libc::shmctl(id as i32, libc::IPC_RMID, std::ptr::null_mut())).map(drop)
        }
    }),
    // A POSIX message queue that exists already.
    ("mq", "NAME", |a| {
        let name = c_string(a[0].trim_start_matches('/'));
        // SAFETY: a C string; without O_CREAT there are no more arguments.
        check(unsafe { libc::syscall(libc::SYS_mq_open, name.as_ptr(), libc::O_RDONLY, 0, 0) }).map(drop)
    }),
    ("mq-create", "NAME", |a| {
        let name = c_string(a[0].trim_start_matches('/'));
        // SAFETY: a C string; no attributes means the defaults.
        check(unsafe {
            libc::syscall(libc::SYS_mq_open, name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o666, 0)
        })
        .map(drop)
    }),
    ("mq-remove", "NAME", |a| {
        let name = c_string(a[0].trim_start_matches('/'));
        // SAFETY: a C string that outlives the call.
        check(unsafe { libc::syscall(libc::SYS_mq_unlink, name.as_ptr()) }).map(drop)
    }),
    ("shm-open", "NAME", |a| {
        let name = c_string(&a[0]);
        // SAFETY: a C string that outlives the call.
        check(unsafe { libc::shm_open(name.as_ptr(), libc::O_RDWR, 0) }).map(drop)
    }),
    // Copies stdin to the descriptor, or the descriptor to stdout.
    ("write-fd", "FD TEXT", |a| Ok(descriptor(&a[0]).write_all(a[1].as_bytes())?)),
    ("read-fd", "FD", |a| {
        let mut text = String::new();
        descriptor(&a[0]).read_to_string(&mut text)?;
        print!("{text}");
        Ok(())
    }),
];

fn descriptor(word: &str) -> std::mem::ManuallyDrop<std::fs::File> {
    use std::os::fd::FromRawFd;
    // SAFETY: the number names an inherited descriptor that nothing else here uses, or a closed one, which gives EBADF; it
    // is never closed here.
    std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(number(word) as i32) })
}
