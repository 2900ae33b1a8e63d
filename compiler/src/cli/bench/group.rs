//! A process with all that it starts, which can be held still.
//!
//! Expects: a Unix system. Elsewhere nothing is held, and processes that wait share the cores with the one that works.
//! Guarantees: while a group is held none of its threads runs. Dropped, it is gone. If this process ends in another way (Ctrl-C, a kill), no held
//! group outlives it: the system hangs up a stopped group that nobody can wake any more. One that is at work ends at its next read or write.
//! Leaves out: what the process does.

use std::io;
use std::process::{Child, ChildStdin, ChildStdout, Command};

/// A process and its children, in a process group of their own.
pub struct Group {
    leader: Child,
}

impl Group {
    /// Starts a command as the leader of a group.
    pub fn start(command: &mut Command) -> io::Result<Group> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        Ok(Group { leader: command.spawn()? })
    }

    /// The leader's standard input and output, once, where they are pipes.
    pub fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        Some((self.leader.stdin.take()?, self.leader.stdout.take()?))
    }

    /// Takes the processor from it.
    #[cfg(unix)]
    pub fn hold(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets it go on.
    #[cfg(unix)]
    pub fn release(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    /// Takes the processor from it: not here.
    #[cfg(not(unix))]
    pub fn hold(&self) {}

    /// Lets it go on: it never stopped.
    #[cfg(not(unix))]
    pub fn release(&self) {}

    /// The leader is not waited for before the group is dropped, so the number is still its own. A group that has ended shows when it is asked.
    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) {
        let _ = rustix::process::kill_process_group(rustix::process::Pid::from_child(&self.leader), signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        self.signal(rustix::process::Signal::KILL);
        // A process that has ended already needs no signal.
        let _ = self.leader.kill();
        let _ = self.leader.wait();
    }
}
