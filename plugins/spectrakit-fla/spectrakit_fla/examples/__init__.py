"""What this plugin is checked on: every layer written a second way, and a tiny model of each."""

from spectrakit_fla.examples.delta import DELTA_EXAMPLES
from spectrakit_fla.examples.linear import LINEAR_EXAMPLES
from spectrakit_fla.examples.rwkv import RWKV_EXAMPLES

EXAMPLES = (*LINEAR_EXAMPLES, *DELTA_EXAMPLES, *RWKV_EXAMPLES)
