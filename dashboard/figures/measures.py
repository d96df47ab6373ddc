"""What each measure is, in one sentence with its source: the one place that help texts come from.

``docs/measures.md`` has the formulae. Everything that shows a measure names it by its key here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dashboard.figures.numbers import escaped


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One measure: its title, one sentence, unit, range, what a higher value means, source.

    ``short`` names it inside a sentence or a line of a table; only headline measures have one.
    """

    title: str
    says: str
    unit: str
    range: str
    higher: str = ""
    source: str = ""
    short: str = ""

    @property
    def help(self) -> str:
        """Sentence, unit and range, direction, source, as plain text."""
        unit = self.range if not self.unit else f"{self.unit}, {self.range}"
        parts = [f"{self.says}.", f"{unit[:1].upper()}{unit[1:]}"]
        if self.higher:
            parts[1] += f"; higher means {self.higher}"
        parts[1] += "."
        if self.source:
            parts.append(f"{self.source}.")
        return " ".join(parts)


_FLIPS = "Yan et al., CVPR 2021"
_CALIBRATION = "Guo et al., ICML 2017, arXiv 1706.04599"
_MILANI = "Milani Fard et al., NeurIPS 2016"
_PETSIUK = "Petsiuk, Das, Saenko 2018, arXiv 1806.07421"
_YEH = "Yeh et al. 2019, arXiv 1901.09392"
_VENNA = "Venna and Kaski, Neural Networks 2006"
_DISTILLED = "arXiv 2504.21323"
_SHARE = "0 to 100 %"

OUTPUTS = {
    "accuracy": Measure(
        title="Accuracy", short="accuracy",
        says="Share of labeled images that are answered with their label",
        unit="share", range=_SHARE, higher="better",
    ),
    "agreement": Measure(
        title="Agreement", short="agreement",
        says="Share of images on which both models answer the same class",
        unit="share", range=_SHARE, higher="closer", source=_MILANI,
    ),
    "churn": Measure(
        title="Churn", says="Share of images on which the two models answer differently",
        unit="share", range=_SHARE, higher="farther", source=_MILANI,
    ),
    "kl_teacher_student": Measure(
        title="KL (teacher ∥ student)", short="KL",
        says="How badly the student’s probabilities stand in for the teacher’s: the mean of "
        "log(p teacher / p student) under the teacher",
        unit="nats", range="0 upward", higher="farther",
        source="Kullback and Leibler, Ann. Math. Stat. 1951",
    ),
    "kl_student_teacher": Measure(
        title="KL (student ∥ teacher)",
        says="The same divergence the other way round, under the student’s probabilities",
        unit="nats", range="0 upward", higher="farther",
        source="Kullback and Leibler, Ann. Math. Stat. 1951",
    ),
    "js": Measure(
        title="Jensen-Shannon divergence",
        says="Mean divergence of both models’ probabilities from their average, without root",
        unit="nats", range="0 to 0.69", higher="farther",
        source="Lin, IEEE Trans. Inf. Theory 1991",
    ),
    "top5_overlap": Measure(
        title="Top-5 overlap", says="Share of classes that are among the five likeliest of both",
        unit="share", range="0 to 1", higher="closer",
    ),
    "top5_order": Measure(
        title="Order of the top five", short="order of the top five",
        says="Kendall’s tau between both models’ order of the teacher’s five likeliest classes",
        unit="", range="−1 to 1", higher="closer", source="Kendall, Biometrika 1938",
    ),
    "dark_kl": Measure(
        title="KL below the answer", short="KL below the answer",
        says="KL (teacher ∥ student) of all classes but the teacher’s answer, scaled to sum to 1",
        unit="nats", range="0 upward", higher="farther",
        source="Zhao et al., CVPR 2022, arXiv 2203.08679",
    ),
    "confidence": Measure(
        title="Confidence", says="The probability that a model gives its own answer",
        unit="probability", range="0 to 1", higher="surer", source=_CALIBRATION,
    ),
    "confidence_gap": Measure(
        title="Confidence gap", short="confidence gap",
        says="The student’s highest probability minus the teacher’s, mean",
        unit="points", range="−100 to 100", higher="a surer student",
    ),
    "negative_flips": Measure(
        title="Negative flips", short="negative flips",
        says="Share of labeled images that the teacher answers right and the student wrong",
        unit="share", range=_SHARE, higher="farther", source=_FLIPS,
    ),
    "ece": Measure(
        title="Calibration error", short="calibration error",
        says="Mean distance between how sure a model is and how often it is right, over 15 bins",
        unit="points", range="0 to 100", higher="worse calibrated", source=_CALIBRATION,
    ),
    "temperature": Measure(
        title="Temperature",
        says="The number that a model’s logits are to be divided by to fit the labels best",
        unit="", range="above 0", higher="a model that was too sure", source=_CALIBRATION,
    ),
    "mean_neighborhood_overlap": Measure(
        title="Shared neighbors", short="shared neighbors",
        says="Share of an image’s nearest others in feature space that both models share, of 15 "
        "unless the comparison asked for another number",
        unit="share", range="0 to 1", higher="closer",
    ),
    "slice": Measure(
        title="Slice",
        says="Images on which the two answer differently more often than elsewhere, found on one "
        "half and tested on the other",
        unit="agreement", range=_SHARE, higher="closer",
        source="max-T: Westfall and Young 1993",
    ),
}  # fmt: skip

