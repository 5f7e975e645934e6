//! What the instances of one site share without an operator's doing.

use super::{Store, StoreError, on_db};

impl Store {
    /// The value of a setting that all instances share; made by whoever asks first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn shared_setting(
        &self,
        key: &'static str,
        new: String,
    ) -> Result<String, StoreError> {
        on_db!(self, write, |conn, db| db::settings::get_or_set(
            conn, key, &new
        ))
    }
}
