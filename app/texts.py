"""Every English text of the page, so that wording is reviewed, and one day translated, in one place."""

from __future__ import annotations

TITLE = "SG-LoRA Studio"
TAGLINE = "Describe your photos; search adapts to them in milliseconds."
PAPER = (
    '<a href="https://arxiv.org/abs/2509.10535" target="_blank" rel="noopener">SG-LoRA</a> (CVPR 2026): nothing is training.'
)
MEASURED_GROUP = "1,000 everyday photos"  # as the result "known" calls them
MEASURED = (
    "On 1,000 everyday photos that trained nothing, the right answer is among the first ten for {after:.0f} of 100 questions "
    'instead of {before:.0f} (<a href="?tab=evidence">all figures</a>).'
)
SKIP = "Skip to the question"
TRY = "Try it on sample photos"
TRY_ASKS = "Show the samples in place of your {n} photos? “Bring back” shows yours again."
TRY_YES, TRY_NO = "Show the samples", "Keep my photos"

# backbones
BACKBONE_LABEL = "Backbone and experts"
BACKBONE_CHOICE = "{name}, {experts} experts"
BACKBONE_SHIPPED = "{name}, as shipped"
BACKBONE_LOADING = "Loading {name}"
BACKBONE_UNKNOWN = "There is no repository {name} here: choose one of the list."
BACKBONE_BUSY = (
    "{name} cannot be loaded now: {others} is in use by others, and there is room for one beside {default}. Choose one of "
    "these, or try again in some minutes."
)
SWITCHED = "Switched to {name}."
SWITCHED_PHOTOS = "Switched to {name}; {n} photos indexed again in {seconds:.1f} s."
SWITCHED_LOST = "{n} photos are gone, because their files are: add them again"
SWITCHED_WAITING = "Your experts of {before} take no part here: {names}. They are back when you choose {before} again."
SWITCHED_MEANWHILE = "The backbone was switched meanwhile: try again, or reload the page where it was in another tab."
PHOTOS_BUSY = "Your photos are being added or indexed again in another tab: try again when that is done."
API_NO_REPOSITORY = "There is no repository called {name}: {names} can be chosen."
API_ONE_QUESTION = "Ask with words (query) or with a photo, not with both at once."
NO_REPOSITORY = "No expert repository in {folder}: give a folder that has an index.json, or one that holds such folders."

LOADING = "Loading the models …"
READY = "Ready: {experts} experts"
READY_DETAILS = "{parameters} numbers in a generated adapter; loaded in {seconds:.1f} s"
FAILED = "The models cannot be loaded: {reason}"
UNEXPECTED = "Something went wrong on our side. Nothing you entered is lost; please try again."

# what bounds all visitors together
FORGOTTEN = (
    "What you had here is gone: the page was left alone for {minutes} minutes, or too many others came. Add your photos again."
)
MADE_ROOM = "What you had here had to make room for other visitors. Add your photos again."
DISK_FULL = "The server's disk is full, and your files were not taken. Please try again in some minutes."
DISK_READ_ONLY = "The server cannot write to its disk at the moment, and your files were not taken."
DISK_TROUBLE = "The server's disk is full or cannot be written at the moment. What you have here is not lost; try again later."
UPLOAD_LARGE = "An upload may have {mb:,} MB, and this one has more: send fewer files at a time."
UPLOAD_SLOW = "The upload took too long, and was not taken. Send fewer files at a time."

# what anybody may send
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
VALUES_UNUSABLE = (
    "The values cannot be used: there are too few, or one has the wrong type. “Use via API” on the page says what is taken."
)
QUEUE_FULL_OWN = "{n} of your requests wait already: send more when one of them has been answered."
QUEUE_FULL = "Too many visitors wait for this at the moment. Please try again in a minute."
NO_HOST = "The request does not say which server and page it is for."
UNKNOWN_HOST = "This server does not answer to that name. Whoever runs it can add names with --host-name."
FOREIGN_PAGE = "Another site's page sent this, so it was not read. Open this page itself."
NOT_THERE = "What you chose is not there (any more). Choose another one, or reload the page."
NO_ADDRESSES = "The server fetches no web addresses: upload the file itself."
FILE_NOT_YOURS = "A file is not there, or was not uploaded by you: upload it and try again."
FILES_ONLY = "An upload has files only, and no other fields."

