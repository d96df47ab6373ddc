from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from analysis.errors import ModelError, SpecError, TrustError
from analysis.models.architectures import build
from analysis.models.loading import (
    ModelSpec,
    Normalization,
    leaves_normalization_open,
    load_model,
    save_model,
    wrap_module,
)
from analysis.models.saving import HEADER_KEY
from analysis.records import PENULTIMATE
from analysis.study.places import located_spec

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(4, classes)

    def forward(self, x):
        return self.fc(self.relu(self.conv(x)).mean(dim=(2, 3)))

def make(num_classes=5):
    return Net(num_classes)

def needs_classes(num_classes):
    return Net(num_classes)

def broken():
    raise KeyError("no such thing")

def text():
    return "a network"

class Tuple(Net):
    def forward(self, x):
        return super().forward(x), x

class Maps(Net):
    def forward(self, x):
        return self.conv(x)

class Nan(Net):
    def forward(self, x):
        return super().forward(x) * float("nan")

def returns_tuple():
    return Tuple(5)

def returns_maps():
    return Maps(5)

def returns_nan():
    return Nan(5)

def raises_on_images():
    net = Net(5)
    net.forward = lambda x: 1 / 0
    return net
"""


def network(
    seed: int = 0, name: str = "smallresnet", classes: int = 3, width: int = 8
) -> nn.Module:
    torch.manual_seed(seed)
    return build(name, num_classes=classes, width=width)


def pixels(channels: int = 3) -> torch.Tensor:
    return torch.rand(4, channels, 32, 32, generator=torch.Generator().manual_seed(1))


def save(path: Path, module: nn.Module, **changes: object) -> Path:
    values = {
        "architecture": "smallresnet",
        "width": 8,
        "class_names": ("a", "b", "c"),
        "normalization": Normalization.parse("cifar10"),
        "num_classes": 3,
        "in_channels": 3,
        "metadata": {"temperature": 4.0},
        **changes,
    }
    return save_model(path, module, **values)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A user's file with weights ``net.pt`` beside it."""
    file = tmp_path / "net.py"
    file.write_text(NET)
    scope: dict = {"__name__": "net"}
    exec(NET, scope)
    torch.manual_seed(0)
    torch.save(scope["make"]().state_dict(), tmp_path / "net.pt")
    return file


# Specs


words = st.text("abz09._-, @=", min_size=1, max_size=12).map(lambda text: f"d/{text}x")
normalizations = st.sampled_from(["imagenet", "cifar10", "none", "0.5:0.25/1.0:2.0"])


@given(
    st.sampled_from(["resnet20", "dir/my net.py:make", "smallresnet"]),
    words.filter(lambda text: "@" not in text),
    st.sampled_from([".pt", ".safetensors"]),
    st.permutations(["normalize", "classes", "width"]),
    normalizations,
    st.integers(2, 1000),
    st.integers(1, 64),
)
def test_a_spec_is_read_as_it_was_written(
    arch: str, stem: str, suffix: str, order: list, norm: str, classes: int, width: int
) -> None:
    values = {"normalize": norm, "classes": classes, "width": width}
    options = "".join(f",{key}={values[key]}" for key in order)
    spec = ModelSpec.parse(f"{arch}@{stem}{suffix}{options}")
    assert spec.weights == Path(f"{stem}{suffix}")
    assert spec.normalization == Normalization.parse(norm)
    assert (spec.num_classes, spec.width) == (classes, width)
    assert spec.label == ("net.py:make".join(["my ", ""]) if ":" in arch else arch)
    assert "/" not in spec.text.replace(f"normalize={norm}", "")


def test_a_path_may_hold_an_at_sign() -> None:
    assert ModelSpec.parse("resnet20@/data/run@2/t.pt").weights == Path("/data/run@2/t.pt")
    assert located_spec("resnet20@run@2/t.pt", Path("/base")) == "resnet20@/base/run@2/t.pt"
    assert located_spec("d/run@2/t.safetensors", Path("/base")) == "/base/d/run@2/t.safetensors"
    code = located_spec("a@b/net.py:make@run@2/t.pt", Path("/base"))
    assert code == "/base/a@b/net.py:make@/base/run@2/t.pt"


