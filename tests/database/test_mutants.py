"""Whoever weakens the database is noticed by the policy tests."""

from tests.database import mutants
from tests.database.project import Project

EVERY = 12  # one in so many: `make mutants` tries all


def test_no_mutant_of_a_sample_survives(project: Project) -> None:
    verdicts = mutants.judge(project, every=EVERY)
    assert len(verdicts) > 400 / EVERY
    assert mutants.survivors(verdicts) == []


def test_mutants_of_a_table_to_come_are_derived_and_noticed(project: Project, clone: str) -> None:
    """A table that nobody has written a test or a row of the matrix for."""
    with project.connect(clone) as database:
        before = {mutant.name for mutant in mutants.derive(database)}
        database.execute("create table public.orders (id uuid primary key default gen_random_uuid(), qty int not null)")
        database.execute("alter table public.orders enable row level security")
        database.execute("create policy mine on public.orders for select to authenticated using (id = auth.uid())")
        new = {mutant.name for mutant in mutants.derive(database)} - before
    assert {
        "drop policy mine on public.orders",
        "policy mine on public.orders: using (true)",
        "disable row level security on public.orders",
        "revoke truncate on table public.orders from anon",
        "grant select (qty) on table public.orders to anon",
        "public.orders.qty: drop not null",
        "public.orders.id: drop default",
        "drop constraint orders_pkey",
    } <= new
    noticed = mutants.first_failure(project, clone)
    assert noticed == "04_rights: the rights are those of the matrix, no more and no less"
