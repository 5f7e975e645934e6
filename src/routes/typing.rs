//! `POST /chat/typing` and `POST /conversations/{id}/typing`: tells the other side that somebody is writing.

use actix_web::{
    HttpResponse,
    web::{Data, Path},
};

use super::{
    extract::id,
    responses::{DeviceParams, NotSignedIn, Refused},
};
use crate::{
    app::App,
    auth::User,
    devices::Device,
    error::{Code, Error, Result},
    store::{sessions::Mode, typing::Typist},
};

/// `POST /chat/typing`: the visitor is writing. If an expert has the conversation, they see this for 5 seconds.
#[utoipa::path(
    post,
    path = "/chat/typing",
    operation_id = "typing_of_device",
    tag = "chat",
    params(DeviceParams),
    responses((status = 204, description = "Accepted; shown only if an expert has the conversation"), Refused)
)]
pub(super) async fn of_device(app: Data<App>, device: Device) -> Result<HttpResponse> {
    let session = app.engine.sessions().get(&device.id).await?;
    if let Some((lock, Mode::Expert)) = session {
        let owner = Typist::Owner(device.id);
        app.typing.is_writing(lock.conversation_id, owner).await?;
    }
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /conversations/{id}/typing`: the user, or the expert who has the conversation, is writing.
#[utoipa::path(
    post,
    path = "/conversations/{id}/typing",
    operation_id = "typing_of_user",
    tag = "conversations",
    params(("id" = String, Path, format = "uuid", description = "The conversation")),
    responses((status = 204, description = "Accepted; shown only if an expert has the conversation"), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn of_user(
    app: Data<App>,
    user: User,
    path: Path<String>,
) -> Result<HttpResponse> {
    let id = id(&path)?;
    let typist = match app.store.conversation(&user.id, id).await? {
        Some(_) => Typist::Owner(user.id),
        None if user.is_of_desk() => {
            let person = app.experts.person(&user).await?;
            Typist::Expert(person.expert_id())
        }
        None => return Err(Error::new(Code::NotFound)),
    };
    app.typing.is_writing(id, typist).await?;
    Ok(HttpResponse::NoContent().finish())
}
