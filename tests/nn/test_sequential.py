from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest

from aezip import nn
from aezip.nn import (
    SGD,
    Adam,
    AvgPool2D,
    Conv2D,
    Conv2DTranspose,
    Dense,
    Dropout,
    Flatten,
    MaxPool2D,
    Reshape,
    Sequential,
    sequential,
)


def blobs(count=300, seed=0):
    """Points about three centres in the plane, and which each belongs to."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(3, size=count)
    centres = np.array([[0, 2], [2, -1], [-2, -1]])
    return centres[classes] + rng.normal(scale=0.4, size=(count, 2)), classes


def small_images(count=64):
    """Noise with a bright line, lying (0) or standing (1): (count, 8, 8, 1)."""
    rng = np.random.default_rng(0)
    classes = rng.integers(2, size=count)
    x = rng.normal(scale=0.3, size=(count, 8, 8, 1)).astype(np.float32)
    for image, standing in zip(x, classes, strict=True):
        at = rng.integers(8)
        image[(slice(None), at) if standing else at] += 2
    return x, classes


def autoencoder(**options):
    return Sequential(
        [Dense(6, "sigmoid", input_shape=(12,)), Dense(5, "relu"), Dense(12, "sigmoid")], **options
    )


# Learning.


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "rmsprop", "adam", SGD(momentum=0.5)])
def test_classes_are_learned(optimizer):
    model = Sequential([Dense(16, "tanh"), Dense(3, "softmax")])
    model.compile(optimizer, lr=0.02, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(*blobs(), epochs=20, validation_data=blobs(100, 1), verbose=False)
    assert history.keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert {len(curve) for curve in history.values()} == {20}
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["val_accuracy"][-1] > 0.95
    results = model.evaluate(*blobs(100, 1))
    assert results["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-5)
    assert results["accuracy"] == history["val_accuracy"][-1]


@pytest.mark.parametrize("pool", [MaxPool2D, AvgPool2D])
def test_images_are_learned(pool):
    x, classes = small_images()
    model = Sequential(
        [Conv2D(8, 3, activation="relu"), pool(), Dropout(0.1), Flatten(), Dense(1, "sigmoid")]
    )
    model.compile(lr=0.01, loss="binary_crossentropy", metrics=["accuracy"])
    history = model.fit(x, classes[:, None], epochs=15, batch_size=16, verbose=False)
    assert history["accuracy"][-1] > 0.9


def test_a_convolutional_autoencoder_learns():
    x, _ = small_images()
    model = Sequential(
        [
            Conv2D(8, 3, 2, "same", "relu", input_shape=(8, 8, 1)),
            Flatten(),
            Dense(16),
            Reshape((4, 4, 1)),
            Conv2DTranspose(8, 3, 2, "same", "relu"),
            Conv2D(1, 3, padding="same"),
        ]
    )
    model.compile(lr=0.01, metrics=["mae"])
    history = model.fit(x, x, epochs=30, verbose=False)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["mae"][-1] < history["mae"][0]
    assert model.predict(x).shape == x.shape


# What it reports.


def test_history_is_what_the_outputs_were():
    x, classes = blobs(10)
    model = Sequential([Dense(3, "softmax", input_shape=(2,))])
    model.compile("sgd", 0.5, "sparse_categorical_crossentropy", metrics=["accuracy"])
    right = 0
    reference = Sequential(model.layers)
    reference.compile("sgd", 0.5, "sparse_categorical_crossentropy")
    for start in (0, 4, 8):
        batch = slice(start, start + 4)
        right += (reference.predict(x[batch]).argmax(axis=1) == classes[batch]).sum()
        reference.train_on_batch(x[batch], classes[batch])
    unseen, answers = blobs(20, 1)
    history = model.fit(
        x, classes, 1, 4, validation_data=(unseen, answers), shuffle=False, verbose=False
    )
    assert history["accuracy"] == [pytest.approx(right / 10)]
    assert history["val_accuracy"] == [(model.predict(unseen).argmax(axis=1) == answers).mean()]


def test_metrics_are_of_outputs_not_of_what_the_loss_takes():
    model = Sequential([Dense(1, "sigmoid", input_shape=(1,))])
    model.set_weights([np.ones((1, 1)), np.zeros(1)])
    model.compile(loss="binary_crossentropy", metrics=["accuracy", "mae"])
    x, y = np.array([[0.2], [-1]]), np.array([[1], [0]])  # sigmoid(0.2) is more than a half
    results = model.evaluate(x, y)
    assert results["accuracy"] == 1
    assert results["mae"] == pytest.approx(abs(model.predict(x) - y).mean())


def test_the_loss_tells_which_accuracy_is_meant():
    outputs = np.array([[0.9, 0.8, 0.1], [0.2, 0.4, 0.3]])
    x, y = np.log(outputs / (1 - outputs)), np.array([[1, 0, 0], [0, 0, 1]])
    for loss, accuracy in (("binary_crossentropy", 4 / 6), ("mse", 1 / 2)):
        model = Sequential([Dense(3, "sigmoid", input_shape=(3,))])
        model.set_weights([np.eye(3), np.zeros(3)])
        model.compile(loss=loss, metrics=["accuracy"])
        assert model.evaluate(x, y)["accuracy"] == pytest.approx(accuracy)


def test_nothing_is_dropped_but_in_training():
    x = np.random.default_rng(0).random((50, 12), np.float32)
    model = Sequential([Dropout(0.5, input_shape=(12,))])
    model.compile()
    assert model.evaluate(x, x)["loss"] == 0
    np.testing.assert_array_equal(model.predict(x), x)
    history = model.fit(x, x, validation_data=(x, x), verbose=False)
    assert history["loss"][0] > 0.1 and history["val_loss"] == [0]


def test_classes_may_lie_in_a_column_as_in_keras():
    x, classes = blobs(20)
    model = Sequential([Dense(3, "softmax")])
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    assert model.evaluate(x, classes[:, None]) == model.evaluate(x, classes)


# What it does not do in vain.


def test_only_what_is_nearest_to_the_data_is_spared_their_gradient():
    seen = []

    class Watching(Dense):
        def apply(self, parameters, x, **options):
            seen.append(options["of_data"])
            return super().apply(parameters, x, **options)

    model = Sequential([Flatten(), Watching(3), Dropout(0.1), Watching(3), Watching(3)])
    model.compile()
    model.train_on_batch(np.zeros((2, 3)), np.zeros((2, 3)))
    assert seen == [True, False, False]


@pytest.mark.parametrize("use", ["predict", "evaluate"])
def test_without_training_no_layer_keeps_what_it_needs_for_the_way_back(use):
    x = np.zeros((8, 32, 32, 8), np.float32)

    def peak(layers):
        model = Sequential([Conv2D(8, 3, padding="same") for _ in range(layers)])
        model.build(x.shape[1:])
        model.compile()
        tracemalloc.start()
        model.predict(x) if use == "predict" else model.evaluate(x, x)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(6) < 1.2 * peak(1)


# The same as PyTorch.


def torchs_copy(torch, model):
    """The dense model as PyTorch's, with the same weights."""
    parts = []
    weights = iter(model.get_weights())
    for layer in model.layers:
        w, b = next(weights), next(weights)
        linear = torch.nn.Linear(*w.shape)
        linear.weight.data, linear.bias.data = torch.tensor(w.T.copy()), torch.tensor(b)
        parts.append(linear)
        if layer.activation != "linear":
            parts.append({"sigmoid": torch.nn.Sigmoid, "relu": torch.nn.ReLU}[layer.activation]())
    return torch.nn.Sequential(*parts)


