"""What stopped on its way: kept in a file, or in the store where several machines share it."""

from connector.dead_letters.causes import Cause, cause_of, causes
from connector.dead_letters.file import LetterFile
from connector.dead_letters.letters import UNREAD, DeadLetters, How, Letter, event_of, letter_of_event
from connector.dead_letters.table import LetterTable

__all__ = [
    "UNREAD",
    "Cause",
    "DeadLetters",
    "How",
    "Letter",
    "LetterFile",
    "LetterTable",
    "cause_of",
    "causes",
    "event_of",
    "letter_of_event",
]
