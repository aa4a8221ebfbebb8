//! Logging through `log` and `env_logger`, to standard error.

use env_logger::{Builder, Env};
use log::LevelFilter;

/// `RUST_LOG` chooses, `info` is the default, in the demo `warn` and the access log.
///
/// The libraries below us stay at `warn`, also where `RUST_LOG` asks for more of everything: at `debug`
/// pingora writes whole request heads, with checksums and names of people. Its balancer only repeats
/// what our own polling has said.
pub(super) fn init(is_demo: bool) {
    let default = if is_demo { "warn,portico::access=info" } else { "info" };
    let mut builder = Builder::from_env(Env::default().default_filter_or(default));
    for module in
        ["pingora", "pingora_core", "pingora_proxy", "hyper", "hyper_util", "h2", "rustls"]
    {
        builder.filter_module(module, LevelFilter::Warn);
    }
    builder.filter_module("pingora_load_balancing", LevelFilter::Error);
    builder.format_timestamp_millis().init();
}
