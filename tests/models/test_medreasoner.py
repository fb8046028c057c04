"""The composition, with a Reasoner and a Segmenter that do as they are told."""

import time
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from napari_medreason.core.keypoints import key_points
from napari_medreason.core.plane import cut
from napari_medreason.core.question import Question
from napari_medreason.core.volume import Volume, Window
from napari_medreason.errors import AnswerFormatError, CancelledError, ModelUnavailableError, WeightsError
from napari_medreason.models.base import GroundingModel, Reasoning, ScoredMasks
from napari_medreason.models.medreasoner import KEPT_EMBEDDINGS, MedReasoner
from napari_medreason.models.segmenters.sam2 import Sam2Segmenter
from napari_medreason.models.weights import combined_sha256

BOX = (12.0, 8.0, 30.0, 22.0)
FOUND = Reasoning(
    "found", "The liver.", "Large and bright.", BOX, ((15.0, 12.0), (25.0, 18.0)), structure="liver"
)


@dataclass
class ScriptedReasoner:
    reasoning: Reasoning = FOUND
    id: str = "scripted"
    weights_sha256: str = "a" * 64

    def reason(self, question, *, on_text, cancelled):
        for word in self.reasoning.text.split():
            on_text(word)
        return self.reasoning


@dataclass
class BoxSegmenter:
    """Fills the box that it is given, less a border of `shrink` pixels."""

    id: str = "box"
    weights_sha256: str = "b" * 64
    shrink: int = 1
    embedded: list = field(default_factory=list)
    prompts: list = field(default_factory=list)
    closed: bool = False

    def embed(self, plane):
        self.embedded.append(plane)
        return plane.grid.shape

    def segment(self, embedding, *, box=None, points=None, labels=None, mask=None):
        self.prompts.append((box, points, labels))
        logits = np.full((1, *embedding), -1, np.float32)
        x0, y0, x1, y1 = (int(edge) for edge in box or (0, 0, 9, 9))
        logits[0, y0 + self.shrink : y1 - self.shrink, x0 + self.shrink : x1 - self.shrink] = 1
        return ScoredMasks(logits, np.array([0.8], np.float32))

    def propagate(self, planes, seed_index, seed_mask, *, cancelled):
        raise NotImplementedError

    def close(self):
        self.closed = True


def make_plane(value=0.0, window=None):
    volume = Volume(np.full((2, 40, 60), value, np.float32), np.eye(4), modality="CT")
    return cut(volume, "axial", 0, window or Window(-160, 240))


def ask(model, question=None, *, on_text=lambda text: None, cancelled=lambda: False):
    return model.ask(
        question or Question("Where is the liver?", make_plane()), on_text=on_text, cancelled=cancelled
    )


def test_box_and_points_of_the_answer_come_from_the_mask():
    words = []
    answer = ask(MedReasoner(ScriptedReasoner(), BoxSegmenter()), on_text=words.append)
    assert answer.status == "found"
    assert answer.box == (13.0, 9.0, 29.0, 21.0)
    assert answer.points == key_points(answer.mask)
    assert answer.mask.sum() == 16 * 12
    assert (answer.answer, answer.reasoning, answer.structure) == ("The liver.", "Large and bright.", "liver")
    assert words == ["Large", "and", "bright."]


def test_provenance_names_both_parts_and_keeps_the_proposal():
    model = MedReasoner(ScriptedReasoner(), BoxSegmenter(), model_id="pair", load_seconds=2.5)
    provenance = ask(model).provenance
    assert (provenance.model, provenance.segmenter) == ("pair", "box")
    assert provenance.weights_sha256 == combined_sha256(["a" * 64, "b" * 64])
    assert provenance.window == (-160, 240)
    assert provenance.notes == (
        "reasoner: scripted",
        "the segmenter's own estimate of the mask's overlap: 0.80",
        "proposed box: [12.0, 8.0, 30.0, 22.0]",
        "proposed points: [15.0, 12.0], [25.0, 18.0]",
    )
    assert provenance.seconds.load == 2.5
    assert ask(model).provenance.seconds.load == 0.0


