//! The BigBlueButton HTTP API as pure values: calls, ordered parameters, checksums, XML. No IO, and no
//! knowledge of Portico.

mod checksum;

pub use checksum::{Algorithm, UnknownAlgorithm};
