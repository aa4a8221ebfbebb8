//! What becomes known of a request on its way through the pipeline, for metrics and the access log.

use std::ops::Deref;

use parking_lot::Mutex;

use super::refusal::Fault;
use crate::bbb::{Answer, Call, Failure};
use crate::model::{NodeName, Scope};

/// Notes on one request. They hold no secret, no checksum and no name of a person.
#[derive(Debug, Default)]
pub(super) struct Track(Mutex<Notes>);

/// The notes as they stand.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) call: Option<Call>,
    pub(super) scope: Option<Scope>,
    pub(super) node: Option<NodeName>,
    /// Why the answer is a failure, if it is one.
    pub(super) failure: Option<(String, Fault)>,
}

impl Track {
    pub(super) fn call(&self, call: Call) {
        self.0.lock().call = Some(call);
    }

    pub(super) fn scope(&self, scope: &Scope) {
        self.0.lock().scope = Some(scope.clone());
    }

    /// The node that the request has to do with.
    pub(super) fn node(&self, node: &NodeName) {
        self.0.lock().node = Some(node.clone());
    }

    /// The answer is a failure, for which the client is to blame.
    pub(super) fn failed(&self, failure: &Failure) {
        self.blame(failure.key.to_string(), Fault::Client);
    }

    /// The answer is a failure.
    pub(super) fn blame(&self, key: String, fault: Fault) {
        let mut notes = self.0.lock();
        // The first note is the cause, what follows only its form.
        notes.failure.get_or_insert((key, fault));
    }

    /// A node has answered, well or with a failure that is its client's.
    pub(super) fn answered(&self, answer: &Answer) {
        if !answer.is_success() {
            self.blame(answer.message_key().unwrap_or_default().into_owned(), Fault::Client);
        }
    }

    /// The answer tells of a node that is away.
    pub(super) fn node_at_fault(&self) {
        self.blame("serverUnavailable".to_owned(), Fault::Node);
    }

    pub(super) fn notes(&self) -> impl Deref<Target = Notes> {
        self.0.lock()
    }
}