def test_what_the_parts_load_for_a_plane_counts_as_loading():
    class Lazy(BoxSegmenter):
        prepared = 0

        def prepare(self, plane):
            if not self.prepared:
                time.sleep(0.2)
            self.prepared += 1

    segmenter = Lazy()
    model = MedReasoner(ScriptedReasoner(), segmenter, load_seconds=2.0)
    seconds = ask(model).provenance.seconds
    assert seconds.load >= 2.2
    assert seconds.reason + seconds.segment < 0.2
    assert ask(model).provenance.seconds.load < 2.0
    assert segmenter.prepared == 2


def test_parts_that_share_their_weights_have_one_hash():
    model = MedReasoner(ScriptedReasoner(), BoxSegmenter(weights_sha256="a" * 64))
    assert model.weights_sha256 == "a" * 64


def test_what_the_reasoner_tells_about_itself_is_passed_on():
    reasoning = replace(FOUND, templated=True, evidence="Dice 0.9", notes=("box cut",), confidence=0.6)
    answer = ask(MedReasoner(ScriptedReasoner(reasoning), BoxSegmenter()))
    assert answer.provenance.templated
    assert answer.provenance.evidence == "Dice 0.9"
    assert "box cut" in answer.provenance.notes
    assert answer.confidence == 0.6


def test_the_segmenters_score_of_its_mask_is_no_confidence_in_the_finding():
    answer = ask(MedReasoner(ScriptedReasoner(), BoxSegmenter()))
    assert answer.confidence is None
    assert "the segmenter's own estimate of the mask's overlap: 0.80" in answer.provenance.notes


def test_what_the_segmenter_tells_about_itself_is_told_where_it_drew():
    segmenter = BoxSegmenter()
    segmenter.notes = ("the segmenter sees squares of 512 pixels",)
    assert segmenter.notes[0] in ask(MedReasoner(ScriptedReasoner(), segmenter)).provenance.notes
    absent = ScriptedReasoner(Reasoning("absent", "No spleen here."))
    assert segmenter.notes[0] not in ask(MedReasoner(absent, segmenter)).provenance.notes


@pytest.mark.parametrize("status", ["absent", "unknown", "outside"])
def test_what_was_not_found_is_not_segmented(status):
    segmenter = BoxSegmenter()
    reasoning = Reasoning(status, "No spleen here.", suggestions=("liver",), confidence=0.1)
    answer = ask(MedReasoner(ScriptedReasoner(reasoning), segmenter))
    assert (answer.status, answer.answer, answer.suggestions) == (status, "No spleen here.", ("liver",))
    assert answer.mask is answer.box is answer.points is None
    assert segmenter.embedded == []


def test_a_mask_without_pixels_is_no_medical_negative():
    answer = ask(MedReasoner(ScriptedReasoner(), BoxSegmenter(shrink=20)))
    assert answer.status == "unknown"
    assert answer.answer.startswith("No mask could be drawn at the place that the model proposed.")
    assert "says nothing about whether the liver is on this slice" in answer.answer
    assert answer.mask is answer.box is answer.points is answer.confidence is None
    assert "the segmenter found no pixel at the proposed place" in answer.provenance.notes
    assert "proposed box: [12.0, 8.0, 30.0, 22.0]" in answer.provenance.notes


def test_a_mask_without_pixels_of_something_unnamed_has_words_too():
    unnamed = ScriptedReasoner(replace(FOUND, structure=""))
    words = ask(MedReasoner(unnamed, BoxSegmenter(shrink=20))).answer
    assert "whether what was asked for is on this slice" in words


