//! What of the work that one instance has to do is ours.

use tokio::sync::watch;

use super::Living;

/// Follows who is alive. Where instances do not know of each other, everything is everybody's.
#[derive(Debug, Clone)]
pub struct Duties(Option<watch::Receiver<Living>>);

impl Duties {
    /// Everything, always.
    pub fn all() -> Self {
        Self(None)
    }

    /// What the living leave to us.
    pub fn among(living: watch::Receiver<Living>) -> Self {
        Self(Some(living))
    }

    /// Whether this is ours to do.
    pub fn is_ours(&self, what: &str) -> bool {
        self.0.as_ref().is_none_or(|living| living.borrow().is_ours(what))
    }

    /// Who is alive, and does what; nothing where instances do not know of each other.
    pub fn living(&self) -> Option<Living> {
        self.0.as_ref().map(|living| living.borrow().clone())
    }

    /// Those at this moment; what changes from here on ends [`Duties::changed`].
    pub fn mark_unchanged(&mut self) {
        if let Some(living) = &mut self.0 {
            living.mark_unchanged();
        }
    }

    /// Waits until others may be ours.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn changed(&mut self) {
        if let Some(living) = &mut self.0
            && living.changed().await.is_ok()
        {
            return;
        }
        // They will not change any more.
        std::future::pending::<()>().await;
    }
}