def test_losses_of_an_autoencoder_are_pytorchs():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).random((100, 12), np.float32)
    model = autoencoder()
    reference = torchs_copy(torch, model)
    optimizer = torch.optim.Adam(reference.parameters(), lr=0.01)
    model.compile("adam", lr=0.01)
    history = model.fit(x, x, epochs=40, batch_size=32, shuffle=False, verbose=False)
    for value in history["loss"]:
        total = 0.0
        for batch in torch.tensor(x).split(32):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(reference(batch), batch)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        assert value == pytest.approx(total / len(x), rel=1e-4)
    expected = reference(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(model.predict(x, batch_size=7), expected, atol=1e-4)


def test_losses_of_classes_are_pytorchs():
    torch = pytest.importorskip("torch")
    x, classes = blobs(90)
    model = Sequential([Dense(8, "relu", input_shape=(2,)), Dense(3, "softmax")])
    reference = torchs_copy(torch, Sequential([Dense(8, "relu", input_shape=(2,)), Dense(3)]))
    model.set_weights([p.detach().numpy().T for p in reference.parameters()])
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1)
    model.compile("sgd", lr=0.1, loss="categorical_crossentropy")
    for _ in range(30):
        result = model.train_on_batch(x, np.eye(3)[classes])
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(
            reference(torch.tensor(x, dtype=torch.float32)), torch.tensor(classes)
        )
        loss.backward()
        optimizer.step()
        assert result["loss"] == pytest.approx(loss.item(), rel=1e-5)


