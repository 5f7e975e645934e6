//! Records the tool calls of a running turn. Compiled once for each database.

use diesel::{dsl::exists, prelude::*, select};

use super::{
    dialect::{Conn, write_tx},
    fence, messages as message_rows,
};
use crate::store::{
    MessageSeq,
    messages::NewMessage,
    schema::{conversations, db_now, messages},
    steps::NewSteps,
    types::JsonColumn,
};

pub fn record(conn: &mut Conn, new: &NewSteps) -> QueryResult<bool> {
    write_tx(conn, |conn| {
        // The conversation's row first: the update checks the fence.
        let owned = fence::owned(new.conversation_id, new.turn_id, new.fence);
        let count = i64::try_from(new.steps.len()).unwrap_or(i64::MAX);
        let last: Option<MessageSeq> = diesel::update(owned)
            .set((
                conversations::last_seq.eq(conversations::last_seq + count),
                conversations::updated_at.eq(db_now()),
                new.context
                    .clone()
                    .map(|context| conversations::context.eq(Some(JsonColumn(context)))),
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
            // An earlier try was committed, but its answer got lost. A gap in the numbers does no harm.
            return Ok(true);
        }
        for (at, step) in (0_i64..).zip(&new.steps) {
            let widget = step.widget.as_ref();
            let at = (new.conversation_id, last - count + 1 + at);
            let row = NewMessage {
                turn_id: Some(new.turn_id),
                tool_name: Some(&step.tool),
                tool_success: step.success,
                component_type: widget.map(|(kind, _)| *kind),
                component_data: widget.map(|(_, data)| JsonColumn(data.clone())),
                metadata: Some(JsonColumn(step.metadata.clone())),
                ..NewMessage::new(step.id, at, step.message_type, &step.body)
            };
            message_rows::insert(conn, row)?;
        }
        Ok(true)
    })
}