TAB_STUDIO = "Search"
DETAILS = "For researchers: maps, seeds, numbers, commands, API"
TAB_EXPERTS = "Experts"
TAB_ABOUT = "How it works"

# the sentence
DESCRIPTION_LABEL = "What do your photos show?"
DESCRIPTION_PLACEHOLDER = "photos of people surfing and swimming in the sea"
ROUTE_EMPTY = "Optional: one plain sentence, and the closest experts appear here as you type. Without it, search is zero-shot."
ROUTED = "Closest experts and their weights"
NO_EXPERT_FITS = "No expert fits this sentence."
ONLY_SHARED = "Only the part that all experts share is applied."
SUGGESTION = "The closest wording that fits:"
FORGETS = "With these experts, the names of everyday objects lose {points} points of R@1."
OTHERS = "{n} other experts, not used"
SIMILARITY = "similarity"
WEIGHT = "weight"

# the adapter
GENERATE_BUTTON = "Adapt"
RESAMPLE = "Try another variant"
VARIED = "Variant {seed}: {new} of the first {top} photos are new, {moved} changed places."
SEED_LABEL, SEED_INFO = "Seed", "The same seed gives the same adapter."
K_LABEL, K_INFO = "Experts (k)", "How many of the closest are mixed."
TAU_LABEL, TAU_INFO = "Temperature (tau)", "Low: the closest expert decides. High: all k weigh the same."
STRENGTH_LABEL = "Strength (1: the adapter alone)"
LORA_NONE = "There is no adapter yet: describe your photos, and adapt."
LORA_EMPTY = "Mixes the closest experts into one adapter."
LORA_MADE = "Generated LoRA for “{description}”: {parameters} numbers of rank {rank}, in {ms:.0f} ms."
RANKS = "{rank} ({shared} shared + {own} own)"
LORA_FOR = "Adapter for “{description}”"
LORA_NOTHING = "At strength 0 this adapter changes nothing: search gives the same results as zero-shot."
HEAT_TITLE = "Strength by layer"
HEAT_NOTE = "Size of the weight change in each layer; the small mark shows where it lies within the experts' range."
DOWNLOAD = "Download adapter"
COMMAND_LABEL = "The same adapter on the command line"
COMMAND_OWN = "An expert of your own takes part in this adapter; the command line knows the shipped ones only."
STEPS = {"encode": "read the sentence", "route": "route", "prior": "prior", "decode": "decode"}

# names
NAMES_TITLE = "Teach a name"
NAMES_LEAD = (
    "Choose photos of one thing, or tick them in the results, and say what it is called. One photo works, three are better."
)
NAMES_PHOTOS, NAMES_NAME, NAMES_PLACEHOLDER = "Photos of it", "Its name", "Shrek"
NAMES_TEACH, NAMES_RENAME, NAMES_REMOVE = "Teach", "Rename", "Take back"
NAMES_SAVE, NAMES_LOAD, NAMES_MARKS = "Save names", "Load names", "Learn from these marks"
NAMES_TAUGHT, NAMES_CHIP = "Your names", "{name} ({n} photos)"
NAMES_LOADED = "{n} names loaded."
NAMES_NO_MARKS = "No photo is marked as right: tick what you looked for in the results first."
NAMES_NO_PHOTO_READ = "“{name}” has no photo that can be read: {reason} Choose another one."
NAMES_FILE_LARGE = "{name} is larger than a file of names can be: choose the file that “Save names” wrote."
NO_SUCH_PHOTO = "No photo here is called {name}: “photos” holds names of photos that were added, one a line."
NAMES, NAMES_NOTE = "With your names", "{n} taught"
NAMES_ASKED = "{names}: a name that you taught."
NAMES_ASKED_SEVERAL = "{names}: names that you taught."

