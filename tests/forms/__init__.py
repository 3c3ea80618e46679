"""Every form that a checkpoint may have, from which docs/coverage.md has its table of forms.

A form is declared in one of the files here, and by that alone is tested and listed: add it to the
`FORMS` of its file.
"""

from tests.forms import adapters, files, objects, packed, programs
from tests.forms.base import Form

GROUPS: dict[str, tuple[Form, ...]] = {
    "Training programs": programs.FORMS,
    "Files of torch and safetensors": files.FORMS,
    "Objects in pickles": objects.FORMS,
    "Adapters": adapters.FORMS,
    "Converted and packed": packed.FORMS,
}
FORMS = tuple(form for forms in GROUPS.values() for form in forms)
