//! Settings that all instances share and no operator has to make, such as the site's secret.

use super::{Store, StoreError, on_db};

impl Store {
    /// The value of a shared setting. The first caller stores `new`; later ones get the stored value.
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
