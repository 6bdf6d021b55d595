"""Advice that no case here follows: other tests do, or none can."""

# Advice that other tests follow.
ELSEWHERE = {
    "core/_call.py: write jax.shard_map(..., check_vma=False)": "test_sharding.py::test_the_advice_where_a_solver_does_not_say_what_varies_works",  # noqa: E501
    "_moved.py: write {}": "test_architecture.py::test_names_that_have_moved_answer_with_a_warning_that_says_where_they_are",
    "core/_traced.py: write": "test_estimation_refused.py::test_a_curve_that_needs_numbers_is_told_where_and_what_to_write",
    "flatten/files/_file.py: write lux.save(path, fitted.ps)": "test_not_arrays.py::test_what_is_saved_is_parameters_in_a_folder_that_there_is",  # noqa: E501
    "flatten/files/_file.py: write os.makedirs({}, exist_ok=True)": "test_not_arrays.py::test_what_is_saved_is_parameters_in_a_folder_that_there_is",  # noqa: E501
    "flatten/files/_file.py: write ps, report = lux.flatten.transplant": "test_other_parameters.py::test_a_file_is_that_of_the_model",
    "flatten/_no_array.py: write {}": "test_not_arrays.py::test_an_operation_says_what_to_write",
    "tools/foreign/_flax.py: write from_flax(module)": "test_foreign.py::test_an_nnx_module",
    "tools/foreign/_flax.py: write from_flax(module, module.init": "test_foreign.py::test_a_linen_module",
    "tools/porting/_recurrent.py: write GRUCell(..., reset_before=False)": "test_torch_oracle.py::test_it_is_what_pytorch_computes",
    "flatten/_check.py: write coordinates(value)": "test_check_ravel_map.py::test_a_right_map_passes",
    "training/strategies/_solve_series.py: write lux.NeuralODE(model)": "test_strategies_exact.py::test_hidden_states_are_fitted_in_windows_as_the_message_says",  # noqa: E501
    "solvers/deq/_attach.py: write coupled=True": "test_deq_gradients.py::test_samples_that_depend_on_each_other_are_not_mistaken_for_others",  # noqa: E501
    "training/_optimizers.py: write masks and labels as functions": "test_fit_optimizers.py::test_optimizers_that_cannot_run_say_what_to_write",  # noqa: E501
}

# Advice that a test cannot follow, and why.
_INSTALLS = "it installs a package"
_PRECISION = "tests compute in float64 already"
NOT_FOLLOWED = {
    "estimation/_warnings.py: write jax.config.update": _PRECISION,
    "estimation/fitting/_table.py: write jax.config.update": _PRECISION,
    "estimation/fitting/_plot.py: write pip install": _INSTALLS,
    "estimation/fitting/_sample.py: write pip install": _INSTALLS,
    "flatten/_declare.py: write jax.config.update": _PRECISION,
    "flatten/files/_file.py: write it; read its tensors": "the word says that lux.save did not make the file",
    "flatten/files/_file.py: write `pip install": _INSTALLS,
    "flatten/files/_decode.py: write `pip install": _INSTALLS,
    "flatten/_exact_arrays.py: write it in other units": _PRECISION,
    "layers/containers/_precision.py: write jax.config.update": _PRECISION,
    "tools/foreign/_flax.py: write `pip install": _INSTALLS,
    "solvers/differential/_one.py: write stiff=True": "one of several things to try, which need not be what the problem lacks",
    "solvers/differential/_one.py: write adjoint=diffrax.DirectAdjoint() for another loop": "it speaks of a fault of the solver, of which none is known",  # noqa: E501
    "training/_progress.py: write pip install": _INSTALLS,
    "estimation/_parameter_table.py: write pip install": _INSTALLS,
}
