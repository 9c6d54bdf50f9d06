"""Where heads come from: identities and expressions of morphable heads, each in the form of ``head_shape``."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stereolive.synth.head_shape import HeadShape, Landmarks, eye_sphere, finished, loop_subdivision, template_of
from stereolive.synth.surface import FloatArray, IntArray


class HeadSource(Protocol):
    """A family of heads."""

    name: str

    def head(self, rng: np.random.Generator) -> HeadShape: ...


_EXPRESSIONS: dict[str, tuple[tuple[str, float], ...]] = {
    "smile": (("mouthSmile", 0.8), ("cheekSquint", 0.5), ("eyeSquint", 0.3), ("mouthUpperUp", 0.3)),
    "grin": (
        ("mouthSmile", 0.9),
        ("jawOpen", 0.15),
        ("mouthUpperUp", 0.4),
        ("mouthLowerDown", 0.3),
        ("cheekSquint", 0.6),
    ),
    "open": (("jawOpen", 0.8),),
    "talk": (("jawOpen", 0.3), ("mouthFunnel", 0.4), ("mouthLowerDown", 0.3)),
    "pucker": (("mouthPucker", 0.8),),
    "frown": (("browDown", 0.9), ("mouthFrown", 0.7), ("noseSneer", 0.2)),
    "surprise": (("browInnerUp", 0.8), ("browOuterUp", 0.8), ("eyeWide", 0.6), ("jawOpen", 0.35)),
    "blink": (("eyeBlink", 0.95),),
    "squint": (("eyeSquint", 0.9), ("cheekSquint", 0.5), ("browDown", 0.4)),
    "wink": (("eyeBlink_L", 0.95), ("cheekSquint_L", 0.6), ("mouthSmile_L", 0.4)),
    "sneer": (("noseSneer", 0.7), ("mouthUpperUp", 0.5)),
    "press": (("mouthPress", 0.7), ("mouthRollLower", 0.3)),
    "puff": (("cheekPuff", 0.7),),
    "aside": (("mouthLeft", 0.6),),
}
"""Expressions in ARKit's blendshape names; a name without a side stands for both."""


def _draw_expression(rng: np.random.Generator, names: dict[str, int]) -> dict[int, float]:
    """Blendshape weights of an expression: one or two of ``_EXPRESSIONS``, uneven between the sides, and twitches."""
    weights: dict[int, float] = {}
    kinds = list(_EXPRESSIONS)
    odds = np.array([3, 2, 1.5, 1.5, 0.7, 1.2, 1.2, 0.8, 1, 0.4, 0.6, 0.8, 0.4, 0.6])
    chosen = rng.choice(len(kinds), size=int(rng.integers(1, 3)), replace=False, p=odds / odds.sum())
    amount = rng.beta(1.6, 1.4, size=len(chosen))
    side = 1.0 + rng.normal(0.0, 0.15)
    for k, strength in zip(chosen, amount, strict=True):
        blink = kinds[k] in ("blink", "wink")
        for name, peak in _EXPRESSIONS[kinds[k]]:
            value = peak * (rng.uniform(0.85, 1.0) if blink else strength * rng.uniform(0.7, 1.2))
            for suffix, factor in (("", 1.0), ("_L", side), ("_R", 2.0 - side)):
                if name + suffix in names and (suffix == "" or name[-2:] not in ("_L", "_R")):
                    weights[names[name + suffix]] = weights.get(names[name + suffix], 0.0) + value * (
                        min(factor, 1.0) if blink else factor
                    )
    for index in rng.choice(sorted(names.values()), size=4, replace=False):
        weights[int(index)] = weights.get(int(index), 0.0) + rng.uniform(0.0, 0.12)
    return {k: float(np.clip(v, 0.0, 1.0)) for k, v in weights.items()}


def _arkit_names(names: list[str]) -> dict[str, int]:
    """Index of each expression blendshape by its name with ``_L`` or ``_R`` at the end; those of gaze left out."""
    out = {}
    for k, name in enumerate(names):
        if name.startswith(("eyeLook", "Pupil", "tongue")):
            continue
        short = (
            name.replace("Left", "_L").replace("Right", "_R")
            if name not in ("mouthLeft", "mouthRight", "jawLeft", "jawRight")
            else name
        )
        out[short] = k
    return out


