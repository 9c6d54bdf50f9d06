"""Subjects and pictures of them: who sits there, whose face an instrument shows, and the photographs it is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stereolive.synth.head_shape import HeadShape
from stereolive.synth.heads import HeadSource, load_sources
from stereolive.synth.lights import Lighting, draw_lighting
from stereolive.synth.raster import Pinhole
from stereolive.synth.rooms import draw_room
from stereolive.synth.scene import Scene
from stereolive.synth.sensor import near_infrared_response, visible_response
from stereolive.synth.skin import Skin, draw_skin
from stereolive.synth.surface import FloatArray, Mesh, Part
from stereolive.synth.wear import draw_wear

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Subject:
    """One identity: the shape and the skin stay, clothes and expression change."""

    index: int
    seed: tuple[int, ...]
    source: str
    shape: HeadShape
    skin: Skin

    @property
    def name(self) -> str:
        return f"subject_{self.index:04d}"

    def mesh(self, rng: np.random.Generator | None, strength: float = 1.0) -> Mesh:
        return self.shape.mesh(rng, strength=strength)

    def parts(self, rng: np.random.Generator | None, strength: float = 1.0, outfit: int = 0) -> list[Part]:
        """Head first, then hair, clothes, glasses, in the head's frame."""
        mesh = self.mesh(rng, strength)
        wear = draw_wear(np.random.default_rng([*self.seed, 77, outfit]), mesh, self.skin)
        return [Part(mesh, self.skin, "head"), *wear]


@dataclass(frozen=True)
class Photo:
    """A frontal picture: linear red, green, blue (H, W, 3), white = 1; the eyes' midpoint; the scale there."""

    image: NDArray[np.float16]
    origin_uv: tuple[float, float]
    px_per_mm: float

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height of the picture at life size."""
        return self.image.shape[1] / self.px_per_mm, self.image.shape[0] / self.px_per_mm

    def uv(self, xy_mm: NDArray[np.floating]) -> FloatArray:
        """Places (N, 2) in the picture of points (N, 2) of the head's frame."""
        size = np.array(self.size_mm)
        return np.asarray(xy_mm / size + np.array(self.origin_uv), np.float32)


def split_of(index: int) -> str:
    """Seven of ten subjects train, one validates, two test."""
    return SPLITS[(0, 0, 0, 0, 0, 0, 0, 1, 2, 2)[index % 10]]


class Population:
    """The pool of subjects that all workers draw from; each is made when first asked for."""

    def __init__(self, seed: int, folder: Path | None, sources: tuple[str, ...] = ()) -> None:
        self.seed = seed
        self.folder = folder
        found = load_sources(folder)
        unknown = set(sources) - {source.name for source in found}
        if unknown:
            known = ", ".join(source.name for source in found)
            raise ValueError(f"No head source named {', '.join(sorted(unknown))}; there is {known}.")
        self.sources: list[HeadSource] = [source for source in found if not sources or source.name in sources]
        self.subject = lru_cache(maxsize=600)(self._subject)
        self.photo = lru_cache(maxsize=400)(self._photo)

    def _subject(self, index: int) -> Subject:
        seed = (self.seed, 11, index)
        rng = np.random.default_rng(seed)
        source = self.sources[int(rng.integers(len(self.sources)))]
        shape = source.head(rng)
        skin = draw_skin(rng, source.name, int(rng.integers(1, 7)), self.folder)
        return Subject(index, seed, source.name, shape, skin)

    def _photo(self, index: int, number: int, near_infrared: bool = False) -> Photo:
        """Photograph ``number`` of a subject, taken in good light from about a metre."""
        subject = self.subject(index)
        rng = np.random.default_rng([self.seed, 12, index, number])
        parts = subject.parts(rng, 0.5, outfit=int(rng.integers(3)))
        width = int(rng.integers(240, 400))
        height = int(width * rng.uniform(1.2, 1.4))
        distance, across = rng.uniform(700, 1300), rng.uniform(210, 340)
        focal = width / across * distance
        matrix = np.array([[focal, 0, width / 2], [0, focal, height * rng.uniform(0.38, 0.48)], [0, 0, 1]])
        camera = Pinhole(width, height, matrix, np.zeros(5), np.eye(3), np.array([0, 0, distance]))
        kind = "indoor_diffuse" if rng.random() < 0.85 else "strong_side"
        lighting = draw_lighting(rng, kind, np.zeros(3), np.array([40.0, 0, -distance]), 850.0)
        leds = [light for light in lighting.lights if near_infrared == (light.beam_exponent > 0)]
        lighting = replace(lighting, lights=leds, window=None)
        room = draw_room(rng, kind, lighting, np.array([0, 0, 300.0]), 0.6)
        response = near_infrared_response(rng, 850.0) if near_infrared else visible_response(rng)
        names = ("near_infrared",) if near_infrared else ("blue", "green", "red")
        scene = Scene([*parts, *room], len(parts), lighting)
        radiance = scene.render(camera, response, names).radiance
        white = self._white(lighting, response)
        image = np.repeat(radiance, 3, axis=2) if near_infrared else radiance[..., ::-1] / (white[::-1] / white.mean())
        center = image[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
        image = np.clip(image * rng.uniform(0.28, 0.5) / max(float(center.mean()), 1e-6), 0, 1)
        half = np.ascontiguousarray(image, np.float16)
        return Photo(half, (float(matrix[0, 2] / width), float(matrix[1, 2] / height)), focal / distance)

    @staticmethod
    def _white(lighting: Lighting, response: NDArray[np.float64]) -> FloatArray:
        total = sum((lobe.mean() * spectrum for lobe, spectrum in lighting.lobes), np.full(61, 1e-6))
        for light in lighting.lights:
            total = total + light.spectrum
        return np.asarray(response @ total, np.float32)
