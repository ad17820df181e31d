"""The system calls that a student's process may make: an allow-list, compiled by libseccomp, loaded by `kernel.py`.

What is not listed fails as if this kernel did not have it (ENOSYS), so that libraries fall back to what they use on
older kernels. Not listed, among others: sockets of every kind but pairs, ptrace and reading another process's memory,
System V and POSIX message queues and shared memory, keyrings, namespaces, mounts, clocks that are set, user ids,
extended attributes and owners of files, memfd (which would hold memory that no limit counts), io_uring, bpf,
userfaultfd. A process cannot ignore the end of its children either: the kernel would forget the time that they took.
"""

import ctypes
import errno
import os
import signal
import tempfile

LIBRARY = "libseccomp.so.2"
KILL_PROCESS, REFUSE, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000  # SCMP_ACT_…; an error number is added to REFUSE
BAD_ARCHITECTURE = 2  # SCMP_FLTATR_ACT_BADARCH
EQUAL, MASKED = 4, 7  # SCMP_CMP_EQ, SCMP_CMP_MASKED_EQ
UNKNOWN = -1  # __NR_SCMP_ERROR

ALLOWED = """
    brk mmap munmap mprotect mremap madvise mincore msync membarrier get_mempolicy
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close close_range dup dup2 dup3
    fcntl flock fsync fdatasync ftruncate fallocate fadvise64 readahead sendfile copy_file_range pipe pipe2
    open openat openat2 creat access faccessat faccessat2 stat lstat fstat newfstatat statx statfs fstatfs
    readlink readlinkat getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat
    rename renameat renameat2 link linkat symlink symlinkat truncate chmod fchmod fchmodat fchmodat2 umask
    utime utimes futimesat utimensat getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr
    select pselect6 poll ppoll epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
    eventfd eventfd2 timerfd_create timerfd_settime timerfd_gettime signalfd signalfd4
    nanosleep clock_nanosleep pause restart_syscall futex futex_waitv set_robust_list get_robust_list rseq
    gettimeofday time clock_gettime clock_getres getitimer setitimer alarm times
    timer_create timer_settime timer_gettime timer_delete timer_getoverrun
    fork vfork execve exit exit_group wait4 waitid kill tkill tgkill
    rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait sigaltstack
    getpid gettid getppid getpgid getpgrp setpgid getsid setsid set_tid_address arch_prctl riscv_flush_icache
    sched_yield sched_getaffinity sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min
    getpriority getrlimit setrlimit getrusage getcpu sysinfo uname getrandom
    getuid geteuid getgid getegid getresuid getresgid getgroups capget
    sendto recvfrom sendmsg recvmsg shutdown getsockname getpeername getsockopt
""".split()

# CLONE_NEW…: NS, CGROUP, UTS, IPC, USER, PID, NET
NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
# TCGETS, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX, TIOCGWINSZ: is it a terminal, how much is there, how to wait
IOCTLS = (0x5401, 0x541B, 0x5421, 0x5450, 0x5451, 0x5413)
# PR_GET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_CAPBSET_READ, PR_GET_NO_NEW_PRIVS, PR_SET_VMA
CONTROLS = (2, 3, 15, 16, 23, 39, 0x53564D41)
AF_UNIX, SOCK_STREAM, OF_TYPE = 1, 1, 0xF

# A signal that is not this one has another value in at least one of the seven bits that a signal's number takes.
CHILD_ENDED, SIGNAL_BITS = int(signal.SIGCHLD), 0x7F

# call -> for each allowed form: (argument, comparison, value or mask, value under the mask) …
ALLOWED_FORMS: dict[str, list[tuple[tuple[int, int, int, int], ...]]] = {
    "clone": [((0, MASKED, NAMESPACES, 0),)],  # threads and processes, but no new namespaces
    "ioctl": [((1, EQUAL, request, 0),) for request in IOCTLS],
    "prctl": [((0, EQUAL, option, 0),) for option in CONTROLS],
    "prlimit64": [((0, EQUAL, 0, 0),)],  # of the process itself
    "rt_sigaction": [
        *(((0, MASKED, 1 << bit, ~CHILD_ENDED & 1 << bit),) for bit in range(7)),
        ((0, MASKED, SIGNAL_BITS, CHILD_ENDED), (1, EQUAL, 0, 0)),  # a question, which changes nothing
    ],
    # A pair that is connected, as asyncio makes one. Of datagrams it could send to any socket that has a name.
    "socketpair": [((0, EQUAL, AF_UNIX, 0), (1, MASKED, OF_TYPE, SOCK_STREAM))],
}
REFUSED = {"socket": errno.EACCES}  # "permission denied" tells a student more than "not implemented"


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("first", ctypes.c_uint64), ("second", ctypes.c_uint64)]


def allow_list() -> bytes:
    """The filter, as instructions for the kernel. Raises OSError where libseccomp is missing or refuses a rule."""
    library = ctypes.CDLL(LIBRARY)  # OSError: install it
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(REFUSE | errno.ENOSYS)))
    if not context:
        raise OSError("seccomp_init failed")
    try:
        _require(library.seccomp_attr_set(context, BAD_ARCHITECTURE, ctypes.c_uint32(KILL_PROCESS)), "bad architecture")
        for name in ALLOWED:
            _add_rule(library, context, ALLOW, name)
        for name, forms in ALLOWED_FORMS.items():
            for form in forms:
                _add_rule(library, context, ALLOW, name, form)
        for name, number in REFUSED.items():
            _add_rule(library, context, REFUSE | number, name)
        with tempfile.TemporaryFile() as file:
            _require(library.seccomp_export_bpf(context, file.fileno()), "export")
            file.seek(0)
            return file.read()
    finally:
        library.seccomp_release(context)


def _add_rule(library: ctypes.CDLL, context: ctypes.c_void_p, action: int, name: str, form: tuple = ()) -> None:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number == UNKNOWN:  # newer than this libseccomp: it stays refused
        return
    comparisons = (Comparison * len(form))(*(Comparison(*each) for each in form))
    done = library.seccomp_rule_add_array(context, ctypes.c_uint32(action), number, len(form), comparisons)
    _require(done, name)


def _require(result: int, what: str) -> None:
    if result < 0:
        raise OSError(-result, f"libseccomp refuses {what}: {os.strerror(-result)}")