def test_the_at_sign_behind_the_factory_splits() -> None:
    spec = ModelSpec.parse("home@work/net.py:make@run,a=1/best.pt,width=3")
    assert spec.code == Path("home@work/net.py")
    assert spec.weights == Path("run,a=1/best.pt")
    assert spec.width == 3
    assert spec.text == "net.py:make@best.pt,width=3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resnet20@w.pt,normalise=none", r"unknown option 'normalise'.*'normalize'"),
        ("resnet20@w.pt,width=3,width=4", "option 'width' is given twice"),
        ("resnet20@w.pt,width=-3", "width=-3; expected a whole number of at least 1"),
        ("resnet20@w.pt,classes=1", "classes=1; expected a whole number of at least 2"),
        ("resnet20@w.pt,normalize=foo", "normalize=foo; expected imagenet"),
        ("resnet20", "'resnet20' names no weights file; expected ARCH@WEIGHTS"),
        ("resnet20@w.onnx", "names no weights file.*safetensors"),
        ("w.pt", r"names no architecture.*resnet20@w\.pt"),
        ("@w.pt", "names no architecture"),
        ("net.py@w.pt", r"user code 'net\.py' without a factory"),
        ("net.py:a b@w.pt", "factory 'a b'; expected the name of a function"),
        ("", "names no weights file"),
    ],
)
def test_a_wrong_spec_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ModelSpec.parse(text)


# Our own files


@settings(max_examples=8, deadline=None)
@given(
    st.integers(0, 2**20),
    st.sampled_from([("smallresnet", 4), ("convnet", 4), ("resnet8", 4), ("vit_tiny", 32)]),
    st.sampled_from(["imagenet", "none", "0.1:0.2:0.3/0.4:0.5:0.6"]),
)
def test_saving_and_loading_is_the_identity(
    tmp_path_factory: pytest.TempPathFactory, seed: int, arch: tuple[str, int], norm: str
) -> None:
    name, width = arch
    module = network(seed, name, width=width)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean)
    normalization = Normalization.parse(norm)
    path = tmp_path_factory.mktemp("saved") / "student.safetensors"
    save(path, module, architecture=name, width=width, normalization=normalization)
    before = wrap_module(
        module, architecture=name, width=width, num_classes=3, normalization=normalization
    )
    loaded = load_model(str(path))
    assert loaded.digest == before.digest
    assert torch.equal(loaded(pixels()), before(pixels()))
    assert loaded.class_names == ("a", "b", "c")
    assert loaded.metadata == {"temperature": 4.0}
    assert loaded.file_bytes == path.stat().st_size
    assert loaded.spec_text == "student.safetensors"
    assert (loaded.architecture, loaded.width) == arch


def test_a_file_that_does_not_say_how_inputs_are_normalized_is_told_apart(tmp_path: Path) -> None:
    stated = save(tmp_path / "stated.safetensors", network())
    bare = tmp_path / "bare.pt"
    torch.save(network().state_dict(), bare)
    save_file(network().state_dict(), tmp_path / "bare.safetensors")
    for spec, is_open in (
        (f"{stated}", False),
        (f"smallresnet@{bare}", True),
        (f"smallresnet@{tmp_path}/bare.safetensors", True),
        (f"smallresnet@{bare},normalize=none", False),
        (f"smallresnet@{bare},normalize=imagenet", False),
        (f"{tmp_path}/net.py:make@{bare}", False),
        (f"smallresnet@{tmp_path}/gone.pt", False),
        ("no spec", False),
    ):
        assert leaves_normalization_open(spec) is is_open, spec


def test_equal_models_make_equal_files(tmp_path: Path) -> None:
    first = save(tmp_path / "a.safetensors", network())
    second = save(tmp_path / "b.safetensors", network().to(memory_format=torch.channels_last))
    assert first.read_bytes() == second.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.safetensors", "b.safetensors"]


def test_a_transformer_remembers_images_that_are_not_square(tmp_path: Path) -> None:
    module = build("vit_tiny", num_classes=3, width=32, image_size=(8, 16))
    path = tmp_path / "vit.safetensors"
    save(path, module, architecture="vit_tiny", width=32, image_size=(8, 16))
    assert load_model(str(path)).input_size == (8, 16)


