"""The begun reply is the end of the prompt: on the template forms of seven families, or refused.

The templates are ours, in the forms that those families write.
"""

from __future__ import annotations

import pytest

from tests.models.tiny import tiny_model, tiny_tokenizer
from theodolite.behaviour.course_correction.open_turn import check_open_turn, check_provider
from theodolite.errors import ConfigError
from theodolite.models.chat import encode

END = "{% endfor %}{% if add_generation_prompt %}"
LOOP = "{% for m in messages %}"
TEMPLATES = {
    "llama-2": LOOP + "{% if m['role'] == 'user' %}{{ bos_token }}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] | trim }} </s>{% endif %}{% endfor %}",
    "llama-3": "{{ bos_token }}" + LOOP + "<|head|>{{ m['role'] }}<|/head|>\n\n"
    "{{ m['content'] | trim }}<|eot|>" + END + "<|head|>assistant<|/head|>\n\n{% endif %}",
    "chatml": LOOP + "<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n"
    + END + "<|start|>assistant\n{% endif %}",
    "zephyr": LOOP + "<|{{ m['role'] }}|>\n{{ m['content'] }}</s>\n" + END + "<|assistant|>\n"
    "{% endif %}",
    "phi-3": LOOP + "<|{{ m['role'] }}|>\n{{ m['content'] }}<|fin|>\n" + END + "<|assistant|>\n"
    "{% endif %}",
    "gemma": "{{ bos_token }}" + LOOP + "<turn>"
    "{{ 'model' if m['role'] == 'assistant' else 'user' }}\n"
    "{{ m['content'] | trim }}</turn>\n" + END + "<turn>model\n{% endif %}",
    "mistral": "{{ bos_token }}" + LOOP + "{% if m['role'] == 'user' %}[INST] {{ m['content'] }} "
    "[/INST]{% else %}{{ m['content'] }}</s>{% endif %}{% endfor %}",
}  # fmt: skip
HEADS = {
    "llama-3": "assistant<|/head|>\n\n",
    "chatml": "<|start|>assistant\n",
    "zephyr": "<|assistant|>\n",
    "phi-3": "<|assistant|>\n",
    "gemma": "<turn>model\n",
}
BEGUN = "Fine, here are the steps. Take a sheet of paper and"
TURNS = [{"role": "user", "content": "How?"}, {"role": "assistant", "content": BEGUN}]


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_turn_stays_open_after_the_begun_reply(name: str) -> None:
    model = tiny_model("llama", template=TEMPLATES[name])
    facts = check_open_turn(model, "continue")
    assert facts["open_turn"] and facts["round_trip"]
    assert facts["skeleton"].endswith("{begun}")
    encoded = encode(model, TURNS, continue_final=True)
    assert encoded.text.endswith(BEGUN)
    tail = model.tokenizer(" paper and", add_special_tokens=False)["input_ids"]
    assert list(encoded.ids[-len(tail) :]) == tail
    assert model.tokenizer.decode(encoded.ids) == encoded.text
    # ChatML writes no BOS, but in this vocabulary, as in SmolLM2's, the BOS opens every turn.
    assert facts["bos"] == int("bos_token" in TEMPLATES[name] or name == "chatml")


@pytest.mark.parametrize("name", HEADS)
def test_a_new_turn_closes_the_begun_one_and_ends_with_a_header(name: str) -> None:
    model = tiny_model("llama", template=TEMPLATES[name])
    facts = check_open_turn(model, "new_turn")
    assert facts["skeleton"].endswith(HEADS[name]) and not facts["open_turn"]
    assert not facts["round_trip"]  # only of an open turn is it proven
    after = facts["skeleton"].split("{begun}")[1]
    assert after.removesuffix(HEADS[name]).strip() != ""  # an end of turn stands between


def test_a_template_that_drops_a_last_assistant_turn_is_refused_by_name() -> None:
    dropping = LOOP + "{% if m['role'] == 'user' %}<|start|>{{ m['content'] }}<|end|>{% endif %}"
    model = tiny_model("llama", template=dropping + END + "<|start|>{% endif %}")
    with pytest.raises(ConfigError, match="cannot leave an assistant's turn open") as caught:
        check_open_turn(model, "continue")
    assert "prefill=new_turn" in caught.value.fix and model.name in caught.value.message


def test_a_model_without_a_template_is_told_of_plain() -> None:
    model = tiny_model("llama", template=None)
    with pytest.raises(ConfigError, match="no chat template") as caught:
        check_open_turn(model, "continue")
    assert "template=plain" in caught.value.fix
    facts = check_open_turn(model, "continue", "plain")
    assert facts["skeleton"].endswith("{begun}") and facts["open_turn"]
    with pytest.raises(ConfigError, match="a chat template of its own"):
        check_open_turn(tiny_model("llama"), "continue", "plain")


@pytest.mark.parametrize(
    ("name", "prefill", "refused"),
    [
        ("openai/gpt", "continue", True),
        ("openai/gpt", "in_prompt", False),
        ("vllm/any", "continue", False),
        ("anthropic/any", "continue", False),
        ("anthropic/any", "new_turn", True),
        ("mockllm/model", "continue", False),
        ("google/any", "continue", True),
    ],
)
def test_providers_that_answer_anew_are_refused(name: str, prefill: str, refused: bool) -> None:
    if not refused:
        check_provider(name, prefill)
        return
    with pytest.raises(ConfigError) as caught:
        check_provider(name, prefill)
    assert "in_prompt" in caught.value.fix


def test_the_tiny_tokenizer_has_a_bos() -> None:
    assert tiny_tokenizer().bos_token_id == 0
