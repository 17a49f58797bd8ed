"""Planning without the model, and what the model is given to read: `make bench-planner`.

a: everything but the model for a goal of two tasks, step by step. b: the prompt's length with signature lines, with field
descriptions below them, and with full schemas. c: sentence templates. d: a registry that does not fit the model's context.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from heddle import macro
from heddle.goals import Came, goal_state
from heddle.macros.loading import AnyMacro, Registry, collect
from heddle.messages import Goal
from heddle.planning.answer import parse_answer
from heddle.planning.confidence import Token, confidence
from heddle.planning.goal import Asked
from heddle.planning.phrases import compile_phrases, match_phrases
from heddle.planning.plan import Plan
from heddle.planning.preselection import choose, index_of
from heddle.planning.prompt import prefix_of
from heddle.planning.review import review
from heddle.planning.signature import signature
from heddle.planning.tokens import most_tokens

VERBS = ("check", "draft", "profile", "label", "sync", "archive", "compare", "restore", "export", "rotate")
THINGS = ("repository", "report", "database", "bucket", "invoice", "certificate", "calendar", "ticket", "dashboard", "mailbox")


class Simple(BaseModel):
    """A name and how many."""

    target: str = Field(min_length=1, description="What to act on, as the goal names it: owner/name, a path or an address.")
    count: int = Field(5, ge=1, le=200, description="How many of the latest ones.")


class Choices(BaseModel):
    """A range and a way."""

    target: str = Field(min_length=1, description="What to act on, as the goal names it.")
    since: str = Field(min_length=1, description="Where to begin: a tag, a day or a name.")
    until: str = Field("HEAD", description="Where to end, included.")
    strategy: Literal["semantic", "conventional", "manual"] = Field("manual", description="How to go about it.")


class Rule(BaseModel):
    """Which ones to take."""

    field: str = Field(description="The field that is compared.")
    above: float | None = None


class Nested(BaseModel):
    """Filters and flags."""

    targets: Annotated[list[str], Field(min_length=1, max_length=20, description="All that is acted on.")]
    rules: list[Rule] = Field([], description="Only those that all rules fit.")
    dry_run: bool = Field(False, description="Only tell what would be done.")


class Done(BaseModel):
    """What came of it."""

    done: bool = True


def _macro(number: int) -> AnyMacro:
    verb, thing = VERBS[number % 10], THINGS[(number // 10 + number) % 10]
    kind, arguments, phrase = (
        (Simple, {"target": "acme/checkout", "count": 3}, "{count} of {target}"),
        (Choices, {"target": "acme/checkout", "since": "v1.4.0", "until": "v1.5.0"}, "{target} from {since} [to {until}]"),
        (Nested, {"targets": ["acme/checkout", "acme/billing"]}, None),
    )[number % 3]

    async def handler(request: Any) -> Any:
        raise NotImplementedError

    handler.__doc__ = f"{verb.capitalize()} the {thing} and tell what is new in it."
    handler.__annotations__ = {"request": kind, "return": Done}
    return macro(
        name=f"{verb}_{thing}_{number}",
        examples=[(f"{verb.capitalize()} the {thing} of acme/checkout", arguments)],
        phrases=[f"{verb} [the] {thing} {phrase}"] if phrase else [],
    )(handler)


def registry(count: int) -> Registry:
    """So many macros of three sorts."""
    return collect(_macro(number) for number in range(count))


def answered(offers: Registry) -> tuple[str, tuple[Token, ...]]:
    """An answer of two tasks, and its tokens of four letters, each with 20 likely ones."""
    tasks = [{"macro": one.name, "arguments": dict(one.examples[0][1])} for one in offers.newest()[:2]]
    text = json.dumps({"tasks": tasks})
    pieces = [text[start : start + 4] for start in range(0, len(text), 4)]
    return text, tuple(
        Token(piece, -0.05, ((piece, -0.05), *((f"{number}{piece[1:]}", -4.0 - number) for number in range(19)))) for piece in pieces
    )


def timed(what: Callable[[], object], rounds: int) -> list[float]:
    """Milliseconds of each of some rounds."""
    figures = []
    for _ in range(rounds):
        began = time.perf_counter()
        what()
        figures.append((time.perf_counter() - began) * 1000)
    return figures


def shown(name: str, figures: Sequence[float]) -> None:
    """Print the median and the 99th percentile."""
    print(f"   {name:<34} {statistics.median(figures):>8.3f} {statistics.quantiles(figures, n=100)[98]:>8.3f}")


def without_titles(part: Any) -> Any:
    """A schema without what says nothing to a reader."""
    match part:
        case dict():
            return {
                key: without_titles(value)
                for key, value in part.items()
                if key != "$schema" and not (key == "title" and isinstance(value, str))
            }
        case list():
            return [without_titles(value) for value in part]
        case _:
            return part


def per_goal(rounds: int) -> None:
    """Print what each step takes with 50 macros, and all of them."""
    offers = registry(50)
    index = index_of(offers, prefix_of(offers))
    asked = Asked("Check the last 3 PRs in acme/checkout, and draft release notes from v1.4.0 to v1.5.0", {"team": "weaving"}, 0.0)
    answer, tokens = answered(offers)
    stated = parse_answer(answer)
    names = index.prefix.names
    plan = Plan("model", 1, calls=stated, stated=stated)
    goal, came = Goal(goal_id="goal-1", instruction=asked.instruction), Came("goal-1", 0.0, ("HEDDLE_GOALS", 0, 1))
    steps: Mapping[str, Callable[[], object]] = {
        "prompt": lambda: choose(index, asked, 1_000_000)[0].prompt(asked.instruction, asked.context),
        "parse": lambda: parse_answer(answer),
        f"confidence ({len(tokens)} tokens, 20 of each)": lambda: confidence(tokens, names),
        "review": lambda: review(stated, offers, asked, 16),
        "goal_state": lambda: goal_state(goal, came, plan, offers, 0.0, 0.0),
    }
    print(f"a. everything but the model, 50 macros, a goal of two tasks, ms over {rounds} goals: median, p99")
    for name, step in steps.items():
        shown(name, timed(step, rounds))
    shown("together (to reach: 5)", timed(lambda: [step() for step in steps.values()], rounds))


def sizes(counts: Sequence[int]) -> None:
    """Print how long the prompt's list of macros is in three forms, and how long it takes to make the prefix."""
    print("b. the macros in the prompt: characters (tokens at most); the whole prefix; the answer's schema, bytes; ms to make both")
    for count in counts:
        offers = registry(count)
        prefix = prefix_of(offers)
        macros = offers.newest()
        forms = {
            "signature lines": [signature(one) for one in macros],
            "signature lines, descriptions": [one.text for one in prefix.entries],
            "full schemas": [f"- {one.name}: {one.intent}\n{json.dumps(without_titles(one.planner_schema))}" for one in macros],
        }
        told = [(name, "\n".join(lines)) for name, lines in forms.items()]
        print(f"   {count} macros: " + "; ".join(f"{name} {len(text)} ({most_tokens(text)})" for name, text in told))
        took = statistics.median(timed(partial(prefix_of, offers), 5))
        print(f"      prefix {len(prefix.system)} ({prefix.tokens}); schema {len(json.dumps(prefix.schema))}; {took:.1f} ms")


