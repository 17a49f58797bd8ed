"""What an input field can be: quantities that are stated in words, and marks that say who fills a field, and by which words."""

from heddle.macros.marks import free_text, given, person_only, words
from heddle.macros.quantities import Bytes, Days, Percent, When

__all__ = ["Bytes", "Days", "Percent", "When", "free_text", "given", "person_only", "words"]
