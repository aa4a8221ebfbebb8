//! Logging through `log` and `env_logger`, to standard error.

use env_logger::{Builder, Env};
use log::LevelFilter;

/// `RUST_LOG` chooses, `info` is the default, in the demo `warn`.
///
/// Whatever it says, pingora stays at `info` or above: at `debug` it would write whole request heads,
/// with checksums and names of people.
pub(super) fn init(is_demo: bool) {
    let default = if is_demo { "warn,portico::access=info" } else { "info" };
    let mut builder = Builder::from_env(Env::default().default_filter_or(default));
    let asked = builder.build();
    let pingora = asked.filter().min(LevelFilter::Info);
    let mut builder = Builder::from_env(Env::default().default_filter_or(default));
    for module in [
        "pingora",
        "pingora_core",
        "pingora_proxy",
        "pingora_load_balancing",
        "hyper",
        "h2",
        "rustls",
    ] {
        builder.filter_module(module, if is_demo { LevelFilter::Error } else { pingora });
    }
    builder.format_timestamp_millis().init();
}
