"""`python -m spacy mtl transfer CONFIG`: what sharing one encoder gained or cost each task."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import srsly
import typer
from spacy import util
from spacy.cli._util import import_code, parse_config_overrides, setup_gpu, show_validation_error
from wasabi import Printer

from . import app
from .options import OVERRIDES, CodePath, ConfigPath, GpuId, prepare_file

if TYPE_CHECKING:
    from ..balancing import Balancer

_GRADIENTS = {"parameters": "the encoder's gradients", "pooled": "pooled gradients, a rough guess"}


class Equal(str, Enum):
    """What is equal in all runs."""

    updates = "updates"
    gold = "gold"


@app.command("transfer", context_settings=OVERRIDES)
def transfer_command(
    ctx: typer.Context,
    config_path: ConfigPath,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", file_okay=False, help="Folder for finished runs and transfer.json."
        ),
    ] = Path("transfer"),
    steps: Annotated[
        int,
        typer.Option(
            help="`max_steps` of the run with all tasks, after which spaCy makes one more update; 0: as in the config."
        ),
    ] = 0,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Trainings of each group of tasks. Default: 3; with --quick 1."),
    ] = None,
    pairs: Annotated[bool, typer.Option(help="Train each pair of tasks, too.")] = False,
    equal: Annotated[
        Equal,
        typer.Option(
            help="Same number of updates for all, or as much gold for a task as it sees among all others."
        ),
    ] = Equal.updates,
    quick: Annotated[
        bool, typer.Option(help="Train all together only, and estimate which tasks fit.")
    ] = False,
    code_path: CodePath = None,
    use_gpu: GpuId = -1,
) -> None:
    """Train each task alone, all together, and perhaps in pairs; settings can be overridden as in `spacy train`.

    Finished runs are kept in the output folder: an interrupted command goes on where it was.
    """
    if quick and pairs:
        raise typer.BadParameter("--quick trains all tasks together only: leave out --pairs.")
    overrides = parse_config_overrides(ctx.args)
    from ..transfer.training import REPORT

    prepare_file(output / REPORT)
    import_code(code_path)
    setup_gpu(use_gpu)
    printer = Printer()
    from ..errors import ConfigError, CorpusError, TransferError, file_not_read

    with show_validation_error(config_path):
        config = util.load_config(config_path, overrides=overrides, interpolate=False)
    try:
        report = compare(
            config,
            output,
            steps=steps,
            seeds=seeds or (1 if quick else 3),
            pairs=pairs,
            equal=equal.value,
            quick=quick,
            use_gpu=use_gpu,
            code=[code_path] if code_path is not None else [],
            say=printer.info,
        )
    except TransferError as error:
        printer.fail(str(error))
        if isinstance(error.__cause__, OSError | ValueError):
            raise typer.Exit(1) from error
        raise error.__cause__ or error from None
    except (ConfigError, CorpusError) as error:
        printer.fail(str(error), exits=1)
    except OSError as error:
        printer.fail(file_not_read(error, config=config_path), exits=1)
    srsly.write_json(output / REPORT, report)
    print_report(report, printer)
    written = output / REPORT
    printer.text(
        f"Written to {written}; `python -m spacy mtl report FOLDER --transfer {written}` shows it beside a training."
    )


def compare(
    config: Any,
    output: Path,
    *,
    steps: int,
    seeds: int,
    pairs: bool,
    equal: str,
    quick: bool,
    use_gpu: int = -1,
    code: Any = (),
    say: Any = print,
) -> dict[str, Any]:
    """Train what has not been trained yet and compare. Returns all that the command tells, as plain data.

    config: not interpolated. output: folder for finished runs. steps, seeds, pairs, quick, use_gpu: as in the command.
    equal: `updates` or `gold`. code: Python files that the runs depend on. say: is told of each run.

    Raises ConfigError, before any training, for a pipeline that cannot be compared, and for heads without gold in the
    dev corpus; TransferError, whose cause is the reason, if a training fails.
    """
    from .. import errors
    from ..transfer.plan import Run, config_for, plan_runs
    from ..transfer.training import (
        ONE_MORE,
        check_dev_gold,
        compared_heads,
        count_gold,
        shared_of,
        train_run,
        with_budget,
        with_sources,
    )

    nlp = util.load_model_from_config(config, auto_fill=True)
    nlp._link_components()
    heads = compared_heads(nlp)
    if len(heads) < 2:
        raise errors.nothing_to_compare(heads)
    for head in heads:
        if not callable(getattr(nlp.get_pipe(head), "scorer", None)):
            raise errors.no_score(head)
    full = with_sources(nlp.config, config)
    steps = steps or int(full.interpolate()["training"]["max_steps"])
    if steps < 1:
        raise errors.no_steps(steps)
    runs = plan_runs(heads, seeds, pairs=pairs)
    if quick:
        runs = [run for run in runs if len(run.heads) == len(heads)]

    def config_of(run: Run, max_steps: int) -> Any:
        return config_for(with_budget(full, max_steps, run.seed).interpolate(), run, heads)

    configs = [config_of(run, steps) for run in runs]  # errors before any training
    check_dev_gold(configs[0], use_gpu=use_gpu)
    results = []
    gold: dict[int, Any] = {}
    for number, (run, run_config) in enumerate(zip(runs, configs, strict=True), 1):
        together = len(run.heads) == len(heads)
        if equal == "gold" and not together:
            if run.seed not in gold:
                n_updates = steps + ONE_MORE
                together_config = config_of(Run(tuple(heads), run.seed), steps)
                gold[run.seed], _ = count_gold(together_config, n_updates)
            _, n_updates = count_gold(run_config, None, until=gold[run.seed])
            run_config = config_of(run, max(n_updates - ONE_MORE, 1))
        try:
            result, stored = train_run(
                run_config, run, output, use_gpu=use_gpu, audit=together, code=code
            )
        except Exception as error:
            raise errors.run_failed(run.name, error, n_kept=number - 1) from error
        for head in run.heads:
            if head not in result["scores"]:
                raise errors.no_score(head)
        results.append(result)
        scores = ", ".join(f"{task} {100 * score:.2f}" for task, score in result["scores"].items())
        how = ", as stored" if stored else ""
        say(f"{number}/{len(runs)} {run.name}, {result['updates']} updates{how}: {scores}")
    balance = shared_of(nlp).balance
    balancer = balance.balancer if balance is not None else None
    return make_report(heads, results, seeds=seeds, equal=equal, steps=steps, balancer=balancer)


def make_report(
    heads: list[str],
    results: list[dict[str, Any]],
    *,
    seeds: int,
    equal: str,
    steps: int,
    balancer: "Balancer | None" = None,
) -> dict[str, Any]:
    """All that the command tells of these runs, as plain data.

    balancer: of the runs, as it is before a training.

    The p of each difference is corrected for all tests of the report by Holm's step-down method (Holm 1979).
    """
    from ..transfer.comparison import corrected, differences

    found = corrected(differences(results))
    return {
        "heads": heads,
        "seeds": seeds,
        "equal": equal,
        "steps": steps,
        "runs": results,
        "differences": [
            {
                "task": d.task,
                "group": list(d.group),
                "gains": list(d.gains),
                "mean": d.mean,
                "spread": d.spread,
                "p": d.p,
                "p_uncorrected": d.uncorrected_p,
                "verdict": d.verdict,
                "feared": d.is_feared,
            }
            for d in found
        ],
        **_recommend(heads, results, found, balancer),
    }


def _recommend(
    heads: list[str], results: list[Any], found: list[Any], balancer: "Balancer | None"
) -> dict[str, Any]:
    """Which tasks to train together, what that is judged by, and how well pairs and gradients agree.

    Judged by what pairs gained, where they were trained; by the run with all, where that has shown gains and no loss;
    else by the gradients in the runs with all. No group in which a task was shown, or is expected, to lose is
    recommended: see `Difference.is_feared`. What a pair gained counts as 0 where three seeds or more do not show it.
    """
    from itertools import permutations

    from ..transfer.comparison import (
        MOST_TASKS,
        RIGHT_ANGLE,
        best_groups,
        expected_gains,
        pair_gains,
        rank_correlation,
    )

    cosines, kind = _cosines(heads, results)
    affinity = _affinity(heads, results, cosines, balancer)
    gains = pair_gains(found)
    every = list(permutations(heads, 2))
    both = [key for key in every if key in gains and key in affinity]
    agreement = rank_correlation([affinity[k] for k in both], [gains[k] for k in both])
    unknown = [pair for pair in every if pair not in affinity and pair == tuple(sorted(pair))]
    losing = {tuple(d.group) for d in found if d.is_feared}
    of_all = [d.verdict for d in found if len(d.group) == len(heads)]
    basis, groups = "", []
    if len(heads) <= MOST_TASKS and all(key in gains for key in every):
        basis, groups = "pairs", best_groups(heads, expected_gains(found), without=losing)
    elif "gains" in of_all and tuple(heads) not in losing:
        basis, groups = "together", [tuple(heads)]
    elif len(heads) <= MOST_TASKS and not unknown:
        above = {key: value - RIGHT_ANGLE for key, value in affinity.items()}
        basis, groups = "gradients", best_groups(heads, above, without=losing)
    return {
        "cosines": {"/".join(pair): value for pair, value in cosines.items()},
        "cosines_of": kind,
        "affinity": {"/".join(key): value for key, value in affinity.items()},
        "affinity_unknown": [list(pair) for pair in unknown],
        "agreement": agreement,
        "groups": [list(group) for group in groups],
        "groups_from": basis,
    }


def _with_all(heads: list[str], results: list[Any]) -> list[Any]:
    return [result for result in results if len(result["heads"]) == len(heads)]


def _cosines(heads: list[str], results: list[Any]) -> tuple[dict[tuple[str, str], float], str]:
    """Mean cosine of the gradients of each pair of tasks, sorted, in the runs with all tasks; and what they are of.

    Those of the encoder's parameters come from audits. If some pair was never audited, since its tasks have no gold in
    the same batch, those of pooled gradients stand for all.
    """
    from itertools import combinations

    def of(key: str) -> dict[tuple[str, str], float]:
        values: dict[tuple[str, str], list[float]] = {}
        for result in _with_all(heads, results):
            for pair in combinations(sorted(heads), 2):
                found = result["gradients"]["pairs"].get("/".join(pair), {})
                if found.get(key) is not None:
                    values.setdefault(pair, []).append(found[key])
        return {pair: sum(found) / len(found) for pair, found in values.items()}

    audited, pooled = of("true_cosine"), of("cosine")
    use_pooled = len(pooled) > len(audited)
    cosines = pooled if use_pooled else audited
    return cosines, ("pooled" if use_pooled else "parameters") if cosines else ""


def _affinity(
    heads: list[str],
    results: list[Any],
    cosines: dict[tuple[str, str], float],
    balancer: "Balancer | None",
) -> dict[tuple[str, str], float]:
    """(task, other) -> how far a step for both would go the task's own way, see `own_way`.

    Lengths are those of the runs with all tasks, with the weights that the balancer gave them there; but a balancer
    that looks at angles is asked what it would give to the two.
    """
    import math

    from ..transfer.comparison import own_way

    found: dict[str, list[tuple[float, float]]] = {}
    for result in _with_all(heads, results):
        for task, values in result["gradients"].get("tasks", {}).items():
            found.setdefault(task, []).append((values["share"], values["gradient_per_unit"]))
    shares, norms = (
        {task: sum(row[i] for row in rows) / len(rows) for task, rows in found.items()}
        for i in (0, 1)
    )
    affinity = {}
    for (a, b), cosine in cosines.items():
        if a in shares and b in shares:
            lengths = shares[a], shares[b]
            finite = math.isfinite(norms[a]) and math.isfinite(norms[b])  # fp16 may overflow
            if balancer is not None and _looks_at_angles(balancer) and finite:
                lengths = _weighted(balancer, (a, b), (norms[a], norms[b]), cosine)
            affinity[a, b] = own_way(*lengths, cosine)
            affinity[b, a] = own_way(*lengths[::-1], cosine)
    return affinity


def _looks_at_angles(balancer: "Balancer") -> bool:
    """Whether the weights of two tasks depend on the others, and on gradients only."""
    return balancer.level == "pooled" and set(balancer.needs) == {"gramian"}


def _weighted(
    balancer: "Balancer", pair: tuple[str, str], norms: tuple[float, float], cosine: float
) -> tuple[float, float]:
    """How long a balancer that looks at nothing but a Gramian makes the gradients of two tasks."""
    from copy import deepcopy

    import numpy as np

    from ..balancing import TaskSignals

    lengths = np.array(norms)
    gramian = np.array([[1.0, cosine], [cosine, 1.0]]) * lengths * lengths[:, None]
    signals = TaskSignals(pair, gramian, None, np.ones(2), step=0)
    one, other = (deepcopy(balancer).weights(signals) * lengths).tolist()
    return one, other


def print_report(report: dict[str, Any], printer: Printer) -> None:
    """Tables of scores, differences and what they advise."""
    from ..transfer.comparison import LEAST_SEEDS, own_way_rows

    heads, runs = report["heads"], report["runs"]
    groups = list(dict.fromkeys(tuple(run["heads"]) for run in runs))
    printer.divider("scores, times 100")
    rows = []
    for group in groups:
        own = [run for run in runs if tuple(run["heads"]) == group]
        cells = [
            _spread([100 * run["scores"][h] for run in own]) if h in group else "-" for h in heads
        ]
        rows.append([_named(group, heads), str(len(own)), str(own[0]["updates"]), *cells])
    header = ["together", "seeds", "updates", *heads]
    printer.table(rows, header=header, divider=True, aligns=["l", *["r"] * (len(header) - 1)])
    if report["differences"]:
        printer.divider("what sharing gained each task, in points, against the task alone")
        rows = [
            [
                d["task"],
                _named(d["group"], heads),
                _number(d["mean"], "+.2f"),
                _number(d["spread"]),
                _number(d["p"], ".3f"),
                d["verdict"],
            ]
            for d in report["differences"]
        ]
        header = ["task", "trained with", "gain", "spread", "p", ""]
        printer.table(rows, header=header, divider=True, aligns=["l", "l", "r", "r", "r", "l"])
        printer.text(
            f"p: of a paired t-test, corrected for all {len(rows)} differences of this table by Holm's "
            "step-down method (Holm 1979)."
        )
        if report["seeds"] < LEAST_SEEDS:
            printer.warn(
                "With fewer than three seeds a difference can hardly be told from chance: no verdict."
            )
    if rows := own_way_rows(report):
        printer.divider("how far a step for two tasks goes each one's way (1: as alone)")
        header = ["task", "beside", "own way", "cosine"]
        printer.table(rows, header=header, divider=True, aligns=["l", "l", "r", "r"])
        printer.text(
            f"From lengths and cosines of {_GRADIENTS[report['cosines_of']]}, all tasks trained together."
        )
        if report["agreement"] is not None:
            printer.text(f"Rank correlation with what the pairs gained: {report['agreement']:.2f}")
    for a, b in report["affinity_unknown"]:
        printer.warn(
            f"Nothing is known of how `{a}` and `{b}` agree: no batch had gold for both. Larger batches, or "
            "`mix = true` in a `spacy_mtl.BatchByWordpieces.v1`, put them together."
        )
    if report["groups"]:
        _print_advice(report, printer)


def _print_advice(report: dict[str, Any], printer: Printer) -> None:
    """Which tasks to train together, and how sure that is; only what was shown gets a green tick."""
    from ..transfer.comparison import LEAST_SEEDS, named_groups

    advice = named_groups(report["groups"])
    pairs = [d for d in report["differences"] if len(d["group"]) == 2]
    if report["groups_from"] == "together":
        printer.good(
            "All together, tasks have gained and none was shown to lose: train all together"
        )
    elif report["groups_from"] == "gradients":
        printer.info(f"Judged by the gradients alone, which is a guess, train {advice}")
    elif report["seeds"] < LEAST_SEEDS:
        printer.warn(
            f"Judged by the pairs, with too few seeds, so it is not proved, train {advice}"
        )
    elif any(d["feared"] and d["verdict"] != "loses" for d in pairs):
        printer.info(
            f"Judged by the pairs, where some losses are likely that are not proved, train {advice}"
        )
    elif any(d["verdict"] in ("gains", "loses") for d in pairs):
        printer.good(f"Judged by what the pairs have shown, train {advice}")
    else:
        printer.info(f"As no pair has shown a difference, larger groups cost least; train {advice}")
    for d in report["differences"]:
        advised = d["group"] in report["groups"]
        if advised and d["verdict"] != "loses" and all(gain < 0 for gain in d["gains"]):
            printer.warn(
                f"`{d['task']}` lost in every seed in {' + '.join(d['group'])}, {-d['mean']:.2f} points in the mean, "
                f"which {report['seeds']} seeds do not prove: train more seeds before you rely on it"
            )


def _named(group: Any, heads: list[str]) -> str:
    if len(group) == len(heads):
        return "all"
    return " + ".join(group) if len(group) > 1 else f"{group[0]} alone"


def _spread(values: list[float]) -> str:
    from statistics import mean, stdev

    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)