# Reproducible, safe.


def test_the_same_seed_gives_the_same_model():
    x, classes = blobs()

    def trained(seed):
        model = Sequential([Dense(8, "relu"), Dropout(0.3), Dense(3, "softmax")], seed=seed)
        model.compile(loss="sparse_categorical_crossentropy")
        history = model.fit(x, classes, epochs=3, verbose=False)
        return history, model.get_weights()

    (first, weights), (second, same), (other, _) = trained(4), trained(4), trained(5)
    assert first == second != other
    for a, b in zip(weights, same, strict=True):
        np.testing.assert_array_equal(a, b)


def test_batches_come_in_a_new_order_each_epoch_and_hold_each_sample_once():
    x = np.arange(10, dtype=np.float32)[:, None]
    seen = []

    class Watching(Dense):
        def apply(self, parameters, x, **options):
            seen.append(x[:, 0].tolist())
            return super().apply(parameters, x, **options)

    model = Sequential([Watching(1)])
    model.compile()
    model.fit(x, x, epochs=2, batch_size=4, verbose=False)
    assert [len(batch) for batch in seen] == [4, 4, 2, 4, 4, 2]
    first, second = ([x for batch in epoch for x in batch] for epoch in (seen[:3], seen[3:]))
    assert sorted(first) == sorted(second) == x[:, 0].tolist()
    assert first != second != x[:, 0].tolist()


@pytest.mark.parametrize(
    ("activation", "loss"),
    [("sigmoid", "binary_crossentropy"), ("softmax", "categorical_crossentropy")],
)
def test_no_warning_and_no_infinite_loss_where_outputs_round_to_zero_and_one(activation, loss):
    x = np.array([[-1e4], [1e4], [-1e4]], np.float32)
    model = Sequential([Dense(2, activation)])
    model.build((1,))
    model.set_weights([np.array([[1.0, -1.0]]), np.zeros(2)])
    model.compile(loss=loss)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = model.train_on_batch(x, np.array([[0, 1], [0, 1], [0, 1]]))
        assert np.isfinite(model.predict(x)).all()
    assert 1e3 < result["loss"] < 1e5
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_training_leaves_data_alone():
    x, classes = small_images(10)
    before = x.copy()
    model = Sequential([Conv2D(2, 3, activation="relu"), Flatten(), Dense(2, "softmax")])
    model.compile(loss="sparse_categorical_crossentropy")
    model.fit(x, classes, verbose=False)
    np.testing.assert_array_equal(x, before)


def test_numbers_of_any_kind_and_lists_are_samples():
    model = autoencoder()
    x = np.random.default_rng(0).integers(2, size=(5, 12))
    expected = model.predict(x.astype(np.float32))
    assert expected.dtype == np.float32
    for same in (x, x.astype(np.uint8), x.astype(np.float64), x.tolist()):
        np.testing.assert_array_equal(model.predict(same), expected)
    assert model.predict(x[:0]).shape == (0, 12)


