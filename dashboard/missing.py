"""Why something is not in a study, in words: what needs pixels, weights or features."""

from __future__ import annotations

from analysis.store.study import Study

_PREDICTIONS = "This study was made from predictions"


def why_no_picture(study: Study) -> str:
    """Why there is no picture of a sample."""
    if study.from_predictions and not study.has_images:
        return f"{_PREDICTIONS}; it holds no images."
    return "This study holds no pictures of this condition."


def why_no_attributions(study: Study) -> str:
    """Why there are no attribution maps of a student."""
    if study.from_predictions:
        return f"They need the models’ weights. {_PREDICTIONS}."
    return "This study holds none for this student and condition."


def why_no_weights(study: Study) -> str | None:
    """Why nothing that runs the models can be started, or None where it can."""
    return f"It needs the models’ weights. {_PREDICTIONS}." if study.from_predictions else None


def why_no_maps(study: Study) -> str:
    """Why there are no layouts."""
    if study.from_predictions:
        return f"They need features. {_PREDICTIONS} of which not both came with features."
    if not any(key.startswith("layout/") for key in study.manifest.arrays):
        return "This study holds no layouts."
    return "This study holds none of this student under this condition."


def why_no_neighbors(study: Study, where: str) -> str:
    """Why no neighbors are known ``where``, as in "in the teacher"."""
    if study.from_predictions:
        return f"The predictions came without features {where}."
    return f"No neighbors were computed {where}."


def why_no_cost() -> str:
    """Why it is not known what models cost that are known by their predictions."""
    return f"{_PREDICTIONS}; no model was weighed or timed."


def summary(study: Study) -> str | None:
    """One line on all that a study of predictions cannot hold, or None for a study of models."""
    if not study.from_predictions:
        return None
    pixels = "" if study.has_images else "no images (pictures, brightness and the like), "
    return (
        f"Made from predictions: {pixels}no weights (attributions, costs, an audit); "
        "all that needs answers and features alone is measured."
    )
