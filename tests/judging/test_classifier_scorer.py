"""A local classifier: the class by name, batches that change nothing, and clear refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers as hf

from tests.models.tiny import VOCAB, tiny_tokenizer
from theodolite.errors import ConfigError, NumericsError, ScorerUnavailable
from theodolite.judging.classifier_scorer import ClassifierScorer
from theodolite.judging.toxicity import score_texts
from theodolite.judging.toxicity_registry import text_scorer

TEXTS = ["A short one.", "Another text, and a longer one than that, about the weather.", "x", "y z"]


def save(
    folder: Path,
    labels: tuple[str, ...] = ("fine", "toxic"),
    *,
    pad: int | None = 1,
    problem: str | None = None,
    spoil: bool = False,
) -> Path:
    """Write a tiny random classifier and its tokenizer."""
    torch.manual_seed(0)
    config = hf.BertConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=pad,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        problem_type=problem,
    )
    model = hf.BertForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3)
        if spoil:
            model.classifier.bias.fill_(torch.nan)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("classifier"))


def by_hand(folder: Path, text: str) -> torch.Tensor:
    """Return the logits of one text without padding."""
    model = hf.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = hf.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        return model(**ids).logits[0].double()


def test_the_score_is_the_named_class_in_any_batch(folder: Path) -> None:
    one = ClassifierScorer(folder, batch_size=1)
    assert one.labels == ("fine", "toxic") and one.label == "toxic"
    expected = [float(by_hand(folder, text).softmax(0)[1]) for text in TEXTS]
    assert one.score(TEXTS) == pytest.approx(expected, abs=1e-6)
    four = ClassifierScorer(folder, batch_size=4)
    assert four.score(TEXTS) == pytest.approx(expected, abs=1e-5)
    assert len({round(score, 4) for score in expected}) > 1
    other = ClassifierScorer(folder, label="FINE").score(TEXTS)
    assert [a + b for a, b in zip(other, expected)] == pytest.approx([1.0] * 4, abs=1e-5)


def test_order_and_repetition_of_texts_change_nothing(folder: Path) -> None:
    scorer = ClassifierScorer(folder, batch_size=2)
    there = scorer.score(TEXTS)
    assert scorer.score(TEXTS[::-1]) == there[::-1]
    assert [one.value for one in score_texts(scorer, [*TEXTS, *TEXTS])] == there * 2
    assert scorer.score([]) == []


def test_the_id_names_folder_class_and_weights(folder: Path) -> None:
    scorer = text_scorer(f"hf:{folder}#toxic")
    assert scorer.id.startswith(f"hf:{folder.name}[toxic]@") and len(scorer.id.split("@")[1]) == 8
    assert scorer.kind == "neural" and "64 tokens" in scorer.blind_spots


def test_independent_classes_have_their_own_probabilities(tmp_path: Path) -> None:
    where = save(tmp_path, ("toxicity", "threat"), problem="multi_label_classification")
    found = ClassifierScorer(where).probabilities(TEXTS[:1])[0]
    assert found == pytest.approx(by_hand(where, TEXTS[0]).sigmoid().numpy(), abs=1e-6)
    assert abs(found.sum() - 1) > 1e-3


def test_without_padding_texts_are_read_one_at_a_time(tmp_path: Path) -> None:
    scorer = ClassifierScorer(save(tmp_path, pad=None), batch_size=8)
    assert scorer.batch_size == 1 and len(scorer.score(TEXTS)) == 4


def test_long_texts_are_cut(folder: Path) -> None:
    scorer = ClassifierScorer(folder)
    assert scorer.most_tokens == 64
    assert len(scorer.score(["weather " * 500])) == 1


def test_a_class_that_is_not_there_suggests_the_nearest(folder: Path) -> None:
    with pytest.raises(ConfigError, match="has no class 'toxik'") as caught:
        text_scorer(f"hf:{folder}#toxik")
    assert "`toxic`" in caught.value.fix


def test_a_class_that_is_not_plain_must_be_named(tmp_path: Path) -> None:
    where = save(tmp_path, ("LABEL_0", "LABEL_1"))
    with pytest.raises(ConfigError, match=r"LABEL_0, LABEL_1.*not plain"):
        ClassifierScorer(where)
    assert ClassifierScorer(where, label="LABEL_1").label == "LABEL_1"


def test_a_probability_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NumericsError, match="not finite"):
        ClassifierScorer(save(tmp_path, spoil=True)).score(TEXTS)


def test_only_safetensors_are_read(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ScorerUnavailable, match="pickled ones are not read"):
        ClassifierScorer(tmp_path)


def test_a_folder_without_a_head_or_with_a_broken_config_is_refused(tmp_path: Path) -> None:
    save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "nothing-known"}))
    with pytest.raises(ScorerUnavailable, match="could not be loaded"):
        ClassifierScorer(tmp_path)
    bare = tmp_path / "bare"
    model = hf.BertModel(hf.BertConfig.from_dict(config | {"model_type": "bert"}))
    model.save_pretrained(bare)
    tiny_tokenizer().save_pretrained(bare)
    with pytest.raises(ScorerUnavailable, match="lack classifier"):
        ClassifierScorer(bare, label="toxic")