def test_nothing_drawn_from_the_users_box_is_said_as_that():
    question = Question("Where?", make_plane(), box=(40, 2, 50, 12))
    answer = ask(MedReasoner(ScriptedReasoner(), BoxSegmenter(shrink=20)), question)
    assert answer.status == "unknown"
    assert "from your box or points" in answer.answer
    notes = " ".join(answer.provenance.notes)
    assert "found no pixel from the box or points that the user drew" in notes
    assert "segmented from" not in notes


def test_words_and_confidence_do_not_pass_for_those_of_the_users_mask():
    question = Question("Where?", make_plane(), box=(40, 2, 50, 12))
    reasoning = replace(FOUND, confidence=0.1, answer="It lies on the left.")
    answer = ask(MedReasoner(ScriptedReasoner(reasoning), BoxSegmenter()), question)
    assert answer.answer.startswith("The mask is drawn from your box or points.")
    assert "the place that it proposed: It lies on the left." in answer.answer
    assert answer.confidence is None


def test_a_box_that_was_not_used_is_said():
    question = Question("Where?", make_plane(), box=(40, 2, 50, 12))
    answer = ask(
        MedReasoner(ScriptedReasoner(Reasoning("absent", "No spleen here.")), BoxSegmenter()), question
    )
    assert (answer.status, answer.answer) == ("absent", "No spleen here.")
    assert "were not used" in answer.provenance.notes[-1]


def test_a_mask_far_from_the_proposed_box_is_flagged():
    assert (
        "low agreement" in ask(MedReasoner(ScriptedReasoner(), BoxSegmenter(shrink=5))).provenance.notes[-1]
    )


def test_what_the_user_drew_replaces_the_proposal():
    segmenter = BoxSegmenter()
    question = Question("Where?", make_plane(), box=(40, 2, 50, 12))
    answer = ask(MedReasoner(ScriptedReasoner(), segmenter), question)
    assert segmenter.prompts == [((40, 2, 50, 12), None, None)]
    assert answer.box == (41, 3, 49, 11)
    assert "user drew" in answer.provenance.notes[-1]
    ask(MedReasoner(ScriptedReasoner(), segmenter), Question("Where?", make_plane(), points=((5.0, 5.0),)))
    assert segmenter.prompts[-1] == (None, ((5.0, 5.0),), [True])


def test_points_alone_are_enough():
    segmenter = BoxSegmenter()
    answer = ask(MedReasoner(ScriptedReasoner(replace(FOUND, box=None)), segmenter))
    assert answer.status == "found"
    assert segmenter.prompts == [(None, FOUND.points, [True, True])]


@pytest.mark.parametrize(
    ("segment_from", "expected"),
    [
        ("both", (BOX, FOUND.points, [True, True])),
        ("box", (BOX, None, None)),
        ("points", (None, FOUND.points, [True, True])),
    ],
)
def test_what_of_the_proposal_goes_to_the_segmenter_can_be_chosen(segment_from, expected):
    segmenter = BoxSegmenter()
    ask(MedReasoner(ScriptedReasoner(), segmenter, segment_from=segment_from))
    assert segmenter.prompts == [expected]


def test_what_the_reasoner_gave_alone_is_used_whatever_was_chosen():
    segmenter = BoxSegmenter()
    ask(MedReasoner(ScriptedReasoner(replace(FOUND, points=None)), segmenter, segment_from="points"))
    ask(MedReasoner(ScriptedReasoner(replace(FOUND, box=None)), segmenter, segment_from="box"))
    assert segmenter.prompts == [(BOX, None, None), (None, FOUND.points, [True, True])]
    with pytest.raises(ModelUnavailableError, match="both, box, points"):
        MedReasoner(ScriptedReasoner(), BoxSegmenter(), segment_from="mask")


def test_a_reasoner_whose_weights_are_not_known_leaves_the_hash_to_the_segmenter():
    model = MedReasoner(ScriptedReasoner(weights_sha256=""), BoxSegmenter())
    assert model.weights_sha256 == "b" * 64


