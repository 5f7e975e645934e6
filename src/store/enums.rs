//! The closed sets that columns hold, as words: alike in the database and on the wire.

use diesel::{
    backend::Backend,
    deserialize::{self, FromSql, FromSqlRow},
    expression::AsExpression,
    serialize::{self, Output, ToSql},
    sql_types::Text,
};
use serde::{Deserialize, Serialize};

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, AsExpression, FromSqlRow)]
        #[derive(utoipa::ToSchema)]
        #[serde(rename_all = "snake_case")]
        #[diesel(sql_type = Text)]
        pub enum $name {
            $($(#[$word_doc])* $word,)*
        }

        impl $name {
            /// The word, alike in the database and on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => $text,)*
                }
            }

            #[cfg(test)]
            fn all() -> Vec<(serde_json::Value, &'static str)> {
                vec![$((serde_json::json!(Self::$word), $text),)*]
            }
        }

        impl<DB: Backend> FromSql<Text, DB> for $name
        where
            String: FromSql<Text, DB>,
        {
            fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
                match String::from_sql(value)?.as_str() {
                    $($text => Ok(Self::$word),)*
                    other => Err(format!("{other} is no {}", stringify!($name)).into()),
                }
            }
        }

        impl<DB: Backend> ToSql<Text, DB> for $name
        where
            str: ToSql<Text, DB>,
        {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
                self.as_str().to_sql(out)
            }
        }
    )*};
}

words! {
    /// Who said it.
    Role {
        /// The visitor.
        User = "user",
        /// An agent.
        Assistant = "assistant",
        /// A person at the desk.
        Expert = "expert",
        /// The desk itself.
        System = "system",
        /// A tool.
        Tool = "tool",
    }
    /// Which way a message went, seen from the desk.
    Direction {
        /// To the desk.
        Incoming = "incoming",
        /// From the desk.
        Outgoing = "outgoing",
    }
    /// What kind of message it is.
    MessageType {
        /// What the visitor wrote.
        UserInput = "user_input",
        /// What an agent answered.
        AssistantResponse = "assistant_response",
        /// A tool that an agent called, recorded before it was.
        ToolCall = "tool_call",
        /// What came of it.
        ToolResult = "tool_result",
        /// Something to look at or to fill in.
        Widget = "widget",
        /// What the visitor answered to one.
        WidgetAnswer = "widget_answer",
        /// What a person at the desk wrote.
        ExpertMessage = "expert_message",
        /// What the desk itself says: who answers now, and where the visitor stands.
        SystemMessage = "system_message",
    }
    /// Who is answering in a conversation.
    Mode {
        /// An agent.
        Ai = "ai",
        /// A person.
        Expert = "expert",
    }
    /// Whether a conversation goes on.
    Status {
        /// It does.
        Active = "active",
        /// What it was about is settled.
        Completed = "completed",
        /// Put away.
        Archived = "archived",
    }
    /// What became of an answer at a judge's, and after.
    EvaluationStatus {
        /// It may stand.
        Passed = "passed",
        /// It may not, and nobody has looked at it yet.
        Failed = "failed",
        /// The judge could not be asked, and nobody has looked at it yet.
        Undecided = "undecided",
        /// Somebody has looked at it.
        Reviewed = "reviewed",
    }
    /// What somebody makes of an answer that a judge did not let pass.
    Verdict {
        /// It stands.
        Approve = "approve",
        /// It is withdrawn, and another one is given instead.
        Correct = "correct",
        /// It is withdrawn.
        Retract = "retract",
    }
    /// Why a turn ended.
    FinishReason {
        /// The answer is complete.
        Stop = "stop",
        /// The answer reached the longest length that is allowed.
        Length = "length",
        /// The visitor stopped it.
        Cancelled = "cancelled",
        /// It is answered together with a later message.
        Merged = "merged",
        /// A person has the conversation.
        Handoff = "handoff",
        /// The server that ran it went away.
        Interrupted = "interrupted",
        /// It failed.
        Error = "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_the_same_in_the_database_and_on_the_wire() {
        let all = [
            Role::all(),
            Direction::all(),
            MessageType::all(),
            Mode::all(),
            Status::all(),
            EvaluationStatus::all(),
            Verdict::all(),
            FinishReason::all(),
        ];
        for (wire, word) in all.concat() {
            assert_eq!(wire, word);
        }
    }
}