# photos
GALLERY_LEAD = (
    "Up to {limit:,} photos, some 2,000 at a time, or ZIPs of them; a captions file (CSV, JSON or JSONL) may come along. Only "
    "you see them; they are deleted at most {minutes} minutes after you leave."
)
UPLOAD_LABEL = "Add photos, a ZIP, or captions"
SAMPLES_GONE = "The sample photos made room for yours."
TAKE_BACK, TAKE_BACK_ONE = "Bring {n} photos back", "Bring the photo back"
REMOVE = "Remove the selected photo"
CLEAR = "Remove all"
GALLERY_LABEL = "Your photos"
GALLERY_EMPTY = "No photos yet: only you see those that you add."
INDEXING, READING = "Indexing photos", "Reading captions"
ADDING = "Adding photos …"
ADDING_NOW = "{done:,} of {total:,} photos indexed"
ADDING_LEFT = "{done:,} of {total:,} photos indexed, {seconds:.0f} s left"
ADDING_STOPPED = "Stopped: the photos so far are here, the others were left out."
LEFT = "{words}, {seconds:.0f} s left"
RANKING = "{title}: looking at {n} photos"
CAPTIONS = "Your photos: look, remove, caption"
CAPTIONS_LABEL = "Type captions, one a line, as “photo name: caption”"
CAPTIONS_PLACEHOLDER = "beach.jpg: two children play in the sand\nbeach.jpg: a sunny day by the sea"
CAPTIONS_SAVE = "Use these captions"
CAPTIONS_NAMES = "Use file names as captions"
CAPTIONS_CUT = " Of each photo at most {n} are used."
VISITOR_LEFT = "This answer was stopped, because its page was closed."
CAPTIONS_SET = "Captions now belong to {n} of {total} photos."
CAPTIONS_NO_NAMES = (
    "The captions name no photos: “{name}” is not one. A captions file has a column “image” with file names, and a column "
    "“caption”."
)
CAPTIONS_NO_PHOTO = (
    "No photo here has a name that the captions use: they speak of “{name}”, the photos are called like “{photo}”."
)
ADDED = "{n} added"
DUPLICATES = "{n} already there"
FAILED_FILES = "{n} not added"
PHOTOS_NOW = "{n:,} photos of at most {limit:,}, {captioned:,} with captions."
PHOTOS_LISTED = "The first {n:,} are listed below; all of them are searched."

