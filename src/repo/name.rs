//! What a repository is called.
//!
//! The name is a setting and stands in the settings log: `format.json` is written once and refuses what it does not know,
//! and a name is neither of the format nor for ever (docs/design/0005). A repository without one goes by its URL.

use crate::format::{JsonValue, Operation, RecordKind};
use crate::types::RepoName;

use super::refs::{Appended, Draft, Log, Races};
use super::{RepoError, Repository};

/// The setting.
const NAME: &str = "name";

impl Repository {
    /// The repository's name, if it was given one. A setting that is no name counts as none: it would become a part of
    /// paths.
    ///
    /// # Errors
    /// As [`Log::newest`].
    pub async fn name(&self) -> Result<Option<RepoName>, RepoError> {
        let newest = Log::of_settings(self).newest().await?.link;
        let text = newest.as_ref().and_then(|link| match link.record.settings.get(NAME) {
            Some(JsonValue::Text(text)) => Some(text.as_str()),
            _ => None,
        });
        let Some(text) = text else { return Ok(None) };
        let name = text.parse();
        if let Err(error) = &name {
            tracing::warn!(repository = %self.store().describe(), "the setting `{NAME}` is not used: {error}");
        }
        Ok(name.ok())
    }

    /// Gives the repository a name; its other settings stay.
    ///
    /// # Errors
    /// As [`Log::newest`] and [`Log::append`].
    pub(super) async fn set_name(&self, name: &RepoName) -> Result<(), RepoError> {
        let log = Log::of_settings(self);
        let mut races = Races::new(&log);
        let operation = Operation { name: "init".into(), reason: String::new() };
        loop {
            let newest = log.newest().await?.link;
            let mut settings = newest.as_ref().map(|link| link.record.settings.clone()).unwrap_or_default();
            let value = JsonValue::from(name.as_str());
            if settings.get(NAME) == Some(&value) {
                return Ok(());
            }
            settings.insert(NAME.into(), value);
            let draft = Draft { settings, ..self.draft(RecordKind::Settings, None, &operation).await? };
            match log.append(newest.as_deref(), draft).await? {
                Appended::Won(_) => return Ok(()),
                Appended::Lost => races.lost().await?,
            }
        }
    }
}