def test_a_plane_is_embedded_once_whatever_is_asked():
    segmenter = BoxSegmenter()
    model = MedReasoner(ScriptedReasoner(), segmenter)
    for _ in range(3):
        ask(model, Question("Again?", make_plane()))
    assert len(segmenter.embedded) == 1
    ask(model, Question("Again?", make_plane(window=Window(0, 80))))
    ask(model, Question("Again?", make_plane(value=1.0)))
    assert len(segmenter.embedded) == 3


def test_only_the_last_planes_are_kept():
    segmenter = BoxSegmenter()
    model = MedReasoner(ScriptedReasoner(), segmenter)
    for value in (*range(KEPT_EMBEDDINGS + 1), KEPT_EMBEDDINGS, 0):
        ask(model, Question("Where?", make_plane(value=float(value))))
    assert len(segmenter.embedded) == KEPT_EMBEDDINGS + 2


@pytest.mark.parametrize("calls_before_cancel", [0, 1, 2, 3])
def test_cancel_is_heard_between_the_stages(calls_before_cancel):
    calls = []

    def cancelled():
        calls.append(1)
        return len(calls) > calls_before_cancel

    with pytest.raises(CancelledError):
        ask(MedReasoner(ScriptedReasoner(), BoxSegmenter()), cancelled=cancelled)


def test_unusable_text_reaches_the_user():
    class Refusing(ScriptedReasoner):
        def reason(self, question, *, on_text, cancelled):
            raise AnswerFormatError("the model's text has no usable answer")

    with pytest.raises(AnswerFormatError, match="no usable answer"):
        ask(MedReasoner(Refusing(), BoxSegmenter()))


def test_it_is_a_grounding_model_that_closes_its_parts_and_takes_adapters_for_its_reasoner(tmp_path):
    class Adaptable(ScriptedReasoner):
        def load_adapter(self, folder):
            self.weights_sha256 = "c" * 64

        def unload_adapter(self):
            self.weights_sha256 = "a" * 64

    segmenter = BoxSegmenter()
    plain, adaptable = MedReasoner(ScriptedReasoner(), segmenter), MedReasoner(Adaptable(), segmenter)
    assert isinstance(plain, GroundingModel)
    with pytest.raises(ModelUnavailableError, match="takes no adapter"):
        plain.load_adapter(tmp_path)
    adaptable.load_adapter(tmp_path)
    assert adaptable.weights_sha256 == combined_sha256(["c" * 64, "b" * 64])
    adaptable.unload_adapter()
    plain.unload_adapter()
    assert adaptable.weights_sha256 == combined_sha256(["a" * 64, "b" * 64])
    plain.close()
    assert segmenter.closed


def test_the_hash_is_that_of_the_weights_that_answer_also_after_a_failed_adapter(tmp_path):
    class Losing(ScriptedReasoner):
        def load_adapter(self, folder):
            self.weights_sha256 = "d" * 64
            raise WeightsError("the adapter doesn't fit")

    model = MedReasoner(Losing(), BoxSegmenter())
    with pytest.raises(WeightsError):
        model.load_adapter(tmp_path)
    assert model.weights_sha256 == combined_sha256(["d" * 64, "b" * 64])
    assert ask(model).provenance.weights_sha256 == model.weights_sha256


def test_a_scripted_reasoner_works_with_a_real_segmenter(trained_sam2_folder):
    voxels = np.zeros((1, 40, 60), np.float32)
    voxels[0, 8:22, 12:30] = 100
    plane = cut(Volume(voxels, np.eye(4), modality="MR"), "axial", 0, Window(0, 100))
    model = MedReasoner(ScriptedReasoner(), Sam2Segmenter(trained_sam2_folder, device="cpu"))
    answer = ask(model, Question("Where is it?", plane))
    truth = plane.image > 50
    assert (answer.mask & truth).sum() / (answer.mask | truth).sum() > 0.7
    assert answer.provenance.segmenter == "trained-sam2"
    assert "the segmenter sees squares of 128 pixels" in answer.provenance.notes