# question and results
CAPTIONS_OF_A_PHOTO = "Find captions of a photo"
CAPTIONS_NEEDED = "This looks among your photos' captions: add a captions file, or type captions below the results."
EXAMPLES_LABEL = "Questions about the sample photos"
EXAMPLES_CHOSEN = (
    "Of all {questions} captions of the samples, the right photo rises for {rose} and falls for {fell}. Here are the three "
    "largest rises (first those whose sentence an expert fits), a median and the largest fall."
)
QUERY_LABEL = "What are you looking for?"
QUERY_PLACEHOLDER = "a dog running on the beach; “dog -grass”: without grass"
SEARCH = "Search"
WITHIN, WITHIN_OWN, WITHIN_BOTH = "Search in", "My photos", "My photos and {name}"
SHOW_MORE = "Show more"
VIEW_PREVIOUS, VIEW_NEXT, VIEW_DOWNLOAD, VIEW_SIMILAR, VIEW_CLOSE = "Previous", "Next", "Download", "Similar photos", "Close"
ASKED_LIKE = "Photos like {name}"
NOTHING_LIKE = "This photo is not there any more: choose another one."
PICK_LABEL = "One of your photos"
OTHER_PHOTO = "or another photo"
DESCRIBE_PHOTO = "Find captions"
NOTHING_PICKED = "Choose one of your photos, or add another one, to find its captions."
ONLY_CHANGED = "Hide unchanged"
WITH_MERGE = "Show experts averaged"
WITH_RANDOM = "Show a random sentence"
WITH_ZERO_SHOT = "Compare with zero-shot"
TOP_LABEL = "Results"
SEARCH_COMMAND_LABEL = "The same search on the command line"
SEARCH_COMMAND_INFO = "PHOTOS is a folder of your photos; with captions beside them it can be evaluated too."
COMPARE_EMPTY = "Ask something: the results appear here, without and with the adapter."
COMPARE_NO_PHOTOS = "Add photos, or try the samples; results appear here, without and with the adapter."
STALE = "The sentence or the question was changed: press Enter there to search again."
NO_CHANGE = "Nothing moved: both rankings are the same."
DID_NOT_MOVE, MOVED_UP, MOVED_DOWN = "did not move", "moved up {n} {places}", "moved down {n} {places}"
PLACE, PLACES = "place", "places"
RIGHT_PHOTO = "The right photo (green): place {places}"
RIGHT_CAPTION = "Its own caption (green): place {places}"
MARK_RIGHT, MARK_WRONG = "this is what I looked for", "this is not what I looked for"
MARKED = "Photos that you marked as right, among the first ten: {before} of {total} before, {after} of {total} after"
MARKED_ALONE = "Photos that you marked as right, among the first ten: {before} of {total}"
VERDICT = "Right photo among the first ten: {before} of {total} before, {after} of {total} after"
VERDICT_ALONE = "Right photo among the first ten: {before} of {total}"
VERDICT_RANDOM = ", {random} with a random sentence"
COUNTING = "Counting over {n:,} captions …"
COUNT_STOPPED = "Counting was stopped. The next search counts again."
STOP = "Stop"
LEFT_OUT = "Left out: {n} photos that trained an expert of yours, since finding them again would prove nothing."
ZERO_SHOT, ZERO_SHOT_NOTE = "Zero-shot", "the model as it comes"
MERGE, MERGE_NOTE = "Experts averaged", "no generator"
RANDOM, RANDOM_NOTE = "Random sentence", "the adapter for “{sentence}”"
SHARED, SHARED_NOTE = "Adapted", "what all adapters share; a sentence adds its own part"
SG_LORA, SG_LORA_NOTE = "SG-LoRA", "the generated adapter"
NO_STRENGTH_NOTE = "at strength 0"
ASKED_PHOTOS = "Photos for “{query}”"
ASKED_CAPTIONS = "Captions for {name}"
RANKED = "{total} ranked"
RECALL_TITLE = "All figures for these photos"
RECALL_NOTE = (
    "Share of {photos} captioned photos and {captions} captions whose match is among the first 1, 5 or 10, and its 95 % "
    "interval when the photos are drawn again (bootstrap). A difference whose interval holds zero is no difference. {caution}"
)
RECALL_CAUTION = "These are few photos: the intervals are wide."
RECALL_DIFFERENCE = "{name} − {base}"
I2T, T2I = "photo → words", "words → photo"
HISTORY, ASKED_BEFORE = "Asked before", "{query} · {task}"

# take it home
TAKE_HOME = "Take it home"
TAKE_RESULTS = "Results (CSV)"
TAKE_RECALL = "Recall (CSV)"
TAKE_PHOTOS = "Ranked photos (ZIP)"
TAKE_NOTHING = "Ask for something first: then there are results to take home."
TAKE_NO_PHOTOS = "Captions were ranked, not photos: ask in words to get a ZIP of ranked photos."
TAKE_NO_CAPTIONS = "Recall needs captions of two photos or more: add a captions file, or type captions."
SESSION_SAVE, SESSION_LOAD = "Save the session (JSON)", "Load a session"
SESSION_LOADED = (
    "The sentence, its settings and your questions are back. Photos are not part of a session: add them, and search."
)
SESSION_OTHER_BACKBONE = "It was saved with another image model, so the adapter is not the same one."
SESSION_NOT_ONE = "{name} is no session of this page: choose a file that “Save the session” gave."
SESSION_VALUE = "{name} cannot be loaded: {reason}"