def test_normalization_and_class_names_of_the_caller_win(tmp_path: Path) -> None:
    path = save(tmp_path / "s.safetensors", network())
    loaded = load_model(f"{path},normalize=none", class_names=["x", "y", "z"])
    assert loaded.normalization == Normalization()
    assert loaded.class_names == ("x", "y", "z")
    with pytest.raises(ModelError, match="2 class names"):
        load_model(str(path), class_names=["x", "y"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{},width=9", "says width 8, the spec says 9"),
        ("{},classes=4", "says classes 3, the spec says 4"),
        ("resnet8@{}", "says architecture smallresnet, the spec says resnet8"),
    ],
)
def test_contradictions_with_the_file_are_refused(tmp_path: Path, spec: str, message: str) -> None:
    path = save(tmp_path / "s.safetensors", network())
    with pytest.raises(ModelError, match=message):
        load_model(spec.format(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has format 2; expected at most 1.*newer Distillscope"),
        ({"width": "wide"}, r"damaged header \(ValueError"),
        ({"normalization": "foo"}, "damaged header"),
        ({"class_names": 3}, "damaged header"),
        (None, "damaged header"),
    ],
)
def test_a_header_of_the_future_or_damaged_is_refused(
    tmp_path: Path, change: dict | None, message: str
) -> None:
    path = save(tmp_path / "s.safetensors", network())
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()[HEADER_KEY])
    text = "{" if change is None else json.dumps({**header, **change})
    save_file(load_file(path), path, metadata={HEADER_KEY: text})
    with pytest.raises(ModelError, match=message):
        load_model(str(path))


def test_metadata_that_json_cannot_hold_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"metadata of a model.*without NaN"):
        save(tmp_path / "s.safetensors", network(), metadata={"loss": float("nan")})
    with pytest.raises(ModelError, match=r"'s\.pt'; expected a name ending in \.safetensors"):
        save(tmp_path / "s.pt", network())
    assert os.listdir(tmp_path) == []


# Files of others


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "best_prec1": 91.7},
        lambda s: {"model": {"net": s}},
        lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}},
        lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()},
        lambda s: {k: v for k, v in s.items() if "num_batches" not in k},
    ],
)
def test_every_wrapping_gives_the_same_model(tmp_path: Path, wrap: object) -> None:
    module = network()
    path = save(tmp_path / "s.safetensors", module, normalization=Normalization())
    torch.save(wrap(module.state_dict()), tmp_path / "w.th")
    loaded = load_model(f"smallresnet@{tmp_path / 'w.th'}")
    assert loaded.digest == load_model(str(path)).digest
    assert (loaded.num_classes, loaded.width, loaded.in_channels) == (3, 8, 3)


def test_a_gray_model_is_recognized(tmp_path: Path) -> None:
    module = build("convnet", num_classes=10, width=4, in_channels=1)
    torch.save(module.state_dict(), tmp_path / "w.pt")
    loaded = load_model(f"convnet@{tmp_path / 'w.pt'},normalize=0.5/0.25")
    assert loaded(pixels(channels=1)).shape == (4, 10)
    with pytest.raises(SpecError, match="normalize=imagenet is for 3 channels; expected 1"):
        load_model(f"convnet@{tmp_path / 'w.pt'},normalize=imagenet")


def test_a_prefix_that_is_the_networks_own_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "from torch import nn\n"
        "class Wrapped(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.module = nn.Sequential(nn.Flatten(), nn.Linear(3072, 4))\n"
        "    def forward(self, x):\n"
        "        return self.module(x)\n"
    )
    weights = {"module.1.weight": torch.zeros(4, 3072), "module.1.bias": torch.arange(4.0)}
    torch.save(weights, tmp_path / "w.pt")
    model = load_model(f"{file}:Wrapped@{tmp_path / 'w.pt'}", trusted_code=[file])
    assert model(pixels())[0].tolist() == [0, 1, 2, 3]


class Exploit:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_that_wants_to_run_code_is_refused_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "was here"
    torch.save({"state_dict": Exploit(mark)}, tmp_path / "w.pt")
    with pytest.raises(
        ModelError, match=r"w\.pt is refused: to open it posix\.mkdir would"
    ) as info:
        load_model(f"resnet20@{tmp_path / 'w.pt'}")
    assert "\n" not in str(info.value)
    assert not mark.exists()


def test_a_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"refused: to open it analysis\.models\.\w+\.CifarResNet"):
        load_model(f"smallresnet@{tmp_path / 'w.pt'}")


def state(**changes: object) -> dict:
    return {**network().state_dict(), **changes}


