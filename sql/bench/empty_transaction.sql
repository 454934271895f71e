-- What every call costs before it does anything.
select 1;