@pytest.mark.parametrize("optimizer", ["momentum", Adam()])
def test_each_model_has_an_optimizer_of_its_own(optimizer):
    x = np.random.default_rng(0).random((20, 12), np.float32)

    def losses():
        model = autoencoder()
        model.compile(optimizer, lr=0.1)
        return model.fit(x, x, epochs=3, verbose=False)["loss"]

    assert losses() == losses()


# What it says of itself.


def test_summary(capsys):
    Sequential(
        [Conv2D(16, 3, 2, "same", "relu", input_shape=(28, 28, 1)), Flatten(), Dense(10, "softmax")]
    ).summary()
    assert capsys.readouterr().out.splitlines() == [
        "layer    input         output        activation  parameters",
        "Conv2D   (28, 28, 1)   (14, 14, 16)  relu               160",
        "Flatten  (14, 14, 16)  (3136,)                            0",
        "Dense    (3136,)       (10,)         softmax         31,370",
        "total                                                31,530",
    ]


def test_the_articles_network_has_16584_parameters():
    model = Sequential()
    model.add(Dense(10, "sigmoid", input_shape=(784,)))
    model.add(Dense(10, "relu"))
    model.add(Dense(784, "sigmoid"))
    assert model.count_params() == 16_584 == sum(w.size for w in model.get_weights())
    assert (model.input_shape, model.output_shape) == ((784,), (784,))


@pytest.mark.parametrize("verbose", [True, False])
def test_progress(capsys, verbose):
    x = np.zeros((10, 12))
    model = autoencoder()
    model.compile()
    model.fit(x, x, epochs=2, validation_data=(x, x), verbose=verbose)
    shown = capsys.readouterr().err
    if not verbose:
        assert shown == ""
    else:
        assert "epoch 1/2: 100%" in shown and "epoch 2/2: 100%" in shown
        assert "loss 0." in shown and "val_loss 0." in shown


def test_layers_may_be_added_to_a_trained_model():
    x = np.random.default_rng(0).random((20, 12), np.float32)
    model = autoencoder()
    model.compile()
    model.fit(x, x, verbose=False)
    before = model.get_weights()
    model.add(Dense(4))
    for kept, weights in zip(before, model.get_weights(), strict=False):
        np.testing.assert_array_equal(kept, weights)
    with pytest.raises(ValueError, match="not compiled"):
        model.fit(x, x)
    model.compile()
    model.fit(x, x[:, :4], verbose=False)
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=False))


# What is refused.


def compiled(**options):
    model = autoencoder()
    model.compile(**options)
    return model


def classifier(**options):
    model = Sequential([Dense(3, "softmax")])
    model.compile(loss="sparse_categorical_crossentropy", **options)
    return model