def without(*names: str) -> dict:
    return {key: value for key, value in state().items() if key not in names}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds no tensors"),
        ([1, 2], "holds a list; expected a state dict"),
        (state(note="hello"), "'note' in w.pt is a str; expected tensors only"),
        (state(**{"bn1.bias": torch.full((8,), torch.nan)}), "'bn1.bias' .* NaN or infinite"),
        (state(**{"bn1.bias": torch.zeros(8, dtype=torch.cfloat)}), "complex64; expected dense"),
        (without("bn1.bias", "bn1.weight"), "lacks bn1.weight, bn1.bias"),
        (state(extra=torch.zeros(1)), "has unexpected extra"),
        (state(**{"bn1.bias": torch.zeros(9)}), r"bn1.bias is \(9,\) instead of \(8,\)"),
        (network(name="resnet20").state_dict(), r"unexpected layer1\.1\.conv1\.weight.* more"),
        ({"fc.weight": torch.zeros(3, 4)}, r"lacks conv1\.weight.* and has unexpected fc\.weight"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_name_the_first_reasons(
    tmp_path: Path, content: object, message: str
) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=message) as info:
        load_model(f"smallresnet@{tmp_path / 'w.pt'}")
    assert "\n" not in str(info.value)
    assert len(str(info.value)) < 500


@pytest.mark.parametrize(("option", "held"), [("classes=4", "classes 3"), ("width=9", "width 8")])
def test_options_that_contradict_the_weights_are_refused(
    tmp_path: Path, option: str, held: str
) -> None:
    torch.save(state(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match=f"w.pt has {held}, the spec says"):
        load_model(f"smallresnet@{tmp_path / 'w.pt'},{option}")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage" * 100, pickle.dumps(5), b"PK\x03\x04" * 9])
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"w{suffix}"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=f"^w{suffix} ") as info:
        load_model(f"resnet20@{file}")
    assert "\n" not in str(info.value)


def test_tensors_without_their_values_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    strange = {
        "meta": torch.empty(2, device="meta"),
        "expanded": torch.zeros(1).expand(10**13),
        "narrow": torch.zeros(2).to(torch.float8_e4m3fn),
    }
    for name, tensor in strange.items():
        torch.save({**state(), name: tensor}, file)
        with pytest.raises(ModelError, match=f"{name}.*expected dense tensors of real numbers"):
            load_model(f"resnet20@{file}")


def test_a_file_that_holds_itself_is_refused(tmp_path: Path) -> None:
    held: dict = {}
    held["model"] = held
    torch.save(held, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="tensors only"):
        load_model(f"resnet20@{tmp_path / 'w.pt'}")


def test_safetensors_under_the_ending_of_torch_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    save_file(state(), tmp_path / "real.safetensors")
    file.write_bytes((tmp_path / "real.safetensors").read_bytes())
    with pytest.raises(ModelError, match=r"^w\.pt "):
        load_model(f"resnet20@{file}")


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "resnet20.pt").write_bytes(b"")
    with pytest.raises(ModelError, match=r"there is no file .*resnet2O\.pt.*resnet20\.pt'\?"):
        load_model(f"resnet20@{tmp_path / 'resnet2O.pt'}")
    with pytest.raises(ModelError, match=r"there is no folder .*nowhere"):
        load_model(f"resnet20@{tmp_path / 'nowhere' / 'w.pt'}")
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(ModelError, match=r"folder\.pt is a folder; expected a weights file"):
        load_model(f"resnet20@{tmp_path / 'folder.pt'}")


def test_unknown_architectures_and_silent_files_say_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file(state(), file)
    with pytest.raises(SpecError, match=r"unknown architecture 'smalresnet'.*'smallresnet'"):
        load_model(f"smalresnet@{file}")
    with pytest.raises(ModelError, match=r"does not say what it holds.*resnet20@w\.safetensors"):
        load_model(str(file))
    assert load_model(f"smallresnet@{file}").class_names is None


# User code


