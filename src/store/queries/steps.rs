//! Recording the steps of a running turn. Compiled once for each database.

use diesel::{dsl::exists, prelude::*, select};
use serde_json::json;

use super::dialect::{Conn, write_tx};
use crate::store::{
    messages::{Direction, Role},
    schema::{conversations, db_now, messages},
    steps::NewSteps,
    types::Json,
};

pub fn record(conn: &mut Conn, new: &NewSteps) -> QueryResult<bool> {
    write_tx(conn, |conn| {
        // The conversation's row first: with it the fence.
        let mine = conversations::table
            .filter(conversations::id.eq(new.conversation_id))
            .filter(conversations::fence.eq(new.fence))
            .filter(conversations::running_turn.eq(new.turn_id));
        let count = i64::try_from(new.steps.len()).unwrap_or(i64::MAX);
        let last: Option<i64> = diesel::update(mine)
            .set((
                conversations::last_seq.eq(conversations::last_seq + count),
                conversations::updated_at.eq(db_now()),
                new.context
                    .clone()
                    .map(|context| conversations::context.eq(Some(Json(context)))),
            ))
            .returning(conversations::last_seq)
            .get_result(conn)
            .optional()?;
        let Some(last) = last else {
            return Ok(false);
        };
        let ids = new.steps.iter().map(|step| step.id);
        let known = messages::table.filter(messages::id.eq_any(ids));
        if select(exists(known)).get_result(conn)? {
            // It was committed before, though nobody heard of it. A gap in the numbers does no harm.
            return Ok(true);
        }
        for (at, step) in (0_i64..).zip(&new.steps) {
            let (kind, data) = step.widget.clone().unzip();
            diesel::insert_into(messages::table)
                .values((
                    messages::id.eq(step.id),
                    messages::conversation_id.eq(new.conversation_id),
                    messages::turn_id.eq(new.turn_id),
                    messages::seq.eq(last - count + 1 + at),
                    messages::role.eq(Role::Tool),
                    messages::direction.eq(Direction::Outgoing),
                    messages::message_type.eq(step.message_type),
                    messages::body.eq(&step.body),
                    messages::media_urls.eq(Json(json!([]))),
                    messages::audio_urls.eq(Json(json!([]))),
                    messages::tool_name.eq(&step.tool),
                    messages::tool_success.eq(step.success),
                    messages::component_type.eq(kind),
                    messages::component_data.eq(data.map(Json)),
                    messages::metadata.eq(Json(step.metadata.clone())),
                    messages::created_at.eq(db_now()),
                ))
                .execute(conn)?;
        }
        Ok(true)
    })
}
