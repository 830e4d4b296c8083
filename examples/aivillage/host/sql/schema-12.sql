create table schema_version (version int primary key, applied_at timestamptz not null default now());
insert into schema_version (version) select generate_series(1, 12);
create table agents (id int primary key, name text not null unique, skill text not null);
insert into agents values (1, 'Ida', 'bread'), (2, 'Otto', 'bridges'), (3, 'Vera', 'rollbacks');
create table conversations (
  id bigint generated always as identity primary key,
  agent int not null references agents,
  question text not null,
  asked_at timestamptz not null default now()
);
insert into conversations (agent, question) select 1 + n % 3, 'question ' || n from generate_series(1, 5000) n;