# maps
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

# experts
EXPERTS_LEAD = (
    "Each expert is a rank-{rank} LoRA trained on one task. Gains are measured on photos it was not trained on, "
    "in points of recall over zero-shot, mean of both directions."
)
EXPERTS_LABEL = "All experts"
EXPERTS_TABLE_LEAD = "Yours come first. Choose a row to see what an expert was trained on, and more rows to compare them."
EXPERTS_FOUND = "{n} of {total} experts"
EXPERTS_NONE = "No expert has “{words}” in its name, description, group or source. Try another word, or a shorter one."
EXPERTS_FIND, EXPERTS_FIND_HINT = "Find an expert", "a word of its name, description, group or source"
EXPERTS_HEADERS = ("Expert", "Description", "Group", "Source", "Photos", "R@1 before", "R@1 after", "Gain R@1", "Gain R@5")
NOT_MEASURED = "gain not measured"
NOBODY_MEASURED = "Nobody measured what this one gains: it was imported."
GAIN = "gain {gain} R@{k}"
PHOTOS_OF = "{n:,} photos"
FACT_TASK, FACT_DATA, FACT_PHOTOS = "task", "data", "photos"
FACT_SNAPSHOTS, FACT_SEED, FACT_NORM, FACT_CLASSES = "snapshots averaged", "seed", "size of the change", "classes"
RECALL = "Recall in percent"
WITH_EXPERT = "with the expert"
MEASURED_ON = "on {n} photos that did not train it"
LOOK_AT, LOOK_HINT = "Look at experts", "up to {most}, here or by rows of the table"
DETAILS_EMPTY = "Choose an expert to see what it was trained on and what it gained; choose more to compare them."
LIKENESS = "How alike they are"
LIKENESS_NOTE = "Likeness of the weight changes, and below it that of the descriptions: 1 is the same, 0 unrelated."
COMPARED_WITH = "compared with"
COMPARE_MEANING, COMPARE_COSINE = "likeness of the descriptions", "likeness of the weight changes"
COMPARE_DISTANCE, COMPARE_NORMS = "distance", "size of each"
COMPARE_NOTE = "Of what is their own, beyond what all share. Likeness is a cosine: 1 is the same direction, 0 unrelated."
COMPARE_LAYERS = "Likeness by layer"
DISTANCES = "Distance to the routed experts"
DISTANCES_NOTE = "Frobenius norm of the difference of the weight changes, before strength."
DISTANCE_START, DISTANCE_ZERO = "shared start", "no adapter"

# own experts
OWN = "Experts of your own"
OWN_LEAD = "They take part in routing at once, for you alone, and are forgotten with your photos: download them to keep them."
OWN_NONE = "None yet."
OWN_LIST = "Your experts"
OWN_LOST = "{share} % of the adapter's energy did not fit the experts' rank"
TRAIN = "Train one on your photos"
TRAIN_LEAD = (
    "Takes the captioned photos of your gallery, {least} or more. A quarter of them is held out, and the gain is measured "
    "on these alone."
)
TRAIN_NAME, TRAIN_NAME_HINT = "Name", "my garden"
OWN_DESCRIPTION, OWN_DESCRIPTION_HINT = "Description (routing compares it)", "photos of flowers in my garden"
TRAIN_BUTTON, TRAIN_STOP = "Train expert", "Stop"
TRAINING = "Training, {left:.0f} s left"
TRAIN_NONE_RUNS = "No training of yours runs."
TRAINED = "{name}: trained on {photos} photos in {steps} steps ({seconds:.1f} s), measured on {held} held-out photos."
TRAINED_GAINED = "It helps on photos that it did not see."
TRAINED_SHARED = "It helps on photos that it did not see, but no more than the experts' shared start does without them."
TRAINED_LOST = "It does not help on photos that it did not see: more photos, or captions that say more, may; or remove it."
TRAINED_START = (
    "The experts' shared start alone: {start} R@1. One held-out photo is {points} points, so read small gains as chance."
)
IMPORT = "Import an adapter"
IMPORT_LEAD = "A LoRA in PEFT format for this backbone, as this page downloads it: the ZIP, or its two files together."
IMPORT_FILES = "Adapter"
IMPORT_BUTTON = "Import adapter"
IMPORT_NOTHING = "Add the adapter's ZIP, or its two files, first."
IMPORT_WHAT = "An adapter is one ZIP, or the two files {config} and {weights} together."
IMPORTED = "{name} takes part in routing now."
EXPERTS_DOWNLOAD = "Download your experts (ZIP)"
EXPERTS_LOAD = "Load experts"
EXPERTS_LOADED = "{n} loaded; they take part in routing now."
OWN_REMOVE_PICK, OWN_REMOVE = "Experts of yours", "Remove"
OWN_REMOVE_NOTHING = "Choose experts of yours to remove them."
OWN_REMOVED = "{name} is gone."

