"""The table of official files. To add one, add a row to its part; a new part is a new block.

Facts only: where a file comes from, how it is recognised (size and SHA-256), its licence, and which
of its rows came from which collection. The files themselves are never part of this package.
"""

from __future__ import annotations

from typing import Final

from theodolite.data.official_file import OfficialFile, Origin, Rows

__all__ = ["FILES", "OfficialFile", "Origin", "Rows"]

_XSTEST = Origin(
    "paul-rottger/exaggerated-safety",
    "475f10bf0a3d6a9dfb174b6de1a38afbfdff98a5",
    "CC BY 4.0",
    "2308.01263",
)
_HEADS = Origin("ydyjya/SafetyHeadAttribution", "6203a04", "none stated", "2410.13708")
_MALICIOUS_INSTRUCT = Origin(
    _HEADS.project, "f1d97ec84958fd890cd2df43faa4109645772f50", "none stated", "2410.13708"
)
_PROBES = Origin(
    "ydyjya/LLM-IHS-Explanation",
    "d5278992246694a272ae78d6c1c77c94e7fa2daa",
    "none stated",
    "2406.05644",
)
_COURSE = Origin(
    "pillowsofwind/Course-Correction",
    "e30c9748c19225d947ad305f922eb73d31c23a2f",
    "none stated; rows of PKU-SafeRLHF, CC BY-NC 4.0",
    "2407.16637",
)
_COURSE_SAMPLE = Origin(
    _COURSE.project, "a8ed453ff9585c0e3d61e05d3427674ea0bc4f08", "none stated", "2407.16637"
)
_PERSPECTIVE = Origin(
    "pillowsofwind/Toxicity-and-Bias-Reduction",
    "ed5ebede5550d2df30a0be170ad5f4a81461f946",
    "none stated; from RealToxicityPrompts and BOLD",
    "2407.15366",
)
_PREEMPTIVE = Origin(
    "pillowsofwind/CoT-Attack", "58b8b204b4f828d6382ed432423fbbeaf4f1b559", "MIT", "2405.20902"
)
_MR_BEN = Origin(
    "dvlab-research/Mr-Ben", "6eb1eca8861be411838c7c1c189dba208c140e06", "MIT", "2406.13975"
)
_MR_GSM8K = Origin(
    "dvlab-research/MR-GSM8K", "3f666d60dd5f2fe31d619c528076bac54f4a13b7", "MIT", "2312.17080"
)
_RESIDUAL = Origin(
    "BMPixel/safety-residual-space",
    "93915bdc409d26ca382a2cae41c48e96978f97b5",
    "none stated; goals of StrongREJECT, MIT",
    "2502.09674",
)
_DEBATEQA = Origin("pillowsofwind/DebateQA", "a3615fd", "none stated", "2408.01419")
_PERSPECTRUM = Origin("CogComp/perspectrum", "b42c27b", "CC BY-SA 4.0", "1906.03538")
_DEBATE_SITES = Origin(
    _PERSPECTRUM.project,
    _PERSPECTRUM.commit,
    "a Creative Commons licence; the debate sites' own terms may apply: never ship it",
    _PERSPECTRUM.arxiv,
)

_JOINED = "Join the published completions, annotations and automatic labels of this model by id."
_RESHAPED = (
    "Reshape data/raw_data/debatewise and procon: claims with both stances and at least three "
    "perspectives of 3 to 60 words, each with an explanation of 20 words or more, cut to 150."
)
_KEYED = "Type the word lists of the repository's emotion-token module as JSON, without duplicates."
_KEYWORDS = "Type the rejection keywords of the paper's Table 4 as JSON with ASCII apostrophes."

