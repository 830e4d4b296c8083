begin;
alter table agents rename column name to handle;
delete from conversations where id % 2 = 0;
update conversations set question = upper(question);
insert into schema_version (version) values (13);
commit;