def phrases(rounds: int) -> None:
    """Print what it takes to compile phrases, and to read a goal by them."""
    offers = registry(50)
    began = time.perf_counter()
    book = compile_phrases(offers.newest())
    compiled = (time.perf_counter() - began) * 1000
    fits = "check the repository 3 of acme/checkout and export the dashboard 7 of acme/billing"
    print(f"c. sentence templates of 50 macros ({len(book.phrases)}, compiled in {compiled:.0f} ms), ms: median, p99")
    shown("a goal of two tasks", timed(lambda: match_phrases(fits, book), rounds))
    shown("a goal that no phrase fits", timed(lambda: match_phrases("make me a sandwich", book), rounds))


def too_many(rounds: int) -> None:
    """Print what it takes to choose among macros that do not all fit."""
    offers = registry(200)
    began = time.perf_counter()
    index = index_of(offers, prefix_of(offers))
    made = (time.perf_counter() - began) * 1000
    asked = Asked("Rotate the certificate of acme/checkout and archive the last 12 invoices", {}, 0.0)
    _, selection = choose(index, asked, 4_000)
    print(f"d. 200 macros and 4,000 tokens (index and prefix made in {made:.0f} ms): {selection.note}")
    shown("choice and prompt", timed(lambda: choose(index, asked, 4_000)[0].prompt(asked.instruction, {}), rounds))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2_000)
    parser.add_argument("--only", default="abcd", help="letters of the parts to run")
    given = parser.parse_args()
    parts: Mapping[str, Callable[[], None]] = {
        "a": lambda: per_goal(given.rounds),
        "b": lambda: sizes((3, 10, 50)),
        "c": lambda: phrases(given.rounds),
        "d": lambda: too_many(given.rounds),
    }
    for letter, part in parts.items():
        if letter in given.only:
            part()


if __name__ == "__main__":
    main()
