"""`wanfarm models` and `wanfarm inspect`: what can be rendered with, and what a folder holds."""

from __future__ import annotations

from farm.errors import ModelError
from farm.models import CARDS, EMBEDDED, chosen_model, find_model
from farm.settings import Settings
from jobs.printing import aligned, say, say_json


def list_models(*, as_json: bool) -> int:
    """0. A model is available where its weights are found."""
    settings = Settings.from_env()
    found = []
    for name, card in CARDS.items():
        try:
            path: str | None = str(find_model(name, settings))
        except ModelError:
            path = None
        size = f"{card.defaults.width}x{card.defaults.height}x{card.defaults.num_frames}"
        state = "embedded" if name == EMBEDDED and path else path or card.unsupported or "weights not here"
        found.append({"name": name, "title": card.title, "default": size, "modes": card.modes, "state": state})
    if as_json:
        say_json(found)
        return 0
    rows = [(str(row["name"]), str(row["default"]), ", ".join(row["modes"]), str(row["state"])) for row in found]
    say(aligned([("name", "default size", "makes", "where"), *rows]))
    say(["", "--model also takes the path of a diffusers or official folder; see wanfarm inspect."])
    return 0


def inspect_model(path: str, *, with_fingerprint: bool, as_json: bool) -> int:
    """0. ModelError for a folder that is no model."""
    import wan_model
    from wan_model.errors import CheckpointError

    settings = Settings.from_env()
    try:
        checkpoint = wan_model.inspect(path if path == EMBEDDED else find_model(path, settings))
    except CheckpointError as error:
        raise ModelError(str(error)) from error
    parts = {
        name: {"parameters": part.num_parameters, "dtype": part.dtype, "files": [file.name for file in part.files]}
        for name, part in checkpoint.components.items()
    }
    config = checkpoint.config
    digest = chosen_model(path, settings).fingerprint if with_fingerprint else None
    if as_json:
        facts = {"path": str(checkpoint.path), "layout": checkpoint.layout, "variant": checkpoint.variant}
        facts |= {} if digest is None else {"fingerprint": digest}
        say_json({**facts, "components": parts, "size_multiple": config.size_multiple})
        return 0
    rows = [
        (
            name,
            f"{part['parameters']:,} parameters",
            str(part["dtype"]),
            f"{len(checkpoint.components[name].files)} files",
        )
        for name, part in parts.items()
    ]
    say([f"{checkpoint.path}: {checkpoint.layout} layout, {checkpoint.variant or 'no official variant'}"])
    say(aligned(rows))
    kind = "text and image to video" if config.expand_timesteps else "text to video"
    say([f"{kind}; width and height in multiples of {config.size_multiple}, frames {config.vae.temporal_stride}n+1"])
    say([] if digest is None else [f"fingerprint: {digest}"])
    return 0
