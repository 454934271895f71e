"""The oracle notices: nothing said, everything called an error, nothing or too little repaired, entries that claim."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import psycopg
import pytest

from edge_api.verify.drift import Expected
from edge_api.verify.findings import Finding, fix_script
from edge_api.verify.questions import verify
from tests.database.project import Project
from tests.database.verify.gap import Effect, Gap, contested, locked_out, own, reached, tighter, weaker
from tests.database.verify.gaps import KINDS
from tests.database.verify.judge import Verifier, complaints
from tests.database.verify.oracle import observe, rolled_back

ERROR = Finding("reach", "error", "table t", "is open", "", ("select 1",))
LEFT = Finding("reach", "error", "table t", "is open", "", ())
VIEW = "create view public.v as select * from public.user_accounts"
# An entry of each effect, and what does not hold for it in the way that is named.
ENTRIES = {
    Effect.REACHED: KINDS["views"]["a view"],
    Effect.LOCKED_OUT: KINDS["policies"]["no policy to see"],
    Effect.WEAKER: KINDS["structure"]["no trigger"],
    Effect.TIGHTER: KINDS["rights"]["usage on public from anon"],
    Effect.OWN: KINDS["harmless"]["an open table"],
}


def said(findings: Sequence[Finding], _connection: psycopg.Connection) -> Sequence[Finding]:
    return findings


def judged(database: psycopg.Connection, gap: Gap, findings: Sequence[Finding], script: str = "") -> str:
    return "\n".join(complaints(database, gap, Verifier(partial(said, findings), lambda _findings: script)))


@pytest.mark.parametrize("effect", [Effect.REACHED, Effect.LOCKED_OUT, Effect.WEAKER], ids=lambda effect: effect.name)
def test_a_verify_that_says_nothing_is_noticed(database: psycopg.Connection, effect: Effect) -> None:
    assert "the highest level is none instead of" in judged(database, ENTRIES[effect], [])


@pytest.mark.parametrize("effect", [Effect.WEAKER, Effect.TIGHTER, Effect.OWN], ids=lambda effect: effect.name)
def test_a_verify_that_calls_everything_an_error_is_noticed(database: psycopg.Connection, effect: Effect) -> None:
    assert "the highest level is error instead of" in judged(database, ENTRIES[effect], [ERROR])


def test_advice_that_undoes_what_is_tighter_is_noticed(database: psycopg.Connection) -> None:
    assert "undone by" in judged(database, ENTRIES[Effect.TIGHTER], [replace(ERROR, level="info")])


def test_a_script_that_repairs_nothing_is_noticed(database: psycopg.Connection) -> None:
    wrong = judged(database, ENTRIES[Effect.REACHED], [ERROR])
    assert "after the script a row is reached: reached by ['anon: select from v'" in wrong
    assert "after the script verify is not silent" in wrong
    assert "after the script calls fail" in judged(database, ENTRIES[Effect.LOCKED_OUT], [ERROR])


def test_a_script_that_locks_users_out_is_noticed(database: psycopg.Connection) -> None:
    script = "begin;\ndrop view public.v;\nrevoke insert on public.user_accounts from authenticated;\ncommit;\n"
    wrong = judged(database, ENTRIES[Effect.REACHED], [ERROR], script)
    assert "after the script calls fail: ['victim: create: 42501" in wrong
    assert "a row is reached" not in wrong


def test_a_script_that_fails_or_ends_the_transaction_is_noticed(database: psycopg.Connection) -> None:
    assert "the script fails: " in judged(
        database, ENTRIES[Effect.REACHED], [ERROR], "begin;\ndrop view public.w;\ncommit;\n"
    )
    for_person = replace(ENTRIES[Effect.REACHED], only_person=True)
    assert "is still reached, without a word" not in judged(database, for_person, [ERROR])
    assert "no advice" in judged(database, for_person, [LEFT])


def test_silence_where_a_person_has_to_decide_is_noticed(database: psycopg.Connection) -> None:
    calls = iter([[ERROR], []])
    gap = replace(ENTRIES[Effect.REACHED], only_person=True)
    wrong = complaints(database, gap, Verifier(lambda _connection: next(calls), lambda _findings: ""))
    assert any("is still reached, without a word" in line for line in wrong)


@pytest.mark.parametrize(
    ("gap", "claim"),
    [
        (reached("create table public.t (id int)"), "reached by nothing"),
        (weaker(VIEW), "reached by ['anon: select from v'"),
        (contested("drop function public.list_accounts()"), "calls that fail: ['victim: list: 42883"),
        (locked_out("create table public.t (id int)"), "calls that fail: none"),
        (tighter(VIEW), "reached by ['anon: select from v'"),
        (own('drop policy "Users see their own account" on public.user_accounts'), "calls that fail: ['victim: list"),
    ],
    ids=lambda value: value.effect.name if isinstance(value, Gap) else "",
)
def test_an_entry_that_claims_what_does_not_happen_is_noticed(
    database: psycopg.Connection, gap: Gap, claim: str
) -> None:
    assert f"the entry is wrong: {claim}" in judged(database, gap, [])


def test_in_a_database_without_a_gap_nothing_is_reached(database: psycopg.Connection, expected: Expected) -> None:
    with rolled_back(database):
        outcome = observe(database)
        assert (outcome.paths, outcome.failed_calls) == ([], [])
        assert list(verify(database, expected)) == []
        assert fix_script([]) == ""


def test_nothing_of_an_entry_stays(database: psycopg.Connection) -> None:
    roles = "select array_agg(rolname order by rolname) from pg_roles"
    before = database.execute(roles).fetchone()
    judged(database, KINDS["roles"]["a login with a policy of its own"], [])
    assert database.execute(roles).fetchone() == before
    assert not database.execute("select from pg_policy where polname = 'analysts'").fetchall()


def test_the_catalogue_has_all_kinds(project: Project) -> None:
    names = [name for entries in KINDS.values() for name in entries]
    assert len(names) > 600
    assert {gap.effect for entries in KINDS.values() for gap in entries.values()} == set(Effect)
