"""Every text of the page, so that wording is reviewed in one place: ``texts.SEARCH`` is in the language of the visitor at hand.

Here are those that stay English: of the API, of the server, of Evidence, of "How it works" and of the drawer for researchers.
All others are in ``app/languages``, one file a language.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from app import languages

TITLE = "SG-LoRA Studio"
MEASURED_GROUP = "special domains"  # as the result "known" calls them
API_NO_REPOSITORY = "There is no repository called {name}: {names} can be chosen."
API_ONE_QUESTION = "Ask with words (query) or with a photo, not with both at once."
NO_REPOSITORY = "No expert repository in {folder}: give a folder that has an index.json, or one that holds such folders."
NO_SUCH_ROUTE = "There is nothing here."
CALL_LARGE = "The request is larger than {mb} MB, and was not read. Files belong into an upload, not into a call."
CALL_MANY = "The request has more than {n} values, and was not read."
CALL_SLOW = "The request did not arrive in time, and was not read."
CALL_NOT_JSON = "The request is not a JSON object."
CALL_NAME = (
    "A name in the request is not one of this server's: session_hash and event_id have up to 64 letters, digits and dashes."
)
CALL_FIELDS = "The request lacks a field, or a field has the wrong type. “Use via API” on the page says how to call."
CALL_UNKNOWN = "The request names an endpoint or event that is not there."
NO_HOST = "The request does not say which server and page it is for."
UNKNOWN_HOST = "This server does not answer to that name. Whoever runs it can add names with --host-name."
FOREIGN_PAGE = "Another site's page sent this, so it was not read. Open this page itself."
FILES_ONLY = "An upload has files only, and no other fields."
ROUTED_TITLE = "Closest experts and their weights"
OTHERS = "{n} other experts, not used"
SIMILARITY = "similarity"
WEIGHT = "weight"
RESAMPLE = "Try another variant"
VARIED = "Variant {seed}: {new} of the first {top} photos are new, {moved} changed places."
SEED_LABEL, SEED_INFO = "Seed", "The same seed gives the same adapter."
K_LABEL, K_INFO = "Experts (k)", "How many of the closest are mixed."
TAU_LABEL, TAU_INFO = "Temperature (tau)", "Low: the closest expert decides. High: all k weigh the same."
LORA_FOR = "Adapter for “{description}”"
HEAT_TITLE = "Strength by layer"
HEAT_NOTE = "Size of the weight change in each layer; the small mark shows where it lies within the experts' range."
COMMAND_LABEL = "The same adapter on the command line"
COMMAND_OWN = "An expert of your own takes part in this adapter; the command line knows the shipped ones only."
STEPS = {"encode": "read the sentence", "route": "route", "prior": "prior", "decode": "decode"}
WITH_MERGE = "Show experts averaged"
WITH_RANDOM = "Show a random sentence"
SEARCH_COMMAND_LABEL = "The same search on the command line"
SEARCH_COMMAND_INFO = (
    "PHOTOS is a folder of your photos; with captions beside them it can be evaluated too. Run a search in a library where "
    "the library and its folders are."
)
MAP_TITLE = "All experts, by what they are about"
MAP_HERE = "your sentence"
MAP_SUMMARY = "Map of all experts by meaning. Your sentence lies near {names}; the bars give the exact similarity."
MAP_SUMMARY_EMPTY = "Map of the {n} experts by meaning of their descriptions."
MAP_NOTE = "Near means alike, though two axes show only {share} % of the differences. Point at or tap a dot for its expert."
LATENT_TITLE = "Where this draw lies in the generator's latent space"
LATENT_PRIOR, LATENT_PRIOR_DETAILS = "prior", "Mean of p(z | c), the latent prior of the routed experts."
LATENT_HERE, LATENT_HERE_DETAILS = "this draw", "The sample z that this adapter was decoded from."
LATENT_SUMMARY = "Map of the latent space with all experts, the prior of the routed experts and the sample drawn from it."
LATENT_NOTE = (
    "Each expert is at the mean that a prior of it alone would have. Priors are wide: a draw may lie far from its mean. The "
    "axes show {share} % of the experts' spread."
)
DISTANCES = "Distance to the routed experts"
DISTANCES_NOTE = "Frobenius norm of the difference of the weight changes, before strength."
DISTANCE_START, DISTANCE_ZERO = "shared start", "no adapter"
EVIDENCE_OPENING = "What we measured"
EVIDENCE_MORE = "All figures, and how they were measured"
EVIDENCE_CONTENTS = "{n} questions and what came out"
EVIDENCE_NAV = "Contents"
EVIDENCE_LEAD = (
    "Measured with this repository's code on photos that trained nothing here. Intervals are paired bootstrap 95 % intervals "
    "over tasks; one that holds zero means “no difference”. What things cost comes last. Choose a question to see its figures."
)
EVIDENCE_CSV = "Download as CSV"
EVIDENCE_BROKEN = "{name} cannot be read by this version of the studio."
ABOUT = Path(__file__).with_name("about.md").read_text(encoding="utf-8")


def __getattr__(name: str) -> str:
    try:
        return languages.texts_in(languages.language())[name]
    except KeyError:
        raise AttributeError(f"there is no text {name}") from None


# Whoever asks: for what is kept, compared, or made for another visitor.
ENGLISH = SimpleNamespace(**languages.texts_in(languages.ENGLISH))
translated, original = languages.translated, languages.original


def listed(items: Sequence[str]) -> str:
    """“a, b and c”."""
    *most, last = items
    return __getattr__("LIST_AND").format(items=__getattr__("LIST_COMMA").join(most), last=last) if most else last
