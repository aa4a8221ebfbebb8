//! The program as a child process, and what it says.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

/// The program that the tests are about.
const PROGRAM: &str = env!("CARGO_BIN_EXE_portico");

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program to its end, as for `portico check`.
pub(crate) async fn portico(arguments: &[&str]) -> Finished {
    portico_with(&[], arguments).await
}

/// The same with variables in its environment.
pub(crate) async fn portico_with(env: &[(&str, &str)], arguments: &[&str]) -> Finished {
    let output = tokio::process::Command::new(PROGRAM)
        .args(arguments)
        .env_remove("RUST_LOG")
        .env_remove("RUNTIME_DIRECTORY")
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(super::PATIENCE, output)
        .await
        .unwrap_or_else(|_| panic!("portico {arguments:?} does not end"))
        .expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Finished {
        code: output.status.code().expect("it was not killed"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// `portico serve`, with whatever successor it starts: all in one process group, which ends with this value.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts it. What it writes to standard error is appended to `log`.
    pub(super) fn start(config: &Path, env: &[(String, String)], log: Arc<Mutex<String>>) -> Self {
        let mut child = Command::new(PROGRAM)
            .args([OsStr::new("serve"), OsStr::new("-c"), config.as_os_str()])
            .env_remove("RUST_LOG")
            .env_remove("RUNTIME_DIRECTORY")
            .envs(env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("the program starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let reader = std::thread::spawn(move || {
            let mut line = Vec::new();
            // The pipe ends with the last process that holds it.
            while stderr.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                log.lock().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { child, reader: Some(reader) }
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Sends a signal, `"HUP"`, to the process we have started.
    pub(super) fn signal(&self, name: &str) {
        let sent = send(name, &self.id().to_string());
        assert!(sent, "SIG{name} could not be sent");
    }

    /// Kills the process group and waits until all of it is gone and all it said is in the log.
    pub(super) fn kill(&mut self) {
        // Nobody may be left in the group, which is as well.
        send("KILL", &format!("-{}", self.id()));
        drop(self.child.wait());
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading a log does not panic");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// By way of the shell, which can signal groups without a line of unsafe code.
fn send(signal: &str, to: &str) -> bool {
    Command::new("/bin/sh")
        .args(["-c", "kill -s \"$0\" -- \"$1\"", signal, to])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
