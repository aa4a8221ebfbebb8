//! `wrk`, a load generator that knows nothing of us: it says what failed on the wire.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::wait::PATIENCE;

const CONNECTIONS: usize = 16;
/// It is stopped long before.
const SECONDS: u32 = 300;

/// Asks for the targets in turn; counts answers that are neither a redirect nor a success.
const SCRIPT: &str = r#"
local threads, place = {}, 0
wrong = 0
function setup(thread) table.insert(threads, thread) end
function request()
    place = place % #targets + 1
    return wrk.format("GET", targets[place])
end
function response(status, headers, body)
    if status ~= 302 and not (status == 200 and body:find("SUCCESS", 1, true)) then
        wrong = wrong + 1
        if wrong < 10 then print("wrong: " .. status .. " " .. body) end
    end
end
function done(summary)
    local all = 0
    for _, thread in ipairs(threads) do all = all + thread:get("wrong") end
    local errors = summary.errors
    print(string.format("requests=%d failed=%d", summary.requests,
        all + errors.connect + errors.read + errors.write + errors.timeout + errors.status))
end
"#;

/// A running load.
#[derive(Debug)]
pub(crate) struct Wrk(Child);

impl Wrk {
    /// Asks for these targets (path and query), over and over. Its script is kept in `dir`.
    pub(crate) fn start(address: SocketAddr, targets: &[String], dir: &Path) -> Self {
        let mut script = String::from("targets = {\n");
        for target in targets {
            writeln!(script, "    {target:?},").expect("text");
        }
        script.push_str("}\n");
        script.push_str(SCRIPT);
        let path = dir.join("wrk.lua");
        std::fs::write(&path, script).expect("a file");
        let child = Command::new("wrk")
            .args(["--threads", "1", "--timeout", "20s"])
            .args(["--connections", &CONNECTIONS.to_string()])
            .args(["--duration", &format!("{SECONDS}s")])
            .arg("--script")
            .arg(path)
            .arg(format!("http://{address}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("wrk: `scripts/need wrk` installs it");
        Self(child)
    }

    /// Stops it; how many requests there were, if none has failed.
    pub(crate) async fn expect_no_failure(self) -> usize {
        let id = self.0.id().expect("it runs").to_string();
        let stopped = Command::new("kill").args(["-INT", &id]).status().await;
        assert!(stopped.expect("kill").success());
        let output = timeout(PATIENCE, self.0.wait_with_output()).await;
        let output = output.expect("it stops").expect("its output");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = said.lines().last().unwrap_or_default();
        let counts = last.strip_prefix("requests=").and_then(|rest| rest.split_once(" failed="));
        let (requests, failed) = counts.unwrap_or_else(|| panic!("wrk says\n{said}"));
        assert_eq!(failed, "0", "{said}");
        requests.parse().expect("a number")
    }
}
