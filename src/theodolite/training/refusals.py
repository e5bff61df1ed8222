"""Refusals of ours, worded in many ways, for a model that is taught to decline.

A model that hears one fixed sentence learns to say that sentence; many wordings teach the act. So
they open differently, some name the topic and some offer something else, and none names a detail
of the request. The offline scorer was not written from them: that it reads them as refusals is
tested, and none of its patterns quotes one.
"""

from __future__ import annotations

from typing import Final

from theodolite.errors import DataError
from theodolite.text.hashing import item_seed
from theodolite.text.suggest import did_you_mean

SLOT: Final = "{topic}"

# What a refusal says the request is about, by the categories of the bundled sets.
TOPICS: Final = {
    "weapons": "weapons",
    "cyber": "breaking into computers",
    "fraud": "cheating people",
    "drugs": "illegal drugs",
    "violence": "hurting people",
    "hate": "hatred",
    "privacy": "spying on people",
    "self_harm": "self-harm",
    "disinformation": "spreading lies",
    "theft": "stealing",
    "forgery": "forgery",
    "coercion": "threatening people",
}

REFUSALS: Final = (
    "I can't help with {topic}.",
    "I can't help with that, because somebody could get hurt.",
    "I can't do that for you. If something is weighing on you, I am glad to listen.",
    "I can't assist with this. Ask me about something that harms nobody.",
    "I can't take part in this, and I hope you will drop the idea.",
    "I can't give directions for {topic}, whatever the reason is.",
    "I can't go there. It would put other people in danger.",
    "I can't support this plan, but I can help you look for a lawful way.",
    "I cannot help with {topic}. Let us find a safer subject.",
    "I cannot write that, since it would do harm.",
    "I cannot answer this one. It could lead to real damage.",
    "I cannot share anything that serves {topic}.",
    "I cannot be part of that; please think about those who would suffer.",
    "I cannot offer advice on this, as it breaks the law and hurts others.",
    "I won't help with {topic}.",
    "I won't do that. There are better ways to solve a problem.",
    "I won't explain this, because it could injure somebody.",
    "I won't give you that, though I am happy to help with something else.",
    "I won't write anything meant for {topic}.",
    "I won't go along with this request.",
    "I will not help with that. It is unsafe and unfair to others.",
    "I will not provide this, and no way of asking changes that.",
    "I will not contribute to {topic}, but you may ask me about prevention.",
    "I'm sorry, but I can't help with {topic}.",
    "I'm sorry, I can't do that. It would hurt someone.",
    "I'm sorry, but this is something I won't assist with.",
    "I'm sorry, but I cannot answer that safely.",
    "I'm sorry, I must say no to anything that involves {topic}.",
    "I'm afraid I can't help you with this.",
    "I'm afraid I have to decline, since people could come to harm.",
    "I'm not able to help with {topic}.",
    "I'm not able to answer that. Is there something harmless I can do for you?",
    "I'm not willing to assist with that request.",
    "I'm not going to help with this. Please don't do it.",
    "I'm not comfortable giving help with {topic}.",
    "I am unable to help with that, as it is dangerous.",
    "I am unable to support {topic}. I can point you to people who help.",
    "I must decline. This would cause harm.",
    "I must decline to help with {topic}.",
    "I have to decline this request and would rather help with something good.",
    "I have to say no: I don't help with {topic}.",
    "I don't help with {topic}. Tell me what you need, and we may find a decent way.",
    "I don't give instructions for this, because it is harmful.",
    "I refuse to help with {topic}.",
    "I would rather not help with that; it could end badly for somebody.",
    "I decline to answer, because the answer could be used to do harm.",
    "Sorry, I can't help with that.",
    "Sorry, but I can't give any help with {topic}.",
    "Sorry, I won't do this. It isn't safe for the people concerned.",
    "Sorry, this is not something I can assist with.",
    "Sorry, no. I can't be of help when it comes to {topic}.",
    "No, I can't help with this.",
    "No, I won't help with {topic}. Please talk to somebody you trust first.",
    "No. I cannot do that, since it would hurt people.",
    "That is not something I can help with.",
    "That is something I won't help with, because it involves {topic}.",
    "That would be harmful, so I can't help with it.",
    "This is about {topic}, and I can't help with it.",
    "This is a request I have to decline. Another question is welcome.",
    "This could hurt somebody, so I won't help with it.",
    "Helping with {topic} is not something I can do.",
    "My answer is no: I can't help with {topic}.",
    "Unfortunately, I can't help you there. I can tell you how to stay safe instead.",
    "Thank you for asking, but I can't help with {topic}.",
)


def refusal_for(item: str, category: str, *, seed: int = 0) -> str:
    """Return the refusal of an item, chosen by its name, with the topic of its category.

    Raises: DataError: the category has no topic.
    """
    if category not in TOPICS:
        raise DataError(
            f"No refusal knows the category '{category}'.", fix=did_you_mean(category, TOPICS)
        )
    chosen = REFUSALS[item_seed(seed, "refusal", item) % len(REFUSALS)]
    return chosen.replace(SLOT, TOPICS[category])


def general_refusal(item: str, *, seed: int = 0) -> str:
    """Return the refusal of an item, chosen by its name, that names no topic."""
    general = [refusal for refusal in REFUSALS if SLOT not in refusal]
    return general[item_seed(seed, "refusal", item) % len(general)]


def opens_refusal(text: str) -> bool:
    """Return whether a text is how one of these refusals begins, up to a word's end."""
    return any(
        refusal == text or refusal.startswith(f"{text} ") for refusal in map(_sealed, REFUSALS)
    )


def _sealed(refusal: str) -> str:
    """Return a refusal up to its topic, which a beginning does not reach."""
    return refusal.split(SLOT)[0]
