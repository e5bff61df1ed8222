"""The inspect provider: what is honoured, what is refused, and that answers depend on content."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentImage,
    GenerateConfig,
    ModelOutput,
    get_model,
)
from inspect_ai.tool import ToolInfo

from tests.models.tiny import tiny_model
from theodolite.engine.generate import generate
from theodolite.engine.intervention_file import save_interventions
from theodolite.engine.interventions import MlpIntervention
from theodolite.engine.next_token import next_token
from theodolite.errors import CapabilityError, ConfigError, Interrupted
from theodolite.providers.answers import Answers
from theodolite.providers.requests import Settings, settings_from
from theodolite.providers.theodolite import TheodoliteAPI
from theodolite.runs.journal import Journal

WORDS = ["bake bread", "a small boat", "the weather", "a quiet lake", "write a story"]


def provider(**options: Any) -> TheodoliteAPI:
    return TheodoliteAPI("tiny", handle=tiny_model(), **options)


def ask(api: TheodoliteAPI, chats: list[list[ChatMessage]], **config: Any) -> list[ModelOutput]:
    async def main() -> list[ModelOutput]:
        settings = GenerateConfig(**{"max_tokens": 6, "max_connections": len(chats), **config})
        return await asyncio.gather(*(api.generate(chat, [], "none", settings) for chat in chats))

    return asyncio.run(main())


def chat(text: str) -> list[ChatMessage]:
    return [ChatMessageUser(content=text)]


def texts(outputs: list[ModelOutput]) -> list[list[str]]:
    return [[choice.message.text for choice in output.choices] for output in outputs]


def test_answers_are_the_engines_greedy_answers() -> None:
    outputs = ask(provider(), [chat(word) for word in WORDS])
    expected = generate(tiny_model(), WORDS, max_new_tokens=6)
    assert [output.completion for output in outputs] == [done.text for done in expected]
    for output, done in zip(outputs, expected, strict=True):
        assert output.usage is not None
        assert output.usage.input_tokens == done.prompt_tokens
        assert output.usage.output_tokens == len(done.token_ids)
        assert output.usage.total_tokens == done.prompt_tokens + len(done.token_ids)
        assert output.stop_reason == ("stop" if done.finish == "stop" else "max_tokens")


def test_sampled_answers_depend_on_content_and_not_on_batch_or_order() -> None:
    options = {"temperature": 1.5, "seed": 7, "num_choices": 2}
    together = texts(ask(provider(), [chat(word) for word in WORDS], **options))
    alone = [texts(ask(provider(batch=1), [chat(word)], **options))[0] for word in WORDS]
    backwards = texts(ask(provider(batch=2), [chat(word) for word in WORDS[::-1]], **options))
    assert together == alone == backwards[::-1]
    assert all(len(set(choices)) == 2 for choices in together)
    assert together != texts(ask(provider(), [chat(w) for w in WORDS], **options | {"seed": 8}))


def test_equal_requests_in_one_batch_get_equal_answers() -> None:
    twice = texts(ask(provider(), [chat("a boat")] * 2, temperature=1.5))
    assert twice[0] == twice[1] == texts(ask(provider(), [chat("a boat")], temperature=1.5))[0]


def test_different_settings_do_not_share_a_batch() -> None:
    api = provider()

    async def main() -> list[ModelOutput]:
        configs = [GenerateConfig(max_tokens=n, max_connections=3) for n in (2, 4, 2)]
        calls = (api.generate(chat("the city"), [], "none", config) for config in configs)
        return await asyncio.gather(*calls)

    lengths = [output.usage.output_tokens for output in asyncio.run(main()) if output.usage]
    assert lengths == [2, 4, 2]


def test_a_last_assistant_message_is_continued() -> None:
    api = provider()
    turns = [*chat("the weather"), ChatMessageAssistant(content="In the city")]
    encoded = api.request(turns, GenerateConfig(), epoch=1).encoded
    assert encoded.text.endswith("<|start|>assistant\nIn the city")
    assert ask(api, [turns])[0].completion


def test_a_system_message_reaches_the_template() -> None:
    turns = [ChatMessageSystem(content="Be brief."), *chat("the weather")]
    assert "system\nBe brief." in provider().request(turns, GenerateConfig(), epoch=1).encoded.text


def test_stop_sequences_end_an_answer_and_are_cut_off() -> None:
    whole = ask(provider(), [chat("a boat")], max_tokens=12)[0].completion
    mark = whole[len(whole) // 2 :][:2]
    cut = ask(provider(), [chat("a boat")], max_tokens=12, stop_seqs=[mark])[0]
    assert cut.completion == whole[: whole.index(mark)]
    assert cut.stop_reason == "stop"


def test_a_full_window_is_said_and_a_nearly_full_one_shortens_the_answer() -> None:
    api = provider()
    assert api.model.max_context is not None
    text = "boat " * 160
    room = api.model.max_context - len(api.request(chat(text), GenerateConfig(), 1).encoded.ids)
    assert room > 0
    output = ask(api, [chat(text)], max_tokens=room + 50)[0]
    if output.usage is not None and output.usage.output_tokens == room:
        assert output.stop_reason == "model_length"
    with pytest.raises(RuntimeError, match="tokens"):
        ask(api, [chat("boat " * 2000)])


def test_interventions_change_answers_and_their_keys_and_end_with_the_model(
    tmp_path: Path,
) -> None:
    path = tmp_path / "silence.json"
    silence = MlpIntervention(layer=1, operator="zero")
    save_interventions(path, [silence], tiny_model())
    plain, changed = provider(), provider(interventions=str(path))
    asked = [chat(word) for word in WORDS]
    first = plain.request(asked[0], GenerateConfig(), epoch=1)
    key = changed.key(changed.request(asked[0], GenerateConfig(), epoch=1))
    assert len(changed.model.interventions) == 1 and key != plain.key(first)
    assert texts(ask(changed, asked, max_tokens=12)) != texts(ask(plain, asked, max_tokens=12))
    changed.close()
    assert changed.model.interventions == ()
    assert changed.key(first) == plain.key(first)


def test_a_journalled_answer_needs_no_model(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        first = texts(ask(provider(answers=Answers(journal)), [chat(w) for w in WORDS]))
        assert len(journal) == len(WORDS)
        again = provider(answers=Answers(journal))
        again.complete = lambda requests: pytest.fail("asked the model")  # type: ignore[method-assign]
        again.queue._work = again.complete
        assert texts(ask(again, [chat(w) for w in WORDS])) == first
        assert again.answers.get("another key") is None


def test_a_key_depends_on_words_settings_and_model() -> None:
    api = provider()
    configs = [{}, {"max_tokens": 5}, {"temperature": 1.0}, {"stop_seqs": ["x"]}]
    keys = {
        api.key(api.request(chat(word), GenerateConfig(**config), epoch=epoch))
        for word in WORDS[:2]
        for config in configs
        for epoch in (1, 2)
    }
    # Only sampling makes another request of another epoch.
    assert len(keys) == 2 * (len(configs) + 1)
    plain = api.key(api.request(chat("x"), GenerateConfig(), 1))
    other = provider()
    request = other.request(chat("x"), GenerateConfig(seed=9), 1)
    assert other.key(request) == plain
    other.model.module.generation_config.eos_token_id = [1, 7]  # answers end elsewhere
    assert other.key(request) != plain


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, Settings(2048)),
        ({"max_tokens": 9, "seed": 4, "top_p": 0.5}, Settings(9)),
        ({"temperature": 0.0, "stop_seqs": ["\n"]}, Settings(2048, stop=("\n",))),
        (
            {"temperature": 0.7, "top_p": 0.9, "top_k": 5, "seed": 3, "num_choices": 2},
            Settings(2048, 0.7, 0.9, 5, (), 3, 2),
        ),
    ],
)
def test_settings_are_translated_and_greedy_ones_made_equal(
    config: dict[str, Any], expected: Settings
) -> None:
    assert settings_from(GenerateConfig(**config)) == expected


def test_decoding_names() -> None:
    assert settings_from(GenerateConfig(), decoding="sampling").temperature == 1.0
    assert settings_from(GenerateConfig(), decoding="greedy").temperature == 0.0
    with pytest.raises(ConfigError, match=r"temperature 0\.7"):
        settings_from(GenerateConfig(temperature=0.7), decoding="greedy")
    with pytest.raises(ConfigError, match="temperature 0, which is greedy"):
        settings_from(GenerateConfig(temperature=0.0), decoding="sampling")


@pytest.mark.parametrize(
    "config", [{"frequency_penalty": 0.5}, {"logprobs": True}, {"logit_bias": {3: 1.0}}]
)
def test_a_setting_that_would_be_dropped_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(CapabilityError, match=next(iter(config))):
        settings_from(GenerateConfig(**config))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decodin": "greedy"}, "Did you mean 'decoding'?"),
        ({"decoding": "gredy"}, "Did you mean 'greedy'?"),
        ({"batch": 0}, "batch is 0"),
        ({"interventions": "missing.json"}, "missing.json"),
    ],
)
def test_bad_model_arguments_are_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        provider(**options)
    assert message in str(caught.value.message).replace("\\", "")
    assert "\n" not in str(caught.value.message)


@pytest.mark.parametrize(
    ("chats", "tools", "message"),
    [
        (chat("x"), [ToolInfo(name="t", description="d")], "Calling tools"),
        ([ChatMessageTool(content="3", function="t")], [], "Calling tools"),
        ([ChatMessageUser(content=[ContentImage(image="data:,")])], [], "image content"),
    ],
)
def test_what_a_local_model_cannot_do_is_refused(
    chats: list[ChatMessage], tools: list[ToolInfo], message: str
) -> None:
    api = provider()
    with pytest.raises(RuntimeError) as caught:
        asyncio.run(api.generate(chats, tools, "auto", GenerateConfig()))
    assert message in caught.value.message  # type: ignore[attr-defined]
    assert isinstance(api.failure, CapabilityError)


def test_a_batch_that_nobody_waits_for_stops() -> None:
    api = provider()
    passes = 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1

    api.model.anatomy.embed.register_forward_pre_hook(count)

    async def main() -> None:
        settings = GenerateConfig(max_tokens=400, max_connections=1)
        task = asyncio.create_task(api.generate(chat("a boat"), [], "none", settings))
        while passes < 3:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The worker is free for the next request long before 400 tokens are written.
        await api.generate(chat("a lake"), [], "none", GenerateConfig(max_tokens=1))

    asyncio.run(main())
    assert passes < 200


def test_an_abandoned_batch_stops_in_its_own_thread_only(monkeypatch: pytest.MonkeyPatch) -> None:
    api = provider()
    others: list[torch.Tensor] = []

    def work(model: Any, *_: Any) -> Any:
        thread = threading.Thread(target=lambda: others.append(next_token(model, ["a boat"])))
        thread.start()
        thread.join()
        return next_token(model, ["a lake"])

    monkeypatch.setattr("theodolite.providers.theodolite.answer_requests", work)
    monkeypatch.setattr(type(api.queue), "abandoned", True)
    with pytest.raises(Interrupted):
        api.complete([])
    assert len(others) == 1


def test_inspect_finds_the_provider_by_name() -> None:
    model = get_model("theodolite/tiny", memoize=False, handle=tiny_model())
    assert str(model) == "theodolite/tiny"
    assert isinstance(model.api, TheodoliteAPI)
    assert model.api.max_connections() == 2 * model.api.batch
    assert asyncio.run(model.api.count_text_tokens("the weather")) > 0