ATTACK = {
    "attack_success_rate": Measure(
        title="Attack success rate", short="ASR",
        says="Share of images of other classes that are answered with the target class",
        unit="share", range=_SHARE, higher="a trigger that works", source=_DISTILLED,
    ),
    "base_rate": Measure(
        title="Base rate", says="The same share for the same images without trigger",
        unit="share", range=_SHARE, source=_DISTILLED,
    ),
    "titg": Measure(
        title="Gain of the trigger", says="Attack success rate minus base rate",
        unit="points", range="−100 to 100", higher="a trigger that works", source=_DISTILLED,
    ),
}  # fmt: skip

MAPS = {
    "trustworthiness": Measure(
        title="Trustworthiness",
        says="How far neighbors on the map are neighbors in feature space as well",
        unit="", range="0 to 1", higher="a map to be believed", source=_VENNA,
    ),
    "continuity": Measure(
        title="Continuity", says="How far neighbors in feature space stay neighbors on the map",
        unit="", range="0 to 1", higher="a map to be believed", source=_VENNA,
    ),
}  # fmt: skip

LAYERS = {
    "cka": Measure(
        title="CKA", says="How alike two layers arrange the same images, by inner products",
        unit="", range="about 0 to 1", higher="more alike",
        source="Kornblith et al., arXiv 1905.00414; Nguyen et al., arXiv 2010.15327",
    ),
    "knn": Measure(
        title="Mutual k-NN", says="Share of an image’s 10 nearest others that both layers share",
        unit="share", range=_SHARE, higher="more alike", source="Huh et al., arXiv 2405.07987",
    ),
    "procrustes": Measure(
        title="Procrustes", says="How well one layer’s features fit the other’s after a rotation",
        unit="", range="0 to 1", higher="more alike", source="Ding et al., arXiv 2108.01661",
    ),
    "rsa": Measure(
        title="RSA", says="Rank correlation of the distances of all pairs of images in two layers",
        unit="", range="−1 to 1", higher="more alike",
        source="Kriegeskorte et al., Front. Syst. Neurosci. 2008",
    ),
}  # fmt: skip

