"""Numbers of system calls, from the kernel's own tables (asm/unistd_64.h; asm-generic/unistd.h on ARM). Pure."""

from __future__ import annotations

import platform

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""Each architecture that is known here, as seccomp calls it (linux/audit.h)."""
LAST = 469
"""The last number that this table was checked against (file_setattr, Linux 6.17); they are one row since 424."""

_X86_64 = """
fork 57 vfork 58 clone 56 execve 59 execveat 322 ptrace 101 process_vm_readv 310 process_vm_writev 311 kcmp 312
mount 165 umount2 166 pivot_root 155 chroot 161 setns 308 unshare 272 bpf 321 perf_event_open 298 keyctl 250 add_key 248
request_key 249 userfaultfd 323 open_by_handle_at 304 name_to_handle_at 303 kexec_load 246 kexec_file_load 320
init_module 175 finit_module 313 delete_module 176 swapon 167 swapoff 168 reboot 169 syslog 103 acct 163 quotactl 179
iopl 172 ioperm 173 modify_ldt 154 socket 41 socketpair 53 kill 62 tkill 200 tgkill 234 rt_sigqueueinfo 129
rt_tgsigqueueinfo 297 prlimit64 302 setpriority 141 sched_setscheduler 144 sched_setparam 142 sched_setattr 314
sched_setaffinity 203 ioprio_set 251 migrate_pages 256 move_pages 279 fanotify_init 300 memfd_create 319 shmget 29
msgget 68 semget 64 mq_open 240 vmsplice 278 chmod 90 fchmod 91 fchmodat 268 chown 92 fchown 93 lchown 94 fchownat 260
setxattr 188 lsetxattr 189 fsetxattr 190 removexattr 197 lremovexattr 198 fremovexattr 199 utime 132 utimes 235
futimesat 261 utimensat 280 truncate 76
"""
_AARCH64 = """
clone 220 execve 221 execveat 281 ptrace 117 process_vm_readv 270 process_vm_writev 271 kcmp 272
mount 40 umount2 39 pivot_root 41 chroot 51 setns 268 unshare 97 bpf 280 perf_event_open 241 keyctl 219 add_key 217
request_key 218 userfaultfd 282 open_by_handle_at 265 name_to_handle_at 264 kexec_load 104 kexec_file_load 294
init_module 105 finit_module 273 delete_module 106 swapon 224 swapoff 225 reboot 142 syslog 116 acct 89 quotactl 60
socket 198 socketpair 199 kill 129 tkill 130 tgkill 131 rt_sigqueueinfo 138 rt_tgsigqueueinfo 240 prlimit64 261
setpriority 140 sched_setscheduler 119 sched_setparam 118 sched_setattr 274 sched_setaffinity 122 ioprio_set 30
migrate_pages 238 move_pages 239 fanotify_init 262 memfd_create 279 shmget 194 msgget 186 semget 190 mq_open 180
vmsplice 75 fchmod 52 fchmodat 53 fchown 55 fchownat 54 setxattr 5 lsetxattr 6 fsetxattr 7 removexattr 14
lremovexattr 15 fremovexattr 16 utimensat 88 truncate 45
"""
_EVERYWHERE = """
pidfd_send_signal 424 io_uring_setup 425 io_uring_enter 426 io_uring_register 427 open_tree 428 move_mount 429
fsopen 430 fsconfig 431 fsmount 432 fspick 433 pidfd_open 434 clone3 435 pidfd_getfd 438 process_madvise 440
mount_setattr 442 quotactl_fd 443 memfd_secret 447 process_mrelease 448 fchmodat2 452 setxattrat 463 removexattrat 466
open_tree_attr 467 file_setattr 469
"""


def _table(text: str) -> dict[str, int]:
    words = (text + _EVERYWHERE).split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


TABLES = {"x86_64": _table(_X86_64), "aarch64": _table(_AARCH64)}


def table(machine: str | None = None) -> dict[str, int]:
    """The numbers of an architecture, this one's by default; a call that it does not have is missing.

    Raises:
        OSError: it is none of those known here.
    """
    machine = machine or platform.machine()
    if machine not in TABLES:
        raise OSError(f"no numbers of system calls are known for {machine}")
    return TABLES[machine]


def number(name: str) -> int:
    """The number of one call on this machine. Raises OSError where it is not known."""
    return table()[name]