# evidence
TAB_EVIDENCE = "Evidence"
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

ABOUT = """
1. **Experts.** Long before you came, one small LoRA was trained on thousands of photo tasks, and on top of it an own part for
   each of many topics, each described by a sentence. It adapts how the shipped model reads texts; with CLIP, as in the paper,
   how it sees photos (the query, key and value projections of the vision blocks).
2. **Routing.** Your sentence is compared with theirs; the *k* closest get weights, a softmax of similarity over the
   temperature.
3. **Semantic prior.** The weighted mean and variance of the routed experts' parameters.
4. **Generation.** A conditional VAE draws a sample for that prior and decodes it to the own part of your LoRA. The part
   that all experts share is added to it. The seed picks the sample.
5. **Search.** The adapter changes how questions and captions are read, and photos stay as they were indexed (with CLIP, the
   adapted part of the image model runs again); photos and words are compared by cosine similarity. Without a sentence there is
   no adapter, and search is zero-shot.

**Fit.** No gain is predicted: it cannot be read off a sentence. The page shows a notice where no expert fits; then only the
part that all experts share is applied. Another notice says how much the routed experts forget of the names of everyday objects.

**Experts of your own.** On the Experts tab you can train one on your captioned photos, or import an adapter. They join the
routing for you alone. The gain shown was measured on photos held out from the training, and it may be a loss.

**Reading the result.** *Zero-shot* is the model without adapter, *experts averaged* the weighted sum of the routed experts
without a generator: SG-LoRA is worth its name where it beats both. A photo whose caption is the question has a green ring. On a
handful of photos chance plays a large part; mark what you looked for with ✓, and the page counts for you.

**Keys.** / goes to the question, Enter searches; among the results the arrow keys move, Enter enlarges, + and - mark a photo.
Escape and the browser's Back close an enlarged photo.

**API.** The steps are named endpoints (`/route`, `/adapt`, `/index`, `/search`; “Use via API” below), and
`python -m core --help` does the same from a terminal.
"""

# Libraries on disk
LIBRARY_NAME = "Library"
LIBRARY_INDEX = "Folders of this library"
LIBRARY_FOLDER = "Folder of photos"
LIBRARY_FOLDER_INFO = (
    "With all folders below it; photos stay where they are. Left empty, known folders are looked through again."
)
LIBRARY_INDEX_NOW = "Index"
LIBRARY_STEPS = {"looking": "Looking for photos", "encoding": "Indexing", "writing": "Tidying up"}
LIBRARY_LEFT = ", about {seconds:.0f} s left"
LIBRARY_INDEXED = "{photos:,} photos are in the library: {added:,} new, {removed:,} gone, {failed:,} files cannot be read."
LIBRARY_READ_ONLY = "This library can only be searched here: `python -m core index` on its machine adds photos."
LIBRARY_UNKNOWN = "There is no such library here: choose one of the list."