FILES: Final[tuple[OfficialFile, ...]] = (
    # refusal
    OfficialFile(
        "refusal/xstest_prompts.csv",
        38719,
        450,
        "11783fb294ed017473ee53c207d71f2161c7672c8d0b037501e78387f801cb5a",
        _XSTEST,
        "xstest_prompts.csv",
        source="xstest",
    ),
    OfficialFile(
        "refusal/xstest_completions_llama2new.jsonl",
        592924,
        450,
        "99389c9fd076ad4e90fa9674a52b5ed043fa7acd3f96f3cbd3c5a9c22fa30d83",
        _XSTEST,
        how=_JOINED,
        source="xstest",
    ),
    OfficialFile(
        "refusal/xstest_completions_mistralinstruct.jsonl",
        453452,
        450,
        "afca587f909e74bd1f0764052b3454e3437bf4be219f3123a45cbf69080d251a",
        _XSTEST,
        how=_JOINED,
        source="xstest",
    ),
    # safety-heads
    OfficialFile(
        "safety-heads/advbench_goal_target.csv",
        82125,
        520,
        "6cd1a5c63c07610d7eb67307772ee5606017ee950b5770ab288a2c487489d3e1",
        _HEADS,
        "exp_data/harmful_behaviors.csv",
        source="advbench",
        label="harmful",
        mirrors=(
            "https://raw.githubusercontent.com/llm-attacks/llm-attacks/main/data/advbench/"
            "harmful_behaviors.csv",
        ),
    ),
    OfficialFile(
        "safety-heads/jailbreakbench_behaviors.csv",
        23116,
        100,
        "4a8ec6832056b631eb092dccc60d37a61c3d441268268888b3d006288afeffa1",
        _HEADS,
        "exp_data/data_harmful-behaviors.csv",
        source="jailbreakbench",
        label="harmful",
    ),
    OfficialFile(
        "safety-heads/maliciousinstruct.csv",
        6276,
        100,
        "bee8f7a3da07becb685d3d0c8d28a9fbd98813d1c7b9f275175432269f325c0b",
        _MALICIOUS_INSTRUCT,
        "exp_data/maliciousinstruct.csv",
        source="maliciousinstruct",
        label="harmful",
    ),
    OfficialFile(
        "safety-heads/refusal_keywords.json",
        872,
        None,
        "f81cd46d13fac2fb01ba425f177a2f73ae726f9e6d1de56e4828aa46af18f8e2",
        _HEADS,
        how=_KEYWORDS,
    ),
    # hidden-state-probes; that rows 520-865 are StrongREJECT is inferred from their count and style
    OfficialFile(
        "hidden-state-probes/malicious_prompt.csv",
        145281,
        966,
        "8b8f59da478ac2132df4144a4475258a6216593710fc543955e6c4d05dc835ff",
        _PROBES,
        "exp_data/malicious_prompt.csv",
        ranges=(
            Rows(0, 519, "advbench"),
            Rows(520, 865, "strongreject-early"),
            Rows(866, 965, "jailbreakbench"),
        ),
        label="harmful",
    ),
    OfficialFile(
        "hidden-state-probes/normal_prompt.csv",
        32614,
        500,
        "b1067f4cdcce7ca30e5aedd26fd29eb8bde3aecd139ad1d0d36189afd003ea66",
        _PROBES,
        "exp_data/normal_prompt.csv",
        source="ihs-normal",
        label="benign",
    ),
    OfficialFile(
        "hidden-state-probes/emotion_tokens.json",
        957,
        None,
        "ebee3bc7cd09cde84abd1eecad98df5700dc4e9983130325526f4c27b6bdab2b",
        _PROBES,
        how=_KEYED,
    ),
    # course-correction
    OfficialFile(
        "course-correction/c2_eval_test.jsonl",
        649069,
        500,
        "a9f22982e3f7f56309db81a56c532f556ec4d42356823ebb10f98d21a3c6e5c3",
        _COURSE,
        "eval/test.jsonl",
        source="pku-saferlhf",
    ),
    OfficialFile(
        "course-correction/sample_corr_at_k.json",
        71,
        None,
        "53bd6aeb721f9b33774872baa25d4cb9fad6b1150c9b0f7f0d30ced24a686941",
        _COURSE_SAMPLE,
        "eval/sample_output_format/gpteval_output_example.json",
    ),
    OfficialFile(
        "course-correction/sample_eval_output.jsonl",
        351,
        1,
        "bba7e5ce11e4f61f960232a7de246eec43eee910c9a0241cd52791e0a9ba55bd",
        Origin(_COURSE.project, "44da12c", "none stated", "2407.16637"),
        "eval/sample_output_format/eval_data_output_example.jsonl",
    ),
    # perspective-taking
    OfficialFile(
        "perspective-taking/rtp_hard.json",
        940345,
        1604,
        "428a86f6e218a92f3d2b157f7070acbf0105de11a0bfbf57d54b2811186a3d5f",
        _PERSPECTIVE,
        "Toxicity/datasets/data/rtp_hard.json",
        source="realtoxicityprompts",
    ),
    OfficialFile(
        "perspective-taking/bold_1.5k.json",
        248446,
        1500,
        "fbd6980048a535798b285fc79788ecf4e17998b8353a1ed643aba191a4e7ec9b",
        _PERSPECTIVE,
        "Polarity/datasets/data/bold_1.5k.json",
        source="bold",
    ),
    # preemptive-answers
    OfficialFile(
        "preemptive-answers/CMQA.jsonl",
        41637,
        211,
        "d46a6b83e397973288bb32b19ccb7e44af731733e49fdb4aece2aa1cdcfe35b4",
        _PREEMPTIVE,
        "dataset/CMQA.jsonl",
        source="commonsenseqa",
    ),
    OfficialFile(
        "preemptive-answers/GSM.jsonl",
        126986,
        211,
        "cc61d482b22422fcb5442ccb129772e23d6b2b4561ec9153bb79857150c05a90",
        _PREEMPTIVE,
        "dataset/GSM.jsonl",
        source="gsm8k",
    ),
    OfficialFile(
        "preemptive-answers/HQA.jsonl",
        40597,
        211,
        "33f639ee225726b662e1a57bcaca412e3f0498382ec4622b0c47cf5de95eab10",
        _PREEMPTIVE,
        "dataset/HQA.jsonl",
        source="hotpotqa",
    ),
    OfficialFile(
        "preemptive-answers/MATH.jsonl",
        60848,
        211,
        "153a4f1764632088f5bf07577fb509e0347b3d9fa4b0659338562571152eb1d1",
        _PREEMPTIVE,
        "dataset/MATH.jsonl",
        source="math",
    ),
    OfficialFile(
        "preemptive-answers/MATHQA.jsonl",
        60717,
        211,
        "c5975781d0b2b245d5b8c916442b4cc34ebd55fcfc37864cae8d46b6ad365e2d",
        _PREEMPTIVE,
        "dataset/MATHQA.jsonl",
        source="mathqa",
    ),
    OfficialFile(
        "preemptive-answers/STRATEGYQA.jsonl",
        24489,
        211,
        "3427ecd588c0c02f18046fbd91d5a99779fe21fa2a6c2fb125e878c1d2337019",
        _PREEMPTIVE,
        "dataset/STRATEGYQA.jsonl",
        source="strategyqa",
    ),
    # mr-ben
    *(
        OfficialFile(f"mr-ben/{name}", size, rows, sha256, _MR_BEN, f"data/{name}", source="mr-ben")
        for name, size, rows, sha256 in (
            (
                "biology.json",
                2701463,
                345,
                "04615ee5a9e5bf526ef99b62fd65df60998a0b83d6ab642e970762d92c47e813",
            ),
            (
                "chemistry.json",
                2204396,
                284,
                "c5281f98649bcb4cd5fab17a7d2e54905c72ecbabfa79e073da06034b1e86255",
            ),
            (
                "coding.json",
                749370,
                90,
                "a4f1ac3dd6816989658825311bc068a69697892d59672216da5de6d45c8771c1",
            ),
            (
                "k_shot_demo.json",
                135870,
                11,
                "2c264e240f9b02ba2045d33849559327c18bbbaa0f1396bb61832749ca235058",
            ),
            (
                "math.json",
                2532882,
                306,
                "f83383c8eb30f968cf6439cffd321749d23bbde518401e75f7b23f35f75a03eb",
            ),
            (
                "medicine.json",
                2798770,
                277,
                "4bf080a858879f24cfe15861dd2bea2e85549aefea21d2b8c82885be015d973c",
            ),
            (
                "physics.json",
                1783528,
                223,
                "40c8b0127424317dfc06711473059585e8b4509b1583a0c88b145c19007689e9",
            ),
        )
    ),
    OfficialFile(
        "mr-ben/mr_gsm8k_reason_judgements.jsonl",
        1429667,
        851,
        "48ac08c77a2abd77b38cf3e163c440b4764d368986f000d7312250252c4bb98e",
        _MR_GSM8K,
        how="Reduce the rows of eval_results/gpt4-grading/*.json to one record per judgement.",
        source="mr-gsm8k",
    ),
    # safety-residual-space
    OfficialFile(
        "safety-residual-space/prompts_sample.csv",
        403470,
        540,
        "63e9e1d3d4a4f49d222ccedb10a8bd4f8fe5f7c3d340bfad0a7b4296c48f6e1e",
        _RESIDUAL,
        how="Sample 60 goals of the repository's prompt files in 9 wordings each.",
        source="strongreject",
        label="harmful",
    ),
    # debateqa; the questions of its own test and dev sets are not among them
    OfficialFile(
        "debateqa/debateqa_test_demo_answers.jsonl",
        2350048,
        1000,
        "62e75a7f66e8320b395b05cee036c16340f39d76bebeda981feff4e95a9a6cc5",
        _DEBATEQA,
        "scripts/input_file_demo.jsonl",
        source="debateqa",
    ),
    OfficialFile(
        "debateqa/debate_claims_debateqa_schema.jsonl",
        3014678,
        392,
        "e17ee34da5306c6799da064f3aed76f8256cda68e3b08a0bdf027c795f3d059f",
        _DEBATE_SITES,
        how=_RESHAPED,
    ),
    *(
        OfficialFile(
            f"debateqa/perspectrum_{name}",
            size,
            rows,
            sha256,
            _PERSPECTRUM,
            f"data/dataset/{path}",
            source="perspectrum",
        )
        for name, size, rows, sha256, path in (
            (
                "with_answers_v1.0.json",
                896802,
                907,
                "39d0391d26ebe21efb1cc3162abcc3c4212d2eadfb07514129c3015d6f6ae1f1",
                "perspectrum_with_answers_v1.0.json",
            ),
            (
                "perspective_pool_v1.0.json",
                1297468,
                11112,
                "d4d4e78c4777ea971d26546a8819aa9e02c5a68ffff45e10b40ca0cb91b43ae4",
                "perspective_pool_v1.0.json",
            ),
            (
                "split_v1.0.json",
                13912,
                None,
                "5ba5296f6e5956c44a2fd014b15a3f7c10b9a253451162932acaf217f20cd7da",
                "dataset_split_v1.0.json",
            ),
            (
                "topic.json",
                62096,
                1006,
                "e4ca9e96d22e0c7201709ff89314aeba4cb0e2dc57006407d864cb7a87e81920",
                "topic.json",
            ),
            (
                "LICENSE_CC-BY-SA-4.0.txt",
                20558,
                None,
                "e74cf0a67a45f86f07464dbd5cb1333bea2e24bfcb4551044c5e3943a4bd04aa",
                "license.txt",
            ),
        )
    ),
)