# How far the sources' corneas reach from the eyeballs' centres, in radii.
_ICT_EYE_FRONT, _MAKEHUMAN_EYE_FRONT = 1.20, 1.123
_ICT_MARKS = Landmarks(
    lips_outline=((0, 64.0), (7, 62.0), (15, 66.0), (24.5, 71.0), (17, 77.5), (9, 79.5), (0, 80.0)),
    mouth_line_y=70.0,
    nostril=(9.0, 41.5),
    brow=((9, -12.5), (20, -17.5), (32, -20.5), (42, -18.5), (50, -12.5)),
)
_MAKEHUMAN_MARKS = Landmarks(
    lips_outline=((0, 60.5), (7, 59.0), (15, 62.0), (26, 68.0), (20, 74.0), (13, 78.5), (0, 79.5)),
    mouth_line_y=68.0,
    nostril=(9.0, 43.5),
    brow=((9, -12.0), (20, -16.0), (32, -18.5), (42, -16.5), (50, -10.5)),
)


class IctFaceKit:
    """ICT-FaceKit's morphable face (USC ICT, MIT licence): 100 identity and 57 expression shapes, in cm."""

    name = "ict_facekit"

    def __init__(self, data: dict[str, NDArray[Any]]) -> None:
        to_mm = np.array([10.0, -10.0, -10.0], np.float32)
        material = data["mat"]
        triangles = data["f"][np.isin(material, (0, 1))]
        used = np.unique(triangles)
        number = np.full(len(data["v"]), -1, np.int32)
        number[used] = np.arange(len(used), dtype=np.int32)
        triangles = number[triangles]
        left, right = (np.unique(data["f"][material == k]) for k in (4, 6))
        every = np.concatenate([used, left, right])
        self._eyes = (slice(len(used), len(used) + len(left)), slice(len(used) + len(left), None))
        self._skin = slice(0, len(used))
        self._mean = np.asarray(data["v"][every] * to_mm, np.float32)
        self._identity = np.asarray(data["identity"][:, every].astype(np.float32) * to_mm).reshape(100, -1)
        self._expression = np.asarray(data["expression"][:, used].astype(np.float32) * to_mm)
        self._names = _arkit_names([str(n) for n in data["ex_names"]])
        (a, ra), (b, rb) = (eye_sphere(self._mean[e], _ICT_EYE_FRONT) for e in self._eyes)
        middle = (a + b) / 2
        mean = np.asarray(self._mean[self._skin] - middle, np.float32)
        eyes = np.asarray(np.stack([a, b]) - middle, np.float32)
        # No skin map is made for the file's own texture layout: a cylinder around the head serves.
        angle = np.arctan2(mean[:, 0], -(mean[:, 2] - 80.0))
        uv = np.stack([0.5 + angle / (2 * np.pi), (mean[:, 1] + 130.0) / 380.0], axis=1).astype(np.float32)
        self._template = template_of(mean, triangles, uv[triangles], None, eyes, (ra + rb) / 2, 0.08, _ICT_MARKS)

    def head(self, rng: np.random.Generator) -> HeadShape:
        """One identity: the 100 modes drawn from the model's own distribution, a little widened."""
        modes = np.clip(rng.normal(0.0, 1.0, 100), -2.2, 2.2).astype(np.float32) * np.float32(rng.uniform(0.7, 1.15))
        points = self._mean + (modes @ self._identity).reshape(-1, 3)

        def express(r: np.random.Generator, strength: float) -> FloatArray:
            weights = _draw_expression(r, self._names)
            index = list(weights)
            value = np.array([weights[k] for k in index], np.float32) * np.float32(strength)
            return np.asarray(np.tensordot(value, self._expression[index], 1), np.float32)

        eyes = (points[self._eyes[0]], points[self._eyes[1]])
        return finished(self.name, self._template, points[self._skin], eyes, _ICT_EYE_FRONT, express, rng)


_MAKEHUMAN_TO_MM = np.array([100.0, -100.0, -100.0], np.float32)


