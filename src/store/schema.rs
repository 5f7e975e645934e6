//! The tables, declared once for both databases. A test compares them with both catalogues.

use diesel::{allow_tables_to_appear_in_same_query, table};

table! {
    use diesel::sql_types::*;
    settings (key) {
        key -> Text,
        value -> Text,
    }
}

table! {
    use diesel::sql_types::*;
    use super::super::types::{Ts, Uid};
    users (id) {
        id -> Uid,
        phone_number -> Text,
        name -> Nullable<Text>,
        created_at -> Ts,
        last_seen_at -> Ts,
    }
}

table! {
    use diesel::sql_types::*;
    use super::super::types::{Doc, Ts, Uid};
    conversations (id) {
        id -> Uid,
        user_id -> Uid,
        title -> Nullable<Text>,
        user_input -> Text,
        agent_path -> Nullable<Text>,
        mode -> Text,
        status -> Text,
        state -> Doc,
        context -> Nullable<Doc>,
        session_key -> Nullable<Text>,
        expert_id -> Nullable<Uid>,
        assigned_to -> Nullable<Uid>,
        waiting_since -> Nullable<Ts>,
        reason -> Nullable<Text>,
        skill -> Nullable<Text>,
        last_seq -> BigInt,
        running_turn -> Nullable<Uid>,
        owner -> Nullable<Uid>,
        lease_until -> Nullable<Ts>,
        fence -> BigInt,
        stop_requested -> Bool,
        watched_until -> Nullable<Ts>,
        created_at -> Ts,
        updated_at -> Ts,
        visitor_types_until -> Nullable<Ts>,
        expert_types_until -> Nullable<Ts>,
    }
}

table! {
    use diesel::sql_types::*;
    use super::super::types::{Ts, Uid};
    session_locks (device_id) {
        device_id -> Text,
        conversation_id -> Uid,
        active_agent -> Nullable<Text>,
        locked_at -> Ts,
        session_ttl -> BigInt,
        expires_at -> Ts,
        window_began -> Ts,
        window_count -> BigInt,
    }
}

table! {
    use diesel::sql_types::*;
    use super::super::types::Ts;
    kept_windows (limit_key) {
        limit_key -> Text,
        window_began -> Ts,
        window_count -> BigInt,
    }
}

table! {
    use diesel::sql_types::*;
    use super::super::types::{Ts, Uid};
    turns (id) {
        id -> Uid,
        conversation_id -> Uid,
        device_id -> Nullable<Text>,
        attempt -> Integer,
        fence -> BigInt,
        idempotency_key -> Nullable<Text>,
        request_hash -> Nullable<Binary>,
        finish_reason -> Nullable<Text>,
        error_code -> Nullable<Text>,
        started_at -> Ts,
        finished_at -> Nullable<Ts>,
        merged_into -> Nullable<Uid>,
        input_tokens -> Nullable<BigInt>,
        output_tokens -> Nullable<BigInt>,
        keep -> Nullable<BigInt>,
    }
}

table! {
    use diesel::sql_types::*;
    budgets (scope, day) {
        scope -> Text,
        day -> BigInt,
        spent -> BigInt,
        reserved -> BigInt,
    }
}

table! {
    use diesel::sql_types::*;
    use super::super::types::Uid;
    reservations (turn_id, scope) {
        turn_id -> Uid,
        scope -> Text,
        day -> BigInt,
        tokens -> BigInt,
    }
}

table! {
    use diesel::sql_types::*;
    use super::super::types::{Doc, Ts, Uid};
    messages (id) {
        id -> Uid,
        conversation_id -> Uid,
        turn_id -> Nullable<Uid>,
        seq -> BigInt,
        role -> Text,
        direction -> Text,
        message_type -> Text,
        body -> Text,
        media_urls -> Doc,
        audio_urls -> Doc,
        component_type -> Nullable<Text>,
        component_data -> Nullable<Doc>,
        tool_name -> Nullable<Text>,
        tool_success -> Nullable<Bool>,
        finish_reason -> Nullable<Text>,
        metadata -> Nullable<Doc>,
        answers -> Nullable<Uid>,
        expert_id -> Nullable<Uid>,
        created_at -> Ts,
        retracted -> Nullable<Text>,
    }
}

table! {
    use diesel::sql_types::*;
    use super::super::types::{Ts, Uid};
    turn_events (turn_id, attempt) {
        turn_id -> Uid,
        attempt -> Integer,
        last_seq -> BigInt,
        records -> Binary,
        expires_at -> Ts,
    }
}

table! {
    use diesel::sql_types::*;
    use super::super::types::{Ts, Uid};
    turn_pieces (turn_id, attempt, last_seq) {
        turn_id -> Uid,
        attempt -> Integer,
        first_seq -> BigInt,
        last_seq -> BigInt,
        records -> Binary,
        written_at -> Ts,
    }
}

table! {
    use diesel::sql_types::*;
    use super::super::types::{Doc, Ts, Uid};
    experts (id) {
        id -> Uid,
        sub -> Text,
        name -> Nullable<Text>,
        available -> Bool,
        skills -> Doc,
        created_at -> Ts,
        seen_at -> Ts,
    }
}

table! {
    use diesel::sql_types::*;
    use super::super::types::{Ts, Uid};
    audit_log (id) {
        id -> Uid,
        at -> Ts,
        actor -> Text,
        role -> Text,
        action -> Text,
        conversation_id -> Nullable<Uid>,
    }
}

table! {
    use diesel::sql_types::*;
    use super::super::types::{Doc, Ts, Uid};
    jobs (id) {
        id -> Uid,
        kind -> Text,
        payload -> Doc,
        run_at -> Ts,
        attempts -> Integer,
        last_error -> Nullable<Text>,
        dead -> Bool,
        created_at -> Ts,
    }
}

table! {
    use diesel::sql_types::*;
    use super::super::types::{Ts, Uid};
    evaluations (id) {
        id -> Uid,
        conversation_id -> Uid,
        message_id -> Uid,
        judge -> Text,
        criterion -> Text,
        status -> Text,
        score -> Nullable<Double>,
        reason -> Text,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
        created_at -> Ts,
        verdict -> Nullable<Text>,
        reviewed_by -> Nullable<Text>,
        reviewed_at -> Nullable<Ts>,
    }
}

allow_tables_to_appear_in_same_query!(
    session_locks,
    users,
    conversations,
    messages,
    turns,
    turn_events,
    reservations,
    experts,
    evaluations
);

#[diesel::declare_sql_function]
extern "SQL" {
    /// `count` characters of a text, starting at character `from`; the first is 1.
    fn substr(
        text: diesel::sql_types::Text,
        from: diesel::sql_types::Integer,
        count: diesel::sql_types::Integer,
    ) -> diesel::sql_types::Text;
    /// The same for a nullable text.
    #[sql_name = "substr"]
    fn substr_of(
        text: diesel::sql_types::Nullable<diesel::sql_types::Text>,
        from: diesel::sql_types::Integer,
        count: diesel::sql_types::Integer,
    ) -> diesel::sql_types::Nullable<diesel::sql_types::Text>;
}

/// The database's clock. In PostgreSQL the first migration defines it, in SQLite each new connection.
#[diesel::declare_sql_function]
extern "SQL" {
    /// Now.
    fn db_now() -> crate::store::types::Ts;
    /// Now plus this many milliseconds.
    fn db_now_plus(milliseconds: diesel::sql_types::BigInt) -> crate::store::types::Ts;
}