X = np.zeros((5, 12), np.float32)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: compiled().fit(X[:, :7], X), r"\(5, 7\).*\(n, 12\)"),
        (lambda: compiled().fit(X, X[:, :7]), r"\(5, 7\).*\(5, 12\)"),
        (lambda: compiled().fit(X, X[:4]), r"\(4, 12\).*\(5, 12\)"),
        (lambda: compiled().fit(X, X, validation_data=(X, X[:, 1:])), r"\(5, 11\).*\(5, 12\)"),
        (lambda: compiled().evaluate(X, X[0]), r"\(12,\).*\(5, 12\)"),
        (lambda: compiled().train_on_batch(X[0], X), r"\(12,\).*\(n, 12\)"),
        (lambda: compiled().fit(X[:0], X[:0]), r"\(0, 12\)"),
        (lambda: compiled().predict(3.0), r"\(\)"),
        (lambda: autoencoder().predict(X[:, 1:]), r"\(5, 11\).*\(n, 12\)"),
        (lambda: autoencoder().fit(X, X), "not compiled"),
        (lambda: compiled().fit(X, X, epochs=0), "epochs.*0"),
        (lambda: compiled().fit(X, X, batch_size=0), "batch_size.*0"),
        (lambda: autoencoder().predict(X, batch_size=0), "batch_size.*0"),
        (lambda: Sequential().compile(), "without layers"),
        (lambda: compiled(optimizer="adm"), "'adm'.*rmsprop"),
        (lambda: compiled(loss="mes"), "'mes'.*mse"),
        (lambda: compiled(metrics=["acc"]), "'acc'.*accuracy"),
        (lambda: compiled(metrics="mae"), "metrics.*'mae'"),
        (lambda: compiled(metrics=None), "metrics.*None"),
        (lambda: compiled(metrics=[["mae"]]), r"\['mae'\].*accuracy"),
        (lambda: compiled(optimizer=Adam), "Adam.*rmsprop"),
        (lambda: compiled(optimizer=None), "None.*rmsprop"),
        (lambda: compiled(loss=["mse"]), r"\['mse'\].*mse"),
        (lambda: classifier(metrics=["mae"]), "sparse.*'mae'.*accuracy"),
        (lambda: compiled().fit(X, X, validation_data=(X,)), r"validation_data.*\(x, y\)"),
        (lambda: compiled().fit(X, X, validation_data=3), r"validation_data.*\(x, y\)"),
        (lambda: classifier().fit(X, np.zeros((5, 2))), r"\(5, 2\).*\(5, 3\)"),
        (lambda: classifier().fit(X, np.zeros(4)), r"\(4,\).*\(5, 3\)"),
        (lambda: classifier().fit(X, list("abcab")), "from 0 to 2"),
        (lambda: compiled(lr=0), "0"),
        (lambda: compiled(lr=float("nan")), "nan"),
        (lambda: compiled(loss="categorical_crossentropy"), "softmax.*sigmoid"),
        (lambda: Sequential([Flatten()]).compile(loss="binary_crossentropy"), "sigmoid"),
        (lambda: autoencoder().add(Conv2D(3, 3)), r"\(12,\)"),
        (lambda: autoencoder().set_weights([]), "6.*0"),
        (lambda: autoencoder().set_weights([X] * 6), r"\(12, 6\).*\(5, 12\)"),
        (lambda: Sequential([Dense(3)]).summary(), "input_shape"),
        (lambda: Sequential([Dense(3)]).build((0,)), r"\(0,\)"),
        (lambda: Sequential([Dense(3)]).build(12), "12"),
        (lambda: autoencoder().build((99,)), r"\(12,\).*\(99,\)"),
        (lambda: autoencoder().add(Dense(4, input_shape=(99,))), r"\(99,\).*\(12,\)"),
        (lambda: Sequential([Dense(3), Dense(4, input_shape=(9,))]).predict(X), r"\(9,\).*\(3,\)"),
        (lambda: Sequential().add(Dense), "Layer.*ABCMeta"),
        (lambda: Sequential([None]), "Layer.*NoneType"),
        (lambda: Sequential([Dense(3)]).count_params(), "input_shape"),
        (lambda: Sequential([Conv2D(3, 3)]).predict(X), r"Conv2D.*\(12,\)"),
        (lambda: Sequential(device="tpu"), "'tpu'"),
    ],
)
def test_what_makes_no_sense_is_refused(act, said):
    with pytest.raises(ValueError, match=said):
        act()


def test_a_layer_that_was_refused_is_not_there():
    model = autoencoder()
    with pytest.raises(ValueError):
        model.add(Conv2D(3, 3))
    assert len(model.layers) == 3
    late = Sequential([Conv2D(3, 3), Conv2D(3, 3), Flatten(), Dense(2)])
    for shape in ((2, 12), (2, 4, 5, 1)):  # refused by the first layer, by the second
        with pytest.raises(ValueError):
            late.predict(np.zeros(shape))
    assert late.predict(np.zeros((2, 5, 6, 1))).shape == (2, 2)
    assert len(late.get_weights()) == 6
    with pytest.raises(ValueError):
        Sequential().add(Conv2D(3, 3, input_shape=(4,)))


def test_a_layer_that_fails_is_not_there():
    class Failing(Dense):
        def initial(self, shape, rng):
            raise MemoryError

    model = autoencoder()
    with pytest.raises(MemoryError):
        model.add(Failing(3))
    assert len(model.layers) == 3 and model.output_shape == (12,)


