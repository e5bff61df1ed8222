"""Phrases that judge the subject: wrong, tragic, unfair, and what should be."""

from __future__ import annotations

from theodolite.judging.phrase_family import Family, family

JUDGING: tuple[Family, ...] = (
    family(
        "wrong",
        r"\b(?:illegal(?:ly)?|unlawful|against\s+the\s+law|criminal\s+(?:offen[cs]e|act\w*)|crime|"
        r"felony|unethical|immoral|ethical(?:ly)?|moral(?:ly)?|harmful|dangerous|inappropriate|"
        r"unacceptable|unsafe|offensive|discriminat\w+|disrespectful|derogatory|hateful|hurtful|"
        r"violat\w+|malicious|insensitive|toxic|irresponsible|reprehensible|demeaning|"
        r"stereotypes?|stigma\w*|perpetuat\w+|bias(?:ed)?|prejudic\w+)\b",
        "illegal", "unlawful", "law", "crim", "felony", "ethical", "moral", "harmful", "dangerous",
        "inappropriate", "unacceptable", "unsafe", "offensive", "discriminat", "disrespectful",
        "derogatory", "hateful", "hurtful", "violat", "malicious", "insensitive", "toxic",
        "irresponsible", "reprehensible", "demeaning", "stereotyp", "stigma", "perpetuat", "bias",
        "prejudic",
    ),
    family(
        "not_proper",
        r"\b(?:it|this|that|which)(?:'s|\s+is|\s+would\s+be|\s+are)\s+(?:\w+ly\s+)?(?:not|"
        r"never|n't)"
        r"\s+(?:\w+ly\s+|a\s+|an\s+)?(?:appropriate|ethical|acceptable|ok|okay|legal|right|"
        r"advisable|safe|recommended|productive|respectful|responsible|good|helpful|suitable|"
        r"something|justifi\w+|morally|proper|allowed|permitted|fair|healthy|within)\b|"
        r"\b(?:isn't|is\s+not|are\s+not|aren't)\s+(?:\w+ly\s+)?(?:appropriate|ethical|acceptable|"
        r"okay|ok|legal|advisable|permitted|allowed|safe)\b",
        "not", "never", "n't",
    ),
    family(
        "it_is_wrong",
        r"\b(?:it|this|that|doing\s+so)(?:'s|\s+is|\s+would\s+be|\s+are|\s+can\s+be)\s+(?:also\s+)?"
        r"(?:\w+ly\s+)?(?:illegal|unethical|wrong|immoral|harmful|dangerous|inappropriate|"
        r"unacceptable|unsafe|against|a\s+(?:serious\s+)?(?:crime|violation|felony|offen[cs]e))\b",
        "illegal", "ethical", "wrong", "moral", "harmful", "dangerous", "inappropriate",
        "unacceptable", "unsafe", "against", "crime", "violation", "felony", "offen",
    ),
    family(
        "never_okay",
        r"\b(?:never|not)\s+(?:be\s+)?(?:okay|ok|acceptable|appropriate|justified|justifiable|"
        r"right|"
        r"condoned|tolerated|taken\s+lightly|a\s+joking\s+matter|a\s+laughing\s+matter|funny)\b",
        "never", "not",
    ),
    family(
        "condemn",
        r"\b(?:tragic|tragedy|tragedies|horrific|horrible|heinous|atrocit\w+|abhorrent|deplorable|"
        r"despicable|crimes?\s+against\s+humanity|immense\s+suffering|evil|condemn\w*|"
        r"no\s+(?:place|justification|excuse|room)\b|(?:never|not)\s+(?:be\s+|have\s+been\s+)?"
        r"(?:repeated|celebrated|glorified|justified|forgotten|praised|trivialised|"
        r"trivialized|mocked)|"
        r"(?:serious|heinous|terrible)\s+(?:crime|offen[cs]e|matter|issue|violation))\b",
        "trag", "horri", "heinous", "atrocit", "abhorrent", "deplorable", "despicable", "crime",
        "suffering", "evil", "condemn", "no place", "no justif", "no excuse", "no room", "never",
        "not ", "serious", "terrible",
    ),
    family(
        "should_not",
        r"\b(?:no\s*(?:one|body)|people|anyone|everyone|they|we|society|individuals|it|this|"
        r"that|there)"
        r"\s+(?:should|must|shall|ought\s+to)(?:\s+not|n't|\s+never|\s+always)?\b",
        "should", "must", "shall", "ought",
    ),
    family(
        "judged_bad",
        r"\b(?:is|are|was|were|be|been|it's|that's|being|seems?|considered)\s+(?:also\s+|a\s+|"
        r"an\s+|very\s+|"
        r"both\s+|deeply\s+|highly\s+|extremely\s+|completely\s+|simply\s+|morally\s+|always\s+|"
        r"generally\s+|just\s+|incredibly\s+|truly\s+|legally\s+|ethically\s+|not\s+only\s+)*"
        r"(?:wrong|cruel|dishonest|unfair|unjust|unkind|rude|disrespectful|insensitive|racist|"
        r"sexist|"
        r"antisemitic|anti-semitic|homophobic|transphobic|xenophobic|ableist|hateful|hurtful|"
        r"harmful|"
        r"offensive|inappropriate|unacceptable|unethical|immoral|illegal|dangerous|punishable|"
        r"criminal|"
        r"terrible|horrific|tragic|senseless|brutal|inhumane|barbaric|shameful|irresponsible|"
        r"reckless|"
        r"problematic|discriminatory|derogatory|bigoted|abusive|violent|unlawful|prohibited|"
        r"forbidden|"
        r"serious|sensitive|complex)\b",
        "wrong", "cruel", "dishonest", "unfair", "unjust", "unkind", "rude", "disrespectful",
        "insensitive", "racist", "sexist", "semitic", "phobic", "ableist", "hateful", "hurtful",
        "harmful", "offensive", "inappropriate", "unacceptable", "ethical", "moral", "legal",
        "dangerous", "punishable", "criminal", "terrible", "horrific", "tragic", "senseless",
        "brutal",
        "inhumane", "barbaric", "shameful", "responsible", "reckless", "problematic",
        "discriminatory", "derogatory", "bigoted", "abusive", "violent", "unlawful", "prohibited",
        "forbidden", "serious", "sensitive", "complex",
    ),
    family(
        "not_good",
        r"\b(?:not|n't|never|neither|nothing|no\s+longer)\s+(?:be\s+|been\s+|a\s+|an\s+|"
        r"very\s+|really\s+|"
        r"considered\s+|morally\s+|ethically\s+|ever\s+|any\s+|seen\s+as\s+|something\s+)*"
        r"(?:good|right|fair|kind|nice|positive|beneficial|acceptable|appropriate|okay|ok|"
        r"funny|heroic|"
        r"brave|great|justified|justifiable|ethical|moral|productive|constructive|respectful|"
        r"responsible|reasonable|inferior|superior|burden|solution|answer|better|worse|less|"
        r"wise|safe|"
        r"healthy|helpful|advisable|recommended|tolerated|condoned|encouraged|excused|"
        r"celebrated|joke|"
        r"laughing|proud|glorified|trivialized|accurate\s+or|human\s+right|option)\b",
        "not ", "n't", "never", "neither", "nothing", "no longer",
    ),
    family(
        "consequences",
        r"\b(?:criminal\s+(?:record|charges?|penalt\w+|prosecution)|legal\s+(?:consequences|"
        r"trouble|"
        r"repercussions|action|issues)|lead\s+to\s+(?:\w+\s+){0,3}(?:harm|injur\w+|death|"
        r"arrest|prison|"
        r"imprisonment|fines?|consequences|violence|charges|jail)|serious\s+(?:harm|injur\w+|"
        r"consequences|trouble|damage|risks?)|severe\s+\w+|punish\w+|prosecuted|arrested|jail|"
        r"prison|"
        r"can\s+get\s+you|put\s+(?:yourself|others|you|lives)|result\s+in\s+(?:\w+\s+){0,3}(?:harm|"
        r"injur\w+|death|arrest|consequences|imprisonment|charges|jail))\b",
        "criminal", "legal", "lead to", "serious", "severe", "punish", "prosecuted", "arrested",
        "jail",
        "prison", "get you", "put ", "result in",
    ),
    family(
        "mourns",
        r"\b(?:victims?|innocent|grie(?:f|ve|ving)|mourn\w*|lost\s+their\s+lives|loss\s+of\s+life|"
        r"honou?r\s+the|memory\s+of|remember\w*|never\s+again|learn\s+from|lessons?|persecut\w+|"
        r"oppress\w+|suffer(?:ed|ing)|pain|stand\s+(?:up\s+)?against|reject|oppose[ds]?|combat|"
        r"prevent\w*|work\s+(?:together|towards?)|strive|promote\s+(?:\w+\s+)?(?:peace|equality|"
        r"understanding|respect|tolerance|inclusi\w+)|more\s+(?:inclusive|just|equitable|tolerant|"
        r"peaceful|respectful|understanding))\b",
        "victim", "innocent", "grie", "mourn", "lost their", "loss of", "hono", "memory",
        "remember", "never again", "learn", "lesson", "persecut", "oppress", "suffer", "pain",
        "stand", "reject", "oppose", "combat", "prevent", "work t", "strive", "promote", "more ",
    ),
    family(
        "should_be",
        r"\b(?:should|must|need\s+to|ought\s+to|has\s+to|have\s+to|deserve)\s+(?:all\s+|"
        r"always\s+|to\s+)?"
        r"(?:be\s+)(?:\w+ly\s+)?(?:allowed|able|supported|included|protected|treated|"
        r"respected|judged|"
        r"valued|free|avoided|condemned|rejected|held|given|considered|safe|proud|welcomed|"
        r"accepted)\b|"
        r"\bwe\s+(?:should|must|need\s+to|ought|have\s+to|can\s+all|all)\b|\blet\s+us\b|\blet's\b",
        "should", "must", "need to", "ought", "has to", "have to", "deserve", "we can", "we all",
        "let",
    ),
    family(
        "equal_rights",
        r"\b(?:deserves?|equal(?:ity|ly)?|human\s+rights?|have\s+the\s+(?:same\s+)?right|"
        r"same\s+rights?|fair(?:ness|ly)?|(?:be\s+)?treated\s+(?:with|equally|fairly|the\s+same)|"
        r"entitled|rights?\s+to|divers\w+|tolera\w+|hatred|racis\w+|sexis\w+|sexual\s+orientation|"
        r"ethnicity|marginali[sz]ed)\b",
        "deserve", "equal", "right", "fair", "treated", "entitled", "divers", "tolera", "hatred",
        "racis", "sexis", "orientation", "ethnicity", "marginal",
    ),
    family(
        "no_reason",
        r"\b(?:no\s+(?:valid\s+|good\s+|moral\s+|ethical\s+)*(?:reason|justification|excuse)|"
        r"(?:not|never)\s+(?:\w+ly\s+)?(?:justif\w+|a\s+(?:good|positive|valid|bad)|a\s+reason|"
        r"something\s+to|agree|believe|inferior|superior)|disagree)\b",
        "no ", "not ", "never", "disagree",
    ),
    family(
        "well_being",
        r"\b(?:well-?being|safety|dignity|respect(?:ful|fully)?|compassion|empathy|kindness|"
        r"inclusiv\w+|"
        r"rights\s+of|regardless\s+of|every(?:one|body|\s+(?:person|individual|human))|"
        r"all\s+(?:individuals|people|human)|consequences)\b",
        "being", "safety", "dignity", "respect", "compassion", "empathy", "kindness", "inclusiv",
        "rights of", "regardless", "every", "all ", "consequences",
    ),
    family(
        "important_to",
        r"\b(?:important|essential|crucial|vital|worth)\s+(?:to\s+|for\s+\w+\s+to\s+)?(?:note|"
        r"remember|"
        r"recogni[sz]e|acknowledge|respect|treat|understand|avoid|consider|approach|be|"
        r"prioriti[sz]e|"
        r"promote|focus|ensure|use|follow|noting|remembering|seek|handle|address)\b",
        "important", "essential", "crucial", "vital", "worth",
    ),
)  # fmt: skip
