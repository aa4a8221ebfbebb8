//! The BigBlueButton HTTP API as pure values: calls, ordered parameters, checksums, XML. No IO, and no
//! knowledge of Portico.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `call` | the calls and what each of them takes and answers |
//! | `params` | query strings and forms: order, repetition and raw encoding are kept |
//! | `checksum`, `signed` | hashes; signing a query, and finding and verifying the checksum in one |
//! | `failure` | BigBlueButton's own failures, with their exact keys and texts |
//! | `jwt` | the tokens that callbacks are signed with |
//! | `xml` | a small XML tree, safe to read from strangers, and a shorter way for plain answers |
//! | `slides` | the body of a `create` that brings slides |
//! | `answer`, `meeting`, `meetings` | `<response>`, `<meeting>`, and `getMeetings` as a stream |
//! | `list` | any answer that lists things, as a stream |

mod answer;
mod call;
mod checksum;
mod failure;
pub mod jwt;
mod list;
mod meeting;
mod meetings;
mod params;
mod signed;
mod slides;
pub mod xml;

pub use answer::Answer;
pub use call::Call;
pub use checksum::{Algorithm, UnknownAlgorithm, checksum, signed_query, signed_url, verify};
pub use failure::Failure;
pub use list::{ListError, ListNames, ListParser};
pub use meeting::{MeetingInfo, new_meeting};
pub use meetings::MeetingsParser;
pub use params::{Params, form_queries};
pub use signed::SignedQuery;
pub use slides::{Slides, is_broken_xml, is_sound_xml, other_modules, slides_body};
pub use xml::{Child, Element, Error as XmlError, Outline};