def test_user_code_runs_only_when_it_is_trusted(net: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    net.write_text(NET + f"\nimport os; os.mkdir({str(mark)!r})\n")
    spec = f"{net}:make@{tmp_path / 'net.pt'}"
    for trusted in ((), (tmp_path / "other.py",)):
        with pytest.raises(TrustError, match=r"net\.py would have to be executed.*--trust-code"):
            load_model(spec, trusted_code=trusted)
        assert not mark.exists()
    load_model(spec, trusted_code=[tmp_path / "." / "net.py"])
    assert mark.exists()


def test_a_users_model_is_a_model_like_any_other(net: Path, tmp_path: Path) -> None:
    spec = f"{net}:make@{tmp_path / 'net.pt'},normalize=imagenet"
    model = load_model(spec, trusted_code=[net])
    assert model.architecture == "net.py:make"
    assert model.spec_text == "net.py:make@net.pt,normalize=imagenet"
    assert (model.num_classes, model.in_channels, model.input_size) == (5, 3, None)
    assert model.layer_names == ("conv", "relu")
    logits, features = model.traced(pixels(), [PENULTIMATE, "relu"])
    expected = features[PENULTIMATE] @ model.module.fc.weight.T + model.module.fc.bias
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(features["relu"], features[PENULTIMATE])
    assert len(model.user_code) == 64


def test_the_digest_of_a_users_model_follows_code_and_not_names(net: Path, tmp_path: Path) -> None:
    def digest(file: Path) -> str:
        return load_model(f"{file}:make@{tmp_path / 'net.pt'}", trusted_code=[file]).digest

    copy = tmp_path / "copy.py"
    copy.write_text(NET)
    assert digest(copy) == digest(net)
    copy.write_text(NET + "# changed\n")
    assert digest(copy) != digest(net)


def test_the_factory_gets_the_number_of_classes(net: Path, tmp_path: Path) -> None:
    spec = f"{net}:needs_classes@{tmp_path / 'net.pt'}"
    assert load_model(f"{spec},classes=5", trusted_code=[net]).num_classes == 5
    with pytest.raises(SpecError, match=r"the factory needs num_classes\. Add ,classes=N"):
        load_model(spec, trusted_code=[net])


@pytest.mark.parametrize(
    ("factory", "error", "message"),
    [
        ("broken", ModelError, r"broken\(\) of net\.py raised KeyError: 'no such thing'"),
        ("text", ModelError, "returned a str; expected a torch.nn.Module"),
        ("mak", SpecError, "net.py has no function 'mak'.*'make'"),
        ("returns_tuple", ModelError, "answers with a tuple; expected logits"),
        ("returns_maps", ModelError, r"answers 2 images with shape \(2, 4, 30, 30\)"),
        ("returns_nan", ModelError, "answers noise with NaN"),
        ("raises_on_images", ModelError, "images of no common size.*ZeroDivisionError"),
    ],
)
def test_what_is_wrong_with_user_code_is_said(
    net: Path, tmp_path: Path, factory: str, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        load_model(f"{net}:{factory}@{tmp_path / 'net.pt'}", trusted_code=[net])


def test_a_file_that_cannot_be_imported_says_why(net: Path, tmp_path: Path) -> None:
    net.write_text("def make(:\n")
    with pytest.raises(ModelError, match=r"net\.py raised SyntaxError") as info:
        load_model(f"{net}:make@{tmp_path / 'net.pt'}", trusted_code=[net])
    assert "\n" not in str(info.value)
    with pytest.raises(ModelError, match=r"there is no file .*nit\.py.*net\.py'\?"):
        load_model(f"{tmp_path / 'nit.py'}:make@{tmp_path / 'net.pt'}", trusted_code=[net])


def test_a_users_model_of_one_size_keeps_it(net: Path, tmp_path: Path) -> None:
    net.write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 5))\n"
    )
    scope: dict = {}
    exec(net.read_text(), scope)
    torch.save(scope["make"]().state_dict(), tmp_path / "net.pt")
    model = load_model(f"{net}:make@{tmp_path / 'net.pt'}", trusted_code=[net])
    assert (model.in_channels, model.input_size) == (1, (28, 28))
    assert model.penultimate == "3"


def test_a_file_with_weights_of_user_code_says_so(net: Path, tmp_path: Path) -> None:
    model = load_model(f"{net}:make@{tmp_path / 'net.pt'}", trusted_code=[net])
    path = tmp_path / "s.safetensors"
    save(
        path, model.module, architecture="net.py:make", width=None, num_classes=5, class_names=None
    )
    with pytest.raises(ModelError, match=r"user code net\.py:make.*path/to/net\.py:make@s"):
        load_model(str(path))
    again = load_model(f"{net}:make@{path}", trusted_code=[net])
    assert torch.equal(again.module.fc.weight, model.module.fc.weight)
    assert again.normalization == Normalization.parse("cifar10")
