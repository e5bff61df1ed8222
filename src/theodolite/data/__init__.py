"""Prompts: the type, the readers, the bundled sets, the styles and the official files."""

from theodolite.data.bundled import bundled, bundled_names, bundled_version
from theodolite.data.catalogue import check, data_dir, official
from theodolite.data.prompts import BENIGN, HARMFUL, Message, Prompt, PromptSet
from theodolite.data.readers import read_prompts
from theodolite.data.responses import Response, ResponseSet, read_responses
from theodolite.data.styles import (
    STYLES,
    STYLES_VERSION,
    Style,
    benchmark_styles,
    held_out_styles,
    jailbreak_styles,
    pressure_styles,
    style,
    style_names,
    styled,
)

__all__ = [
    "BENIGN",
    "HARMFUL",
    "STYLES",
    "STYLES_VERSION",
    "Message",
    "Prompt",
    "PromptSet",
    "Response",
    "ResponseSet",
    "Style",
    "benchmark_styles",
    "bundled",
    "bundled_names",
    "bundled_version",
    "check",
    "data_dir",
    "held_out_styles",
    "jailbreak_styles",
    "official",
    "pressure_styles",
    "read_prompts",
    "read_responses",
    "style",
    "style_names",
    "styled",
]
