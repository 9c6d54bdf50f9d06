"""One presentation: what it shows is drawn, placed before the cameras, lit, rendered and exposed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.data.manifest import INSTRUMENT_SURFACE, LIVING_SURFACE
from stereolive.errors import StereoliveError
from stereolive.synth.instruments import BUILDERS
from stereolive.synth.kit import INSTRUMENT_PARTS, LIVING_PARTS, Built, Kit, face_points, rotation
from stereolive.synth.lights import ILLUMINATIONS, draw_lighting, typical_spectrum
from stereolive.synth.people import SPLITS, Population, split_of
from stereolive.synth.raster import Pinhole, posed
from stereolive.synth.rigs import FAMILY_SHARES, RIGS_PER_FAMILY, SPLIT_FAMILIES, draw_rig, drifted, pinholes
from stereolive.synth.rooms import draw_room
from stereolive.synth.scene import Scene, View
from stereolive.synth.sensor import Exposure, draw_sensor, encode, expose
from stereolive.synth.surface import FloatArray, Part

SPLIT_SHARES = (0.7, 0.1, 0.2)
SPECIES_SHARES = {
    "print_flat": 1.2, "print_bent": 1.2, "print_cutout": 1.2, "replay_phone": 1.0, "replay_tablet": 1.0,
    "replay_monitor": 0.7, "mask_paper": 1.2, "mask_silicone": 1.6, "mask_latex": 1.3, "mask_resin": 1.3,
    "mask_plaster": 0.9, "mannequin_head": 0.9, "partial_paper": 1.0, "funny_glasses": 0.8,
}  # fmt: skip
ILLUMINATION_SHARES = (0.27, 0.16, 0.14, 0.14, 0.15, 0.14)
TWINS_SHARE = 0.6
"""How many rigs of two sensors of one kind have two of one model, exposed as one."""
BURNT_OUT_SHARE, BURNT_OUT_EV = 0.35, (0.6, 2.3)
"""How many near-infrared pictures are taken with a lamp too bright for the exposure, and by how much: up to half of the
face is then white."""


@dataclass(frozen=True)
class Settings:
    """What determines a data set; a folder is only ever continued with the settings it was begun with."""

    seed: int
    heads: str | None = None  # folder with further head sources
    sources: tuple[str, ...] = ()  # names of head sources; none: all that are found
    species: tuple[str, ...] = tuple(BUILDERS)
    illuminations: tuple[str, ...] = ILLUMINATIONS
    rig_families: tuple[str, ...] = ()  # none: each split's own
    splits: tuple[str, ...] = SPLITS
    bona_fide_share: float = 0.35
    subjects: int = 400
    instruments: int = 60  # per species

    def __post_init__(self) -> None:
        for name, given, known in (
            ("species", self.species, tuple(BUILDERS)),
            ("illuminations", self.illuminations, ILLUMINATIONS),
            ("rig_families", self.rig_families, tuple(FAMILY_SHARES)),
            ("splits", self.splits, SPLITS),
        ):
            wrong = [value for value in given if value not in known]
            if wrong:
                raise StereoliveError(f"{name}: unknown {', '.join(wrong)}; known are {', '.join(known)}.")
        if not 0 <= self.bona_fide_share <= 1:
            raise StereoliveError(f"bona_fide_share: expected 0 to 1, got {self.bona_fide_share:g}.")
        if self.subjects < 20 or self.instruments < 10:
            raise StereoliveError(
                "At least 20 subjects and 10 instruments per species are needed to fill three splits."
            )


@dataclass(frozen=True)
class Presentation:
    """One rendered sample before it becomes files."""

    row: dict[str, str]
    first: tuple[str, bytes]
    second: tuple[str, bytes]
    depth: bytes
    surface: bytes
    rig_json: tuple[str, Any]


def _choose(rng: np.random.Generator, names: tuple[str, ...] | list[str], shares: list[float]) -> str:
    weights = np.array(shares, float)
    return str(names[int(rng.choice(len(names), p=weights / weights.sum()))])


def _inside(camera: Pinhole, points_mm: NDArray[np.floating], margin: float) -> bool:
    pixels, z = camera.project(points_mm)
    limit = np.array([camera.width, camera.height])
    edge = margin * limit
    return bool((z > 0).all() and (pixels > edge).all() and (pixels < limit - edge).all())


def _placed(
    rng: np.random.Generator, cameras: tuple[Pinhole, Pinhole], face_mm: FloatArray, yaw_limit: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A pose (3, 3), (3,) of the head's frame in the first sensor's, with the face inside both pictures."""
    frontal = rng.random() < 0.3
    spread = 0.35 if frontal else 1.0
    yaw = float(np.clip(rng.normal(0, 11) * spread, -yaw_limit, yaw_limit))
    pitch, roll = np.clip(rng.normal(0, [7, 5]) * spread, [-20, -15], [20, 15])
    distance = float(rng.choice([rng.uniform(300, 750), 250 + 950 * rng.beta(1.3, 1.8)], p=[0.75, 0.25]))
    first = cameras[0]
    face = face_mm[:: max(1, len(face_mm) // 200)]
    offset = rng.normal(0, [0.13, 0.11])
    for attempt in range(40):
        shrink = 1 - min(attempt, 20) / 20
        u = first.matrix[0, 2] + shrink * offset[0] * first.width
        v = first.matrix[1, 2] + shrink * offset[1] * first.height
        if attempt > 10:
            distance = min(1200.0, distance * 1.06)
        ray = np.array(
            [(u - first.matrix[0, 2]) / first.matrix[0, 0], (v - first.matrix[1, 2]) / first.matrix[1, 1], 1]
        )
        target = ray * distance
        # Zero pose looks at the cameras, wherever in the picture the head is.
        aim = rotation(
            float(np.degrees(np.arctan2(ray[1], 1.0))) * -1.0, float(np.degrees(np.arctan2(ray[0], 1.0))), 0.0
        )
        turn = aim @ rotation(float(pitch), yaw, float(roll))
        # The face is centred, not the eyes.
        center = turn @ ((face.min(0) + face.max(0)) / 2)
        place = target - np.array([center[0], center[1], 0])
        world = face @ turn.T + place
        if all(_inside(camera, world, 0.01) for camera in cameras):
            break
    return turn, place


def _box(camera: Pinhole, points_mm: FloatArray) -> tuple[str, NDArray[np.int64]]:
    """The projected box of points, clipped to the picture: "x y w h" and the same as numbers."""
    pixels, _ = camera.project(points_mm)
    limit = np.array([camera.width, camera.height])
    low = np.clip(np.floor(pixels.min(0)), 0, limit - 1).astype(np.int64)
    high = np.clip(np.ceil(pixels.max(0)), 1, limit).astype(np.int64)
    box = np.concatenate([low, np.maximum(high - low, 1)])
    return " ".join(map(str, box)), box


class Metering(NamedTuple):
    """How an automatic exposure goes about one picture."""

    place: int  # 0: the face, 1: the middle, 2: everything
    care: float  # for the face, where another place is metered
    error_ev: float


def _metering(rng: np.random.Generator, near_infrared: bool) -> Metering:
    place = int(rng.choice(3, p=[0.7, 0.18, 0.12]))
    error_ev = float(np.clip(rng.normal(0, 0.65), -1.6, 1.6))
    if rng.random() < 0.15:  # fixed exposure, or an LED that the automatic one does not follow
        error_ev = float(rng.uniform(-2.6, 2.4))
    if near_infrared and rng.random() < BURNT_OUT_SHARE:
        error_ev = float(rng.uniform(*BURNT_OUT_EV))
    return Metering(place, float(rng.choice([0.45, 0.15], p=[0.75, 0.25])), error_ev)


def _exposure(
    rng: np.random.Generator,
    camera: Pinhole,
    box: NDArray[np.int64],
    white: FloatArray,
    flicker: float,
    metering: Metering,
) -> Exposure:
    meter = np.zeros((camera.height, camera.width), bool)
    x, y, w, h = box
    if metering.place == 0:
        meter[y : y + h, x : x + w] = True
    elif metering.place == 1:
        meter[camera.height // 4 : -camera.height // 4, camera.width // 4 : -camera.width // 4] = True
    else:
        meter[:] = True
    moving = rng.random() < 0.15
    return Exposure(
        meter=meter,
        face=(slice(y, y + h), slice(x, x + w)),
        care=metering.care,
        error_ev=metering.error_ev,
        white=white * np.exp(rng.normal(0, 0.07, len(white))).astype(np.float32),
        motion_px=tuple(rng.normal(0, 1.8, 2)) if moving else (0.0, 0.0),
        defocus_px=float(rng.uniform(0.3, 1.5)) if rng.random() < 0.18 else 0.0,
        flicker=flicker,
        flicker_phase=float(rng.uniform()),
    )


@dataclass(frozen=True)
class Plan:
    """What a sample shows, before anything of it is made."""

    split: str
    species: str  # empty for bona fide
    illumination: str
    family: str
    rig_number: int
    holder: int  # the living subject: it presents itself, or holds or wears the instrument
    instrument: int  # -1 for bona fide
    shown: int  # the subject that the instrument shows; the holder for bona fide


def plan(settings: Settings, index: int) -> Plan:
    """Draw what sample ``index`` shows: the split first, everything else from what belongs to that split."""
    rng = np.random.default_rng([settings.seed, 1, index])
    splits = [name for name in SPLITS if name in settings.splits]
    split = _choose(rng, splits, [SPLIT_SHARES[SPLITS.index(name)] for name in splits])
    attack = rng.random() >= settings.bona_fide_share and bool(settings.species)
    species = _choose(rng, settings.species, [SPECIES_SHARES[s] for s in settings.species]) if attack else ""
    lights = settings.illuminations
    illumination = _choose(rng, lights, [ILLUMINATION_SHARES[ILLUMINATIONS.index(name)] for name in lights])
    families = settings.rig_families or SPLIT_FAMILIES[split]
    family = _choose(rng, families, [FAMILY_SHARES[f] for f in families])
    number = int(rng.integers(RIGS_PER_FAMILY))
    members = [member for member in range(settings.subjects) if split_of(member) == split]
    holder = int(rng.choice(members))
    if not species:
        return Plan(split, species, illumination, family, number, holder, -1, holder)
    instrument = int(rng.choice([k for k in range(settings.instruments) if split_of(k) == split]))
    shown = int(_instrument_rng(settings, species, instrument).choice(members))
    holder = int(rng.choice([member for member in members if member != shown]))
    return Plan(split, species, illumination, family, number, holder, instrument, shown)


def _instrument_rng(settings: Settings, species: str, instrument: int) -> np.random.Generator:
    return np.random.default_rng([settings.seed, 3, list(BUILDERS).index(species), instrument])


def present(settings: Settings, population: Population, index: int) -> Presentation:
    """Draw and render sample ``index``."""
    drawn = plan(settings, index)
    split, species, illumination, family = drawn.split, drawn.species, drawn.illumination, drawn.family
    rng = np.random.default_rng([settings.seed, 4, index])
    holder, shown = population.subject(drawn.holder), population.subject(drawn.shown)

    number = drawn.rig_number
    # Validation's rigs are its own, though of training's families.
    fixed_rig = np.random.default_rng([settings.seed, 2, ord(family), number, SPLITS.index(split)])
    written = draw_rig(fixed_rig, family)
    led_nm = float(fixed_rig.choice([850.0, 940.0], p=[0.65, 0.35]))
    sensors = [
        draw_sensor(fixed_rig, camera.spectrum == "near_infrared", led_nm) for camera in (written.first, written.second)
    ]
    # Both of one model and exposed as one, as the two of a stereo module are: without such pairs, views that agree well
    # would be a sign of paper.
    twins = written.first.spectrum == written.second.spectrum and bool(fixed_rig.random() < TWINS_SHARE)
    if twins:
        sensors[1] = replace(sensors[0], seed=sensors[1].seed)
    true = drifted(rng, written)
    cameras = pinholes(true)

    instrument_id = shown_id = ""
    if species:
        fixed = _instrument_rng(settings, species, drawn.instrument)
        built = BUILDERS[species](Kit(fixed, rng, shown, holder, population, species))
        instrument_id, shown_id = f"{species}_{drawn.instrument:03d}", shown.name
    else:
        # Who stands before a terminal mostly looks on quietly, mouth closed.
        strength = rng.uniform(0.0, 0.25) if rng.random() < 0.45 else rng.uniform(0.25, 1.2)
        parts = holder.parts(rng, float(strength), outfit=int(rng.integers(4)))
        built = Built(parts, face_points(parts[0].mesh), "skin")

    turn, place = _placed(rng, cameras, built.face_mm, built.yaw_limit_deg)
    face = (built.face_mm @ turn.T + place).astype(np.float32)
    parts = [Part(posed(part.mesh, turn, place), part.material, part.name) for part in built.parts]
    middle = face.mean(axis=0).astype(np.float64)
    nir = 1 if written.second.spectrum == "near_infrared" else 0
    lighting = draw_lighting(rng, illumination, middle, cameras[nir].center_mm, led_nm)
    tangent = max(max(c.width, c.height * 1.0) / 2 / c.focal_px for c in cameras) + 0.1
    room = draw_room(
        rng,
        illumination,
        lighting,
        np.array([0, 0, max(float(p.mesh.vertices_mm[:, 2].max()) for p in parts)]),
        tangent,
    )
    scene = Scene([*parts, *room], len(parts), lighting)

    files: list[tuple[str, bytes]] = []
    boxes: list[str] = []
    views: list[View] = []
    metering: Metering | None = None
    for camera, sensor in zip(cameras, sensors, strict=True):
        names = ("near_infrared",) if sensor.near_infrared else ("blue", "green", "red")
        view = scene.render(camera, sensor.response, names, sensor.mirrored)
        views.append(view)
        text, box = _box(camera, face)
        boxes.append(text)
        white = (sensor.response @ typical_spectrum(lighting, middle)).astype(np.float32)
        flicker = lighting.flicker if sensor.near_infrared else 0.0
        if metering is None or not twins:
            metering = _metering(rng, sensor.near_infrared)
        picture = expose(rng, sensor, view.radiance, _exposure(rng, camera, box, white, flicker, metering))
        files.append(encode(sensor, picture))
    depth_mm = views[0].depth_mm
    depth = _png(np.round(np.where(depth_mm < 6553.0, depth_mm, 0) * 10).astype(np.uint16))
    shown_by_part = np.zeros(len(scene.parts) + 1, np.uint8)  # the last for pixels of no part, whose index is -1
    for p, part in enumerate(parts):
        if part.name in INSTRUMENT_PARTS + LIVING_PARTS:
            shown_by_part[p] = INSTRUMENT_SURFACE if part.name in INSTRUMENT_PARTS else LIVING_SURFACE

    sample_id = f"{index:06d}"
    rig_name = f"rigs/{family}_{split}_{number:03d}.json"
    values = {
        "sample_id": sample_id,
        "first": f"images/{sample_id}_first{files[0][0]}",
        "second": f"images/{sample_id}_second{files[1][0]}",
        "rig": rig_name,
        "depth": f"depth/{sample_id}.png",
        "surface": f"surface/{sample_id}.png",
        "label": "attack" if species else "bona_fide",
        "pai_species": species,
        "material": built.material,
        "illumination": illumination,
        "subject_id": holder.name,
        "instrument_id": instrument_id,
        "instrument_subject_id": shown_id,
        "head_source": shown.source,
        "skin_group": str(shown.skin.group),
        "distance_mm": f"{np.median(face[:, 2]):.0f}",
        "split": split,
        "rig_family": family,
        "first_spectrum": written.first.spectrum,
        "second_spectrum": written.second.spectrum,
        "face_first": boxes[0],
        "face_second": boxes[1],
    }
    return Presentation(values, files[0], files[1], depth, _png(shown_by_part[views[0].part]), (rig_name, written))


def _png(image: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 2])[1].tobytes()