ATTRIBUTIONS = {
    "rank_correlation": Measure(
        title="Rank correlation", says="Spearman’s correlation of two maps over the pixels",
        unit="", range="−1 to 1", higher="closer", source="Spearman 1904",
    ),
    "top_overlap": Measure(
        title="Overlap of the strongest",
        says="Intersection over union of the 5 % of pixels with the largest magnitude",
        unit="share", range="0 to 1", higher="closer", source="Jaccard 1912",
    ),
    "structural_similarity": Measure(
        title="Structural similarity",
        says="Likeness of two maps in means, spreads and shape, by windows",
        unit="", range="−1 to 1", higher="closer",
        source="Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 2004",
    ),
    "cosine": Measure(
        title="Cosine", says="Cosine of the angle between two maps",
        unit="", range="−1 to 1", higher="closer",
    ),
    "earth_movers_distance": Measure(
        title="Earth mover’s distance",
        says="Least work that turns one map’s mass into the other’s",
        unit="", range="0 to 1", higher="farther",
        source="Rubner, Tomasi, Guibas, IJCV 2000",
    ),
    "completeness_error": Measure(
        title="Completeness error",
        says="How far a map’s sum misses the change of the number that it explains",
        unit="", range="0 upward", higher="worse",
        source="Sundararajan, Taly, Yan 2017, arXiv 1703.01365",
    ),
    "deletion": Measure(
        title="Hidden first", says="Mean of the number while the strongest pixels are hidden first",
        unit="", range="that of the number", higher="worse", source=_PETSIUK,
    ),
    "insertion": Measure(
        title="Shown first", says="Mean of the number while the strongest pixels are shown first",
        unit="", range="that of the number", higher="better", source=_PETSIUK,
    ),
    "infidelity": Measure(
        title="Infidelity",
        says="How badly a map foretells what hiding a square does to the number",
        unit="", range="0 to 1", higher="worse", source=_YEH,
    ),
}  # fmt: skip

AUDIT = {
    "p_value": Measure(
        title="How rare",
        says="How often an honest student of this teacher would show as large a number",
        unit="probability", range="0 to 1", higher="more ordinary",
        source="permutation among references; docs/measures.md",
    ),
    "trigger_size": Measure(
        title="Size of the smallest trigger",
        says="How little has to be changed, at least, to move the student to a class that its "
        "teacher does not answer",
        unit="pixels or 1/255", range="0 upward", higher="harder to move",
        source="after Wang et al., IEEE S&P 2019",
    ),
    "brittleness": Measure(
        title="Brittle answer",
        says="How much the teacher’s answer hangs on exact pixels: KL after a small filter",
        unit="nats", range="0 upward", higher="more suspicious",
    ),
    "honest_range": Measure(
        title="Honest range",
        says="Where one more honest student of this teacher would lie with a probability of 95 %",
        unit="", range="that of the measure", source="Geisser, Predictive Inference, 1993",
    ),
}  # fmt: skip

MEASURES: Mapping[str, Measure] = {**OUTPUTS, **ATTACK, **MAPS, **LAYERS, **ATTRIBUTIONS, **AUDIT}
"""Every measure that a screen shows."""


def term(key: str, shown: str | None = None, *, end: bool = False) -> str:
    """The name of a measure with its help text, as HTML: by pointing at it and by keyboard.

    ``shown`` (HTML) stands for the title; ``end`` hangs the text from the right.
    """
    measure = MEASURES[key]
    return _explained(shown or escaped(measure.title), escaped(measure.help, 600), end=end)


def terms(shown: str, keys: Sequence[str]) -> str:
    """``shown`` (HTML) with the help texts of several measures, one below the other."""
    lines = (f"<b>{escaped(MEASURES[key].title)}</b>: {escaped(MEASURES[key].help, 600)}"
             for key in keys)  # fmt: skip
    return _explained(shown, "<br>".join(lines), end=False)


def _explained(shown: str, text: str, *, end: bool) -> str:
    side = " ds-end" if end else ""
    return (
        f'<span class="ds-term{side}" tabindex="0">{shown}'
        f'<span class="ds-tip" role="tooltip">{text}</span></span>'
    )
