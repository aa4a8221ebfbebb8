//! Secrets that we make.

use ring::rand::{SecureRandom, SystemRandom};

/// 64 characters, as `bbb-conf --setsecret` would make 40 and more.
const SECRET_BYTES: usize = 32;

/// The system has no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the system has no random numbers")]
pub struct NoRandomness;

/// A new secret, from the system's random source.
///
/// # Errors
/// When the system has none.
pub fn generate_secret() -> Result<String, NoRandomness> {
    let mut bytes = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_unspecified| NoRandomness)?;
    Ok(hex::encode(bytes))
}