class MakeHuman:
    """MakeHuman's head (CC0), in dm: macro targets as a convex mixture, few shape targets, smoothly subdivided."""

    name = "makehuman"

    def __init__(self, data: dict[str, NDArray[Any]]) -> None:
        self._setup(
            np.asarray(data["v"] * _MAKEHUMAN_TO_MM, np.float32),
            data["f"],
            data["vt"][data["ft"]],
            np.unique(data["eye_f"]),
        )
        self._names = [str(n) for n in data["names"]]
        self._targets = data["targets"]

    def _setup(self, points: FloatArray, triangles: IntArray, corner_uv: FloatArray, eye: NDArray[Any]) -> None:
        left, right = eye[points[eye, 0] > 0], eye[points[eye, 0] < 0]
        used = np.unique(triangles)
        number = np.full(len(points), -1, np.int32)
        number[used] = np.arange(len(used), dtype=np.int32)
        matrix, fine = loop_subdivision(len(used), number[triangles])
        middle_uv = (corner_uv + np.roll(corner_uv, -1, axis=1)) / 2
        a, b, c = (corner_uv[:, k] for k in range(3))
        ab, bc, ca = (middle_uv[:, k] for k in range(3))
        uv = np.concatenate([np.stack(t, axis=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
        uv = uv * np.array([1, -1]) + np.array([0, 1])
        self._mean, self._used, self._left, self._right = points, used, left, right
        self._matrix = matrix
        (ea, ra), (eb, rb) = (eye_sphere(points[e], _MAKEHUMAN_EYE_FRONT) for e in (left, right))
        middle = (ea + eb) / 2
        self._template = template_of(
            np.asarray(matrix @ (points[used] - middle), np.float32), fine, uv.astype(np.float32), matrix,
            np.asarray(np.stack([ea, eb]) - middle, np.float32), (ra + rb) / 2, 0.06, _MAKEHUMAN_MARKS,
        )  # fmt: skip

    def _smooth(self, coarse: FloatArray) -> FloatArray:
        return np.asarray(self._matrix @ coarse[self._used], np.float32)

    def _sum(self, weights: dict[int, float]) -> FloatArray:
        """Offsets (V0, 3) in mm of a few targets."""
        total = np.zeros_like(self._mean)
        for k, w in weights.items():
            total += np.float32(w) * self._targets[k].astype(np.float32)
        return total * _MAKEHUMAN_TO_MM

    def head(self, rng: np.random.Generator) -> HeadShape:
        """One identity: ethnicity and sex mixed, age, weight, then some twelve shape targets."""
        names = {n: k for k, n in enumerate(self._names)}
        weights: dict[int, float] = {}
        ethnicity = rng.dirichlet((0.45, 0.45, 0.45))
        female = float(rng.beta(0.4, 0.4))
        old = float(rng.beta(0.7, 1.2))
        for race, share in zip(("african", "asian", "caucasian"), ethnicity, strict=True):
            for sex, part in (("female", female), ("male", 1 - female)):
                for age, amount in (("old", old), ("young", 1 - old)):
                    k = names.get(f"macrodetails/{race}-{sex}-{age}")
                    if k is not None:
                        weights[k] = share * part * amount
        heavy = float(rng.normal(0, 0.55))
        for sex, part in (("female", female), ("male", 1 - female)):
            for age, amount in (("old", old), ("young", 1 - old)):
                end = "max" if heavy > 0 else "min"
                k = names.get(f"macrodetails/universal-{sex}-{age}-averagemuscle-{end}weight")
                if k is not None:
                    weights[k] = part * amount * min(abs(heavy), 1.0)
        groups = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "ears", "chin", "cheek", "neck", "asym")
        for group in groups:
            members = [
                n
                for n in self._names
                if n.startswith(group + "/") and not any(t in n for t in ("trunk", "-trans-", "angle-in", "pointed"))
            ]
            if group == "eyes":
                members = [n for n in members if "push" not in n]
            count = {"nose": 3, "asym": 2, "eyes": 1, "mouth": 2, "head": 2}.get(group, 1)
            for n in rng.choice(members, size=count, replace=False):
                value = float(rng.uniform(0.1, 0.4 if group in ("asym", "ears", "neck", "head", "forehead") else 0.65))
                weights[names[n]] = value
                # Targets of one side are drawn for both, a little differently: faces are nearly symmetric.
                for one, other in (("/l-", "/r-"), ("/r-", "/l-")):
                    twin = n.replace(one, other)
                    if twin != n and twin in names:
                        weights[names[twin]] = value * float(rng.uniform(0.85, 1.15))
        coarse = self._mean + self._sum(weights)
        race = ("african", "asian", "caucasian")[int(np.argmax(ethnicity))]
        units = {n.split("/")[-1]: k for n, k in names.items() if n.startswith(f"expression/units/{race}/")}

        def express(r: np.random.Generator, strength: float) -> FloatArray:
            return self._smooth(self._sum({k: strength * w for k, w in _makehuman_expression(r, units).items()}))

        return self._identity(coarse, express, rng)

    def _identity(
        self, coarse: FloatArray, express: Callable[[np.random.Generator, float], FloatArray], rng: np.random.Generator
    ) -> HeadShape:
        eyes = (coarse[self._left], coarse[self._right])
        return finished(self.name, self._template, self._smooth(coarse), eyes, _MAKEHUMAN_EYE_FRONT, express, rng)


_MAKEHUMAN_EXPRESSIONS: tuple[tuple[tuple[str, float], ...], ...] = (
    (("mouth-corner-puller", 0.9), ("eye-left-slit", 0.3), ("eye-right-slit", 0.3)),
    (("mouth-corner-puller", 0.9), ("mouth-parling", 0.6)),
    (("mouth-open", 0.8),),
    (("mouth-part-later", 0.7),),
    (("mouth-depression", 0.7), ("eyebrows-left-down", 0.8), ("eyebrows-right-down", 0.8)),
    (("mouth-pursing", 0.7),),
    (("mouth-protusion", 0.7),),
    (("mouth-compression", 0.7),),
    (("eye-left-closure", 0.95), ("eye-right-closure", 0.95)),
    (("eyebrows-left-up", 0.8), ("eyebrows-right-up", 0.8), ("eye-left-opened-up", 0.6), ("eye-right-opened-up", 0.6)),
    (("eye-left-slit", 0.8), ("eye-right-slit", 0.8)),
    (("nose-left-elevation", 0.6), ("nose-right-elevation", 0.6), ("mouth-elevation", 0.4)),
    (("eyebrows-left-inner-up", 0.8), ("eyebrows-right-inner-up", 0.8), ("mouth-depression-retraction", 0.5)),
    (("mouth-retraction", 0.6),),
)


def _makehuman_expression(rng: np.random.Generator, units: dict[str, int]) -> dict[int, float]:
    """Weights of MakeHuman's expression units, which know no asymmetry at the mouth, plus small twitches."""
    weights: dict[int, float] = {}
    for k in rng.choice(len(_MAKEHUMAN_EXPRESSIONS), size=int(rng.integers(1, 3)), replace=False):
        strength = rng.beta(1.8, 1.2)
        for name, peak in _MAKEHUMAN_EXPRESSIONS[k]:
            value = peak * (rng.uniform(0.85, 1.0) if "closure" in name else strength * rng.uniform(0.6, 1.1))
            if name in units:
                weights[units[name]] = weights.get(units[name], 0.0) + float(value)
    return {k: min(v, 1.0) for k, v in weights.items()}


class Anny(MakeHuman):
    """Anny's parametric human (NAVER, Apache-2.0): phenotype, local changes and facial actions, in metres."""

    name = "anny"

    def __init__(self) -> None:
        import anny
        import torch

        with torch.no_grad():
            model = anny.Anny(
                rig="makehuman-head", topology="head", local_changes="all", facial_actions="all", phenotypes="all"
            )
        self._model = model
        template = model.template_vertices.numpy()
        shapes = model.blendshapes.numpy()
        labels = [str(n) for n in model.blendshape_labels]

        def to_mm(a: NDArray[Any]) -> FloatArray:
            # Anny: x to the person's left, y backwards, z up.
            return np.ascontiguousarray(np.stack([a[..., 0], -a[..., 2], a[..., 1]], axis=-1) * 1000.0, np.float32)

        self._shapes = to_mm(shapes)
        kinds = [n.split(":")[0] for n in labels]
        self._phenotype = [k for k, kind in enumerate(kinds) if kind.startswith("phenotype")]
        moving = np.abs(self._shapes).max(axis=(1, 2)) > 0.3
        wanted = ("cheek", "chin", "ear", "eyebrows", "eye", "forehead", "head", "mouth", "neck-double", "nose")
        self._local = {
            n.split(":", 1)[1]: k
            for k, n in enumerate(labels)
            if kinds[k].startswith("local")
            and moving[k]
            and n.split(":", 1)[1].removeprefix("l-").removeprefix("r-").startswith(wanted)
        }
        actions = [n.split(":", 1)[1] if kinds[k].startswith("facial") else "eyeLook" for k, n in enumerate(labels)]
        self._actions = _arkit_names(actions)
        faces = model.faces.numpy().astype(np.int32)
        corner_uv = model.texture_coordinates.numpy()[model.face_texture_coordinate_indices.numpy()]
        piece = _components(len(template), faces)
        sizes = np.bincount(piece)
        skin = sizes.argmax()
        mean = to_mm(template)
        eyes = [k for k in range(len(sizes)) if k != skin and _is_eye(mean[piece == k])]
        eye = np.flatnonzero(np.isin(piece, eyes))
        face = piece[faces[:, 0]] == skin
        self._setup(mean, faces[face], corner_uv[face].astype(np.float32), eye)

    def head(self, rng: np.random.Generator) -> HeadShape:
        """One identity: an adult or youth of any phenotype, with some ten local changes."""
        import torch

        ethnicity = rng.dirichlet((0.5, 0.5, 0.5))
        drawn = {
            "gender": rng.beta(0.5, 0.5),
            "age": rng.uniform(0.55, 1.0),
            "muscle": rng.uniform(0.2, 0.8),
            "weight": rng.beta(1.5, 1.5),
            "height": rng.uniform(0.2, 0.8),
            "proportions": rng.uniform(0.2, 0.8),
            "cupsize": 0.5,
            "firmness": 0.5,
            "african": ethnicity[0],
            "asian": ethnicity[1],
            "caucasian": ethnicity[2],
        }
        with torch.no_grad():
            coefficients = self._model.get_phenotype_blendshape_coefficients(
                **{k: torch.tensor([float(v)], dtype=self._model.dtype) for k, v in drawn.items()}
            )
        value = np.asarray(coefficients.numpy()[0], np.float32)[: len(self._shapes)]
        coarse = self._mean.copy()
        for k in self._phenotype:
            if abs(value[k]) > 1e-5:
                coarse += value[k] * self._shapes[k]
        names = list(self._local)
        for n in rng.choice(names, size=10, replace=False):
            amount = float(rng.uniform(0.1, 0.7))
            coarse += np.float32(amount) * self._shapes[self._local[n]]
            twin = {"l-": "r-", "r-": "l-"}.get(n[:2], "") + n[2:]
            if twin in self._local:
                coarse += np.float32(amount * rng.uniform(0.85, 1.15)) * self._shapes[self._local[twin]]

        def express(r: np.random.Generator, strength: float) -> FloatArray:
            total = np.zeros_like(self._mean)
            for k, w in _draw_expression(r, self._actions).items():
                total += np.float32(strength * w) * self._shapes[k]
            return self._smooth(total)

        return self._identity(coarse, express, rng)


def _components(count: int, triangles: IntArray) -> NDArray[Any]:
    """The connected piece that each vertex belongs to, (V,)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = np.stack([triangles.reshape(-1), np.roll(triangles, -1, axis=1).reshape(-1)])
    pieces = connected_components(coo_matrix((np.ones(edges.shape[1]), (edges[0], edges[1])), (count, count)), False)[1]
    return np.asarray(pieces)


def _is_eye(points: FloatArray) -> bool:
    """Whether a piece (N, 3) in mm is an eyeball: 20-36 mm across in both directions and off the middle plane."""
    size = np.ptp(points, axis=0)
    return bool(
        np.all((size[:2] > 20) & (size[:2] < 36)) and abs(size[0] - size[1]) < 3 and abs(points[:, 0].mean()) > 15
    )


@functools.cache
def _anny() -> Anny:
    return Anny()


@functools.lru_cache(maxsize=8)
def _from_file(path: Path) -> HeadSource:
    with np.load(path, allow_pickle=False) as archive:
        names = set(archive.files)
        if {"identity", "expression", "ex_names", "mat"} <= names:
            return IctFaceKit({k: archive[k] for k in ("v", "f", "mat", "identity", "expression", "ex_names")})
        if {"targets", "names", "eye_f", "vt", "ft"} <= names:
            return MakeHuman({k: archive[k] for k in ("v", "f", "ft", "vt", "eye_f", "targets", "names")})
    raise ValueError(f"{path} holds no head that is known: expected the arrays of ICT-FaceKit or MakeHuman.")


def load_sources(folder: Path | None) -> list[HeadSource]:
    """Every head source at hand: anny where it is installed, and the head files in ``folder/heads``.

    Loading happens once in a process. Raises ValueError where there is none.
    """
    sources: list[HeadSource] = []
    with contextlib.suppress(ImportError):
        sources.append(_anny())
    if folder is not None:
        if not folder.is_dir():
            raise ValueError(f"The folder with heads does not exist: {folder}")
        sources += [_from_file(path) for path in sorted((folder / "heads").glob("*.npz"))]
    if not sources:
        where = f" and {folder / 'heads'} holds no .npz file" if folder is not None else ""
        raise ValueError(f'No head source is at hand: anny is not installed{where}; pip install "stereolive[synth]".')
    return sources
