"""Reading study files: all mistakes at once, with their lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import MistakesError, TuneError
from effv2_tune.optimizers import StaticConfig
from effv2_tune.study import StudyPlan, load_plan
from effv2_tune.study.recipe import augmentation_kinds
from effv2_tune.study.shipped import shipped_spaces, shipped_studies
from effv2_tune.study.yaml_file import parse_yaml
from effv2_tune.training.recipe_mapping import optimizer_config, optimizer_hyperparameters

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """\
name: mine
data: {name: digits, test: 0.2}
recipe:
  epochs: 2
  weight_decay: 1e-6
search_space:
  variant: {type: choice, values: [b0, b1]}
  maximal_learning_rate: {type: float, low: 1e-3, high: 1e-1, scale: log}
trials: 3
"""


def sentences(tmp_path: Path, text: str) -> list[str]:
    """What is said of a study file called bad.yaml."""
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(MistakesError) as caught:
        load_plan(path)
    assert caught.value.exit_code == 2
    return [str(mistake).replace(str(path), "bad.yaml") for mistake in caught.value.mistakes]


def with_line(line: str, *, instead_of: str = "") -> str:
    return "\n".join(
        [row for row in GOOD.splitlines() if not instead_of or instead_of not in row] + [line]
    )


def test_a_number_without_a_dot_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(GOOD)

    loaded = load_plan(tmp_path / "study.yaml")
    plan = loaded.plan

    assert plan.recipe.weight_decay == 1e-6
    assert loaded.base == tmp_path
    recipe = plan.recipe_for({"variant": "b1", "maximal_learning_rate": 0.01})
    assert (recipe.variant, recipe.epochs, recipe.pixels) == ("b1", 2, 240)


def test_a_plan_written_as_json_is_read_back_equal(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(GOOD)
    plan = load_plan(tmp_path / "study.yaml").plan

    assert StudyPlan.model_validate_json(plan.model_dump_json(exclude_unset=True)) == plan


@pytest.mark.parametrize("name", sorted(shipped_studies()))
def test_every_shipped_study_is_right(name: str) -> None:
    plan = load_plan(name).plan

    assert plan.name == name
    assert plan.search_space.dimensions()


def test_the_published_finetune_resolves_to_its_published_values() -> None:
    """Cifar10Ft of google/automl, efficientnetv2/datasets.py, with what it inherits."""
    plan = load_plan("official-finetune").plan
    recipes = {name: plan.recipe_for({"variant": name}) for name in ("s", "m", "l")}
    small = recipes["s"]
    images, batch = 50_000 - 5000, 512
    hyperparameters = optimizer_hyperparameters(small, images=images, batch=batch)

    assert {name: recipe.pixels for name, recipe in recipes.items()} == {
        "s": 384,
        "m": 480,
        "l": 480,
    }
    assert (small.weights, small.backbone, small.finetune_from) == ("imagenet", "finetune", 0)
    assert optimizer_config(small) == StaticConfig(
        "rmsprop", "warmup", l2=True, average=True, average_warms_up=True
    )
    assert hyperparameters == {
        "initial_learning_rate": 0.0,
        "maximal_learning_rate": 0.0005 * 512 / 256,
        "warmup_steps": images // batch,
        "rho": 0.9,
        "momentum": 0.9,
        "epsilon": 1e-3,
        "weight_decay": 0.0,
        "layer_decay": 1.0,
        "l2": 1e-5,
        "ema_momentum": 0.9996,
    }
    assert small.epochs * (images // batch) >= 10_000 > (small.epochs - 1) * (images // batch)
    assert (small.dropout, small.stochastic_depth, small.label_smoothing) == (1e-6, 0.2, 0.1)
    assert augmentation_kinds(small) == ("flip", "cutout")
    assert small.cutout == 0.5


@pytest.mark.parametrize("name", sorted(shipped_spaces()))
def test_every_shipped_range_has_its_reason(name: str) -> None:
    parsed = parse_yaml(shipped_spaces()[name].read_text(), name=name)

    assert [key for key, written in parsed.data.items() if not written.get("reason")] == []


def test_six_mistakes_get_six_sentences_with_their_lines(tmp_path: Path) -> None:
    text = (
        "name: six\n"
        "dat: {name: digits}\n"
        "recipe:\n"
        "  epochs: 0\n"
        "search_space:\n"
        "  varient: {type: choice, values: [b0]}\n"
        "  dropout: {type: float, low: 0.5, high: 0.1}\n"
        "trials: many\n"
        "search: {sed: 1}\n"
    )

    assert sentences(tmp_path, text) == [
        "bad.yaml:2: unknown key 'dat', did you mean 'data'?",
        "bad.yaml:4: recipe.epochs: expected at least 1, found 0",
        "bad.yaml:6: search_space: no setting is called 'varient', did you mean 'variant'?",
        "bad.yaml:7: search_space.dropout: low 0.5 is above high 0.1; swap them",
        "bad.yaml:8: trials: expected a whole number, found 'many'",
        "bad.yaml:9: search: unknown key 'sed', did you mean 'seed'?",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            with_line("", instead_of="trials"),
            (
                "bad.yaml:1: the study would never end: set 'trials:', 'hours:', "
                "'accelerator_hours:' or 'stop_when:' (or several)"
            ),
        ),
        (
            "name: x\ntrials: 1\n",
            (
                "bad.yaml:1: search_space is missing: name a shipped space (effv2-tune spaces), a "
                "path, or write one here"
            ),
        ),
        (
            "name: x\ntrials: 1\nsearch_space: quickstrat\n",
            "bad.yaml:3: search_space: there is no space 'quickstrat', did you mean 'quickstart'?",
        ),
        (with_line("trials: true", instead_of="trials"), "expected a whole number, found True"),
        (with_line("hardware: gpus"), "expected auto or cpu or gpu or tpu, found 'gpus', did"),
        (with_line("enqueue: [{variant: b3}]"), "bad.yaml:10: enqueue: this config is outside"),
        (
            GOOD.replace("epochs: 2", "variant: b0"),
            "bad.yaml:4: recipe.variant is fixed here and searched by the space; remove one",
        ),
        (
            GOOD.replace("epochs: 2", "resolution: 16"),
            "bad.yaml:4: recipe.resolution: expected at least 32 or native, found 16",
        ),
        (
            GOOD.replace("epochs: 2", "batch_size: {per_devise: 2}"),
            "bad.yaml:4: recipe.batch_size: unknown key 'per_devise', did you mean 'per_device'?",
        ),
        (
            GOOD.replace("epochs: 2", "backbone: frozen"),
            "bad.yaml:3: recipe: a frozen backbone needs pretrained weights: set 'weights:'",
        ),
        (
            GOOD.replace(
                "epochs: 2", "backbone: frozen\n  weights: imagenet\n  features: require"
            ).replace(
                "space:\n",
                "space:\n  evaluation_resolution: {type: choice, values: [same, 96]}\n",
            ),
            (
                "bad.yaml:3: recipe: features cannot be cached while images are evaluated at 96 px "
                "and trained at 224: write 'evaluation_resolution: same', or write 'features: auto'"
            ),
        ),
        (
            GOOD.replace("epochs: 2", "initial_learning_rate: 0.01"),
            "bad.yaml:3: recipe: initial_learning_rate 0.01 is above maximal_learning_rate 0.001",
        ),
        (
            GOOD.replace("epochs: 2", "beta_2: 0.5"),
            "bad.yaml:3: recipe: beta_2 0.5 with rectify never reaches AdaBelief's adaptive",
        ),
        (
            GOOD.replace("[b0, b1]", "[b0, b9]"),
            "bad.yaml:7: search_space.variant: No EfficientNetV2 variant is called 'b9'",
        ),
        (
            GOOD.replace("[b0, b1]", "[b0, b0]"),
            "bad.yaml:7: search_space.variant: the value 'b0' is listed twice; remove one",
        ),
        (
            GOOD.replace("type: choice, values: [b0, b1]", "type: choise, values: [b0]"),
            (
                "bad.yaml:7: search_space.variant: expected type float or int or choice or fixed, "
                "found 'choise', did you mean 'choice'?"
            ),
        ),
        (
            GOOD.replace("type: choice, values: [b0, b1]", "values: [b0]"),
            "bad.yaml:7: search_space.variant: 'type' is missing",
        ),
        (
            GOOD.replace("low: 1e-3", "low: 0"),
            "maximal_learning_rate: the low bound of a logarithmic scale must be above 0, not 0",
        ),
        (GOOD.replace("name: digits", "name: npz"), "bad.yaml:2: data: data of kind 'npz' needs"),
        (GOOD + "trials: 4\n", "bad.yaml:10: not valid YAML: found duplicate key"),
        ("name: [x\n", "not valid YAML"),
        (
            "name: x\nrecipe:\n\tepochs: 1\n",
            "bad.yaml:3: not valid YAML: this line is indented with a tab",
        ),
        ("# only a comment\n", "bad.yaml:1: the file is empty; start with 'effv2-tune init'"),
        ("\x01", "bad.yaml:1: not valid YAML: unacceptable character"),
        (
            GOOD.replace("search_space:", "search_space: !!python/object:x"),
            "bad.yaml:6: the tag !!python/object:x is not allowed; write the value without a tag",
        ),
        (
            GOOD.replace("[b0, b1]", "[b0, S]"),
            "variant: No EfficientNetV2 variant is called 'S', did you mean 's'? There are: b0,",
        ),
        (
            GOOD.replace("type: float", "type: loguniform"),
            "found 'loguniform', did you mean 'type: float, scale: log'?",
        ),
        (
            GOOD.replace("type: choice", "type: categorical"),
            "found 'categorical', did you mean 'type: choice, values: [...]'?",
        ),
        (
            GOOD.replace("scale: log", "log: true"),
            "maximal_learning_rate: unknown key 'log', did you mean 'scale: log'?",
        ),
        (
            GOOD.replace("trials: 3", "  dropout: [0.1, 0.5]\ntrials: 3"),
            "search_space.dropout: did you mean {type: float, low: 0.1, high: 0.5}?",
        ),
        (
            GOOD.replace("{type: choice, values: [b0, b1]}", "[b0, b1]"),
            'search_space.variant: did you mean {type: choice, values: ["b0", "b1"]}?',
        ),
        ("just words\n", "bad.yaml:1: expected 'key: value' lines, found something else"),
    ],
)
def test_a_mistake_is_a_sentence_with_a_way_out(tmp_path: Path, text: str, sentence: str) -> None:
    assert any(sentence in said for said in sentences(tmp_path, text)), sentences(tmp_path, text)


def test_mistakes_in_a_space_of_its_own_have_its_lines(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("# mine\nepochs: {type: int, low: 5, high: 1}\n")

    said = sentences(tmp_path, "name: x\ntrials: 1\nsearch_space: space.yaml\n")

    assert len(said) == 1
    assert said[0].endswith("space.yaml:2: epochs: low 5 is above high 1; swap them")


def test_a_study_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(TuneError, match="did you mean 'quickstart'") as caught:
        load_plan("quickstar")

    assert "quickstart" in (caught.value.hint or "")


def test_a_folder_and_a_file_of_another_encoding_are_named(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "latin1.yaml").write_bytes(b"name: x\ndata: {path: M\xfcnchen}\n")

    with pytest.raises(TuneError, match="is a folder, not a study file"):
        load_plan(tmp_path)
    with pytest.raises(TuneError, match=r"binary.yaml:1: not UTF-8 text: .*save the file as"):
        load_plan(tmp_path / "binary.yaml")
    with pytest.raises(TuneError, match=r"latin1.yaml:2: not UTF-8 text: byte 0xfc; save the file"):
        load_plan(tmp_path / "latin1.yaml")


def test_a_value_that_replaces_one_of_the_file_is_named_as_an_argument(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(GOOD)

    with pytest.raises(MistakesError) as caught:
        load_plan(tmp_path / "study.yaml", overrides={"trials": 0, "hours": None})

    assert str(caught.value).splitlines()[0] == "argument trials: expected at least 1, found 0"


def test_a_setting_contradicts_no_choice_for_which_it_is_not_searched(tmp_path: Path) -> None:
    text = with_line("  backbone: {type: choice, values: [finetune, frozen]}", instead_of="trials")
    text = text.replace("epochs: 2", "epochs: 2\n  weights: imagenet")
    head = "\n  head_epochs: {type: choice, values: [0, 1]"
    (tmp_path / "study.yaml").write_text(
        f"{text}{head}, when: {{backbone: finetune}}}}\ntrials: 3\n"
    )

    plan = load_plan(tmp_path / "study.yaml").plan

    assert "head_epochs" in plan.search_space.parameters
    said = sentences(tmp_path, f"{text}{head}}}\ntrials: 3\n")
    assert len(said) == 1
    assert "the backbone is 'frozen': write 'backbone: finetune' or 'head_epochs: 0'" in said[0]


def test_the_most_epochs_of_the_classifier_are_compared_with_the_fewest_of_all(
    tmp_path: Path,
) -> None:
    text = (
        "name: x\ntrials: 1\nrecipe: {backbone: finetune, weights: imagenet}\nsearch_space:\n"
        "  epochs: {type: int, low: 2, high: 9}\n  head_epochs: {type: int, low: 0, high: 3}\n"
    )

    (said,) = sentences(tmp_path, text)

    assert "head_epochs 3 of 2 epochs leave none for the other layers; use at most 1" in said


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "search: {range_test: true}",
            "bad.yaml:9: search.range_test sets the bounds of maximal_learning_rate",
        ),
        (
            "search: {range_test: true}\ncluster: {ray: auto}",
            "'search: range_test:' tests on this machine, not on the nodes of 'cluster:'",
        ),
    ],
)
def test_a_range_test_that_has_nothing_to_set_is_refused(
    tmp_path: Path, line: str, sentence: str
) -> None:
    instead = "maximal_learning_rate" if "cluster" not in line else ""
    said = sentences(tmp_path, with_line(line, instead_of=instead))

    assert any(sentence in one for one in said), said


RATE = "maximal_learning_rate: {type: float, low: 1e-3, high: 1e-1, scale: log"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            f"{RATE}}}",
            f"{RATE}, prior: {{value: 0.2}}}}",
            (
                "bad.yaml:8: search_space.maximal_learning_rate: the prior 0.2 has to be a number "
                "from 0.001 to 0.1"
            ),
        ),
        (
            "values: [b0, b1]}",
            "values: [b0, b1], prior: {value: b2}}",
            "bad.yaml:7: search_space.variant: the prior 'b2' has to be one of the values",
        ),
        (
            "trials: 3",
            "  initial_learning_rate: {type: float, low: 1e-5, high: 1e-2, prior: {value: 1e-4}}",
            "cannot have a prior while its range overlaps that of maximal_learning_rate",
        ),
        (
            "values: [b0, b1]}",
            "values: [b0, b1], prior: {value: b1}}\nsearch: {engine: random}",
            (
                "bad.yaml:7: search_space.variant.prior: the engine 'random' knows no priors; use "
                "'search: {engine: …}' with freeze_thaw or tpe, or remove the prior"
            ),
        ),
    ],
)
def test_a_wrong_prior_gets_a_sentence_with_its_line(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new)
    if "search:" in new:
        space, search = new.split("\n")
        text = GOOD.replace(old, space) + search + "\n"
    if "trials" not in text:
        text += "trials: 3\n"

    said = "\n".join(sentences(tmp_path, text))

    assert sentence in said


def test_a_prior_is_read_with_its_confidence(tmp_path: Path) -> None:
    text = GOOD.replace("scale: log}", "scale: log, prior: {value: 1e-2, confidence: high}}")
    (tmp_path / "study.yaml").write_text(text)

    (prior,) = load_plan(tmp_path / "study.yaml").plan.search_space.priors.values()

    assert (prior.value, prior.confidence) == (0.01, "high")
