"""Parameters as a table: what goes out comes in again, by every way, and says the same to a fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml_lux as lux

est = lux.estimation
TS = np.linspace(0.0, 3.0, 12)


class Model(lux.AbstractLayer):
    def initial_parameters(self, key):
        return {
            "height": lux.real(2.0, unit="mg/L"),
            "rate": lux.positive(0.4, unit="1/h"),
            "share": lux.bounded(0.3, 0.0, 1.0),
            "weights": lux.real(np.array([0.5, 0.25])),
            "constant": lux.fixed(7.0),
        }

    def __call__(self, ts, ps, st):
        return ps.height * jnp.exp(-ps.rate * ts) + ps.share + ps.weights[0] * ts + ps.weights[1] * ts**2, st


DATA = est.Data([est.Experiment("one", TS, {"y": 3 * np.exp(-TS) + 0.1 * np.cos(9 * TS)})])
PROBLEM = est.Problem(
    Model(),
    DATA,
    observe={"y": lambda t, y, ps: y},
    noise=0.1,
    bounds={"rate": (0.1, 5.0), "weights": (np.array([-1.0, 0.25]), np.array([1.0, 0.25]))},
    priors={"height": est.priors.Normal(2.0, 1.5)},
)
PS, ST = lux.setup(jax.random.key(0), Model())


def test_the_table_says_what_the_problem_says():
    rows = est.parameter_table(PROBLEM, PS).rows
    assert list(rows) == ["height", "rate", "share", "weights[0]", "weights[1]", "constant"]
    assert rows["rate"] == {
        "value": pytest.approx(0.4), "lower": 0.1, "upper": 5.0, "prior": None, "scale": "log", "unit": "1/h",
        "estimated": True,
    }  # fmt: skip
    assert (rows["share"]["lower"], rows["share"]["upper"], rows["share"]["scale"]) == (0.0, 1.0, "linear")
    assert (rows["weights[1]"]["lower"], rows["weights[1]"]["upper"]) == (0.25, 0.25)
    assert rows["height"]["prior"] == est.priors.Normal(2.0, 1.5)
    assert not rows["constant"]["estimated"]
    assert "mg/L" in str(est.parameter_table(PROBLEM, PS))


def by_csv(table, path):
    table.to_csv(path / "table.csv")
    return path / "table.csv"


def by_pandas(table, path):
    return table.to_pandas()[["value", "lower", "upper", "prior"]]


WAYS = {
    "table": lambda table, path: table,
    "mapping": lambda table, path: {name: {"value": row["value"]} for name, row in table.rows.items()},
    "csv": by_csv,
    "pandas": by_pandas,
}


@pytest.mark.parametrize("way", WAYS)
def test_what_goes_out_comes_in_again(way, tmp_path):
    table = est.parameter_table(PROBLEM, PS)
    problem, ps = est.with_parameter_table(PROBLEM, PS, WAYS[way](table, tmp_path))
    np.testing.assert_allclose(ps.vector, PS.vector, rtol=1e-12)
    again = est.parameter_table(problem, ps)
    for name, row in table.rows.items():
        assert again.rows[name] == row | {"value": pytest.approx(row["value"])}
    ours, theirs = est.fit(PROBLEM, PS, ST), est.fit(problem, ps, ST)
    np.testing.assert_allclose(theirs.objective, ours.objective, rtol=1e-10)
    assert theirs.active == ours.active


def test_a_cell_is_changed_and_the_rest_stays():
    problem, ps = est.with_parameter_table(
        PROBLEM, PS, {"rate": {"value": 0.8, "lower": 0.8, "upper": 0.8}, "weights[0]": {"value": -0.5}}
    )
    np.testing.assert_allclose(ps["rate"], 0.8)
    np.testing.assert_allclose(ps["weights"], [-0.5, 0.25])
    fit = est.fit(problem, ps, ST)
    np.testing.assert_allclose(float(fit.values.rate), 0.8)
    assert fit.active["rate"] == "fixed"
    removed, _ = est.with_parameter_table(PROBLEM, PS, {"height": {"prior": ""}, "share": {"prior": "Uniform(0, 1)"}})
    assert removed.priors == {"share": est.priors.Uniform(0.0, 1.0)}
    named, _ = est.with_parameter_table(PROBLEM, PS, {"height": {"prior": "Normal(mean=1, standard_deviation=2)"}})
    assert named.priors == {"height": est.priors.Normal(1.0, 2.0)}


@pytest.mark.parametrize(
    ("table", "error", "says"),
    [
        ({"speed": {"value": 1.0}}, lux.ParameterError, "no parameter 'speed'"),
        ({"rate": {"start": 1.0}}, lux.ParameterError, "columns are value, lower"),
        ({"rate": {"value": "fast"}}, lux.ParameterError, "is a number, got 'fast'"),
        ({"rate": {"value": float("nan")}}, lux.ParameterError, "is a number, got nan"),
        ({"rate": {"lower": 3.0, "upper": 1.0}}, ValueError, "above the upper"),
        ({"rate": {"prior": "Gamma(1, 2)"}}, lux.ParameterError, r"write 'Normal\(0.0, 1.0\)'"),
        ({"rate": {"prior": "Normal(0"}}, lux.ParameterError, r"write 'Normal\(0.0, 1.0\)'"),
        ({"constant": {"value": 8.0}}, lux.ParameterError, "declared as a constant"),
        ({"weights[0]": {"prior": "Normal(0, 1)"}}, lux.ParameterError, "one prior for all of its numbers"),
        ([1.0, 2.0], lux.ParameterError, "write {'rate'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_said(table, error, says):
    with pytest.raises(error, match=says):
        est.with_parameter_table(PROBLEM, PS, table)


def test_parameters_of_another_model_are_refused():
    other = lux.flatten.flatten({"other": lux.real(1.0)})
    with pytest.raises(lux.ParameterError, match=r"write ps, st = lux\.setup"):
        est.parameter_table(PROBLEM, other)