def test_a_model_may_be_built_twice_for_one_shape():
    model = autoencoder()
    before = model.get_weights()
    model.build([12])
    for same, weights in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(same, weights)


@pytest.mark.parametrize(
    "data",
    [
        {"x": X, "y": X[:, :2]},
        {"x": X, "y": X, "validation_data": (X[:, 1:], X)},
        {"x": X, "y": X, "validation_data": (X, X[:, 1:])},
        {"x": X[:0], "y": X[:0]},
    ],
)
def test_a_model_is_not_built_for_data_that_were_refused(data):
    model = Sequential([Dense(12)])
    model.compile()
    with pytest.raises(ValueError):
        model.fit(**data, verbose=False)
    model.predict(np.zeros((1, 7)))


@pytest.mark.parametrize("where", ["training", "validation"])
def test_a_class_that_is_not_there_is_refused_before_anything_is_trained(where):
    x, classes = blobs(40)
    wrong = np.where(np.arange(40) == 39, 3, classes)
    model = Sequential([Dense(3, "softmax", input_shape=(2,))])
    model.compile(loss="sparse_categorical_crossentropy")
    before = model.get_weights()[0]
    seen, other = (wrong, classes) if where == "training" else (classes, wrong)
    with pytest.raises(ValueError, match="from 0 to 2"):
        model.fit(x, seen, batch_size=8, validation_data=(x, other), verbose=False)
    np.testing.assert_array_equal(model.get_weights()[0], before)


@pytest.mark.parametrize(
    "options", [{"loss": "mes"}, {"metrics": ["acc"]}, {"optimizer": "adm"}, {"lr": 0}]
)
def test_a_compile_that_was_refused_changes_nothing(options):
    x = np.random.default_rng(0).random((20, 12), np.float32)

    def trained(**refused):
        model = autoencoder()
        model.compile("sgd", lr=0.1, metrics=["mae"])
        if refused:
            with pytest.raises(ValueError):
                model.compile(**{"optimizer": "adam", "loss": "binary_crossentropy", **refused})
        return model.fit(x, x, epochs=2, verbose=False)

    assert trained(**options) == trained()


def test_weights_are_set_all_or_none():
    model = autoencoder()
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"\(12,\).*\(13,\)"):
        model.set_weights([*(w + 1 for w in before[:-1]), np.zeros(13)])
    for same, weights in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(same, weights)


# Other backends.


def test_a_model_computes_with_the_module_of_its_device(foreign, monkeypatch):
    x, classes = small_images(20)
    layers = [Conv2D(4, 3, activation="relu"), MaxPool2D(), Dropout(0.2), Flatten()]

    def trained():
        model = Sequential([*layers, Dense(2, "softmax")])
        model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        history = model.fit(x, classes, 2, 8, validation_data=(x, classes), verbose=False)
        return history, model.predict(x), model.get_weights()

    history, outputs, weights = trained()
    monkeypatch.setattr(sequential, "ops_for", lambda device: nn.Ops(foreign))
    foreign_history, foreign_outputs, foreign_weights = trained()
    assert foreign_history == history
    foreign_weights.append(foreign_outputs)
    for actual, expected in zip(foreign_weights, [*weights, outputs], strict=True):
        assert type(actual) is np.ndarray
        np.testing.assert_array_equal(actual, expected)


def test_a_model_trains_on_a_gpu_as_on_the_processor(tmp_path):
    try:
        nn.ops_for("cuda")
    except nn.DeviceError as error:
        pytest.skip(str(error))
    x = np.random.default_rng(0).random((100, 12), np.float32)
    histories = []
    for device in nn.DEVICES:
        model = autoencoder(device=device)
        model.compile(lr=0.01)
        histories.append(model.fit(x, x, epochs=5, verbose=False)["loss"])
    np.testing.assert_allclose(histories[0], histories[1], rtol=1e-4)
    model.save(tmp_path / "model.h5")
    loaded = Sequential.load(tmp_path / "model.h5")
    np.testing.assert_allclose(loaded.predict(x), model.predict(x), rtol=1e-4)
