-- What judges said of answers, and what people made of it.
create table evaluations (
    id uuid primary key,
    conversation_id uuid not null references conversations (id) on delete cascade,
    message_id uuid not null references messages (id) on delete cascade,
    judge text not null,
    criterion text not null,
    -- passed, failed, undecided (the judge could not be asked), reviewed.
    status text not null,
    score double precision,
    reason text not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    created_at timestamptz not null,
    -- approve, correct, retract.
    verdict text,
    reviewed_by text,
    reviewed_at timestamptz,
    unique (message_id, judge)
);
create index evaluations_by_status on evaluations (status, id);
create index evaluations_by_conversation on evaluations (conversation_id);

-- What an answer said that was withdrawn; its body is empty from then on.
alter table messages add column retracted text;

-- Judging must not hold up telling.
drop index jobs_to_run;
create index jobs_to_run on jobs (kind, run_at) where not dead;
